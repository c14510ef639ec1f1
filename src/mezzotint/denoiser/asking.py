"""A model that is asked for more than its asker asks.

A further term of a loss reads features or side outputs from the same answer as the loss it wraps, but the wrapped loss
names only what it needs itself. So the term hands it this instead of the model: every question goes on with the further
names in ``want``, and what comes back lies in ``aux`` of the shot's answer. To an objective it is the model itself,
whose network should have said the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Trainable, Want, Wrapper


class Asking(Wrapper, Trainable):
    """Adds names to ``want``.

    Arguments:
        denoiser: the model; if it cannot be trained, neither can this.
        want: the further names.
    """

    def __init__(self, denoiser: Denoiser, want: Want = ()) -> None:
        super().__init__(denoiser)
        if isinstance(want, str):
            raise Refusal(f"want is a tuple of names, ({want!r},), not a string")
        self.want = tuple(want)
        if isinstance(denoiser, Trainable):
            self.sigma_data = denoiser.sigma_data

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        return self.denoiser(x, t, cond, tuple(dict.fromkeys((*want, *self.want))))

    def _inner(self) -> Trainable:
        if not isinstance(self.denoiser, Trainable):
            raise Refusal(f"a {type(self.denoiser).__name__} has no network to train; wrap one in Preconditioned")
        return self.denoiser

    def lower(self, dtype: torch.dtype | None) -> None:
        self._inner().lower(dtype)

    def target(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return self._inner().target(x0, x_t, t)

    def sharpness(self, t: Tensor) -> Tensor:
        return self._inner().sharpness(t)

    def trivial(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self._inner().trivial(x_t, t)
