"""Group norm in lower precision: rounded once, laid out and differentiated as torch's, and torch's own in float32."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.networks.space import GroupNorm

SHAPES = [(3, 12, 5), (3, 12, 5, 7), (1, 12, 1, 1), (2, 12, 3, 4, 5)]
LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}


def made(affine: bool = True) -> tuple[GroupNorm, nn.GroupNorm]:
    """Ours and torch's, of the same weights."""
    ours, theirs = GroupNorm(4, 12, affine=affine), nn.GroupNorm(4, 12, affine=affine)
    generator = torch.Generator().manual_seed(0)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.data = torch.randn(12, generator=generator)
        other.data = mine.data.clone()
    return ours, theirs


def features(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    x = 3 + torch.randn(shape, generator=torch.Generator().manual_seed(1))
    layout = LAYOUTS.get(len(shape) - 2)
    return (x if layout is None else x.contiguous(memory_format=layout)).to(dtype).requires_grad_()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
def test_float32_is_torch_s_to_the_bit(shape: tuple[int, ...], affine: bool) -> None:
    ours, theirs = made(affine)
    x = features(shape, torch.float32)
    assert torch.equal(ours(x), theirs(x))
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_lower_precision_is_rounded_once(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """What comes out is the float64 answer about the same features, rounded: half a unit in the last place, and a bit
    for where float32 lies on the other side of a tie. Gradients go through one rounding more.
    """
    ours, _ = made()
    x, wide = features(shape, dtype), features(shape, dtype).detach().double().requires_grad_()
    pull = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    found = ours(x)
    due = F.group_norm(wide, 4, ours.weight.double(), ours.bias.double(), ours.eps)
    assert found.dtype == dtype and found.shape == x.shape and found.stride() == x.stride()
    unit = torch.finfo(dtype).eps
    assert ((found.double() - due).abs() <= 0.51 * unit * due.abs().clamp(min=1e-2)).all()
    (mine,) = torch.autograd.grad(found, x, pull)
    (theirs,) = torch.autograd.grad(due, wide, pull.double())
    assert (mine.double() - theirs).abs().max() <= unit * theirs.abs().max().clamp(min=1e-2)


def test_under_autocast_it_answers_in_the_lower_precision() -> None:
    ours, _ = made()
    x = features((2, 12, 4, 4), torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(x)
    assert found.dtype == torch.bfloat16 and torch.equal(found, ours(x))
