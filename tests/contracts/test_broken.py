"""A contract that lets a broken part pass is worth nothing: each of these is broken in one way, and the way is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint import testing
from mezzotint.conditions import Classes
from mezzotint.core import NONE, Condition, Dirac, Gaussian, Rng
from mezzotint.core.spec import Module, Part
from mezzotint.denoiser import Denoiser, Preconditioned
from mezzotint.guidance import Without
from mezzotint.networks import EMPTY, Context, UNet
from mezzotint.objectives import Denoising, LogNormal
from mezzotint.operators import Mask
from mezzotint.processes import EDM, Flow
from mezzotint.samplers import Ancestral, Euler, Heun, Multistep, Sampler, State, Uniform
from mezzotint.samplers.euler import drift
from mezzotint.testing import Broken
from mezzotint.testing.truth import Slope, model

CASES: list[Any] = []
ONE = {"processes": [Flow()]}


def broken(contract: Callable[..., None], sentence: str, *made: Any, **given: Any) -> Callable[[Any], Any]:
    """Note a class that breaks a contract, a piece of what is said of it, and how it is made and checked."""

    def note(cls: Any) -> Any:
        name = f"{contract.__name__.removeprefix('check_')}-{cls.__name__}"
        CASES.append(pytest.param(contract, lambda: cls(*made), sentence, given, id=name))
        return cls

    return note


@broken(testing.check_process, "corrupt then renoise and of corrupt should agree")
class Doubled(Flow):
    def renoise(self, x: Tensor, s: Tensor, t: Tensor) -> Gaussian:
        law = super().renoise(x, s, t)
        return Gaussian(law.mean, 2 * law.variance)


@broken(testing.check_process, "of Wide.prior and of corrupt at t = 1 should agree")
class Wide(EDM):
    def prior(self, shape: tuple[int, ...]) -> Gaussian:
        law = super().prior(shape)
        return Gaussian(law.mean, 1.1 * law.variance)


@broken(testing.check_process, "then bridge(eta=0.3) and of corrupt should agree")
class Thin(Flow):
    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Any:
        law = super().bridge(x, x0, t, s, eta)
        return Gaussian(law.mean, 0.9 * law.variance) if isinstance(law, Gaussian) else law


@broken(testing.check_process, "the process's own posterior")
class Stiff(Flow):
    """Right marginals with eta = 1, but the joint law of another eta."""

    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Any:
        return super().bridge(x, x0, t, s, 0.8 * eta)


@broken(testing.check_process, "and x should be the same to the last bit")
class Loose(Flow):
    """Held entries come through 0 times the answer."""

    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Any:
        law = super().bridge(x, x0, t, s, eta)
        mean = x0.mean if not isinstance(x0, Tensor) else x0
        return replace(law, **{"mean" if isinstance(law, Gaussian) else "value": law.mean + 0 * mean})


@broken(testing.check_process, "time(level(t)) and t should agree")
class Slow(EDM):
    def time(self, u: Tensor) -> Tensor:
        return super().time(u) ** 1.01


@broken(testing.check_process, "level should rise all the way")
class Flat(Flow):
    def sigma(self, t: Tensor) -> Tensor:
        return t.clamp(max=0.9)

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t.clamp(max=0.9)


@broken(testing.check_process, "data are clean at t = 0")
class Dusty(Flow):
    def sigma(self, t: Tensor) -> Tensor:
        return 1e-3 + 0.999 * t


@broken(testing.check_process, "should be finite")
class Singular(Flow):
    def noise(self, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.scales(t, x)
        return torch.where(
            sigma > 0, (x - alpha * x0) / sigma, 0.0
        )  # the gradient of what is not taken is not a number


@broken(testing.check_process, "of a few times and of many should be the same to the last bit")
class Rounding(Flow):
    def time(self, u: Tensor) -> Tensor:
        return torch.where(u > 0, torch.sigmoid(torch.logit(u)), u)


@dataclass(frozen=True)
class Plain(Sampler):
    """Euler's rule, to be broken."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        x0 = denoiser(state.x, state.t, cond).mean
        return self.walk(denoiser.process, state, x0, s), state.memory

    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        return drift(process, state.x, x0, process.noise(state.x, x0, state.t), state.t, s)


@broken(testing.check_sampler, "with 0 steps should be refused", 6, **ONE)
@dataclass(frozen=True)
class Endless(Plain):
    def __post_init__(self) -> None: ...


