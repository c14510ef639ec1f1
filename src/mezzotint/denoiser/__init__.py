"""Denoisers: given x_t, t and a condition, what may the clean data be?"""

from mezzotint.denoiser.asking import Asking
from mezzotint.denoiser.autoregressive import Autoregressive
from mezzotint.denoiser.base import Denoiser, Trainable, Wrapper
from mezzotint.denoiser.chain import Chain
from mezzotint.denoiser.chunked import Chunked
from mezzotint.denoiser.counted import Counted
from mezzotint.denoiser.enumerated import Enumerated
from mezzotint.denoiser.enumerated_chain import EnumeratedChain
from mezzotint.denoiser.exact import Empirical, Mixture
from mezzotint.denoiser.exact_entries import NormalEntries
from mezzotint.denoiser.exact_joint import JointMixture
from mezzotint.denoiser.fractal import Fractal
from mezzotint.denoiser.markov import Markov
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.denoiser.raster import Raster
from mezzotint.denoiser.recast import Recast
from mezzotint.denoiser.tiled import Tiled
from mezzotint.denoiser.tokens import Tokens

__all__ = [
    "Asking",
    "Autoregressive",
    "Chain",
    "Chunked",
    "Counted",
    "Denoiser",
    "Empirical",
    "Enumerated",
    "EnumeratedChain",
    "Fractal",
    "JointMixture",
    "Markov",
    "Mixture",
    "NormalEntries",
    "Preconditioned",
    "Raster",
    "Recast",
    "Tiled",
    "Tokens",
    "Trainable",
    "Wrapper",
]
