"""The error by noise level, beside the trivial predictor.

One number for the loss hides where a model fails. Here the squared error of the clean estimate, per entry, is averaged
in ten bins of the level u, together with the error of the best answer that knows only the spread of the data. A bin
where the two agree is one where nothing was learnt.
"""

from __future__ import annotations

from typing import Any

import torch

from mezzotint.denoiser.base import Trainable
from mezzotint.objectives.base import Shot

BINS = 10


class ErrorByLevel:
    """Running sums of (count, model error, trivial error) in equal bins of the level, on the device of the model."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(BINS, 3, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, model: Trainable, shot: Shot) -> None:
        """Take in one corrupted batch and its answer."""
        t = shot.t.flatten(1).mean(1) if shot.t.ndim > 1 else shot.t
        bins = (model.process.level(t.double()) * BINS).long().clamp(0, BINS - 1).to(self.sums.device)
        error = (shot.answer.mean - shot.x0).double().square().flatten(1).mean(1)
        trivial = (model.trivial(shot.x_t, shot.t) - shot.x0).double().square().flatten(1).mean(1)
        self.sums.index_add_(0, bins, torch.stack([torch.ones_like(error), error, trivial], 1))

    def rows(self) -> list[dict[str, Any]]:
        """One row a bin that was visited: its levels, how many samples, and the two mean squared errors."""
        out = []
        for i, (count, error, trivial) in enumerate(self.sums.tolist()):
            if count:
                row = {"low": i / BINS, "high": (i + 1) / BINS, "count": int(count)}
                out.append(row | {"error": error / count, "trivial": trivial / count})
        return out
