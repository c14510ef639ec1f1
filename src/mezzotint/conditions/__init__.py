"""Conditions: families of values turned into what a network is told."""

from mezzotint.conditions.classes import Classes
from mezzotint.conditions.encoder import Encoder
from mezzotint.conditions.image import Image
from mezzotint.conditions.part import ConditionPart
from mezzotint.conditions.vector import Vector

__all__ = ["Classes", "ConditionPart", "Encoder", "Image", "Vector"]
