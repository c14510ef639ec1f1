"""Recipes: which parts, how long, on what, and which claim is put to the test - as data."""

from mezzotint.recipes.classes import DEMO, of_data, usual
from mezzotint.recipes.find import find, origins

__all__ = ["DEMO", "find", "of_data", "origins", "usual"]
