"""Scenes by their number, each with enough of every object left to see.

How much is seen is counted on a grid of its own, so that a scene is the same at every size. A scene in which too little
of an object is seen, or with fewer objects than are asked for, is drawn again from keys of its own; of one that fails
every time, the hidden objects are left out, and one that has no room for the fewest keeps those that it has room for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mezzotint.core.rng import Rng
from mezzotint.data.scenes.numbers import Array, Ints
from mezzotint.data.scenes.paint import seen
from mezzotint.data.scenes.plan import Choices, Plan, draw
from mezzotint.data.scenes.words import FIGURE

LEAST = 0.6
"""The share of its area that is seen of every object."""
_GRID, _TIMES = 32, 6


def scenes(choices: Choices, rows: Ints, size: tuple[int, int]) -> Plan:
    """The scenes of these numbers, for pictures of a size, (height, width)."""
    short = min(size)
    aspect = size[0] / short, size[1] / short
    grid = round(_GRID * aspect[0]), round(_GRID * aspect[1])
    keys = Rng([choices.seed]).at("scenes").repeat(len(rows)).at(torch.from_numpy(rows))
    plan = draw(keys, choices, aspect)
    for attempt in range(_TIMES * choices.objects[0]):  # many objects do not find places at the first try
        few = np.flatnonzero(plan.there.sum(1) < choices.objects[0])
        if not len(few):
            break
        plan = plan.put(few, draw(keys[torch.from_numpy(few)].at("more", attempt), choices, aspect))
    # Others keep clear of one another.
    open_rows = np.flatnonzero(((plan.covers >= 0) | (plan.form == FIGURE)).any(1))
    for attempt in range(1, _TIMES):
        open_rows = open_rows[_hidden(plan[open_rows], grid).any(1)]
        if not len(open_rows):
            return plan
        fresh = draw(keys[torch.from_numpy(open_rows)].at("again", attempt), choices, aspect)
        whole = fresh.there.sum(1) >= choices.objects[0]
        plan = plan.put(open_rows[whole], fresh[np.flatnonzero(whole)])
    while (hidden := _hidden(plan[open_rows], grid)).any():
        form = plan.form.copy()
        form[open_rows] = np.where(hidden, -1, form[open_rows])
        plan = replace(plan, form=form)
    return replace(plan, covers=np.where(plan.there, plan.covers, -1))


def _hidden(plan: Plan, grid: tuple[int, int]) -> Array:
    """Which objects are seen too little of, bool (B, K)."""
    visible, whole = seen(plan, grid)
    hidden: Array = plan.there & (visible < LEAST * whole)
    return hidden
