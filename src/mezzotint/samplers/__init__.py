"""Samplers: a rule for one interval t -> s; grids: where the intervals lie."""

from mezzotint.samplers.ancestral import Ancestral
from mezzotint.samplers.base import Sampler, State, Transition
from mezzotint.samplers.euler import Euler
from mezzotint.samplers.grids import Grid, Karras, Level, Uniform
from mezzotint.samplers.heun import Heun
from mezzotint.samplers.multistep import Multistep
from mezzotint.samplers.sampling import Sampling
from mezzotint.samplers.unipc import UniPC

__all__ = [
    "Ancestral",
    "Euler",
    "Grid",
    "Heun",
    "Karras",
    "Level",
    "Multistep",
    "Sampler",
    "Sampling",
    "State",
    "Transition",
    "UniPC",
    "Uniform",
]
