"""Cross-attention against PyTorch's own, by itself and where U-Net and DiT have it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lively import alive, answer, inputs
from reading import READERS, TOKENS, told, words
from torch import Tensor, nn

from mezzotint.core import Refusal
from mezzotint.networks import Context, DiT, UNet
from mezzotint.networks.cross_attention import CrossAttention, SpatialCrossAttention
from mezzotint.networks.unet import Block


def torchs(ours: CrossAttention) -> nn.MultiheadAttention:
    """PyTorch's layer with the weights of ours."""
    width, tokens = ours.q.in_features, ours.kv.in_features
    made = nn.MultiheadAttention(width, ours.heads, kdim=tokens, vdim=tokens, batch_first=True)
    k, v = ours.kv.weight.chunk(2)
    state = {"q_proj_weight": ours.q.weight, "k_proj_weight": k, "v_proj_weight": v}
    state["in_proj_bias"] = torch.cat((ours.q.bias, ours.kv.bias))
    state |= {f"out_proj.{kind}": weight for kind, weight in ours.out.state_dict().items()}
    made.load_state_dict(state)
    return made.eval()


@pytest.mark.parametrize("heads", [1, 3])
def test_equals_pytorchs_layer(heads: int) -> None:
    layer = alive(CrossAttention(12, heads, TOKENS), 0.4)
    h, (tokens, mask) = torch.randn(4, 7, 12), words(4)
    theirs, some = torchs(layer), mask.any(1)
    with torch.no_grad():
        for given in (mask, torch.ones_like(mask), None):
            found = layer(h, tokens, given)
            expected = theirs(h, tokens, tokens, key_padding_mask=None if given is None else ~given)[0]
            rows = some if given is mask else torch.ones_like(some)
            torch.testing.assert_close(found[rows], expected[rows], rtol=1e-6, atol=1e-6 * float(found.abs().max()))
            assert torch.equal(found[~rows], torch.zeros_like(found[~rows]))  # theirs are NaN


def test_over_a_map_it_is_added_to_what_it_reads_with() -> None:
    layer = alive(SpatialCrossAttention(nn.GroupNorm(2, 8), CrossAttention(8, 2, TOKENS)), 0.4)
    x, (tokens, mask) = torch.randn(2, 8, 3, 5), words(2)
    with torch.no_grad():
        q = layer.norm(x).flatten(2).mT
        read = torchs(layer.attention)(q, tokens, tokens, key_padding_mask=~mask)[0]
        expected = x + read.mT.unflatten(2, (3, 5))
        torch.testing.assert_close(layer(x, tokens, mask), expected, rtol=1e-6, atol=1e-6)


def test_normed_queries_and_keys() -> None:
    """Lengths of queries and keys do not matter; without weights on them, every token is read alike."""
    layer = alive(CrossAttention(12, 3, TOKENS, qk_norm=True), 0.4)
    h, (tokens, _) = torch.randn(3, 7, 12), words()
    with torch.no_grad():
        before = layer(h, tokens)
        for tensor in (layer.q.weight, layer.q.bias, layer.kv.weight[:12], layer.kv.bias[:12]):
            tensor *= 7
        torch.testing.assert_close(layer(h, tokens), before, rtol=1e-4, atol=1e-5)
        layer.norms[1].weight.zero_()  # type: ignore[index]
        values = (tokens @ layer.kv.weight[12:].T + layer.kv.bias[12:]).mean(1, keepdim=True)
        torch.testing.assert_close(layer(h, tokens), layer.out(values).expand(3, 7, 12), rtol=1e-4, atol=1e-5)
    with pytest.raises(Refusal, match="heads divides width 12; 5 does not"):
        CrossAttention(12, 5, TOKENS)


