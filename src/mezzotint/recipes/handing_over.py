"""Cascades whose stages are exact: what a hand-over makes of the faults of a base, by how noisy it is.

A row's a is the share of variance that is left of what is handed over, z_s = a^(1/2) z_0 + (1 - a)^(1/2) noise.

``Gaussian``: entries z ~ N(0, 1) and x of correlation rho with it, a base that draws N(delta, tau^2) instead. Then x
has

    mean = rho a delta,    variance = 1 + rho^2 a^2 (tau^2 - 1).

Its columns ``.. errors`` say how many standard errors, of all numbers that were drawn, they are away from that; those
of the base are of what it handed out, its last state or the state it was stopped at, and so is the covariance with x.

``two modes``: z = -2 or 2 and N(0, 0.09), x = z and N(0, 0.09), a base with unequal modes, moved. Nothing is drawn: the
law of x is the base's at s under the Markov kernel p(x | z_s), summed over a grid. More noise is a further kernel, and
a kernel lowers total variation and KL(drawn || data) (the data-processing inequality). The distance W2 it need not
lower, and here it rises first.

``drawn``: the same through samplers, as a histogram of cells that are equally likely under the law of the sums; ``kl``
is its divergence, and ``errors`` how far that lies above what chance gives, in standard errors.

Source: Ho et al. 2022, "Cascaded diffusion models" (2106.15282); the closed forms are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from mezzotint.cascades import Cascade, Stage
from mezzotint.conditions import Noised
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.rng import Rng
from mezzotint.denoiser.counted import Counted
from mezzotint.denoiser.exact import Mixture
from mezzotint.denoiser.exact_entries import NormalEntries
from mezzotint.denoiser.exact_joint import JointMixture
from mezzotint.evidence.recipe import Closed, Setting, Value
from mezzotint.evidence.verdict import Figure, Numbers, Seen, Statistic, Verdict, at
from mezzotint.processes.base import Continuous
from mezzotint.processes.cosine import Cosine
from mezzotint.processes.edm import EDM
from mezzotint.processes.flow import Flow
from mezzotint.processes.vp import VP
from mezzotint.samplers import Ancestral, Level, Sampling, Uniform, UniPC

RHO, DELTA, TAU = 0.9, 0.5, 1.4
KEPT = (1.0, 0.9, 0.5, 0.1, 0.0)
"""a of the Gaussian rows."""
SHARES = (1.0, 0.95, 0.8, 0.5, 0.2, 0.05, 0.01)
"""a of the rows of two modes."""
VARIATION = ("0.320", "0.245", "0.200", "0.158", "0.075", "0.022", "0.005")
DIVERGENCE = ("0.332", "0.182", "0.098", "0.051", "0.011", "0.0010", "0.00005")
"""What the page of the method has for them, to the digits it has."""
MODES, SPREAD, WEIGHTS, MOVED = (-2.0, 2.0), 0.09, (0.7, 0.3), 0.3
DRAWN = (1.0, 0.8, 0.2, 0.0)
COSINE = Cosine()
BASES: dict[str, Continuous] = {"EDM": EDM(), "Flow": Flow(), "VP": VP()}
WAYS = {"not truncated": False, "truncated": True}
LEVELS = (0.0, 0.1, 0.35, 0.6, 0.9)
CELLS = 32
SETTING: dict[str, Value] = {"rows": 400, "entries": 1000, "draws": 4000, "steps": 20}


def level(a: float) -> float:
    """The share of noise in a^(1/2) z + (1 - a)^(1/2) noise."""
    return math.sqrt(1 - a) / (math.sqrt(a) + math.sqrt(1 - a))


def normals(shape: tuple[int, ...], mean: float, spread: float) -> Cascade:
    """A base of normal entries, right or wrong, and a stage that is told them."""
    first = Sampling(Ancestral(3, grid=Uniform()), NormalEntries(Cosine(), shape, mean, spread))
    second = Sampling(Ancestral(2, grid=Uniform()), NormalEntries(Cosine(), shape, rho=RHO, corruption=Cosine()))
    return Cascade((Stage("base", first), Stage("larger", second, augment=Noised(Cosine()))))


def away(found: Tensor, due: float, error: float) -> float:
    """How many standard errors a mean lies from where it should."""
    return abs(float(found) - due) / error


def normal(s: Setting, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Rows of means and variances through both stages; where nothing is truncated the base is drawn once."""
    for who, delta, tau in (("wrong", DELTA, TAU), ("exact", 0.0, 1.0)):
        cascade, keys = normals((1, s.entries), delta, tau), Rng([seed]).at("normal", who).repeat(s.rows)
        keys = keys.at(torch.arange(s.rows))
        first = next(cascade.walk(rng=keys))
        for a in KEPT:
            (last,) = cascade.at((level(a),)).resumed([first], NONE, keys)
            yield f"Gaussian, {who} base, a = {a:g}, not truncated", moments(first.x, last.x, a, 1.0, delta, tau)
            own = keys.at("truncated", KEPT.index(a))
            state, x = (each.x for each in cascade.at((level(a),), truncated=True).walk(rng=own))
            yield f"Gaussian, {who} base, a = {a:g}, truncated", moments(state, x, a, a, delta, tau)


