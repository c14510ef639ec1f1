"""What every network asks of its inputs before it computes anything, so that all of them refuse in the same words.

A tensor of a wrong shape would often broadcast to some answer; a map at another size, a noise level for another batch
or a misspelt feature is refused here instead, with what was expected.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal, nearest
from mezzotint.networks.context import Context

Told = tuple[Tensor, Tensor | None]
"""Tokens (B, L, D) and a bool mask (B, L), true where a token is read; None: all are read."""


def check_wanted(want: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a feature that the network does not have."""
    for name in want:
        if name not in known:
            raise Refusal(f"this network has no features {name!r}; {nearest(name, tuple(known))}")


def check_rank(x: Tensor, shape: Sequence[int]) -> None:
    """Refuse an x (B, C, *space) whose channels or axes of space are not as many as those of ``shape``."""
    if x.ndim != len(shape) + 1 or x.shape[1] != shape[0]:
        raise Refusal(f"this network takes (B, {shape[0]}, {len(shape) - 1} sizes), not a tensor {tuple(x.shape)}")


def check_vector(vector: Tensor, rows: int, width: int) -> None:
    """Refuse a context's vector that is not (rows, width)."""
    if vector.ndim != 2 or vector.shape[1] != width or vector.shape[0] not in (1, rows):
        raise Refusal(
            f"the context's vector has shape {tuple(vector.shape)}, but this network takes ({rows}, {width}); "
            f"build it with vector={vector.shape[-1]} or change the encoder"
        )


def told(context: Context, rows: int, width: int | None) -> Told | None:
    """The context's tokens and which of them are read, checked; None where there are none to read.

    Tokens that the mask leaves out become zeros: attention weighs them with zero, and zero times the NaN or the
    infinity that padding may hold is NaN.

    Arguments:
        context: with ``tokens`` (rows, L, width) and a bool ``mask`` (rows, L), or neither.
        rows: of the batch.
        width: features of a token; None: the network reads none.

    Raises:
        Refusal: if they are of another shape, or if there is a mask of no tokens.
    """
    tokens, mask = context.tokens, context.mask
    if width is None or (tokens is None and mask is None):
        return None
    if tokens is None:
        raise Refusal("the context has a mask but no tokens that it is the mask of; give both, or neither")
    if tokens.ndim != 3 or tokens.shape[::2] != (rows, width):
        raise Refusal(
            f"the context's tokens have shape {tuple(tokens.shape)}, but this network takes ({rows}, L, {width}); "
            f"build it with tokens={tokens.shape[-1]} or change the encoder"
        )
    if mask is not None:
        if mask.shape != tokens.shape[:2]:
            raise Refusal(
                f"the mask of tokens {tuple(tokens.shape)} is {tuple(tokens.shape[:2])}, not {tuple(mask.shape)}"
            )
        if mask.dtype != torch.bool:  # numbers would be added to the products of queries and keys
            raise Refusal(f"a mask says true or false of each token, as torch.bool, not as {mask.dtype}")
        tokens = tokens.masked_fill(~mask[..., None], 0.0)
    return (tokens, mask) if tokens.shape[1] else None


def joined(x: Tensor, context: Context, channels: int, others: Sequence[str] = ()) -> Tensor:
    """x (B, C, *space) beside the maps at the port ``input``, (B, C + channels, *space).

    Maps (B, channels) without space are the same everywhere, as the null of a picture is.

    Arguments:
        others: further ports of this network.
    """
    for port in context.maps:
        if port not in others and (port != "input" or not channels):
            hint = f"; it has {', '.join(map(repr, others))}" if others else "; build it with maps=channels for 'input'"
            raise Refusal(f"this network has no port for maps at {port!r}{hint}")
    return torch.cat((x, maps_at(x, context, "input", channels)), dim=1) if channels else x


def maps_at(x: Tensor, context: Context, port: str, channels: int, any_size: bool = False) -> Tensor:
    """The maps (B, channels, *space) at a port in the precision of x, at its size or, where that is all one, at any."""
    due = (x.shape[0], channels, *x.shape[2:])
    found = context.maps.get(port)
    if found is not None and any_size and found.ndim == x.ndim:
        due = (*due[:2], *found.shape[2:])
    if found is not None and found.shape == due[:2]:
        found = found[(..., *(None,) * (x.ndim - 2))].expand(due)
    if found is None or found.shape != due:
        given = "none" if found is None else tuple(found.shape)
        raise Refusal(f"this network takes maps {due} at {port!r}, not {given}; have the encoder make them so")
    return found.to(x.dtype)


def in_precision(network: torch.nn.Module, x: Tensor) -> Tensor:
    """x in the precision of the network's weights, as it is where there are none."""
    weight = next((p for p in network.parameters() if p.is_floating_point()), None)
    return x if weight is None else x.to(weight.dtype)


def per_sample(noise: Tensor, x: Tensor) -> Tensor:
    """Noise as (B,); one value is everybody's."""
    # (1, 1, T, 1, 1) has as many values as a batch of T, but they are not the samples'.
    if noise.numel() != 1 and not noise.shape[0] == len(x) == noise.numel():
        raise Refusal(
            f"this network takes one noise level per sample, ({len(x)},), not {tuple(noise.shape)}; "
            "per-entry levels need a network that embeds them per entry"
        )
    return noise.reshape(-1).expand(len(x))


def per_patch(noise: Tensor, x: Tensor, patch: Sequence[int]) -> Tensor:
    """Noise (B, *grid), each size that of the grid of patches, or 1 where the levels do not differ along that axis.

    Arguments:
        noise: one value per sample in any shape, or x's rank with ones: (B, 1, T, 1, 1) has a level for each frame.
            Levels that differ inside one patch are averaged over it.
        x: (B, C, *space).
        patch: entries of a patch along each axis.
    """
    if noise.numel() == 1 or (noise.numel() == len(x) and noise.shape[0] == len(x)):
        return per_sample(noise, x)[(..., *(None,) * len(patch))]
    ones = noise.ndim == x.ndim and noise.shape[0] in (1, len(x)) and noise.shape[1] == 1
    if not ones or any(n not in (1, full) for n, full in zip(noise.shape[2:], x.shape[2:], strict=True)):
        raise Refusal(
            f"this network takes one noise level per sample, ({len(x)},), or one per place, "
            f"({len(x)}, 1, *{tuple(x.shape[2:])}) with ones where they do not differ, not {tuple(noise.shape)}"
        )
    levels = noise[:, 0].expand(len(x), *noise.shape[2:])
    for axis, size in enumerate(patch, start=1):
        if levels.shape[axis] > 1:
            ahead, behind = levels.shape[:axis], levels.shape[axis + 1 :]
            levels = levels.reshape(*ahead, -1, size, *behind).mean(axis + 1)
    return levels
