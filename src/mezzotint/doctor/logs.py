"""What the log of a run says by itself: a loop that waits for data, steps that were skipped, a loss that went up again.

All are functions of the lines of ``metrics.jsonl``; no model is built.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.doctor.finding import Finding, Unknown

Row = Mapping[str, Any]
WAITING = 0.25
LOST = 0.25
_LINES = 20
_SURE, _EXPLODED = 10.0, 10.0


def readable(read: Callable[[], Sequence[tuple[bytes, Row | None]]], run: str) -> list[Finding]:
    """A log that cannot be read, or lines in it that cannot: what they said is in no chart and no check.

    Arguments:
        read: gives its lines, and what they say.
        run: the folder, as it is written on a command line.
    """
    try:
        lines = read()
    except (Refusal, OSError) as reason:
        fix = f"mv {run}/metrics.jsonl {run}/metrics.old.jsonl"
        return [Finding("log unreadable", "warning", f"nothing can be told from the log: {reason}", fix)]
    bad = [number for number, (_, row) in enumerate(lines, 1) if row is None]
    if not bad:
        return []
    many = "1 line cannot" if len(bad) == 1 else f"{len(bad):,} lines cannot"
    seen = f"{many} be read among the {len(lines):,} of metrics.jsonl: "
    seen += f"number {', '.join(map(str, bad[:5]))}{', ...' if len(bad) > 5 else ''}; they are kept, and say nothing"
    fix = f"sed -n {bad[0]}p {run}/metrics.jsonl, and put it right from a copy, or delete it"
    return [Finding("log damaged", "warning", seen, fix)]


def waiting(rows: Sequence[Row], run: str, workers: int, cores: int, finished: bool = False) -> list[Finding]:
    """A loop that waits for its data more than a quarter of the time.

    The median over log lines counts, without the first: it holds the start of the workers and of the file system.

    Arguments:
        rows: of the log.
        run: the folder, as it is written on a command line.
        workers: that read data.
        cores: of this machine.
        finished: whether there is nothing left to train.
    """
    shares = [float(row["waiting"]) for row in rows if isinstance(row.get("waiting"), int | float)]
    if not shares:
        raise Unknown("the log does not say how long the loop waited for data: an older version wrote it")
    share = float(np.median(shares[1:] or shares))
    if share <= WAITING:
        return []
    pace = float(np.median([float(row["images_per_second"]) for row in rows if "waiting" in row]))
    more = max(workers + 1, min(4, cores))
    by = f"{workers} worker{'s' if workers > 1 else ''}" if workers else "the training process itself"
    seen = f"{share:.0%} of the time the loop waited for data, read by {by}: {pace:,.0f} images/s could be "
    seen += f"{pace / (1 - min(share, 0.99)):,.0f}"
    how = f"--out {run}-again" if finished else "--resume"
    return [Finding("data-bound", "warning", seen, f"mezzotint train {run} {how} --set training.workers={more}")]


def diverging(rows: Sequence[Row], run: str, peak: float, clip: float) -> list[Finding]:
    """A loss that exploded, or went up again by more than a quarter of what it had come down, and more than its noise.

    Exploded is ten times the first line: a new model answers like the trivial predictor. Otherwise medians over a tenth
    of the log are compared, five lines at least, and the noise is taken from the differences of neighbouring lines:
    on 5,000 logs that fell or rested with noise, 20 to 400 lines long, this found none that rose.

    Arguments:
        rows: of the log.
        run: the folder, as it is written on a command line.
        peak: the learning rate it was trained with.
        clip: the largest gradient norm; 0 is none.
    """
    lines = [row for row in rows if isinstance(row.get("loss"), int | float) and np.isfinite(row["loss"])]
    if len(lines) < _LINES:
        raise Unknown(f"the log has {len(lines)} losses, and a trend needs {_LINES}")
    losses = np.array([row["loss"] for row in lines], np.float64)
    wide = max(5, len(losses) // 10)
    smooth: NDArray[np.float64] = np.median(np.lib.stride_tricks.sliding_window_view(losses, wide), axis=1)
    best, last = int(smooth.argmin()), float(smooth[-1])
    up, down = last - float(smooth[best]), float(smooth[0] - smooth[best])
    noise = 1.4826 * float(np.median(np.abs(np.diff(losses)))) / np.sqrt(2 * wide)
    worst, first = int(losses.argmax()), float(losses[0])
    exploded = losses.min() > 0 and losses[worst] > _EXPLODED * first
    if not exploded and (up <= LOST * down or up <= _SURE * noise):
        return []
    clipped = sum(clip > 0 and float(row.get("norm", 0.0)) > clip for row in lines)
    if exploded:
        seen = f"the loss rose from {first:.3g} to {losses[worst]:.3g} at {lines[worst]['images']:,} images"
    else:
        seen = f"the loss was {smooth[best]:.3g} around {lines[best + wide // 2]['images']:,} images, and is {last:.3g}"
    seen += f"; {clipped} of {len(lines)} lines show a gradient beyond the clip of {clip:g}" if clip else ""
    fix = f"mezzotint train {run} --out {run}-calmer --set training.rate.peak={peak / 3:.1g}"
    return [Finding("loss diverged", "wrong", seen, fix)]


def skips(
    rows: Sequence[Row],
    run: str,
    trainer: Mapping[str, Any],
    finished: bool = False,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> list[Finding]:
    """Steps that were skipped because they were not finite, with where they began.

    Arguments:
        rows: of the log.
        run: the folder, as it is written on a command line.
        trainer: its ``precision``, ``rate`` (the peak), ``patience`` and ``batch``.
        finished: whether there is nothing left to train.
        weights: of the terms of the loss, by where the config has them.
    """
    skipped = [row for row in rows if row.get("event") == "skipped"]
    if not skipped:
        return []
    where, count = Counter(str(row.get("where")) for row in skipped).most_common(1)[0]
    first = next(row for row in skipped if str(row.get("where")) == where)
    last = skipped[-1].get("images", 0)
    after = [row for row in rows if "loss" in row and "event" not in row and row.get("images", 0) > last]
    stopped = len(skipped) >= int(trainer["patience"]) and not after
    seen = f"{len(skipped)} step{'s' if len(skipped) > 1 else ''} not finite, {count} of them from {where}, "
    seen += f"first at {first.get('images', 0):,} images" + ("; the run stopped there" if stopped else "")
    calmer = f"training.rate.peak={float(trainer['rate']) / 3:.1g}"
    heaviest = max(weights, key=lambda name: weights[name], default="")
    if trainer["precision"] != "fp32":
        change = "training.precision=fp32"
    elif skipped[0].get("images") == trainer["batch"] and weights.get(heaviest, 0.0) > 1.0:
        # The first step has learnt nothing yet: no rate is to blame, and an endless gradient no clip can mend.
        change = f"{heaviest}=1"
    elif where.startswith("the gradient"):
        change = f"{calmer} training.clip=0.5"
    else:
        change = calmer
    fix = f"mezzotint train {run} {f'--out {run}-again' if finished else '--resume'} --set {change}"
    return [Finding("not finite", "wrong" if stopped else "warning", seen, fix)]