def moments(z: Tensor, x: Tensor, a: float, kept: float, delta: float, tau: float) -> dict[str, float]:
    """What was drawn beside what should have been; z is what the base handed out, with ``kept`` of its variance."""
    mean, variance = RHO * a * delta, 1 + RHO**2 * a**2 * (tau**2 - 1)
    low, spread = math.sqrt(kept) * delta, kept * tau**2 + 1 - kept
    shared = RHO * a / math.sqrt(kept) * spread if kept else 0.0  # the covariance of x and z
    product = math.sqrt(variance * spread + shared**2)
    root = math.sqrt(x.numel())
    return {
        "mean": float(x.mean()),
        "variance": float(x.var()),
        "mean errors": away(x.mean(), mean, math.sqrt(variance) / root),
        "variance errors": away(x.var(), variance, variance * math.sqrt(2) / root),
        "base mean errors": away(z.mean(), low, math.sqrt(spread) / root),
        "base variance errors": away(z.var(), spread, spread * math.sqrt(2) / root),
        "covariance errors": away(((x - x.mean()) * (z - z.mean())).mean(), shared, product / root),
    }


def base(process: Continuous, right: bool = False) -> Mixture:
    """The stage of two modes that is drawn first: as the data have it, or unequal and moved."""
    moved = 0.0 if right else MOVED
    means, weights = [(mode + moved,) for mode in MODES], (0.5, 0.5) if right else WEIGHTS
    return Mixture(process, means, (((SPREAD,),),) * 2, weights, shape=(1, 1))


def larger(process: Continuous, corruption: Continuous) -> JointMixture:
    """The stage that is told it."""
    covariance = ((2 * SPREAD, SPREAD), (SPREAD, SPREAD))
    return JointMixture(process, [(m, m) for m in MODES], (covariance,) * 2, (1, 1), (1, 1), corruption)


def axis() -> Tensor:
    """Where densities of x are known; their edges lie nine standard deviations outside of the modes."""
    return torch.linspace(-6, 6, 801, dtype=torch.float64)


def pushed(a: float) -> dict[bool, Tensor]:
    """The density of x on the axis, (points,), of a base that is right and of one that is not, by the denoisers' own.

    Sums over z_s are exact to rounding, for its density is smooth on a scale of several points (the trapezoidal rule).
    """
    process, x, z = Cosine(), axis(), torch.linspace(-9, 9, 241, dtype=torch.float64)
    u = torch.full((1,), level(a), dtype=torch.float64)
    pairs = torch.cartesian_prod(x, z)[:, :, None, None]
    told = Condition(**{"low": pairs[:, 1:2, 0], "low.level": u.expand(len(pairs))})
    clean, here = torch.zeros(len(pairs), dtype=torch.float64), process.time(u).expand(len(z))
    answer = larger(process, process)(pairs[:, :1, 0], clean, told, want=("log_density",))
    kernel = answer.aux["log_density"].exp().reshape(len(x), len(z))
    found = dict[bool, Tensor]()
    for right in (True, False):
        law = base(process, right)(z[:, None, None], here, want=("log_density",))
        found[right] = (kernel * law.aux["log_density"].exp()).sum(1) * (z[1] - z[0])
    return found


def data() -> Tensor:
    """The density of the data on the axis, written down."""
    x, v = axis(), 2 * SPREAD
    return torch.stack([torch.exp(-((x - m) ** 2) / (2 * v)) for m in MODES]).mean(0) / math.sqrt(2 * math.pi * v)


def below(density: Tensor) -> Tensor:
    """The distribution function on the axis, from 0 to 1."""
    found = torch.cat([density.new_zeros(1), ((density[1:] + density[:-1]) / 2).cumsum(0)])
    return found / found[-1]


