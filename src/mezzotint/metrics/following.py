"""Does a picture of a scene show what its caption says? Answered without a trained network, beside ceiling and chance.

A caption is a list of questions: is there a star, is it red, is it small, is it left of the ring? They are put to the
readers of :mod:`mezzotint.data.scenes`, which measure what is painted and abstain where they are not sure; what is not
read is not met. The *ceiling* is what the readers say of real pictures and their own captions. *Chance* is what they
say of the same samples held to the captions of others: what a model scores that paints good scenes and does not listen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.stop import poll
from mezzotint.core.text import spoken
from mezzotint.data.scenes.captions import Claims, claims
from mezzotint.data.scenes.following import KINDS, Following, held
from mezzotint.data.scenes.reader import Reader
from mezzotint.metrics.estimate import Estimate, bootstrap, share

NAME = "follows"
_AT_ONCE = 16


def following(
    images: Tensor,
    captions: Sequence[str] | Tensor,
    rng: Rng | None = None,
    draws: int = 400,
    tell: Callable[[int], None] | None = None,
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Shares of what captions say that pictures show, and of what the captions of others say.

    ``follows`` is of all questions, ``follows_whole`` of pictures that meet every question of their caption, and
    ``follows_form``, ``_colour``, ``_size``, ``_texture``, ``_place``, ``_count``, ``_relation``, ``_ground`` and
    ``_tint`` of the questions of a kind, where there were any. Intervals are over pictures.

    Arguments:
        images: pictures of scenes (N, 3, H, W) in [-1, 1].
        captions: of each, such as scenes are described by; strings, or their bytes uint8 (N, L).
        rng: one key for the bootstrap.
        draws: its resamplings.
        tell: told how many pictures have been read, after every few; a picture takes a tenth of a second and more.

    Returns:
        The estimates of the pictures with their own captions, and with those of the next that has another one.

    Raises:
        Refusal: there is not a caption a picture, or no caption says anything of a scene.
    """
    captions = spoken(captions) if isinstance(captions, Tensor) else captions
    if images.ndim != 4 or not images.is_floating_point():
        raise Refusal(f"pictures are (N, 3, H, W) in [-1, 1], not {images.dtype} of shape {tuple(images.shape)}")
    if len(images) != len(captions) or len(images) < 2:
        raise Refusal(f"two pictures at least, each with its caption, not {len(images)} with {len(captions)}")
    said = [claims(text) for text in captions]
    others = [_other(said, row) for row in range(len(said))]
    if not any(claim.objects for claim in said):
        raise Refusal("none of these captions names an object of a scene, so there is nothing to follow")
    own, else_ = [], []
    reader = Reader()
    for at in range(0, len(images), _AT_ONCE):
        poll()
        readings = reader.read(images[at : at + _AT_ONCE].clamp(-1, 1))
        own += [held(reading, claim) for reading, claim in zip(readings, said[at:], strict=False)]
        else_ += [held(reading, claim) for reading, claim in zip(readings, others[at:], strict=False)]
        if tell is not None:
            tell(len(own))
    rng = Rng([0]) if rng is None else rng
    return _estimates(own, rng, draws), _estimates(else_, rng, draws)


def _other(said: Sequence[Claims], row: int) -> Claims:
    """What the next picture is told that is told something else."""
    later = (said[(row + n) % len(said)] for n in range(1, len(said)))
    return next((claim for claim in later if claim != said[row]), said[row])


def _estimates(found: Sequence[Following], rng: Rng, draws: int) -> dict[str, Estimate]:
    asked, met = np.array([f.asked for f in found]), np.array([f.met for f in found])
    some = asked.any(1)
    whole = int((asked == met).all(1)[some].sum())
    questions = {NAME: (asked.sum(1), met.sum(1))}
    for number, kind in enumerate(KINDS):
        questions[f"{NAME}_{kind}"] = asked[:, number], met[:, number]
    made = {}
    for name, pair in questions.items():
        table = np.stack(pair, 1)[pair[0] > 0]  # pictures that were asked
        if len(table):
            made[name] = bootstrap(name, _met, table, rng=rng.at(name), draws=draws)
    return {**made, f"{NAME}_whole": share(f"{NAME}_whole", whole, int(some.sum()))}


def _met(table: NDArray[np.int64]) -> float:
    """The share of questions that were met, of rows (asked, met)."""
    return float(table[:, 1].sum() / table[:, 0].sum())
