"""An upscaling, settled: the picture, the stages that make it larger, and how what came of it is judged."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mezzotint.cli import drawing
from mezzotint.cli.console import duration, emit, note, printable, progress, use_threads
from mezzotint.cli.enlarger import Enlarger
from mezzotint.cli.plan import Plan
from mezzotint.cli.planes import Planes
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.data import unit
from mezzotint.data.picture import MAX_PIXELS, decode
from mezzotint.data.transparency import laid
from mezzotint.metrics.fidelity import psnr_each
from mezzotint.operators import BlockMean
from mezzotint.training.pictures import Pixels, save_png

if TYPE_CHECKING:
    from mezzotint.cli.upscale import Upscale


@dataclass(frozen=True)
class Upscaling:
    """Everything that decides the pixels of a larger picture.

    Arguments:
        planes: the picture.
        stages: what makes it larger, one after another.
        truth: the picture as it should be, uint8 (H', W', 1 or 3) on white, or None.
    """

    planes: Planes
    stages: list[Enlarger]
    truth: Pixels | None = None

    @classmethod
    def of(cls, args: Upscale) -> Upscaling:
        """Read the picture and the models."""
        if not args.out.lower().endswith(".png"):
            raise Refusal(f"--out is {args.out!r}, and what is written is a PNG: name a file that ends in .png")
        if args.telling.items is not None:
            raise Refusal("--items names pictures of the model's data, and upscale is about one of yours: leave it out")
        if args.telling.maps:
            raise Refusal("--layout says what a new picture shows, and upscale is about one of yours: leave it out")
        stages = Enlarger.all(args)
        high, wide = (math.prod(stage.up[axis] for stage in stages) for axis in (0, 1))
        planes = Planes.of(args.image, (high, wide))
        made = cls(planes, stages)
        channels = {stage.channels for stage in stages}
        if len(channels) > 1:
            raise Refusal("some of these stages draw grey and some colour; take one stage, by its own folder")
        if args.drawing.rows is None:
            stages = [stage.sized(size) for stage, size in zip(stages, made.sizes, strict=True)]
        return cls(planes, stages, None if args.truth is None else made._truth(args.truth))

    @cached_property
    def factor(self) -> tuple[int, int]:
        """How many times larger the result is, down and across."""
        high, wide = (math.prod(stage.up[axis] for stage in self.stages) for axis in (0, 1))
        return high, wide

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        return self.planes.size[0] * self.factor[0], self.planes.size[1] * self.factor[1]

    @cached_property
    def plan(self) -> Plan:
        """What is asked for, of the stage that is told most."""
        return max((stage.plan for stage in self.stages), key=lambda plan: len(plan.seeds))

    @cached_property
    def windows(self) -> list[int]:
        """How many windows each stage draws in."""
        return [stage.windows(size) for stage, size in zip(self.stages, self.sizes, strict=True)]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of what each stage is told."""
        found = [self.planes.size]
        for stage in self.stages[:-1]:
            found.append((found[-1][0] * stage.up[0], found[-1][1] * stage.up[1]))
        return found

    def _truth(self, path: str) -> Pixels:
        if not Path(path).is_file():
            raise Refusal(f"there is no picture {path!r}")
        found = decode(Path(path), self.planes.colours.shape[-1], MAX_PIXELS)
        if found.shape[:2] != self.size:
            raise Refusal(
                f"--truth is {found.shape[1]} x {found.shape[0]} pixels, and the result has {self.size[1]} x "
                f"{self.size[0]}: bring it to that size"
            )
        return found

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        """What the last stage draws, (B, C, H', W'), one row a key."""
        x = self.planes.shown(self.stages[0].channels).expand(len(rng), -1, -1, -1)
        for stage in self.stages:
            x = stage(x, cond, rng)
        return x

    def make(self, args: Upscale) -> int:
        """Draw it, write it, and say how well it agrees; the exit code."""
        remarks = [*self.planes.remarks(self.stages[0].channels), *self.plan.remarks()]
        for remark in remarks:
            note(f"note: {printable(remark)}")
        threads = use_threads(args.drawing.threads)
        names = [str(drawing.exists(name, args.overwrite)) for name in self._names(args.out)]
        each = max(1, self.plan.rows // max(self.windows))  # pictures whose windows are one question
        start = time.perf_counter()
        with progress("upscaling", "pictures") as meter:
            rng = Rng(self.plan.seeds)
            x = drawing.draw(self, self.plan.told.cond(), rng, min(each, self.plan.batch), meter)
        if x is None:  # the first process writes
            return 0
        seconds = time.perf_counter() - start
        settings = self.plan.settings(threads, upscale=self._record())
        settings["layout"] = {"columns": 1, "scale": 1, "gap": 0}
        found = []
        for row, (name, one) in enumerate(zip(names, x, strict=True)):
            picture = self.planes.larger(one, self.factor)
            more = {**self.plan.told.row(row).record(), "seeds": [self.plan.seeds[row]]}
            save_png(name, picture, {**settings, **more}, self.planes.profile)
            found.append({"written": name, "seed": self.plan.seeds[row], **self._judged(picture)})
        if args.json:
            emit({"pictures": found, "seconds": seconds, "remarks": remarks, "settings": settings})
            return 0
        self._say(found, seconds)
        return 0

    def _names(self, out: str) -> list[str]:
        """One file a picture: as it is named, or with what tells them apart."""
        plan = self.plan
        if len(plan.seeds) == 1:
            return [out]
        path = Path(out)
        return [
            str(path.with_name(f"{path.stem}-{name}")) for name in plan.told.names(plan.seeds, len(plan.model.classes))
        ]

    def _record(self) -> dict[str, Any]:
        return {
            "image": self.planes.record(),
            "size": list(self.size),
            "stages": [
                {**stage.record(), "windows": count} for stage, count in zip(self.stages, self.windows, strict=True)
            ],
        }

    def _judged(self, picture: Pixels) -> dict[str, Any]:
        """How well a result agrees with the picture, and, where that is known, with the truth.

        The colours that were written, brought down by means of cells, against those that the models were handed.
        """
        channels = self.planes.colours.shape[-1]
        down = BlockMean(self.factor).forward(unit(picture[None, ..., :channels]).double())
        was = self.planes.x[None].double()
        found: dict[str, Any] = {
            "agreement": {
                "mean_absolute": float((down - was).abs().mean() * 127.5),
                "psnr": float(psnr_each(down, was)),
            }
        }
        if self.truth is not None:
            bicubic = self._bicubic()
            found["truth"] = {"psnr": self._near(picture), "bicubic": self._near(bicubic)}
        return found

    def _near(self, picture: Pixels) -> float:
        """PSNR to the truth, both on white."""
        assert self.truth is not None
        shown = picture if self.planes.share is None else laid(picture, "white")
        return float(psnr_each(unit(shown[None]), unit(self.truth[None])))

    def _bicubic(self) -> Pixels:
        """The picture enlarged by Pillow's bicubic filter (a = -0.5), plane by plane."""
        from PIL import Image

        high, wide = self.size
        seen = (((self.planes.x + 1) * 127.5).round().to(torch.uint8)).numpy()
        planes = [*seen, *([] if self.planes.share is None else [self.planes.share])]
        large = [Image.fromarray(plane).resize((wide, high), Image.Resampling.BICUBIC) for plane in planes]
        return np.stack([np.asarray(plane) for plane in large], -1)

    def _say(self, found: list[dict[str, Any]], seconds: float) -> None:
        (high, wide), (h, w) = self.size, self.planes.size
        parts = " and then ".join(f"{count} window{'' if count == 1 else 's'}" for count in self.windows)
        for one in found:
            agreed = one["agreement"]
            print(f"{one['written']}: {wide} x {high} pixels from {w} x {h}, drawn in {parts}")
            print(
                f"  brought down again it is {agreed['mean_absolute']:.2f} of 255 from the picture on average, "
                f"PSNR {agreed['psnr']:.1f} dB"
            )
            if "truth" in one:
                near = one["truth"]
                print(f"  against the truth PSNR {near['psnr']:.2f} dB, bicubic {near['bicubic']:.2f} dB")
        print(f"in {duration(seconds)}")
