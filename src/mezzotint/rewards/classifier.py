"""Classifiers as rewards: log p(class | x), with gradients.

A classifier of clean data judges samples and clean estimates. One that is *noise-aware* was trained on x_t at every
level and is told t, so it also reads a sample on its way: it is what classifier guidance climbs. Its network is told
the noise as a denoiser's is, and its input has unit variance at every level:

    logits = F(x_t / sqrt(alpha^2 d^2 + sigma^2), log(sigma / alpha) / 4),    d the standard deviation of the data.

Source: Dhariwal and Nichol 2021, "Diffusion models beat GANs on image synthesis" (2105.05233, section 4); Karras et al.
2022 (2206.00364, table 1) for the scaling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.learner import Learner
from mezzotint.networks.context import EMPTY, Output
from mezzotint.networks.inputs import in_precision
from mezzotint.processes.base import Continuous
from mezzotint.rewards.base import ClassReward

_EXTREME = 10.0  # |log(sigma / alpha)| beyond this is clean data or pure noise to any network, as in Preconditioned


def _logs(logits: Tensor) -> Tensor:
    """Log-probabilities in float32 at least: in half precision their gradients lose their digits."""
    if logits.ndim < 2:
        raise Refusal(f"a classifier answers with logits (B, classes), not {tuple(logits.shape)}")
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)


class Classifier(ClassReward):
    """log p(class | x) of a classifier trained on clean data.

    It is kept in evaluation mode, whatever happens around it: batch statistics would let samples see each other.

    Arguments:
        network: ``x -> logits (B, classes)``; to be saved with a guidance it has to be a part.
        family: the condition family that holds the class.
    """

    def __init__(self, network: torch.nn.Module, family: str = "label") -> None:
        super().__init__()
        self.network, self.family = network.eval(), family

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.network.eval()
        return self

    def logs(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        if t is not None:
            raise Refusal(
                "this classifier was trained on clean data and cannot read noisy samples: guide at the estimate "
                "(guidance.AtEstimate, guidance.ThroughDenoiser), or train a NoiseAwareClassifier"
            )
        return _logs(self.network(in_precision(self.network, x)))


class NoiseAwareClassifier(ClassReward, Learner):
    """log p(class | x_t, t) of a classifier trained at every level by :class:`~mezzotint.objectives.Classification`.

    Asked without t, it takes samples to be clean.

    Arguments:
        network: ``forward(x, noise, context, want=())`` with an attribute ``shape``, as for a denoiser; its answer
            (B, classes, *space) is averaged over space. ``networks.UNet(shape, outputs=classes)`` is one.
        process: what corrupts the data.
        sigma_data: the standard deviation of the data; measure it (``data.std``).
        family: the condition family that holds the class.
    """

    def __init__(
        self, network: torch.nn.Module, process: Continuous, sigma_data: float = 0.5, family: str = "label"
    ) -> None:
        super().__init__()
        if not isinstance(process, Continuous):
            raise Refusal(f"NoiseAwareClassifier needs a continuous process, not {type(process).__name__}")
        if not sigma_data > 0:
            raise Refusal(f"sigma_data is the standard deviation of the data and must be positive, not {sigma_data}")
        self.network, self.process, self.family = network, process, family
        self.sigma_data = float(sigma_data)
        self.shape = tuple(cast(Any, network).shape)

    def logs(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        said = self._said(x, t, ())
        logits: Tensor = said if isinstance(said, Tensor) else said.sample
        return _logs(logits.flatten(2).mean(2) if logits.ndim > 2 else logits)

    def seen(self, x: Tensor, t: Tensor | None = None, want: Sequence[str] = ()) -> Mapping[str, Tensor]:
        """Features of the network by the names in ``want``, of noisy samples (B, *shape) or of clean ones."""
        said = self._said(x, t, tuple(want))
        return {} if isinstance(said, Tensor) else said.aux

    def _said(self, x: Tensor, t: Tensor | None, want: tuple[str, ...]) -> Tensor | Output:
        t = x.new_zeros(len(x), dtype=torch.float64) if t is None else t.to(device=x.device, dtype=torch.float64)
        alpha, sigma = self.process.scales(t, x)
        inside = in_precision(self.network, x / (alpha**2 * self.sigma_data**2 + sigma**2).sqrt().to(x))
        noise = (-0.5 * self.process.log_snr(t)).clamp(-_EXTREME, _EXTREME) / 4
        with torch.autocast(x.device.type, self.inner_dtype, enabled=self.inner_dtype is not None):
            said: Tensor | Output = self.network(inside, noise.to(inside.dtype), EMPTY, *((want,) if want else ()))
        return said
