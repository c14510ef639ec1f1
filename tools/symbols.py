"""Draw docs/images/symbols.png: what steps cost on enumerated texts, and a text on its way from masks to letters.

python tools/symbols.py RUN        # RUN is a run of a text, such as mezzotint train book.txt leaves
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import mezzotint as mz  # noqa: E402
from mezzotint.core.rng import Rng  # noqa: E402
from mezzotint.core.spec import build  # noqa: E402
from mezzotint.recipes import enumerated  # noqa: E402
from mezzotint.training.run import Run  # noqa: E402

STEPS, SHOWN = (1, 2, 4, 8, 16, 32, 64, 128), (1.0, 0.9, 0.75, 0.5, 0.25, 0.1, 0.0)


def curves() -> dict[str, list[float]]:
    """Total variation by number of steps, for the table of one seed."""
    table = 1.5 * Rng([10]).normal("table", (enumerated.VOCAB**enumerated.ENTRIES,))[0].double()
    masks, redrawn = (
        mz.denoiser.Enumerated(kind(enumerated.VOCAB), table)
        for kind in (mz.processes.Absorbing, mz.processes.Multinomial)
    )
    kinds = {
        "masks": (masks, enumerated.bridged),
        "redrawn": (redrawn, enumerated.bridged),
        "redrawn, kernel as printed in D3PM": (redrawn, enumerated.printed),
    }
    return {name: [enumerated.variation(model, n, kernel) for n in STEPS] for name, (model, kernel) in kinds.items()}


def texts(run: str) -> list[str]:
    """One text at the times that are shown; a middle dot is a mask."""
    model, data = mz.load(run), build(Run.open(run).config["data"])
    steps, found = 20, {}
    sampler = mz.samplers.Ancestral(steps, grid=mz.samplers.Uniform())
    with torch.no_grad():
        for state in sampler.trajectory(model, rng=Rng([3])):
            known = state.x != model.process.mask
            spelt = data.spelt(torch.where(known, state.x, 0))[0]
            found[round(float(state.t[0]), 6)] = "".join(
                c if there else "·" for c, there in zip(spelt, known[0].tolist(), strict=True)
            )
    return [f"t = {t:<5g} {found[t]}" for t in SHOWN]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw docs/images/symbols.png.")
    parser.add_argument("run", help="the run of a text")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "symbols.png", help="the picture")
    given = parser.parse_args(arguments)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1, 1.25), layout="constrained")
    for (name, values), colour in zip(curves().items(), ("#1f5a8a", "#c0682c", "#888888"), strict=True):
        left.loglog(STEPS, values, marker="o", markersize=4, color=colour, label=name)
    left.loglog(STEPS[2:], [0.25 / n for n in STEPS[2:]], color="#cccccc", linestyle=":", label="1 / steps")
    left.set_xticks(STEPS, [str(n) for n in STEPS])
    left.minorticks_off()
    left.set_xlabel("steps")
    left.set_ylabel("total variation to the exact law")
    left.legend(frameon=False, fontsize=8)
    left.spines[["top", "right"]].set_visible(False)
    right.axis("off")
    right.text(0, 0.95, "\n\n".join(texts(given.run)), family="monospace", fontsize=12, va="top")
    figure.savefig(given.out, dpi=110)


if __name__ == "__main__":
    main()
