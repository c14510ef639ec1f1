"""Pictures from layouts without training: guided laws, norms that are told maps, and a learnt variance, all exact.

The laws are in :mod:`.layouts_guided`, what a layout is to a network in :mod:`.layouts_told`. Here is the variance that
a network learns between two bounds. The method's code lets it say v in [-1, 1] and takes

    log Sigma = f log beta_t + (1 - f) log betatilde_t,     f = (v + 1) / 2,

for the variance of a step. Ours says r, the logarithm of Var[x_0 | x_t] over that of Gaussian data. On a process of
unit variance and data of spread 1 the bridge then has betatilde_t + (beta_t - betatilde_t) exp(r), so v = 1 is r = 0
and v = -1 is r = -10, where r is cut. :class:`Range` says v in r; betas come from DDPM's line alone.

Source: Wang et al. 2022, "Semantic image synthesis via diffusion models" (2207.00050), whose code this is; Nichol and
Dhariwal 2021 (2102.09672, eq. 15 and 16).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Gaussian
from mezzotint.core.rng import Rng
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.evidence.recipe import Closed, Setting, Value
from mezzotint.evidence.verdict import Criterion, Numbers, Seen, Statistic, Verdict
from mezzotint.guidance import CFG
from mezzotint.networks import UNet
from mezzotint.networks.context import Context
from mezzotint.objectives import Denoising, Hybrid, UniformTimes
from mezzotint.objectives.base import Shot
from mezzotint.processes.ddpm import DDPM
from mezzotint.recipes import layouts_guided, layouts_told
from mezzotint.samplers import Ancestral
from mezzotint.samplers.base import State

STEPS, SAID = 1000, (-1.0, -0.5, 0.0, 0.5, 1.0)
SETTING: dict[str, Value] = {"points": 40, "draws": 1000, "steps": 20, "rows": 4000, "cells": 4001}
Rows = Iterator[tuple[str, dict[str, float]]]


class Range(nn.Module):
    """A network that says 0 of the mean and v of the variance, as r of this house, for every index of a DDPM.

    Arguments:
        large, small: log beta and log betatilde by index, (T,).
        v: what it says.
    """

    def __init__(self, large: Tensor, small: Tensor, v: float) -> None:
        super().__init__()
        self.large, self.small, self.v, self.shape = large, small, v, (1,)

    def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Tensor:
        index = noise.round().long()
        wide = self.large[index] - self.small[index]
        share = torch.expm1((self.v + 1) / 2 * wide) / torch.expm1(wide)  # (Sigma - betatilde) / (beta - betatilde)
        r = 10 * torch.atanh(share.log().clamp(min=-10) / 10)  # what Preconditioned bounds to [-10, 10]
        return torch.stack([torch.zeros_like(r), r], 1)


def steps() -> tuple[Tensor, Tensor]:
    """beta_t and betatilde_t of the usual line, (T,), from their definitions; betatilde_0 is 0."""
    beta = torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)
    kept = (1 - beta).cumprod(0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    return beta, beta * (1 - before) / (1 - kept)


def ranged(s: Setting, seed: int) -> Rows:
    """The variance of every step but the last, whose bounds are apart without end, against the two bounds."""
    (large, small), process = (each.log() for each in steps()), DDPM(STEPS)
    index = torch.arange(1, STEPS)
    t, before = (index + 1).double() / STEPS, index.double() / STEPS
    x = Rng([seed]).normal("x", (len(index),))[0].double()[:, None]
    for v in SAID:
        model = Preconditioned(Range(large, small, v), process, None, 1.0, "x0", "step", scaled=False, variance=True)
        step = process.bridge(x, model(x, t), t, before)
        assert isinstance(step, Gaussian)
        f = (v + 1) / 2
        gap = float((step.variance[:, 0].log() - f * large[1:] - (1 - f) * small[1:]).abs().max())
        yield f"variance: v = {v:g}", {"bound" if v == -1 else "apart": gap}
        point = {-1.0: "small", 0.0: "medium", 1.0: "large"}.get(v)
        if point:  # which a sampler draws with where nothing was learnt
            plain = Preconditioned(_Zero(), process, None, 1.0, "x0", "step", scaled=False)
            law = Ancestral(1, variance=point).transition(plain, State(x, t, Rng(index)), before, Condition())
            assert isinstance(law, Gaussian)
            gap = float((law.variance[:, 0].log() - f * large[1:] - (1 - f) * small[1:]).abs().max())
            yield f"variance: {point}", {"apart": gap}


class _Zero(nn.Module):
    """A network that says 0."""

    shape = (1,)

    def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Tensor:
        return torch.zeros_like(x)


def guided(s: Setting, seed: int) -> Rows:
    """Guidance moves the mean along a line and leaves the conditional answer's spread, as one forward or two."""
    rng = Rng([seed]).at("guided")
    model = layouts_told.told(rng, outputs=4)
    x, t = layouts_told.pictures(rng, 3)
    cond = Condition(layout=layouts_told.layouts(rng, 3))
    strong, weak = model(x, t, cond), model(x, t, cond.drop("layout"))
    scale = 1.25 + 2 * float(rng.uniform("scale", ()))
    found = CFG(model, scale)(x, t, cond)
    assert isinstance(found, Gaussian) and isinstance(strong, Gaussian) and isinstance(weak, Gaussian)
    mean = weak.mean + scale * (strong.mean - weak.mean)
    yield "guided variance: mean", {"apart": layouts_told.apart(found.mean, mean)}
    gap, same = (found.variance / strong.variance - 1).abs().max(), layouts_told.same(strong.variance, weak.variance)
    yield "guided variance: spread", {"apart": float(gap), "same": same}


