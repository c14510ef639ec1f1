"""Scenes with exact truth: planned, painted, described, and read back."""

from mezzotint.data.scenes.scenes import Scenes

__all__ = ["Scenes"]
