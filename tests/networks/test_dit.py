"""What is special about the DiT: positions, levels that differ from place to place, normed queries, patches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lively import alive, answer, inputs
from torch import Tensor, nn

from mezzotint.core import Refusal
from mezzotint.networks import Context, DiT, Modulation
from mezzotint.networks.feedforward import FeedForward
from mezzotint.networks.patches import cut, put
from mezzotint.networks.positions import coordinates, sines, turn, turned
from mezzotint.networks.token_attention import TokenAttention


@pytest.mark.parametrize(("space", "patch"), [((6,), (3,)), ((4, 6), (2, 3)), ((2, 4, 6), (1, 2, 3))], ids=str)
def test_patches(space: tuple[int, ...], patch: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *space)
    tokens = cut(x, patch)
    assert torch.equal(put(tokens, patch, [n // p for n, p in zip(space, patch, strict=True)]), x)
    # A linear layer over a token is a strided convolution.
    weight = torch.randn(5, *patch, 3)
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(space)]
    expected = convolve(x, weight.movedim(-1, 1), stride=patch).flatten(2).mT
    torch.testing.assert_close(tokens @ weight.flatten(1).T, expected, rtol=1e-4, atol=1e-4)


def test_the_table_of_sines() -> None:
    """Half of the channels for the column, then half for the row: sines, then cosines, of n, n / 100, ..."""
    table = sines(coordinates((4, 6)), 8).unflatten(0, (4, 6))
    row, column = 3, 5
    expected = [math.sin(5), math.sin(0.05), math.cos(5), math.cos(0.05)]
    expected += [math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]
    torch.testing.assert_close(table[row, column], torch.tensor(expected, dtype=torch.float64))
    # One axis has all channels; three share what is even, and the rest is silent.
    line = sines(coordinates((9,)), 6)
    torch.testing.assert_close(line[7, 1].item(), math.sin(7 * 10000 ** (-1 / 3)))
    video = sines(coordinates((2, 3, 4)), 16)
    assert torch.equal(video[:, 12:], torch.zeros(24, 4, dtype=torch.float64)) and len(video.unique(dim=0)) == 24


def test_turned_products_depend_on_differences() -> None:
    """Pairs are complex numbers: Re sum_i q_i conj(k_i) exp(i w_i (n - n')) plus the rest, axis by axis."""
    generator = torch.Generator().manual_seed(3)
    q, k = (torch.randn(2, 3, 12, 11, generator=generator, dtype=torch.float64) for _ in range(2))
    places = coordinates((4, 3))
    by = turn(places, 11, 50.0, torch.float64)
    found = turned(q, by) @ turned(k, by).mT
    frequencies = torch.tensor([1.0, 50.0**-0.5], dtype=torch.float64)
    apart = places[:, None] - places  # (12, 12, axes)
    phase = torch.cat([apart[..., axis, None] * frequencies for axis in range(2)], -1)
    a, b = (torch.complex(h[..., :4], h[..., 4:8]) for h in (q, k))
    products = (a[..., :, None, :] * b[..., None, :, :].conj() * torch.polar(torch.ones_like(phase), phase)).sum(-1)
    torch.testing.assert_close(found, products.real + q[..., 8:] @ k[..., 8:].mT)


@pytest.mark.parametrize("counts", [(7,), (4, 3), (2, 3, 2)], ids=str)
def test_rotary_attention_does_not_feel_a_common_shift(counts: tuple[int, ...]) -> None:
    layer = alive(TokenAttention(24, 2, qk_norm=True), 0.5)
    h, places = torch.randn(2, math.prod(counts), 24), coordinates(counts)

    def asked(by: Tensor) -> Tensor:
        return answer(layer, h, turn(by, 12, 10.0, torch.float32))

    expected = asked(places)
    shift = torch.tensor([100.0, -31.0, 7.0], dtype=torch.float64)[: len(counts)]
    torch.testing.assert_close(asked(places + shift), expected, rtol=1e-4, atol=1e-4)
    for axis in range(len(counts)):  # each axis counts
        stretched = places * (1 + torch.eye(len(counts), dtype=torch.float64)[axis])
        assert (asked(stretched) - expected).abs().max() > 1e-2


def test_attention_is_pytorchs() -> None:
    layer = alive(TokenAttention(24, 3), 0.3)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True).eval()
    state = {"in_proj_weight": layer.qkv.weight, "in_proj_bias": layer.qkv.bias}
    state |= {f"out_proj.{kind}": getattr(layer.out, kind) for kind in ("weight", "bias")}
    theirs.load_state_dict(state)
    h, mask = torch.randn(2, 5, 24), torch.tensor([[True] * 5, [True, False, True, True, False]])
    with torch.no_grad():
        torch.testing.assert_close(layer(h), theirs(h, h, h)[0], rtol=1e-4, atol=1e-5)
        expected = theirs(h, h, h, key_padding_mask=~mask)[0]
        torch.testing.assert_close(layer(h, mask=mask), expected, rtol=1e-4, atol=1e-5)
        alone = h.flatten(0, 1)[:, None]  # attending to itself is all a sequence of one can do
        layer.identity = True
        torch.testing.assert_close(layer(h), theirs(alone, alone, alone)[0].reshape(2, 5, 24), rtol=1e-4, atol=1e-5)


def test_normed_queries_bound_the_logits() -> None:
    largest = {}
    for normed in (False, True):
        torch.manual_seed(1)
        layer = alive(TokenAttention(24, 2, qk_norm=normed), 30.0)
        q, k, _ = layer.projected(1e3 * torch.randn(4, 9, 24), turn(coordinates((9,)), 12, 10.0, torch.float32))
        largest[normed] = float((q @ k.mT / 12**0.5).detach().abs().max())
        if layer.norms is not None:
            wide = [norm.weight.detach().abs().max().item() for norm in layer.norms]
            bound = 12**0.5 * math.prod(wide)
    assert 0.1 * bound < largest[True] <= bound < 1e-6 * largest[False]


@pytest.mark.parametrize("rms", [False, True])
def test_norms(rms: bool) -> None:
    """A root mean square of 1 for both; one takes the mean away, the other keeps the direction."""
    network = DiT((2, 6, 4), 24, 1, 2, rms=rms)
    h = 5 * torch.randn(7, 24) + 3
    for norm in (network.blocks[0].norm1, network.blocks[0].norm2, network.final.norm):
        y = norm(h)
        torch.testing.assert_close(y.square().mean(1), torch.ones(7), rtol=1e-4, atol=0.0)
        straight = h if rms else h - h.mean(1, keepdim=True)
        torch.testing.assert_close(F.cosine_similarity(y, straight), torch.ones(7))


def test_gated_mlps_have_as_many_weights() -> None:
    for width in (96, 384, 1152):
        plain, gated = (sum(p.numel() for p in FeedForward(width, 4.0, g).parameters()) for g in (False, True))
        assert abs(gated / plain - 1) < 0.01
    layer = alive(FeedForward(24, 4.0, gated=True))
    h = torch.randn(3, 24)
    gate, value = (h @ layer.first.weight.T + layer.first.bias).chunk(2, 1)
    expected = (gate / (1 + (-gate).exp()) * value) @ layer.second.weight.T + layer.second.bias
    torch.testing.assert_close(layer(h), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("registers", [0, 2])
def test_without_positions_tokens_are_a_set(registers: int) -> None:
    options: dict[str, Any] = dict(registers=registers, vector=None)
    x, noise, _ = inputs((2, 6, 4))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))

    def moved(x: Tensor) -> Tensor:
        return put(cut(x, (2, 2))[:, order], (2, 2), (3, 2))

    def apart(network: DiT) -> float:
        with torch.no_grad():
            before, after = (network(given, noise, want=("block.1",)) for given in (x, moved(x)))
        pairs = [(moved(before.sample), after.sample)]
        pairs += [(before.aux["block.1"].flatten(2)[..., order], after.aux["block.1"].flatten(2))]
        return max(float((b - a).abs().max() / a.std()) for a, b in pairs)

    assert apart(alive(DiT((2, 6, 4), 24, 2, 2, positions=False, **options))) < 1e-5
    assert apart(alive(DiT((2, 6, 4), 24, 2, 2, **options))) > 1e-2
    assert apart(alive(DiT((2, 6, 4), 24, 2, 2, positions=False, rotary=10.0, **options), 0.3)) > 1e-2


