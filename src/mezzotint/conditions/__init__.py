"""Conditions: families of values turned into what a network is told."""

from mezzotint.conditions.classes import Classes
from mezzotint.conditions.encoder import Encoder
from mezzotint.conditions.part import ConditionPart

__all__ = ["Classes", "ConditionPart", "Encoder"]
