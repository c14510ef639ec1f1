"""How fast pictures reach the training loop beside a bare loop that decodes them, and what memory a pass takes.

    OMP_NUM_THREADS=1 python benchmarks/loader.py --workers 0 2 --out benchmarks/records/loader.json

The pictures are the flowers of the data root, written as JPEG files into a temporary folder. The loader is the one that
training uses: batches of a data set, in the order of a run, with their labels, packed as bytes as they travel to the
device. The bare loop opens the same files in the same order with Pillow, brings them to size with its box filter where
they have another, and makes arrays of bytes; its workers hand nothing over. With workers stands beside it what is left
where they do: the same loop in torch's DataLoader, which passes arrays of bytes on. All take turns, so that a busy
machine slows all, and the best turn of each is what an idle one shows. Without workers seconds are those of the process
on its core.

The pass is over made-up pictures that take 200 MiB decoded, through a loader that may keep 8 MiB.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from mezzotint.core.errors import Refusal  # noqa: E402
from mezzotint.data import Flowers, Folder  # noqa: E402
from mezzotint.training.feed import feed  # noqa: E402
from mezzotint.training.order import Order  # noqa: E402

BAR, BATCH, MIB = 0.90, 64, 2**20


def arrays(files: Sequence[Path], size: int) -> Iterator[NDArray[np.uint8]]:
    """Decode files to arrays of bytes."""
    for file in files:
        with Image.open(file) as image:
            picture = image.convert("RGB")
            if picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.BOX)
            yield np.asarray(picture)


def bare(work: tuple[Sequence[Path], int]) -> int:
    return sum(1 for _ in arrays(*work))


class Handed(Dataset[torch.Tensor]):
    """The bare loop as a user writes it: a batch of files as one array of bytes."""

    def __init__(self, files: Sequence[Path], size: int) -> None:
        self.files, self.size = files, size

    def __getitem__(self, rows: Any) -> torch.Tensor:
        return torch.from_numpy(np.stack(list(arrays([self.files[row] for row in rows], self.size))))


def loaded(data: Folder, workers: int) -> Iterator[tuple[torch.Tensor, object]]:
    """The batches of a long training; workers that read them read two each ahead."""
    return iter(feed(data, 0, 0, 10**6, BATCH, np.arange(BATCH), workers))


def turns(folder: Path, size: int, workers: int, steps: int, count: int) -> dict[str, float]:
    """Pictures a second of both, and their ratio."""
    data = Folder(str(folder), size=size, budget=0, split="all")
    order, step, clock = Order(len(data), 0), 0, time.perf_counter if workers else time.process_time
    found: dict[str, list[float]] = {"loader": [], "bare": []}
    readers = {"loader": loaded(data, workers)}
    if workers:
        orders = [order.at(at * BATCH, BATCH) for at in range((steps + 2 * workers) * (count + 1))]
        handed: Any = DataLoader(Handed(data._files, size), batch_size=None, sampler=orders, num_workers=workers)
        readers["handed over"], found["handed over"] = iter(handed), []
    pool = multiprocessing.get_context("fork").Pool(workers) if workers else None
    ahead = 2 * workers
    for batches in readers.values():
        next(batches)
    time.sleep(0.5 * workers)
    for _ in range(count):
        rows = [order.at((step + k) * BATCH, BATCH) for k in range(steps)]
        work = [([data._files[row] for row in some], size) for some in rows]
        start = clock()
        many = sum(map(bare, work)) if pool is None else sum(pool.imap_unordered(bare, work))
        found["bare"].append(many / (clock() - start))
        for name, batches in readers.items():
            for _ in range(ahead):  # those that were read ahead meanwhile
                next(batches)
            start = clock()
            many = steps * BATCH
            for _ in range(steps):
                next(batches)
            found[name].append(many / (clock() - start))
            time.sleep(1.5 * ahead * BATCH / found[name][-1])  # they read ahead again, and not in the other's turn
        step += steps
    if pool is not None:
        pool.terminate()
    best = {name: round(max(pace), 1) for name, pace in found.items()}
    for other in ("bare", "handed over")[: 1 + bool(workers)]:
        middle = float(np.median(np.divide(found["loader"], found[other])))
        best |= {f"to {other}": round(best["loader"] / best[other], 3), f"to {other}, median": round(middle, 3)}
    return best | {"bar": BAR}


def resident() -> float:
    """MiB of this process in memory, files that are mapped left out."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024


def memory(folder: Path, size: int = 256, decoded: int = 200 * MIB, budget: int = 8 * MIB) -> dict[str, float]:
    """The most that a pass takes, and how much more its second half takes than its first."""
    rng, count = np.random.default_rng(0), decoded // (3 * size * size)
    folder.mkdir()
    for number in range(count):
        pixels = rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        ending = ("png", "jpg")[number % 2]
        Image.fromarray(pixels).resize((size, size)).save(folder / f"{number:05d}.{ending}")
    data, batch = Folder(str(folder), budget=budget, split="all", channels=3), 16
    seen, before = [], resident()
    for x, _ in feed(data, 0, 0, count // batch, batch, np.arange(batch), 0):
        assert x.shape == (batch, 3, size, size)
        seen.append(resident())
    return {
        "decoded MiB": round(count * 3 * size * size / MIB, 1),
        "budget MiB": budget / MIB,
        "most MiB": round(max(seen) - before, 1),
        "growth MiB": round(max(seen[len(seen) // 2 :]) - max(seen[: len(seen) // 2]), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 64])
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--steps", type=int, default=4, help=f"batches of {BATCH} a turn")
    parser.add_argument("--out", type=Path, default=None, help="write a record")
    given = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as place:
        try:
            Flowers(split="all").write(Path(place, "flowers"), 1200)
        except Refusal as why:
            print(f"speed is not measured: {why}")
        else:
            print("pictures a second")
            for size in given.sizes:
                for workers in given.workers:
                    found = turns(Path(place, "flowers"), size, workers, given.steps, given.turns)
                    name = f"{size} pixels, {workers} workers"
                    record[name] = found
                    print(name + ":", ", ".join(f"{key} {value}" for key, value in found.items()), flush=True)
        record["memory of a pass"] = taken = memory(Path(place, "made"))
        print(", ".join(f"{name} {number}" for name, number in taken.items()))
    if given.out is not None:
        about = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
        given.out.write_text(json.dumps({**record, **about, "pillow": PIL.__version__}, indent=1) + "\n")


if __name__ == "__main__":
    main()
