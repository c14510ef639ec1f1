"""Decoding with a cache beside decoding without one: the same network, the same keys, the same samples.

Both draw 256 symbols of a causal transformer one after the other. With a cache (``Raster.sample``) a step computes one
position; without, it encodes all positions so far again and takes the logits at the last one: no padding, no head where
none is needed, positions computed once. They take turns in one process on the same number of threads, so a busy machine
slows both, and what they draw is compared symbol by symbol. The ratio is the uncached time over the cached one.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py --out benchmarks/records/decoding.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from mezzotint.core import Rng  # noqa: E402
from mezzotint.core.rng import inverted  # noqa: E402
from mezzotint.denoiser import Autoregressive  # noqa: E402
from mezzotint.networks import Causal  # noqa: E402
from mezzotint.networks.causal import before  # noqa: E402
from mezzotint.processes import Absorbing  # noqa: E402

VOCAB, LENGTH, WIDTH, DEPTH, HEADS = 256, 256, 256, 8, 8


def model() -> Autoregressive:
    """A network of the stated size whose answers are far from uniform, as if it had been trained."""
    torch.manual_seed(0)
    network = Causal(VOCAB, (LENGTH,), WIDTH, DEPTH, HEADS)
    torch.nn.init.normal_(network.head.leave.weight, std=2 * WIDTH**-0.5)
    return Autoregressive(network, Absorbing(VOCAB)).eval()


def cached(denoiser: Autoregressive, rng: Rng) -> Tensor:
    """What the library does."""
    x = torch.full((len(rng), LENGTH), VOCAB)
    return denoiser(x, torch.ones(len(rng), dtype=torch.float64)).sample(rng)


def uncached(denoiser: Autoregressive, rng: Rng) -> Tensor:
    """The same draws, every prefix encoded again."""
    network: Any = denoiser.network
    empty = network.start(len(rng))
    x = torch.full((len(rng), LENGTH + 1), VOCAB)  # the start, which is the symbol after the last, then what is drawn
    u = rng.uniform("symbol", (LENGTH,))
    for i in range(LENGTH):
        h = network.enter(x[:, : i + 1]) + empty.codes[: i + 1]
        by = empty.turns[0][: i + 1], empty.turns[1][: i + 1]
        for block, numbers in zip(network.blocks, empty.numbers, strict=False):
            h = block(h, numbers, partial(before, block.attention, by))
        logits = network.head(h[:, -1:], empty.numbers[-1])[:, 0]
        x[:, i + 1] = inverted(logits, u[:, i])
    return x[:, 1:]


def measure(denoiser: Autoregressive, batch: int, repeats: int) -> dict[str, Any]:
    """Seconds of both for a batch, after checking that both draw the same."""
    ways: dict[str, Callable[[Autoregressive, Rng], Tensor]] = {"cached": cached, "uncached": uncached}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    same = total = 0
    for repeat in range(repeats):
        rng = Rng(range(repeat * batch, (repeat + 1) * batch))
        drawn = {}
        for name in sorted(ways, reverse=bool(repeat % 2)):  # neither always goes first
            start = time.perf_counter()
            drawn[name] = ways[name](denoiser, rng)
            seconds[name].append(time.perf_counter() - start)
        same += int((drawn["cached"] == drawn["uncached"]).sum())
        total += drawn["cached"].numel()
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    return {
        "batch": batch,
        "seconds": {name: round(value, 3) for name, value in middle.items()},
        "symbols_per_second": {name: round(batch * LENGTH / value, 1) for name, value in middle.items()},
        "ratio": round(middle["uncached"] / middle["cached"], 2),
        "ratio_of_best": round(min(seconds["uncached"]) / min(seconds["cached"]), 2),
        "symbols_alike": [same, total],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="torch.set_num_threads")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each")
    parser.add_argument("--batch", type=int, nargs="*", default=[16, 1], help="batch sizes")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    denoiser = model()
    rows = []
    with torch.no_grad():
        cached(denoiser, Rng([0]))  # warms up
        for batch in options.batch:
            row = measure(denoiser, batch, options.repeats)
            rows.append(row)
            speed, (same, total) = row["symbols_per_second"], row["symbols_alike"]
            print(
                f"batch {batch:>2}: cached {speed['cached']:>8.1f}  uncached {speed['uncached']:>7.1f} symbols/s"
                f"  ratio {row['ratio']:.1f} (best turns {row['ratio_of_best']:.1f})  alike {same} of {total}",
                flush=True,
            )
    record = {
        "threads": options.threads,
        "repeats": options.repeats,
        "symbols": LENGTH,
        "network": {"vocab": VOCAB, "width": WIDTH, "depth": DEPTH, "heads": HEADS},
        "parameters": sum(p.numel() for p in denoiser.parameters()),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "batches": rows,
    }
    if options.out:
        options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
