"""Towards a teacher: nothing at its own answer, Denoising's gradient in expectation, and a teacher left alone."""

import copy

import pytest
import torch
from torch import Tensor

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.spec import build, spec
from mezzotint.data import Fractal as Points
from mezzotint.denoiser import Fractal, Mixture, Preconditioned
from mezzotint.networks import MLP
from mezzotint.objectives import Denoising, LogNormal, Towards
from mezzotint.processes import EDM, VP, Flow
from mezzotint.testing.truth import Missed, nudge

EDM5 = EDM(sigma_max=5.0)
PROCESSES = [EDM(), VP(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
LAW = {"means": ((-0.8, 0.3), (0.7, 0.1), (0.2, -0.9)), "labels": (0, 1, 0)}


def teacher(process=EDM5) -> Mixture:  # type: ignore[no-untyped-def]
    covariances = (((0.1, 0.05), (0.05, 0.2)),) * 3
    return Mixture(process, LAW["means"], covariances, labels=LAW["labels"])


def student(process=EDM5) -> Preconditioned:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    network = MLP((2,), width=8, depth=1, vector=4)
    return nudge(Preconditioned(network, process, Encoder(label=Classes(2, 4)), sigma_data=0.7))


def batch(count: int) -> tuple[Tensor, Condition, Rng]:
    rng = Rng(range(count))
    which = (rng.uniform("which", ()) * 3).long()
    x = (
        torch.tensor(LAW["means"])[which]
        + rng.normal("x", (2,)) @ torch.linalg.cholesky(torch.tensor(((0.1, 0.05), (0.05, 0.2)))).T
    )
    return x, Condition(label=torch.tensor(LAW["labels"])[which]), rng.at("training")


@named
@pytest.mark.parametrize("weight", ["output", "noise", "edm"])
def test_the_truth_costs_nothing_beside_an_exact_teacher(process, weight: str) -> None:  # type: ignore[no-untyped-def]
    """Whatever the noise; Denoising still pays for what nobody can know."""
    truth = Missed(process, 0.0, (3,))
    x = truth.normals.means + truth.normals.stds * Rng(range(200)).normal("x", (3,))
    due = Towards(truth, weight=weight)(truth, x, NONE, Rng(range(200))).value
    assert float(due.max()) < 1e-10
    off = Towards(truth, weight="x0")(Missed(process, 0.5, (3,)), x, NONE, Rng(range(200))).value
    assert torch.allclose(off, torch.full_like(off, 0.25), atol=1e-6)
    assert float(Denoising(weight=weight, dropout=0.0)(truth, x, NONE, Rng(range(200))).value.mean()) > 1e-2


@named
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_expected_gradient_is_that_of_denoising(process, dropout: float) -> None:  # type: ignore[no-untyped-def]
    """Row by row the two differ; their mean difference vanishes within its standard error, in every weight."""
    model, (x, cond, rng) = student(process), batch(4096)
    both = [
        Towards(teacher(process), LogNormal(-0.5, 1.0), "x0", dropout),
        Denoising(LogNormal(-0.5, 1.0), "x0", dropout),
    ]
    weights = [p for p in model.parameters() if p.requires_grad]

    def gradients(objective, rows: slice) -> Tensor:  # type: ignore[no-untyped-def]
        value = objective(model, x[rows], cond[rows], rng[rows]).value.mean()
        found = torch.autograd.grad(value, weights, allow_unused=True)
        both = zip(found, weights, strict=True)
        return torch.cat([torch.zeros(p.numel()) if g is None else g.flatten() for g, p in both])

    pieces = [slice(k, k + 64) for k in range(0, 4096, 64)]
    towards, denoising = (torch.stack([gradients(o, piece) for piece in pieces]).double() for o in both)
    apart = towards - denoising
    error = apart.std(0) / len(pieces) ** 0.5
    live = error > 0
    z = (apart.mean(0)[live] / error[live]).abs()
    assert int(live.sum()) > 100 and float((z < 3.5).double().mean()) > 0.98
    # The teacher takes away the noise that no model can remove.
    assert float(towards.std(0).norm()) < 0.9 * float(denoising.std(0).norm())


def test_noise_weight_is_the_error_of_the_score() -> None:
    """sigma^2 |score - score*|^2 per entry, the scores from the log density by autograd."""
    process, model = EDM5, student()
    x, cond, rng = batch(50)
    loss = Towards(teacher(), LogNormal(-1.0, 1.0), "noise")(model, x, cond, rng)
    shot = loss.shot
    at = shot.x_t.double().requires_grad_()
    log_p = teacher()(at, shot.t, cond, want=("log_density",)).aux["log_density"]
    (score,) = torch.autograd.grad(log_p.sum(), at)
    sigma = process.sigma(shot.t)[:, None]
    said = (shot.answer.mean.double() - shot.x_t.double()) / sigma**2
    due = (sigma**2 * (said - score) ** 2).mean(1)
    assert torch.allclose(loss.value.double(), due.detach(), rtol=2e-4, atol=1e-6)


def test_both_hear_the_same() -> None:
    """A dropped row is compared with what the teacher says undropped of nothing; a teacher without a null is told."""
    x, cond, rng = batch(64)
    model = student()
    loss = Towards(teacher(), weight="x0", dropout=0.5)(model, x, cond, rng)
    kept = loss.shot.cond.kept("label")
    assert 0.2 < float(kept.double().mean()) < 0.8
    told, untold = (teacher()(loss.shot.x_t.double(), loss.shot.t, c).mean for c in (cond, NONE))
    due = (loss.shot.answer.mean - torch.where(kept[:, None], told, untold)).square().mean(1)
    assert torch.allclose(loss.value.double(), due, rtol=1e-3, atol=1e-7)
    knowing = nudge(student()).eval()  # its null was never trained
    assert not knowing.nulls
    loss = Towards(knowing, weight="x0", dropout=1.0)(model, x, cond, rng)
    assert not loss.shot.cond.kept("label").any()
    due = (loss.shot.answer.mean - knowing(loss.shot.x_t, loss.shot.t, cond).mean).square().mean(1)
    assert torch.allclose(loss.value, due, rtol=1e-3, atol=1e-7)


def test_a_model_that_was_never_told_stands_beside_others() -> None:
    """dropout = 1 trains its null and nothing else of the table."""
    model, (x, cond, rng) = student(), batch(32)
    model.train()
    Towards(teacher(), dropout=1.0)(model, x, cond, rng).value.sum().backward()
    assert model.nulls == ("label",)
    part = model.encoder["label"]
    assert float(part.null.grad.abs().sum()) > 0 and not part.table.weight.grad.any()
    with pytest.raises(Refusal, match="up to 1"):
        Towards(teacher(), dropout=1.1)


def test_the_teacher_is_left_alone() -> None:
    guide = student()
    guide.train()
    before = copy.deepcopy(guide.state_dict())
    objective = Towards(guide, weight="x0")
    assert not guide.training and not list(objective.parameters())
    objective.train()
    model, (x, cond, rng) = nudge(student()), batch(16)
    objective(model, x, cond, rng).value.sum().backward()
    assert not guide.training and all(p.grad is None for p in guide.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in guide.state_dict().items())
    assert sum(t.numel() for t in objective.state_dict().values()) == 1  # its hash


def test_a_run_does_not_go_on_beside_another_teacher() -> None:
    """A config makes the teacher anew, with other weights; what is exact is made the same."""
    model, (x, cond, rng) = student(), batch(8)
    objective = Towards(student())
    again = build(spec(objective))
    again.load_state_dict(objective.state_dict())
    with pytest.raises(Refusal, match="other weights"):
        again(model, x, cond, rng)
    exact = Towards(Fractal(EDM5, depth=2))
    again = build(spec(exact))
    again.load_state_dict(exact.state_dict())
    x, cond = Points(depth=2)[:8]
    assert torch.equal(again(model, x, cond, rng).value, exact(model, x, cond, rng).value)


def test_refusals() -> None:
    x, cond, rng = batch(4)
    with pytest.raises(Refusal, match="must be the same"):
        Towards(teacher(EDM()))(student(), x, cond, rng)
    with pytest.raises(Refusal, match="trains a denoiser with a network"):
        Towards(teacher())(teacher(), x, cond, rng)
    with pytest.raises(Refusal, match="no weight"):
        Towards(teacher(), weight="snr")
    with pytest.raises(Refusal, match="a teacher is a denoiser"):
        Towards(MLP((2,)))  # type: ignore[arg-type]
