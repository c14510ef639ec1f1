"""``mezzotint sample`` of a cascade: every stage drawn in turn, each with its own sampler, steps and guidance.

A cascade is not one model, so what is said of one is said of each: a flag holds for all of its stages, or names one
value a stage (``--steps 36,18``), and ``--set 14.sampler.order=3`` edits the stage of that name alone. Weights are
read when a stage's turn comes; what is known before comes from configs and from models without memory.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mezzotint.cascades import Cascade, Member, Stage, Stored
from mezzotint.cascades.folder import check, is_cascade, read
from mezzotint.cli import drawing, told
from mezzotint.cli.console import note
from mezzotint.cli.flags import Output, changes_of, numbers, of_stage, parameters_of
from mezzotint.cli.items import Items
from mezzotint.cli.making import make
from mezzotint.cli.method import Method
from mezzotint.cli.plan import BATCH, SAMPLE, Plan, layout_of, threads_of
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.store import model_config
from mezzotint.denoiser.base import Denoiser
from mezzotint.training.pictures import Pixels, save_png

if TYPE_CHECKING:
    from mezzotint.cli.sample import Sample

FLAGS = ("levels", "truncated", "apart", "stages")
"""Flags of a cascade alone."""


@dataclass(frozen=True)
class _Drawn(Stored):
    """A stored stage that is drawn by a method of the command line.

    Arguments:
        method: a sampler and any guidance.
        piece: how many rows a network is asked at once.
    """

    method: Method | None = None
    piece: int = 1

    def guided(self, denoiser: Denoiser) -> Denoiser:
        assert self.method is not None
        return self.method.guided(denoiser, self.piece)


@dataclass(frozen=True)
class _Kept:
    """A cascade whose stages are all kept: one long row a sample, cut by :meth:`parted`."""

    cascade: Cascade
    shapes: tuple[tuple[int, ...], ...]

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        return torch.cat([handed.x.flatten(1).float().cpu() for handed in self.cascade.walk(cond, rng)], 1)

    def parted(self, x: Tensor) -> list[Tensor]:
        """What each stage drew, (N, *shape)."""
        pieces = torch.split(x, [math.prod(shape) for shape in self.shapes], 1)
        return [piece.reshape(len(x), *shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


@dataclass(frozen=True)
class Course(Plan):
    """A plan for a cascade.

    Arguments:
        members: its stages.
        record: what a picture says of them.
        kept: where the sheet of every stage is to be written as well, what parts them.
        device: where is computed.
    """

    members: tuple[Member, ...] = ()
    record: Mapping[str, Any] | None = None
    kept: _Kept | None = None
    device: str = "cpu"

    def settings(self, threads: int, **more: Any) -> dict[str, Any]:
        return {**super().settings(threads, cascade=self.record, **more), "device": self.device}

    def _previews(self) -> dict[str, str]:
        """The sheet of every stage but the last, by its name."""
        if self.kept is None or self.sheet is None:
            return {}
        path = Path(self.sheet)
        return {one.name: str(path.with_name(f"{path.stem}-{one.name}{path.suffix}")) for one in self.members[:-1]}

    def files(self, output: Output) -> list[str]:
        return [*super().files(output), *self._previews().values()]

    def write(
        self, output: Output, x: Tensor, settings: dict[str, Any], lay: Callable[[Tensor], Pixels] | None = None
    ) -> list[str]:
        if self.kept is None:
            return super().write(output, x, settings, lay)
        *smaller, last = self.kept.parted(x)
        written = super().write(output, last, settings, lay)
        for (name, path), some in zip(self._previews().items(), smaller, strict=False):
            times = last.shape[-1] // some.shape[-1]  # so that all sheets have one size
            shown = replace(self, layout={**self.layout, "scale": self.layout["scale"] * times})
            save_png(path, shown.grid(some), {**settings, "stage": name})
            written.append(path)
        return written


def asked(args: Sample, old: Mapping[str, Any]) -> bool:
    """Whether a cascade is to be drawn; its flags are refused for one model."""
    path = args.run if args.run is not None else old.get("model", {}).get("path")
    mine = "cascade" in old or (path is not None and is_cascade(path))
    if mine and path is not None and Path(path).is_dir() and not is_cascade(path):
        raise Refusal(
            f"{args.output.like!r} was made by a cascade, and {path!r} is none: name the folder that holds it"
        )
    for flag in FLAGS:
        if getattr(args, flag) and not mine:
            raise Refusal(f"--{flag} is for cascades, and {path!r} is none: leave it out")
    return mine


def run(args: Sample, old: dict[str, Any]) -> int:
    """Draw what ``args`` ask for, laid over the settings of a picture that is to be repeated."""
    for flag in ("size", "prompt"):
        if getattr(args, flag) is not None:
            raise Refusal(f"--{flag} is for one model, and a cascade has several; leave it out")
    if args.telling.maps:
        raise Refusal(
            "--layout is for one model, and a cascade has several, each with maps of its own size; draw what its data "
            "tell with --items"
        )
    given = args.drawing
    path = args.run if args.run is not None else old["model"]["path"]
    if not Path(path).is_dir():
        raise Refusal(f"the cascade {path!r} is not here; say where it is: mezzotint sample RUN --like ...")
    before = _before(old, path)
    members, most = read(path), parameters_of(given.max_parameters)
    models = check(path, members, most)
    names = [member.name for member in members]
    if before and [one["name"] for one in before["stages"]] != names:
        raise Refusal(f"{args.output.like!r} was made by other stages than those of {path!r}: {', '.join(names)}")
    plain = [Stored(str(Path(path) / member.folder), average=_average(args, old)) for member in members]
    hashes = _hashes(args, plain, before, names)
    model = _model(path, members, models[-1], plain, hashes, _average(args, old))
    changes = changes_of(given.set)
    moved = [one for one in changes if one.strip().startswith(("data.", "data="))]
    wish, seeds = told.asked(
        args, SAMPLE.every, old, model, lambda: Items.of_run(plain[-1].folder, _told(members), model.shape, moved)
    )
    said = _methods(args, [one for one in changes if one not in moved], plain, before, wish.negative is not None, names)
    levels, truncated = _levels(args, members, before)
    place = drawing.place(given.device)
    rows = [_rows(args, before, k, one, place) for k, one in enumerate(models)]
    stages = []
    for member, stored, method, piece in zip(members, plain, said, rows, strict=True):
        drawn = _Drawn(
            stored.folder,
            method.sampler,
            stored.average,
            device=str(place),
            parameters=most,
            method=method,
            piece=piece,
        )
        heard = (*member.told, "negative") if wish.negative is not None else member.told
        stages.append(Stage(member.name, drawn, dict(member.takes), member.augment, heard))
    cascade = Cascade(tuple(stages), args.apart).at(levels, truncated)
    record = {
        "levels": levels,
        "truncated": truncated,
        "stages": [
            {"name": name, "sha256": digest, **method.record(), "rows": piece}
            for name, digest, method, piece in zip(names, hashes, said, rows, strict=True)
        ],
    }
    kept = _Kept(cascade, tuple(member.shape for member in members)) if args.stages else None
    output = args.output
    same = bool(old) and wish == told.before(old) and seeds == old["seeds"] and output.columns is None
    sheet = output.out is not None or (output.each is None and output.npz is None)
    if args.stages and not sheet:
        raise Refusal("--stages keeps a sheet of every stage beside the one of --out: name that as well")
    course = Course(
        model=model,
        told=wish,
        seeds=seeds,
        method=said[-1],
        batch=given.batch if given.batch is not None else old.get("batch", BATCH),
        rows=1,
        layout=old["layout"] if same else layout_of(output, SAMPLE, wish, seeds, model, None),
        sheet=(output.out or SAMPLE.out) if sheet else None,
        threads=threads_of(old),
        members=members,
        record=record,
        kept=kept,
        device=place.type,
    )
    pipeline: Any = cascade if kept is None else kept
    return make(args, SAMPLE, course, lambda: pipeline, wish.cond())


def _before(old: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What a picture says of its cascade, {} where none is to be repeated."""
    if not old:
        return {}
    said = old.get("cascade")
    stages, levels = (said.get(key) if isinstance(said, dict) else None for key in ("stages", "levels"))
    whole = isinstance(stages, list) and isinstance(levels, list)
    whole = whole and all(type(level) in (int, float) for level in levels or ())
    whole = whole and type(old.get("model", {}).get("average")) in (int, float, type(None))
    for one in stages or ():
        whole = whole and isinstance(one, dict) and isinstance(one.get("name"), str) and "sha256" in one
        whole = whole and isinstance(one.get("sampler"), dict) and type(one.get("rows")) is int
    if not whole:
        raise Refusal(
            f"that picture does not say how a cascade made it, and {path!r} is one: name the model it was made by"
        )
    return cast(dict[str, Any], said)


