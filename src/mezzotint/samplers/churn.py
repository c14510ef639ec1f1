"""The samplers of EDM: Heun's method in sigma, with noise put in before each step and taken out again by it.

Where a step stands at noise level t it first goes *up*, to t^ = (1 + gamma) t, by adding the noise that is missing
there, and from t^ down to the next level by Heun's method. What was added washes errors out. In EDM's own variables
(alpha = 1, so x is data plus sigma noise):

    sigma^ = (1 + gamma) sigma,   gamma = min(churn / N, sqrt(2) - 1) where low <= level <= high, else 0
    x^     = x + sqrt(sigma^^2 - sigma^2) noise z
    d      = (x^ - D(x^; sigma^)) / sigma^,                x' = x^ + (sigma' - sigma^) d
    d'     = (x' - D(x'; sigma')) / sigma',                x' = x^ + (sigma' - sigma^) (d + d') / 2

On any other process sigma stands for the ratio k = sigma / alpha and x for x / alpha. With churn = 0 nothing is drawn
and this is EDM's deterministic sampler: the one of the paper, whereas :class:`~mezzotint.samplers.Heun` integrates in
the level u = k / (1 + k). The two are alike at low noise; in k an interval must not be long against k itself, and where
k is infinite (rectified flow and cosine at t = 1) the trapezium does not exist: that step keeps its first slope, as the
one that ends at clean data does.

Departures: t^ stays within the clock of the process, so nothing is added at t = 1, where the paper's code would go on
to 1.41 sigma_max (its own settings, S_max = 50, do not); noise is drawn only where it is used.

Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models" (2206.00364, algorithms
1 and 2), whose S_churn, S_min, S_max and S_noise are ``churn``, ``low``, ``high`` (as levels) and ``noise``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Gaussian, expand
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser
from mezzotint.processes.base import Continuous
from mezzotint.samplers.base import Sampler, State, continuous

_MOST = math.sqrt(2) - 1  # the noise added is never more than the noise that is there
_INFINITE = 1e6  # sigma / alpha beyond which an interval has no slope worth averaging


@dataclass(frozen=True)
class Churn(Sampler):
    """EDM's stochastic sampler, of second order without churn; 2 N - 1 evaluations on processes that end at a ratio.

    Arguments:
        steps: intervals.
        churn: S_churn, how much noise is put in over the whole run, in multiples of what is there; 0: none.
        low, high: the levels u = sigma / (alpha + sigma) between which it is; the paper's sigma is u / (1 - u), its
            [0.05, 50] the levels [0.0476, 0.9804].
        noise: S_noise, the standard deviation of what is put in; a little above 1 (1.003) makes up for denoisers that
            remove too much.
    """

    churn: float = 0.0
    low: float = 0.0
    high: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.churn >= 0 and self.noise >= 0):
            raise Refusal(f"churn and noise are at least 0, not {self.churn} and {self.noise}")
        if not 0 <= self.low <= self.high <= 1:
            raise Refusal(f"churn lies between two levels, 0 <= low <= high <= 1, not {self.low} and {self.high}")

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        process = continuous(denoiser, self)
        x, t = self._raised(process, state, s)
        x0 = denoiser(x, t, cond).mean
        noise = process.noise(x, x0, t)
        alpha_t, sigma_t = process.scales(t, x)
        alpha_s, sigma_s = process.scales(s, x)
        held = expand(t == s, x).to(x.device)
        x_s = torch.where(held, x, alpha_s.to(x) * x0 + sigma_s.to(x) * noise)
        twice = (t != s) & (process.sigma(s) > 0) & (process.sigma(t) < _INFINITE * process.alpha(t))
        index = twice.reshape(len(x), -1).any(1).nonzero()[:, 0]
        if not len(index):
            return x_s, state.memory
        here = index.to(x.device)
        again = denoiser(x_s[here], s[index], cond[index] if cond else cond).mean
        turn = process.noise(x_s[here], again, s[index]) - noise[here]
        # alpha_s (k_s - k_t) / 2 times the change of slope; entries without a second slope keep their first.
        ratio = sigma_t / torch.where(alpha_t > 0, alpha_t, 1.0)
        half = 0.5 * (sigma_s - alpha_s * ratio).expand(len(x), *alpha_s.shape[1:])[here]
        use = expand(twice[index], x).to(x.device)
        return x_s.index_copy(0, here, torch.where(use, x_s[here] + half.to(x) * turn, x_s[here])), state.memory

    def _raised(self, process: Continuous, state: State, s: Tensor) -> tuple[Tensor, Tensor]:
        """(x^, t^): where the step begins once the noise is put in."""
        x, t = state.x, state.t
        gamma = min(self.churn / self.steps, _MOST)
        level = process.level(t)
        # k = u / (1 - u), so (1 + gamma) k is the level (1 + gamma) u / (1 + gamma u), finite also where k is not.
        top = torch.maximum(process.time((1 + gamma) * level / (1 + gamma * level)), t)
        top = torch.where((self.low <= level) & (level <= self.high) & (s < t), top, t)
        risen = top > t
        if gamma == 0 or not bool(risen.any()):
            return x, t
        law = process.renoise(x, t, top)
        noised = Gaussian(law.mean, self.noise**2 * law.variance).sample(state.rng.at("churn"))
        return torch.where(expand(risen, x).to(x.device), noised, x), torch.where(risen, top, t)