@pytest.mark.parametrize("options", [{}, dict(cross=(0,)), dict(cross=(0, 1), middle="plain")], ids=str)
def test_a_unet_is_the_one_without_tokens_and_pytorchs_layers_between(options: dict[str, Any]) -> None:
    """After every block that reads, what PyTorch's attention says of the group-normed map."""
    network = alive(READERS["UNet"](**options))
    middle = {name: value for name, value in options.items() if name == "middle"}
    plain = READERS["UNet"](tokens=None, **middle).eval()
    strange = plain.load_state_dict(network.state_dict(), strict=False)
    assert not strange.missing_keys and all("cross" in name for name in strange.unexpected_keys)
    x, noise, context = told(2)  # two rows that are told something

    def between(reader: SpatialCrossAttention) -> Any:
        theirs = torchs(reader.attention)

        def hook(block: nn.Module, given: Any, h: Tensor) -> Tensor:
            assert theirs.num_heads == h.shape[1] // 4  # as asked for
            q = reader.norm(h).flatten(2).mT
            read = theirs(q, context.tokens, context.tokens, key_padding_mask=~context.mask)[0]  # type: ignore[operator]
            return h + read.mT.unflatten(2, h.shape[2:])

        return hook

    count = 0
    for name, block in network.named_modules():
        if isinstance(block, Block) and block.cross is not None:
            plain.get_submodule(name).register_forward_hook(between(block.cross))
            count += 1
    if network.mid_cross is not None:
        plain.get_submodule("mid.1").register_forward_hook(between(network.mid_cross))
        count += 1
    assert count == {(): 4, (0,): 4, (0, 1): 6}[options.get("cross", ())]
    expected = answer(plain, x, noise, Context(vector=context.vector))
    found = answer(network, x, noise, context)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert (found - answer(network, x, noise, Context(vector=context.vector))).abs().max() > 0.1 * found.std()


def test_a_block_of_a_dit_reads_after_it_has_looked_around_and_before_its_mlp() -> None:
    """With one branch's gate shut, the block without tokens and PyTorch's attention are all there is."""
    network, plain = READERS["DiT"](), READERS["DiT"](tokens=None)
    (reading, *_), (silent, *_) = alive(network).blocks, plain.blocks
    silent.load_state_dict(reading.state_dict(), strict=False)
    assert reading.cross is not None
    theirs, (h, e), (tokens, mask) = torchs(reading.cross), torch.randn(2, 2, 6, 24), words(2)

    def read(h: Tensor) -> Tensor:
        return theirs(h, tokens, tokens, key_padding_mask=~mask)[0]

    def shut(branch: int) -> None:
        for block in (reading, silent):
            for numbers in block.modulate.parameters():
                numbers.unflatten(0, (2, 3, 24))[branch, 2].zero_()

    with torch.no_grad():
        kept = {name: weight.clone() for name, weight in reading.state_dict().items()}
        shut(1)
        looked = silent(h, e, None, None)
        torch.testing.assert_close(reading(h, e, None, (tokens, mask)), looked + read(looked), rtol=1e-5, atol=1e-5)
        reading.load_state_dict(kept)
        silent.load_state_dict(kept, strict=False)
        shut(0)
        expected = silent(h + read(h), e, None, None)
        torch.testing.assert_close(reading(h, e, None, (tokens, mask)), expected, rtol=1e-5, atol=1e-5)
        assert (looked - h).abs().max() > 0.1 and (expected - h - read(h)).abs().max() > 0.1 < read(h).abs().max()


