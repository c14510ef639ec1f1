"""A sweep over levels: the curve of two correlated normals is known, and what need not be drawn again is not."""

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from mezzotint.cascades import Cascade, Stage
from mezzotint.conditions import Noised
from mezzotint.core import Condition, Refusal, Rng
from mezzotint.core.condition import NONE
from mezzotint.denoiser import Counted, Mixture
from mezzotint.metrics import Estimate, Sweep, sweep
from mezzotint.metrics.estimate import bootstrap
from mezzotint.processes import Cosine
from mezzotint.samplers import Heun, Sampling

RHO, DELTA, TAU = 0.9, 0.5, 1.4
KEPT = (1.0, 0.9, 0.5, 0.1, 0.0)  # the share of the variance of z that a level leaves, alpha^2
LEVELS = tuple(math.sqrt(1 - a) / (math.sqrt(a) + math.sqrt(1 - a)) for a in KEPT)


@dataclass(frozen=True)
class Told:
    """The law of x given z_s for standard normals (z, x) of correlation rho, drawn at once."""

    rho: float = RHO

    def __call__(self, cond: Condition = NONE, rng: Rng | None = None) -> torch.Tensor:
        assert rng is not None
        z, u = cond["low"], cond["low.level"].double()
        alpha = ((1 - u) / (u.square() + (1 - u).square()).sqrt())[:, None, None]  # of a process that keeps variance
        scale = (1 - (self.rho * alpha).square()).sqrt()
        x: torch.Tensor = self.rho * alpha * z + scale * rng.normal("x", tuple(z.shape[1:]))
        return x.float()


class Real:
    """Samples that are held in memory, labelled by their row."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> tuple[torch.Tensor, Condition]:
        return self.x[rows], Condition(row=torch.arange(len(self.x))[rows])


def faulty() -> Counted:
    """A base that has the wrong mean and the wrong variance."""
    return Counted(Mixture(Cosine(), [[DELTA]], [[[TAU**2]]], shape=(1, 1)))


def pair(base: Counted, steps: int = 20) -> Cascade:
    noised = Noised(Cosine())
    return Cascade((Stage("base", Sampling(Heun(steps), base)), Stage("large", Told(), augment=noised)))


def normals(count: int, mean: float = 0.0) -> Real:
    return Real(mean + Rng(range(7000, 7000 + count)).normal("z", (1, 1)))


def nearness(x: torch.Tensor, told: Condition, z: torch.Tensor, truth: Condition) -> Estimate:
    """The squared difference of the means."""
    return bootstrap(
        "nearness", lambda a, b: float((a.mean() - b.mean()) ** 2), x.double().numpy(), z.double().numpy(), draws=20
    )


@pytest.mark.parametrize("truncated", [False, True])
def test_the_curve_of_correlated_normals_is_the_closed_form(truncated: bool) -> None:
    """x ~ N(rho a delta, 1 + rho^2 a^2 (tau^2 - 1)): the level forgives the base's faults."""
    seen: list[torch.Tensor] = []

    def measure(x: torch.Tensor, told: Condition, z: torch.Tensor, truth: Condition) -> Estimate:
        seen.append(x)
        return nearness(x, told, z, truth)

    count, rng = 2500, Rng(range(2500))
    found = sweep(
        pair(faulty()), LEVELS, measure, NONE, rng, reference=normals(40, 0.23), truncated=truncated, batch=1100
    )
    for x, a in zip(seen[::2], KEPT, strict=True):
        mean, variance = RHO * a * DELTA, 1 + (RHO * a) ** 2 * (TAU**2 - 1)
        assert float(x.mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / count))
        assert float(x.var()) == pytest.approx(variance, abs=4 * variance * math.sqrt(2 / count) + 0.01)
    assert found.levels == LEVELS and found.stage == "large" and found.truncated is truncated


def test_the_base_is_drawn_once_for_all_levels_and_each_truncated_one_is_a_run() -> None:
    one, base = faulty(), faulty()
    rng, real = Rng(range(30)), normals(10)
    Sampling(Heun(8), one)(NONE, rng)
    sweep(pair(base, 8), (0.0, 0.3, 0.6, 0.9), nearness, NONE, rng, reference=real, batch=30)
    assert base.calls == one.calls > 0 and base.rows == one.rows

    base.reset()
    levels, expected = (0.3, 0.6), 0
    for level in levels:
        one.reset()
        Sampling(Heun(8), one).until(level)(NONE, rng)
        expected += one.calls
    sweep(pair(base, 8), levels, nearness, NONE, rng, reference=real, truncated=True, batch=30)
    assert base.calls == expected


@pytest.mark.parametrize("truncated", [False, True])
def test_what_is_measured_is_what_the_cascade_draws(truncated: bool) -> None:
    seen: list[torch.Tensor] = []

    def measure(x: torch.Tensor, told: Condition, z: torch.Tensor, truth: Condition) -> Estimate:
        seen.append(x)
        return nearness(x, told, z, truth)

    cascade, rng, levels = pair(faulty(), 6), Rng([5, 9, 2, 4]), (0.0, 0.4, 0.8)
    sweep(cascade, levels, measure, NONE, rng, reference=normals(10), truncated=truncated)
    for x, level in zip(seen[::2], levels, strict=True):
        assert torch.equal(x, cascade.at((level,), truncated=truncated)(NONE, rng))
    apart: list[torch.Tensor] = seen.copy()
    seen.clear()
    sweep(cascade, levels, measure, NONE, rng, reference=normals(10), truncated=truncated, batch=3)
    assert all(torch.equal(a, b) for a, b in zip(apart, seen, strict=True))


