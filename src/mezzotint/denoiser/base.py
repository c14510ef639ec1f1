"""A denoiser answers one question: given x_t, t and a condition, what may the clean data be?

The answer is a distribution. Prediction types, preconditioning and encoders end inside the denoiser; guidance,
samplers, objectives and search speak to this interface and to nothing behind it. A guided, counted or stitched model
is again a denoiser.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.spec import Module
from mezzotint.processes.base import Process

Want = tuple[str, ...]


class Denoiser(Module, ABC):
    """(x_t, t, cond) -> a distribution over the clean data; finite on all of [0, 1].

    Attributes:
        process: what corrupts the data.
        shape: of one sample, without the batch.
        uses_level: False if the answer depends on x alone, so that unchanged rows may be reused.
        times: the only times it answers at (float64), or None for all.
        clean: False if it answers p(x_s | x_t) instead, s being the next of its times.
    """

    process: Process
    shape: tuple[int, ...]
    uses_level: bool = True
    times: Tensor | None = None
    clean: bool = True

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        """What the clean data may be.

        Arguments:
            x: x_t, (B, *shape).
            t: float64, (B,), or of the rank of x with ones (a time per frame, stream or entry).
            cond: the condition, (B,) rows or NONE.
            want: names of further tensors to find in the answer's ``aux``.
        """

    def __call__(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        answer: Distribution = super().__call__(x, t, cond, want)
        return answer

    def prepare(self, cond: Condition) -> Condition:
        """Run frozen encoders, once per run: adds values and replaces none."""
        return cond

    @property
    def nulls(self) -> tuple[str, ...]:
        """The condition families that may be dropped, because their null was trained."""
        return ()

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        for tensor in (*self.parameters(), *self.buffers()):
            return tensor.device
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The precision a run starts in: float64 for exact denoisers, otherwise float32."""
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.is_floating_point():
                return torch.promote_types(tensor.dtype, torch.float32)
        return torch.float32


class Trainable(Denoiser, ABC):
    """A denoiser that wraps a network and can say what the network should have said.

    Objectives compare ``want=("output",)`` with :meth:`target`, so the preconditioning is the weight of the loss.
    """

    def lower(self, dtype: torch.dtype | None) -> None:
        """Run the network in another precision from now on; None: in the one it is in. Not part of the config."""
        self.inner_dtype = dtype

    inner_dtype: torch.dtype | None = None

    @abstractmethod
    def target(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """What the network should have answered for x_t (B, *shape) corrupted from x_0 at t."""

    @abstractmethod
    def sharpness(self, t: Tensor) -> Tensor:
        """How strongly an error of the network enters the clean estimate: |d x_0 / d output| at t, float64."""

    @abstractmethod
    def trivial(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The best answer that knows only the spread of the data: what a model must beat."""