def test_first_weights_and_normed_queries_of_a_dit() -> None:
    """Xavier-uniform as everywhere in it; with qk_norm, what is read with has no length here either."""
    network = DiT((1, 8, 8), 128, 1, 4, tokens=48, qk_norm=True)
    (block,) = network.blocks
    assert block.cross is not None and not block.cross.out.weight.any()
    for layer in (block.cross.q, block.cross.kv):
        bound = (6 / sum(layer.weight.shape)) ** 0.5
        assert 0.97 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()
    network = alive(READERS["DiT, modern"]())
    given = told()
    before = answer(network, *given)
    with torch.no_grad():
        for block in network.blocks:
            block.cross.q.weight.mul_(0.2)
            block.cross.q.bias.mul_(0.2)
    torch.testing.assert_close(answer(network, *given), before, rtol=1e-4, atol=1e-4 * float(before.std()))


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({}, "down.2.0 down.2.1 mid up.2.0 up.2.1 up.2.2"),
        (dict(attention_last=True), "down.2.0 down.2.1 mid up.2.2"),
        (dict(attention_up=(0,)), "down.2.0 down.2.1 mid up.0.0 up.0.1 up.0.2"),
        (dict(cross=(1,), attention_last=True), "down.1.0 down.1.1 mid up.1.0 up.1.1 up.1.2"),
        (dict(cross=(-3,), middle="none"), "down.0.0 down.0.1 up.0.0 up.0.1 up.0.2"),
        (dict(middle="plain"), "down.2.0 down.2.1 up.2.0 up.2.1 up.2.2"),
        (dict(cross=(), middle="unnormed"), "mid"),
    ],
    ids=str,
)
def test_which_blocks_of_a_unet_read(options: dict[str, Any], places: str) -> None:
    network = UNet((2, 8, 8), 8, (1, 1, 2), 2, tokens=TOKENS, **options)
    found = [name for name, layer in network.named_modules() if isinstance(layer, SpatialCrossAttention)]
    short = [name.replace("mid_cross", "mid").replace(".blocks", "").removesuffix(".cross") for name in found]
    assert sorted(short) == places.split()


def test_the_places_of_a_dit_read_the_same_text_at_their_own_level() -> None:
    """Where no patch reads another, each is what it is when all places stand at its level."""
    network = alive(DiT((2, 4, 4, 6), 24, 2, 2, (1, 2, 3), tokens=TOKENS, rotary=10.0, registers=2))
    for block in network.blocks:
        block.attention.identity = True
    x, _, context = inputs((2, 4, 4, 6))
    tokens, mask = words()
    context = Context(vector=context.vector, tokens=tokens, mask=mask)
    levels = torch.tensor([-1.0, 0.5, -0.2, 0.9])
    found = answer(network, x, levels.reshape(1, 1, 4, 1, 1), context)
    for frame, level in enumerate(levels):
        expected = answer(network, x, level.expand(3), context)
        torch.testing.assert_close(found[:, :, frame], expected[:, :, frame], rtol=1e-4, atol=1e-4)
    silent = answer(network, x, levels.reshape(1, 1, 4, 1, 1), Context(vector=context.vector))
    heard = (found - silent).abs().amax((1, 3, 4))  # every frame of rows that are told something
    assert heard[:2].min() > 1e-2 * found.std() and not heard[2].any()


def test_registers_read_too() -> None:
    """With nothing told to the patches, the text still comes through by the registers."""
    network = alive(DiT((2, 6, 4), 24, 2, 2, tokens=TOKENS, registers=2), 0.3)

    def deaf(layer: nn.Module, given: Any, out: Tensor) -> Tensor:
        return torch.cat((out[:, :2], torch.zeros_like(out[:, 2:])), 1)

    for block in network.blocks:
        block.cross.register_forward_hook(deaf)  # type: ignore[union-attr]
    x, noise, context = told()
    silent = answer(network, x, noise, Context(vector=context.vector))
    apart = (answer(network, x, noise, context) - silent).abs().amax((1, 2, 3))
    assert apart[:2].min() > 1e-3 * silent.std() and apart[2] == 0


def test_no_softmax_is_ever_over_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels differ in what they make of a row without keys: zeros, or NaN as the textbook has it."""

    def textbook(q: Tensor, k: Tensor, v: Tensor, read: Tensor | None = None) -> Tensor:
        products = q @ k.mT / q.shape[-1] ** 0.5
        return (products if read is None else products.masked_fill(~read, -torch.inf)).softmax(-1) @ v

    layer = alive(CrossAttention(12, 3, TOKENS), 0.4)
    h, (tokens, mask) = torch.randn(3, 7, 12), words()
    expected = layer(h, tokens, mask)
    monkeypatch.setattr(F, "scaled_dot_product_attention", textbook)
    found = layer(h, tokens, mask)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    slopes = torch.autograd.grad(found.square().sum(), list(layer.parameters()))
    assert all(bool(slope.isfinite().all()) for slope in slopes)
