"""The exact checks of context prediction, on parts that are whole and on broken ones: each fault is found by kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mezzotint.core import Rng, transport
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.verdict import Numbers, Seen
from mezzotint.objectives import ContextPrediction, OrderedDecoder, SetDecoder, context, decoders
from mezzotint.objectives.beside import Beside
from mezzotint.objectives.neighbourhood import Neighbourhood
from mezzotint.recipes import context_beside, context_exact, context_sets

SMALL = Setting({**context_exact.SETTING, "sets": 4, "draws": 2**11, "rows": 600, "subsets": 60})
Patch = pytest.MonkeyPatch
SETS, TERM, KEPT = context_sets, context_beside, context_exact


def failed(table: Numbers) -> set[str]:
    """What the verdict says must not be, and is."""
    return {c.name for c in context_exact.verdict(Seen({1: table})).criteria if c.outcome == "does not hold"}


@pytest.fixture(scope="module")
def whole() -> Numbers:
    return context_exact.measure(SMALL, 1)


def test_it_holds_and_every_kind_of_number_is_judged(whole: Numbers) -> None:
    verdict = context_exact.verdict(Seen({1: whole}))
    assert verdict.outcome == "holds", verdict.reason
    for name, row in whole.items():
        for column in row:
            assert (name.partition(":")[0], column) in context_exact.ASKED
            changed = {**whole, name: {**row, column: 6.0}}
            assert context_exact.verdict(Seen({1: changed})).outcome == "does not hold", (name, column)
            changed = {**whole, name: {**row, column: math.nan}}
            assert context_exact.verdict(Seen({1: changed})).outcome == "undecided", (name, column)
    fewer = {name: row for name, row in whole.items() if not name.startswith("sampling")}
    assert context_exact.verdict(Seen({1: fewer})).outcome == "undecided"


def as_they_come(patch: Patch) -> None:
    """Points are matched in the order in which they stand."""
    patch.setattr(transport, "_matchings", lambda costs, common: np.tile(np.arange(common), (len(costs), 1)))


def halved(patch: Patch) -> None:
    """Squared distances that are half as large."""
    patch.setattr(transport, "_between", lambda difference, cost: difference.square().sum(-1) / 2)


def one_sided(patch: Patch) -> None:
    """Only the first set hears of the distance."""
    plain = transport._assigned
    patch.setattr(transport, "_assigned", lambda a, b, cost: plain(a, b.detach(), cost))


def unrounded(patch: Patch) -> None:
    """Plans that move less than there is."""
    plain = transport._plan
    patch.setattr(transport, "_plan", lambda costs, strength, times: 0.9 * plain(costs, strength, times))


def spread_out(patch: Patch) -> None:
    """The plan that knows no costs, whatever the regulariser."""
    patch.setattr(transport, "_plan", lambda costs, strength, times: torch.full_like(costs, 1 / costs[0].numel()))


def four(patch: Patch) -> None:
    """Neighbours share a side."""
    plain = Neighbourhood.offsets.func  # type: ignore[attr-defined]

    def offsets(self: Neighbourhood) -> Tensor:
        every: Tensor = plain(self)
        return every[every.abs().sum(-1) <= self.stride]

    patch.setattr(Neighbourhood, "offsets", property(offsets))


def padded(patch: Patch) -> None:
    """Beyond a border stands the site itself."""
    plain = Neighbourhood.gather

    def gather(self: Neighbourhood, values: Tensor, sites: Tensor) -> tuple[Tensor, Tensor]:
        found, there = plain(self, values, sites)
        return found, torch.ones_like(there)

    patch.setattr(Neighbourhood, "gather", gather)


def replaced(patch: Patch) -> None:
    """Neighbours are drawn with replacement."""

    def drawn(self: SetDecoder, clean: Tensor, there: Tensor, rng: Any) -> Tensor:
        u = rng.uniform("neighbours", (there.shape[1], self.draws))
        place = (u * there.sum(-1, keepdim=True)).long()
        valid = (~there).long().argsort(dim=-1, stable=True).gather(2, place)
        return clean.gather(2, valid[..., None].expand(-1, -1, -1, clean.shape[-1]))

    patch.setattr(SetDecoder, "drawn", drawn)


def the_first(patch: Patch) -> None:
    """The first neighbours, and not any."""

    def drawn(self: SetDecoder, clean: Tensor, there: Tensor, rng: Any) -> Tensor:
        order = (~there).long().argsort(dim=-1, stable=True)
        turn = torch.arange(self.draws) % there.sum(-1, keepdim=True)
        return clean.gather(2, order.gather(2, turn)[..., None].expand(-1, -1, -1, clean.shape[-1]))

    patch.setattr(SetDecoder, "drawn", drawn)


def turned(patch: Patch) -> None:
    """Slots stand for the offsets in another order where they are compared."""
    plain = OrderedDecoder.forward
    patch.setattr(OrderedDecoder, "forward", lambda self, h, x, there, rng: plain(self, h, x.flip(2), there, rng))


def cheaper(patch: Patch) -> None:
    """An ordered loss that is a quarter of what it should be."""
    plain = OrderedDecoder.forward
    patch.setattr(OrderedDecoder, "forward", lambda self, h, x, there, rng: plain(self, h, x, there, rng) / 4)


def of_all_slots(patch: Patch) -> None:
    """The ordered loss counts slots at which there is nobody."""
    plain = OrderedDecoder.forward
    patch.setattr(OrderedDecoder, "forward", lambda self, h, x, there, rng: plain(self, h, x, there | True, rng))


def blunt(patch: Patch) -> None:
    """A spread that cannot be small."""
    patch.setattr(decoders, "_SPREAD", 0.5)


def wider(patch: Patch) -> None:
    """Draws that lie half as far again from their mean."""

    def said(self: SetDecoder, h: Tensor, rng: Any) -> Tensor:
        mean, spread = self.law(h).chunk(2, -1)
        eps = 1.5 * rng.normal("draws", (1, self.draws, self.hidden)).to(h)
        found: Tensor = self.body(mean[:, :, None] + spread.exp()[:, :, None] * eps)
        return found

    patch.setattr(SetDecoder, "said", said)


def growing(patch: Patch) -> None:
    """A layer that grows with the square of the neighbourhood."""
    for kind in (SetDecoder, OrderedDecoder):
        plain = kind.build

        def build(self: Any, inputs: int, outputs: int, slots: int, plain: Any = plain) -> None:
            plain(self, inputs, outputs, slots)
            self.more = nn.Linear(slots, slots)

        patch.setattr(kind, "build", build)
        forward = kind.forward

        def asked(self: Any, h: Tensor, x: Tensor, there: Tensor, rng: Any, forward: Any = forward) -> Tensor:
            found: Tensor = forward(self, h, x, there, rng) + 0 * self.more(there.float()).mean(-1)
            return found

        patch.setattr(kind, "forward", asked)


def as_large_as_any(patch: Patch) -> None:
    """An ordered decoder with 80 slots at every stride."""
    plain = OrderedDecoder.build
    patch.setattr(OrderedDecoder, "build", lambda self, inputs, outputs, slots: plain(self, inputs, outputs, 80))


def from_torch(patch: Patch) -> None:
    """Draws from the generator that layers and loaders draw from."""
    plain = SetDecoder.said

    def said(self: SetDecoder, h: Tensor, rng: Any) -> Tensor:
        return plain(self, h, rng) + 0 * torch.randn(())

    patch.setattr(SetDecoder, "said", said)


def seeded(patch: Patch) -> None:
    """Weights that are made by seeding everybody."""

    def meet(self: Any, inputs: int, outputs: int, slots: int, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.build(inputs, outputs, slots)
        self.sizes = (inputs, outputs, slots)

    patch.setattr(decoders.ContextDecoder, "meet", meet)


def twice(patch: Patch) -> None:
    """A term that counts twice, and says once."""
    plain = Beside.forward

    def forward(self: Any, model: Any, x: Tensor, cond: Any, rng: Any, player: str = "model") -> Any:
        loss = plain(self, model, x, cond, rng, player)
        return replace(loss, value=loss.value + self.weight * loss.parts[self.name])

    patch.setattr(Beside, "forward", forward)


def uncapped(patch: Patch) -> None:
    patch.setattr(context, "_CAP", 1.0)


def noisy(patch: Patch) -> None:
    """Targets from the corrupted sample."""
    patch.setattr(ContextPrediction, "clean", lambda self, shot: shot.x_t if shot.x0.is_floating_point() else shot.x0)


def in_a_corner(patch: Patch) -> None:
    """The first sites, and not any."""
    patch.setattr(
        ContextPrediction,
        "_sites",
        lambda self, count, rng: torch.arange(max(1, round(self.sites * count))).expand(len(rng), -1),
    )


def never_silent(patch: Patch) -> None:
    """A weight of 0 that is one in ten thousand."""

    def forward(self: Any, model: Any, x: Tensor, cond: Any, rng: Any, player: str = "model") -> Any:
        loss = self.inner(self.asked(model), x, cond, rng, player)
        term = self.term(model, loss.shot, rng).to(loss.value)
        value = loss.value + max(self.weight, 1e-4) * term
        return replace(loss, value=value, parts={**loss.parts, self.name: term.detach()})

    patch.setattr(Beside, "forward", forward)


def deaf(patch: Patch) -> None:
    """The model is not asked to know better."""
    plain = ContextPrediction._seen
    patch.setattr(ContextPrediction, "_seen", lambda self, *given: plain(self, *given).detach())


def attached(patch: Patch) -> None:
    """Targets that gradients reach."""
    plain = ContextPrediction._valued
    patch.setattr(ContextPrediction, "_valued", lambda self, x: x if x.is_floating_point() else plain(self, x))


def moved_in(patch: Patch) -> None:
    """The decoder becomes a part of the model, as a network's own layers are."""
    plain = ContextPrediction.meet

    def meet(self: ContextPrediction, model: nn.Module, *given: Any) -> None:
        plain(self, model, *given)
        model.decoder = self.decoder

    patch.setattr(ContextPrediction, "meet", meet)


