"""What training does to a condition so that the model forgives what it will be handed.

A model that was trained on true conditions and is handed another model's pictures compounds their faults: it has never
seen any. So it is trained on corrupted conditions, of which the faults are a kind (conditioning augmentation, Ho et al.
2022, "Cascaded diffusion models for high fidelity image generation", arXiv 2106.15282).

An augmentation is a value, ``(cond, t, rng) -> cond``; nothing depends on a mode of training or evaluation. The
objective applies it with every batch anew, from a stream of its own, and a pipeline that wants it at sampling too calls
the same value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mezzotint.conditions.enlarge import check, enlarged
from mezzotint.core.condition import Condition
from mezzotint.core.distribution import expand
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.processes.base import Continuous
from mezzotint.processes.cosine import Cosine


class Augment(Part, ABC):
    """``(cond, t, rng) -> cond``: the same families, some of them changed, and what is to be told of the change."""

    @abstractmethod
    def __call__(self, cond: Condition, t: Tensor | None, rng: Rng) -> Condition:
        """The condition a batch is trained on.

        Arguments:
            cond: (B,) rows; one without the family is passed as it is.
            t: the times (B,) the batch is corrupted to; None where there is no clock, as in a pipeline.
            rng: a key a row.
        """


def picture(cond: Condition, name: str, rng: Rng) -> Tensor:
    """The pictures (B, C, *space) of a family, floating point, a row a key."""
    value: Tensor = cond[name]
    if value.ndim < 3 or value.is_complex():
        raise Refusal(f"{name!r} is to be pictures (B, C, *space), not {tuple(value.shape)}")
    if len(value) != len(rng):
        raise Refusal(f"{len(value)} rows of {name!r} for {len(rng)} keys: give one of each")
    return value if value.is_floating_point() else value.float()


def put(cond: Condition, name: str, **values: Tensor) -> Condition:
    """The condition with other values of a family, whose dropped rows stay dropped."""
    dropped = ~cond.kept(name) if name in cond.keep else None
    made = cond | Condition(**values)
    return made if dropped is None else made.drop(name, rows=dropped)


@dataclass(frozen=True)
class Noised(Augment):
    """A picture corrupted by a process, z_s ~ N(alpha z_0, sigma^2 I), told with its level u = sigma / (alpha + sigma).

    One model is trained for all levels, and the best is found by a sweep afterwards: s is uniform on the clock of the
    process, a row's own, and 0 now and then so that a picture as it is does not surprise the model. The noise belongs
    to sampling too: there the level is a number. Source: arXiv 2106.15282.

    Arguments:
        process: what corrupts; one that preserves variance (``Cosine``, ``VP``) hands on numbers of one size.
        family: which condition.
        level: u in [0, 1]; None: drawn, as above.
        clean: probability of level 0 where levels are drawn.
        up, resize: enlarge the picture first, as :class:`~mezzotint.conditions.Image` else does after (Imagen, arXiv
            2205.11487, noises the enlarged picture). A state that another model was stopped at cannot be handed over
            then.
    """

    process: Continuous = field(default_factory=Cosine)
    family: str = "low"
    level: float | None = None
    clean: float = 0.1
    up: int | tuple[int, ...] = 1
    resize: str = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "up", check(self.up, self.resize))
        if not 0 <= self.clean <= 1:
            raise Refusal(f"clean is a probability, not {self.clean}")
        if self.level is not None:
            most = float(self.process.level(torch.ones(1, dtype=torch.float64)))
            if not 0 <= self.level <= most:
                raise Refusal(f"a level of {self.process} lies between 0 and {most:.6g}, not at {self.level}")

    def __call__(self, cond: Condition, t: Tensor | None, rng: Rng) -> Condition:
        if self.family not in cond:
            return cond
        z = picture(cond, self.family, rng)
        if self.level is None:
            s = rng.uniform("time", ())
            s = torch.where(rng.uniform("clean", ()) < self.clean, 0.0, s)
        else:
            s = self.process.time(torch.full((len(z),), self.level, dtype=torch.float64))
        return self.told(cond, self.corrupted(z, s, rng), self.process.level(s))

    def corrupted(self, z: Tensor, s: Tensor, rng: Rng) -> Tensor:
        """Pictures z (B, C, *space) at times s (B,) of the process; at 0 they are as they were, bit for bit."""
        z = enlarged(z, self.up, self.resize)
        noised = self.process.corrupt(z, s).sample(rng.at("noise")).to(z.dtype)
        return torch.where(expand(s > 0, z).to(z.device), noised, z)

    def received(self, x: Tensor, t: Tensor, process: Continuous) -> tuple[Tensor, Tensor]:
        """A state x (B, C, *space) at the time t (B,) of another process, as this one has it at the same level.

        Both are alpha (z_0 + kappa noise) with one kappa = sigma / alpha, so they differ by a factor. It is not noised
        again: it is a draw of that level already.

        Returns:
            the state on this process's scale, and its level (B,).
        """
        if self.up != 1:
            raise Refusal("a state is noise at its own size, and this augmentation noises the enlarged picture: up=1")
        u = process.level(t)
        if process == self.process:
            return x, u
        if not (process.gaussian and self.process.gaussian):
            raise Refusal(f"the noise of {process} follows another law than that of {self.process}, so no scale helps")
        most = float(self.process.level(torch.ones(1, dtype=torch.float64)))
        if bool((u > most).any()):
            raise Refusal(f"{self.process} reaches level {most:.6g}, and it is handed a state of {float(u.max()):.6g}")
        (a, b), (c, d) = process.scales(t, x), self.process.scales(self.process.time(u), x)
        factor = torch.where(expand(u, x).to(x.device) < 0.5, c / a, d / b)  # of alphas, or of sigmas: none is by 0
        clean = expand(u == 0, x).to(x.device)
        return torch.where(clean, x, (factor * x).to(x.dtype)), u

    def told(self, cond: Condition, z: Tensor, level: Tensor) -> Condition:
        """The condition with the picture and its level."""
        return put(cond, self.family, **{self.family: z, f"{self.family}.level": level.to(z.device)})


@dataclass(frozen=True)
class Blurred(Augment):
    """A picture blurred by a Gaussian kernel, some of the time; in training only, and nothing is told of it.

    For larger pictures, where noise hides too much: sigma is uniform in a range, a row's own, on a kernel of ``size``
    entries an axis, and its edges are repeated. Source: arXiv 2106.15282.

    Arguments:
        family: which condition.
        size: entries of the kernel along each axis, odd.
        sigma: the lowest and the highest standard deviation, in its pixels; the paper has about 0.4 to 0.6.
        rate: probability that a picture is blurred; 0 is off.
    """

    family: str = "low"
    size: int = 3
    sigma: tuple[float, float] = (0.4, 0.6)
    rate: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", tuple(self.sigma))
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1 or not self.size % 2:
            raise Refusal(f"a kernel has an odd number of entries, not {self.size!r}")
        if len(self.sigma) != 2 or not 0 < self.sigma[0] <= self.sigma[1]:
            raise Refusal(f"sigma is the lowest and the highest standard deviation above 0, not {self.sigma}")
        if not 0 <= self.rate <= 1:
            raise Refusal(f"rate is a probability, not {self.rate}")

    def __call__(self, cond: Condition, t: Tensor | None, rng: Rng) -> Condition:
        if self.family not in cond or self.rate == 0:
            return cond
        z = picture(cond, self.family, rng)
        low, high = self.sigma
        sigma = low + (high - low) * rng.uniform("sigma", ())
        blurred = rng.uniform("blur", ()) < self.rate
        made = torch.where(expand(blurred, z).to(z.device), blur(z, sigma, self.size), z)
        return put(cond, self.family, **{self.family: made})


def blur(z: Tensor, sigma: Tensor, size: int) -> Tensor:
    """z (B, C, *space) under a Gaussian kernel of ``size`` entries an axis that sums to 1, edges repeated.

    Arguments:
        z: floating point.
        sigma: (B,), in pixels.
        size: odd.
    """
    half = size // 2
    offsets = torch.arange(-half, half + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma.double().cpu()[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(z.device, torch.promote_types(z.dtype, torch.float32))
    kind, z = z.dtype, z.to(kernel.dtype)  # in bfloat16 the weights would not sum to 1
    for axis in range(2, z.ndim):
        places = torch.arange(z.shape[axis], device=z.device)
        shifted = (z.index_select(axis, (places + int(k)).clamp(0, z.shape[axis] - 1)) for k in offsets)
        z = torch.stack([expand(kernel[:, k], z) * part for k, part in enumerate(shifted)]).sum(0)
    return z.to(kind)
