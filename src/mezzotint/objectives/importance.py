"""Importance sampling of training times: look more often where the loss is large, and weigh it down again.

For an expectation over t of a loss L(t), times drawn with density p and weighted by 1 / p have the same mean, whatever
p is, and the least variance where p is proportional to sqrt(E[L^2 | t]). That is learnt on the way, from the last
losses seen in each of n bins of the clock:

    p_k ~ sqrt(mean of the last losses squared in bin k),   mixed with a share of the uniform,   weight 1 / (n p_k),

and uniform until every bin was seen often enough. The variational bound, whose terms differ by orders of magnitude, can
hardly be trained without it.

Source: Nichol and Dhariwal 2021, "Improved denoising diffusion probabilistic models" (2102.09672, eq. 18), where the
bins are the steps of the chain.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.objectives.base import Levels
from mezzotint.processes.base import Process

_EDGE = 1e-9  # in bins: i / n, computed and multiplied by n again, may come out a little above i


class Importance(Levels):
    """Times in (0, 1] in proportion to the root mean square of the last losses seen about there.

    Arguments:
        bins: n equal parts of the clock, each with its own memory; times are uniform within one. A bound that draws its
            intervals from this needs as many intervals, or a multiple.
        window: how many losses of each bin are remembered, and how many it takes in every bin to leave the uniform.
        uniform: the share of draws that stays uniform, so that no bin is forgotten.
    """

    unbiased = True
    history: Tensor
    seen: Tensor

    def __init__(self, bins: int = 100, window: int = 10, uniform: float = 0.001) -> None:
        super().__init__()
        if bins < 1 or window < 1 or not 0 < uniform <= 1:
            raise Refusal(
                f"Importance needs a bin, a window of one loss and a uniform share in (0, 1] at least, not {bins}, "
                f"{window} and {uniform}"
            )
        self.bins, self.window, self.uniform = bins, window, uniform
        self.register_buffer("history", torch.zeros(bins, window, dtype=torch.float64))  # the newest last
        self.register_buffer("seen", torch.zeros(bins, dtype=torch.int64))

    def shares(self) -> Tensor:
        """The probability of each bin, float64 (bins,) on the CPU."""
        size = self.history.cpu().square().mean(1).sqrt()
        if bool((self.seen < self.window).any()) or not float(size.sum()) > 0:
            return torch.full((self.bins,), 1 / self.bins, dtype=torch.float64)
        return (1 - self.uniform) * size / size.sum() + self.uniform / self.bins

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        shares = self.shares()
        edges = shares.cumsum(0)
        chosen = torch.searchsorted(edges, rng.uniform("bin", ()) * edges[-1], right=True).clamp(max=self.bins - 1)
        t = (chosen + 1 - rng.uniform("level", ())) / self.bins
        return t, 1 / (self.bins * shares[chosen])

    @torch.no_grad()
    def update(self, t: Tensor, value: Tensor) -> None:
        """Remember losses in the order of the whole batch, however many processes share it."""
        device = self.history.device
        t, value = _everywhere(torch.stack([t.to(device).double(), value.to(device).double()]))
        places = (t * self.bins - _EDGE).ceil().long().sub(1).clamp(0, self.bins - 1)
        arrived = places.bincount(minlength=self.bins)
        order = places.argsort(stable=True)
        places, value = places[order], value[order]
        later = arrived.cumsum(0)[places] - 1 - torch.arange(len(places), device=device)  # after it, in the same bin
        newest = later < self.window
        moved = torch.arange(self.window, device=device) + arrived[:, None]
        self.history.copy_(self.history.gather(1, moved.clamp(max=self.window - 1)))
        self.history[places[newest], self.window - 1 - later[newest]] = value[newest]
        self.seen += arrived


def _everywhere(values: Tensor) -> Tensor:
    """The columns of all processes: of n processes, process r holds the rows r, r + n, r + 2n, .. of the batch."""
    if not (dist.is_available() and dist.is_initialized()):
        return values
    found = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(found, values.contiguous())
    return torch.stack(found, -1).flatten(1)
