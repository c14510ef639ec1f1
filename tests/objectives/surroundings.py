"""What tests of context prediction share: small models, silent decoders, and neighbours found by looking."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Rng
from mezzotint.denoiser import Preconditioned
from mezzotint.denoiser.base import Denoiser
from mezzotint.networks import UNet
from mezzotint.objectives import (
    ContextPrediction,
    Levels,
)
from mezzotint.processes import EDM
from mezzotint.processes.base import Continuous, Process
from mezzotint.testing.truth import CLASSES, nudge


def around(space: tuple[int, ...], site: int, stride: int) -> list[int]:
    """Numbers of the neighbours of a site, by looking at every site of the grid."""
    places = list(product(*map(range, space)))
    here = places[site]
    return [
        n for n, p in enumerate(places) if 1 <= max(abs(a - b) for a, b in zip(p, here, strict=True)) <= stride
    ]  # fmt: skip


def network(shape: tuple[int, ...], **more: object) -> UNet:
    return UNet(shape, width=8, multipliers=(1, 1), vector=8, head=4, **more)  # type: ignore[arg-type]


def unet(shape: tuple[int, ...], process: Continuous | None = None, **more: object) -> Preconditioned:
    more = {"sigma_data": 1.0} | more
    made = Preconditioned(network(shape), process or EDM(), Encoder(label=Classes(CLASSES, 8)), **more)  # type: ignore[arg-type]
    nudge(made)
    return made.eval()


def noise(count: int, shape: tuple[int, ...]) -> Tensor:
    return 0.5 * Rng(range(count)).normal("data", shape)


def silent(objective: ContextPrediction, learner: Denoiser, x: Tensor, says: float = 0.0) -> ContextPrediction:
    """The same with a decoder that says one number, whatever it sees."""
    objective.meet(learner, x[:1], NONE, 0)
    with torch.no_grad():
        *_, bias = (p for p in objective.decoder.parameters() if p.ndim == 1)
        for weight in objective.decoder.parameters():
            weight.zero_()
        bias.fill_(says)
    return objective


def context(objective: ContextPrediction, learner: Denoiser, x: Tensor, keys: range | None = None) -> Tensor:
    rng = Rng(range(len(x)) if keys is None else keys)
    return objective(learner, x, NONE, rng).parts["context"].detach()


def mean_around(x: Tensor, stride: int, says: float = 0.0) -> Tensor:
    """Mean over sites of the mean over neighbours of (x_j - says)^2, averaged over channels, (B,), by looking."""
    space, count = tuple(x.shape[2:]), x[0, 0].numel()
    flat = (x.double().flatten(2) - says).square().mean(1)
    return torch.stack([flat[:, around(space, site, stride)].mean(1) for site in range(count)]).mean(0)


class At(Levels):
    """Every row at a time of its own."""

    unbiased = True

    def __init__(self, times: tuple[float, ...], weight: float = 1.0) -> None:
        super().__init__()
        self.times, self.weight = times, weight

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        t = torch.tensor(self.times, dtype=torch.float64)[: len(rng)]
        return t, torch.full_like(t, self.weight)
