"""Error by noise level, and what it means: nothing learnt, less than two moments, a memory, an untrained null.

A *table* has one row a level of noise: who answered, on which pictures, and the squared error. What is judged is
judged where it can be: at levels that training looked at, and where knowing more than the mean would help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mezzotint.doctor.finding import Finding, Unknown

LOOKED_AT = 0.02
_SLOW, _NEAR = 1e-5, 0.02  # a rate that few train with, and a way in which no weight of unit scale has moved
_NOTHING, _ROOM, _WORSE, _TOLD, _BY_HEART, _GARBAGE, _BEHIND = 0.97, 0.9, 1.1, 0.01, 0.5, 1.1, 1.1


@dataclass(frozen=True)
class Level:
    """Squared errors of the clean estimate at one level, per entry.

    Arguments:
        level: the share of noise u.
        share: of the training draws that fell into its bin; None where the log does not say.
        mean: of the mean of the pictures.
        trivial: of the best answer that knows only their spread.
        linear: of the best linear guess.
        model: of the exported average, on pictures it never saw where there are such.
        weights: of the weights in training, which it averages.
        null: of the model where it is told nothing, None where it cannot be.
        seen: of the model on pictures it was trained on.
        by_heart: of the exact denoiser of the training set on those, None where there is none.
        by_heart_new: the same on the pictures of ``model``.
    """

    level: float
    share: float | None
    mean: float
    trivial: float
    linear: float
    model: float
    weights: float
    null: float | None
    seen: float
    by_heart: float | None
    by_heart_new: float | None

    @property
    def floor(self) -> float:
        """The better of the two trivial answers."""
        return min(self.mean, self.trivial)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def looked_at(table: Sequence[Level]) -> list[Level]:
    """The levels that training drew at least one time in fifty."""
    return [row for row in table if row.share is None or row.share >= LOOKED_AT]


def unlearnt(table: Sequence[Level], run: str, images: int, rate: float, steps: int, peak: float) -> list[Finding]:
    """A model that is no better than an answer without training.

    Arguments:
        table: by level.
        run: the folder, as it is written on a command line.
        images: seen so far.
        rate: the mean learning rate of a step; Adam moves no weight much farther in one.
        steps: so far.
        peak: the highest learning rate.
    """
    rows = looked_at(table)
    room = [row for row in rows if row.linear < _ROOM * row.floor]
    if not room:
        raise Unknown("at no level that training looks at would a linear guess beat the trivial one")
    slow = rate < _SLOW and rate * steps < _NEAR
    longer = f"mezzotint train {run} --resume --images {2 * images}"
    faster = f"mezzotint train {run} --out {run}-faster --set training.rate.peak={10 * peak:.1g}"
    why = f"; its learning rates add up to {rate * steps:.2g}, and Adam moves no weight much farther" if slow else ""
    if all(row.model > _NOTHING * row.floor for row in room):
        worst = max(row.model / row.floor for row in room)
        least = min(row.model / row.floor for row in room)
        seen = f"no better than the trivial predictor at any level: {least:.2f} to {worst:.2f} times its error"
        return [Finding("nothing learnt", "wrong", seen + why, faster if slow else longer)]
    worse = [row for row in rows if row.model > max(_WORSE * row.linear, row.linear + _TOLD * row.floor)]
    if not worse:
        return []
    worst = max(row.model / row.linear for row in worse)
    where = ", ".join(f"{row.level:.2f}" for row in worse)
    seen = f"worse than the best linear guess at {len(worse)} of {len(rows)} levels ({where}), up to {worst:.1f} times "
    seen += "its error"
    return [Finding("worse than linear", "warning", seen + why, faster if slow else longer)]


def memorised(table: Sequence[Level], run: str, images: int) -> list[Finding]:
    """A model that repeats its training pictures.

    Between its own error on new pictures (0) and the error of the exact denoiser of the training set on training
    pictures (1), where does the model's error on training pictures lie? Judged where the exact one is far below.
    """
    shares = [
        (row.model - row.seen) / (row.model - row.by_heart)
        for row in looked_at(table)
        if row.by_heart is not None and row.by_heart < 0.5 * row.model
    ]
    if not shares:
        raise Unknown("memory shows only beside held-out pictures, a few thousand training pictures, and normal noise")
    share = float(np.mean(shares))
    if share <= _BY_HEART:
        return []
    gap = float(np.exp(np.mean([np.log(row.model / max(row.seen, 1e-300)) for row in looked_at(table)])))
    seen = f"it repeats its training pictures: {share:.0%} of the way to the exact denoiser of the training set, and "
    seen += f"{gap:.1f} times the error on pictures it never saw"
    fix = f"mezzotint train {run} --out {run}-shorter --images {max(1, images // 4)}, or bring more pictures"
    return [Finding("learnt by heart", "warning", seen, fix)]


def garbage(table: Sequence[Level], families: Sequence[str], run: str, loss: str) -> list[Finding]:
    """A null that counts as trained, and answers worse than without a model where the model itself is good.

    Arguments:
        table: errors by level.
        families: whose null counts as trained.
        run: the folder, as it is written on a command line.
        loss: where in its config the loss stands that drops conditions.
    """
    rows = [row for row in looked_at(table) if row.null is not None and row.model < _ROOM * row.floor]
    bad = [row for row in rows if row.null is not None and row.null > _GARBAGE * row.floor]
    if not bad:
        return []
    worst = max(row.null / row.floor for row in bad if row.null is not None)
    where = ", ".join(f"{row.level:.2f}" for row in bad)
    seen = f"without {' and '.join(families)} the model answers worse than the trivial predictor at {len(bad)} of "
    seen += f"{len(rows)} levels ({where}), up to {worst:.1f} times its error: guidance would push away from garbage"
    fix = f"mezzotint train {run} --out {run}-null --set {loss}.dropout=0.1"
    return [Finding("untrained null", "wrong", seen, fix)]


def behind(table: Sequence[Level], name: str, fix: str) -> list[Finding]:
    """An average that is much worse than the weights it averages."""
    rows = looked_at(table)
    ratio = float(np.exp(np.mean([np.log(max(row.model, 1e-300) / max(row.weights, 1e-300)) for row in rows])))
    if ratio <= _BEHIND:
        return []
    seen = f"the exported average {name} has {ratio:.2f} times the error of the weights it averages"
    return [Finding("average behind", "warning", seen, fix)]
