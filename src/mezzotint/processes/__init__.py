"""Processes: how clean data are corrupted, as laws on a clock from 0 (clean) to 1 (prior)."""

from mezzotint.processes.absorbing import Absorbing
from mezzotint.processes.alive import Alive, Geometric, Knots, Linear, Sine, perceptual
from mezzotint.processes.base import Continuous, Process
from mezzotint.processes.blockwise import Blockwise
from mezzotint.processes.cosine import Cosine
from mezzotint.processes.ddpm import DDPM
from mezzotint.processes.discrete import Discrete
from mezzotint.processes.edm import EDM
from mezzotint.processes.flow import Flow
from mezzotint.processes.multinomial import Multinomial
from mezzotint.processes.table import Table, Tabulated
from mezzotint.processes.vp import VP

__all__ = [
    "DDPM",
    "EDM",
    "VP",
    "Absorbing",
    "Alive",
    "Blockwise",
    "Continuous",
    "Cosine",
    "Discrete",
    "Flow",
    "Geometric",
    "Knots",
    "Linear",
    "Multinomial",
    "Process",
    "Sine",
    "Table",
    "Tabulated",
    "perceptual",
]
