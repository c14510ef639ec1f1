"""Error against evaluations of every deterministic sampler on a mixture whose denoiser is exact.

The truth at the end is the same path walked in very many steps of the sampler of highest order; the orders themselves
are tested against an integrator that shares no code with the samplers (tests/samplers/test_orders.py). The run goes
between two ratios sigma / alpha, 80 and 0.002, on rectified flow; every other process gives the same curves, as
x / alpha is one path for all of them.

    python benchmarks/solvers.py --out solvers.json --picture solvers.png
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from mezzotint.core import Rng  # noqa: E402
from mezzotint.denoiser import Counted, Mixture  # noqa: E402
from mezzotint.processes import Flow  # noqa: E402
from mezzotint.samplers import Churn, Euler, Heun, Multistep, Sampler, UniPC  # noqa: E402

HIGH, LOW, STARTS, SIZE = 80.0, 0.002, 32, 8
SAMPLERS: dict[str, Callable[[int], Sampler]] = {
    "Euler (DDIM)": Euler,
    "Heun, level": Heun,
    "Churn (EDM's Heun)": Churn,
    "Multistep 2": Multistep,
    "Multistep 3, reference": lambda n: Multistep(n, order=3, compat="reference"),
    "Multistep 3": lambda n: Multistep(n, order=3),
    "UniPC 2": UniPC,
    "UniPC 3": lambda n: UniPC(n, order=3),
}
NUDGED = {
    "Churn (EDM's Heun)": (5, 3),
    "Heun, level": (5, 2),
    "Multistep 3": (5, 6),
    "UniPC 2": (5, -5),
}  # labels that would lie on others
STEPS = (5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320)


def mixture() -> Mixture:
    """Four components with their own axes, spreads from 0.1 to 0.6, centred away from 0."""
    draw = Rng([11])
    means = draw.normal("means", (4, SIZE))[0].double() + 0.5
    axes = torch.linalg.qr(draw.normal("axes", (4, SIZE, SIZE))[0].double())[0]
    spread = 0.1 + 0.5 * draw.uniform("spread", (4, SIZE))[0]
    return Mixture(Flow(), means, axes @ torch.diag_embed(spread**2) @ axes.transpose(1, 2))


def times(steps: int) -> Tensor:
    ratio = torch.exp(torch.linspace(math.log(HIGH), math.log(LOW), steps + 1, dtype=torch.float64))
    return Flow().time(ratio / (1 + ratio))


def end(sampler: Sampler, model: Mixture) -> tuple[Tensor, float]:
    """Where the run ends, and how many evaluations a sample took."""
    counted, path = Counted(model), times(sampler.steps)
    start = HIGH * Flow().alpha(path[0]) * Rng(range(STARTS)).normal("start", (SIZE,)).double()
    x = sampler(counted, rng=Rng(range(STARTS)), times=path, start=start)
    return x, counted.rows / STARTS


def measure() -> dict[str, list[tuple[float, float]]]:
    """(evaluations, median distance to the truth) by sampler."""
    model, found = mixture(), {}
    truth, _ = end(UniPC(3000, order=3), model)
    for name, make in SAMPLERS.items():
        runs = [end(make(steps), model) for steps in STEPS]
        found[name] = [(cost, float((x - truth).norm(dim=1).median())) for x, cost in runs]
        (a, b), (c, d) = found[name][STEPS.index(80)], found[name][-1]
        print(f"{name:24} order {math.log(b / d) / math.log(c / a):.2f}   error at about 20 evaluations "
              f"{min(found[name], key=lambda pair: abs(pair[0] - 20))[1]:.1e}")  # fmt: skip
    return found


def draw(found: dict[str, list[tuple[float, float]]], path: str) -> None:
    """One curve a sampler, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    for place, (name, every) in enumerate(found.items()):
        points = [point for point in every if point[0] <= STEPS[-1]]
        dashed = "--" if "reference" in name else "-"
        axes.loglog(*zip(*points, strict=True), dashed, color=f"C{place}", lw=1.6)
        axes.annotate(
            name,
            points[-1],
            xytext=NUDGED.get(name, (5, 0)),
            textcoords="offset points",
            color=f"C{place}",
            va="center",
            size=8,
        )
    axes.set_xlabel("evaluations of the denoiser per sample")
    axes.set_ylabel("distance to the exact end of the path (median)")
    axes.set_title("Deterministic samplers on an exact 8-D mixture", loc="left", size=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", lw=0.4, alpha=0.5)
    axes.set_xlim(4.5, 1100)
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="write the record as JSON")
    parser.add_argument("--picture", help="write the curves as PNG")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    curves = measure()
    if arguments.out:
        record = {"steps": STEPS, "starts": STARTS, "size": SIZE, "torch": torch.__version__, "curves": curves}
        Path(arguments.out).write_text(json.dumps(record, indent=1) + "\n")
    if arguments.picture:
        draw(curves, arguments.picture)
