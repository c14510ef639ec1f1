"""Segmentation: does a picture painted to a layout show, place by place, what the layout says?

A network trained to segment real pictures is shown the samples, and its answer is held against the layouts they were
painted to. Counts of pixels by true class t and predicted class p, C[t, p], give

    IoU_c = C[c, c] / (sum_p C[c, p] + sum_t C[t, c] - C[c, c]),    mIoU = mean over classes present of IoU_c,
    pixel accuracy = sum_c C[c, c] / sum C,

over the whole set, as Cityscapes and VOC count, not picture by picture. A class that is nowhere in the truth is
missing: it is left out of the mean instead of entering as 0 or 1. Where it was predicted nevertheless the classes it
stands on pay for it. Some programs count such a class as 0, so that one stray pixel costs 1/K.

The segmenter errs on real pictures as well, so what it scores on those and their own layouts stands beside every
number, as the ceiling. Neighbouring pixels agree, so intervals are bootstraps over pictures.

Source: Everingham et al. 2010, "The PASCAL visual object classes (VOC) challenge" (section 4.3); as a measure of
samples, Isola et al. 2017, "Image-to-image translation with conditional adversarial networks" (1611.07004, section 3.3)
and Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization" (1903.07291, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.metrics.estimate import Estimate, bootstrap

UNSAID = 255
Maps = Tensor | NDArray[np.integer]


def segmentation(
    predicted: Maps,
    truth: Maps,
    real: tuple[Maps, Maps],
    classes: int,
    ignored: int | None = UNSAID,
    rng: Rng | None = None,
    draws: int = 400,
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """``miou`` and ``pixel_accuracy`` of samples, and the same of real pictures: the ceiling.

    Arguments:
        predicted: classes that a segmenter sees in samples (N, H, W).
        truth: the layouts the samples were painted to (N, H, W).
        real: what it sees in real pictures (M, H, W), and their layouts.
        classes: how many there are; pixels hold 0 to ``classes - 1``.
        ignored: the value of pixels in the truth that are not judged, or None.
        rng: one key for the bootstrap.
        draws: its resamplings.
    """
    ours, theirs = (
        {
            "miou": mean_iou(seen, said, classes, ignored, rng, draws),
            "pixel_accuracy": pixel_accuracy(seen, said, classes, ignored, rng, draws),
        }
        for seen, said in ((predicted, truth), real)
    )
    return ours, theirs


def mean_iou(
    predicted: Maps,
    truth: Maps,
    classes: int,
    ignored: int | None = UNSAID,
    rng: Rng | None = None,
    draws: int = 400,
) -> Estimate:
    """The mean over classes present in the truth of intersection over union, between 0 and 1; high is good.

    Arguments:
        predicted, truth: classes by pixel (N, H, W).
        classes, ignored, rng, draws: as in :func:`segmentation`.
    """
    table = _counts(predicted, truth, classes, ignored)
    return bootstrap("miou", _mean_iou, table, rng=rng, draws=draws)


def pixel_accuracy(
    predicted: Maps,
    truth: Maps,
    classes: int,
    ignored: int | None = UNSAID,
    rng: Rng | None = None,
    draws: int = 400,
) -> Estimate:
    """The share of judged pixels that show their class; high is good, and one large class may be most of it.

    Arguments:
        predicted, truth: classes by pixel (N, H, W).
        classes, ignored, rng, draws: as in :func:`segmentation`.
    """
    table = _counts(predicted, truth, classes, ignored)
    return bootstrap("pixel_accuracy", _accuracy, table, rng=rng, draws=draws)


def class_iou(predicted: Maps, truth: Maps, classes: int, ignored: int | None = UNSAID) -> NDArray[np.float64]:
    """Intersection over union by class (K,); NaN where the truth has none of it.

    Arguments:
        predicted, truth, classes, ignored: as in :func:`mean_iou`.
    """
    return _iou(_counts(predicted, truth, classes, ignored))


def class_estimates(
    predicted: Maps,
    truth: Maps,
    classes: int,
    ignored: int | None = UNSAID,
    rng: Rng | None = None,
    draws: int = 400,
) -> dict[int, Estimate]:
    """Intersection over union by class, of classes that the truth has; one that is missing has no entry.

    Each is counted over the pictures that hold the class or are said to, and its interval is over those.

    Arguments:
        predicted, truth, classes, ignored, rng, draws: as in :func:`mean_iou`.
    """
    table, found = _counts(predicted, truth, classes, ignored), dict[int, Estimate]()
    key = Rng([0]) if rng is None else rng
    for number in np.flatnonzero(table[:, 1].sum(0)).tolist():
        own = table[:, :, number]
        rows = own[own[:, 1:].any(1)]
        found[number] = bootstrap(f"iou_{number}", _one_iou, rows, rng=key.at(str(number)), draws=draws)
    return found


def confusion(predicted: Maps, truth: Maps, classes: int, ignored: int | None = UNSAID) -> NDArray[np.int64]:
    """Pixels by true class (rows) and predicted class (columns), int64 (K, K); sets are added by adding theirs.

    Arguments:
        predicted, truth, classes, ignored: as in :func:`mean_iou`.
    """
    total = np.zeros((classes, classes), dtype=np.int64)
    for one in _confusions(predicted, truth, classes, ignored):
        total += one
    return total


def _confusions(predicted: Maps, truth: Maps, classes: int, ignored: int | None) -> Iterator[NDArray[np.int64]]:
    """The confusion (K, K) of each picture."""
    seen, said = (np.asarray(torch.as_tensor(maps).detach().cpu()) for maps in (predicted, truth))
    if seen.ndim != 3 or seen.shape != said.shape or seen.size == 0 or {seen.dtype.kind, said.dtype.kind} - {"i", "u"}:
        raise Refusal(
            "segmentation compares two arrays (N, H, W) of whole numbers, "
            f"not {seen.dtype} of {seen.shape} and {said.dtype} of {said.shape}"
        )
    for own, other in zip(seen, said, strict=True):
        judged = np.ones(other.shape, dtype=bool) if ignored is None else other != ignored
        t, p = other[judged].astype(np.int64), own[judged].astype(np.int64)
        if len(t) and not (0 <= min(t.min(), p.min()) and max(t.max(), p.max()) < classes):
            raise Refusal(
                f"pixels hold {min(t.min(), p.min())} to {max(t.max(), p.max())}, but with {classes} classes they must "
                f"hold 0 to {classes - 1}, or {ignored} in the truth where they are not judged"
            )
        yield np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes)


def _counts(predicted: Maps, truth: Maps, classes: int, ignored: int | None) -> NDArray[np.int64]:
    """Pixels right, true and predicted by picture and class (N, 3, K), of pictures with any pixel to judge."""
    rows = [np.stack([np.diag(one), one.sum(1), one.sum(0)]) for one in _confusions(predicted, truth, classes, ignored)]
    table = np.stack([row for row in rows if row[1].any()] or [np.zeros((3, classes), dtype=np.int64)])
    if not table.any():
        raise Refusal("every pixel of the truth is to be ignored, so there is nothing to judge")
    return table


def _iou(table: NDArray[np.int64]) -> NDArray[np.float64]:
    right, true, predicted = table.sum(0)
    scores: NDArray[np.float64] = np.where(true > 0, right / np.maximum(true + predicted - right, 1), np.nan)
    return scores


def _mean_iou(table: NDArray[np.int64]) -> float:
    return float(np.nanmean(_iou(table)))


def _one_iou(rows: NDArray[np.int64]) -> float:
    right, true, predicted = rows.sum(0)
    return float(right / (true + predicted - right))


def _accuracy(table: NDArray[np.int64]) -> float:
    right, true, _ = table.sum(0)
    return float(right.sum() / true.sum())
