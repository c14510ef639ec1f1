"""How many scenes a second one core makes, uncached, pictures and everything that is told of them.

    OMP_NUM_THREADS=1 python benchmarks/scenes.py --out benchmarks/records/scenes.json

Seconds are those of the process on its core, so that a busy machine counts less; the best of several turns is what an
idle one shows. Batches are of 256, as a training loop reads them.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from mezzotint.data import Scenes, SceneVideos  # noqa: E402
from mezzotint.data.data import Data  # noqa: E402
from mezzotint.data.scenes.scenes import TELLS  # noqa: E402

BARS = {"map, depth, caption, boxes": 2000, "everything": 300}
BATCH = 256


def sets() -> dict[str, tuple[Data, int]]:
    """Data sets by name, and how many pictures an item counts for."""
    some, everything = ("layout", "depth", "caption", "boxes"), tuple(TELLS)
    return {
        "the picture alone": (Scenes(tells=()), 1),
        "map, depth, caption, boxes": (Scenes(tells=some), 1),
        "everything": (Scenes(tells=everything), 1),
        "everything, 64 pixels": (Scenes(size=64, tells=everything), 1),
        "everything, 128 pixels": (Scenes(size=128, tells=everything), 1),
        "everything, 256 pixels": (Scenes(size=256, tells=everything), 1),
        "videos of 4 frames, everything, by frame": (
            SceneVideos(scenes=Scenes(tells=everything), frames=4, flow=True),
            4,
        ),
    }


def rate(data: Data, each: int, turns: int) -> list[float]:
    """Pictures a second of every turn."""
    pixels = int(np.prod(data.shape[1:]))
    batch = max(8, BATCH * 32 * 32 // pixels)
    data[:8]
    found = []
    for turn in range(turns):
        start = time.process_time()
        data[turn * batch : (turn + 1) * batch]
        found.append(each * batch / (time.process_time() - start))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=16)
    parser.add_argument("--out", type=Path, default=None, help="write a record")
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = {}
    print(f"{'':<42} {'best':>7} {'median':>7} {'bar':>6}")
    for name, (data, each) in sets().items():
        found = rate(data, each, given.turns)
        record[name] = {"best": round(max(found)), "median": round(float(np.median(found))), "bar": BARS.get(name)}
        print(f"{name:<42} {max(found):7.0f} {np.median(found):7.0f} {BARS.get(name, ''):>6}", flush=True)
    if given.out is not None:
        about = {"processor": platform.processor() or platform.machine(), "numpy": np.__version__}
        given.out.write_text(json.dumps({"images per second of one core": record, **about}, indent=1) + "\n")


if __name__ == "__main__":
    main()
