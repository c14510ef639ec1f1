"""Tokens: what is known is certain, what is behind a mask is learnt, and neither spoils a gradient."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Categorical, Condition, Refusal, Rng
from mezzotint.core.spec import Module
from mezzotint.core.store import load_model, save_model
from mezzotint.denoiser import Enumerated, Tokens
from mezzotint.networks import TokenTransformer, cost
from mezzotint.processes import EDM, Absorbing, Blockwise, Multinomial
from mezzotint.samplers import Ancestral, Uniform
from mezzotint.testing.truth import nudge

T = torch.tensor([0.2, 0.7, 1.0], dtype=torch.float64)


def small(process: Any, shape: tuple[int, ...] = (3, 4), **options: Any) -> TokenTransformer:
    torch.manual_seed(0)
    network = TokenTransformer(process.symbols, process.vocab, shape, 24, 2, 2, **options)
    nudge(network)
    return network


def states(process: Any, shape: tuple[int, ...] = (3, 4), rows: int = 3) -> Tensor:
    return torch.randint(process.symbols, (rows, *shape), generator=torch.Generator().manual_seed(1))


class Free(Module):
    """A network that says what it was given to say: its logits are its weights."""

    def __init__(self, symbols: int, vocab: int, shape: tuple[int, ...], rows: int) -> None:
        super().__init__()
        self.symbols, self.vocab, self.shape, self.told_level = symbols, vocab, shape, False
        self.logits = nn.Parameter(torch.randn(rows, *shape, vocab, generator=torch.Generator().manual_seed(2)))
        self.noises: list[Tensor] = []

    def forward(self, x: Tensor, noise: Tensor, context: object, want: tuple[str, ...] = ()) -> Tensor:
        self.noises.append(noise)
        return self.logits


def test_what_it_learns_behind_masks_is_the_exact_conditional_and_needs_no_time() -> None:
    """Every masked state of a table of 27 texts, the true conditionals as targets: theorem 1 of RADD, learnt."""
    process = Absorbing(3)
    truth = Enumerated(process, 1.5 * torch.sin(torch.arange(27.0) ** 2))
    model = Tokens(TokenTransformer(4, 3, (3,), 32, 2, 4), process)
    x = torch.tensor(list(itertools.product(range(4), repeat=3)))
    t = torch.full((64,), 0.5, dtype=torch.float64)
    due = truth(x, t)
    trivial = float(due.kl(model(x, t)).mean().detach())
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        loss = due.kl(model(x, t)).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    assert float(due.kl(model(x, 1 - 0.9 * t)).mean().detach()) < 1e-3 < 0.1 < trivial
    drawn = Ancestral(6, grid=Uniform())(model, rng=Rng(range(2000)))
    assert int(drawn.max()) == 2
    shares = torch.bincount(truth.number(drawn), minlength=27) / 2000
    ideal = Ancestral(6, grid=Uniform())(truth, rng=Rng(range(2000)))
    apart = (drawn != ideal).any(1).double().mean()
    assert float(apart) < 0.05  # the exact denoiser's samples under the same keys, but for what was learnt badly
    assert float((shares - truth.table.exp()[0]).abs().sum() / 2) < 0.1  # two of entries at once come with six steps


def test_an_entry_that_is_not_masked_is_certain_and_teaches_nothing() -> None:
    process = Absorbing(4)
    x = states(process)
    network = Free(5, 4, (3, 4), 3)
    answer = Tokens(network, process)(x, T, want=("output",))
    known = x != 4
    certain = torch.full((4,), -torch.inf).repeat(int(known.sum()), 1).scatter(1, x[known][:, None], 0.0)
    assert torch.equal(answer.logits[known], certain)
    assert torch.equal(answer.logits[~known], network.logits[~known])
    assert torch.equal(answer.aux["output"], network.logits)

    other = Categorical(torch.randn_like(network.logits))
    other = other.given(x.clamp(max=3), known)
    clean = torch.where(known, x, 1)
    for value in (
        answer.log_prob(clean),
        answer.kl(other),
        other.kl(answer),
        answer.lerp(other, 1.7).log_prob(clean),
        other.lerp(answer, torch.tensor([0.0, 0.5, 2.0])).log_prob(clean),
        answer.mean[..., 0].flatten(1).sum(1),
    ):
        assert torch.isfinite(value).all()
        (gradient,) = torch.autograd.grad(value.sum(), network.logits, retain_graph=True)
        assert torch.isfinite(gradient).all() and not gradient[known].any()
    for value in (answer.log_prob(clean), answer.kl(other), other.kl(answer)):
        (gradient,) = torch.autograd.grad(value.sum(), network.logits, retain_graph=True)
        assert bool((gradient[~known].abs().sum(-1) > 0).all())


def test_on_uniform_noise_the_answer_is_the_networks_everywhere() -> None:
    process = Multinomial(4)
    network = Free(4, 4, (3, 4), 3)
    assert torch.equal(Tokens(network, process)(states(process), T).logits, network.logits)


def test_the_noise_it_is_told_runs_from_minus_two_to_two_with_the_level() -> None:
    process = Absorbing(4)
    network = Free(5, 4, (3, 4), 3)
    denoiser, x = Tokens(network, process), states(process)
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    denoiser(x, t)
    assert torch.equal(network.noises[-1], torch.tensor([-2.0, 0.0, 2.0]))
    each = torch.rand(3, 3, 4, dtype=torch.float64)
    denoiser(x, each)
    torch.testing.assert_close(network.noises[-1].double(), 4 * process.level(each) - 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("process", "level", "uses"),
    [
        (Absorbing(4), False, False),
        (Absorbing(4), True, True),
        (Blockwise(Absorbing(4), 3), False, False),
        (Multinomial(4), False, True),
        (Multinomial(4), True, True),
    ],
    ids=str,
)
def test_it_says_whether_it_uses_the_level_and_keeps_to_it(process: Any, level: bool, uses: bool) -> None:
    denoiser, x = Tokens(small(process, level=level), process), states(process)
    assert denoiser.uses_level is uses
    with torch.no_grad():
        said, later = denoiser(x, T).logits, denoiser(x, 0.5 * T).logits
        each = denoiser(x, T.reshape(3, 1, 1).expand(3, 3, 4).clone()).logits
    assert torch.equal(said, later) is not level
    where = torch.isfinite(said)
    torch.testing.assert_close(each[where], said[where], rtol=0, atol=1e-5)


def test_it_is_told_conditions_and_runs_lower() -> None:
    process = Absorbing(4)
    encoder = Encoder(label=Classes(3, 8))
    network = small(process, vector=8)
    denoiser = Tokens(network, process, encoder).eval()
    x, labels = torch.full((3, 3, 4), 4), Condition(label=[0, 1, 2])
    with torch.no_grad():
        said = denoiser(x, T, labels)
        assert (said.logits[0] - said.logits[1]).abs().max() > 1e-3  # the same x, another label
        denoiser.lower(torch.bfloat16)
        low = denoiser(x, T, labels)
        denoiser.lower(None)
    assert low.logits.dtype == torch.float32 and 0 < (low.logits - said.logits).abs().max() < 0.1
    assert denoiser.cost((3, 4), labels[:1]) == cost(network).macs + 8 * 24  # the vector is projected once
    with pytest.raises(Refusal, match="unconditional"):
        Tokens(network, process)(x, T, labels)
    assert denoiser(x, T, labels, want=("block.1",)).aux["block.1"].shape == (3, 24, 3, 4)


def test_a_model_folder_brings_it_back(tmp_path: Path) -> None:
    process = Absorbing(4)
    denoiser, x = Tokens(small(process), process), states(process)
    again = load_model(save_model(tmp_path / "model", denoiser), torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(again(x, T).logits, denoiser(x, T).logits)
    assert not again.uses_level


def test_refusals() -> None:
    with pytest.raises(Refusal, match="symbols=5, not 4; a mask is one more"):
        Tokens(TokenTransformer(4, 4, (3,), 8, 1, 2, rotary=None), Absorbing(4))
    with pytest.raises(Refusal, match="vocab=4, not 5"):
        Tokens(TokenTransformer(4, 5, (3,), 8, 1, 2), Multinomial(4))
    with pytest.raises(Refusal, match="process of symbols"):
        Tokens(TokenTransformer(4, 4, (3,), 8, 1, 2), EDM())  # type: ignore[arg-type]
