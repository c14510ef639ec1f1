"""Draw docs/images/layouts.png: held-out layouts, their real pictures and what a model paints to them.

python tools/layouts.py RUN        # RUN is a run of scenes that tell layouts, of 16 or 32 pixels

Columns: a layout, the real picture it is of, and a picture for each of four seeds. Things that are colours are shown as
they look on average in a few hundred real pictures, others in the colours of every sheet. The second row is the first
again, its largest object another thing, with the same seeds; no real picture is of that layout. How far the pictures of
these two rows are apart is printed, where the layouts differ and elsewhere.
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
from mezzotint.cli.maps import maps  # noqa: E402
from mezzotint.conditions.layout import UNSAID  # noqa: E402
from mezzotint.core.rng import Rng  # noqa: E402
from mezzotint.core.spec import build  # noqa: E402
from mezzotint.guidance import CFG  # noqa: E402
from mezzotint.samplers import Heun, Sampling  # noqa: E402
from mezzotint.training.pictures import enlargement, grid, save_png  # noqa: E402
from mezzotint.training.run import Run  # noqa: E402

SEEDS = range(4)


def changed(layout: Tensor, which: Tensor, things: int) -> Tensor:
    """The same layout (H, W), its largest object another thing, the next one that it does not show.

    Arguments:
        layout: one thing at each place; the commonest is what the objects stand before.
        which: the instance at each place, or the layout where they are not known.
        things: how many there are.
    """
    shown, counts = torch.unique(layout[layout != UNSAID], return_counts=True)
    behind = shown[counts.argmax()]
    numbers, sizes = torch.unique(which[(layout != behind) & (layout != UNSAID)], return_counts=True)
    if not len(numbers):
        raise SystemExit("the first of these layouts shows one thing everywhere; begin with another row")
    object_ = (which == numbers[sizes.argmax()]) & (layout != behind)
    before = int(layout[object_][0])
    others = [(before + step) % things for step in range(1, things)]
    fresh = [thing for thing in others if thing not in shown.tolist()] or [t for t in others if t != int(behind)]
    if not fresh:
        raise SystemExit("this model knows no third thing that an object could become")
    return torch.where(object_, torch.tensor(fresh[0], dtype=layout.dtype), layout)


def shown(data: Any, cond: mz.Condition) -> Tensor:
    """The layouts of a condition as pictures (B, 3, H, W)."""
    layout = cond["layout"].long()
    if getattr(data, "layout", "") != "colour":
        return maps(cond, (layout.shape[1], layout.shape[2]))["layout"]
    x, real = data[: min(300, len(data))]
    pixels, things = x.movedim(1, -1), real["layout"]
    means = [pixels[things == thing].mean(0) for thing in range(len(data.things))]
    return torch.stack(means).nan_to_num(0.0)[layout.clamp(max=len(means) - 1)].movedim(-1, 1)


def apart(one: Tensor, other: Tensor, there: Tensor) -> str:
    """How far pictures (N, C, H, W) are apart at the places (H, W) and elsewhere, in words."""
    squares = (127.5 * (one.clamp(-1, 1) - other.clamp(-1, 1))).square().mean((0, 1))
    inside, outside = (float(squares[where].mean().sqrt()) for where in (there, ~there))
    share = 100 * float(there.double().mean())
    return (
        f"the layouts differ at {share:.3g} % of the places; there the pictures changed by {inside:.1f} of 255 (RMS), "
        f"elsewhere by {outside:.1f}"
    )


def painted(model: Any, cond: mz.Condition, steps: int, scale: float) -> Tensor:
    """Pictures of every layout under every seed, (layouts, seeds, C, H, W)."""
    sampling = Sampling(Heun(steps), model if scale == 1 else CFG(model, scale))
    rows = torch.arange(len(cond["layout"])).repeat_interleave(len(SEEDS))
    keys = Rng([*SEEDS] * len(cond["layout"]))
    with torch.no_grad():
        x: Tensor = sampling(cond[rows], keys).float()
    return x.reshape(-1, len(SEEDS), *x.shape[1:])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw docs/images/layouts.png.")
    parser.add_argument("run", help="a run of scenes that tell layouts")
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="which of the held-out scenes")
    parser.add_argument("--guidance", type=float, default=1.5, help="1 is the plain conditional model")
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "layouts.png", help="the picture")
    given = parser.parse_args(arguments)
    data, model = build(Run.open(given.run).config["data"]).held_out(), mz.load(given.run)
    x, told = data[given.rows]
    cond = told.take("layout")[0]
    first = cond[[0]]
    which = first["layout.instances"] if "layout.instances" in first else first["layout"]
    after = mz.Condition(**{**first.values, "layout": changed(first["layout"][0], which[0], len(data.things))[None]})
    drawn, anew = (painted(model, one, given.steps, given.guidance) for one in (cond, after))
    there = after["layout"][0] != first["layout"][0]
    print(apart(drawn[0], anew[0], there))
    size = (x.shape[-2], x.shape[-1])
    heads, edited = (shown(data, one) for one in (cond, after))
    lines = [torch.cat([heads[k : k + 1], x[k : k + 1], drawn[k]]) for k in range(len(x))]
    nothing = torch.full_like(x[:1], 2 * 32 / 255 - 1)  # the shade of the gaps
    lines.insert(1, torch.cat([edited, nothing, anew[0]]))
    save_png(given.out, grid(torch.cat(lines), 2 + len(SEEDS), enlargement(*size, side=64), 2))


if __name__ == "__main__":
    main()
