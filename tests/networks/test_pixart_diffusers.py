"""The same function as diffusers' PixArtTransformer2DModel, from the same weights; and their attention over maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint.networks import Context, DiT, Modulation, Sinusoid
from mezzotint.networks.cross_attention import CrossAttention, SpatialCrossAttention

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

WORDS = 10


@dataclass(frozen=True)
class Single(Modulation):
    """One layer for all blocks and a table for each; before the answer a table and e itself."""

    def trunk(self, level: int, width: int) -> nn.Module:
        return Trunk(level, width)

    def branch(self, level: int, width: int, count: int) -> nn.Module:
        return Table(level, width, count)


class Trunk(nn.Module):
    def __init__(self, level: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(level, 6 * width)

    def forward(self, e: Tensor) -> Tensor:
        return torch.cat((e, self.linear(nn.functional.silu(e))), -1)


class Table(nn.Module):
    def __init__(self, level: int, width: int, count: int) -> None:
        super().__init__()
        self.level, self.count = level, count
        self.table = nn.Parameter(torch.zeros(count * width))

    def forward(self, numbers: Tensor) -> Tensor:
        e, shared = numbers[..., : self.level], numbers[..., self.level :]
        return self.table + (shared if self.count == 6 else torch.cat((e, e), -1))


def lively(module: Any) -> Any:
    torch.manual_seed(0)
    for weight in module.parameters():
        nn.init.normal_(weight, 0.1 if weight.ndim == 1 else 0.0, 0.15)
    return module.eval()


def renamed(weights: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Their weights under our names."""

    def layer(ours: str, *theirs: str) -> dict[str, Tensor]:
        kinds = ("weight", "bias")
        return {f"{ours}.{kind}": torch.cat([weights[f"{name}.{kind}"] for name in theirs]) for kind in kinds}

    found = {
        "enter.weight": weights["pos_embed.proj.weight"].permute(0, 2, 3, 1).flatten(1),  # a convolution's, as a matrix
        "enter.bias": weights["pos_embed.proj.bias"],
        **layer("level.first", "adaln_single.emb.timestep_embedder.linear_1"),
        **layer("level.second", "adaln_single.emb.timestep_embedder.linear_2"),
        **layer("trunk.linear", "adaln_single.linear"),
        "final.modulate.table": weights["scale_shift_table"].flatten(),
        **layer("final.leave", "proj_out"),
    }
    for k in range(depth):
        ours, theirs = f"blocks.{k}", f"transformer_blocks.{k}"
        found |= layer(f"{ours}.attention.qkv", *(f"{theirs}.attn1.to_{letter}" for letter in "qkv"))
        found |= layer(f"{ours}.attention.out", f"{theirs}.attn1.to_out.0")
        found |= layer(f"{ours}.cross.q", f"{theirs}.attn2.to_q")
        found |= layer(f"{ours}.cross.kv", f"{theirs}.attn2.to_k", f"{theirs}.attn2.to_v")
        found |= layer(f"{ours}.cross.out", f"{theirs}.attn2.to_out.0")
        found |= layer(f"{ours}.mlp.first", f"{theirs}.ff.net.0.proj")
        found |= layer(f"{ours}.mlp.second", f"{theirs}.ff.net.2")
        found[f"{ours}.modulate.table"] = weights[f"{theirs}.scale_shift_table"].flatten()
    return found


@pytest.mark.parametrize("masked", [False, True])
def test_equals_pixart(masked: bool) -> None:
    made = diffusers.PixArtTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        cross_attention_dim=WORDS,  # no MLP on the caption: that is the encoder's
        sample_size=8,
        use_additional_conditions=False,
    )
    model = lively(made)
    network = DiT(
        (4, 8, 8),
        24,
        3,
        3,
        vector=None,
        tokens=WORDS,
        outputs=8,
        modulation=Single(),
        embedding=Sinusoid(256, 1.0, 10000.0),
    ).eval()
    network.load_state_dict(renamed(model.state_dict(), 3), strict=True)

    generator = torch.Generator().manual_seed(1)
    x, tokens = torch.randn(3, 4, 8, 8, generator=generator), torch.randn(3, 5, WORDS, generator=generator)
    steps, mask = torch.tensor([0, 17, 999]), torch.ones(3, 5, dtype=torch.bool)
    if masked:
        mask[1, 2:] = mask[2, 0] = False
    with torch.no_grad():
        expected = model(x, tokens, steps, encoder_attention_mask=mask.long()).sample
        found = network(x, steps.float(), Context(tokens=tokens, mask=mask if masked else None))
        silent = network(x, steps.float())
    assert expected.std() > 0.1 and (expected - silent).abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5 * expected.abs().max().item())


def test_equals_their_attention_over_a_map() -> None:
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    theirs = lively(
        Attention(
            8, WORDS, heads=2, dim_head=4, bias=True, norm_num_groups=2, residual_connection=True,
            processor=AttnProcessor2_0(),
        )
    )  # fmt: skip
    ours = SpatialCrossAttention(nn.GroupNorm(2, 8), CrossAttention(8, 2, WORDS))
    pairs = {"norm": ("group_norm",), "attention.q": ("to_q",), "attention.kv": ("to_k", "to_v")}
    pairs["attention.out"] = ("to_out.0",)
    state = theirs.state_dict()
    ours.load_state_dict(
        {
            f"{name}.{kind}": torch.cat([state[f"{each}.{kind}"] for each in parts])
            for name, parts in pairs.items()
            for kind in ("weight", "bias")
        }
    )
    x, tokens = torch.randn(2, 8, 3, 5), torch.randn(2, 6, WORDS)
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    bias = torch.where(mask, 0.0, -torch.inf)[:, None]
    with torch.no_grad():
        expected = theirs(x, encoder_hidden_states=tokens, attention_mask=bias)
        torch.testing.assert_close(ours(x, tokens, mask), expected, rtol=1e-5, atol=1e-5)
