"""Pipelines of several models: what one draws, the next is told."""

from mezzotint.cascades.cascade import Cascade, Handed
from mezzotint.cascades.stage import Opens, Stage

__all__ = ["Cascade", "Handed", "Opens", "Stage"]
