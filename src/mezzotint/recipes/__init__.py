"""Recipes: which parts, how long, on what, and which claim is put to the test - as data."""

from mezzotint.recipes.classes import DEMO
from mezzotint.recipes.find import find, origins
from mezzotint.recipes.kinds import of_data, usual

__all__ = ["DEMO", "find", "of_data", "origins", "usual"]