@broken(testing.check_sampler, "of CoupledSteps on Flow in a batch of their own should be the same", 6, **ONE)
class CoupledSteps(Plain):
    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        return super().walk(process, state, x0 + 1e-9 * x0.mean(), s)


@broken(testing.check_sampler, "entries with t == s beside others in Careless on Flow should be the same", 6, **ONE)
class Careless(Plain):
    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        alpha, sigma = process.scales(s, state.x)
        return alpha * x0 + sigma * process.noise(state.x, x0, state.t)


@broken(testing.check_sampler, "should be finite", 6, **ONE)
class Divided(Plain):
    """The equation in sigma / alpha, which rectified flow begins at infinity."""

    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        alpha_t, sigma_t = process.scales(state.t, state.x)
        alpha_s, sigma_s = process.scales(s, state.x)
        slope = (state.x / alpha_t - x0) / (sigma_t / alpha_t)
        return torch.where(
            s == state.t, state.x.T, (alpha_s * (state.x / alpha_t + (sigma_s / alpha_s - sigma_t / alpha_t) * slope)).T
        ).T


@broken(testing.check_sampler, "should end near the exact end", 6, **ONE)
class Halfway(Plain):
    """A factor of the step is missing."""

    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        return super().walk(process, state, 0.8 * x0, s)


@broken(testing.check_sampler, "should have the model's moments", 6, **ONE)
@dataclass(frozen=True)
class Quiet(Ancestral):
    """Half the noise it should draw."""

    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Any:
        law = super().transition(denoiser, state, s, cond)
        return Gaussian(law.mean, 0.25 * law.variance)


@broken(testing.check_sampler, "should have a gradient by its start", 6, **ONE)
class Detached(Plain):
    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        with torch.no_grad():
            return super().walk(process, state, x0, s)


@broken(testing.check_sampler, "and finite differences should agree", 6, **ONE)
class HalfDetached(Plain):
    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        return super().walk(process, state, x0.detach(), s)


@broken(testing.check_sampler, "with memory () and with zeros should be the same", 6, **ONE)
class Confused(Plain):
    """It takes zeros for an answer it once had."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        x0 = denoiser(state.x, state.t, cond).mean
        lean = x0 + 0.1 * (x0 - state.memory[0]) if state.memory else x0
        return self.walk(denoiser.process, state, lean, s), (x0,)


@broken(testing.check_sampler, "change x between steps", 6, **ONE)
class Stubborn(Plain):
    """It keeps its own x in memory and goes on from there."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        if state.memory:
            used = state.memory[1].reshape(-1, *(1 for _ in state.x.shape[1:])) > 0
            state = replace(state, x=torch.where(used, state.memory[0], state.x))
        x, _ = super().move(denoiser, state, s, cond)
        return x, (x, torch.ones(len(x)))


@broken(testing.check_sampler, "a step is pure", 6, **ONE)
class Greedy(Plain):
    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        x = super().walk(process, state, x0, s)
        state.x.mul_(0.5)
        return x


@broken(testing.check_sampler, "at times in float64", 6, **ONE)
class Blurred(Plain):
    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        return super().move(denoiser, replace(state, t=state.t.float()), s, cond)


@broken(testing.check_grid, "should begin at 1 exactly", **ONE)
@dataclass(frozen=True)
class Below(Part):
    def __call__(self, process: Any, steps: int) -> Tensor:
        return 0.999 * Uniform()(process, steps)


@broken(testing.check_grid, "steps are intervals, not points", **ONE)
@dataclass(frozen=True)
class Points(Part):
    def __call__(self, process: Any, steps: int) -> Tensor:
        return Uniform()(process, max(1, steps - 1))


@broken(testing.check_grid, "stands still", **ONE)
@dataclass(frozen=True)
class Rounded(Part):
    def __call__(self, process: Any, steps: int) -> Tensor:
        return (100 * Uniform()(process, steps)).round() / 100


class Answer(Denoiser):
    """Half of x: finite, wrong, and to be broken in other ways."""

    def __init__(self) -> None:
        super().__init__()
        self.process, self.shape = Flow(), (2, 3)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Any = ()) -> Dirac:
        return Dirac(self.say(x, t.reshape(-1, 1, 1).to(x)))

    def say(self, x: Tensor, t: Tensor) -> Tensor:
        return 0.5 * x


@broken(testing.check_denoiser, "with a family it does not know should be refused")
class Deaf(Answer): ...


