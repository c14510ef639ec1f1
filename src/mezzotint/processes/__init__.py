"""Processes: how clean data are corrupted, as laws on a clock from 0 (clean) to 1 (prior)."""

from mezzotint.processes.base import Continuous, Process
from mezzotint.processes.cosine import Cosine
from mezzotint.processes.ddpm import DDPM
from mezzotint.processes.edm import EDM
from mezzotint.processes.flow import Flow
from mezzotint.processes.table import Table, Tabulated
from mezzotint.processes.vp import VP

__all__ = ["DDPM", "EDM", "VP", "Continuous", "Cosine", "Flow", "Process", "Table", "Tabulated"]
