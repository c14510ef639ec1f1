"""Training a noise-aware classifier: the least loss is the entropy that is left, and its minimiser is Bayes' rule."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mezzotint as mz
from mezzotint import training
from mezzotint.core import Condition, Refusal, Rng, spec
from mezzotint.core.spec import Module
from mezzotint.denoiser import Mixture
from mezzotint.guidance import AtNoise, Unaware
from mezzotint.networks import MLP
from mezzotint.networks.context import Context
from mezzotint.objectives import Classification, Denoising, Levels, LogNormal
from mezzotint.processes import EDM, VP, Continuous, Flow
from mezzotint.rewards import Classifier, NoiseAwareClassifier, Posterior
from mezzotint.samplers import Heun

CENTRE, SPREAD = 0.8, 0.5


class Fixed(Levels):
    """Every sample at one level; notes what it hears."""

    def __init__(self, u: float, weight: float = 1.0) -> None:
        super().__init__()
        self.u, self.weight, self.heard = u, weight, list[tuple[Tensor, Tensor]]()

    def forward(self, process, shape, rng):  # type: ignore[no-untyped-def]
        t = process.time(torch.full((len(rng),), self.u, dtype=torch.float64))
        return t, torch.full_like(t, self.weight)

    def update(self, t: Tensor, value: Tensor) -> None:
        self.heard.append((t, value))


class Line(Module):
    """A logit that is linear in the mean entry of its input, against 0."""

    def __init__(self, shape: tuple[int, ...] = (1,), slope: float = 0.0) -> None:
        super().__init__()
        self.shape, self.slope = shape, nn.Parameter(torch.tensor(float(slope)))

    def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Tensor:
        one = self.slope * x.flatten(1).mean(1)
        return torch.stack([torch.zeros_like(one), one], 1)


def data(count: int) -> tuple[Tensor, Condition]:
    """Two classes N(-0.8, 1/4) and N(0.8, 1/4), one dimension, in turn and at even quantiles of each."""
    place = torch.arange(count)
    even = (place // 2 + 0.5) / ((count + 1) // 2)
    x = (2 * (place % 2) - 1) * CENTRE + SPREAD * torch.special.ndtri(even.double())
    return x.float()[:, None], Condition(label=place % 2)


def truth(process: Continuous) -> Mixture:
    return Mixture(process, [[-CENTRE], [CENTRE]], [[[SPREAD**2]]] * 2, labels=[0, 1])


@pytest.mark.parametrize("process", [EDM(), VP(), Flow()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("u", [0.2, 0.5, 0.7])
def test_bayes_rule_costs_the_entropy_that_is_left_and_nothing_less(process: Continuous, u: float) -> None:
    """On two equal Gaussians the exact logit is 2 alpha m x_t / (alpha^2 c^2 + sigma^2): any other slope costs more."""
    t = process.time(torch.tensor([u], dtype=torch.float64))
    a, s = float(process.alpha(t)), float(process.sigma(t))
    variance, d = a**2 * SPREAD**2 + s**2, 0.6
    exact = 2 * a * CENTRE / variance * (a**2 * d**2 + s**2) ** 0.5  # of the scaled input
    x, cond = data(4000)

    def cost(slope: float) -> float:
        model = NoiseAwareClassifier(Line(slope=slope), process, sigma_data=d)
        return float(Classification(Fixed(u))(model, x, cond, Rng(range(4000))).value.detach().double().mean())

    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    x_t = a * CENTRE + variance**0.5 * z  # of the upper class; the lower one mirrors it
    loss = torch.nn.functional.softplus(-2 * a * CENTRE / variance * x_t)
    density = torch.exp(-(z**2) / 2) / (2 * math.pi) ** 0.5
    entropy = float(torch.trapezoid(density * loss, z))
    assert cost(exact) == pytest.approx(entropy, abs=0.03)
    assert cost(0.0) == pytest.approx(math.log(2), abs=1e-6)
    assert min(cost(0.7 * exact), cost(1.4 * exact)) > cost(exact)


def test_training_finds_bayes_rule_and_guides_by_it() -> None:
    """Its minimiser at one level is the exact posterior, so climbing it is climbing the exact one."""
    process, u = VP(), 0.5
    model = NoiseAwareClassifier(Line(), process, sigma_data=0.9)
    objective, (x, cond) = Classification(Fixed(u)), data(400)
    optimizer = torch.optim.SGD(model.parameters(), lr=4.0)
    for step in range(40):
        optimizer.param_groups[0]["lr"] = 4.0 if step < 25 else 1.0
        optimizer.zero_grad()
        objective(model, x, cond, Rng(range(400)).at(step)).value.mean().backward()
        optimizer.step()
    exact, t = truth(process), process.time(torch.full((5,), u, dtype=torch.float64))
    x_t, wish = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None], Condition(label=[1] * 5)
    torch.testing.assert_close(model.logs(x_t, t), Posterior(exact).logs(x_t, t).float(), atol=0.08, rtol=0.0)
    free = exact(x_t, t).mean
    guided = AtNoise(Unaware(exact, ("label",)), model, 1.0)(x_t, t, wish).mean
    torch.testing.assert_close(guided, exact(x_t, t, wish).mean, atol=0.05, rtol=0.0)
    assert float((guided - free).abs().max()) > 0.3


def test_a_loss_depends_on_its_key_and_weight_only() -> None:
    levels = LogNormal(0.0, 1.0)
    model, (x, cond), rng = NoiseAwareClassifier(Line(slope=1.0), EDM()), data(6), Rng(range(6))
    together = Classification(levels)(model, x, cond, rng)
    for k in (0, 4):
        alone = Classification(levels)(model, x[[k]], cond[[k]], rng[[k]])
        torch.testing.assert_close(alone.value, together.value[[k]])
        assert torch.equal(alone.shot.t, together.shot.t[[k]])  # type: ignore[union-attr]
    once, twice = (Classification(Fixed(0.4, w))(model, x, cond, rng).value for w in (1.0, 2.5))
    torch.testing.assert_close(twice, 2.5 * once)
    right = (together.shot.answer.mean.argmax(1) == cond["label"]).float()  # type: ignore[union-attr]
    assert torch.equal(together.parts["accuracy"], right) and 0 < float(right.mean())


def test_levels_hear_how_it_went() -> None:
    levels, (x, cond) = Fixed(0.4), data(3)
    objective, model = Classification(levels), NoiseAwareClassifier(Line(), EDM())
    loss = objective(model, x, cond, Rng(range(3)))
    objective.update(model, loss)
    (t, value), *_ = levels.heard
    torch.testing.assert_close(EDM().level(t), torch.full((3,), 0.4, dtype=torch.float64))
    assert torch.equal(value, loss.value.detach()) and not value.requires_grad


def test_what_was_dropped_counts_nothing_and_what_is_wrong_is_refused() -> None:
    model, (x, cond), rng = NoiseAwareClassifier(Line(slope=1.0), EDM()), data(4), Rng(range(4))
    kept = torch.tensor([True, False, True, False])
    some = Condition(label=torch.where(kept, cond["label"], 77))
    some = some.rebuild({**some.leaves(), "keep:label": kept})
    objective = Classification(Fixed(0.5))
    found, whole = objective(model, x, some, rng).value, objective(model, x, cond, rng).value
    assert torch.equal(found, torch.where(kept, whole, 0.0))
    found.sum().backward()
    assert bool(model.network.slope.grad.isfinite())  # type: ignore[union-attr]
    with pytest.raises(Refusal, match="class 77"):
        objective(model, x, Condition(label=some["label"]), rng)
    with pytest.raises(Refusal, match="NoiseAwareClassifier, not a Classifier"):
        objective(Classifier(nn.Linear(1, 2)), x, cond, rng)


def classifier() -> NoiseAwareClassifier:
    digits = mz.data.Digits()
    network = MLP(digits.shape, width=48, depth=2, vector=None, outputs=10)
    return NoiseAwareClassifier(network, EDM(), sigma_data=digits.std)


def test_the_trainer_trains_it(tmp_path: Path) -> None:
    """From a config to a run folder with a model in it that guides; runs resume, no pictures are drawn of it."""
    digits = mz.data.Digits()
    rate, levels = training.Rate(peak=5e-3, warmup=256), LogNormal(-2.5, 1.0)
    trainer = training.Trainer(Classification(levels), images=5120, batch=64, rate=rate, save=2560, log=1280)
    tree = {"model": spec(classifier()), "data": spec(digits), "training": spec(trainer)}
    run = training.train(tree, tmp_path / "run")
    rows = [row for row in run.metrics() if "loss" in row]
    assert rows[0]["loss"] > rows[-1]["loss"] and rows[-1]["loss"] < 0.8 * math.log(10)
    held = [row["held_out"] for row in run.metrics() if "held_out" in row]
    assert len(held) == 2 and held[-1]["loss"] < 0.9 * math.log(10) and held[-1]["levels"] == []
    assert not list((tmp_path / "run" / "samples").iterdir()) and run.checkpoints() == [2560, 5120]
    model = mz.load(run.path)
    assert isinstance(model, NoiseAwareClassifier) and not any(p.requires_grad for p in model.parameters())
    x, cond = digits.held_out()[list(range(128))]
    right = (model.logs(x, torch.full((128,), 0.1 / 80)).argmax(1) == cond["label"]).double().mean()
    assert float(right) > 0.4  # by chance 0.1
    exact = mz.denoiser.Empirical(EDM(), digits[:][0])
    guided = AtNoise(Unaware(exact, ("label",)), model, 3.0)
    drawn = Heun(8)(guided, Condition(label=[3, 3]), rng=Rng(range(2)))
    plain = Heun(8)(exact, rng=Rng(range(2)))
    assert bool(torch.isfinite(drawn).all()) and not torch.equal(drawn, plain)
    resumed = training.train(tree | {"training": spec(trainer) | {"images": 5184}}, tmp_path / "run", resume=True)
    assert resumed.checkpoints()[-1] == 5184


def test_the_trainer_refuses_what_does_not_learn(tmp_path: Path) -> None:
    trainer = training.Trainer(Denoising(), images=64, batch=64)
    with pytest.raises(Refusal, match="nothing to train"):
        trainer.fit(truth(EDM()), mz.data.Digits(), tmp_path / "run")
    with pytest.raises(Refusal, match="Denoising trains"):
        trainer.fit(classifier(), mz.data.Digits(), tmp_path / "other")
