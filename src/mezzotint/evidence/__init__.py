"""Evidence: claims as data, paired seeds, verdicts by rules fixed beforehand, and one record a run."""

from mezzotint.evidence.real import Real
from mezzotint.evidence.recipe import Arm, Closed, Models, Paper, Recipe, Setting, Trained, Training
from mezzotint.evidence.verdict import Criterion, Figure, Numbers, Seen, Statistic, Verdict, at, ratio

__all__ = [
    "Arm",
    "Closed",
    "Criterion",
    "Figure",
    "Models",
    "Numbers",
    "Paper",
    "Real",
    "Recipe",
    "Seen",
    "Setting",
    "Statistic",
    "Trained",
    "Training",
    "Verdict",
    "at",
    "ratio",
]
