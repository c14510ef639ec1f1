"""How often a network is asked when rows that did not change are not, beside the formula, and what that saves.

    OMP_NUM_THREADS=1 python benchmarks/reuse.py --out benchmarks/records/reuse.json

Texts of 64 symbols are drawn in n equal steps by a small transformer with random weights. A row costs 1 + (n - 1) p
evaluations with p = 1 - (1 - 1/n)^64; RADD counts n p. Seconds are those of the process on its core.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from mezzotint.core import Rng  # noqa: E402
from mezzotint.denoiser import Chunked, Counted, Denoiser, Tokens  # noqa: E402
from mezzotint.networks import TokenTransformer  # noqa: E402
from mezzotint.processes import Absorbing  # noqa: E402
from mezzotint.samplers import Ancestral, Reuse, Sampler, Uniform  # noqa: E402

LENGTH, VOCAB = 64, 8


def model() -> Denoiser:
    """Four layers of width 128 whose answers are far from equal."""
    torch.manual_seed(0)
    network = TokenTransformer(VOCAB + 1, VOCAB, (LENGTH,), width=128, depth=4, heads=4)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return Tokens(network, Absorbing(VOCAB)).eval()


def asked(steps: int, rows: int) -> dict[str, float]:
    """Evaluations a row, measured and by both counts."""
    met, changes = Counted(model()), 1 - (1 - 1 / steps) ** LENGTH
    Reuse(Ancestral(steps, grid=Uniform()))(met, rng=Rng(range(rows)))
    found, formula = met.rows / rows, steps * changes
    return {
        "evaluations": round(found, 3),
        "n p": round(formula, 3),
        "1 + (n - 1) p": round(1 + (steps - 1) * changes, 3),
        "off n p": round(found / formula - 1, 4),
        "calls": met.calls,
    }


def seconds(sampler: Sampler, denoiser: Denoiser, rows: int) -> float:
    start = time.process_time()
    sampler(denoiser, rng=Rng(range(rows)))
    return time.process_time() - start


def saved(steps: int, rows: int, turns: int) -> dict[str, float]:
    """Seconds with and without, in turns; the ratio is of the best of each."""
    plain, denoiser = Ancestral(steps, grid=Uniform()), model()
    pairs = [(seconds(plain, denoiser, rows), seconds(Reuse(plain), denoiser, rows)) for _ in range(turns)]
    slow, fast = (min(column) for column in zip(*pairs, strict=True))
    return {"rows": rows, "without": round(slow, 2), "with": round(fast, 2), "ratio": round(slow / fast, 2)}


def same(steps: int, rows: int) -> bool:
    """Whether both give the same samples, asked one row at a time, so that a row rounds alike in any batch."""
    plain, denoiser = Ancestral(steps, grid=Uniform()), Chunked(model(), 1)
    return torch.equal(plain(denoiser, rng=Rng(range(rows))), Reuse(plain)(denoiser, rng=Rng(range(rows))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--turns", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    record = {
        "evaluations a row": {str(steps): asked(steps, args.rows) for steps in (16, 64, 256, 1024)},
        "seconds at n = 1024": [saved(1024, rows, args.turns) for rows in (1, 16)],
        "the same bits": same(64, 4),
        "machine": {"processor": platform.processor() or platform.machine(), "threads": 1, "torch": torch.__version__},
    }
    text = json.dumps(record, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
