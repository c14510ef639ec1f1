"""A network that mixes all pixels at once, for pictures of one size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mezzotint.core import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks import EMPTY, Context, Output, Sinusoid


class Flat(Module):
    """Two layers over the flattened sample; the noise level and the context's vector join in the middle."""

    def __init__(self, shape: Sequence[int], width: int = 64, vector: int | None = None) -> None:
        super().__init__()
        self.shape = tuple(shape)
        size = int(torch.Size(shape).numel())
        self.waves = Sinusoid(width)
        self.enter, self.level, self.leave = nn.Linear(size, width), nn.Linear(width, width), nn.Linear(width, size)
        self.told = nn.Linear(vector, width) if vector else None

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Tensor | Output:
        if tuple(x.shape[1:]) != self.shape:
            raise Refusal(f"this network takes samples of {self.shape}, not {tuple(x.shape[1:])}")
        if set(want) - {"hidden"}:
            raise Refusal(f"this network has 'hidden' and no {', '.join(want)}")
        context.only(*(["vector"] if self.told is not None else []))
        h = self.enter(x.flatten(1)) + self.level(self.waves(noise.reshape(-1)).to(self.level.weight.dtype))
        if self.told is not None and context.vector is not None:
            h = h + self.told(context.vector)
        h = nn.functional.silu(h)
        sample = self.leave(h).reshape(x.shape)
        return Output(sample, {"hidden": h}) if want else sample
