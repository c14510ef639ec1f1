"""An estimate: a number with its interval and its counts, because a number without them cannot be compared.

Shares get the Wilson interval, which holds its level near 0 and 1 and for small counts (Wilson 1927, "Probable
inference, the law of succession, and statistical inference"); means of one number a picture get Student's. Other
statistics get a bootstrap over pictures (Efron 1979), shifted to stand around the measured value: resampling repeats
pictures, which biases statistics like the Frechet distance upwards, and that bias belongs to the bootstrap, not to the
interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.stop import poll

Z = 1.959963984540054  # 97.5 % quantile of the standard normal
_CHUNK = 50  # resamplings whose rows are drawn at once


@dataclass(frozen=True)
class Estimate:
    """A measured number and its 95 % interval.

    Arguments:
        name: what was measured.
        value: the number.
        low, high: the 95 % interval.
        count: pictures judged.
        against: pictures they were compared with, where there are any.
    """

    name: str
    value: float
    low: float
    high: float
    count: int
    against: int | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} [{self.low:.4g}, {self.high:.4g}] of {self.count}"

    def plain(self) -> dict[str, Any]:
        """The estimate as plain data for JSON; an interval that was not computed is None, what is infinite a word."""
        return {key: _said(value) for key, value in asdict(self).items()}


def _said(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def share(name: str, hits: int, count: int, against: int | None = None) -> Estimate:
    """``hits / count`` with Wilson's interval.

    (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n).
    """
    if not 0 <= hits <= count or count == 0:
        raise Refusal(f"a share needs at least one picture and no more hits than pictures, not {hits} of {count}")
    p, z = hits / count, Z
    centre, spread = p + z * z / (2 * count), z * np.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    low, high = ((centre + sign * spread) / (1 + z * z / count) for sign in (-1, 1))
    return Estimate(name, p, float(max(low, 0.0)), float(min(high, 1.0)), count, against)


def mean(name: str, values: NDArray[Any], against: int | None = None) -> Estimate:
    """The mean of one value a picture, with Student's interval: mean +- t(0.975, N - 1) s / sqrt(N).

    Arguments:
        values: one number a picture (N,), at least two for an interval (else NaN).
        against: pictures they were compared with, where there are any.
    """
    from scipy.special import stdtrit  # loaded when needed

    if values.ndim != 1 or len(values) == 0:
        raise Refusal(f"a mean over pictures needs one value a picture (N,), not values of shape {values.shape}")
    count, value = len(values), float(np.mean(values, dtype=np.float64))
    if count < 2 or not np.isfinite(value):
        return Estimate(name, value, np.nan, np.nan, count, against)
    half = float(stdtrit(count - 1, 0.975) * np.std(values, ddof=1, dtype=np.float64) / np.sqrt(count))
    return Estimate(name, value, value - half, value + half, count, against)


def bootstrap(
    name: str,
    statistic: Callable[..., float],
    *tables: NDArray[Any],
    rng: Rng | None = None,
    draws: int = 100,
) -> Estimate:
    """A statistic of one or two tables of rows, with the shifted percentile interval of ``draws`` resamplings.

    Arguments:
        statistic: called with the tables, or as many tables with rows drawn with replacement.
        tables: arrays (N, ...), resampled independently.
        rng: one key; by default ``Rng([0])``.
        draws: resamplings; 0 gives no interval (NaN).
    """
    value = float(statistic(*tables))
    keys = (Rng([0]) if rng is None else rng).at("bootstrap").split(draws)
    drawn = []
    for start in range(0, draws, _CHUNK):
        poll()
        some = keys[start : start + _CHUNK]
        picks = [
            (some.at(place).uniform("rows", (len(table),)).numpy() * len(table)).astype(np.int64)
            for place, table in enumerate(tables)
        ]
        drawn += [
            statistic(*(table[pick[row]] for table, pick in zip(tables, picks, strict=True)))
            for row in range(len(some))
        ]
    low, high = np.quantile(drawn, (0.025, 0.975)) - np.mean(drawn) if draws else (np.nan, np.nan)
    against = len(tables[1]) if len(tables) > 1 else None
    return Estimate(name, value, value + float(low), value + float(high), len(tables[0]), against)
