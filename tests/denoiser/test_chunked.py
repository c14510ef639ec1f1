"""The same bits alone and in any crowd, through real networks and samplers."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.denoiser import Chunked, Counted, Mixture, Preconditioned
from mezzotint.guidance import CFG
from mezzotint.networks import MLP, DiT, UNet
from mezzotint.processes import EDM, Flow
from mezzotint.samplers import Ancestral, Heun, Multistep

COUNT = 11
COND = Condition(label=torch.arange(COUNT) % 3)


@cache
def model(kind: str) -> Preconditioned:
    network: torch.nn.Module = {
        "unet": lambda: UNet((3, 7, 5), width=24, multipliers=(1,), vector=8),  # odd sizes: kernels have rests
        "dit": lambda: DiT((1, 8, 8), width=32, depth=2, heads=2, vector=8),
        "mlp": lambda: MLP((6,), width=32, depth=2, vector=8),
    }[kind]()
    made = Preconditioned(network, Flow(), Encoder(label=Classes(3, 8)), prediction="velocity")
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.1 * torch.randn_like(weight)
    made.encoder["label"].null_trained.fill_(True)  # type: ignore[index]
    return made.eval()


SAMPLERS = {"Heun": Heun(2), "Ancestral": Ancestral(2), "Multistep": Multistep(3)}


@pytest.mark.parametrize(
    ("kind", "name", "rows"),
    [
        ("unet", "Heun", 8),
        ("unet", "Ancestral", 8),
        ("unet", "Multistep", 8),
        ("dit", "Ancestral", 8),
        ("mlp", "Multistep", 1),
        ("mlp", "Heun", 8),
        ("mlp", "Ancestral", 32),
    ],
)
def test_samples_agree_to_the_last_bit(kind: str, name: str, rows: int) -> None:
    """Alone, in part and in another order; guided, so that what is asked is twice the batch."""
    guided = CFG(Chunked(model(kind), rows), 1.5)
    crowd = SAMPLERS[name](guided, COND, rng=Rng(range(COUNT)))
    for index in ([4], [10, 0, 7], list(range(COUNT))[::-1]):
        some = SAMPLERS[name](guided, COND[index], rng=Rng(index))
        assert torch.equal(some, crowd[index])


def test_without_it_they_do_not() -> None:
    """Or the test above would hold for any reason."""
    crowd = Heun(2)(model("unet"), COND, rng=Rng(range(COUNT)))
    assert any(not torch.equal(Heun(2)(model("unet"), COND[[k]], rng=Rng([k]))[0], crowd[k]) for k in range(3))


def test_every_question_has_one_size() -> None:
    inner = Counted(model("mlp"))
    x, t = torch.randn(COUNT, 6), torch.rand(COUNT, dtype=torch.float64)
    answer = Chunked(inner, 8)(x, t, COND, want=("output",))
    assert (inner.calls, inner.rows) == (2, 16)
    torch.testing.assert_close(answer.mean, model("mlp")(x, t, COND).mean)
    assert answer.aux["output"].shape == (COUNT, 6)
    ranked = Chunked(inner, 8)(x, t[:, None].expand(-1, 6)[:, :1], COND)  # a time of the rank of x
    torch.testing.assert_close(ranked.mean, answer.mean)


def test_on_an_exact_denoiser_it_changes_nothing() -> None:
    exact = Mixture(EDM(), [[0.0, 1.0]], [torch.eye(2).tolist()])
    x, t = torch.randn(5, 2, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    for rows in (1, 2, 7):
        assert torch.equal(Chunked(exact, rows)(x, t, NONE).mean, exact(x, t).mean)
    assert Chunked(exact).dtype == torch.float64


def test_refusals() -> None:
    for rows in (0, -1, 2.5, True):
        with pytest.raises(Refusal, match="row"):
            Chunked(model("mlp"), rows)  # type: ignore[arg-type]