def _average(args: Sample, old: Mapping[str, Any]) -> float | None:
    given: float | None = args.drawing.average
    return given if given is not None else old.get("model", {}).get("average")


def _hashes(args: Sample, stored: Sequence[Stored], before: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The SHA-256 of every stage; one that is not that of the picture to be repeated is refused."""
    found = [one.found() for one in stored]
    for digest, one in zip(found, before.get("stages", ()), strict=False):
        if digest != one["sha256"] and args.drawing.average is None:
            raise Refusal(
                f"the stage {one['name']!r} has the SHA-256 {digest[:12]}..., but {args.output.like!r} was made with "
                f"{str(one['sha256'])[:12]}...: its run has gone on or is another, so the picture cannot be repeated"
            )
    return found


def _told(members: Sequence[Member]) -> tuple[str, ...]:
    """The families of the outer condition that any stage hears."""
    return tuple(dict.fromkeys(family for member in members for family in member.told))


def _model(
    path: str,
    members: Sequence[Member],
    last: Denoiser,
    stored: Sequence[Stored],
    hashes: Sequence[str],
    average: float | None,
) -> drawing.Model:
    """The cascade as one model that can be told what its stages are told; it is the last one, without memory."""
    heard, config = _told(members), model_config(stored[-1].folder)
    for member in members:
        if set(member.told) != set(heard):
            lacks = ", ".join(sorted(set(heard) - set(member.told)))
            note(f"the stage {member.name!r} is not told {lacks}, and other stages are")
    return drawing.Model(
        last,
        path,
        hashlib.sha256(" ".join(hashes).encode()).hexdigest(),
        drawing.classes_of(last, config.get("classes") or ()) if "label" in heard else (),
        stored[-1].usual(),
        average,
        None,
        "caption" in heard,
        tuple(config.get("captions") or ()),
        tuple(family for family in heard if family not in ("label", "caption")),
    )


def _methods(
    args: Sample,
    changes: Sequence[str],
    stored: Sequence[Stored],
    before: Mapping[str, Any],
    negative: bool,
    names: Sequence[str],
) -> list[Method]:
    """How each stage is drawn."""
    given, count = args.drawing, len(stored)
    steps, scales = numbers(given.steps, "steps", int, count), numbers(given.guidance, "guidance", float, count)
    made = []
    for k, one in enumerate(stored):
        mine = of_stage(list(changes), names[k], list(names))
        flags = replace(given, steps=steps[k], guidance=scales[k])
        old = before["stages"][k] if before else None
        made.append(Method.of(flags, mine, one.usual(), old, negative))
    if negative and not any(method.negative for method in made):
        raise Refusal(
            "--negative says what to move away from, and nothing moves: give a scale above 1, such as --guidance 2"
        )
    return made


def _levels(args: Sample, members: Sequence[Member], before: Mapping[str, Any]) -> tuple[list[float], bool]:
    """How noisy pictures are handed over, one a stage after the first, and whether stages are stopped there."""
    truncated = args.truncated or bool(before.get("truncated"))
    if args.truncated and not any(member.augment is not None for member in members):
        raise Refusal("no stage of this cascade was trained with noise, so none can be stopped for it: no --truncated")
    if args.levels is None:
        usual = [member.level or 0.0 for member in members[1:]]
        return ([float(level) for level in before["levels"]] if before else usual), truncated
    found = numbers(args.levels, "levels", float, len(members) - 1)
    if "," not in args.levels:  # one for all that are handed noise
        found = [level if member.augment is not None else 0.0 for level, member in zip(found, members[1:], strict=True)]
        if not any(member.augment is not None for member in members):
            raise Refusal("no stage of this cascade was trained with noise, so it takes no --levels")
    for level in found:
        if level is None or not 0 <= level <= 1:
            raise Refusal(f"--levels is {args.levels!r}, but a level is a share of noise from 0 to 1, such as 0.1")
    return [float(level or 0.0) for level in found], truncated


def _rows(args: Sample, before: Mapping[str, Any], k: int, model: Denoiser, place: torch.device) -> int:
    """How many rows the network of a stage is asked at once."""
    if args.drawing.rows is not None:
        return args.drawing.rows
    return int(before["stages"][k]["rows"]) if before else drawing.rows_at(place, model.shape)
