"""Recipes: which parts, how long, on what - as data."""

from mezzotint.recipes.classes import DEMO, of_data

__all__ = ["DEMO", "of_data"]
