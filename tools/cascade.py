"""The picture of docs/cascades.md: clothes drawn small and enlarged, by the models of a reproduction.

python tools/cascade.py WORK        of the runs that `mezzotint reproduce cascaded-diffusion --work WORK` keeps there

Rows: real clothes, their small pictures, what the base draws, what three stages make of that (trained without
augmentation; with noise, handed over at levels 0.1 and 0.35), and what one model of equal cost draws.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint.core import config
from mezzotint.core.rng import Rng
from mezzotint.core.store import load_model
from mezzotint.evidence.recipe import Setting, Training
from mezzotint.operators import BlockMean
from mezzotint.recipes import enlarging
from mezzotint.training.pictures import grid, save_png

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "cascade.png"
SEED, SHOWN = 10, ("no augmentation", "noise 0.1", "noise 0.35")


def trained(work: Path, training: Training) -> Any:
    """The model of a training, wherever in the work folder it lies."""
    wanted = training.tree(SEED)
    for found in sorted(work.glob("**/trainings/*/config.yaml")):
        tree = config.load(found)
        if all(tree[name] == wanted[name] for name in ("model", "data")) and (
            tree["training"]["images"],
            tree["training"]["objective"],
        ) == (wanted["training"]["images"], wanted["training"]["objective"]):
            return load_model(found.parent)
    raise SystemExit(f"no run in {work} is of that training")


def run(work: Path) -> None:
    """Draw the sheet: ten columns, a class each."""
    s = Setting(enlarging.SETTING)
    arms, whole = enlarging.arms(s), enlarging.asked(s)
    cond = whole[[int((whole["label"] == label).nonzero()[3]) for label in range(10)]]
    keys = Rng(range(10))

    def drawn(name: str) -> Iterator[Tensor]:
        pipeline: Any = arms[name].pipeline({k: trained(work, one) for k, one in arms[name].trainings.items()})
        for handed in pipeline.walk(cond, keys):
            yield handed.x

    large = BlockMean(2).pinv
    base, *_ = rows = list(drawn(SHOWN[0]))
    rows = [cond["real"], large(cond["low"]), large(base), rows[-1]]
    rows += [list(drawn(name))[-1] for name in SHOWN[1:]]
    rows += drawn(enlarging.SINGLE)
    save_png(PICTURE, grid(torch.cat(rows), 10, 4))


if __name__ == "__main__":
    with torch.no_grad():
        run(Path(sys.argv[1]))
