"""The same function as diffusers' DiTTransformer2DModel, from the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mezzotint.networks import Context, DiT, Sinusoid

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

CLASSES = 7


def theirs(patch: int, **options: Any) -> Any:
    made = diffusers.DiTTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=8,
        num_layers=3,
        sample_size=8,
        patch_size=patch,
        num_embeds_ada_norm=CLASSES,
        norm_elementwise_affine=False,
        norm_eps=1e-6,  # the reference's; their default differs between the two norms of a block
        **options,
    )
    torch.manual_seed(0)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, 0.1 if weight.ndim == 1 else 0.0, 0.15)
    first = made.transformer_blocks[0].norm1.emb.state_dict()
    for block in made.transformer_blocks:  # every block has a copy of the same embedding
        block.norm1.emb.load_state_dict(first)
    return made.eval()


def renamed(weights: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Their weights under our names."""

    def layer(ours: str, name: str) -> dict[str, Tensor]:
        return {f"{ours}.{kind}": weights[f"{name}.{kind}"] for kind in ("weight", "bias")}

    found = {
        "enter.weight": weights["pos_embed.proj.weight"].permute(0, 2, 3, 1).flatten(1),  # a convolution's, as a matrix
        "enter.bias": weights["pos_embed.proj.bias"],
        "level.vector.weight": weights["transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"].T,
        **layer("level.first", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1"),
        **layer("level.second", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2"),
        **layer("final.modulate", "proj_out_1"),
        **layer("final.leave", "proj_out_2"),
    }
    for k in range(depth):
        block = f"transformer_blocks.{k}"
        for kind in ("weight", "bias"):
            parts = [weights[f"{block}.attn1.to_{letter}.{kind}"] for letter in "qkv"]
            found[f"blocks.{k}.attention.qkv.{kind}"] = torch.cat(parts)
        found |= layer(f"blocks.{k}.attention.out", f"{block}.attn1.to_out.0")
        found |= layer(f"blocks.{k}.modulate", f"{block}.norm1.linear")
        found |= layer(f"blocks.{k}.mlp.first", f"{block}.ff.net.0.proj")
        found |= layer(f"blocks.{k}.mlp.second", f"{block}.ff.net.2")
    return found


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("channels", [(3, 3), (4, 8)], ids=["as many", "learnt variance"])
def test_equals_dit_transformer(channels: tuple[int, int], patch: int) -> None:
    inside, outside = channels
    model = theirs(patch, in_channels=inside, out_channels=outside)
    # Their waves count the ends (shift 1), the reference's do not. Their table has one more row, the null.
    waves = Sinusoid(256, 1.0, 10000.0, "cos", shift=1.0)
    network = DiT((inside, 8, 8), 24, 3, 3, patch, vector=CLASSES + 1, outputs=outside, embedding=waves).eval()
    network.load_state_dict(renamed(model.state_dict(), 3), strict=True)

    x = torch.randn(3, inside, 8, 8, generator=torch.Generator().manual_seed(1))
    steps, labels = torch.tensor([0, 17, 999]), torch.tensor([0, 3, CLASSES])
    with torch.no_grad():
        expected = model(x, steps, labels).sample
        found = network(x, steps.float(), Context(vector=F.one_hot(labels, CLASSES + 1).float()))
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5 * expected.abs().max().item())
