"""How diffusers' UNet2DModel is said in our words: its config as our arguments, its weights under our names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mezzotint.networks import Sinusoid, UNet

_BLOCK = {
    "norm1": "norm1",
    "conv1": "conv1",
    "time_emb_proj": "modulate",
    "norm2": "norm2",
    "conv2": "conv2",
    "conv_shortcut": "skip",
}


def translated(config: Mapping[str, Any]) -> UNet:
    """Our network for a config of theirs."""
    channels = config["block_out_channels"]
    width, last = channels[0], len(channels) - 1
    bare = config["resnet_time_scale_shift"] != "default" and config["attn_norm_num_groups"] is None
    middle = "unnormed" if bare else "attention"
    if config["mid_block_type"] is None:
        middle = "none"
    elif not config["add_attention"]:
        middle = "plain"
    inside = config["downsample_type"] == "resnet"
    return UNet(
        (config["in_channels"], 8, 8),
        width,
        tuple(c / width for c in channels),
        config["layers_per_block"],
        tuple(k for k, kind in enumerate(config["down_block_types"]) if "Attn" in kind),
        attention_up=tuple(last - k for k, kind in enumerate(config["up_block_types"]) if "Attn" in kind),
        middle=middle,
        head=config["attention_head_dim"],
        vector=config["num_class_embeds"],
        outputs=config["out_channels"],
        embedding=Sinusoid(width, 1.0, 10000.0, "cos" if config["flip_sin_to_cos"] else "sin", config["freq_shift"]),
        film=config["resnet_time_scale_shift"] == "scale_shift",
        resample="inside" if inside else "convolution",
        padding=1 if inside else config["downsample_padding"],
        groups=config["norm_num_groups"],
        least=1,
        eps=config["norm_eps"],
        activation=config["act_fn"],
        dropout=config["dropout"],
    )


def renamed(theirs: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    """Their weights under our names: queries, keys and values stacked, the class table as a matrix without bias."""
    ours: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        ours.update(_renamed(name, tensor, theirs, levels))
    return ours


def _renamed(name: str, tensor: Tensor, theirs: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    path = name.split(".")
    kind = path[-1]
    match path[:-1]:
        case ["conv_in"]:
            return {f"enter.{kind}": tensor}
        case ["conv_norm_out"]:
            return {f"norm.{kind}": tensor}
        case ["conv_out"]:
            return {f"leave.{kind}": tensor}
        case ["time_embedding", layer]:
            return {f"level.{'first' if layer == 'linear_1' else 'second'}.{kind}": tensor}
        case ["class_embedding"]:
            return {"level.vector.weight": tensor.T}
        case ["mid_block", "resnets", i, part]:
            # With attention between them the two blocks are 0 and 2, without they are 0 and 1.
            between = any(key.startswith("mid_block.attentions") for key in theirs)
            return {f"mid.{2 * int(i) if between else i}.{_BLOCK[part]}.{kind}": tensor}
        case ["mid_block", "attentions", "0", *part]:
            return _attention("mid.1", name, part, kind, tensor, theirs)
        case [way, k, what, i, *part]:
            stage = f"down.{k}" if way == "down_blocks" else f"up.{levels - 1 - int(k)}"
            if what == "resnets":
                return {f"{stage}.blocks.{i}.residual.{_BLOCK[part[0]]}.{kind}": tensor}
            if what == "attentions":
                return _attention(f"{stage}.blocks.{i}.attention", name, part, kind, tensor, theirs)
            sampler = "convolution" if part == ["conv"] else _BLOCK[part[0]]
            return {f"{stage}.resample.{sampler}.{kind}": tensor}
    raise KeyError(name)


def _attention(
    home: str, name: str, part: list[str], kind: str, tensor: Tensor, theirs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    match part:
        case ["group_norm"]:
            return {f"{home}.norm.{kind}": tensor}
        case ["to_out", "0"]:
            return {f"{home}.out.{kind}": tensor}
        case ["to_q"]:
            stacked = [theirs[name.replace("to_q", f"to_{letter}")] for letter in "qkv"]
            return {f"{home}.qkv.{kind}": torch.cat(stacked)}
    return {}