def read(where: Tensor, there: Tensor, values: Tensor) -> Tensor:
    """Values of a rising function between the points where it is known."""
    place = torch.searchsorted(there, where.contiguous()).clamp(1, len(there) - 1)
    low, high = there[place - 1], there[place]
    share = ((where - low) / torch.where(high > low, high - low, 1.0)).clamp(0, 1)
    return values[place - 1] + share * (values[place] - values[place - 1])


def apart(density: Tensor) -> dict[str, float]:
    """How far a law of x is from the data's: total variation, KL(it || data) in nats, and W2, which may rise."""
    x, due = axis(), data()
    h = float(x[1] - x[0])
    q = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    moved = read(q, below(density), x) - read(q, below(due), x)
    return {
        "variation": float((density - due).abs().sum()) * h / 2,
        "kl": float((density * (density / due).log()).sum()) * h,
        "w2": float((moved**2).mean().sqrt()),
    }


def drawn(x: Tensor, density: Tensor) -> dict[str, float]:
    """KL of a histogram from the law it should follow, and by how many standard errors that is too much.

    2 n KL is distributed as chi^2 of one less than there are cells; its cube root is all but normal (Wilson and
    Hilferty 1931).
    """
    edges = read(torch.arange(1, CELLS, dtype=torch.float64) / CELLS, below(density), axis())
    cells = torch.bucketize(x.double().flatten(), edges)
    share = torch.bincount(cells, minlength=CELLS).double() / len(cells)
    kl, free = float(torch.xlogy(share, share * CELLS).sum()), CELLS - 1
    cube = (2 * len(cells) * kl / free) ** (1 / 3)
    return {"kl": kl, "errors": (cube - (1 - 2 / (9 * free))) / math.sqrt(2 / (9 * free))}


def run(steps: int, process: Continuous = COSINE, right: bool = True, corruption: Continuous = COSINE) -> Cascade:
    """Both stages through samplers of a probability flow."""
    flow = UniPC(steps, grid=Level())
    first, second = Sampling(flow, base(process, right)), Sampling(flow, larger(Cosine(), corruption))
    return Cascade((Stage("base", first), Stage("larger", second, augment=Noised(corruption))))


def histograms(s: Setting, seed: int, laws: dict[float, Tensor]) -> Iterator[tuple[str, dict[str, float]]]:
    """Rows of histograms; where nothing is truncated the base is drawn once for all levels."""
    keys = Rng([seed]).at("modes").repeat(s.draws).at(torch.arange(s.draws))
    for who, right, shares in (("exact", True, DRAWN), ("wrong", False, DRAWN[1:3])):
        cascade = run(s.steps, right=right)
        first = next(cascade.walk(rng=keys))
        for a in shares:
            due = data() if right else laws[a]
            (last,) = cascade.at((level(a),)).resumed([first], NONE, keys)
            yield f"drawn, {who} base, a = {a:g}, not truncated", drawn(last.x, due)
            if a < 1:  # at 1 they are the same, bit for bit
                whole = cascade.at((level(a),), truncated=True)(rng=keys.at("truncated"))
                yield f"drawn, {who} base, a = {a:g}, truncated", drawn(whole, due)
    for name, process in BASES.items():
        cascade = run(s.steps, process, False, VP()).at((level(0.8),), truncated=True)
        yield f"drawn, wrong base on {name}, a = 0.8, truncated", drawn(cascade(rng=keys.at(name)), laws[0.8])


