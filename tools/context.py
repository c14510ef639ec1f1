"""Draw docs/images/context.png: places of clothes, what lies around them, and what two decoders say lies there.

python tools/context.py            two models of 14 pixels are trained for it; a minute of one core

Rows: two places of held-out pictures. Columns: the picture with the place and the rings at distance 1, 2 and 3 around
it; the noisy picture, which is all that the model is given; and for each distance the values around the place from dark
to light, in three strips: as they are, as a decoder says that was trained on the neighbours, and as one says that was
trained on those in the next picture of the batch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import mezzotint as mz  # noqa: E402
from mezzotint.core.rng import Rng  # noqa: E402
from mezzotint.objectives import ContextPrediction, Elsewhere, Shot  # noqa: E402
from mezzotint.recipes import classes  # noqa: E402

SIZE, STRIDES, NOISE = 14, (1, 2, 3), 0.3
SHOWN = ((1, 8, 3), (39, 5, 9))
"""Places: which held-out picture, row and column."""
STRIPS = ("there", "said", "said by the control")
COLOURS = ("#d9541e", "#e0a526", "#2f7fc1")


def trained(kind: type[ContextPrediction], images: int, seed: int = 0) -> tuple[Any, ContextPrediction]:
    """A model and what it was trained with, neighbours at all strides; the same weights and batches for both kinds."""
    data = mz.data.FashionMNIST(SIZE)
    torch.manual_seed(seed)
    training: Any = classes.usual(data, images, width=16)
    model, objective = training.model, kind(training.training.objective, strides=STRIDES, sites=1 / 4)
    x, cond = data[:1]
    objective.meet(model, x, model.prepare(cond), seed)
    weights = [*model.parameters(), *objective.parameters()]
    optimiser = torch.optim.Adam(weights, 2e-3, betas=(0.9, 0.99))
    batch, order = 64, torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    for first in range(0, images, batch):
        keys = range(first, first + batch)
        x, cond = data[order[[key % len(order) for key in keys]]]
        optimiser.zero_grad()
        objective(model, x, model.prepare(cond), Rng(keys)).value.mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, 2 * (1 - first / images))
        optimiser.step()
    return model.eval(), objective.eval()


@torch.no_grad()
def heard(model: Any, objective: ContextPrediction, shot: Shot) -> list[Tensor]:
    """What the decoder is given of every site, (B, sites, inputs) a stride, as the objective itself gives it."""
    found: list[Tensor] = []
    hook = objective.decoder.register_forward_pre_hook(lambda decoder, inputs: found.append(inputs[0]))
    objective.sites = 1.0
    objective.term(model, shot, Rng(range(len(shot.x0))))
    hook.remove()
    return found


@torch.no_grad()
def said(decoder: Any, h: Tensor, count: int) -> Tensor:
    """So many draws of the decoder about one site, h (inputs,), from dark to light."""
    calls = -(-count // decoder.draws)
    drawn = decoder.said(h.expand(calls, 1, -1), Rng(range(calls)))
    found: Tensor = drawn.flatten()[:count].sort().values
    return found


def around(x: Tensor, row: int, column: int, stride: int) -> Tensor:
    """The values around a place of a picture (H, W), from dark to light."""
    window = [
        x[i, j]
        for i in range(max(0, row - stride), min(len(x), row + stride + 1))
        for j in range(max(0, column - stride), min(x.shape[1], column + stride + 1))
        if (i, j) != (row, column)
    ]
    return torch.stack(window).sort().values


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw docs/images/context.png.")
    parser.add_argument("--images", type=int, default=9_600, help="how long both are trained")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "context.png", help="the picture")
    given = parser.parse_args(arguments)
    pair = [trained(kind, given.images) for kind in (ContextPrediction, Elsewhere)]

    data = mz.data.FashionMNIST(SIZE, "held_out")
    x, cond = data[[which for which, _, _ in SHOWN]]
    process = pair[0][0].process
    t = process.time(torch.full((len(x),), NOISE, dtype=torch.float64))
    x_t = process.corrupt(x, t).sample(Rng(range(len(x))))
    told = []
    for model, objective in pair:
        with torch.no_grad():
            answer = objective.asked(model)(x_t, t, model.prepare(cond))
        told.append(heard(model, objective, Shot(x, x_t, t, cond, answer)))

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    grey = {"cmap": "gray", "vmin": -1, "vmax": 1, "interpolation": "nearest"}
    figure, axes = pyplot.subplots(
        len(SHOWN), 5, figsize=(12, 2.1 * len(SHOWN)), width_ratios=(1, 1, 1.6, 1.6, 1.6), layout="constrained"
    )
    for line, (_, row, column) in zip(range(len(SHOWN)), SHOWN, strict=True):
        clean, noisy, *strips = axes[line]
        clean.imshow(x[line, 0], **grey)
        noisy.imshow((x_t[line, 0] / float(process.scales(t, x)[0][line])).clamp(-1.5, 1.5), **grey)
        clean.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, linewidth=2, edgecolor="#d01c8b"))
        for stride, colour in zip(STRIDES, COLOURS, strict=True):
            corner, side = (column - stride - 0.5, row - stride - 0.5), 2 * stride + 1
            for axis in (clean, noisy):
                axis.add_patch(Rectangle(corner, side, side, fill=False, linewidth=1.6, edgecolor=colour))
        for k, (stride, axis, colour) in enumerate(zip(STRIDES, strips, COLOURS, strict=True)):
            true = around(x[line, 0], row, column, stride)
            site = row * SIZE + column
            drawn = [said(pair[i][1].decoder, told[i][k][line, site], len(true)) for i in range(2)]
            axis.imshow(torch.stack([true, *drawn]), aspect="auto", **grey)
            for gap in (0.5, 1.5):
                axis.axhline(gap, color="white", linewidth=5)
            axis.set_yticks(range(3), STRIPS if k == 0 else [""] * 3, fontsize=9)
            if line == 0:
                axis.set_title(f"s = {stride}: {(2 * stride + 1) ** 2 - 1} neighbours", fontsize=10)
            for spine in axis.spines.values():
                spine.set(edgecolor=colour, linewidth=2)
        for axis in axes[line]:
            axis.set_xticks([])
            axis.tick_params(length=0)
        for axis in (clean, noisy):
            axis.set_yticks([])
    axes[0][0].set_title("the picture", fontsize=10)
    axes[0][1].set_title("what the model sees", fontsize=10)
    figure.savefig(given.out, dpi=110)


if __name__ == "__main__":
    main()
