"""A denoiser answers one question: given x_t, t and a condition, what may the clean data be?

The answer is a distribution. Prediction types, preconditioning and encoders end inside the denoiser; guidance,
samplers, objectives and search speak to this interface and to nothing behind it. A guided, counted or stitched model
is again a denoiser.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import chain

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.learner import Learner
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
        takes: condition families that it takes out for itself and does not pass on to what it holds, such as the
            scale of a guidance; a model beside it is not given them either.
    """

    process: Process
    shape: tuple[int, ...]
    uses_level: bool = True
    times: Tensor | None = None
    clean: bool = True
    takes: tuple[str, ...] = ()

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

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        """Multiply-accumulates of one evaluation for one sample, or None where that is not known.

        Arguments:
            shape: of the sample.
            cond: one row of what it is told, prepared; only shapes matter.
        """
        return None

    @property
    def nulls(self) -> tuple[str, ...]:
        """The condition families that may be dropped, because their null was trained."""
        return ()

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        for tensor in chain(self.parameters(), self.buffers()):
            return tensor.device
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The precision a run starts in: float64 for exact denoisers, otherwise float32."""
        for tensor in chain(self.parameters(), self.buffers()):
            if tensor.is_floating_point():
                return torch.promote_types(tensor.dtype, torch.float32)
        return torch.float32


def taken(*denoisers: Denoiser) -> frozenset[str]:
    """The condition families that these denoisers, or any inside them, take out for themselves."""
    return frozenset(n for d in denoisers for inner in d.modules() for n in getattr(inner, "takes", ()))


class Wrapper(Denoiser, ABC):
    """A denoiser around another one: everything is passed on, and what derives from it says what it does otherwise.

    Arguments:
        denoiser: what it asks.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.process, self.shape = denoiser.process, denoiser.shape
        self.uses_level, self.times, self.clean = denoiser.uses_level, denoiser.times, denoiser.clean

    @property
    def nulls(self) -> tuple[str, ...]:
        return self.denoiser.nulls

    @property
    def device(self) -> torch.device:
        return self.denoiser.device

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    def prepare(self, cond: Condition) -> Condition:
        return self.denoiser.prepare(cond)

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        return self.denoiser.cost(shape, cond)


class Trainable(Denoiser, Learner, ABC):
    """A denoiser that wraps a network and can say what the network should have said.

    Objectives compare ``want=("output",)`` with :meth:`target`, so the preconditioning is the weight of the loss.

    Attributes:
        sigma_data: the standard deviation of the data it was made for.
    """

    sigma_data: float = 1.0

    @abstractmethod
    def target(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """What the network should have answered for x_t (B, *shape) corrupted from x_0 at t."""

    @abstractmethod
    def sharpness(self, t: Tensor) -> Tensor:
        """How strongly an error of the network enters the clean estimate: |d x_0 / d output| at t, float64."""

    @abstractmethod
    def trivial(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The best answer that knows only the spread of the data: what a model must beat."""