def bound(s: Setting, seed: int) -> Rows:
    """The bound of the hybrid loss, an integral over each number of x_(t-1); and whose gradients it has."""
    rng, T = Rng([seed]).at("bound"), 50
    process = DDPM(T, 1e-3, 0.2)
    first = layouts_told.told(rng, outputs=4)
    model = Preconditioned(first.network, process, first.encoder, 0.5, "noise", "step", variance=True)
    keys = rng.repeat(4).at(torch.arange(4))
    x = 0.5 * keys.normal("pictures", (2, *layouts_told.SPACE)).double()
    cond = Condition(layout=layouts_told.layouts(rng, 4))
    inner = Denoising(_Inside(steps=T), dropout=0.0)
    last = cast(nn.Conv2d, cast(UNet, first.network).leave)
    last.weight.requires_grad_()
    losses = [objective(model, x, cond, keys) for objective in (inner, Hybrid(inner, T, weight=1.0))]
    of_mean, of_both = (torch.autograd.grad(loss.value.sum(), last.weight)[0] for loss in losses)
    last.weight.requires_grad_(False)
    changed = {
        "differ": layouts_told.differ(of_mean[:2], of_both[:2]),
        "same": layouts_told.same(of_both[2:], of_mean[2:]),
    }
    yield "bound: gradients of the mean", changed
    shot = losses[1].shot
    assert shot is not None
    due = integral(s, shot, torch.linspace(1e-3, 0.2, T, dtype=torch.float64))
    yield "bound: an integral", {"apart": layouts_told.apart(losses[1].parts["bound"] / due, torch.ones(4))}


@torch.no_grad()
def integral(s: Setting, shot: Shot, beta: Tensor) -> Tensor:
    """KL(q(x_(t-1) | x_t, x_0) || p(x_(t-1) | x_t)) by the trapezoidal rule, T times, in bits per dimension, (B,)."""
    answer, T = shot.answer, len(beta)
    assert isinstance(answer, Gaussian)
    kept = torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])
    k = (T * shot.t).round().long()
    b, now, before = (each[:, None, None, None] for each in (beta[k - 1], kept[k], kept[k - 1]))
    of_x0, of_x = before.sqrt() * b / (1 - now), (1 - b).sqrt() * (1 - before) / (1 - now)  # DDPM, eq. 7
    least = b * (1 - before) / (1 - now)

    def law(x0: Tensor, more: Tensor | float) -> Normal:
        spread = (least + of_x0**2 * more).sqrt().expand_as(x0)
        return Normal((of_x0 * x0 + of_x * shot.x_t).flatten(), spread.flatten())

    q, p = law(shot.x0, 0.0), law(answer.mean, answer.variance)
    z = torch.linspace(-9, 9, s.cells, dtype=torch.float64)[:, None]
    values = q.mean + q.stddev * z
    here, there = (one.log_prob(values) for one in (q, p))  # type: ignore[no-untyped-call]
    nats = (here.exp() * (here - there) * q.stddev).sum(0) * (z[1] - z[0])
    bits: Tensor = T * nats.reshape(len(k), -1).mean(1) / math.log(2)
    return bits


