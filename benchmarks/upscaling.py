"""How near a super-resolution stage comes to held-out Fashion-MNIST, beside filters that learnt nothing.

    OMP_NUM_THREADS=1 python benchmarks/upscaling.py RUN --out benchmarks/records/upscaling.json
    OMP_NUM_THREADS=1 python benchmarks/upscaling.py RUN --train 200k     # trains RUN first: 14 -> 28

Pictures of the test file are shrunk by block means, which is what the stage is told, and enlarged again. PSNR favours
the mean of all answers over any one of them, so both are there: one draw, and the mean of several. What comes back is
shrunk by the same block means and held against what was told: a picture that is large, sharp and of something else
agrees with nothing. The order of arms follows from paired differences, not from the columns.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from mezzotint.cascades import Stored  # noqa: E402
from mezzotint.conditions import Classes, Encoder, Image, Noised  # noqa: E402
from mezzotint.conditions.enlarge import enlarged, sides_of  # noqa: E402
from mezzotint.core import Condition, Refusal, Rng  # noqa: E402
from mezzotint.core.spec import spec  # noqa: E402
from mezzotint.data import Derived, FashionMNIST  # noqa: E402
from mezzotint.denoiser import Preconditioned  # noqa: E402
from mezzotint.guidance import Projection  # noqa: E402
from mezzotint.metrics.estimate import Estimate, mean  # noqa: E402
from mezzotint.metrics.fidelity import psnr_each  # noqa: E402
from mezzotint.metrics.pictures import subset  # noqa: E402
from mezzotint.networks import UNet  # noqa: E402
from mezzotint.objectives import Denoising  # noqa: E402
from mezzotint.operators import BlockMean  # noqa: E402
from mezzotint.processes import Cosine  # noqa: E402
from mezzotint.samplers import Heun, Sampling  # noqa: E402
from mezzotint.training import Trainer, train  # noqa: E402


def trained(folder: Path, images: str, size: int, factor: int) -> None:
    """A small stage from size / factor to size, told the class, the picture and its level."""
    torch.manual_seed(0)
    told = Encoder(label=Classes(10, 64), low=Image(1, up=factor, level=64))
    model = Preconditioned(UNet((1, size, size), 32, (1, 2), maps=1, vector=64, attention=()), Cosine(), told)
    trainer = Trainer(Denoising(augment=Noised(Cosine())), images=images, batch=64, sampler=Heun(8))
    data = Derived(FashionMNIST(size), BlockMean(factor))
    train({"model": spec(model), "data": spec(data), "training": spec(trainer)}, folder)


def picture_part(pipeline: Sampling) -> tuple[Image, tuple[str, ...]]:
    """How the stage is told its low resolution, and the families it knows."""
    for module in pipeline.denoiser.modules():
        if isinstance(module, Encoder) and "low" in module.families:
            part = module["low"]
            if isinstance(part, Image):
                return part, module.families
    raise Refusal("this run is told no picture as 'low': give the run of a super-resolution stage")


def filters(low: Tensor, operator: BlockMean, sides: tuple[int, ...]) -> dict[str, Tensor]:
    """What learnt nothing."""
    size = [side * n for side, n in zip(sides, low.shape[2:], strict=True)]
    return {
        "pinv(BlockMean)": operator.pinv(low),
        "bilinear": enlarged(low, sides, "linear"),
        "bicubic, a = -0.75": enlarged(low, sides, "cubic"),
        "bicubic, a = -0.5": F.interpolate(low, size=size, mode="bicubic", antialias=True),  # the kernel of Pillow
    }


@torch.no_grad()
def draws(pipeline: Sampling, told: Condition, level: float, count: int, batch: int) -> tuple[Tensor, Tensor]:
    """One draw of each picture, and the mean of ``count``."""
    part, families = picture_part(pipeline)
    told, rng = told.take(*families, "observed")[0], Rng(range(len(told)))
    augment = Noised(level=level)
    first, total = torch.empty(0), torch.zeros(())
    for k in range(count):
        keys, pieces = rng.at("draw", k), []
        for start in range(0, len(rng), batch):
            rows = slice(start, start + batch)
            cond = told[rows]
            if level:
                cond = augment(cond, None, keys[rows].at("augment"))
            pieces.append(pipeline(cond, keys[rows]).clamp(-1, 1))
        x = torch.cat(pieces)
        first = x if not k else first
        total = total + x
    return first, total / count


def judged(name: str, x: Tensor, truth: Tensor, low: Tensor, operator: BlockMean) -> dict[str, Any]:
    """PSNR, and how far the shrunk result is from what was told, in grey levels of 255."""
    noise = psnr_each(x, truth)
    apart = (operator.forward(x) - low).square().flatten(1).mean(1).sqrt() * 127.5
    return {"psnr": mean(f"{name}: PSNR in dB", noise.numpy()), "apart": mean("apart", apart.numpy()), "each": noise}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run folder of a super-resolution stage")
    parser.add_argument("--train", metavar="IMAGES", help="train it first, for so many images")
    parser.add_argument("--size", type=int, default=28, help="pixels of a side, where it is trained")
    parser.add_argument("--factor", type=int, default=2, help="times fewer pixels of a side, where it is trained")
    parser.add_argument("--count", type=int, default=500, help="held-out pictures")
    parser.add_argument("--draws", type=int, default=8, help="of each picture, for the mean")
    parser.add_argument("--steps", type=int, help="of Heun's method; the run's own sampler if left out")
    parser.add_argument("--level", type=float, action="append", help="of noise on what is told; may be repeated")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.train:
        trained(options.run, options.train, options.size, options.factor)
    sampler = None if options.steps is None else Heun(options.steps)
    with Stored(str(options.run), sampler).open() as pipeline:
        part, _ = picture_part(pipeline)
        shape = tuple(pipeline.denoiser.shape)
        sides = sides_of(part.up, len(shape) - 1)
        operator = BlockMean(sides)
        held_out = FashionMNIST((shape[1], shape[2]), split="held_out")
        truth, told = held_out[subset(len(held_out), options.count)]
        low = operator.forward(truth)
        told = told | Condition(low=low)
        arms = filters(low, operator, sides)
        held = replace(pipeline, denoiser=Projection(pipeline.denoiser, operator))
        one, several = draws(held, told | Condition(**{"observed.y": low}), 0.0, options.draws, options.batch)
        arms |= {"stage, held to it, one draw": one, f"stage, held to it, mean of {options.draws}": several}
        for level in options.level or [0.0]:
            one, several = draws(pipeline, told, level, options.draws, options.batch)
            arms[f"stage, level {level:g}, one draw"] = one
            arms[f"stage, level {level:g}, mean of {options.draws}"] = several
    found = {name: judged(name, x, truth, low, operator) for name, x in arms.items()}
    best = max((name for name in found if name.startswith("bicubic")), key=lambda name: found[name]["psnr"].value)
    print(f"{options.count} held-out pictures, {'x'.join(map(str, low.shape[2:]))} -> {'x'.join(map(str, shape[1:]))}")
    record: dict[str, Any] = {"pictures": options.count, "draws": options.draws, "arms": {}}
    for name, figures in found.items():
        gain: Estimate = mean(f"over {best}", (figures["each"] - found[best]["each"]).numpy())
        score, apart = figures["psnr"], figures["apart"]
        print(
            f"{name:<32} PSNR {score.value:6.2f} dB [{score.low:.2f}, {score.high:.2f}], over {best} "
            f"{gain.value:+6.2f} [{gain.low:+.2f}, {gain.high:+.2f}]; shrunk again {apart.value:5.2f} of 255 from what "
            "was told"
        )
        record["arms"][name] = {"psnr": score.plain(), "over bicubic": gain.plain(), "agreement": apart.plain()}
    record["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "threads": 1,
        "torch": torch.__version__,
    }
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
