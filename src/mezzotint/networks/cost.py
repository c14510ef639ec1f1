"""What one evaluation of a network costs, from its shapes alone.

The network runs once on the meta device, where tensors have shapes but no contents, and every matrix product and
convolution reports its multiply-accumulates (one multiplication and one addition together count once; papers on
transformers often print these as "flops"). Norms, activations and additions are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mezzotint.networks.context import EMPTY, Context


@dataclass(frozen=True)
class Cost:
    """Learnt numbers, and multiply-accumulates for one sample."""

    parameters: int
    macs: int


def cost(network: nn.Module, shape: Sequence[int] | None = None, context: Context = EMPTY) -> Cost:
    """Parameters and multiply-accumulates per sample of ``network``, which may itself live on the meta device.

    Arguments:
        network: ``forward(x, noise, context)``.
        shape: of one sample; None takes the network's own.
        context: one row of what it will be given; only its shapes matter.
    """
    size: Sequence[int] = shape if shape is not None else network.shape  # type: ignore[assignment]
    state = {name: _meta(tensor) for name, tensor in (*network.named_parameters(), *network.named_buffers())}
    symbols = getattr(network, "symbols", None)  # a network of symbols takes whole numbers
    x = torch.empty((1, *size), device="meta", dtype=None if symbols is None else torch.int64)
    counter = FlopCounterMode(display=False)
    # The composite attention decomposes into the products that are counted; fused kernels have no meta formula.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        functional_call(network, state, (x, torch.empty(1, device="meta"), _shapes(context)))
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


def _shapes(context: Context) -> Context:
    moved: dict[str, object] = {}
    for slot in fields(context):
        value = getattr(context, slot.name)
        if isinstance(value, Tensor):
            moved[slot.name] = _meta(value)
        elif slot.name == "maps":
            moved[slot.name] = {port: _meta(each) for port, each in value.items()}
        elif slot.name == "residuals":
            moved[slot.name] = tuple(_meta(each) for each in value)
    return replace(context, **moved)  # type: ignore[arg-type]
