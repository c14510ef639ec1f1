"""The contract of a pipeline: ``(cond, rng) -> x``, one sample a key, each a function of its own key and condition.

Searches, metrics and the command line call samplers, starts, cascades and students alike and never ask what is inside.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.testing.expect import Broken, close, expect, finite, same, works
from mezzotint.testing.spec import check_made
from mezzotint.testing.truth import SHAPE, labels

_COUNT = 5


def check_pipeline(pipeline: Pipeline, cond: Condition | None = None, tolerance: float = 0.0) -> None:
    """Check that a pipeline keeps the promises searches, metrics and the command line rely on.

    Arguments:
        pipeline: an instance, or a function.
        cond: what it is to make samples of, five rows; None: the first of some (nothing, labels, samples to begin with
            under the names in its ``families``) that it does not refuse.
        tolerance: how closely samples agree in batches of other sizes; 0: to the last bit.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(pipeline).__name__
    if isinstance(pipeline, Part):
        check_made(pipeline)
    told = _fitting(pipeline, who) if cond is None else cond
    rng = Rng(range(_COUNT))
    with works(f"sampling from {who}", "that is what it is for"):
        x = pipeline(told, rng)
        expect(len(x) == _COUNT, f"{who} should make a sample for each of {_COUNT} keys but makes {len(x)}")
        if x.is_floating_point():
            finite(f"samples of {who}", x, "one NaN spoils a sheet")
        same(f"{who} called twice", pipeline(told, rng), x, "all that is random is in the keys")
        different = len(torch.unique(x.flatten(1), dim=0))
        expect(
            different == _COUNT,
            f"{who} should make different samples of different keys but makes {different} of {_COUNT}",
        )
        for rows in ([3], [4, 0, 2]):
            few = pipeline(told[rows] if told else told, rng[rows])
            what, why = (
                f"samples {rows} of {who} in a batch of their own",
                "sample k depends on its key and condition only",
            )
            close(what, few, x[rows], tolerance, why) if tolerance else same(what, few, x[rows], why)


def _conditions(pipeline: object) -> Iterator[Condition]:
    families = tuple(getattr(pipeline, "families", ()))
    own, asked = getattr(pipeline, "shape", None), getattr(pipeline, "denoiser", None)
    shape: tuple[int, ...] = tuple(own if own is not None else getattr(asked, "shape", SHAPE))
    draws = Rng(range(_COUNT))
    for size in (shape, (1, *shape[1:])):
        begun = Condition(**{name: draws.normal(name, size).double() for name in families})
        yield from (begun, begun | labels(_COUNT)) if families else (NONE, labels(_COUNT))


def _fitting(pipeline: Pipeline, who: str) -> Condition:
    reasons = []
    for told in _conditions(pipeline):
        try:
            pipeline(told, Rng(range(_COUNT)))
        except Refusal as error:
            reasons.append(str(error))
        else:
            return told
    raise Broken(
        f"{who} should take no condition, labels or its own families but refuses all ({reasons[-1]}); give cond"
    )
