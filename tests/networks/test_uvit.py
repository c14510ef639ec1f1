"""U-ViT against PyTorch's own encoder layers, and what its tokens and positions promise."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from lively import alive, answer, inputs
from torch import Tensor, nn

from mezzotint.core import Refusal
from mezzotint.networks import Context, UViT


def layer(ours: nn.Module, width: int, heads: int) -> nn.TransformerEncoderLayer:
    """PyTorch's pre-norm layer with the weights of one of our blocks."""
    made = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    weights = ours.state_dict()
    names = {"attention.qkv.": "self_attn.in_proj_", "attention.out.": "self_attn.out_proj."}
    names |= {"mlp.first.": "linear1.", "mlp.second.": "linear2.", "norm1.": "norm1.", "norm2.": "norm2."}
    state = {
        theirs + kind: weights.get(mine + kind, torch.zeros(3 * width))  # queries, keys and values have no bias
        for mine, theirs in names.items()
        for kind in ("weight", "bias")
    }
    made.load_state_dict(state)
    return made


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("smooth", [True, False])
def test_equals_pytorchs_layers(skips: bool, smooth: bool) -> None:
    width, heads, patch = 24, 3, 2
    network = alive(UViT((2, 6, 8), width, 4, heads, patch, vector=5, skips=skips, smooth=smooth, outputs=3))
    x, noise, context = inputs((2, 6, 8), vector=5)
    assert context.vector is not None
    with torch.no_grad():
        weight = network.enter.weight.reshape(width, patch, patch, 2).permute(0, 3, 1, 2)
        patches = F.conv2d(x, weight, network.enter.bias, stride=patch).flatten(2).mT + network.places
        told = [F.linear(context.vector, network.vector.weight) + network.kinds[1]]  # type: ignore[union-attr]
        told.append(network.waves(noise) + network.kinds[0])
        h = torch.cat([*(token[:, None] for token in told), patches], 1)
        kept: list[Tensor] = []
        for block in network.ahead:
            h = layer(block, width, heads)(h)
            kept.append(h)
        h = layer(network.mid, width, heads)(h)
        for block in network.behind:
            if skips:
                w, c = block.join.weight, block.join.bias  # type: ignore[union-attr]
                h = F.linear(h, w[:, :width]) + F.linear(kept.pop(), w[:, width:]) + c
            h = layer(block, width, heads)(h)
        h = network.leave(F.layer_norm(h, (width,), network.norm.weight, network.norm.bias))[:, 2:]
        # F.fold wants channels first within a patch.
        columns = h.reshape(3, 12, patch * patch, 3).transpose(2, 3).flatten(2).mT
        expected = F.fold(columns, (6, 8), patch, stride=patch)
        if network.smooth is not None:
            expected = F.conv2d(expected, network.smooth.weight, network.smooth.bias, padding=1)  # type: ignore[arg-type]
    found = answer(network, x, noise, context)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5 * expected.abs().max().item())


def test_without_the_convolution_a_fresh_network_answers_zero_too() -> None:
    given = inputs((2, 6, 4))
    assert torch.equal(answer(UViT((2, 6, 4), 24, 2, 2, smooth=False), *given), torch.zeros(3, 2, 6, 4))


def test_tokens_are_read_where_the_mask_says() -> None:
    network = alive(UViT((2, 6, 4), 24, 2, 2, tokens=5), 0.3)
    x, noise, context = inputs((2, 6, 4))
    tokens, mask = torch.randn(3, 4, 5), torch.ones(3, 4, dtype=torch.bool)
    mask[:, 2:] = False

    def asked(tokens: Tensor | None, mask: Tensor | None = None) -> Tensor:
        return answer(network, x, noise, Context(vector=context.vector, tokens=tokens, mask=mask))

    short = asked(tokens[:, :2])
    other = torch.where(mask[..., None], tokens, 1e3)
    for given in (tokens, other):  # padding is silent, whatever it holds
        torch.testing.assert_close(asked(given, mask), short, rtol=1e-4, atol=1e-4 * short.std().item())
    assert (asked(tokens) - short).abs().max() > 1e-2 * short.std()
    assert (asked(None) - short).abs().max() > 1e-2 * short.std()
    order = [3, 0, 2, 1]  # they have no positions of the network's
    torch.testing.assert_close(asked(tokens[:, order]), asked(tokens), rtol=1e-4, atol=1e-4 * short.std().item())
    with pytest.raises(Refusal, match=r"takes \(3, L, 5\)"):
        asked(torch.zeros(3, 4, 6))
    with pytest.raises(Refusal, match=r"is \(3, 4\), not \(3, 3\)"):
        asked(tokens, mask[:, 1:])


@pytest.mark.parametrize("space", [(8,), (6, 8), (4, 6, 8)], ids=str)
def test_positions_of_another_grid_lie_between_the_learnt_ones(space: tuple[int, ...]) -> None:
    """Positions that are linear in space stay so: at twice the size, place j lies at (j + 1/2) / 2 - 1/2."""
    network = UViT((1, *space), 12, 0, 2)
    counts = [n // 2 for n in space]
    slopes = torch.randn(len(space), 12)

    def linear(axes: list[Tensor]) -> Tensor:
        return torch.cartesian_prod(*axes).reshape(-1, len(space)) @ slopes

    with torch.no_grad():
        network.places.copy_(linear([torch.arange(n, dtype=torch.float32) for n in counts]))
        found = network._places([2 * n for n in counts])
    # Beyond the outermost learnt positions there is nothing to lie between.
    finer = [((torch.arange(2 * n) + 0.5) / 2 - 0.5).clamp(0, n - 1) for n in counts]
    torch.testing.assert_close(found, linear(finer), rtol=1e-4, atol=1e-4)
