"""The transformers against the published numbers of weights and multiply-accumulates, from shapes alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint.conditions import Classes
from mezzotint.networks import DIT_SIZES, MLP, UVIT_SIZES, Context, DiT, UNet, UViT, cost
from mezzotint.networks.attention import Attention
from mezzotint.networks.cross_attention import CrossAttention
from mezzotint.networks.token_attention import TokenAttention


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(
    ("size", "parameters", "macs"),
    [
        ("S", 32.9e6, {8: 0.36e9, 4: 1.41e9, 2: 6.06e9}),
        ("B", 130.3e6, {8: 1.42e9, 4: 5.57e9, 2: 23.0e9}),  # printed as 5.56, and is 5.5652
        ("L", 457.8e6, {8: 5.01e9, 4: 19.7e9, 2: 80.7e9}),
        ("XL", 674.8e6, {8: 7.39e9, 4: 29.0e9, 2: 118.6e9}),
    ],
)
def test_dit(size: str, parameters: float, macs: dict[int, float]) -> None:
    """32 x 32 x 4 latents, learnt variance, a thousand classes: a table of 1,000 rows and a null, 1,001 in all.

    Here the table is a condition part's; a network whose vector is a one-hot of 1,001 has the same numbers inside.
    """
    width, depth, heads = (DIT_SIZES[size][name] for name in ("width", "depth", "heads"))

    def network(depth: int, patch: int, vector: int | None = None) -> DiT:
        with torch.device("meta"):
            return DiT((4, 32, 32), width, depth, heads, patch, outputs=8, vector=vector)

    with torch.device("meta"):
        table = Classes(1000, width)
    assert weights(table) == 1001 * width
    whole = network(depth, 2, vector=1001)
    assert round(weights(whole) / 1e6, 1) == parameters / 1e6
    for patch, expected in macs.items():
        one, two = cost(network(1, patch)), cost(network(2, patch))  # all blocks are alike
        found = one.macs + (depth - 1) * (two.macs - one.macs)
        assert round(found / 1e9, 2 if expected < 10e9 else 1) == pytest.approx(expected / 1e9, abs=1e-9)

        tokens, inside, outside = (32 // patch) ** 2, 4 * patch**2, 8 * patch**2
        assert two.parameters - one.parameters == 18 * width**2 + 15 * width
        assert two.macs - one.macs == tokens * 12 * width**2 + 2 * tokens**2 * width + 6 * width**2
        noise, final = 256 * width + width**2, 2 * width**2
        ends = one.macs - (two.macs - one.macs)
        assert ends == tokens * width * (inside + outside) + noise + final
        if patch == 2:
            full = one.parameters + (depth - 1) * (two.parameters - one.parameters) + weights(table)
            assert full == weights(whole)
        if (size, patch) == ("S", 2):
            assert cost(network(depth, patch)).macs == found


@pytest.mark.parametrize(
    ("size", "shape", "patch", "classes", "options", "parameters"),
    [
        ("S", (3, 32, 32), 2, None, {}, 44.26e6),  # CIFAR-10
        ("M", (3, 64, 64), 4, 1000, {}, 130.9e6),  # ImageNet-64
        ("L", (3, 64, 64), 4, 1000, {}, 286.8e6),
        ("L", (4, 32, 32), 2, 1001, {}, 286.8e6),  # ImageNet-256 in latents, with a null
        ("H", (4, 32, 32), 2, 1001, {"smooth": False}, 500.8e6),
    ],
)
def test_uvit(
    size: str,
    shape: tuple[int, ...],
    patch: int,
    classes: int | None,
    options: dict[str, Any],
    parameters: float,
) -> None:
    """The reference's class table is a row of the network's width a class: a one-hot vector has as many weights."""
    with torch.device("meta"):
        network = UViT(shape, **UVIT_SIZES[size], patch=patch, vector=classes, **options)
    digits = 2 if classes is None else 1
    assert round(weights(network) / 1e6, digits) == parameters / 1e6


def test_pixart() -> None:
    """To read L tokens costs a block of width D 4 D^2 + 4 D weights and 2 N D^2 + 2 N L D + 2 L D^2 products.

    The paper's network has 610.86M weights: all blocks share one modulation there and keep a bias each, the last layer
    keeps its bias only, and an MLP takes the text's 4,096 features to D.
    """
    width, length, places = 1152, 120, 16**2
    context = Context(tokens=torch.zeros(1, length, width))

    def network(depth: int, tokens: int | None = width) -> DiT:
        with torch.device("meta"):
            return DiT((4, 32, 32), width, depth, 16, vector=None, tokens=tokens, outputs=8)

    silent, reading = cost(network(1, None)), cost(network(1), context=context)
    assert reading.parameters - silent.parameters == 4 * width**2 + 4 * width
    assert reading.macs - silent.macs == places * (2 * width**2 + 2 * length * width) + length * 2 * width**2
    assert cost(network(1)).macs == silent.macs  # told nothing, it reads nothing
    shared = 6 * width - (27 * 6 + 2) * width**2
    assert round((weights(network(28)) + shared + 4097 * width + width**2 + width) / 1e6, 2) == 610.86


def test_small_sizes() -> None:
    with torch.device("meta"):
        assert round(weights(DiT((1, 8, 8), **DIT_SIZES["xxs"], vector=None)) / 1e6, 2) == 0.33


COUNTED: list[tuple[nn.Module, dict[str, Any]]] = [
    (DiT((2, 8, 6), 24, 2, 3, maps=1, registers=2), dict(vector=128, maps=(8, 6))),
    (DiT((2, 4, 8, 6), 24, 2, 3, (1, 2, 2), swiglu=True, qk_norm=True, rotary=10.0), dict(vector=128)),
    (DiT((2, 8, 6), 24, 2, 3, tokens=5, registers=2), dict(vector=128, tokens=5)),
    (UNet((2, 8, 6), 16, tokens=5, cross=(0, 1)), dict(vector=128, tokens=5)),
    (UViT((2, 8, 6), 24, 4, 3, maps=1, tokens=5), dict(vector=128, maps=(8, 6), tokens=5)),
    (MLP((7,), 24, 3, maps=2), dict(vector=128, maps=())),
]


@pytest.mark.parametrize(
    ("network", "told"), COUNTED, ids=["DiT", "DiT, options", "DiT, text", "UNet, text", "UViT", "MLP"]
)
def test_cost_equals_a_count_by_hooks(network: Any, told: dict[str, Any]) -> None:
    total = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear):
            total += out.numel() * layer.in_features
        elif isinstance(layer, nn.Conv2d):
            total += out.numel() * layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, TokenAttention):
            total += 2 * out.shape[1] ** 2 * out.shape[2]  # every pair of tokens, twice, over all features
        elif isinstance(layer, Attention):
            total += 2 * out[0, 0].numel() ** 2 * out.shape[1]
        elif isinstance(layer, CrossAttention):
            total += 2 * out.shape[1] * given[1].shape[1] * out.shape[2]  # every pair of a place and a token

    hooks = [layer.register_forward_hook(count) for layer in network.modules()]
    context = Context(
        vector=torch.zeros(1, told["vector"]),
        tokens=torch.zeros(1, 3, told["tokens"]) if "tokens" in told else None,
        mask=torch.tensor([[True, False, True]]) if "tokens" in told else None,  # what is masked out is computed too
        maps={"input": torch.zeros(1, network.maps, *told["maps"])} if "maps" in told else {},
    )
    network(torch.zeros(1, *network.shape), torch.zeros(1), context)
    for hook in hooks:
        hook.remove()
    found = cost(network, context=context)
    assert found.macs == total > 0
    assert found.parameters == weights(network)