def counts(seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Evaluations of a base that is stopped and times of its grid above; and level 0 both ways, bit for bit."""
    keys = Rng([seed]).at("counts").repeat(16).at(torch.arange(16))
    for u in LEVELS:
        meter = Counted(base(Flow()))  # whose times are levels
        Sampling(UniPC(20), meter).until(u)(rng=keys)
        yield (
            f"evaluations, level {u:g}",
            {"asked": meter.rows / 16, "above": float((UniPC(20).grid(Flow(), 20) > u).sum())},
        )
    first = Sampling(Ancestral(8), base(Cosine()))
    second = Sampling(Ancestral(8), larger(Cosine(), Cosine()))
    cascade = Cascade((Stage("base", first), Stage("larger", second, augment=Noised(Cosine()))))
    one, other = (cascade.at((0.0,), truncated)(rng=keys) for truncated in WAYS.values())
    yield "level 0, both ways", {"differ": float((one != other).sum())}


def measure(s: Setting, seed: int) -> Numbers:
    """All rows; those of the sums are the same at every seed."""
    laws = {a: pushed(a) for a in (*SHARES, 0.0)}
    found = {f"two modes, a = {a:g}": apart(laws[a][False]) for a in SHARES}
    for a, law in laws.items():
        found[f"two modes, exact base, a = {a:g}"] = {"variation": apart(law[True])["variation"]}
    wrong = {a: law[False] for a, law in laws.items()}
    return {**found, **dict(normal(s, seed)), **dict(histograms(s, seed, wrong)), **dict(counts(seed))}


def figures(seen: Seen) -> list[Figure]:
    """What is left of a base's faults."""

    def line(column: str) -> list[tuple[float, float]]:
        return [(level(a), seen.mean(at(f"two modes, a = {a:g}", column))) for a in SHARES]

    lines = {"total variation": line("variation"), "KL, nats": line("kl")}
    return [
        Figure("What is left of a base's faults", "level of the hand-over", "distance from the data", lines),
        Figure("The distance that rises first", "level of the hand-over", "W2", {"W2": line("w2")}),
    ]


def rounded(text: str) -> float:
    """1 % of a number that was written down, and half of its last digit."""
    return 0.01 * float(text) + 0.5 * 10.0 ** -len(text.partition(".")[2])


def verdict(seen: Seen) -> Verdict:
    """What the page of the method asks of exact stages, the worst of each kind."""
    table = next(iter(seen.tables.values()))
    errors = [(row, column) for row in table for column in table[row] if column.endswith("errors")]
    wrong = [f"two modes, a = {a:g}" for a in SHARES]
    right = [row for row in table if row.startswith("two modes, exact")]
    asked = [row for row in table if row.startswith("evaluations")]

    def off(column: str, dues: tuple[str, ...]) -> Statistic:
        pairs = list(zip(wrong, dues, strict=True))
        return lambda numbers: max(abs(numbers[row][column] - float(due)) / rounded(due) for row, due in pairs)

    def rise(column: str) -> Statistic:
        return lambda numbers: max(
            numbers[after][column] - numbers[before][column] for before, after in pairwise(wrong)
        )

    def drawn(kind: str) -> Statistic:
        return lambda numbers: max(numbers[row][column] for row, column in errors if row.startswith(kind))

    return seen.all(
        seen.always("standard errors of moments through Gaussian stages, the worst", drawn("Gaussian"), 4.0),
        seen.always("standard errors of histograms of two modes, the worst", drawn("drawn"), 4.0),
        seen.always("total variation from the page's, over what is allowed", off("variation", VARIATION), 1.0),
        seen.always("KL from the page's, over what is allowed", off("kl", DIVERGENCE), 1.0),
        seen.always("total variation, its largest rise with the noise", rise("variation"), 0.0),
        seen.always("KL, its largest rise with the noise", rise("kl"), 0.0),
        seen.always("total variation with an exact base", lambda n: max(n[row]["variation"] for row in right), 1e-10),
        seen.always(
            "evaluations of a stopped base, less times of its grid above",
            lambda n: max(abs(n[row]["asked"] - n[row]["above"]) for row in asked),
            0.0,
        ),
        seen.always("level 0 both ways, entries that differ", at("level 0, both ways", "differ"), 0.0),
    )


EXACT = Closed(
    criterion="""Normal entries (rho 0.9, a base of mean 0.5 and standard deviation 1.4, and an exact one): mean and
    variance of 400 000 numbers through both stages, truncated and not, within 4 standard errors of rho a delta and
    1 + rho^2 a^2 (tau^2 - 1) at every a and seed; so are those of the base's own state, and its covariance with x.
    Two modes: total variation and KL of the law of x from the data's, summed, within 1 % of the page's values (and the
    half digit that they were rounded by), and never rising with the noise; with an exact base total variation below
    1e-10 at every a. Histograms of what the samplers draw, truncated and not, on bases of four processes: within 4
    standard errors of that law. A base that is stopped is asked as often as its grid has times above; level 0 is the
    same both ways, bit for bit.""",
    departures="""W2 is printed and not asserted: it rises first. Tolerances of rounded values allow for the digits they
    are printed with.""",
    measure=measure, verdict=verdict, figures=figures, seeds=(100, 101, 102, 103, 104), setting=SETTING, minutes=1,
)  # fmt: skip
