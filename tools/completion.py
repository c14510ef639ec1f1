"""Draw docs/images/completion.png: digits of which the lower half is known, completed in raster order and by a chain.

python tools/completion.py            # trains two small models first, about three minutes on one core

Both models are unconditional and see as many digits: one autoregressive model in raster order, and a chain of three
stages. The upper half comes first in raster order, so the one model draws it before it has seen what is below; every
later stage of the chain reads all of the coarser picture.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import mezzotint as mz  # noqa: E402
from mezzotint.core.store import load_model  # noqa: E402
from mezzotint.recipes import chains  # noqa: E402
from mezzotint.training import train  # noqa: E402

SHADES, SHOWN, DRAWS = 8, 14, 2
STAGES = {"raster order": 1, "chain of 3": 3}


def digits(split: str = "train") -> mz.data.Shaded:
    """Digits of few shades, without their labels."""
    return mz.data.Shaded(mz.data.Untold(mz.data.Digits(split)), SHADES)


def model(stages: int, images: int, folder: Path) -> Any:
    """A model of digits: one autoregressive stage of five blocks, or three of as much work a picture."""
    depth = (5, 3, 2) if stages == 1 else (4, 3, 2)
    tree = chains.usual(digits(), images=images, width=64, stages=stages, depth=depth, peak=2e-3).tree(seed=0)
    train(tree, folder)
    return load_model(folder)


def completed(denoiser: Any, x: Tensor, mask: Tensor) -> list[Tensor]:
    """Draws of x where the mask is False."""
    cond = mz.Condition(**{"known.x": x, "known.mask": mask})
    pipeline = mz.samplers.Sampling(mz.samplers.Chain(), mz.guidance.Known(denoiser))
    with torch.no_grad():
        return [pipeline(cond, mz.Rng(range(100 * draw, 100 * draw + len(x)))) for draw in range(DRAWS)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw docs/images/completion.png.")
    parser.add_argument("--images", type=int, default=40_000, help="digits that each model sees")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "completion.png", help="the picture")
    given = parser.parse_args(arguments)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    data = digits("held_out")
    x, _ = data[np.arange(SHOWN)]
    mask = (torch.arange(8) >= 4)[:, None].expand(x.shape)
    pale = torch.where(mask[:, None], data.drawn(x), torch.full((), 0.4))
    rows = [("held out", data.drawn(x)), ("known", pale)]
    with tempfile.TemporaryDirectory() as home:
        for name, stages in STAGES.items():
            trained = model(stages, given.images, Path(home, str(stages)))
            rows += [(name, data.drawn(one)) for one in completed(trained, x, mask)]
    figure, axes = pyplot.subplots(len(rows), 1, figsize=(9, 0.66 * len(rows)), layout="constrained")
    for axis, (name, some) in zip(axes, rows, strict=True):
        strip = torch.nn.functional.pad(some[:, 0], (1, 1, 1, 1), value=1.0).permute(1, 0, 2).flatten(1)
        axis.imshow(strip.numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    figure.savefig(given.out, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
