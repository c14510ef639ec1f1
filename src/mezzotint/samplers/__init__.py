"""Samplers: a rule for one interval t -> s; grids: where the intervals lie."""

from mezzotint.samplers.ancestral import Ancestral
from mezzotint.samplers.any_order import AnyOrder
from mezzotint.samplers.base import Sampler, State, Transition
from mezzotint.samplers.chain import Chain
from mezzotint.samplers.churn import Churn
from mezzotint.samplers.confidence import Confidence
from mezzotint.samplers.euler import Euler
from mezzotint.samplers.grids import Grid, Karras, Level, LogSNR, Quadratic, Respaced, Shift, Uniform
from mezzotint.samplers.heun import Heun
from mezzotint.samplers.inversion import Inverse, Inversion, Inverted
from mezzotint.samplers.multistep import Multistep
from mezzotint.samplers.reuse import Reuse
from mezzotint.samplers.rising import Recurrence, RePaint, Restart
from mezzotint.samplers.sampling import Sampling
from mezzotint.samplers.shifted import Shifted, ShiftedAtEstimate
from mezzotint.samplers.start import Analytic, Held, Reference, Start, below
from mezzotint.samplers.tau_leaping import TauLeaping
from mezzotint.samplers.unipc import UniPC

__all__ = [
    "Analytic",
    "Ancestral",
    "AnyOrder",
    "Chain",
    "Churn",
    "Confidence",
    "Euler",
    "Grid",
    "Held",
    "Heun",
    "Inverse",
    "Inversion",
    "Inverted",
    "Karras",
    "Level",
    "LogSNR",
    "Multistep",
    "Quadratic",
    "RePaint",
    "Recurrence",
    "Reference",
    "Respaced",
    "Restart",
    "Reuse",
    "Sampler",
    "Sampling",
    "Shift",
    "Shifted",
    "ShiftedAtEstimate",
    "Start",
    "State",
    "TauLeaping",
    "Transition",
    "UniPC",
    "Uniform",
    "below",
]
