"""The same numbers as diffusers' UNet2DModel, from the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mezzotint.networks import Context

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

from diffusers_weights import renamed, translated  # noqa: E402

PLAIN = ("DownBlock2D", "UpBlock2D")
INSIDE = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
ATTN = ("AttnDownBlock2D", "AttnUpBlock2D")
VARIANTS: dict[str, dict[str, Any]] = {
    "ddpm": dict(flip_sin_to_cos=False, freq_shift=1, downsample_padding=0, norm_eps=1e-6, attention_head_dim=None),
    "default": dict(attention_head_dim=8),
    "scale_shift": dict(resnet_time_scale_shift="scale_shift", attn_norm_num_groups=8, num_class_embeds=7),
    "scale_shift, bare middle": dict(resnet_time_scale_shift="scale_shift"),
    "resampling inside": dict(
        resnet_time_scale_shift="scale_shift", downsample_type="resnet", upsample_type="resnet", attn_norm_num_groups=8
    ),
    "no middle attention": dict(add_attention=False, act_fn="mish"),
    "no middle": dict(mid_block_type=None, act_fn="gelu", out_channels=6),
}
LEVELS: dict[str, dict[str, Any]] = {
    "two": dict(block_out_channels=(16, 24), layers_per_block=1, kinds=(PLAIN, ATTN)),
    "three": dict(block_out_channels=(16, 32, 32), layers_per_block=2, kinds=(PLAIN, ATTN, PLAIN)),
    "one": dict(block_out_channels=(16,), layers_per_block=2, kinds=(ATTN,)),
}


def theirs(**options: Any) -> Any:
    kinds = options.pop("kinds")
    if (
        options.get("downsample_type") == "resnet"
    ):  # their plain blocks ignore the setting; these are the ones that obey
        kinds = [INSIDE if pair == PLAIN else pair for pair in kinds]
    made = diffusers.UNet2DModel(
        sample_size=8,
        down_block_types=tuple(down for down, _ in kinds),
        up_block_types=tuple(up for _, up in reversed(kinds)),
        **{"in_channels": 3, "out_channels": 3, "norm_num_groups": 8, **options},
    )
    torch.manual_seed(0)
    for weight in made.parameters():  # so that biases and norms count too
        torch.nn.init.normal_(weight, 0.5 if weight.ndim == 1 else 0.0, 0.15)
    return made.eval()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("levels", LEVELS)
def test_equals_unet2dmodel(levels: str, variant: str) -> None:
    model = theirs(**LEVELS[levels], **VARIANTS[variant])
    network = translated(model.config).eval()
    network.load_state_dict(renamed(model.state_dict(), len(model.config["block_out_channels"])), strict=True)

    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 3, 8, 8, generator=generator)
    steps = torch.tensor([0, 17, 999])
    classes = model.config["num_class_embeds"]
    labels = torch.tensor([0, 3, 6]) if classes else None
    vector = F.one_hot(labels, classes).float() if labels is not None else None
    with torch.no_grad():
        expected = model(x, steps, labels).sample
        found = network(x, steps.float(), Context(vector=vector))
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_equals_unet2dmodel_off_centre() -> None:
    """Attention on one way only, and another size than the one it was built for."""
    model = theirs(block_out_channels=(8, 16, 24), kinds=(PLAIN, ("AttnDownBlock2D", "UpBlock2D"), ATTN))
    network = translated(model.config).eval()
    network.load_state_dict(renamed(model.state_dict(), 3), strict=True)
    x = torch.randn(2, 3, 16, 12, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model(x, 250).sample
        found = network(x, torch.tensor(250.0))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