def touched(patch: Patch) -> None:
    """Meeting a model changes it."""
    plain = ContextPrediction.meet

    def meet(self: ContextPrediction, model: nn.Module, *given: Any) -> None:
        plain(self, model, *given)
        with torch.no_grad():
            next(model.parameters()).mul_(1.001)

    patch.setattr(ContextPrediction, "meet", meet)


def both(patch: Patch) -> None:
    touched(patch)
    moved_in(patch)


@pytest.mark.parametrize(
    ("broken", "sections", "kinds"),
    [
        (as_they_come, [SETS.distances, SETS.normals], {("distance", "apart"), ("distance", "differ")}),
        (halved, [SETS.distances, SETS.normals], {("distance", "apart"), ("normal laws", "below")}),
        (as_they_come, [SETS.normals], {("normal laws", "left")}),
        (one_sided, [SETS.slopes], {("slopes", "apart")}),
        (unrounded, [SETS.slopes], {("entropic", "differ")}),
        (spread_out, [SETS.slopes], {("entropic", "above"), ("entropic", "differ")}),
        (four, [SETS.neighbours], {("neighbours", "differ"), ("neighbours", "count")}),
        (padded, [SETS.neighbours, TERM.targets], {("neighbours", "differ"), ("targets", "apart")}),
        (replaced, [SETS.drawn, SETS.orders], {("draws", "differ"), ("orders", "differ")}),
        (the_first, [SETS.drawn], {("draws", "errors")}),
        (turned, [SETS.averaged, SETS.orders], {("average", "apart"), ("orders", "apart")}),
        (cheaper, [SETS.averaged, SETS.orders], {("average", "over"), ("orders", "apart")}),
        (of_all_slots, [SETS.orders, TERM.targets], {("orders", "apart"), ("targets", "apart")}),
        (blunt, [SETS.constant], {("one colour", "apart")}),
        (wider, [SETS.constant], {("one colour", "errors")}),
        (growing, [TERM.costs], {("weights", "differ"), ("work", "differ")}),
        (as_large_as_any, [TERM.costs], {("weights", "shrinks"), ("weights", "apart"), ("work", "shrinks")}),
        (from_torch, [TERM.beside], {("beside", "differ")}),
        (seeded, [TERM.beside], {("beside", "differ")}),
        (twice, [TERM.beside], {("parts", "apart")}),
        (uncapped, [TERM.beside], {("levels", "apart")}),
        (noisy, [TERM.targets], {("targets", "apart")}),
        (in_a_corner, [TERM.subsets], {("subsets", "errors")}),
        (never_silent, [TERM.beside, TERM.gradients], {("beside", "differ"), ("gradients", "differ")}),
        (deaf, [TERM.gradients], {("gradients", "silent")}),
        (attached, [TERM.gradients], {("gradients", "targets")}),
        (moved_in, [KEPT.sampling], {("sampling", "differ")}),
        (touched, [KEPT.sampling], {("sampling", "differ")}),
        (both, [KEPT.runs], {("runs", "keys"), ("runs", "differ")}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_part_is_found(
    whole: Numbers, monkeypatch: Patch, broken: Callable[[Patch], None], sections: Any, kinds: set[tuple[str, str]]
) -> None:
    """What asks that part is measured again; the verdict fails, and says so of the kinds that are about it."""
    broken(monkeypatch)
    with torch.no_grad():
        found = failed({**whole, **{name: row for each in sections for name, row in each(SMALL, 1)}})
    assert {context_exact.ASKED[kind][0] for kind in kinds} <= found


def test_a_term_that_nobody_hears_is_found(whole: Numbers, monkeypatch: Patch) -> None:
    plain = Beside.forward

    def forward(self: Any, *given: Any) -> Any:
        loss = plain(self, *given)
        return replace(loss, value=self.inner(*given).value + self._idle())

    monkeypatch.setattr(Beside, "forward", forward)
    with torch.no_grad():
        found = failed({**whole, **dict(context_exact.runs(SMALL, 1))})
    assert found == {context_exact.ASKED["runs", "same"][0]}


def test_a_single_neighbour_is_worked_out_by_hand() -> None:
    """Two sites side by side: whichever is asked, its one neighbour is the other, however many are drawn."""
    room = Neighbourhood((1, 2), 1)
    found, there = room.gather(torch.tensor([[[[3.0, 5.0]]]]), torch.tensor([[0, 1]]))
    assert found[there].tolist() == [[5.0], [3.0]]
    law, h = context_sets.identity(1, torch.tensor([4.0]).double(), 0.0, 4, 2)
    off = law(h, found.double(), there, Rng([0]))
    torch.testing.assert_close(off, torch.ones(1, 2).double(), rtol=0, atol=0.01)
