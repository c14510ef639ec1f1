"""Points in the plane with an exact law: two trees of Gaussians that fork again and again.

Each class is a tree. A trunk grows from the middle, and every branch forks into two that are shorter by a fifth and
turn by about 45 degrees to either side; a branch is a row of eight Gaussians, longer than wide, and each level of the
tree has half the weight, per length, of the one below it. So the data have a coarse shape that any network learns, fine
twigs that a small one blurs, and a second class beside the first - with scores that are known exactly, because all of
it is a mixture of Gaussians. It is the smallest problem on which guidance does what it does to pictures.

The whole, both classes together, is moved and stretched along each axis to mean 0 and standard deviation 0.5.

Source: Karras et al. 2024, "Guiding a diffusion model with a bad version of itself" (2406.02507, section 3 and its
appendix), whose tree has seven levels; lengths, widths and angles are of its kind, the random numbers are our own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.data import Data, Rows, check_split
from mezzotint.data.licence import OURS

CLASSES = ("A", "B")
_PER_BRANCH, _FORK, _SHRINK = 8, math.pi / 4, 0.8
_WOBBLE_LENGTH, _WOBBLE_ANGLE = 0.2, math.pi / 18  # standard deviations: a fifth of the length, ten degrees
_ALONG, _ACROSS = 0.06, 0.04  # of a Gaussian, in units of its branch's length and of the length before it wobbles
_CHUNK = 2**16


@dataclass(frozen=True)
class Tree:
    """A mixture of K labelled Gaussians in the plane, float64.

    Arguments:
        weights: (K,), which sum to 1, half of it in each class.
        means: (K, 2).
        covariances: (K, 2, 2).
        labels: the class of each component, int64 (K,).
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    labels: Tensor


def tree(depth: int = 5, seed: int = 0) -> Tree:
    """The two trees; a deeper one of the same seed has the same lower branches before it is moved and stretched.

    Arguments:
        depth: levels of branches, 1 to 12; K = 16 (2^depth - 1).
        seed: of lengths and angles.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= 12:
        raise Refusal(f"a fractal tree has 1 to 12 levels of branches, not {depth!r}")
    parts = [(label, *part) for label in range(len(CLASSES)) for part in _grow(depth, seed, label)]
    labels = torch.tensor([label for label, *_ in parts])
    weights = torch.tensor([weight for _, weight, _, _ in parts], dtype=torch.float64)
    for label in range(len(CLASSES)):
        weights[labels == label] /= len(CLASSES) * weights[labels == label].sum()
    means = torch.stack([mean for _, _, mean, _ in parts])
    covariances = torch.stack([covariance for _, _, _, covariance in parts])
    middle = (weights[:, None] * means).sum(0)
    away = means - middle
    spread = (weights[:, None] * (away**2 + covariances.diagonal(dim1=1, dim2=2))).sum(0)
    stretch = 0.5 / spread.sqrt()
    return Tree(weights, stretch * away, stretch[:, None] * covariances * stretch, labels)


def _grow(depth: int, seed: int, label: int) -> Iterator[tuple[float, Tensor, Tensor]]:
    """(weight, mean, covariance) of every Gaussian of one class, before both are moved and stretched."""
    open_ends = [(0, 1, torch.zeros(2, dtype=torch.float64), math.pi * (0.25 + label))]
    while open_ends:
        # Branches of a level are numbered like a heap, so each has its own random numbers however deep the tree is.
        level, number, foot, angle = open_ends.pop(0)
        drawn = Rng([seed]).at("fractal", label, number).normal("branch", (3,)).double()[0]
        usual = _SHRINK**level
        length = usual * max(0.2, 1 + _WOBBLE_LENGTH * float(drawn[0]))
        way = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
        aside = torch.tensor([-way[1], way[0]], dtype=torch.float64)
        along, across = _ALONG * length, _ACROSS * usual
        covariance = along**2 * torch.outer(way, way) + across**2 * torch.outer(aside, aside)
        for share in torch.linspace(0.07, 0.93, _PER_BRANCH, dtype=torch.float64):
            yield length * 0.5**level, foot + share * length * way, covariance
        if level + 1 < depth:
            for side, sign in enumerate((1, -1)):
                turned = angle + sign * (_FORK + _WOBBLE_ANGLE * float(drawn[1 + side]))
                open_ends.append((level + 1, 2 * number + side, foot + length * way, turned))


@dataclass(frozen=True)
class Fractal(Data):
    """Points x (2,) of the two trees, with ``Condition(label)`` 0 for A and 1 for B.

    Item k is drawn once and for all from key k of the seed; the train split is the first ``size`` keys, the held-out
    one the ``held_out_size`` after them. Nothing is kept but the labels. Points are not cut to [-1, 1].

    Arguments:
        split: ``"train"``, ``"held_out"`` or ``"all"``.
        depth: levels of branches.
        seed: of the tree and of the points.
        size: points to train on, such as ``"1M"``.
        held_out_size: points held out.
    """

    split: str = "train"
    depth: int = 5
    seed: int = 0
    size: int | str = 1_000_000
    held_out_size: int | str = 50_000
    licence = OURS

    def __post_init__(self) -> None:
        check_split(self.split)
        if count(self.size) < 1 or count(self.held_out_size) < 1:
            raise Refusal(f"both splits need a point at least, not {self.size} and {self.held_out_size}")
        tree(self.depth, self.seed)

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @cached_property
    def tree(self) -> Tree:
        """The law of the points."""
        return tree(self.depth, self.seed)

    @cached_property
    def labels(self) -> Rows:
        chunks = torch.split(torch.arange(len(self)), _CHUNK)
        labels: Rows = torch.cat([self.tree.labels[self._drawn(chunk)[0]] for chunk in chunks]).numpy()
        return labels

    def __len__(self) -> int:
        sizes = {"train": count(self.size), "held_out": count(self.held_out_size)}
        return sizes.get(self.split, sum(sizes.values()))

    def read(self, rows: Rows) -> Tensor:
        chosen, normals = self._drawn(torch.from_numpy(rows))
        factors = self._factors[chosen]
        points: Tensor = self.tree.means[chosen] + (factors * normals[:, None, :]).sum(2)
        return points.float()

    @cached_property
    def _factors(self) -> Tensor:
        factors: Tensor = torch.linalg.cholesky(self.tree.covariances)
        return factors

    @cached_property
    def _edges(self) -> Tensor:
        return self.tree.weights.cumsum(0)

    def _drawn(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The component (B,) of these rows, and two standard normals (B, 2)."""
        first = count(self.size) if self.split == "held_out" else 0
        keys = Rng([self.seed]).at("fractal", "point").repeat(len(rows)).at(rows + first)
        u = keys.uniform("point", (3,))
        chosen = torch.searchsorted(self._edges, u[:, 0] * self._edges[-1], right=True)
        return chosen.clamp(max=len(self._edges) - 1), torch.special.ndtri(u[:, 1:].clamp(2.0**-54, 1 - 2.0**-53))