def test_any_hand_over_of_three_stages_and_the_others_stay() -> None:
    base, middle = faulty(), faulty()
    noised = Noised(Cosine(), level=0.25)
    stages = (
        Stage("base", Sampling(Heun(6), base)),
        Stage("middle", Told(0.5), augment=noised),
        Stage("large", Told(0.8), augment=noised),
    )
    cascade, rng, real, seen = Cascade(stages), Rng(range(20)), normals(10), []

    def measure(x: torch.Tensor, told: Condition, z: torch.Tensor, truth: Condition) -> Estimate:
        seen.append(x)
        return nearness(x, told, z, truth)

    found = sweep(cascade, (0.0, 0.5), measure, NONE, rng, reference=real, stage="middle")
    assert found.stage == "middle" and base.calls == 11 and middle.calls == 0  # Heun's six steps
    for x, level in zip(seen[::2], (0.0, 0.5), strict=True):
        assert torch.equal(x, cascade.at((level, 0.25))(NONE, rng))
    seen.clear()
    sweep(cascade, (0.0, 0.5), measure, NONE, rng, reference=real)
    for x, level in zip(seen[::2], (0.0, 0.5), strict=True):
        assert torch.equal(x, cascade.at((0.25, level))(NONE, rng))
    for name, words in (("base", "handed anything"), ("mdidle", "middle")):
        with pytest.raises(Refusal, match=words):
            sweep(cascade, (0.0,), measure, NONE, rng, reference=real, stage=name)


def test_one_half_chooses_and_the_other_reports() -> None:
    """Real samples of the mean that a = 0.5 gives: that level is chosen, by rows that do not report."""
    mean, rows = RHO * 0.5 * DELTA, []

    def measure(x: torch.Tensor, told: Condition, z: torch.Tensor, truth: Condition) -> Estimate:
        rows.append(truth["row"])
        return nearness(x, told, z, truth)

    real = Real(mean + 1e-3 * normals(40).x)
    found = sweep(pair(faulty()), LEVELS, measure, NONE, Rng(range(1500)), reference=real, batch=1500)
    assert found.level == LEVELS[2] == found.levels[found.place] and found.best == found.reported[2]
    chose, reported = rows[0], rows[1]
    assert sorted([*chose.tolist(), *reported.tolist()]) == list(range(40)) and len(chose) == len(reported) == 20
    assert not torch.equal(chose, torch.arange(20))  # data often lie class by class
    assert all(torch.equal(a, b) for a, b in zip(rows, [chose, reported] * 5, strict=True))
    # A validation set elsewhere chooses another level, and all of the reference reports on it.
    other = Real(RHO * DELTA + 1e-3 * normals(24).x)
    found = sweep(pair(faulty()), LEVELS, measure, NONE, Rng(range(1500)), reference=real, validation=other)
    assert found.level == 0.0 and found.best.against == 40 and found.chosen_by[0].against == 24
    assert found.best.value == pytest.approx((RHO * DELTA - mean) ** 2, abs=0.03)
    # What is good when it is high is chosen from the other end.
    found = sweep(pair(faulty()), LEVELS, measure, NONE, Rng(range(300)), reference=real, validation=other, good="high")
    assert found.level == LEVELS[-1]


def test_it_is_written_for_people_and_for_programs() -> None:
    def at(value: float) -> Estimate:
        return Estimate("distance", value, value - 0.5, value + 0.5, 10, 20)

    found = Sweep("large", False, "low", (0.0, 0.2, 0.5), (at(math.nan), at(2.0), at(3.0)), (at(1.0), at(2.5), at(2.0)))
    assert found.level == 0.2 and found.best.value == 2.5
    lines = found.table().splitlines()
    assert "distance" in lines[0] and [line.endswith("*") for line in lines[1:]] == [False, True, False]
    plain = json.loads(json.dumps(found.plain()))
    assert plain["level"] == 0.2 and [e["value"] for e in plain["reported"]] == [1.0, 2.5, 2.0]


def test_what_cannot_be_swept_is_refused() -> None:
    def nothing(x: torch.Tensor, told: Condition, z: torch.Tensor, truth: Condition) -> Estimate:
        return Estimate("nothing", math.nan, math.nan, math.nan, len(x))

    cascade, rng, real = pair(faulty(), 2), Rng(range(3)), normals(10)
    with pytest.raises(Refusal, match="NaN at every level"):
        sweep(cascade, (0.0,), nothing, NONE, rng, reference=real)
    for levels in ((), (0.1, 0.1)):
        with pytest.raises(Refusal, match="each once"):
            sweep(cascade, levels, nearness, NONE, rng, reference=real)
    with pytest.raises(Refusal, match="two halves"):
        sweep(cascade, (0.1,), nearness, NONE, rng, reference=normals(3))
    with pytest.raises(Refusal, match="one stage"):
        sweep(Cascade(cascade.stages[:1]), (0.1,), nearness, NONE, rng, reference=real)
    with pytest.raises(Refusal, match="low or high"):
        sweep(cascade, (0.1,), nearness, NONE, rng, reference=real, good="best")
    plain = Cascade((cascade.stages[0], Stage("large", Told())))
    with pytest.raises(Refusal, match="no level to be"):
        sweep(plain, (0.1,), nearness, NONE, rng, reference=real)