@broken(testing.check_denoiser, "answer at the times")
class Raw(Answer):
    def say(self, x: Tensor, t: Tensor) -> Tensor:
        return x / (1 - t)


@broken(testing.check_denoiser, "in a batch of their own should be the same")
class CoupledRows(Answer):
    def say(self, x: Tensor, t: Tensor) -> Tensor:
        return x - x.mean(0)


@broken(testing.check_denoiser, "asked twice should be the same")
class Drawing(Answer):
    def say(self, x: Tensor, t: Tensor) -> Tensor:
        return x + 1e-6 * torch.randn_like(x)


@broken(testing.check_denoiser, "should answer in it but answers in")
class Doubling(Answer):
    def say(self, x: Tensor, t: Tensor) -> Tensor:
        return 0.5 * x.double()


class Around(Without):
    """A guidance that changes nothing, to be broken."""

    def without(self, cond: Condition) -> Condition:
        return cond


@broken(testing.check_guidance, "should pass the condition on")
class Unprepared(Around):
    def prepare(self, cond: Condition) -> Condition:
        return cond


@broken(testing.check_guidance, "should ask what it guides for it")
class Unwanted(Around):
    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Any = ()) -> Any:
        return super().forward(x, t, cond)


@broken(testing.check_guidance, "in a batch of their own should be the same")
class CoupledScale(Around):
    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Any = ()) -> Any:
        answer = super().forward(x, t, cond, want)
        return replace(answer, value=answer.mean / answer.mean.norm())


@broken(testing.check_guidance, "raised RuntimeError")
class NeedsGradients(Around):
    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Any = ()) -> Any:
        x = x.detach().requires_grad_()
        answer = super().forward(x, t, cond, want)
        (slope,) = torch.autograd.grad(answer.mean.sum(), x)
        return replace(answer, value=answer.mean + slope)


@broken(testing.check_guidance, "should leave no gradient in the weights", denoiser=model(EDM()))
class Accumulating(Around):
    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Any = ()) -> Any:
        answer = super().forward(x, t, cond, want)
        if answer.mean.requires_grad:
            answer.mean.sum().backward(retain_graph=True)
        return answer


@broken(testing.check_guidance, "should have the process of what it guides")
class Elsewhere(Around):
    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser)
        self.process = Flow()


@broken(testing.check_objective, "one loss per sample")
class Mean(Denoising):
    def forward(self, *given: Any, **more: Any) -> Any:
        loss = super().forward(*given, **more)
        return replace(loss, value=loss.value.mean())


@broken(testing.check_objective, "draws from torch's own generator")
class Wild(Denoising):
    def forward(self, model: Any, x: Tensor, *given: Any, **more: Any) -> Any:
        return super().forward(model, x + 0.01 * torch.randn_like(x), *given, **more)


