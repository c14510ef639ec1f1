"""A later phase of a training: from a share of the run on, another loss and another rate.

The weights, their averages, the optimiser's moments and the order of the data go on as they are, so a phase is one
run's, and its checkpoints lie beside the others. A model that is first taught to follow what it is told, and then to do
without it now and then, can be guided: semantic image synthesis (2207.00050, section 3.3) trains that way.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.core.learner import Learner
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.data.data import Data, unpacked
from mezzotint.objectives.base import Objective
from mezzotint.objectives.denoising import Denoising
from mezzotint.training.rate import Rate


@dataclass(frozen=True)
class Phase(Part):
    """What changes where a share of the run is over.

    Arguments:
        begins: that share of all steps, in (0, 1).
        objective: minimised from there on; it keeps nothing of its own from step to step.
        rate: learning rate by images seen in this phase; its cool-down is a share of the phase.
    """

    begins: float
    objective: Objective
    rate: Rate = field(default_factory=Rate)

    def __post_init__(self) -> None:
        if isinstance(self.begins, bool) or not isinstance(self.begins, int | float) or not 0 < self.begins < 1:
            raise Refusal(f"a phase begins at a share of the run between 0 and 1, not at {self.begins!r}")
        if not isinstance(self.objective, Objective) or not isinstance(self.rate, Rate):
            raise Refusal(f"a phase has an objective and a rate, not {self.objective!r:.60} and {self.rate!r:.60}")
        if self.objective.remembers:
            raise Refusal(
                f"{type(self.objective).__name__} keeps something of its own, which a later phase cannot bring into a "
                "run; train it from the first step on"
            )

    @classmethod
    def example(cls) -> Phase:
        return cls(0.8, Denoising(dropout=0.2), Rate(2e-4, warmup=0))


def starts(phases: Sequence[Phase], total: int) -> tuple[int, ...]:
    """The first steps of the phases after the one that a run begins with, counted from 0, and the end of the run.

    Arguments:
        phases: in their order.
        total: steps of the run.

    Raises:
        Refusal: one of them, or the phase before it, has no step.
    """
    found = (*(round(phase.begins * total) for phase in phases), total)
    for before, after in zip((0, *found), found, strict=False):
        if after <= before:
            raise Refusal(
                f"of {total} steps every phase needs one at least, but these begin at the shares "
                f"{', '.join(f'{phase.begins:g}' for phase in phases)}; train for longer, or let them lie further apart"
            )
    return found


def suited(phases: Sequence[Phase], model: Learner, data: Data) -> None:
    """Ask every later objective once about one item, so that one that does not suit the model is refused before the
    training and not at the end of the phase before it."""
    for place, phase in enumerate(phases):
        x, cond = data[:1]
        try:
            with torch.no_grad():
                phase.objective(cast(Any, model), unpacked(x), model.prepare(cond), Rng([0]))
        except Refusal as refusal:
            raise Refusal(f"training.then.{place}.objective does not suit this model: {refusal}") from None


def ends(training: Mapping[str, Any]) -> tuple[int, ...]:
    """The last steps of the phases of a training's config."""
    total = -(-count(training["images"]) // int(training["batch"]))
    return (*(round(float(phase["begins"]) * total) for phase in training.get("then") or ()), total)


def kept(training: Mapping[str, Any], images: int) -> list[str]:
    """The edits with which a run of more images keeps its phases where they were, such as
    ``training.then.0.begins=0.4``."""
    steps, total = ends(training), -(-images // int(training["batch"]))
    shares = (math.floor(1e4 * step / total) / 1e4 for step in steps[:-1])
    return [f"training.then.{place}.begins={share:g}" for place, share in enumerate(shares)]


def check_onward(before: Mapping[str, Any], phases: Sequence[Phase], step: int, images: int) -> None:
    """Refuse to take a run back to a phase that it has left: what it learnt there would go untrained, and unsaid.

    Arguments:
        before: the training's config as the run has it.
        phases: of the training that is to go on.
        step: how many are done.
        images: of the whole.
    """
    old = ends(before)
    was = bisect_right(old[:-1], max(step - 1, 0))
    new = bisect_right(starts(phases, -(-images // int(before["batch"])))[:-1], step)
    if new < was:
        edits = " ".join(f"--set {edit}" for edit in kept(before, images))
        raise Refusal(
            f"this run is in phase {was + 1} of {len(old)} and would go back to phase {new + 1}, for phases begin at "
            f"shares of {images:,} images now; let them begin where they did ({edits}), or train anew"
        )