def test_shifts_scales_and_gates_in_their_order() -> None:
    """A gate of 0 shuts a branch; a scale of -1 leaves the shift alone, which makes the same of every token."""
    network = alive(DiT((2, 6, 4), 24, 1, 2, positions=False), 0.3)
    x, noise, _ = inputs((2, 6, 4))
    (block,) = network.blocks
    entered = network.enter(cut(x, (2, 2))).mT.reshape(3, 24, 3, 2)

    def numbers(layer: nn.Module, *values: float | None) -> list[Tensor]:
        """Whatever the level, these numbers; None: some at random."""
        parts = [torch.randn(24) if v is None else torch.full((24,), v) for v in values]
        layer.weight.zero_()  # type: ignore[operator]
        layer.bias.copy_(torch.cat(parts))  # type: ignore[operator]
        return parts

    with torch.no_grad():
        shut, only = (None, None, 0.0), (None, -1.0, 1.0)
        numbers(block.modulate, *shut, *shut)
        assert torch.equal(network(x, noise, want=("block.0",)).aux["block.0"], entered)
        for branch in (0, 1):
            shift = numbers(block.modulate, *(only + shut if branch == 0 else shut + only))[3 * branch]
            # Equal tokens may look at whom they will, and read the same value.
            value = block.attention.qkv(shift)[48:]
            expected = block.attention.out(value) if branch == 0 else block.mlp(shift)
            added = network(x, noise, want=("block.0",)).aux["block.0"] - entered
            torch.testing.assert_close(added, expected[:, None, None].expand_as(added), rtol=1e-4, atol=1e-4)
        shift, _ = numbers(network.final.modulate, None, -1.0)
        expected = network.final.leave(shift).reshape(2, 2, 2).permute(2, 0, 1).repeat(1, 3, 2).expand(3, -1, -1, -1)
        torch.testing.assert_close(answer(network, x, noise), expected, rtol=1e-4, atol=1e-5)


