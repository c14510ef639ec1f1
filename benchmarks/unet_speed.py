"""Training and sampling images per second of our U-Net beside diffusers' UNet2DModel of the same mathematics.

Both networks hold the same weights (so they have the same parameters and give the same answers, which is checked
first), run in one process on the same thread count, and take turns step by step, so that a busy machine slows both.
A training step is forward, mean squared error, backward and fused AdamW; a sampling step is one forward without
gradients and an Euler update. The loops are this file's own. The ratio is ours over theirs, from medians: above 1 we
are faster.

    python benchmarks/unet_speed.py --threads 1 --repeats 9 --out unet_speed.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "networks")]


@dataclass(frozen=True)
class Case:
    """One size: shape of a sample, batch, and the networks' channels."""

    name: str
    shape: tuple[int, int, int]
    batch: int
    channels: tuple[int, ...]
    groups: int
    style: str = "scale_shift"


CASES = (
    Case("8x8x1 w32", (1, 8, 8), 128, (32, 64), 8),
    Case("8x8x1 w64", (1, 8, 8), 128, (64, 128), 16),
    Case("8x8x1 w64, added, 32 groups", (1, 8, 8), 128, (64, 128), 32, "default"),
    Case("32x32x3 w32", (3, 32, 32), 16, (32, 64, 64), 8),
)


def pair(case: Case) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Ours and theirs with the same weights."""
    import diffusers
    from diffusers_weights import renamed, translated

    levels = len(case.channels)
    theirs = diffusers.UNet2DModel(
        sample_size=case.shape[1],
        in_channels=case.shape[0],
        out_channels=case.shape[0],
        block_out_channels=case.channels,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        layers_per_block=1,
        attention_head_dim=32,
        norm_num_groups=case.groups,
        attn_norm_num_groups=case.groups,
        resnet_time_scale_shift=case.style,
    )
    ours = translated(theirs.config)
    ours.load_state_dict(renamed(theirs.state_dict(), levels))
    return ours, theirs


def arm(
    network: torch.nn.Module, call: Callable[[Tensor, Tensor], Tensor], case: Case
) -> dict[str, Callable[[], None]]:
    """A training step and a sampling step of one network."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.batch, *case.shape, generator=generator)
    target = torch.randn(case.batch, *case.shape, generator=generator)
    noise = torch.rand(case.batch, generator=generator) * 999

    def train() -> None:
        (call(x, noise) - target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def sample() -> None:
        with torch.no_grad():
            x.add_(call(x, noise), alpha=-0.01)

    return {"train": train, "sample": sample}


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Images per second of both, after checking that both compute the same function."""
    ours, theirs = pair(case)
    calls: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "mezzotint": lambda x, noise: ours(x, noise),
        "diffusers": lambda x, noise: theirs(x, noise, return_dict=False)[0],
    }
    x, noise = torch.randn(2, *case.shape), torch.tensor([3.0, 700.0])
    with torch.no_grad():
        torch.testing.assert_close(calls["mezzotint"](x, noise), calls["diffusers"](x, noise), rtol=1e-4, atol=1e-5)
    arms = {"mezzotint": arm(ours, calls["mezzotint"], case), "diffusers": arm(theirs, calls["diffusers"], case)}

    row: dict[str, Any] = {
        "case": case.name,
        "parameters": sum(p.numel() for p in ours.parameters()),
        "batch": case.batch,
    }
    for what in ("train", "sample"):
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for repeat in range(repeats + 1):
            for name in sorted(arms, reverse=bool(repeat % 2)):  # neither always goes first
                start = time.perf_counter()
                arms[name][what]()
                if repeat:  # the first turn warms up
                    seconds[name].append(time.perf_counter() - start)
        speed = {name: case.batch / statistics.median(taken) for name, taken in seconds.items()}
        row[what] = {
            "images_per_second": {name: round(value, 1) for name, value in speed.items()},
            "ratio": round(speed["mezzotint"] / speed["diffusers"], 3),
            "ratio_of_best": round(min(seconds["diffusers"]) / min(seconds["mezzotint"]), 3),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="torch.set_num_threads")
    parser.add_argument("--repeats", type=int, default=9, help="timed turns of each network")
    parser.add_argument("--case", default="", help="only the cases whose name contains this")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    try:
        import diffusers
    except ImportError:
        parser.exit(2, "unet_speed needs diffusers to compare with: pip install mezzotint[diffusers]\n")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    rows = []
    for case in (case for case in CASES if options.case in case.name):
        row = measure(case, options.repeats)
        rows.append(row)
        print(f"{case.name}: {row['parameters'] / 1e6:.2f}M parameters, batch {case.batch}")
        for what in ("train", "sample"):
            speed = row[what]["images_per_second"]
            print(
                f"  {what:<6} mezzotint {speed['mezzotint']:>8.1f}  diffusers {speed['diffusers']:>8.1f} images/s"
                f"  ratio {row[what]['ratio']:.2f} (best turns {row[what]['ratio_of_best']:.2f})",
                flush=True,
            )
    record = {
        "threads": options.threads,
        "repeats": options.repeats,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "machine": platform.machine(),
        "cases": rows,
    }
    if options.out:
        options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
