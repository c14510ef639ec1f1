"""An operator is a known linear measurement: what was seen of a picture, y = A x.

Missing pixels, a low resolution and a grey copy are all one thing, a linear map A that keeps some of the picture and
loses the rest. Three maps say everything a guidance needs: A itself, its adjoint A^T (gradients of a misfit), and its
pseudo-inverse A+, the smallest picture that looks like y. A+ A takes the part of a picture that was seen, I - A+ A the
part that was not. They satisfy

    <A x, y> = <x, A^T y>,     A A+ A = A,     A+ A A+ = A+,     A A+ and A+ A symmetric  (Penrose 1955).

Operators hold no tensors: what differs from sample to sample (which pixels are missing) travels in the condition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.spec import Part


class Operator(Part, ABC):
    """A linear map of samples, row by row, differentiable; a frozen dataclass of plain settings."""

    @abstractmethod
    def forward(self, x: Tensor, cond: Condition = NONE) -> Tensor:
        """A x: what is seen of pictures (B, *shape), as (B, *seen)."""

    @abstractmethod
    def adjoint(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        """A^T y, (B, *shape)."""

    @abstractmethod
    def pinv(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        """A+ y, the smallest picture (B, *shape) that is seen as y, or comes nearest to it."""