def test_levels_move_with_their_tokens() -> None:
    network = alive(DiT((2, 6, 4), 24, 2, 2, positions=False, registers=2))
    x, _, context = inputs((2, 6, 4))
    levels = torch.linspace(-1, 1, 24).reshape(1, 1, 6, 4).expand(3, -1, -1, -1)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))

    def moved(x: Tensor) -> Tensor:
        return put(cut(x, (2, 2))[:, order], (2, 2), (3, 2))

    expected = moved(answer(network, x, levels, context))
    found = answer(network, moved(x), moved(levels), context)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def at_places(make: Callable[..., DiT], patch: tuple[int, ...], levels: Tensor) -> None:
    """Where no token reads another, each place is what it is when all places stand at its level."""
    shape = (2, 4, 4, 6)
    network = alive(make(shape, 24, 2, 2, patch))
    for block in network.blocks:
        block.attention.identity = True
    x, _, context = inputs(shape)
    found = answer(network, x, levels, context)
    spread = levels.expand(3, 1, *shape[1:])
    for level in spread[0].unique():
        expected = answer(network, x, level.expand(3), context)
        there = (spread == level).expand_as(x)
        torch.testing.assert_close(found[there], expected[there], rtol=1e-4, atol=1e-4 * found.std().item())


@pytest.mark.parametrize("modern", [False, True])
def test_noise_may_differ_from_place_to_place(modern: bool) -> None:
    def make(*given: Any) -> DiT:
        return DiT(*given, rotary=10.0, rms=True) if modern else DiT(*given)

    frames = torch.tensor([-1.0, 0.5, -0.2, 0.9]).reshape(1, 1, 4, 1, 1)
    at_places(make, (1, 2, 3), frames.expand(3, -1, -1, -1, -1))
    at_places(make, (1, 2, 3), frames)  # the same for every sample
    at_places(make, (2, 2, 3), frames[:, :, :2].repeat_interleave(2, 2))
    cells = torch.linspace(-1, 1, 8).reshape(1, 1, 2, 2, 2)
    for axis, size in ((2, 2), (3, 2), (4, 3)):
        cells = cells.repeat_interleave(size, axis)
    at_places(make, (2, 2, 3), cells.expand(3, -1, -1, -1, -1))


