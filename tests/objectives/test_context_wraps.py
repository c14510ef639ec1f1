"""Context prediction around every objective there is: it works, and takes nothing away from what is inside."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.learner import Learner
from mezzotint.denoiser import Autoregressive, Chain, Tokens
from mezzotint.denoiser.base import Denoiser
from mezzotint.networks import TokenTransformer
from mezzotint.objectives import (
    Classification,
    ContextPrediction,
    Denoising,
    Hybrid,
    Importance,
    LevelBound,
    Loss,
    Objective,
    OrderedDecoder,
    Reconstruction,
)
from mezzotint.processes import EDM, Absorbing, Multinomial
from mezzotint.processes.discrete import Discrete
from mezzotint.processes.poisson import PoissonFlow
from mezzotint.testing import check_objective, example, parts
from mezzotint.testing.truth import Guess, labels, model, nudge

OBJECTIVES = [cls for cls in parts("objective") if not issubclass(cls, ContextPrediction)]
WRAPPED = [cls for cls in OBJECTIVES if cls not in (Classification, Reconstruction)]


def tokens(process: Discrete) -> Tokens:
    network = TokenTransformer(process.symbols, process.vocab, (3, 4), width=16, depth=2, heads=2, level=True)
    return Tokens(network, process)


def learners() -> dict[str, Learner]:
    """Answers of every kind: points and Gaussians of two processes, symbols with and without a mask, whole laws."""
    made: dict[str, Learner] = {
        "point": model(EDM()),
        "variance": model(EDM(), variance=True),
        "poisson": model(PoissonFlow(64.0)),
        "absorbing": tokens(Absorbing(4)),
        "multinomial": tokens(Multinomial(4)),
        "guess": Guess(Absorbing(3)),
        "chain": example(Chain),
        "autoregressive": example(Autoregressive),
    }
    for name, learner in made.items():
        if name not in ("point", "variance", "poisson", "guess"):
            nudge(learner)
        learner.eval()
    return made


LEARNERS = list(learners())
LAWS = ("chain", "autoregressive")


def batch(learner: Learner, count: int = 6) -> Tensor:
    process = getattr(learner, "process", None)
    if isinstance(process, Discrete):
        return (process.vocab * Rng(range(count)).uniform("data", tuple(learner.shape))).long()
    return 0.5 * Rng(range(count)).normal("data", tuple(learner.shape))


def inside(cls: type, learner: Learner) -> tuple[Objective, Loss, Tensor, Condition] | None:
    """An objective, what it says of a learner, and of what; None where it trains something else."""
    objective = example(cls)
    assert isinstance(objective, Objective)
    x = batch(learner)
    for cond in (labels(len(x)), NONE):
        try:
            ready = learner.prepare(cond)
            return objective, objective(learner, x, ready, Rng(range(len(x)))), x, ready
        except (Refusal, TypeError, AttributeError):
            continue
    return None


def gradients(loss: Loss, learner: Learner) -> dict[str, Tensor]:
    weights = [(name, p) for name, p in learner.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(loss.value.sum(), [p for _, p in weights], allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(weights, found, strict=True)}


def sources(name: str) -> tuple[str, ...]:
    """A law of whole samples has no features; neither has a guess, which is no network."""
    return ("prediction",) if name in (*LAWS, "guess") else ("features", "prediction")


def test_every_objective_of_the_package_is_met() -> None:
    """Each that trains a denoiser accepts one of the learners here, so that none is left out below in silence."""
    told = learners()
    met = {cls.__name__: [name for name in told if inside(cls, told[name]) is not None] for cls in WRAPPED}
    assert all(met.values()), met
    assert {name for names in met.values() for name in names} == set(LEARNERS)
    assert len(WRAPPED) >= 8


@pytest.mark.parametrize("cls", WRAPPED, ids=lambda cls: cls.__name__)
def test_it_keeps_the_contract_of_an_objective(cls: type) -> None:
    source = "prediction" if cls.__name__ == "ChainBound" else "features"
    check_objective(ContextPrediction(example(cls), source=source))


@pytest.mark.parametrize("cls", WRAPPED, ids=lambda cls: cls.__name__)
def test_what_is_inside_is_as_it_was(cls: type) -> None:
    """Value and gradient to the bit without weight; with it the same parts and shot, and a value that is more."""
    for name, learner in learners().items():
        found = inside(cls, learner)
        if found is None:
            continue
        inner, own, x, cond = found
        grads = gradients(own, learner)
        for source in sources(name):
            who = f"{cls.__name__} {name} {source}"
            off = ContextPrediction(inner, weight=0.0, source=source, sites=1.0)
            assert off.players == inner.players
            without = off(learner, x, cond, Rng(range(len(x))))
            assert torch.equal(without.value, own.value) and without.value.dtype == own.value.dtype, who
            for weight, gradient in gradients(without, learner).items():
                assert torch.equal(gradient, grads[weight]), f"{who} {weight}"

            on = ContextPrediction(inner, weight=0.5, source=source, sites=1.0, by_level=False)
            loss = on(learner, x, cond, Rng(range(len(x))))
            assert loss.parts.keys() == {*own.parts, "context"}, who
            assert all(torch.equal(loss.parts[part], own.parts[part]) for part in own.parts), who
            assert own.shot is not None and loss.shot is not None
            for field in ("x0", "x_t", "t"):
                assert torch.equal(getattr(loss.shot, field), getattr(own.shot, field)), f"{who} {field}"
            assert bool(torch.isfinite(loss.value).all()) and bool((loss.parts["context"] > 0).all()), who
            assert bool((loss.value >= own.value).all()) and bool((loss.value > own.value).any()), who
            moved = gradients(loss, learner)
            assert all(bool(torch.isfinite(gradient).all()) for gradient in moved.values()), who
            assert any(not torch.equal(moved[weight], grads[weight]) for weight in grads), who
            weights = [p for p in on.parameters() if p.requires_grad]
            again = on(learner, x, cond, Rng(range(len(x))))
            heard = torch.autograd.grad(again.value.sum(), weights, allow_unused=True)
            assert any(g is not None and bool(g.any()) for g in heard), who


class Ear(Objective):
    """Passes an objective on, and keeps what its update is told."""

    def __init__(self, inner: Objective) -> None:
        super().__init__()
        self.inner, self.players, self.heard = inner, inner.players, []
        self.summed = getattr(inner, "summed", False)

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        loss: Loss = self.inner(model, x, cond, rng, player)
        return loss

    def update(self, model: Denoiser, loss: Loss) -> None:
        self.heard.append(loss)


@pytest.mark.parametrize("cls", WRAPPED, ids=lambda cls: cls.__name__)
def test_the_inner_hears_its_own_value(cls: type) -> None:
    for name, learner in learners().items():
        found = inside(cls, learner)
        if found is None:
            continue
        inner, own, x, cond = found
        ear = Ear(inner)
        for weight in (0.0, 3.0, 1e5):  # its own, and not what rounding has left of it in a large sum
            wrapped = ContextPrediction(ear, weight=weight, source=sources(name)[-1])
            wrapped.update(learner, wrapped(learner, x, cond, Rng(range(len(x)))))
            heard = ear.heard.pop()
            assert not ear.heard and heard.parts.keys() == own.parts.keys() and not heard.value.requires_grad
            assert torch.equal(heard.value, own.value.detach())
            assert torch.equal(heard.unweighted(), own.unweighted())


def test_levels_below_remember_what_they_would_have_without() -> None:
    learner = model(EDM())
    x, cond = batch(learner), learner.prepare(labels(6))
    plain = Denoising(Importance(4, window=2))
    inner = Denoising(Importance(4, window=2))
    wrapped = ContextPrediction(inner, weight=2.0)
    for step in range(6):
        rng = Rng(range(6)).at(step)
        with torch.no_grad():
            plain.update(learner, plain(learner, x, cond, rng))
            wrapped.update(learner, wrapped(learner, x, cond, rng))
    assert int(plain.levels.seen.sum()) == 36
    for name, value in plain.levels.state_dict().items():
        assert torch.equal(inner.levels.state_dict()[name], value)


def test_one_around_another_of_its_kind_is_refused() -> None:
    """Their terms would have one name, and what is inside would hear one of them; through a third one as well."""
    for inner in (ContextPrediction(Denoising()), Hybrid(ContextPrediction(Denoising()), 10)):
        with pytest.raises(Refusal, match="context") as refused:
            ContextPrediction(inner)
        assert "\n" not in str(refused.value)


def test_another_kind_of_term_stands_inside_and_outside_alike() -> None:
    """Hybrid of context and context of Hybrid: one value, one gradient, and the innermost hears its own."""
    learner = model(EDM(), variance=True)
    x, cond, rng = batch(learner), learner.prepare(labels(6)), Rng(range(6))
    ear = Ear(Denoising())
    own = ear(learner, x, cond, rng)
    one = ContextPrediction(Hybrid(ear, 10, weight=0.5), weight=2.0)
    other = Hybrid(ContextPrediction(ear, weight=2.0), 10, weight=0.5)
    losses = [each(learner, x, cond, rng) for each in (one, other)]
    torch.testing.assert_close(losses[0].value, losses[1].value)
    assert losses[0].parts.keys() == losses[1].parts.keys() == {"bound", "context"}
    for each, loss in zip((one, other), losses, strict=True):
        each.update(learner, loss)
        heard = ear.heard.pop()
        assert not heard.parts
        assert torch.equal(heard.value, own.value.detach())


@pytest.mark.parametrize("cls", [Classification, Reconstruction], ids=lambda cls: cls.__name__)
def test_what_trains_no_denoiser_is_refused_at_once_with_a_sentence(cls: type) -> None:
    with pytest.raises(Refusal, match="denoiser") as refused:
        ContextPrediction(example(cls))
    assert "\n" not in str(refused.value) and cls.__name__ in str(refused.value)


@pytest.mark.parametrize("name", [*LAWS, "guess"])
def test_features_where_there_are_none_are_refused_with_a_way_out(name: str) -> None:
    learner = learners()[name]
    cls = next(cls for cls in WRAPPED if inside(cls, learner) is not None)
    found = inside(cls, learner)
    assert found is not None
    inner, _, x, cond = found
    with pytest.raises(Refusal, match="prediction"):
        ContextPrediction(inner)(learner, x, cond, Rng(range(len(x))))


def test_rows_are_their_own_for_symbols_too() -> None:
    """The same value for a row in any company, in which a draw of a row under another's key would show."""
    learner = learners()["absorbing"]
    x = batch(learner)
    for decoder in (None, OrderedDecoder()):
        wrapped = ContextPrediction(LevelBound(), decoder=decoder, weight=1.0, sites=0.5, strides=(1, 2))
        whole = wrapped(learner, x, NONE, Rng(range(6)))
        few = wrapped(learner, x[[4, 1]], NONE, Rng([4, 1]))
        torch.testing.assert_close(few.value, whole.value[[4, 1]], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(few.parts["context"], whole.parts["context"][[4, 1]], rtol=1e-5, atol=1e-6)


def test_a_player_that_is_not_the_model_s_turn_is_left_to_the_inner() -> None:
    class Two(Objective):
        players = ("model", "critic")

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.critic = Denoising(), torch.nn.Linear(1, 1)

        def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
            loss: Loss = self.inner(model, x, cond, rng)
            return loss if player == "model" else replace(loss, value=self.critic(loss.value.detach()[:, None])[:, 0])

    learner = model(EDM())
    x, cond, rng = batch(learner), learner.prepare(labels(6)), Rng(range(6))
    inner = Two()
    wrapped = ContextPrediction(inner, weight=5.0)
    assert wrapped.players == ("model", "critic")
    assert torch.equal(wrapped(learner, x, cond, rng, "critic").value, inner(learner, x, cond, rng, "critic").value)
    assert bool((wrapped(learner, x, cond, rng).value != inner(learner, x, cond, rng).value).all())
