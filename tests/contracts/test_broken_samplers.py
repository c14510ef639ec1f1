"""A contract that lets a broken part pass is worth nothing: each law and rule here is broken in one way, and named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from broken_parts import ONE, caught, noting
from torch import Tensor

from mezzotint import testing
from mezzotint.core import Condition, Gaussian, Rng
from mezzotint.core.distribution import expand
from mezzotint.core.spec import Part
from mezzotint.data import Digits
from mezzotint.data.data import Rows
from mezzotint.denoiser import Denoiser
from mezzotint.processes import EDM, Flow
from mezzotint.samplers import Ancestral, Heun, Multistep, Sampler, State, Uniform
from mezzotint.samplers.euler import drift

CASES: list[Any] = []
broken = noting(CASES)


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
        return Gaussian(law.mean, 0.9 * law.variance) if isinstance(x0, Tensor) and eta else law


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
        moved = alpha_s * (state.x / alpha_t + (sigma_s / alpha_s - sigma_t / alpha_t) * slope)
        return torch.where(expand(s == state.t, moved), state.x, moved)


@broken(testing.check_sampler, "should end near the exact end", 6, **ONE)
class Halfway(Plain):
    """It aims beside the estimate."""

    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        return super().walk(process, state, x0 + 0.4, s)


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


@broken(testing.check_sampler, "at its own times, step 2 should be the same", 6, **ONE)
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


@broken(testing.check_sampler, "to the last bit", 6, **ONE)
class Greedy(Plain):
    def walk(self, process: Any, state: State, x0: Tensor, s: Tensor) -> Tensor:
        x = super().walk(process, state, x0, s)
        state.x.mul_(0.5)
        return x


@broken(testing.check_sampler, "at times in float64", 6, **ONE)
class Blurred(Plain):
    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        return super().move(denoiser, replace(state, t=state.t.float()), s, cond)


@broken(testing.check_sampler, "written wrongly", 6, **ONE)
@dataclass(frozen=True)
class Rounds(Plain):
    """An argument is changed on the way in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", self.steps + 1)


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


@broken(testing.check_pipeline, "in a batch of their own should be the same")
@dataclass(frozen=True)
class Crowded(Part):
    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        x = rng.normal("x", (3,))
        return x - x.mean(0)


@broken(testing.check_pipeline, "all that is random is in the keys")
@dataclass(frozen=True)
class Casual(Part):
    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        return torch.randn(len(rng), 3)


@broken(testing.check_data, "should lie in [-1, 1]")
class Bright(Digits):
    def read(self, rows: Rows) -> Tensor:
        return 2 * super().read(rows)


@broken(testing.check_data, "pictures together but hold")
class Everything(Digits):
    """It is judged by what it learns from."""

    def held_out(self) -> Digits:
        return self.sibling("train")


@pytest.mark.parametrize(("contract", "make", "sentence", "given"), CASES)
def test_it_is_caught(contract: Any, make: Any, sentence: str, given: dict[str, Any]) -> None:
    caught(contract, make, sentence, given)


def test_what_they_were_made_from_is_whole() -> None:
    testing.check_sampler(Plain(6), **ONE)
    testing.check_sampler(Multistep(6, order=3), **ONE)
    testing.check_sampler(Heun(6), [EDM()])


def test_the_sentence_says_what_was_found_and_why() -> None:
    said = "should be refused with core.errors.Refusal but was accepted; a run has at least one interval"
    with pytest.raises(AssertionError, match=said):
        testing.check_sampler(Endless(6))