@pytest.mark.parametrize("registers", [0, 2])
def test_levels_that_are_equal_everywhere_are_one_level(registers: int) -> None:
    network = alive(DiT((2, 6, 4), 24, 2, 2, registers=registers))
    x, noise, context = inputs((2, 6, 4))
    expected = answer(network, x, noise, context)
    everywhere = noise.reshape(3, 1, 1, 1).expand(3, 1, 6, 4)
    found = answer(network, x, everywhere, context)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    # Inside a patch levels are averaged.
    uneven = everywhere + torch.tensor([0.3, -0.3]).repeat(3).reshape(6, 1)
    found = answer(network, x, uneven, context)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    # Rows as many as frames: the levels of one sample are not taken for one level a sample.
    shared = torch.tensor([-1.0, 0.2, 0.8]).repeat_interleave(2).reshape(1, 1, 6, 1)
    assert torch.equal(answer(network, x, shared), answer(network, x, shared.expand(3, -1, -1, -1)))


def test_a_sequence_of_as_many_levels_as_rows() -> None:
    network = alive(DiT((2, 3), 24, 1, 2, patch=1))
    x = torch.randn(3, 2, 3)
    shared = torch.tensor([-1.0, 0.2, 0.8]).reshape(1, 1, 3)
    assert torch.equal(answer(network, x, shared), answer(network, x, shared.expand(3, -1, -1)))
    with pytest.raises(Refusal, match=r"one per place, \(3, 1, \*\(3,\)\)"):
        network(x, torch.zeros(3, 1, 2))


@dataclass(frozen=True)
class Shared(Modulation):
    """One layer for all blocks and a table for each (arXiv 2310.00426, section 2.3), written outside the package."""

    def trunk(self, level: int, width: int) -> nn.Module:
        return nn.Sequential(nn.SiLU(), nn.Linear(level, 6 * width))

    def branch(self, level: int, width: int, count: int) -> nn.Module:
        return Table(count * width)


class Table(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(size))

    def forward(self, numbers: Tensor) -> Tensor:
        return numbers[..., : len(self.table)] + self.table


def test_a_modulation_from_outside_takes_the_place_of_ours() -> None:
    """Blocks whose layers are equal but for their biases are one shared layer with a table a block."""
    shape, options = (2, 6, 4), dict(vector=5, positions=False)
    own = alive(DiT(shape, 24, 3, 2, **options))  # type: ignore[arg-type]
    shared = DiT(shape, 24, 3, 2, modulation=Shared(), **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for block in own.blocks:
            block.modulate.weight.copy_(own.blocks[0].modulate.weight)
        own.final.modulate.weight.copy_(own.blocks[0].modulate.weight[:48])
    state = {name: w for name, w in own.state_dict().items() if "modulate" not in name}
    state["trunk.1.weight"] = own.blocks[0].modulate.weight
    state["trunk.1.bias"] = torch.zeros(144)
    for k, block in enumerate(own.blocks):
        state[f"blocks.{k}.modulate.table"] = block.modulate.bias
    state["final.modulate.table"] = own.final.modulate.bias
    shared.load_state_dict(state)
    given = inputs(shape, vector=5)
    expected = answer(own, *given)
    torch.testing.assert_close(answer(shared.eval(), *given), expected, rtol=1e-4, atol=1e-5 * expected.std().item())


def test_registers_are_read_and_carry_no_answer() -> None:
    network = alive(DiT((2, 6, 4), 24, 2, 2, registers=2), 0.3)
    given = inputs((2, 6, 4))
    before = answer(network, *given)
    with torch.no_grad():
        network.registers.neg_()  # type: ignore[union-attr]
    assert (answer(network, *given) - before).abs().max() > 1e-3 * before.std()
    for block in network.blocks:
        block.attention.identity = True
    alone = answer(network, *given)
    with torch.no_grad():
        network.registers.zero_()  # type: ignore[union-attr]
    assert torch.equal(answer(network, *given), alone)


def test_registers_stand_at_no_place() -> None:
    """Where there is one patch, at 0, nothing is turned: not the registers either."""
    rotary = alive(DiT((2, 2, 2), 24, 2, 2, registers=2, rotary=10.0), 0.3)
    plain = DiT((2, 2, 2), 24, 2, 2, registers=2).eval()
    plain.load_state_dict(rotary.state_dict())
    given = inputs((2, 2, 2))
    expected = answer(plain, *given)
    torch.testing.assert_close(answer(rotary, *given), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_a_map_of_another_batch_is_refused() -> None:
    with pytest.raises(Refusal, match=r"not \(2, 1\)"):
        DiT((2, 6, 4), 24, 1, 2, maps=1)(
            torch.zeros(3, 2, 6, 4), torch.zeros(3), Context(maps={"input": torch.zeros(2, 1)})
        )
