"""Inversion: which x_t does the probability flow lead down to this picture?

A deterministic sampler maps x at time t to clean data, so it can be run upwards, from clean data to the noise they come
from. That noise is a code of the picture; taken down again by another model, or told something else, it gives the
picture's counterpart there. One step down from t to s is Euler's, which is DDIM: with y = x / (alpha + sigma) and the
level u,

    y_s = y_t + (u_s - u_t) f(x_t),    f(x_t) = noise - x_0 as the model sees them at x_t.

Its exact inverse asks for the x_t at which f is to be known, and is found by iteration:

    y_t <- y_s + (u_t - u_s) f(x_t),

which contracts where |1 - (alpha_t + sigma_t) dD/dx_t| (u_t - u_s) / u_t < 1: for steps that are short enough, and
between modes of the data, where D changes fast, only for those. The plain inversion (``iterations=0``) takes f at the
lower end x_s instead and is of first order; clean data hold no noise that could be read off, so its first interval asks
at the upper end, at x_0 scaled to it.

Sources: Song et al. 2021, DDIM (2010.02502, section 4.3) for the plain one; Pan et al. 2023, "AIDI" (2309.04907), and
Garibi et al. 2024, "ReNoise" (2403.14602), for the iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.exact import Mixture
from mezzotint.processes.base import Continuous, Process
from mezzotint.processes.flow import Flow
from mezzotint.samplers.base import continuous
from mezzotint.samplers.euler import drift
from mezzotint.samplers.grids import Grid, Karras
from mezzotint.samplers.start import Start, below, carried


@dataclass(frozen=True)
class Inverse:
    """What a run upwards found.

    Arguments:
        x: x_t, (B, *shape).
        residual: how far the last iteration still moved a sample on the interval where it moved most, (B,): the largest
            entry of the change in y; 0 for the plain inversion, which does not look.
    """

    x: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Inversion(Part):
    """Euler's sampler run upwards, with no draws; each sample is iterated until it stands still, and no longer.

    Arguments:
        steps: intervals; those of the run down, if that is to lead back exactly.
        grid: where they lie; one that only falls.
        iterations: the most for one interval, each an evaluation; 0 for the plain inversion, one evaluation in all.
        tolerance: when a sample stands still, in y = x / (alpha + sigma), which is of the size of the data.
    """

    steps: int
    grid: Grid = field(default_factory=Karras, kw_only=True)
    iterations: int = 50
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        if self.steps < 1 or self.iterations < 0 or not self.tolerance > 0:
            raise Refusal(f"an inversion needs steps from 1, iterations from 0 and a positive tolerance, not {self}")

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Condition = NONE, *, t: float = 1.0) -> Tensor:
        """x_t (B, *shape), without gradients; refused where the iteration does not come to rest.

        Arguments:
            denoiser: of a continuous process.
            x0: clean data, (B, *shape).
            cond: (B,) rows or NONE.
            t: where to end, on the process's clock.
        """
        with torch.no_grad():
            found = self.solve(denoiser, x0, cond, t=t)
        astray = int((~(found.residual <= self.tolerance)).sum())
        if astray:
            raise Refusal(
                f"{astray} of {len(x0)} samples did not come to rest in {self.iterations} iterations (still moving by "
                f"up to {float(found.residual.max()):.1e}, the tolerance is {self.tolerance:.1e}): take more steps, "
                "stop at a lower t, or invert plainly (iterations=0)"
            )
        return found.x

    def solve(self, denoiser: Denoiser, x0: Tensor, cond: Condition = NONE, *, t: float = 1.0) -> Inverse:
        """As a call, but samples that do not come to rest are told by their residual; gradients pass."""
        process = continuous(denoiser, self)
        times = below(self.grid, process, self.steps, t).flip(0)
        if times.ndim > 1 or bool((times.diff() < 0).any()):
            raise Refusal("an inversion goes up step by step: give it a grid of times for all that only falls")
        cond = denoiser.prepare(cond).to(denoiser.device)
        x = x0.to(denoiser.device, torch.promote_types(x0.dtype, denoiser.dtype))
        residual = x.new_zeros(len(x))
        for s, top in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
            if top > s:
                x, moved = self._up(process, denoiser, x, s, top, cond)
                residual = torch.maximum(residual, moved)
        return Inverse(x, residual)

    def _up(
        self, process: Continuous, denoiser: Denoiser, x_s: Tensor, s: float, t: float, cond: Condition
    ) -> tuple[Tensor, Tensor]:
        """x_t, and by how much the last iteration moved each sample."""
        low, high = (torch.full((len(x_s),), at, dtype=torch.float64) for at in (s, t))
        alpha_s, sigma_s = process.scales(low, x_s)
        alpha_t, sigma_t = process.scales(high, x_s)
        clean = bool((sigma_s == 0).all())
        look, at = ((alpha_t / alpha_s).to(x_s) * x_s, high) if clean else (x_s, low)
        x0 = denoiser(look, at, cond).mean
        x = drift(process, x_s, x0, process.noise(look, x0, at), low, high)
        residual, total = x_s.new_zeros(len(x_s)), (alpha_t + sigma_t).reshape(-1).to(x_s)
        rows = torch.arange(len(x_s))
        for _ in range(self.iterations):
            here = rows.to(x.device)
            before, moving = x[here], high[rows]
            x0 = denoiser(before, moving, cond[rows] if cond else cond).mean
            after = drift(process, x_s[here], x0, process.noise(before, x0, moving), low[rows], moving)
            change = (after - before).abs().flatten(1).amax(1) / total[here]
            x, residual = x.index_copy(0, here, after), residual.index_copy(0, here, change)
            # Each sample for itself: one that stands still is not asked again, nor one that ran away.
            rows = rows[((change > self.tolerance) & change.isfinite()).cpu()]
            if not len(rows):
                break
        return x, residual


@dataclass(frozen=True)
class Inverted(Start):
    """A picture of the condition, carried up to time t by a denoiser's own flow.

    With the same denoiser and Euler's sampler on the same grid and steps it comes back as it was; another denoiser, or
    this one guided otherwise, gives its counterpart (Su et al. 2022, "Dual diffusion implicit bridges", 2203.08382).

    Arguments:
        inversion: the rule.
        denoiser: whose flow; it is told the rest of the condition.
        t: how far, on its clock.
        family: where the condition carries the picture x_0, (B, *shape).
    """

    inversion: Inversion
    denoiser: Denoiser
    t: float = 1.0
    family: str = "reference"

    @classmethod
    def example(cls) -> Inverted:
        return cls(Inversion(6), Mixture(Flow(), [[0.0, 1.0]], [[[0.5, 0.2], [0.2, 0.3]]]))

    @property
    def process(self) -> Process:  # type: ignore[override]
        return self.denoiser.process

    @property
    def ends(self) -> float:
        return self.t

    @property
    def families(self) -> tuple[str, ...]:
        return (self.family,)

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        x0 = carried(cond, self.family, rng, self)
        return self.inversion(self.denoiser, x0, cond.take(self.family)[1], t=self.t)
