"""Layouts: do pictures show what the layouts say that they were painted to, and how much do they add of their own?

A :class:`~mezzotint.metrics.Segmenter` that learnt from the training pictures says what stands where in the samples,
and its answer is held against the layouts, thing by thing (:mod:`~mezzotint.metrics.segmentation`). Beside it stands
what it says of real held-out pictures and their own layouts, which is the ceiling. Of scenes whose layouts say colours
readers that were fitted to nothing are asked the same (``miou_read``); where they are not sure they are wrong, since a
picture that cannot be read does not show what it was asked to.

A layout leaves open what its things look like. How far apart several samples of one layout lie,

    V = mean over layouts c of  2 / (n (n - 1)) sum over i < j of |f(x_ci) - f(x_cj)|,

says how much of that a model uses: 0 is one picture a layout, whatever the seed. Nothing real stands beside it, since
of every layout there is one real picture; read it with the distances to real pictures, as noise is variety as well. The
interval is Student's over layouts.

Source: Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization" (1903.07291, section 4), for
the mean of intersections over unions; Wang et al. 2022, "Semantic image synthesis via diffusion models" (2207.00050,
section 4.1), for ten samples a layout. They measure with networks of others' (LPIPS among them) and we with our own:
numbers compare within this library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.stop import poll
from mezzotint.data.resize import check_aspect
from mezzotint.data.scenes.reader import Reader
from mezzotint.data.scenes.reading import UNSURE
from mezzotint.data.scenes.scenes import Scenes
from mezzotint.data.scenes.words import COLOURS
from mezzotint.metrics.estimate import Estimate, mean
from mezzotint.metrics.pictures import Fingerprint, Source, flat, shown, shrink, subset
from mezzotint.metrics.seen import PIXEL_SIDE
from mezzotint.metrics.segmentation import UNSAID, class_estimates, mean_iou, pixel_accuracy
from mezzotint.metrics.segmenter import IMAGES, SIDE, Segmenter, brought

Found = dict[str, tuple[Estimate, Estimate | None]]
SEGMENTED = ("miou", "pixel_accuracy", "iou")
READ, VARIETY = "miou_read", "layout_diversity"
NAMES = (*SEGMENTED, READ, VARIETY)
READABLE, LOOKED_AT = 100, 5_000
"""Pictures of either set that are read, which takes a tenth of a second for each, and several where they are no scenes;
and that are segmented."""
_PIECE, _AT_ONCE = 256, 16


@dataclass(frozen=True)
class Asked:
    """What samples were asked to show.

    Arguments:
        layouts: whole numbers (N, H, W), 255 where nothing is said.
        things: names of the numbers; () where nobody has named them.
        alike: several samples of one layout each, (layouts, samples, C, H, W), or None.
    """

    layouts: Tensor | None = None
    things: tuple[str, ...] = ()
    alike: Tensor | None = None

    def check(self, count: int, size: tuple[int, int]) -> None:
        """Refuse layouts that are not one a sample, or have another aspect than the samples, of (height, width)."""
        maps = self.layouts
        if maps is not None and (maps.ndim != 3 or maps.is_floating_point() or len(maps) != count):
            raise Refusal(f"{count} samples have layouts of whole numbers ({count}, H, W), not {tuple(maps.shape)}")
        if maps is not None:
            check_aspect("a layout", maps.shape[1:], size, "its sample")

    def name(self, number: int) -> str:
        """Of a thing."""
        return self.things[number] if number < len(self.things) else str(number)


def tells_layouts(source: Source) -> bool:
    """Whether a data set tells layouts: whole numbers (B, H, W)."""
    return len(source) > 1 and _maps(source[subset(2, None)][1]) is not None


def learnt(train: Source, held_out: Source, *, things: Sequence[str] = (), **given: Any) -> Segmenter:
    """The segmenter of a split that tells layouts, of at most 24,000 of its pictures, read a piece at a time.

    Arguments:
        train, held_out: splits; of the second as many as are judged are its ceiling in the record.
        things: names of the numbers; there is an answer for each, and for every number that the layouts hold.
        given: further arguments of :meth:`~mezzotint.metrics.Segmenter.train`.
    """
    (images, layouts, sha256), fresh = _small(train, IMAGES), _small(held_out, LOOKED_AT)[:2]
    highest = max(
        (int(maps[maps != UNSAID].max()) for maps in (layouts, fresh[1]) if (maps != UNSAID).any()), default=0
    )
    given = {"classes": max(len(things), highest + 1), "sha256": sha256, **given}
    return Segmenter.train(images, layouts, fresh, **given)


def layouts_digest(train: Source) -> str:
    """The fingerprint of the pictures and layouts that :func:`learnt` takes of a split."""
    return _small(train, IMAGES, keep=False)[2]


def _small(source: Source, limit: int, keep: bool = True) -> tuple[Tensor, Tensor, str]:
    """Pictures at the size a segmenter looks at, their layouts, and the fingerprint of both as they were."""
    images, layouts, digest = list[Tensor](), list[Tensor](), Fingerprint()
    for pictures, maps in pieces(source, limit):
        digest.whole(pictures)
        digest.whole(maps)
        if keep:
            images.append(shrink(pictures, SIDE))
            layouts.append(brought(maps, (images[-1].shape[-2], images[-1].shape[-1])))
    none = torch.empty(0)
    return torch.cat(images or [none]), torch.cat(layouts or [none]), digest.hexdigest()


def pieces(source: Source, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures and layouts of a fixed random subset of a split, some at a time.

    Raises:
        Refusal: it tells no layouts, or such as have another aspect than their pictures.
    """
    rows = subset(len(source), limit)
    for at in range(0, len(rows), _PIECE):
        poll()
        pictures, cond = source[rows[at : at + _PIECE]]
        maps = _maps(cond)
        if maps is None:
            raise Refusal("a segmenter learns from pictures that tell layouts, and these tell none")
        check_aspect("a layout", maps.shape[1:], pictures.shape[-2:])
        yield shown(pictures, "the pictures to segment"), maps.detach().cpu()


