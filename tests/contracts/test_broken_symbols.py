"""A contract that lets a broken part pass is worth nothing: processes and denoisers of symbols, each broken by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from broken_parts import caught, noting
from torch import Tensor

from mezzotint import testing
from mezzotint.core import NONE, Categorical, Condition, Dirac
from mezzotint.denoiser import Denoiser, Enumerated
from mezzotint.processes import Absorbing, Alive, Blockwise, Geometric, Knots, Linear, Multinomial, Sine, perceptual

CASES: list[Any] = []
broken = noting(CASES)


@broken(testing.check_process, "the mean of bridges over it", 3)
@dataclass(frozen=True)
class Kernel(Multinomial):
    """The kernel printed in D3PM, eq. 4: one sum over both factors of a posterior whose denominator is left out."""

    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Categorical:
        if not isinstance(x0, Categorical) or eta != 1:
            return super().bridge(x, x0, t, s, eta)
        up = torch.stack([self.renoise(torch.full_like(x, w), s, t).mean for w in range(3)], -2)
        seen = up.gather(-1, x[..., None, None].expand(*x.shape, 3, 1))[..., 0]
        a = self._alive(s, x)
        law = seen * (a * x0.logits.double().softmax(-1) + (1 - a) / 3)
        held = torch.nn.functional.one_hot(x, 3).double()
        law = torch.where(self._alive(t, x) == a, held, law / law.sum(-1, keepdim=True))
        return Categorical(law.log(), x0.aux)


@broken(testing.check_process, "rest and its prior", 3)
@dataclass(frozen=True)
class Elsewhere(Absorbing):
    def prior(self, shape: tuple[int, ...]) -> Categorical:
        return Categorical(torch.full((1, *shape, 4), 0.25, dtype=torch.float64).log())


@broken(testing.check_process, "in total variation", 3)
@dataclass(frozen=True)
class Unfinished(Multinomial):
    """Its laws stop at nine tenths of the way, and its level does not say so."""

    def _alive(self, t: Tensor, x: Tensor) -> Tensor:
        return super()._alive(0.9 * t, x)


@broken(testing.check_process, "corrupt then renoise", 3)
@dataclass(frozen=True)
class Ratio(Multinomial):
    def _ratio(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return torch.where(s.reshape(-1, 1, 1, 1) == t.reshape(-1, 1, 1, 1), 1.0, self._alive(t, x))


@dataclass(frozen=True)
class Resting(Linear):
    def __call__(self, t: Tensor) -> Tensor:
        return 1 - torch.minimum(t, 0.5 + 0 * t) - (t - 0.75).clamp(min=0) * 2


@dataclass(frozen=True)
class Doubled(Linear):
    def rate(self, t: Tensor) -> Tensor:
        return 2 * super().rate(t)


@dataclass(frozen=True)
class Begun(Linear):
    def __call__(self, t: Tensor) -> Tensor:
        return (1 - 1e-15) * super().__call__(t)


@dataclass(frozen=True)
class Halfway(Linear):
    def time(self, share: Tensor) -> Tensor:
        return super().time(share) ** 2


@broken(testing.check_process, "level should rise all the way", 3, Resting())
@dataclass(frozen=True)
class Rests(Absorbing): ...


@broken(testing.check_process, "rate and the slope", 3, Doubled())
@dataclass(frozen=True)
class Rushes(Absorbing): ...


@broken(testing.check_process, "level(0) should be 0", 3, Begun())
@dataclass(frozen=True)
class Begins(Absorbing): ...


@broken(testing.check_process, "time(level(t)) and t", 3, Halfway())
@dataclass(frozen=True)
class Wanders(Absorbing): ...


@broken(testing.check_process, "level(1) should be near 1", 3, Linear(0.5))
@dataclass(frozen=True)
class Stops(Absorbing): ...


@broken(testing.check_process, "(x, NaN, t, t", 3)
@dataclass(frozen=True)
class Touching(Multinomial):
    """Where nothing moves the answer still enters, with the weight zero."""

    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Categorical:
        law = super().bridge(x, x0, t, s, eta)
        p = x0.logits.double().softmax(-1) if isinstance(x0, Categorical) else 0.0
        return replace(law, logits=law.logits + 0 * p)


@broken(testing.check_process, "unmasked symbols after", 3)
@dataclass(frozen=True)
class Correcting(Absorbing):
    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Categorical:
        if isinstance(x0, Categorical):
            return super().bridge(x, x0, t, s, eta)
        free = ((x != x0) & (x != self.mask) & (s < t).reshape(-1, 1, 1))[..., None]
        law = super().bridge(x, x0, t, s, eta)
        return replace(law, logits=torch.where(free, super().bridge(x0, x0, t, s, eta).logits, law.logits))


@broken(testing.check_process, "bridge(eta=0) and corrupt", 3)
@dataclass(frozen=True)
class Keeping(Multinomial):
    """An eta = 0 that keeps what it should redraw: k is the square root of what it is."""

    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Categorical:
        law = super().bridge(x, x0, t, s, eta)
        if eta != 0:
            return law
        hot = torch.nn.functional.one_hot(x, 3).double()
        return replace(law, logits=(0.9 * law.mean + 0.1 * hot).log())


@broken(testing.check_process, "Bayes' rule", 3)
@dataclass(frozen=True)
class Frugal(Multinomial):
    """The right marginals with the wrong posterior: what DDIM does, under the name of DDPM."""

    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Categorical:
        return super().bridge(x, x0, t, s, 0.0)


@broken(testing.check_process, "should carry the answer's aux", 3)
@dataclass(frozen=True)
class Forgetting(Absorbing):
    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Categorical:
        return Categorical(super().bridge(x, x0, t, s, eta).logits)


@broken(testing.check_process, "likelihood of a mask", 3)
@dataclass(frozen=True)
class Telling(Absorbing):
    """A mask that says something of what it hides: no process of its own would, and its corrupt does not."""

    def likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        said = super().likelihood(x, t)
        late = (x == 3)[..., None] & (t == 0).reshape(-1, 1, 1, 1)
        return torch.where(late & (torch.arange(3) > 0), -1.0, said)


@broken(testing.check_process, "likelihood and corrupt", 3)
@dataclass(frozen=True)
class Deaf(Multinomial):
    def likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        return super().likelihood(x, 0.5 * t)


@broken(testing.check_process, "alone and in a crowd", 3)
@dataclass(frozen=True)
class Crowded(Multinomial):
    def likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        said = super().likelihood(x, t)
        return said if len(x) % 45 == 0 else said - 1e-15


@broken(testing.check_process, "should be float64", 3)
@dataclass(frozen=True)
class Single(Absorbing):
    def corrupt(self, x0: Tensor, t: Tensor) -> Categorical:
        return Categorical(super().corrupt(x0, t).logits.float())


@broken(testing.check_process, "among its like", 3)
@dataclass(frozen=True)
class Neighbourly(Multinomial):
    """An entry is lost sooner where its neighbour says something else."""

    def corrupt(self, x0: Tensor, t: Tensor) -> Categorical:
        alike = (x0 == x0.flatten(1)[:, :1].reshape(-1, *(1 for _ in x0.shape[1:])))[..., None]
        slow = super().corrupt(x0, t**1.5)
        return Categorical(torch.where(alike, super().corrupt(x0, t).logits, slow.logits))


@broken(testing.check_process, "the gradient of Steep.bridge", 3)
@dataclass(frozen=True)
class Steep(Multinomial):
    def bridge(self, x: Tensor, x0: Any, t: Tensor, s: Tensor, eta: float = 1.0) -> Categorical:
        if isinstance(x0, Categorical):
            x0 = replace(x0, logits=x0.logits.softmax(-1).log())  # minus infinity, with a slope of 0 / 0
        return super().bridge(x, x0, t, s, eta)


class Half(Denoiser):
    """Every symbol alike where there is a mask; to be broken in other ways."""

    def __init__(self) -> None:
        super().__init__()
        self.process, self.shape, self.uses_level = Absorbing(3), (2, 3), False

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Any = ()) -> Any:
        return Categorical(self.say(self.process.likelihood(x, t), t.reshape(-1, *(1 for _ in x.shape))))

    def say(self, logits: Tensor, t: Tensor) -> Tensor:
        return logits


@broken(testing.check_denoiser, "not masked and those symbols")
class Unsure(Half):
    def say(self, logits: Tensor, t: Tensor) -> Tensor:
        return logits.clamp(min=-5.0)


@broken(testing.check_denoiser, "uses_level = False says")
class Hearing(Half):
    def say(self, logits: Tensor, t: Tensor) -> Tensor:
        return logits + t * torch.arange(3)


@broken(testing.check_denoiser, "a clean symbol is never masked")
class Masking(Half):
    def say(self, logits: Tensor, t: Tensor) -> Tensor:
        return torch.nn.functional.pad(logits, (0, 1))


@broken(testing.check_denoiser, "should be numbers or minus infinity")
class Endless(Half):
    def say(self, logits: Tensor, t: Tensor) -> Tensor:
        return logits / t


@broken(testing.check_denoiser, "in a batch of their own should be the same")
class Coupled(Half):
    def say(self, logits: Tensor, t: Tensor) -> Tensor:
        return logits + torch.arange(3) * logits.clamp(min=-1).mean(0)


@broken(testing.check_denoiser, "a point says nothing")
class Pointed(Half):
    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Any = ()) -> Any:
        return Dirac(x.clamp(max=2))


@broken(testing.check_denoiser, "with a family it does not know should be refused")
class Deafened(Half): ...


@pytest.mark.parametrize(("contract", "make", "sentence", "given"), CASES)
def test_it_is_caught(contract: Any, make: Any, sentence: str, given: dict[str, Any]) -> None:
    caught(contract, make, sentence, given)


SCHEDULES: list[Alive] = [
    Linear(),
    Linear(1e-3),
    Geometric(),
    Geometric(0.01, 5.0),
    Sine(),
    Knots(),
    Knots((1.0, 0.91, 0.815, 0.702, 0.515, 0.0)),
    perceptual([0.0, 0.1, 0.5, 1.2], 4),
]


@pytest.mark.parametrize("number", range(len(SCHEDULES)))
def test_every_schedule_is_whole(number: int) -> None:
    """With and without a mask in turn; those with edges of their own in blocks as well."""
    schedule = SCHEDULES[number]
    testing.check_process(Multinomial(3, schedule) if number % 2 else Absorbing(2, schedule))
    if number in (4, 5):
        testing.check_process(Blockwise(Multinomial(2, schedule), 4))


def test_what_the_others_were_made_from_is_whole() -> None:
    testing.check_process(Blockwise(Absorbing(2), 6))
    testing.check_process(Blockwise(Absorbing(2), 7))  # no shape of six entries
    for process in (Multinomial(3), Blockwise(Absorbing(3), 2), Blockwise(Multinomial(3), 4)):
        table = torch.sin(torch.arange(3 * 81, dtype=torch.float64) ** 2).reshape(3, 81)
        testing.check_denoiser(Enumerated(process, table, (2, 2)))
