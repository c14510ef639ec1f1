"""A field with an energy: what autograd and finite differences say of it, with and without gradients switched on."""

import math

import pytest
import torch
from lively import alive
from torch import Tensor, nn

from mezzotint.core import Refusal, Rng
from mezzotint.core.spec import build, spec
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import EMPTY, MLP, Context, Output, Potential, UNet, cost
from mezzotint.processes import EDM

NOISE = torch.tensor([-1.0, 0.2, 0.9])


class Linear(nn.Module):
    """b = A x + c, for which every formula can be done by hand."""

    def __init__(self, matrix: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.shape = (len(offset),)
        self.matrix, self.offset = nn.Parameter(matrix), nn.Parameter(offset)

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: tuple[str, ...] = ()) -> Tensor:
        return x @ self.matrix.T + self.offset


def nets() -> list[Potential]:
    made = [
        Potential(MLP((3,), width=16, depth=2, vector=4)),
        Potential(UNet((2, 4, 6), width=8, multipliers=(1, 1), vector=4, head=4)),
    ]
    for net in made:
        alive(net)
    return made


def points(net: Potential, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Context]:
    rng = Rng(range(3))
    return rng.normal("x", net.shape).to(dtype), Context(vector=rng.normal("v", (4,)).to(dtype))


def test_a_linear_body_by_hand() -> None:
    """phi = <x, Ax + c> + |Ax + c|^2 / 2, so F = (A + A^T + A^T A) x + (1 + A^T) c."""
    rng = Rng([0])
    a, c = rng.normal("a", (4, 4))[0].double(), rng.normal("c", (4,))[0].double()
    x = rng.normal("x", (3, 4))[0].double()
    due = x @ (a + a.T + a.T @ a) + c + c @ a
    assert torch.allclose(Potential(Linear(a, c))(x, NOISE), due, atol=1e-12)


@pytest.mark.parametrize("net", nets(), ids=["MLP", "UNet"])
def test_the_curl_is_zero(net: Potential) -> None:
    """The Jacobian of the answer is symmetric, as that of a gradient and of nothing else; the body's own is not."""
    net = net.double()
    x, context = points(net, torch.float64)
    one = Context(vector=context.vector[:1])
    size = math.prod(net.shape)

    def field(module: nn.Module, flat: Tensor) -> Tensor:
        return module(flat.reshape(1, *net.shape), NOISE[:1], one).flatten()

    slopes = torch.autograd.functional.jacobian
    own, body = (slopes(lambda f, m=m: field(m, f), x[0].flatten()) for m in (net, net.body))
    assert own.shape == (size, size) and float(own.abs().max()) > 1e-2
    assert float((own - own.T).abs().max()) < 1e-12
    assert float((body - body.T).abs().max()) > 1e-3
    net.float()


def test_the_line_integral_is_the_difference_of_energies() -> None:
    """Along a bent way, by Simpson's rule."""
    net = nets()[0].double()
    steps = 401
    s = torch.linspace(0, 1, steps, dtype=torch.float64)
    way = torch.stack([torch.cos(4 * s), s**2, torch.sin(3 * s)], 1)
    speed = torch.stack([-4 * torch.sin(4 * s), 2 * s, 3 * torch.cos(3 * s)], 1)
    noise, context = torch.full((steps,), 0.3), Context(vector=torch.ones(steps, 4, dtype=torch.float64))
    along = (net(way, noise, context) * speed).sum(1)
    weight = torch.ones(steps, dtype=torch.float64)
    weight[1:-1:2], weight[2:-1:2] = 4, 2
    b = net.body(way, noise, context)
    phi = (way * b).sum(1) + 0.5 * (b * b).sum(1)
    rise = float((phi[-1] - phi[0]).detach())
    assert float((along.detach() * weight).sum() / 3 / (steps - 1)) == pytest.approx(rise, abs=1e-8)


@pytest.mark.parametrize("net", nets(), ids=["MLP", "UNet"])
def test_the_same_with_and_without_gradients(net: Potential) -> None:
    x, context = points(net)
    with torch.no_grad():
        quiet = net(x, NOISE, context)
        assert not quiet.requires_grad
        wanted = net(x, NOISE, context, net.wants[:1])
        assert isinstance(wanted, Output) and not wanted.aux[net.wants[0]].requires_grad
    loud = net(x, NOISE, context)
    assert loud.requires_grad and x.grad is None and not x.requires_grad
    assert torch.allclose(loud.detach(), quiet, rtol=1e-5, atol=1e-6)
    loud.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_second_derivatives_reach_weights_and_input() -> None:
    net = nets()[0].double()
    x, context = points(net, torch.float64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda at: net(at, NOISE, context), (x,), atol=1e-6)
    weight = net.body.blocks[0].mlp.first.weight
    (slope,) = torch.autograd.grad(net(x, NOISE, context).square().sum(), weight)
    with torch.no_grad():
        step = 1e-6 * Rng([1]).normal("step", tuple(weight.shape))[0].double()
        values = []
        for sign in (1, -1):
            weight += sign * step
            values.append(float(net(x, NOISE, context).square().sum()))
            weight -= sign * step
    assert (values[0] - values[1]) / 2 == pytest.approx(float((slope * step).sum()), rel=1e-6)


def test_what_else_was_made_from_x_is_no_way_to_it() -> None:
    """A context that depends on x is told, not differentiated: F is the slope by the first argument alone."""
    net = nets()[0]
    x, _ = points(net)
    leaf = x.clone().requires_grad_()
    tied = net(leaf, NOISE, Context(vector=torch.cat([leaf, leaf[:, :1]], 1)))
    apart = net(x, NOISE, Context(vector=torch.cat([x, x[:, :1]], 1)))
    assert torch.allclose(tied.detach(), apart.detach(), atol=1e-6)


def test_a_fresh_one_is_silent_and_learns_at_once() -> None:
    net = Potential(MLP((2,), width=8, depth=2, vector=None))
    x = torch.randn(3, 2)
    out = net(x, NOISE)
    assert not out.detach().any()
    (out - 1).square().sum().backward()
    assert float(net.body.final.leave.weight.grad.abs().sum()) > 0


def test_in_a_denoiser_the_score_has_no_curl() -> None:
    """D is linear in x and F, so all of it is a gradient."""
    net = alive(Potential(MLP((3,), width=16, depth=2, vector=None))).double()
    model = Preconditioned(net, EDM(sigma_max=5.0), sigma_data=0.5)
    x = 0.4 * Rng([3]).normal("x", (3,)).double()
    t = torch.tensor([0.07], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda f: model(f[None], t).mean[0], x[0])
    assert float((jacobian - jacobian.T).abs().max()) < 1e-12
    assert float((jacobian - jacobian.diagonal().diag()).abs().max()) > 1e-6


def test_cost_spec_and_refusals() -> None:
    net = nets()[0]
    again = build(spec(net))
    assert spec(again) == spec(net) and again.shape == (3,)
    context = Context(vector=torch.zeros(1, 4))
    assert cost(net, context=context).macs > 1.3 * cost(net.body, context=context).macs  # e needs no way back to x
    with pytest.raises(Refusal, match="answers in the shape of x"):
        Potential(MLP((3,), width=8, depth=1, vector=None, outputs=6))(torch.zeros(3, 3), NOISE)
    with pytest.raises(Refusal, match="attribute shape"):
        Potential(nn.Linear(2, 2))
