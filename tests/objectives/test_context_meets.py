"""What context prediction does before a step: meeting a model, draws and weights of its own, refusals."""

from __future__ import annotations

import pytest
import torch
from surroundings import context, noise, unet
from torch import Tensor

from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.denoiser import Preconditioned, Tokens
from mezzotint.denoiser.base import Denoiser
from mezzotint.networks import MLP, TokenTransformer, UNet
from mezzotint.objectives import (
    ContextPrediction,
    Denoising,
    LevelBound,
    Loss,
    Objective,
    OrderedDecoder,
    SetDecoder,
)
from mezzotint.objectives.neighbourhood import Neighbourhood
from mezzotint.processes import EDM, Absorbing
from mezzotint.testing.truth import labels, nudge


def test_meeting_leaves_torch_s_generator_alone_though_layers_drop_out() -> None:
    torch.manual_seed(0)
    network = UNet((1, 4, 6), width=8, vector=None, dropout=0.5)
    learner, x = Preconditioned(network, EDM()).train(), noise(2, (1, 4, 6))
    learner.network.mid.eval() if learner.network.mid is not None else None
    modes = [part.training for part in learner.modules()]
    state = torch.random.get_rng_state()
    ContextPrediction(Denoising(dropout=0.0)).meet(learner, x[:1], NONE, 3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert [part.training for part in learner.modules()] == modes
    weights = ContextPrediction(Denoising(dropout=0.0), weight=0.0)
    weights.meet(learner, x[:1], NONE, 3)
    values = []
    for objective in (Denoising(dropout=0.0), weights):
        torch.manual_seed(1)
        values.append(objective(learner, x, NONE, Rng(range(2))).value)
    assert torch.equal(*values)


class Own(Objective):
    """An objective of a user's that holds another one and knows nothing of meeting."""

    def __init__(self, inner: Objective) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        loss: Loss = self.inner(model, x, cond, rng, player)
        return loss


def test_what_stands_inside_another_meets_the_model_too() -> None:
    learner, x = unet((1, 4, 6)), noise(2, (1, 4, 6))
    outer = Own(ContextPrediction(Denoising()))
    assert outer.remembers and not Own(Denoising()).remembers
    assert not list(outer.parameters())
    outer.meet(learner, x[:1], learner.prepare(labels(1)), 3)
    alone = ContextPrediction(Denoising())
    alone.meet(learner, x[:1], learner.prepare(labels(1)), 3)
    for mine, other in zip(outer.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_met_again_with_other_symbols_it_is_made_anew() -> None:
    objective = ContextPrediction(LevelBound(), sites=1.0)
    for vocab in (5, 7):
        learner = Tokens(TokenTransformer(vocab + 1, vocab, (4, 3), width=8, depth=1, heads=1), Absorbing(vocab))
        x = (vocab * Rng(range(2)).uniform("x", (4, 3))).long()
        objective.meet(learner, x[:1], NONE)
        assert objective(learner, x, NONE, Rng(range(2))).value.isfinite().all()
        assert tuple(objective.vectors.shape) == (vocab, vocab)
        assert not any("vectors" in name for name in objective.state_dict())  # they can be made again


@pytest.mark.parametrize(
    "made",
    [
        lambda: SetDecoder(draws=1.5), lambda: SetDecoder(draws=True), lambda: SetDecoder(draws=10**7),
        lambda: SetDecoder(width=10**9), lambda: SetDecoder(hidden=0), lambda: OrderedDecoder(width=1.5),
        lambda: OrderedDecoder(width=10**10), lambda: ContextPrediction(Denoising(), feature=3),
        lambda: ContextPrediction(Denoising(), sites=True), lambda: ContextPrediction(Denoising(), weight=float("nan")),
        lambda: Neighbourhood((64, 64), 100),
    ],
)  # fmt: skip
def test_hostile_settings_are_refused_at_once(made: object) -> None:
    with pytest.raises(Refusal) as refused:
        made()  # type: ignore[operator]
    assert "\n" not in str(refused.value)


def test_draws_of_its_own_leave_the_inner_s_alone() -> None:
    shape = (2, 4, 6)
    learner, x, told = unet(shape), noise(8, shape), labels(8)
    learner.encoder.parts["label"].null_trained.fill_(True)
    cond, rng = learner.prepare(told), Rng(range(8))
    own = Denoising(dropout=0.5)(learner, x, cond, rng)
    assert own.shot is not None
    state = torch.random.get_rng_state()
    values = []
    for wrapped in (
        ContextPrediction(Denoising(dropout=0.5)),
        ContextPrediction(Denoising(dropout=0.5), OrderedDecoder(), strides=(2, 1), sites=0.5),
        ContextPrediction(Denoising(dropout=0.5), SetDecoder(draws=3), source="prediction", weight=7.0),
    ):
        shot = wrapped(learner, x, cond, rng).shot
        assert shot is not None and torch.equal(shot.x_t, own.shot.x_t) and torch.equal(shot.t, own.shot.t)
        assert torch.equal(shot.answer.mean, own.shot.answer.mean)  # so the same labels were dropped, too
        values.append(context(wrapped, learner, x))
    assert torch.equal(state, torch.random.get_rng_state())
    one, other = (context(ContextPrediction(Denoising()), learner, x, range(k, k + 8)) for k in (0, 8))
    assert not torch.equal(one, other)


def test_weights_come_from_the_seed_alone() -> None:
    shape = (1, 4, 5)
    learner, x = unet(shape), noise(1, shape)
    made = []
    for place, seed in enumerate((3, 3, 4)):
        torch.manual_seed(place)
        before = torch.random.get_rng_state()
        objective = ContextPrediction(Denoising())
        objective.meet(learner, x, NONE, seed)
        assert torch.equal(before, torch.random.get_rng_state())
        made.append(torch.cat([p.flatten() for p in objective.parameters()]))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2]) and len(made[0]) > 1000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weight": -0.1}, "weight"), ({"weight": float("nan")}, "weight"), ({"strides": ()}, "strides"),
        ({"strides": (0,)}, "strides"), ({"strides": (1.5,)}, "strides"), ({"sites": 0}, "sites"),
        ({"sites": 1.1}, "sites"), ({"sites": float("nan")}, "sites"), ({"source": "feature"}, "features"),
        ({"decoder": 3}, "SetDecoder"), ({"inner": 3}, "objective"),
        ({"source": "prediction", "feature": "mid"}, "mid"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_are_refused_at_once(given: dict[str, object], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        ContextPrediction(**{"inner": Denoising(), **given})  # type: ignore[arg-type]


def test_models_it_cannot_serve_are_refused_with_a_sentence() -> None:
    point = nudge(Preconditioned(MLP((6,), width=16, depth=1, vector=None), EDM())).eval()
    with pytest.raises(Refusal, match=r"site|grid|neighbour"):
        ContextPrediction(Denoising())(point, torch.zeros(2, 6), NONE, Rng(range(2)))
    learner, x = unet((1, 4, 6)), noise(2, (1, 4, 6))
    with pytest.raises(Refusal, match="features 'up.9'"):
        ContextPrediction(Denoising(), feature="up.9")(learner, x, NONE, Rng(range(2)))
    with pytest.raises(Refusal, match="decoder"):  # weights of another model
        objective = ContextPrediction(Denoising())
        objective(learner, x, NONE, Rng(range(2)))
        objective(unet((2, 4, 6)), noise(2, (2, 4, 6)), NONE, Rng(range(2)))


@pytest.mark.parametrize(("sides", "said"), [((2**20, 2**30), "memory"), ((2**31, 2**33), "memory"), ((2, 3), None)])
def test_only_a_lack_of_memory_is_called_so(sides: tuple[int, int], said: str | None) -> None:
    """A decoder of one's own that is wrong in another way says what torch says."""

    class Own(OrderedDecoder):
        def build(self, inputs: int, outputs: int, slots: int) -> None:
            torch.empty(sides) @ torch.empty(2, 2)

    with pytest.raises(Refusal if said else RuntimeError, match=said or "mat1 and mat2"):
        Own().meet(4, 1, 8)
