"""Operators: known measurements of a picture, their adjoints and their pseudo-inverses."""

from mezzotint.operators.base import Operator
from mezzotint.operators.mask import Mask
from mezzotint.operators.resize import BlockMean

__all__ = ["BlockMean", "Mask", "Operator"]
