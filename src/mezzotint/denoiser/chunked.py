"""The same bits in any batch: every question is cut and padded to pieces of one size.

A sample depends on its own key only, but a network rounds differently in batches of different sizes: other kernels add
the same numbers up in another order, and two runs part at the seventh digit. Asked in pieces of exactly ``rows`` rows,
the last one filled up with rows that are thrown away, a network runs the same kernels every time, and a sample is the
same to the last bit alone and in any crowd. The price is the padding: a batch of one costs as much as ``rows``, three
full pieces and one row cost a third more.

It holds for one machine, one number of threads and one precision, and for networks that treat the rows of a batch
alike, wherever they stand in it. Matrix products on some CPUs do not at every size: they take rows in blocks, and those
left over add up otherwise. Pieces of 1 or of a multiple of 8 have none left over.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.batched import cat
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want, Wrapper


class Chunked(Wrapper):
    """Asks in pieces of exactly ``rows`` rows.

    Arguments:
        denoiser: what is asked.
        rows: of each piece; also the most it is ever asked at once, which bounds its memory.
    """

    def __init__(self, denoiser: Denoiser, rows: int = 32) -> None:
        super().__init__(denoiser)
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise Refusal(f"a piece has at least one row, not {rows!r}")
        self.rows = rows

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        answers = []
        for start in range(0, max(1, len(x)), self.rows):
            index = torch.arange(start, start + self.rows).clamp(max=len(x) - 1)  # the last row again fills it up
            here = index.to(x.device)
            answers.append(self.denoiser(x[here], t[index.to(t.device)], cond[index] if cond else cond, want))
        return cat(answers)[: len(x)]
