"""Guidance: denoiser -> denoiser."""

from mezzotint.guidance.contrast import CFG, Autoguidance, Contrast, Without
from mezzotint.guidance.scale import Between, between

__all__ = ["CFG", "Autoguidance", "Between", "Contrast", "Without", "between"]
