"""Guidance: denoiser -> denoiser."""

from mezzotint.guidance.clipped import Clipped
from mezzotint.guidance.contrast import CFG, Autoguidance, Contrast, Retold, Without
from mezzotint.guidance.known import Known
from mezzotint.guidance.negative import Instead, Negative
from mezzotint.guidance.perturbed import Perturbed, Unmixed
from mezzotint.guidance.projection import Projection
from mezzotint.guidance.reward_gradient import AtEstimate, AtNoise, ThroughDenoiser, Uphill
from mezzotint.guidance.scale import Between, between
from mezzotint.guidance.tempered import Tempered
from mezzotint.guidance.unaware import Unaware
from mezzotint.guidance.universal import Backward

__all__ = [
    "AtEstimate",
    "AtNoise",
    "Autoguidance",
    "Backward",
    "Between",
    "CFG",
    "Clipped",
    "Contrast",
    "Instead",
    "Known",
    "Negative",
    "Perturbed",
    "Projection",
    "Retold",
    "Tempered",
    "ThroughDenoiser",
    "Unaware",
    "Unmixed",
    "Uphill",
    "Without",
    "between",
]
