"""A contract that lets a broken part pass is worth nothing: each model and loss here is broken in one way, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from broken_parts import ONE, caught, noting
from torch import Tensor, nn

from mezzotint import testing
from mezzotint.conditions import Classes
from mezzotint.core import NONE, Condition, Dirac, Rng
from mezzotint.denoiser import Denoiser
from mezzotint.guidance import Without
from mezzotint.networks import EMPTY, Causal, Context, Output, TokenTransformer, UNet
from mezzotint.objectives import Denoising, LogNormal
from mezzotint.operators import Mask
from mezzotint.processes import EDM, Flow
from mezzotint.testing.truth import Slope, model

CASES: list[Any] = []
broken = noting(CASES)


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
        loss = super().forward(model, x, *given, **more)
        return replace(loss, value=loss.value + 1e-7 * x.mean())


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

    def __init__(self, shape: tuple[int, ...] = (2, 4, 4), vector: int = 4) -> None:
        super().__init__(shape, width=8, multipliers=(1,), attention=(), vector=vector)


@broken(testing.check_network, "should reach every weight but never reaches spare")
class Dead(Small):
    def __init__(self, shape: tuple[int, ...] = (2, 4, 4), vector: int = 4) -> None:
        super().__init__(shape, vector)
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


class Reading(UNet):
    """A U-Net told tokens, to be broken."""

    def __init__(self, shape: tuple[int, ...] = (2, 4, 4), tokens: int = 3) -> None:
        super().__init__(shape, width=8, multipliers=(1,), attention=(), vector=None, tokens=tokens)

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Any:
        if context.tokens is not None:
            context = replace(context, **self.heard(context.tokens, context.mask))
        return super().forward(x, noise, context, want)

    def heard(self, tokens: Tensor, mask: Any) -> dict[str, Any]:
        return {}


@broken(testing.check_network, "with other numbers under the mask should agree")
class Maskless(Reading):
    def heard(self, tokens: Tensor, mask: Any) -> dict[str, Any]:
        return {"mask": None}


@broken(testing.check_network, "told its tokens in another order should agree")
class Ordered(Reading):
    def heard(self, tokens: Tensor, mask: Any) -> dict[str, Any]:
        return {"tokens": tokens + torch.arange(tokens.shape[1])[:, None]}


@broken(testing.check_network, "with more padding should agree")
class Diluted(Reading):
    def heard(self, tokens: Tensor, mask: Any) -> dict[str, Any]:
        return {"tokens": tokens / tokens.shape[1]}


@broken(testing.check_network, "without tokens and with all of them masked out should agree")
class Inventing(Reading):
    def heard(self, tokens: Tensor, mask: Any) -> dict[str, Any]:
        return {"tokens": torch.cat((tokens, 0 * tokens[:, :1]), 1), "mask": torch.cat((mask, mask[:, :1] | True), 1)}


@broken(testing.check_network, "the answer of Softmax should be finite")
class Softmax(Reading):
    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Any:
        shares = torch.zeros(len(x), 1) if context.mask is None else context.mask.float().log().softmax(1)
        return super().forward(x + 0 * shares.sum(), noise, context, want)


def said_otherwise(said: Any, how: Callable[[Tensor], Tensor]) -> Any:
    """The answer of a network, with features or without, changed."""
    return Output(how(said.sample), said.aux) if isinstance(said, Output) else how(said)


class Symbols(TokenTransformer):
    """A network of symbols, to be broken."""

    def __init__(self, shape: tuple[int, ...] = (2, 3), level: bool = False) -> None:
        super().__init__(5, 4, shape, 8, 1, 2, level=level, rotary=None)


@broken(testing.check_network, "at another noise level should be the same")
class Overhearing(Symbols):
    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Any:
        return said_otherwise(super().forward(x, noise, context, want), lambda y: y * noise.reshape(-1, 1, 1, 1))


@broken(testing.check_network, "the symbol -1 for Wrapping should be refused")
class Wrapping(Symbols):
    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Any:
        return super().forward(x % 5 if x.dtype == torch.int64 else x, noise, context, want)


@broken(testing.check_network, "should be a tensor of shape")
class Masking(Symbols):
    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Any:
        return said_otherwise(super().forward(x, noise, context, want), lambda y: F.pad(y, (0, 1)))


class Writer(Causal):
    """A network that decodes, to be broken."""

    def __init__(self, shape: tuple[int, ...] = (2, 3)) -> None:
        super().__init__(4, shape, 8, 1, 2, rotary=None)


@broken(testing.check_network, "before entry 0 with others from there on should agree")
class Peeping(Writer):
    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Any:
        ahead = (x.flip(1)[..., None] == torch.arange(4)).float()
        return said_otherwise(super().forward(x, noise, context, want), lambda y: y + ahead)


@broken(testing.check_network, "entry 1 of Confused decoded and among all should agree")
class Confused(Writer):
    def decode(self, last: Tensor | None, cache: Any) -> tuple[Tensor, Any]:
        return super().decode(None if last is None else torch.zeros_like(last), cache)


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


@broken(testing.check_spec, "declares the entry point group", 0.5)
class Hidden(Slope):
    """Its name is not found: this file is no installed package."""


@pytest.mark.parametrize(("contract", "make", "sentence", "given"), CASES)
def test_it_is_caught(contract: Any, make: Any, sentence: str, given: dict[str, Any]) -> None:
    caught(contract, make, sentence, given)


def test_what_they_were_made_from_is_whole() -> None:
    testing.check_guidance(Around)
    testing.check_guidance(Around, denoiser=model(EDM()))
    testing.check_network(Small())
    testing.check_network(Reading())
    testing.check_network(Symbols())
    testing.check_network(Writer())