def _maps(cond: Any) -> Tensor | None:
    maps = cond["layout"] if "layout" in cond else None
    return maps if maps is not None and maps.ndim == 3 and not maps.is_floating_point() else None


def lacks(name: str, asked: Asked, eye: bool, held_out: Source) -> str:
    """What a measure of this room lacks, in words; nothing where it lacks nothing.

    Arguments:
        name: of the measure.
        asked: what the samples were asked to show.
        eye: whether there is a segmenter, or data to train one.
        held_out: the pictures that make the ceiling.
    """
    if name == VARIETY:
        return "several samples of one layout each" if asked.alike is None else ""
    if asked.layouts is None or not tells_layouts(held_out):
        return "layouts of the samples and of the held-out pictures"
    if name != READ:
        return "" if eye else "a segmenter, or training pictures with layouts, from which one learns"
    known = isinstance(held_out, Scenes) and held_out.style == "photo" and held_out.layout == "colour"
    return "" if known else "scenes, painted in the style 'photo', whose layouts say colours"


def segmented(
    segmenter: Segmenter,
    samples: Source,
    asked: Asked,
    held_out: Source,
    names: Sequence[str] = SEGMENTED,
    rng: Rng | None = None,
    draws: int = 400,
) -> tuple[Found, list[str]]:
    """``miou``, ``pixel_accuracy`` and ``iou_<thing>`` of samples, beside held-out pictures under their own layouts.

    Arguments:
        segmenter: trained on real pictures.
        samples: pictures, in the order of ``asked.layouts``; of more than 5,000 a fixed random subset.
        asked: what they were asked to show.
        held_out: real pictures that tell layouts; as many, if there are.
        names: which of the three; ``iou`` is one number a thing.
        rng: one key for the bootstrap.
        draws: its resamplings.

    Returns:
        The estimates with those of real pictures, and the things that the layouts of the samples never ask for, of
        which nothing can be said.
    """
    assert asked.layouts is not None
    some = subset(len(samples), LOOKED_AT)
    own = _seen(segmenter, ((samples[rows][0], asked.layouts[rows]) for rows in _split(some)))
    real = _seen(segmenter, pieces(held_out, len(some)))
    most = max(int(maps[maps != UNSAID].max()) for _, maps in (own, real) if (maps != UNSAID).any())
    classes, rng = max(segmenter.classes, len(asked.things), most + 1), Rng([0]) if rng is None else rng
    found: Found = {}
    for name, ask in (("miou", mean_iou), ("pixel_accuracy", pixel_accuracy)):
        if name in names:
            pair = [ask(*both, classes, rng=rng.at(name), draws=draws) for both in (own, real)]
            found[name] = pair[0], pair[1]
    each, other = (class_estimates(*both, classes, rng=rng.at("iou"), draws=draws) for both in (own, real))
    if "iou" in names:
        found |= {f"iou_{asked.name(number)}": (mine, other.get(number)) for number, mine in each.items()}
    return found, [asked.name(number) for number in range(classes) if number not in each]


