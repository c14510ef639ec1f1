"""Training: a loop counted in images, averages of the weights, and run folders that describe themselves."""

from mezzotint.training.checkpoint import reconstruct
from mezzotint.training.ema import PowerAverage
from mezzotint.training.inverse_root import InverseRoot
from mezzotint.training.mirror import Mirror
from mezzotint.training.phase import Phase
from mezzotint.training.rate import Rate
from mezzotint.training.recorder import Progress
from mezzotint.training.run import Run
from mezzotint.training.start import train
from mezzotint.training.stop import Stopped
from mezzotint.training.trainer import Trainer

__all__ = [
    "InverseRoot",
    "Mirror",
    "Phase",
    "PowerAverage",
    "Progress",
    "Rate",
    "Run",
    "Stopped",
    "Trainer",
    "reconstruct",
    "train",
]
