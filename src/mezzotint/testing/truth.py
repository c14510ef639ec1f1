"""The witnesses that contracts call: small problems whose every answer is known.

:class:`Normals` is a denoiser of independent normals, x_0 ~ N(mean_i, std_i^2) entry by entry, exact at any time an
entry and so on held entries too; its probability flow is solved in closed form,

    x_s = alpha_s mean + r (x_t - alpha_t mean),   r^2 = (alpha_s^2 std^2 + sigma_s^2) / (alpha_t^2 std^2 + sigma_t^2).

:func:`mixture` is a labelled :class:`~mezzotint.denoiser.Mixture` for what one normal cannot show, :func:`model` a
small network with weights that are not zero, :func:`table` and :class:`Guess` an exact denoiser and a learner of
symbols, and :class:`Watched` stands between a part and a denoiser and writes down
what was asked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.conditions import Classes, Encoder
from mezzotint.core.condition import NONE, Condition, known
from mezzotint.core.distribution import Categorical, Dirac, Distribution
from mezzotint.core.errors import Refusal
from mezzotint.core.learner import Learner
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Module
from mezzotint.denoiser.base import Denoiser, Trainable, Want
from mezzotint.denoiser.enumerated import Enumerated
from mezzotint.denoiser.exact import Mixture
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.networks.unet import UNet
from mezzotint.processes.base import Continuous
from mezzotint.processes.discrete import Discrete

SHAPE = (1, 2, 3)
CLASSES = 3


def labels(count: int) -> Condition:
    """Labels 0, 1, 2, 0, ... as a condition of ``count`` rows."""
    return Condition(label=torch.arange(count) % CLASSES)


class Normals(Denoiser):
    """Independent normals with means from -1 to 2 and standard deviations from 1.1 down to 0.2.

    Arguments:
        process: what corrupts them.
        shape: of one sample.
    """

    process: Continuous
    means: Tensor
    stds: Tensor

    def __init__(self, process: Continuous, shape: tuple[int, ...] = SHAPE) -> None:
        super().__init__()
        self.process, self.shape = process, tuple(shape)
        count = int(torch.Size(shape).numel())
        self.register_buffer("means", torch.linspace(-1, 2, count, dtype=torch.float64).reshape(1, *shape))
        self.register_buffer("stds", torch.linspace(1.1, 0.2, count, dtype=torch.float64).reshape(1, *shape))

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Dirac:
        alpha, sigma = self.process.scales(t, x)
        share = alpha * self.stds**2 / (alpha**2 * self.stds**2 + sigma**2)
        return Dirac((self.means + share * (x.double() - alpha * self.means)).to(x.dtype))

    def flow(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability flow carries x_t (B, *shape) by time s."""
        alpha_t, sigma_t = self.process.scales(t, x)
        alpha_s, sigma_s = self.process.scales(s, x)
        spread_t, spread_s = alpha_t**2 * self.stds**2 + sigma_t**2, alpha_s**2 * self.stds**2 + sigma_s**2
        return alpha_s * self.means + (spread_s / spread_t).sqrt() * (x - alpha_t * self.means)


def mixture(process: Continuous, shape: tuple[int, ...] = SHAPE, spread: float = 1.0) -> Mixture:
    """Five full Gaussians in three classes, the same numbers every time; ``spread`` widens them."""
    size = int(torch.Size(shape).numel())
    draws = Rng(range(5))
    factors = draws.normal("factor", (size, size)).double()
    covariances = spread * (factors @ factors.transpose(1, 2) / size + 0.05 * torch.eye(size, dtype=torch.float64))
    means = draws.normal("mean", (size,)).double()
    # Numbers and not tensors, so that the mixture has a spec.
    return Mixture(process, means.tolist(), covariances.tolist(), labels=(0, 1, 2, 0, 1), shape=shape)


def nudge(module: torch.nn.Module, by: float = 0.1) -> torch.nn.Module:
    """The same module with noise on every weight: layers that begin at zero pass on neither answer nor gradient."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            noise = Rng([0]).normal(name, tuple(weight.shape))[0]
            weight.add_(by * noise.to(weight))
    return module


def model(process: Continuous, shape: tuple[int, ...] = (3, 4, 6), variance: bool = False) -> Preconditioned:
    """A small class-conditional network whose null was trained, in evaluation mode; it may learn its variance."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        outputs = 2 * shape[0] if variance else None
        network = UNet(shape, width=8, multipliers=(1, 1), vector=8, head=4, outputs=outputs)
        encoder = Encoder(label=Classes(CLASSES, 8))
        made = Preconditioned(network, process, encoder, sigma_data=0.8, prediction="v", variance=variance)
    nudge(made)
    for part in encoder.parts.values():
        part.null_trained.fill_(True)  # type: ignore[operator]
    return made.eval()