def _split(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    yield from (rows[at : at + _PIECE] for at in range(0, len(rows), _PIECE))


def _seen(segmenter: Segmenter, both: Any) -> tuple[Tensor, Tensor]:
    """What a segmenter sees in pictures, and what their layouts say, at the size of the pictures."""
    seen, said = list[Tensor](), list[Tensor]()
    for pictures, maps in both:
        poll()
        seen.append(torch.from_numpy(segmenter.segment(shown(pictures, "the pictures to segment"))))
        said.append(brought(maps.detach().cpu(), (pictures.shape[-2], pictures.shape[-1])))
    return torch.cat(seen), torch.cat(said)


def read(
    samples: Source,
    asked: Asked,
    held_out: Scenes,
    rng: Rng | None = None,
    draws: int = 400,
    tell: Callable[[int, int], None] | None = None,
) -> Found:
    """``miou_read``: the mean intersection over union of what readers see, of at most 100 pictures of either set.

    A pixel of which they are not sure is a wrong one: it enters the union of the thing that should be there.

    Arguments:
        samples, asked, held_out, rng, draws: as in :func:`segmented`; pictures are scenes, and layouts their colours.
        tell: told how many pictures have been read, of how many.
    """
    assert asked.layouts is not None
    some = subset(len(samples), READABLE)
    ours = shown(samples[some][0], "the samples"), asked.layouts[some].cpu()
    theirs, cond = held_out[subset(len(held_out), len(some))]
    total, done, pair = len(ours[0]) + len(theirs), 0, list[Estimate]()
    reader = Reader()
    for pictures, said in (ours, (theirs, cond["layout"])):
        seen = list[Tensor]()
        for at in range(0, len(pictures), _AT_ONCE):
            poll()
            seen.append(reader.segment(pictures[at : at + _AT_ONCE]))
            done += len(seen[-1])
            if tell is not None:
                tell(done, total)
        # "Unsure" is one more class, which no layout says: missing from the mean, and wrong wherever it stands.
        answer = torch.cat(seen).masked_fill_(torch.cat(seen) == UNSURE, len(COLOURS) + 1)
        key = Rng([0]) if rng is None else rng
        pair.append(mean_iou(answer, said, len(COLOURS) + 2, rng=key.at(READ), draws=draws))
    return {READ: (pair[0], pair[1])}


def layout_diversity(alike: Tensor, segmenter: Segmenter | None = None) -> Estimate:
    """The mean distance of two samples of one layout, in the segmenter's features; more is more variety, or noise.

    Arguments:
        alike: several samples of one layout each, (layouts, samples, C, H, W); two of each at least.
        segmenter: whose features; None: pixels, of pictures shrunk by area to at most 16 a side.
    """
    if alike.ndim != 5 or len(alike) < 1 or alike.shape[1] < 2:
        raise Refusal(
            "the variety within layouts needs pictures (layouts, samples, C, H, W), two of each layout at least, not "
            f"{tuple(alike.shape)}"
        )
    pictures = shown(alike.flatten(0, 1), "the samples of one layout")
    table = flat(pictures, PIXEL_SIDE) if segmenter is None else segmenter.features(pictures)
    groups = torch.from_numpy(table).reshape(len(alike), alike.shape[1], -1)
    return mean(VARIETY, np.array([float(torch.pdist(group).mean()) for group in groups]))
