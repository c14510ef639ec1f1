"""Pipelines of several models: what one draws, the next is told."""

from mezzotint.cascades.cascade import Cascade, Handed
from mezzotint.cascades.folder import Member, load
from mezzotint.cascades.stage import Opens, Stage
from mezzotint.cascades.stored import Stored

__all__ = ["Cascade", "Handed", "Member", "Opens", "Stage", "Stored", "load"]
