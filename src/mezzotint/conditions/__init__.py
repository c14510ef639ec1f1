"""Conditions: families of values turned into what a network is told."""

from mezzotint.conditions.attributes import Attributes
from mezzotint.conditions.augment import Augment, Blurred, Noised
from mezzotint.conditions.captions import Captions, TextWarning
from mezzotint.conditions.classes import Classes
from mezzotint.conditions.encoder import Encoder
from mezzotint.conditions.frozen_text import FrozenText
from mezzotint.conditions.image import Image
from mezzotint.conditions.layout import Layout
from mezzotint.conditions.part import ConditionPart
from mezzotint.conditions.text import Text
from mezzotint.conditions.tokenizers import Bytes, Tokenizer, Words
from mezzotint.conditions.vector import Vector

__all__ = [
    "Attributes",
    "Augment",
    "Blurred",
    "Bytes",
    "Captions",
    "Classes",
    "ConditionPart",
    "Encoder",
    "FrozenText",
    "Image",
    "Layout",
    "Noised",
    "Text",
    "TextWarning",
    "Tokenizer",
    "Vector",
    "Words",
]
