"""The contract of an operator: a linear map, its adjoint and its pseudo-inverse, that are those of one another.

Projections put A+ y where the model's own was, gradients of a misfit come back by A^T; both are wrong in ways that no
picture shows if the three maps are not of one A. So they are held to their definitions (Moore 1920, Penrose 1955):

    <A x, y> = <x, A^T y>,    A A+ A = A,    A+ A A+ = A+,    A A+ and A+ A symmetric.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.operators.base import Operator
from mezzotint.testing.expect import Broken, close, expect, same, works
from mezzotint.testing.spec import check_made

_COUNT = 4
_SHAPES = ((3, 4, 6), (1, 4, 6), (2, 12), (8,))
_NEAR = 1e-9


def check_operator(operator: Operator, shape: tuple[int, ...] | None = None, cond: Condition | None = None) -> None:
    """Check that an operator keeps the promises projections and rewards rely on.

    Arguments:
        operator: an instance.
        shape: of one sample; None: the first of some that it does not refuse.
        cond: what it reads, four rows; None: a mask.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(operator).__name__
    expect(
        isinstance(operator, Operator), f"{who} should derive from operators.Operator; guidances call its three maps"
    )
    check_made(operator)
    x, told = _fitting(operator, who) if shape is None else (_noise("x", shape), cond or observed(_COUNT, shape))
    told = told if cond is None else cond
    with works(f"measuring with {who}", "guidances measure every estimate"):
        _is_linear(operator, x, told, who)
        _is_its_own(operator, x, told, who)


def observed(count: int, shape: tuple[int, ...]) -> Condition:
    """What operators may read: a mask of each sample, the same in every channel."""
    mask = Rng(range(count)).uniform("seen", (1, *shape[1:])) < 0.5
    return Condition(**{"observed.mask": mask})


def _noise(name: str, shape: tuple[int, ...]) -> Tensor:
    return Rng(range(_COUNT)).normal(name, shape).double()


def _fitting(operator: Operator, who: str) -> tuple[Tensor, Condition]:
    reasons = []
    for shape in _SHAPES:
        x, told = _noise("x", shape), observed(_COUNT, shape)
        try:
            operator.forward(x, told)
        except Refusal as error:
            reasons.append(str(error))
        else:
            return x, told
    raise Broken(f"{who} should take samples of {_SHAPES} but refuses all ({reasons[-1]}); give check_operator a shape")


def _is_linear(operator: Operator, x: Tensor, cond: Condition, who: str) -> None:
    shape = tuple(x.shape[1:])

    def see(x: Tensor) -> Tensor:
        return operator.forward(x, cond)

    def back(y: Tensor) -> Tensor:
        return operator.pinv(y, cond)

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1)

    seen, other = see(x), _noise("other", shape)
    y, z = _noise("y", tuple(seen.shape[1:])), _noise("z", tuple(seen.shape[1:]))
    expect(len(seen) == len(x), f"what {who} sees should have a row per sample but is {tuple(seen.shape)}")
    close(
        f"{who} of 2 x - 3 x' and 2 A x - 3 A x'",
        see(2 * x - 3 * other),
        2 * seen - 3 * see(other),
        _NEAR,
        "it is linear",
    )
    turned = operator.adjoint(y, cond)
    why = "gradients of a misfit come back by the adjoint"
    close(f"<A x, y> and <x, A^T y> of {who}", dot(seen, y), dot(x, turned), _NEAR, why)
    at = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(dot(see(at), y).sum(), at)
    close(f"the gradient of <A x, y> by x and A^T y of {who}", gradient, turned, _NEAR, why)
    why = "projections keep what was not seen and replace what was"
    close(f"A A+ A x and A x of {who}", see(back(seen)), seen, _NEAR, why)
    close(f"A+ A A+ y and A+ y of {who}", back(see(back(y))), back(y), _NEAR, why)
    close(f"<A A+ y, z> and <y, A A+ z> of {who}", dot(see(back(y)), z), dot(y, see(back(z))), _NEAR, why)
    close(f"<A+ A x, x'> and <x, A+ A x'> of {who}", dot(back(seen), other), dot(x, back(see(other))), _NEAR, why)


def _is_its_own(operator: Operator, x: Tensor, cond: Condition, who: str) -> None:
    seen = operator.forward(x, cond)
    for rows in ([2], [3, 0]):
        same(
            f"rows {rows} of {who} alone",
            operator.forward(x[rows], cond[rows]),
            seen[rows],
            "a sample is measured by itself",
        )
        again = operator.pinv(seen, cond)[rows]
        same(
            f"rows {rows} of A+ of {who} alone",
            operator.pinv(seen[rows], cond[rows]),
            again,
            "a sample is measured by itself",
        )
    low = operator.forward(x.float(), cond)
    expect(
        low.dtype == torch.float32,
        f"{who} of float32 should be float32 but is {low.dtype}; samples keep their precision",
    )
    close(f"{who} in float32 and in float64", low.double(), seen, 1e-5, "samples come in either")
