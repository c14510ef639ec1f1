"""A network whose answer is a gradient: forces that come from one energy.

A score is the gradient of a log density, so its line integral around any loop is zero; what a network says in its place
has no reason to be. Here the body b is asked for a vector as usual, but only the number

    phi(x) = <x, b(x, noise, context)> + 1/2 |b(x, noise, context)|^2

is made of it, and the answer is the slope of that number,

    F(x) = grad_x phi = b + J^T (x + b),   J = db/dx.

phi is 1/2 |x + b|^2 less 1/2 |x|^2, the first of them half the squared length of a residual network's answer; any
potential that falls no faster than -|x|^2 / 2 can be written so, up to a constant that no gradient sees. A body that
answers zero when fresh gives a field that is zero when fresh, and learns from its first step. In a ``Preconditioned``
denoiser the clean estimate is linear in x and F, so the whole score is then a gradient: D is that of
skip |x|^2 / 2 + (out / in) phi(in x).

An evaluation costs a pass forwards and one back; training differentiates twice, so layers have to be smooth (SiLU and
GELU are, the field of a ReLU network jumps) and attention is computed unfused.

Sources: Salimans and Ho 2021, "Should EBMs model the energy or the score?" (ICLR workshop on energy based models) for
the squared residual; Karras et al. 2024 (2406.02507, appendix), whose model of points in the plane is of this type.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.mlp import MLP


class Potential(Module):
    """The gradient by x of phi = <x, b> + |b|^2 / 2, b what ``body`` says.

    Gradients reach the body's weights wherever they are switched on; under ``no_grad`` the answer is the same without
    them. ``want`` knows what the body knows.

    Arguments:
        body: ``forward(x, noise, context, want=())`` with an attribute ``shape``, which answers in the shape of x.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        shape = getattr(body, "shape", None)
        if shape is None:
            raise Refusal(f"Potential needs a network with an attribute shape, not a {type(body).__name__}")
        self.body = body
        self.shape: tuple[int, ...] = tuple(shape)

    @classmethod
    def example(cls) -> Potential:
        """A small one, for contracts."""
        return cls(MLP((6,), width=16, depth=2, vector=16))

    @property
    def wants(self) -> tuple[str, ...]:
        """The names ``want`` knows."""
        return tuple(getattr(self.body, "wants", ()))

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Tensor | Output:
        """The field (B, *shape) at x (B, *shape); arguments as the body's.

        Raises:
            Refusal: if the body answers in another shape than x, or refuses.
        """
        beyond = torch.is_grad_enabled()
        # Fused attention has no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            # A view of its own: what else was made from x (a context, say) is not a way from phi to x.
            at = (x if x.requires_grad else x.detach().requires_grad_()).view_as(x)
            said = self.body(at, noise, context, want)
            b, aux = (said.sample, dict(said.aux)) if isinstance(said, Output) else (said, {})
            if b.shape != x.shape:
                shapes = f"{tuple(x.shape)}, not {tuple(b.shape)}"
                raise Refusal(f"the body of a Potential answers in the shape of x {shapes}")
            wide = torch.promote_types(b.dtype, torch.float32)  # a sum over all entries, also where the body is in bf16
            phi = (b.to(wide) * (at.to(wide) + 0.5 * b.to(wide))).sum()
            (field,) = torch.autograd.grad(phi, at, create_graph=beyond)
        if not beyond:
            aux = {name: value.detach() for name, value in aux.items()}
        return Output(field, aux) if want else field
