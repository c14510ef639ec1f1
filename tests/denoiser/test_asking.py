"""More is asked, nothing else changes: an objective handed Asking is the objective handed the model, to the bit."""

from __future__ import annotations

import pytest
import torch

from mezzotint.core import Condition, Refusal, Rng
from mezzotint.denoiser import Asking, Counted, Mixture, Preconditioned
from mezzotint.networks import UNet
from mezzotint.objectives import Denoising
from mezzotint.processes import EDM, Flow


def model() -> Preconditioned:
    made = Preconditioned(UNet((1, 4, 4), width=8, vector=None), Flow(), sigma_data=0.7, prediction="velocity")
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return made


@pytest.mark.parametrize("weight", ["output", "edm", "min_snr"])
def test_an_objective_does_not_know(weight: str) -> None:
    """Features for a further term lie in the shot; values and gradients are those of the plain model."""
    inner, x, rng = model(), torch.randn(6, 1, 4, 4), Rng(range(6))
    found, plain = (
        Denoising(weight=weight)(m, x, Condition(), rng) for m in (Asking(inner, ("mid", "up.0", "output")), inner)
    )
    assert found.shot is not None and set(found.shot.answer.aux) == {"mid", "up.0", "output"}
    assert plain.shot is not None and set(plain.shot.answer.aux) == {"output"}
    assert torch.equal(found.value, plain.value)
    due = inner(found.shot.x_t, found.shot.t, want=("mid",)).aux["mid"]
    assert torch.equal(found.shot.answer.aux["mid"], due)
    grads = [torch.autograd.grad(loss.value.sum(), list(inner.parameters())) for loss in (found, plain)]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_names_are_asked_once_and_stack() -> None:
    inner, x, t = model(), torch.randn(2, 1, 4, 4), torch.full((2,), 0.5, dtype=torch.float64)
    both = Asking(Asking(Counted(inner), ("mid",)), ("up.0",))
    assert set(both(x, t, want=("mid", "output")).aux) == {"mid", "up.0", "output"}
    with pytest.raises(Refusal):
        Asking(inner, ("middle",))(x, t)
    with pytest.raises(Refusal, match="tuple"):
        Asking(inner, "mid")  # type: ignore[arg-type]


def test_it_is_the_model_to_a_trainer() -> None:
    inner = model()
    asking = Asking(inner, ("mid",))
    x, t = torch.randn(4, 1, 4, 4), torch.rand(4, dtype=torch.float64)
    assert asking.sigma_data == 0.7
    assert torch.equal(asking.target(x, 2 * x, t), inner.target(x, 2 * x, t))
    assert torch.equal(asking.sharpness(t), inner.sharpness(t))
    assert torch.equal(asking.trivial(x, t), inner.trivial(x, t))
    asking.lower(torch.bfloat16)
    assert inner.inner_dtype == torch.bfloat16
    assert not torch.equal(asking(x, t).mean, model()(x, t).mean)


def test_an_exact_denoiser_can_be_asked_but_not_trained() -> None:
    exact = Asking(Mixture(EDM(), [[0.0, 0.0]], [torch.eye(2).tolist()]), ("log_density",))
    answer = exact(torch.zeros(3, 2), torch.full((3,), 0.1, dtype=torch.float64))
    assert set(answer.aux) == {"log_density"}
    with pytest.raises(Refusal, match="Mixture has no network to train"):
        Denoising()(exact, torch.zeros(3, 2), Condition(), Rng(range(3)))
