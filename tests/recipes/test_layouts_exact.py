"""The exact checks of layouts, on parts that are whole and on broken ones: each fault is found by its kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mezzotint.conditions import layout as layout_room
from mezzotint.core import Condition, distribution
from mezzotint.core.distribution import Dirac, Gaussian
from mezzotint.denoiser import Preconditioned, preconditioned
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.verdict import Numbers, Seen
from mezzotint.guidance import CFG
from mezzotint.networks import UNet, spatial_norm
from mezzotint.networks.context import EMPTY, Context
from mezzotint.objectives import hybrid
from mezzotint.processes import EDM
from mezzotint.recipes import layouts_exact, layouts_guided, layouts_told

SMALL = Setting({**layouts_exact.SETTING, "points": 3, "draws": 80, "steps": 10, "rows": 200, "cells": 1001})
Patch = pytest.MonkeyPatch


def failed(table: Numbers) -> set[str]:
    """What the verdict says must not be, and is."""
    return {c.name for c in layouts_exact.verdict(Seen({1: table})).criteria if c.outcome == "does not hold"}


@pytest.fixture(scope="module")
def whole() -> Numbers:
    return layouts_exact.measure(SMALL, 1)


def test_it_holds_and_every_kind_of_number_is_judged(whole: Numbers) -> None:
    verdict = layouts_exact.verdict(Seen({1: whole}))
    assert verdict.outcome == "holds", verdict.reason
    for name, row in whole.items():
        for column in row:
            assert (name.partition(":")[0], column) in layouts_exact.ASKED
            changed = {**whole, name: {**row, column: 5.0}}
            assert layouts_exact.verdict(Seen({1: changed})).outcome == "does not hold", (name, column)
            changed = {**whole, name: {**row, column: math.nan}}
            assert layouts_exact.verdict(Seen({1: changed})).outcome == "undecided", (name, column)
    fewer = {name: row for name, row in whole.items() if not name.startswith("edges")}
    assert layouts_exact.verdict(Seen({1: fewer})).outcome == "undecided"


def papers_scale(patch: Patch) -> None:
    """weak + (s + 1) (strong - weak)."""
    plain = distribution.lerp
    patch.setattr(distribution, "lerp", lambda a, b, weight: plain(a, b, weight + 1))


def swapped(patch: Patch) -> None:
    patch.setattr(Dirac, "lerp", lambda self, other, weight: Dirac(distribution.lerp(other.value, self.value, weight)))


def both_moved(patch: Patch) -> None:
    """The variance is guided, too."""

    def lerp(self: Gaussian, other: Gaussian, weight: Any) -> Gaussian:
        moved = distribution.lerp(self.variance, other.variance, weight).clamp(min=1e-6)
        return Gaussian(distribution.lerp(self.mean, other.mean, weight), moved)

    patch.setattr(Gaussian, "lerp", lerp)


def printed(patch: Patch) -> None:
    """gamma norm + beta, as the paper prints it."""

    def forward(self: spatial_norm.SpatialNorm, h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        read = self.read(spatial_norm.resized(y, h.shape[2:]))
        gamma, beta = self.say(F.relu(read)).chunk(2, dim=1)
        return torch.addcmul(beta, self.norm(h), gamma)

    patch.setattr(spatial_norm.SpatialNorm, "forward", forward)


def averaged(patch: Patch) -> None:
    """Maps are brought to another size by interpolation."""
    for module in (spatial_norm, layouts_told):
        patch.setattr(module, "resized", lambda y, size: F.interpolate(y, size=list(size), mode="bilinear"))


def far(patch: Patch) -> None:
    """The map is smoothed before it is read."""
    plain = spatial_norm.SpatialNorm.forward
    patch.setattr(
        spatial_norm.SpatialNorm,
        "forward",
        lambda self, h, y: plain(self, h, F.avg_pool2d(y, 3, 1, 1) if y.ndim == 4 else y),
    )


def heard_early(patch: Patch) -> None:
    """The way down is told of the map, by the picture."""
    plain = UNet.forward

    def forward(self: UNet, x: torch.Tensor, noise: torch.Tensor, context: Context = EMPTY, want: Any = ()) -> Any:
        told = context.maps.get("decoder")
        return plain(self, x if told is None or told.ndim < 4 else x + told.mean(1, keepdim=True), noise, context, want)

    patch.setattr(UNet, "forward", forward)


def deaf(patch: Patch) -> None:
    plain = spatial_norm.SpatialNorm.forward
    patch.setattr(spatial_norm.SpatialNorm, "forward", lambda self, h, y: plain(self, h, torch.zeros_like(y)))


def one_sided(patch: Patch) -> None:
    def edges(instances: torch.Tensor) -> torch.Tensor:
        found = torch.zeros_like(instances, dtype=torch.bool)
        found[:, 1:] |= instances[:, 1:] != instances[:, :-1]
        found[:, :, 1:] |= instances[:, :, 1:] != instances[:, :, :-1]
        return found

    patch.setattr(layouts_told, "edges_of", edges)
    patch.setattr(layout_room, "edges_of", edges)


def edges_kept(patch: Patch) -> None:
    """A dropped layout that still shows where things end."""
    plain = layout_room.Layout.forward

    def forward(self: Any, values: Any, keep: torch.Tensor) -> Context:
        told = plain(self, values, keep).maps[self.port]
        if self.edges and told.ndim == 4:
            told = torch.cat([told[:, :-1], plain(self, values, torch.ones_like(keep)).maps[self.port][:, -1:]], 1)
        return Context(maps={self.port: told})

    patch.setattr(layout_room.Layout, "forward", forward)


def too_often(patch: Patch) -> None:
    plain = Condition.dropout
    patch.setattr(Condition, "dropout", lambda self, p, rng: plain(self, {name: 2 * p[name] for name in p}, rng))


def attached(patch: Patch) -> None:
    """The bound is shown the mean with its gradient."""
    patch.setattr(torch.Tensor, "detach", lambda self: self)


def nats(patch: Patch) -> None:
    patch.setattr(hybrid, "bits", lambda nats, shape: nats / math.prod(shape))


def wide(patch: Patch) -> None:
    """A learnt variance of the wrong data."""
    plain = Preconditioned._spread
    patch.setattr(Preconditioned, "_spread", lambda self, t, x: 1.1 * plain(self, t, x))


def blunt(patch: Patch) -> None:
    """A learnt variance that is cut at exp(-5)."""
    patch.setattr(preconditioned, "_SUREST", 5.0)


GUIDED, TOLD, HERE = layouts_guided, layouts_told, layouts_exact


@pytest.mark.parametrize(
    ("broken", "sections", "kinds"),
    [
        (papers_scale, [GUIDED.scores, GUIDED.drawn], {("scores", "apart"), ("drawn", "errors")}),
        (swapped, [GUIDED.forms], {("forms", "apart")}),
        (both_moved, [HERE.guided], {("guided variance", "apart")}),
        (printed, [TOLD.norms], {("norms", "apart")}),
        (far, [TOLD.norms], {("norms", "differ")}),
        (averaged, [TOLD.maps], {("one-hot", "differ")}),
        (heard_early, [TOLD.heard], {("heard", "differ")}),
        (deaf, [TOLD.heard], {("heard", "same")}),
        (one_sided, [TOLD.maps], {("edges", "differ")}),
        (edges_kept, [TOLD.heard, TOLD.dropped], {("heard", "differ"), ("dropped", "differ")}),
        (too_often, [TOLD.dropped], {("dropped", "errors")}),
        (attached, [HERE.bound], {("bound", "differ")}),
        (nats, [HERE.bound], {("bound", "apart")}),
        (wide, [HERE.ranged], {("variance", "apart")}),
        (blunt, [HERE.ranged], {("variance", "bound")}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_part_is_found(
    whole: Numbers, monkeypatch: Patch, broken: Callable[[Patch], None], sections: Any, kinds: set[tuple[str, str]]
) -> None:
    """What asks that part is measured again; the verdict fails, and says so of the kinds that are about it."""
    broken(monkeypatch)
    with torch.set_grad_enabled(sections == [HERE.bound]):
        found = failed({**whole, **{name: row for each in sections for name, row in each(SMALL, 1)}})
    assert {HERE.ASKED[kind][0] for kind in kinds} <= found


def test_scales_and_shifts_are_those_of_a_layout_that_was_painted() -> None:
    """A closed form of the laws by hand: one class, one pixel, equal variances, at a scale of 2."""
    classes = layouts_guided.Classes(3, equal=True)
    process = EDM()
    at = layouts_guided.Points(process, 3, 1)
    guided = CFG(layouts_guided.model(classes, process), 2.0)(at.x, at.t, at.cond).mean
    sigma = float(at.s[0])
    for row, (x, found) in enumerate(zip(layouts_guided.flat(at.x), layouts_guided.flat(guided), strict=True)):
        mean = 2 * classes.means[at.of[row]] - classes.mean
        gain = classes.spread @ torch.linalg.inv(classes.spread + sigma**2 * torch.eye(2).double())
        torch.testing.assert_close(found, mean + gain @ (x - mean), rtol=0, atol=1e-10)
