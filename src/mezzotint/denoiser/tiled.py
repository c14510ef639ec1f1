"""Samples larger than a model was made for: asked about in overlapping windows, whose answers are blended.

At every question x_t is cut into windows F_i(x_t) of one size, the denoiser answers each by itself, and an entry of the
answer is the weighted mean of what the windows that cover it say,

    D(x_t) = sum_i w_i F_i^-1(D(F_i(x_t))),   sum_i w_i = 1,

the closed form of MultiDiffusion (Bar-Tal et al. 2023, 2302.08113, eq. 5). Windows are brought to agree before every
step, and not after the last one, so no seam is left to mend, whatever the sampler. A weight is a product of one ramp an
axis: it rises linearly over an overlap while the neighbour's falls, and where one window is alone it is 1.

A window knows of what it borders on by their overlap, and of nothing further away: what is large enough to need the
whole picture falls apart into pieces that fit each other. A condition that lies on the grid of x, such as a picture of
low resolution, is what keeps them in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from types import EllipsisType

import torch
from torch import Tensor

from mezzotint.core.batched import cat
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Dirac, Distribution, Gaussian
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want, Wrapper

Sides = int | tuple[int, ...]
_Place = tuple[int, ...]
"""Where a window begins along each axis of space."""
_Index = tuple[EllipsisType | slice, ...]


class Tiled(Wrapper):
    """Asks about overlapping windows of x and blends the answers, entry by entry, with weights that sum to one.

    Axes of x no longer than a window are not cut; a sample that is one window is passed on as it is, to the bit. Of
    Gaussian answers means and variances are blended, where the weighted mean of variances is the variance that windows
    which agree agree on.

    Arguments:
        denoiser: of real data, over one axis of space or more.
        tile: the size of a window, a number or one an axis of space; None: the denoiser's own.
        overlap: the least that neighbours share; None: a quarter of a window. 0 blends nothing and leaves seams.
        families: values of the condition that lie on the grid of x, by their name, such as ``low`` or ``known.x``, with
            how many entries of x each of theirs stands for along an axis: ``{"low": 2}``, ``{"mask": 1}`` or one number
            an axis. They are (B, *space) or (B, C, *space) and are cut with x, windows beginning at whole entries of
            theirs. Every other value goes to every window whole.
        rows: windows of samples asked at once; None: a window of every sample.

    Raises:
        Refusal: x or a value of these families has no size that can be cut so, or the answer is no Dirac or Gaussian.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        tile: Sides | None = None,
        overlap: Sides | None = None,
        families: Mapping[str, Sides] | None = None,
        rows: int | None = None,
    ) -> None:
        super().__init__(denoiser)
        space = self.shape[1:]
        if not space or denoiser.process.kind != "real":
            raise Refusal(
                f"windows are cut along axes of space, and samples {tuple(self.shape)} of "
                f"{type(denoiser.process).__name__} have none: take a denoiser of pictures or of series"
            )
        self.tile = _sides("a window", space if tile is None else tile, len(space), 1)
        # A quarter, but of whole entries: a window of one entry has no neighbours to share it with.
        usual = tuple(side // 4 for side in self.tile)
        self.overlap = _sides("an overlap", usual if overlap is None else overlap, len(space), 0)
        self.families = {
            name: _sides(f"the factor of {name!r}", factor, len(space), 1) for name, factor in (families or {}).items()
        }
        # The least step by which all grids move by whole entries.
        self._unit = tuple(math.lcm(*axis) for axis in zip(*self.families.values(), strict=True)) or (1,) * len(space)
        for side, shared, unit in zip(self.tile, self.overlap, self._unit, strict=True):
            if side % unit:
                raise Refusal(f"windows of {self.tile} are not whole at the factors {dict(families or {})}")
            if side - shared < unit:
                raise Refusal(
                    f"windows of {self.tile} that share {self.overlap} do not move on by {self._unit}: take a smaller "
                    "overlap or larger windows"
                )
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
            raise Refusal(f"at least one row is asked at once, not {rows!r}")
        self.rows = rows

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        places, size = self._windows(tuple(x.shape[1:]))
        if len(places) == 1 or not len(x):
            return self.denoiser(x, t, cond, want)
        answers, count = [], len(x)
        for pieces in self._pieces(len(places), count):
            asked = [
                (self._cut(x, places[k], size)[i], _timed(t, x, places[k], size)[i], self._told(cond, x, places[k])[i])
                for k, i in pieces
            ]
            xs, ts, conds = zip(*asked, strict=True)
            answers.append(self.denoiser(torch.cat(xs), torch.cat(ts), cat(conds) if cond else cond, want))
        return self._blended(x, cat(answers), places, size, want)

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        places, size = self._windows(shape)
        if len(places) == 1:
            return self.denoiser.cost(shape, cond)
        x = torch.empty(0, *shape, device="meta")
        each = self.denoiser.cost((shape[0], *size), self._told(cond, x, places[0]))
        return None if each is None else len(places) * each

    def weights(self, space: tuple[int, ...]) -> list[tuple[tuple[slice, ...], Tensor]]:
        """Every window of samples of a size: where it lies, and its weights, float64 of the window's size."""
        places, size = self._windows((1, *space))
        return [(_slices(place, size), weight) for place, weight in self._weighted(places, size)]

    def _windows(self, shape: tuple[int, ...]) -> tuple[list[_Place], tuple[int, ...]]:
        """Where windows begin, and their size."""
        space = shape[1:]
        if len(space) != len(self.tile):
            raise Refusal(f"windows of {self.tile} are cut from samples of as many axes of space, not from {shape}")
        size = tuple(min(side, n) for side, n in zip(self.tile, space, strict=True))
        if size == space:
            return [(0,) * len(space)], size
        for n, unit in zip(space, self._unit, strict=True):
            if n % unit:
                factors = {name: f[0] if len(set(f)) == 1 else f for name, f in self.families.items()}
                raise Refusal(f"samples of {space} are not whole at the factors {factors}: pad them first")
        axes = [_starts(*each) for each in zip(space, size, self.overlap, self._unit, strict=True)]
        return list(product(*axes)), size

    def _pieces(self, windows: int, count: int) -> Iterator[list[tuple[int, slice]]]:
        """What is asked at once: windows, each with some rows."""
        rows = max(1, count) if self.rows is None else self.rows
        for start in range(0, windows * count, rows):
            piece, at = [], start
            while at < min(start + rows, windows * count):
                window, row = divmod(at, count)
                end = min(count, row + start + rows - at)
                piece.append((window, slice(row, end)))
                at += end - row
            yield piece

    def _cut(self, x: Tensor, place: _Place, size: tuple[int, ...]) -> Tensor:
        return x[_at(place, size)]

    def _told(self, cond: Condition, x: Tensor, place: _Place) -> Condition:
        """What is told of one window: the part of what lies on its grid, and all of the rest."""
        space = x.shape[2:]
        size = tuple(min(side, n) for side, n in zip(self.tile, space, strict=True))
        cut = {}
        for name, factor in self.families.items():
            if name not in cond:
                continue
            value = cond[name]
            grid = tuple(n // f for n, f in zip(space, factor, strict=True))
            if value.ndim <= len(grid) or tuple(value.shape[value.ndim - len(grid) :]) != grid:
                raise Refusal(
                    f"{name!r} is {tuple(value.shape)}, but at the factor {factor} it lies on {grid} for samples of "
                    f"{tuple(space)}"
                )
            start = tuple(n // f for n, f in zip(place, factor, strict=True))
            cut[name] = self._cut(value, start, tuple(n // f for n, f in zip(size, factor, strict=True)))
        return cond | Condition(**cut)

    def _weighted(self, places: list[_Place], size: tuple[int, ...]) -> Iterator[tuple[_Place, Tensor]]:
        """Every window's weights: a product of ramps, so that they sum to one along each axis and together."""
        ramps = []
        for number, side in enumerate(size):
            starts = sorted({place[number] for place in places})
            raw = [_ramp(starts, k, side) for k in range(len(starts))]
            total = torch.zeros(starts[-1] + side, dtype=torch.float64)
            for start, ramp in zip(starts, raw, strict=True):
                total[start : start + side] += ramp
            ramps.append({s: ramp / total[s : s + side] for s, ramp in zip(starts, raw, strict=True)})
        for place in places:
            weight = torch.ones((), dtype=torch.float64)
            for axis, start in zip(ramps, place, strict=True):
                weight = weight[..., None] * axis[start]
            yield place, weight

    def _blended(
        self, x: Tensor, answer: Distribution, places: list[_Place], size: tuple[int, ...], want: Want
    ) -> Distribution:
        """One answer about x of the answers about its windows, (windows * B, ...), windows first."""
        if type(answer) not in (Dirac, Gaussian):
            raise Refusal(
                f"windows are blended where answers are points or normal, and this is a {type(answer).__name__}: ask "
                "about whole samples"
            )
        weighted = [(place, weight) for place, weight in self._weighted(places, size)]

        def whole(value: Tensor) -> Tensor:
            space = tuple(x.shape[2:])
            value = value.expand(*value.shape[: value.ndim - len(size)], *size)
            out = value.new_zeros(len(x), *value.shape[1 : value.ndim - len(size)], *space)
            for k, (place, weight) in enumerate(weighted):
                part = value[k * len(x) : (k + 1) * len(x)]
                out[_at(place, size)] += weight.to(value) * part
            return out

        aux = {}
        for name, value in answer.aux.items():
            if name == "cost" and value.ndim == 1:
                aux[name] = value.reshape(len(places), len(x)).sum(0)
            elif value.ndim == x.ndim and tuple(value.shape[2:]) == size and value.is_floating_point():
                aux[name] = whole(value)
            elif name in want:
                raise Refusal(
                    f"{name!r} is {tuple(value.shape)} for windows of {size}, so it cannot be put together: ask about "
                    "whole samples"
                )
        if isinstance(answer, Gaussian):
            return Gaussian(whole(answer.mean), whole(answer.variance), aux)
        return Dirac(whole(answer.mean), aux)


def _sides(what: str, given: Sides, axes: int, least: int) -> tuple[int, ...]:
    sides = tuple(given) if isinstance(given, tuple | list) else (given,) * axes
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= least for n in sides)
    if len(sides) != axes or not whole:
        raise Refusal(
            f"{what} is a whole number from {least} up, or one for each of {axes} axes of space, not {given!r}"
        )
    return sides


def _slices(place: _Place, size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(start, start + side) for start, side in zip(place, size, strict=True))


def _at(place: _Place, size: tuple[int, ...]) -> _Index:
    """A window of the last axes."""
    return (..., *_slices(place, size))


def _timed(t: Tensor, x: Tensor, place: _Place, size: tuple[int, ...]) -> Tensor:
    """The times of a window, where entries of x stand at different ones."""
    if t.ndim != x.ndim:
        return t
    cut = _slices(place, size)
    index: _Index = (..., *(slice(None) if n == 1 else part for n, part in zip(t.shape[2:], cut, strict=True)))
    return t[index]


def _starts(size: int, side: int, overlap: int, unit: int) -> list[int]:
    """Where windows begin along one axis, spread evenly, the last one flush with the end; steps are whole units."""
    way = (size - side) // unit
    many = -(-way // ((side - overlap) // unit))
    return [unit * (k * way // many) for k in range(many + 1)] if many else [0]


def _ramp(starts: list[int], k: int, side: int) -> Tensor:
    """The share of window k before it is divided by what others say: 1, falling linearly where a neighbour lies."""
    at = torch.arange(side, dtype=torch.float64) + 0.5
    ramp = torch.ones(side, dtype=torch.float64)
    if k > 0 and (shared := starts[k - 1] + side - starts[k]) > 0:
        ramp = torch.minimum(ramp, at / shared)
    if k + 1 < len(starts) and (shared := starts[k] + side - starts[k + 1]) > 0:
        ramp = torch.minimum(ramp, (side - at) / shared)
    return ramp
