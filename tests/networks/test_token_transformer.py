"""TokenTransformer against torch's own encoder layers, and what must hold of symbols, levels and positions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lively import alive, answer
from torch import Tensor
from torch_encoder import encoder

from mezzotint import testing
from mezzotint.core import Refusal
from mezzotint.networks import Context, Output, TokenTransformer, cost
from mezzotint.networks.positions import coordinates, sines

SHAPES = [(9,), (3, 4), (2, 3, 2)]
ZERO = torch.zeros(())


def symbols(shape: tuple[int, ...], count: int = 6, rows: int = 3) -> Tensor:
    return torch.randint(count, (rows, *shape), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_torchs_own_pre_norm_encoder(shape: tuple[int, ...]) -> None:
    network = alive(TokenTransformer(6, 5, shape, 24, 2, 2, rotary=None)).double()
    x = symbols(shape)
    h = network.enter.weight[x.flatten(1)] + sines(coordinates(shape), 24)
    for layer in encoder(network.blocks, 24, 2).double():
        h = layer(h)
    leave, last = network.head.leave, network.head.norm
    logits = F.linear(F.layer_norm(h, (24,), last.weight, last.bias, 1e-6), leave.weight, leave.bias)
    torch.testing.assert_close(answer(network, x, ZERO), logits.reshape(3, *shape, 5), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{"level": True}, {"level": True, "vector": 8, "tokens": 6}, {"vector": 8, "tokens": 6}, {"rotary": None}],
    ids=str,
)
def test_the_contract_holds_whatever_it_is_told(options: dict[str, Any]) -> None:
    testing.check_network(TokenTransformer(6, 5, (3, 4), 24, 2, 2, **options))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("level", [False, True])
def test_a_fresh_network_finds_every_symbol_equally_likely(shape: tuple[int, ...], level: bool) -> None:
    network = TokenTransformer(6, 5, shape, 24, 2, 2, level=level, vector=4)
    assert torch.equal(answer(network, symbols(shape), torch.rand(3)), torch.zeros(3, *shape, 5))


def test_without_level_the_noise_is_no_argument_and_with_it_each_entry_may_have_its_own() -> None:
    x = symbols((3, 4))
    deaf = alive(TokenTransformer(6, 5, (3, 4), 24, 2, 2, vector=4))
    said = answer(deaf, x, torch.zeros(3))
    for noise in (torch.tensor([-9.0, 3.0, torch.nan]), torch.rand(3, 3, 4)):
        assert torch.equal(answer(deaf, x, noise), said)

    told = alive(TokenTransformer(6, 5, (3, 4), 24, 2, 2, level=True, vector=4))
    noise = torch.tensor([-1.0, 0.3, 1.5])
    said = answer(told, x, noise)
    for shaped in (
        noise.reshape(3, 1, 1),
        noise.reshape(3, 1, 1).expand(3, 3, 4),
        noise.reshape(3, 1, 1).expand(3, 3, 1),
    ):
        torch.testing.assert_close(answer(told, x, shaped), said, rtol=0, atol=1e-5)
    one = noise.reshape(3, 1, 1).repeat(1, 3, 4)
    one[1, 2, 3] = -1.5
    moved = (answer(told, x, one) - said).abs().amax(-1)
    assert moved[[0, 2]].max() < 1e-5 and moved[1].argmax() == 11  # the entry itself most, its own row only
    with pytest.raises(Refusal, match="one noise level"):
        told(x, torch.rand(3, 2, 4))


def test_the_level_alone_is_what_a_vector_of_its_own_features_would_be() -> None:
    """AdaLN-zero: gates start at zero, so a fresh network's blocks pass on what they get."""
    network = TokenTransformer(6, 5, (9,), 24, 2, 2, level=True)
    found = network(symbols((9,)), torch.rand(3), want=("block.0", "block.1"))
    assert isinstance(found, Output)
    h = network.enter(symbols((9,))) + sines(coordinates((9,)), 24).float()
    torch.testing.assert_close(found.aux["block.1"], h.transpose(1, 2), rtol=0, atol=0)
    assert torch.equal(found.aux["block.0"], found.aux["block.1"])


def test_rotary_positions_tell_differences_only_and_sines_where() -> None:
    masks = torch.full((2, 3, 4), 5)
    nowhere = answer(alive(TokenTransformer(6, 5, (3, 4), 24, 2, 2, positions=False)), masks, ZERO)
    assert (nowhere - nowhere[:, :1, :1]).abs().max() < 1e-5
    somewhere = answer(alive(TokenTransformer(6, 5, (3, 4), 24, 2, 2)), masks, ZERO)
    assert (somewhere - somewhere[:, :1, :1]).abs().amax(-1).flatten(1)[:, 1:].min() > 1e-3
    # A difference is told: one symbol among masks is seen from every place, and from each otherwise.
    one = masks.clone()
    one[:, 1, 2] = 0
    seen = answer(alive(TokenTransformer(6, 5, (3, 4), 24, 2, 2, positions=False)), one, ZERO)[0].flatten(0, 1)
    apart = torch.cdist(seen, seen) + torch.eye(12)
    assert apart.min() > 1e-5


def test_another_size_and_other_precisions() -> None:
    network = alive(TokenTransformer(6, 5, (3, 4), 24, 2, 2, level=True, tokens=6))
    told = Context(tokens=torch.randn(3, 2, 6))
    assert answer(network, symbols((5, 2)), torch.zeros(3), told).shape == (3, 5, 2, 5)
    x, noise = symbols((3, 4)), torch.rand(3)
    fine = answer(network, x, noise, told)
    low = alive(TokenTransformer(6, 5, (3, 4), 24, 2, 2, level=True, tokens=6)).to(torch.bfloat16)
    low.load_state_dict(network.state_dict())
    coarse = answer(low, x, noise, told)
    assert coarse.dtype == torch.bfloat16 and (coarse.float() - fine).abs().max() < 0.1 * fine.abs().max()


def test_dropout_drops_while_training_only() -> None:
    network = alive(TokenTransformer(6, 5, (9,), 24, 2, 2, dropout=0.5))
    x = symbols((9,))
    assert torch.equal(answer(network, x, ZERO), answer(network, x, ZERO))
    network.train()
    assert not torch.equal(answer(network, x, ZERO), answer(network, x, ZERO))


def test_macs_are_those_of_the_products() -> None:
    """A block: 12 D^2 a token and 2 N D in its two products of attention; the head V D."""
    n, d, v, blocks = 9, 24, 5, 2
    spent = cost(TokenTransformer(6, v, (n,), d, blocks, 2))
    assert spent.macs == n * (blocks * (12 * d * d + 2 * n * d) + v * d)


def test_refusals() -> None:
    wrongs: tuple[dict[str, Any], ...] = (
        {"shape": ()},
        {"shape": (0,)},
        {"width": 25},
        {"heads": 0},
        {"depth": 0},
        {"dropout": 1.0},
        {"symbols": 0},
        {"rotary": -1.0},
        {"shape": (2, 2, 2, 2), "heads": 4},
    )
    right: dict[str, Any] = {"symbols": 6, "vocab": 5, "shape": (9,), "width": 24, "depth": 1, "heads": 2}
    for wrong in wrongs:
        with pytest.raises(Refusal):
            TokenTransformer(**{**right, **wrong})
    network = TokenTransformer(6, 5, (9,), 24, 1, 2)
    with pytest.raises(Refusal, match="holds 6; build it with symbols=7"):
        network(torch.full((1, 9), 6), ZERO)
    with pytest.raises(Refusal, match="vector"):
        network(symbols((9,)), ZERO, Context(vector=torch.zeros(3, 4)))
