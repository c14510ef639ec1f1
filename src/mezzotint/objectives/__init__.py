"""Objectives: a model and clean data turned into one loss per sample."""

from mezzotint.objectives.base import Levels, Loss, Objective, Shot
from mezzotint.objectives.beside import Beside
from mezzotint.objectives.bound import Bound, bits
from mezzotint.objectives.chain import ChainBound
from mezzotint.objectives.classification import Classification
from mezzotint.objectives.context import ContextPrediction
from mezzotint.objectives.decoders import ContextDecoder, OrderedDecoder, SetDecoder
from mezzotint.objectives.denoising import Denoising
from mezzotint.objectives.elsewhere import Elsewhere, Itself
from mezzotint.objectives.hybrid import Hybrid
from mezzotint.objectives.importance import Importance
from mezzotint.objectives.levels import LogitNormal, LogNormal, LogUniform, UniformTimes
from mezzotint.objectives.neighbourhood import Neighbourhood
from mezzotint.objectives.reconstruction import Reconstruction
from mezzotint.objectives.tokens import LevelBound, OrderBound, TimeBound
from mezzotint.objectives.towards import Towards

__all__ = [
    "Beside",
    "Bound",
    "ChainBound",
    "Classification",
    "ContextDecoder",
    "ContextPrediction",
    "Denoising",
    "Elsewhere",
    "Hybrid",
    "Importance",
    "Itself",
    "LevelBound",
    "Levels",
    "LogNormal",
    "LogUniform",
    "LogitNormal",
    "Loss",
    "Objective",
    "Neighbourhood",
    "OrderBound",
    "OrderedDecoder",
    "Reconstruction",
    "SetDecoder",
    "Shot",
    "TimeBound",
    "Towards",
    "UniformTimes",
    "bits",
]
