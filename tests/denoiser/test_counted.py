"""The meter against what is known by hand: evaluations of samplers and guidances, multiply-accumulates of a network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Rng
from mezzotint.core.spec import Module
from mezzotint.denoiser import Counted, Mixture, Preconditioned
from mezzotint.guidance import CFG, between
from mezzotint.networks import Context, Output
from mezzotint.processes import EDM
from mezzotint.samplers import Ancestral, Euler, Heun, Level

B = 5
COND = Condition(label=torch.arange(B) % 2)


class Two(Module):
    """Two linear layers over the last axis, and one for the vector: 6 * 10 * length + 4 * 10 of one sample."""

    def __init__(self, stops: bool = False) -> None:
        super().__init__()
        self.shape, self.stops = (3, 6), stops
        self.one, self.two, self.told = nn.Linear(6, 10, bias=False), nn.Linear(10, 6), nn.Linear(4, 10)

    def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Tensor | Output:
        answer = self.two(self.one(x) + (0 if context.vector is None else self.told(context.vector)[:, None]))
        return Output(answer, {"cost": 1000.0 + torch.arange(len(x))}) if self.stops else answer


def model(stops: bool = False) -> Preconditioned:
    made = Preconditioned(Two(stops), EDM(), Encoder(label=Classes(2, 4)))
    made.encoder["label"].null_trained.fill_(True)  # type: ignore[index]
    return made.eval()


@pytest.mark.parametrize(
    ("sampler", "each"), [(Euler(7), 7), (Heun(7), 13), (Ancestral(7), 7), (Heun(1), 1)], ids=lambda v: str(v)[:12]
)
def test_evaluations_of_samplers(sampler, each) -> None:  # type: ignore[no-untyped-def]
    meter = Counted(model())
    sampler(meter, COND, rng=Rng(range(B)))
    assert meter.rows == each * B and meter.calls == each
    assert meter.report(B) == {"calls": each, "evaluations": each, "macs": each * (2 * 6 * 10 * 3 + 40)}
    meter.reset()
    assert meter.report(B) == {"calls": 0, "evaluations": 0.0, "macs": 0.0}


def test_guidance_counts_what_it_asks() -> None:
    meter = Counted(model())
    Euler(8)(CFG(meter, 2.0), COND, rng=Rng(range(B)))
    assert meter.rows == 2 * 8 * B
    meter.reset()
    # Of the levels 8/8 .. 1/8 of the top (80/81), four lie in (0.3, 0.8].
    Euler(8, grid=Level())(CFG(meter, between(2.0, 0.3, 0.8)), COND, rng=Rng(range(B)))
    assert meter.rows == (8 + 4) * B
    meter.reset()
    Euler(8)(CFG(meter, 1.0), COND, rng=Rng(range(B)))
    assert meter.rows == 8 * B


def test_rows_that_stay_count_nothing() -> None:
    meter = Counted(model())
    times = torch.tensor([[1.0] * B, [0.5, 0.5, 1.0, 1.0, 0.2], [0.0] * B], dtype=torch.float64)
    Euler(2)(meter, COND, rng=Rng(range(B)), times=times)
    assert meter.rows == 3 + B


def test_macs_follow_the_shape_and_the_condition() -> None:
    meter = Counted(model())
    t = torch.full((2,), 0.1, dtype=torch.float64)
    meter(torch.randn(2, 3, 6), t, COND[:2])
    assert meter.macs == 2 * (2 * 60 * 3 + 40)
    meter(torch.randn(2, 11, 6), t, COND[:2])
    assert meter.macs == 2 * (2 * 60 * 3 + 40) + 2 * (2 * 60 * 11 + 40)
    bare = Counted(Preconditioned(Two(), EDM()))
    bare(torch.randn(2, 3, 6), t)
    assert bare.macs == 2 * 2 * 60 * 3  # the layer for the vector is not run
    assert Counted(Counted(model())).cost((3, 6), COND[:1]) == 2 * 60 * 3 + 40


def test_macs_follow_the_length_of_what_is_told() -> None:
    """Tokens of two lengths under one name: 4 * 10 for each of them."""

    class Words(Encoder):
        def forward(self, cond: Condition, count: int) -> Context:
            return Context(tokens=cond["words"])

    class Reads(Two):
        def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Tensor:
            assert context.tokens is not None
            return self.two(self.one(x)) + self.told(context.tokens).mean()

    meter = Counted(Preconditioned(Reads(), EDM(), Words()))
    for length in (2, 7, 2):
        told = Condition(words=torch.randn(3, length, 4))
        meter(torch.randn(3, 3, 6), torch.full((3,), 0.1, dtype=torch.float64), told)
    assert meter.macs == 9 * 2 * 60 * 3 + 3 * (2 + 7 + 2) * 40


def test_looking_costs_nothing_and_changes_nothing() -> None:
    meter = Counted(model())
    assert meter.macs == 0
    x, t = torch.randn(B, 3, 6), torch.full((B,), 0.1, dtype=torch.float64)
    before = meter(x, t, COND).mean
    assert meter.macs == meter.macs and meter.calls == 1
    assert torch.equal(meter(x, t, COND).mean, before)


def test_a_network_that_stops_early_is_taken_at_its_word() -> None:
    meter = Counted(model(stops=True))
    meter(torch.randn(B, 3, 6), torch.full((B,), 0.1, dtype=torch.float64), COND)
    assert meter.macs == 5 * 1000 + 0 + 1 + 2 + 3 + 4


def test_an_exact_denoiser_has_no_network_to_count() -> None:
    meter = Counted(Mixture(EDM(), [[0.0, 1.0]], [torch.eye(2).tolist()]))
    meter(torch.zeros(3, 2), torch.full((3,), 0.5, dtype=torch.float64), NONE)
    assert (meter.calls, meter.rows, meter.macs) == (1, 3, None)
    assert meter.report(3) == {"calls": 1, "evaluations": 1.0, "macs": None}
