"""Denoisers: given x_t, t and a condition, what may the clean data be?"""

from mezzotint.denoiser.base import Denoiser, Trainable
from mezzotint.denoiser.counted import Counted
from mezzotint.denoiser.exact import Empirical, Mixture
from mezzotint.denoiser.preconditioned import Preconditioned

__all__ = ["Counted", "Denoiser", "Empirical", "Mixture", "Preconditioned", "Trainable"]
