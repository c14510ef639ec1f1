"""Objectives: a model and clean data turned into one loss per sample."""

from mezzotint.objectives.base import Levels, Loss, Objective, Shot
from mezzotint.objectives.bound import Bound, bits
from mezzotint.objectives.chain import ChainBound
from mezzotint.objectives.classification import Classification
from mezzotint.objectives.denoising import Denoising
from mezzotint.objectives.hybrid import Hybrid
from mezzotint.objectives.importance import Importance
from mezzotint.objectives.levels import LogitNormal, LogNormal, LogUniform, UniformTimes
from mezzotint.objectives.reconstruction import Reconstruction
from mezzotint.objectives.tokens import LevelBound, OrderBound, TimeBound
from mezzotint.objectives.towards import Towards

__all__ = [
    "Bound",
    "ChainBound",
    "Classification",
    "Denoising",
    "Hybrid",
    "Importance",
    "LevelBound",
    "Levels",
    "LogNormal",
    "LogUniform",
    "LogitNormal",
    "Loss",
    "Objective",
    "OrderBound",
    "Reconstruction",
    "Shot",
    "TimeBound",
    "Towards",
    "UniformTimes",
    "bits",
]
