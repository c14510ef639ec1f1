"""What a cascade holds in memory: the most bytes of parameters alive at once, as a ratio to its largest stage.

    OMP_NUM_THREADS=1 python benchmarks/staging.py --out benchmarks/records/staging.json

Three stages of different sizes lie in folders. They are run once all open and once one at a time, each in a process of
its own so that resident memory compares too. All parameters that exist are counted, whoever holds them, at every
evaluation of a network and between stages. Weights are random: what is measured does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from mezzotint.cascades import Cascade, Stage, Stored  # noqa: E402
from mezzotint.conditions import Encoder, Image, Noised  # noqa: E402
from mezzotint.core import NONE, Rng  # noqa: E402
from mezzotint.core.store import save_model  # noqa: E402
from mezzotint.denoiser import Preconditioned  # noqa: E402
from mezzotint.networks import UNet  # noqa: E402
from mezzotint.processes import Cosine  # noqa: E402
from mezzotint.samplers import Heun  # noqa: E402
from mezzotint.testing.live import Live, resident  # noqa: E402

BAR = 1.05
WIDTHS = {"8": 96, "16": 128, "32": 112}
"""Channels of each stage by its name, the side of its pictures; the one in the middle is the largest."""


def store(folder: Path) -> dict[str, int]:
    """Three models in folders; bytes of the parameters of each."""
    sizes = {}
    for place, (side, width) in enumerate(WIDTHS.items()):
        torch.manual_seed(place)
        shape, maps = (3, int(side), int(side)), 3 * bool(place)
        network = UNet(shape, width, (1, 2), maps=maps, vector=64 if place else None, attention=())
        told = Encoder(low=Image(3, up=2, level=64)) if place else None
        model = Preconditioned(network, Cosine(), told)
        sizes[side] = sum(p.numel() * p.element_size() for p in model.parameters())
        save_model(folder / side, model)
    return sizes


def cascade(folder: Path, apart: bool) -> Cascade:
    """The three stages, each handed what the one before drew."""
    noised = Noised(Cosine(), level=0.1)
    stages = (
        Stage(side, Stored(str(folder / side), Heun(2)), augment=noised if place else None)
        for place, side in enumerate(WIDTHS)
    )
    return Cascade(tuple(stages), apart=apart)


def run(folder: Path, apart: bool, rows: int) -> dict[str, Any]:
    """One run; bytes above what the process held before it."""
    made, start = cascade(folder, apart), resident()
    with Live() as live, torch.no_grad():
        between = []
        for handed in made.walk(NONE, Rng(range(rows))):
            between.append((handed.name, live.look()))
    return {
        "parameters": live.peak,
        "looks": len(live.seen),
        "after each stage": dict(between),
        "resident": live.resident - start if start else None,
    }


def apart(folder: Path, mode: str, rows: int) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--mode", mode, "--folder", str(folder), "--rows", str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1, help="samples drawn at once")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    parser.add_argument("--mode", choices=("together", "apart"), help="run one mode on the models of --folder")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.mode:
        print(json.dumps(run(options.folder, options.mode == "apart", options.rows)))
        return
    with tempfile.TemporaryDirectory() as place:
        sizes = store(Path(place))
        found = {mode: apart(Path(place), mode, options.rows) for mode in ("together", "apart")}
    largest = max(sizes.values())
    for mode, figures in found.items():
        figures["ratio"] = round(figures["parameters"] / largest, 4)
        memory = "not known" if figures["resident"] is None else f"{figures['resident'] / 1e6:.0f} MB"
        print(
            f"{mode:<9} {figures['parameters'] / 1e6:7.1f} MB of parameters at most, {figures['ratio']:.3f} of the "
            f"largest stage; resident memory grew by {memory}"
        )
    print(f"bar: {BAR} of the largest stage one at a time; {sum(sizes.values()) / largest:.3f} is all of them")
    record = {
        "bytes of each stage": sizes,
        "largest": largest,
        "bar": BAR,
        **found,
        "machine": {"processor": platform.processor() or platform.machine(), "threads": 1, "torch": torch.__version__},
    }
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