class _Inside(UniformTimes):
    """Those times of a DDPM whose step does not end at clean data."""

    def forward(self, process: object, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        assert self.steps is not None
        t = (2 + (self.steps - 1) * rng.uniform("inside", ())).floor() / self.steps
        return t, torch.ones_like(t)


SECTIONS = (
    layouts_guided.scores, layouts_guided.forms, layouts_guided.scales, layouts_guided.drawn,
    layouts_told.norms, layouts_told.heard, layouts_told.maps, layouts_told.dropped,
    ranged, guided, bound,
)  # fmt: skip


def measure(s: Setting, seed: int) -> Numbers:
    """All rows: a kind, what it is of, and how far what is equal lies apart."""
    with torch.no_grad():
        laws = [row for section in SECTIONS[:-1] for row in section(s, seed)]
    return dict([*laws, *bound(s, seed)])


ASKED = {
    ("scores", "apart"): ("guided scores and those of their laws, noise as the unit", 1e-9),
    ("forms", "apart"): ("guided noise, v, velocity, clean data and the paper's scale", 1e-9),
    ("scales", "differ"): ("scale 1 and the conditional answer, 0 and the null's, entries that differ", 0.0),
    ("scales", "more"): ("evaluations at these scales beyond one", 0.0),
    ("scales", "apart"): ("answers and a line in the scale; what is wholly unsaid and the mixture", 1e-9),
    ("scales", "same"): ("entries that are the same wholly unsaid and without a layout", 0.0),
    ("drawn", "errors"): ("standard errors of drawn moments, the worst", 4.0),
    ("norms", "apart"): ("norms that are told a constant, and group norms", 1e-9),
    ("norms", "differ"): ("places felt beyond 5 x 5, and not felt within", 0.0),
    ("norms", "few"): ("whether some norm of the way up is told nothing", 0.0),
    ("heard", "differ"): ("entries that differ where they must not", 0.0),
    ("heard", "same"): ("entries that are the same where they must not be", 0.0),
    ("heard", "apart"): ("channels permuted, and rows that are dropped beside others", 1e-9),
    ("edges", "differ"): ("edges and a search through all pairs, places that differ", 0.0),
    ("one-hot", "apart"): ("vectors and one-hot ones times the table", 1e-9),
    ("one-hot", "differ"): ("places of another size that are not one-hot, or of another thing", 0.0),
    ("dropped", "errors"): ("standard errors of how many layouts are dropped", 4.0),
    ("dropped", "differ"): ("entries of dropped layouts and of others that are wrong", 0.0),
    ("variance", "apart"): ("log variances of steps and their place between log betatilde and log beta", 1e-9),
    ("variance", "bound"): ("log variance at v = -1 less log betatilde", 1e-4),
    ("guided variance", "apart"): ("guided spread and the conditional answer's; mean and the line", 1e-9),
    ("guided variance", "same"): ("entries at which both answers are as sure", 0.0),
    ("bound", "apart"): ("the bound over an integral, less one", 1e-6),
    ("bound", "differ"): ("entries of the mean's gradient that the bound changes", 0.0),
    ("bound", "same"): ("entries of the variance's gradient that it does not", 0.0),
}
"""What is judged: by kind of row and column, what that is and the most it may be."""


def verdict(seen: Seen) -> Verdict:
    """The worst of each kind at every seed; a kind without a row, or with one that is no number, decides nothing."""

    def worst(kind: str, column: str) -> Statistic:
        def found(numbers: Numbers) -> float:
            rows = [row for name, row in numbers.items() if name.partition(":")[0] == kind and column in row]
            return max((row[column] for row in rows), key=lambda value: math.inf if math.isnan(value) else value)

        return found

    def criterion(kind: str, column: str) -> Criterion:
        name, most = ASKED[kind, column]
        return seen.always(name, worst(kind, column), most)

    return seen.all(*(criterion(*key) for key in ASKED))


EXACT = Closed(
    criterion="""Pixels that are normal given their class, under EDM, VP, Cosine and Flow, at random levels and scales
    0, 1, 1.5 and 3: guided scores within 1e-9 of their closed forms, for equal covariances, for others, and with the
    mixture of all classes for a null; the same by noise, v, velocity and clean data, and by the paper's form at a scale
    less by one; scale 1 is the conditional answer and 0 the null's, bit for bit and with one evaluation; means and
    covariances of what a sampler draws within 4 standard errors. Norms that are told maps, in float64: a constant is
    one scale and shift (1e-9), in every norm and in a whole U-Net; one place is felt in 5 x 5; the way down is the same
    to the bit for any two layouts and nothing else is; things renumbered change nothing; a null of zeros is the network
    fed zeros. Edges are those of a search through all pairs; vectors of things are one-hot ones times a table; one
    layout in five is dropped, within 4 standard errors, and always whole. v = -1 and 1 are betatilde (within 1e-4 of
    its logarithm) and beta; guidance leaves the variance alone; the bound of the hybrid loss is an integral within 1e-6
    and leaves the mean's gradient alone, bit for bit.""",
    departures="""v = -1 is betatilde but for exp(-10) of what lies between, where this library cuts a learnt variance.
    At different covariances the guided flow has no law to compare samples with, so these are scores alone.""",
    measure=measure, verdict=verdict, seeds=(100, 101, 102, 103, 104), setting=SETTING,
)  # fmt: skip