class Watched(Denoiser):
    """Passes everything on, wants conditions prepared, and writes down what it was asked.

    Arguments:
        denoiser: what answers.

    Attributes:
        asked: one (x, t, cond, want) a call.
        prepared: how often :meth:`prepare` ran.
    """

    takes = ("ready",)

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.process, self.shape = denoiser.process, denoiser.shape
        self.uses_level, self.times, self.clean = denoiser.uses_level, denoiser.times, denoiser.clean
        self.asked: list[tuple[Tensor, Tensor, Condition, Want]] = []
        self.prepared = 0

    @property
    def nulls(self) -> tuple[str, ...]:
        return self.denoiser.nulls

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    def prepare(self, cond: Condition) -> Condition:
        self.prepared += 1
        ready = self.denoiser.prepare(cond.take(*self.takes)[1])
        return cond | ready | Condition(ready=torch.ones(len(cond))) if cond else cond

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        if cond and "ready" not in cond:
            raise Refusal("the condition was not prepared: call denoiser.prepare(cond) once per run")
        _, cond = cond.take(*self.takes)
        self.asked.append((x.detach(), t.detach(), cond, want))
        return self.denoiser(x, t, cond, want)

    @property
    def rows(self) -> int:
        """For how many samples it was asked."""
        return sum(len(x) for x, *_ in self.asked)


class Missed(Trainable):
    """The exact answer about :class:`Normals`, missed by ``offset`` in every entry; what it predicts is x_0.

    Arguments:
        process: what corrupts the normals.
        offset: in units of the data; 0 is the truth.
        shape: of one sample.
    """

    def __init__(self, process: Continuous, offset: float = 0.0, shape: tuple[int, ...] = SHAPE) -> None:
        super().__init__()
        self.normals = Normals(process, shape)
        self.process, self.shape, self.offset = process, tuple(shape), offset

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Dirac:
        mean = self.normals(x, t).mean + self.offset
        return Dirac(mean, {"output": mean} if "output" in want else {})

    def target(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return x0

    def sharpness(self, t: Tensor) -> Tensor:
        return torch.ones_like(t, dtype=torch.float64)

    def trivial(self, x_t: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x_t)


def table(process: Discrete, skew: float = 0.0, entries: int = 3) -> Enumerated:
    """Two classes of texts in which everything hangs together, as an exact denoiser; ``skew`` tilts its table."""
    count = process.vocab**entries
    places = torch.arange(2 * count, dtype=torch.float64)
    logits = 2 * torch.sin(places**2) + skew * torch.cos(places)
    return Enumerated(process, logits.reshape(2, count).tolist(), (entries,))


class Guess(Denoiser, Learner):
    """A learner of symbols: the logits of an entry are a sum over what is read at all, and told by the label.

    Arguments:
        process: of symbols.
        shape: of one text.
    """

    process: Discrete

    def __init__(self, process: Discrete, shape: tuple[int, ...] = (3,)) -> None:
        super().__init__()
        self.process, self.shape, self.uses_level = process, tuple(shape), process.mask is None
        entries = int(torch.Size(shape).numel())
        self.reads = torch.nn.Parameter(torch.zeros(entries, process.symbols, entries, process.vocab))
        self.told = torch.nn.Parameter(torch.zeros(CLASSES, entries, process.vocab))
        nudge(self)

    def prepare(self, cond: Condition) -> Condition:
        known(cond, ("label",), "this guess")
        return cond

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Categorical:
        logits = self.reads[torch.arange(x[0].numel()), x.flatten(1)].sum(1)
        if "label" in cond:
            logits = logits + self.told[cond["label"]]
        return Categorical(logits.reshape(*x.shape, self.process.vocab))


class Slope(Module):
    """A reward, log-linear in the clean data: scale times the mean over all entries; higher is better.

    Arguments:
        scale: the slope.
    """

    def __init__(self, scale: float = 0.5) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
        return self.scale * x.flatten(1).mean(1)
