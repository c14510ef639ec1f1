"""Objectives: a model and clean data turned into one loss per sample."""

from mezzotint.objectives.base import Levels, Loss, Objective, Shot
from mezzotint.objectives.denoising import Denoising
from mezzotint.objectives.levels import LogitNormal, LogNormal, UniformTimes

__all__ = ["Denoising", "Levels", "LogNormal", "LogitNormal", "Loss", "Objective", "Shot", "UniformTimes"]