@broken(testing.check_objective, "under another key")
class Frozen(Denoising):
    def forward(self, model: Any, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Any:
        return super().forward(model, x, cond, Rng(range(len(rng))), player)


@broken(testing.check_objective, "never reaches network")
class Silent(Denoising):
    def forward(self, *given: Any, **more: Any) -> Any:
        loss = super().forward(*given, **more)
        return replace(loss, value=loss.shot.x_t.flatten(1).mean(1) * loss.value.detach())


@broken(testing.check_objective, "should not depend on the others")
class Whitened(Denoising):
    def forward(self, model: Any, x: Tensor, *given: Any, **more: Any) -> Any:
        return super().forward(model, x - 1e-7 * x.mean(0), *given, **more)


@broken(testing.check_objective, "should be lower at the exact answer")
class Shifted(Denoising):
    """The least of it is not at the truth."""

    def forward(self, model: Any, *given: Any, **more: Any) -> Any:
        loss = super().forward(model, *given, **more)
        return replace(loss, value=loss.value - 4 * loss.shot.answer.mean.flatten(1).mean(1))


@broken(testing.check_objective, "made again with its state")
class Forgetful(Denoising):
    seen: float = 0.0

    def forward(self, *given: Any, **more: Any) -> Any:
        loss = super().forward(*given, **more)
        return replace(loss, value=loss.value * (1 + self.seen))

    def update(self, model: Any, loss: Any) -> None:
        self.seen += 1


@broken(testing.check_objective, "at level 1e-05 should be finite")
class Steep(Denoising):
    def forward(self, *given: Any, **more: Any) -> Any:
        loss = super().forward(*given, **more)
        return replace(loss, value=loss.value / (loss.shot.t > 1e-4).to(loss.value))


@broken(testing.check_levels, "should lie in [0, 1]", **ONE)
class Beyond(LogNormal):
    def forward(self, *given: Any) -> Any:
        t, weight = super().forward(*given)
        return t + 0.6, weight


@broken(testing.check_levels, "made again with its state", **ONE)
class Amnesiac(LogNormal):
    heard = 0

    def forward(self, *given: Any) -> Any:
        t, weight = super().forward(*given)
        return t / (1 + self.heard), weight

    def update(self, t: Tensor, value: Tensor) -> None:
        self.heard += 1


class Small(UNet):
    """A U-Net to be broken."""

    def __init__(self) -> None:
        super().__init__((2, 4, 4), width=8, multipliers=(1,), attention=(), vector=4, groups=4)


@broken(testing.check_network, "should reach every weight but never reaches spare")
class Dead(Small):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


@broken(testing.check_network, "depend on the noise level but does not")
class Levelless(Small):
    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Any:
        return super().forward(x, torch.zeros_like(noise), context, want)


@broken(testing.check_network, "fills 'tokens'")
class Ignoring(Small):
    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Any:
        return super().forward(x, noise, Context(vector=context.vector, maps=context.maps), want)


@broken(testing.check_network, "in a batch of their own should agree")
class Normalised(Small):
    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Any:
        return super().forward(x - x.mean(0), noise, context, want)


@broken(testing.check_condition_part, "should be one for all but depends on their values", 3)
class Leaking(Classes):
    def forward(self, values: Any, keep: Tensor) -> Context:
        told = super().forward(values, keep)
        return Context(vector=told.vector + sum(0.01 * v[:, None] for v in values.values()))


@broken(testing.check_condition_part, "call self.saw(keep, told)", 3)
class Unseen(Classes):
    def saw(self, keep: Tensor, told: Tensor) -> None: ...


@broken(testing.check_condition_part, "only a gradient trains it", 3)
class Boasting(Classes):
    def saw(self, keep: Tensor, told: Tensor) -> None:
        if told.requires_grad:
            self._mark(keep)


@broken(testing.check_reward, "in a batch of their own should agree")
class Ranked(Slope):
    def forward(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
        value = super().forward(x, cond, t)
        return value - value.mean()


@broken(testing.check_reward, "should not be infinite")
class Certain(Slope):
    def forward(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
        return super().forward(x, cond, t).log().nan_to_num(-torch.inf)


@broken(testing.check_operator, "A^T y")
class Lopsided(Mask):
    def adjoint(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        return 2 * self.forward(y, cond)


@broken(testing.check_operator, "A A+ A x and A x")
class Overshooting(Mask):
    def pinv(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        return 1.1 * self.forward(y, cond)


@broken(testing.check_spec, "leads to", 0.5)
class Hidden(Slope):
    """Its name is not found: this file is no installed package."""


@broken(testing.check_sampler, "written wrongly", 6, **ONE)
@dataclass(frozen=True)
class Rounds(Plain):
    """An argument is changed on the way in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", self.steps + 1)


@pytest.mark.parametrize(("contract", "make", "sentence", "given"), CASES)
def test_it_is_caught(contract: Any, make: Any, sentence: str, given: dict[str, Any]) -> None:
    part = make if contract is testing.check_guidance else make()
    if contract is testing.check_guidance:
        part = lambda denoiser: make.__closure__[0].cell_contents(denoiser)  # noqa: E731
    with pytest.raises(Broken) as caught:
        contract(part, **given)
    assert sentence in str(caught.value), caught.value


def test_what_they_were_made_from_is_whole() -> None:
    testing.check_sampler(Plain(6), **ONE)
    testing.check_guidance(Around)
    testing.check_network(Small())
    testing.check_sampler(Multistep(6, order=3), **ONE)
    testing.check_sampler(Heun(6), [EDM()])
    testing.check_sampler(Euler(6), **ONE)
    testing.check_guidance(lambda d: Around(d), denoiser=model(EDM()))
    assert isinstance(model(EDM()), Preconditioned) and issubclass(Dead, Module)


def test_the_sentence_says_what_why_and_is_an_assertion() -> None:
    with pytest.raises(
        AssertionError, match="should be refused with core.errors.Refusal but was accepted; a run has at"
    ):
        testing.check_sampler(Endless(6))
