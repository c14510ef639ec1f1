"""The pictures of docs/cascades.md and docs/upscaling.md: clothes drawn small and enlarged, and held-out ones enlarged.

python tools/cascade.py WORK        of the runs that `mezzotint reproduce cascaded-diffusion --work WORK` keeps there

Rows of the first: real clothes, their small pictures, what the base draws, what three stages make of that (trained
without augmentation; with noise, handed over at levels 0.1 and 0.35), and what one model of equal cost draws. Of the
second: small pictures, bicubic, a stage, the same held to the small pictures, the mean of eight of those, and the
truth.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint.conditions.enlarge import enlarged
from mezzotint.core import config
from mezzotint.core.condition import Condition
from mezzotint.core.rng import Rng
from mezzotint.core.store import load_model
from mezzotint.evidence.recipe import Setting, Training
from mezzotint.guidance import Projection
from mezzotint.operators import BlockMean
from mezzotint.recipes import enlarging
from mezzotint.samplers import Heun, Sampling
from mezzotint.training.pictures import grid, save_png

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SEED, SHOWN = 10, ("no augmentation", "noise 0.1", "noise 0.35")


def trained(work: Path, training: Training) -> Any:
    """The model of a training, wherever in the work folder it lies."""
    wanted = training.tree(SEED)
    for found in sorted(work.glob("**/trainings/*/config.yaml")):
        tree = config.load(found)
        same = all(tree[name] == wanted[name] for name in ("model", "data"))
        if same and all(tree["training"][k] == wanted["training"][k] for k in ("seed", "images", "objective")):
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
    save_png(IMAGES / "cascade.png", grid(torch.cat(rows), 10, 4))
    *_, (name, training) = arms["noise 0"].trainings.items()
    enlarge(trained(work, training))


def enlarge(model: Any) -> None:
    """Held-out clothes, a class a column."""
    x, cond = enlarging.pictures(Setting(enlarging.SETTING), "held_out")[:]
    rows = [int((cond["label"] == label).nonzero()[5]) for label in range(10)]
    truth, mean = x[rows], BlockMean(2)
    low = mean.forward(truth)
    told = cond[rows].take("label")[0] | Condition(low=low)
    held, seen = Projection(model, mean), Condition(**{"observed.y": low})
    free = Sampling(Heun(8), model)(told, Rng(range(10)))
    bound = [Sampling(Heun(8), held)(told | seen, Rng(range(10)).at("draw", k)) for k in range(8)]
    shown = [mean.pinv(low), enlarged(low, 2, "cubic"), free, bound[0], torch.stack(bound).mean(0), truth]
    save_png(IMAGES / "upscaling.png", grid(torch.cat(shown), 10, 4))


if __name__ == "__main__":
    with torch.no_grad():
        run(Path(sys.argv[1]))
