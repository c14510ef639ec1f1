"""What is to be drawn, settled from the flags of ``sample`` and from the settings inside a picture."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from mezzotint.cli import drawing, wanted
from mezzotint.cli.console import note
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import build, spec
from mezzotint.samplers import Sampler
from mezzotint.training.pictures import enlargement, grid, pixels, read_settings, save_png

if TYPE_CHECKING:
    from mezzotint.cli.sample import Sample

BATCH = 256
SEEDS = "0-7"


@dataclass(frozen=True)
class Plan:
    """Everything that decides the pixels.

    Arguments:
        model: with its weights.
        labels: one a picture, or None for a model without classes.
        seeds: one a picture.
        sampler, guidance, interval, batch: how they are drawn.
        layout: ``columns``, ``scale`` and ``gap`` of the grid.
        grid: where the grid is written, or None.
        threads: of the picture to be repeated, or None.
    """

    model: drawing.Model
    labels: list[int] | None
    seeds: list[int]
    sampler: Sampler
    guidance: float
    interval: tuple[float, float] | None
    batch: int
    layout: dict[str, int]
    grid: str | None
    threads: int | None

    @classmethod
    def of(cls, args: Sample) -> Plan:
        """Read the settings of ``--like``, lay the flags over them, and load the model."""
        old = _read(args.like) if args.like is not None else {}
        if args.run is None and not old:
            raise Refusal("name a run folder, or a picture to repeat with --like")
        model = _model(args, old)
        labels, seeds = _rows(args, old, model)
        sampler = build(old["sampler"]) if old and args.sampler is None else model.sampler
        if not isinstance(sampler, Sampler):
            raise Refusal(f"the settings inside {args.like!r} name no sampler")
        interval = wanted.interval(args.interval) if args.interval is not None else None
        guidance = old.get("guidance", 1.0) if args.guidance is None else args.guidance
        if args.interval is None and old.get("interval"):
            interval = tuple(old["interval"])
        if args.interval is not None and guidance == 1:
            raise Refusal(
                "--interval says where to guide, but --guidance is 1, which guides nowhere; give a scale such as 1.5"
            )
        same = args.label is None and args.seeds is None and args.columns is None
        grid_wanted = args.out is not None or (args.each is None and args.npz is None)
        return cls(
            model=model,
            labels=labels,
            seeds=seeds,
            sampler=drawing.sampler_of(sampler, args.sampler, args.steps),
            guidance=guidance,
            interval=interval,
            batch=args.batch if args.batch is not None else old.get("batch", BATCH),
            layout=old["layout"] if old and same else _layout(args, labels, seeds, model),
            grid=(args.out or "samples.png") if grid_wanted else None,
            threads=_threads(old),
        )

    def settings(self, threads: int) -> dict[str, Any]:
        """What a picture carries, plain data."""
        return {
            "model": self.model.record(),
            "labels": self.labels,
            "seeds": self.seeds,
            "sampler": spec(self.sampler),
            "guidance": self.guidance,
            "interval": self.interval,
            "batch": self.batch,
            "layout": self.layout,
            "device": self.model.denoiser.device.type,
            "threads": threads,
            "versions": drawing.versions(),
        }

    def _each(self, folder: str) -> list[str]:
        """One file name a picture."""
        if self.labels is None:
            return [str(Path(folder, f"{seed:06d}.png")) for seed in self.seeds]
        digits = len(str(max(1, len(self.model.classes) - 1)))
        pairs = zip(self.labels, self.seeds, strict=True)
        return [str(Path(folder, f"{label:0{digits}d}-{seed:06d}.png")) for label, seed in pairs]

    def files(self, args: Sample) -> list[str]:
        """Every file that will be written."""
        names = [name for name in (self.grid, args.npz) if name is not None]
        return names + (self._each(args.each) if args.each is not None else [])

    def write(self, args: Sample, x: Tensor, settings: dict[str, Any]) -> list[str]:
        """Write the grid, single pictures and arrays that were asked for."""
        written = []
        if self.grid is not None:
            save_png(self.grid, grid(x, **self.layout), settings)
            written.append(self.grid)
        if args.npz is not None:
            _save_npz(Path(args.npz), x, self.labels, self.seeds)
            written.append(args.npz)
        if args.each is not None:
            one = {**settings, "layout": {"columns": 1, "scale": 1, "gap": 0}}
            for row, (name, tile) in enumerate(zip(self._each(args.each), pixels(x), strict=True)):
                mine = {"labels": None if self.labels is None else [self.labels[row]], "seeds": [self.seeds[row]]}
                save_png(name, tile, {**one, **mine})
                written.append(name)
        return written


def _read(path: str) -> dict[str, Any]:
    """The settings inside a picture, refused unless they are such as ``sample`` writes."""
    old = read_settings(path)
    model, layout, labels, seeds = (old.get(key) for key in ("model", "layout", "labels", "seeds"))
    whole = isinstance(model, dict) and isinstance(model.get("path"), str) and isinstance(model.get("sha256"), str)
    whole = whole and isinstance(layout, dict) and set(layout) == {"columns", "scale", "gap"}
    whole = (
        all(isinstance(n, int) and 0 <= n <= 1_000 for n in layout.values()) and layout["columns"] * layout["scale"] > 0
        if whole and layout
        else False
    )
    whole = whole and isinstance(seeds, list) and all(isinstance(seed, int) for seed in seeds) and bool(seeds)
    whole = whole and (labels is None or (isinstance(labels, list) and len(labels) == len(seeds or [])))
    whole = whole and isinstance(old.get("sampler"), dict) and isinstance(old.get("guidance"), int | float)
    whole = whole and isinstance(old.get("batch"), int)
    if not whole:
        raise Refusal(f"the settings inside {path!r} are not those of mezzotint sample, so it cannot be repeated")
    return old


def _model(args: Sample, old: dict[str, Any]) -> drawing.Model:
    """The model asked for; for ``--like`` it must have the weights of the picture."""
    if not old:
        assert args.run is not None
        return drawing.load(args.run, args.average, device=args.device)
    said = old["model"]
    path = args.run if args.run is not None else said["path"]
    if not Path(path).is_dir():
        raise Refusal(
            f"{args.like!r} was made by the model {path!r}, which is not here; "
            "say where it is now: mezzotint sample RUN --like ..."
        )
    mine = args.average if args.average is not None else said.get("average")
    model = drawing.load(path, mine, said.get("images"), device=args.device)
    if mine == said.get("average") and model.sha256 != said["sha256"]:
        raise Refusal(
            f"the weights in {path!r} have the SHA-256 {model.sha256[:12]}..., but {args.like!r} was made with "
            f"{said['sha256'][:12]}...: the run has gone on or is another, so the picture cannot be repeated"
        )
    now = drawing.versions()
    changed = [
        f"{name} {old.get('versions', {}).get(name)}, now {now[name]}"
        for name in now
        if old.get("versions", {}).get(name) != now[name]
    ]
    if changed:
        note(f"made with {'; '.join(changed)}: pixels may differ by a grey level")
    return model


def _rows(args: Sample, old: dict[str, Any], model: drawing.Model) -> tuple[list[int] | None, list[int]]:
    """Labels and seeds, one of each a picture."""
    if args.label is not None and not model.classes:
        raise Refusal(f"the model in {model.path!r} knows no classes, so it takes no --label")
    if old and args.label is None and args.seeds is None:
        if (old["labels"] is None) != (not model.classes):
            raise Refusal(
                f"the picture {args.like!r} and the model in {model.path!r} do not agree on whether there are classes"
            )
        return old["labels"], old["seeds"]
    seeds = wanted.seeds(args.seeds) if args.seeds is not None else old.get("seeds") or wanted.seeds(SEEDS)
    seeds = list(dict.fromkeys(seeds))
    if not model.classes:
        return None, seeds
    if args.label is not None:
        labels = wanted.labels(args.label, model.classes)
    else:
        labels = old.get("labels") or list(range(len(model.classes)))
    labels = list(dict.fromkeys(labels))
    if len(labels) * len(seeds) > wanted.MOST:
        raise Refusal(
            f"{len(labels)} labels with {len(seeds)} seeds are more than {wanted.MOST:,} pictures; ask in parts"
        )
    return labels * len(seeds), [seed for seed in seeds for _ in labels]


def _layout(args: Sample, labels: list[int] | None, seeds: list[int], model: drawing.Model) -> dict[str, int]:
    """One column a label; a square where there is one label or none."""
    kinds = len(set(labels)) if labels is not None else 1
    columns = kinds if kinds > 1 else math.ceil(math.sqrt(len(seeds)))
    if args.columns is not None:
        if args.columns < 1:
            raise Refusal(f"--columns is {args.columns}, but a grid has at least one")
        columns = min(args.columns, len(seeds))
    height, width = model.denoiser.shape[-2:]
    return {"columns": columns, "scale": enlargement(height, width), "gap": 1}


def _threads(old: dict[str, Any]) -> int | None:
    """As many threads as the picture was made with, where there are as many cores."""
    threads = old.get("threads")
    return threads if isinstance(threads, int) and 1 <= threads <= (os.cpu_count() or 1) else None


def _save_npz(path: Path, x: Tensor, labels: list[int] | None, seeds: list[int]) -> None:
    arrays: dict[str, Any] = {"images": pixels(x), "seeds": np.array(seeds, np.uint64)}
    if labels is not None:
        arrays["labels"] = np.array(labels, np.int64)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.replace(path)
