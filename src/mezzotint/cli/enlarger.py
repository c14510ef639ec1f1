"""One stage that makes pictures larger: its model, what that is told of the smaller picture, and in which windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mezzotint.cascades import folder as cascade
from mezzotint.cascades.folder import families
from mezzotint.cli import wanted
from mezzotint.cli.console import note, printable
from mezzotint.cli.flags import changes_of, numbers, of_stage, parameters_of
from mezzotint.cli.plan import Plan, Verb
from mezzotint.cli.upscale import Upscale
from mezzotint.conditions import Image, Noised
from mezzotint.core.blueprint import measured
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.store import MODEL
from mezzotint.denoiser import Denoiser, Tiled
from mezzotint.guidance import Projection
from mezzotint.objectives.beside import innermost
from mezzotint.operators import BlockMean
from mezzotint.samplers import Sampling
from mezzotint.training.run import Run

UPSCALE = Verb("upscale", "upscaled.png", False, lambda count: count, 1)
_EIGHT = 8
HELD = "held"
"""The family of what answers are held to; no model is told it."""


@dataclass(frozen=True)
class Enlarger:
    """A stage, settled.

    Arguments:
        name: of the stage in its cascade, or None for a run by itself.
        plan: its model, method and rows, and what is asked for.
        family: under which its model is told the smaller picture.
        up: how many times larger its pictures are, down and across.
        augment: what corrupts the smaller picture, at the level to which it is corrupted; None: nothing does.
        tile: (height, width) of a window.
        overlap: the least that windows share; None: the usual.
        held: bend every answer so that, brought down by means of cells, it is the smaller picture.
    """

    name: str | None
    plan: Plan
    family: str
    up: tuple[int, int]
    augment: Noised | None
    tile: tuple[int, int]
    overlap: int | None
    held: bool

    @classmethod
    def all(cls, args: Upscale) -> list[Enlarger]:
        """The stages that ``args`` name, in order, each with its model loaded."""
        if not cascade.is_cascade(args.run):
            if args.stages not in (None, 1):
                raise Refusal(f"--stages is {args.stages}, and {args.run!r} is one model: name the folder of a cascade")
            level = _levels(args.level, [0.0])[0]
            return [cls._of(args, args.run, None, None, level, not (args.free or level))]
        whole = cascade.read(args.run)
        cascade.check(args.run, whole, parameters_of(args.drawing.max_parameters))
        members = [member for member in whole if member.takes]
        count = 1 if args.stages is None else args.stages
        if not 1 <= count <= len(members):
            raise Refusal(
                f"--stages is {count}, and the cascade {args.run!r} has {len(members)} that make pictures larger"
            )
        members = members[-count:]
        levels = _levels(args.level, [0.0, *(member.level or 0.0 for member in members[1:])])
        for family, given in (("label", args.label), ("caption", args.telling.caption or args.telling.caption_file)):
            if given is not None and not any(family in member.told for member in members):
                raise Refusal(f"no stage of {args.run!r} that draws here is told a {family}: leave out --{family}")
        made: list[Enlarger] = []
        drawn = args.drawing
        steps, scales = numbers(drawn.steps, "steps", int, count), numbers(drawn.guidance, "guidance", float, count)
        for k, (member, level) in enumerate(zip(members, levels, strict=True)):
            mine = of_stage(changes_of(drawn.set), member.name, [one.name for one in whole])
            own = replace(args, drawing=replace(drawn, steps=steps[k], guidance=scales[k], set=tuple(mine) or None))
            heard = own if "label" in member.told else replace(own, label=None)
            if "caption" not in member.told:
                heard = replace(heard, telling=replace(heard.telling, caption=None, caption_file=None, negative=None))
            # A picture that is said to be noisy is not held to; what a stage before has drawn is.
            held = not args.free and bool(made or not level)
            made.append(cls._of(heard, str(Path(args.run, member.folder)), member.name, member.augment, level, held))
        return made

    @classmethod
    def _of(
        cls, args: Upscale, path: str, name: str | None, augment: Noised | None, level: float, held: bool
    ) -> Enlarger:
        plan = Plan.of(replace(args, run=path), UPSCALE, {})
        model, shape = plan.model, plan.model.denoiser.shape
        family, part = _told(plan)
        if len(shape) != 3 or shape[0] not in (1, 3) or part.channels != shape[0]:
            raise Refusal(
                f"the model in {path!r} makes samples of shape {tuple(shape)} from {part.channels} channels, and "
                "upscale is for grey or coloured pictures"
            )
        sides = (part.up, part.up) if isinstance(part.up, int) else part.up
        up = sides[0], sides[1]
        for known, flag, given in (
            ("label", "--label", plan.told.labels),
            ("caption", "--caption", plan.told.captions),
        ):
            if known in families(plan.model.denoiser) and given is None and known not in model.denoiser.nulls:
                raise Refusal(f"the model in {path!r} never learnt to draw without a {known}; name one with {flag}")
        for other in model.more:
            if other != family and other not in model.denoiser.nulls:
                raise Refusal(f"the model in {path!r} is told {other!r} too, which a picture by itself does not say")
        tile = (shape[1], shape[2]) if args.tile is None else _tile(args.tile, up)
        if level and part.level is None:
            raise Refusal(
                f"the model in {path!r} is not told how noisy its picture is, so --level has to be 0: leave it out"
            )
        if level:
            if augment is None and (augment := _trained(path, family)) is None:
                where = printable(path)
                note(f"note: how {where} was trained is not known; the picture is corrupted along the cosine process")
                augment = Noised(family=family)
            augment = replace(augment, level=level)
        return cls(name, plan, family, up, augment if level else None, tile, args.overlap, held)

    @property
    def channels(self) -> int:
        """Of its pictures."""
        return int(self.plan.model.denoiser.shape[0])

    @property
    def least(self) -> tuple[int, int]:
        """The smallest picture that it is told: that of a window it was trained on, or of a smaller one."""
        shape = self.plan.model.denoiser.shape
        high, wide = (min(side, own) // up for side, own, up in zip(self.tile, shape[1:], self.up, strict=True))
        return high, wide

    def windows(self, size: tuple[int, int]) -> int:
        """How many windows a smaller picture of this size takes."""
        space = tuple(max(n, m) * up for n, m, up in zip(size, self.least, self.up, strict=True))
        return len(self._tiled(self.plan.model.denoiser).weights(space))

    def sized(self, size: tuple[int, int]) -> Enlarger:
        """The same for smaller pictures of one size: a network is asked no more rows at once than one has windows.

        In whole eights, which are summed alike on every machine; not by how many pictures are asked for, or they would
        feel that.
        """
        rows = min(self.plan.rows, -(-self.windows(size) // _EIGHT) * _EIGHT)
        return replace(self, plan=replace(self.plan, rows=rows))

    def _tiled(self, denoiser: Denoiser) -> Tiled:
        return Tiled(denoiser, self.tile, self.overlap, {self.family: self.up}, self.plan.rows)

    @cached_property
    def _denoiser(self) -> Denoiser:
        """Windows of the guided model, so that the guidance is asked about windows too; the whole is held to."""
        tiled = self._tiled(self.plan.method.guided(self.plan.model.denoiser, self.plan.rows))
        return Projection(tiled, BlockMean(self.up), HELD) if self.held else tiled

    def __call__(self, low: Tensor, cond: Condition, rng: Rng) -> Tensor:
        """Pictures (B, C, up H, up W) of smaller ones (B, C, H, W).

        Arguments:
            low: in [-1, 1].
            cond: what else the models are told; what this one does not know is left out.
            rng: one key a row. A stage of a cascade draws what the cascade draws where it is handed these pictures.
        """
        own = rng if self.name is None else rng.at("stage", self.name)
        high, wide = low.shape[-2:]
        more = [max(0, m - n) for m, n in zip(self.least, (high, wide), strict=True)]
        # At the sides that are cut off again, and its edges go on: a model asked about a smaller picture than it knows
        # answers worse, and some networks know one size only.
        whole = F.pad(low, (0, more[1], 0, more[0]), mode="replicate") if any(more) else low
        known = families(self.plan.model.denoiser)
        told = cond.take(*(name for name in known if name != self.family))[0]
        told = told | Condition(**{self.family: whole})
        if self.augment is not None:
            told = self.augment(told, None, own.at("augment"))
        if self.held:
            told = told | Condition(**{f"{HELD}.y": whole})
        shape = (self.channels, *(n * up for n, up in zip(whole.shape[-2:], self.up, strict=True)))
        x = Sampling(self.plan.method.sampler, self._denoiser, shape=shape)(told, own).cpu().float()
        return x[..., : high * self.up[0], : wide * self.up[1]]

    def record(self) -> dict[str, Any]:
        """What a result says of the stage."""
        plan = self.plan
        return {
            "name": self.name,
            "model": plan.model.record(),
            "family": self.family,
            "up": list(self.up),
            "level": 0.0 if self.augment is None else self.augment.level,
            **plan.method.record(),
            "held": self.held,
            "rows": plan.rows,
            "tile": list(self.tile),
            "overlap": list(self._tiled(plan.model.denoiser).overlap),
        }


def _told(plan: Plan) -> tuple[str, Image]:
    """The family by which a model is told the smaller picture; a model that is told none is refused."""
    encoder: Any = getattr(plan.model.denoiser, "encoder", None)
    parts = {name: encoder[name] for name in families(plan.model.denoiser)}
    found = {name: part for name, part in parts.items() if isinstance(part, Image) and _times(part) > 1}
    if not found:
        path, shape = plan.model.path, tuple(plan.model.denoiser.shape)
        heard = f"is told {', '.join(parts)}" if parts else "is told nothing"
        raise Refusal(
            f"the model in {path!r} is no super-resolution model: it draws {shape} and {heard}. Train one that makes "
            "pictures larger with mezzotint train PICTURES --cascade 14,28, and name that folder"
        )
    name = "low" if "low" in found else next(iter(found))
    return name, found[name]


def _times(part: Image) -> int:
    return math.prod((part.up,) if isinstance(part.up, int) else part.up)


def _trained(path: str, family: str) -> Noised | None:
    """The augmentation of a smaller picture that a run was trained with, where that is known."""
    try:
        tree: Any = Run.open(path).config
    except Refusal:  # a model folder says nothing of its training
        return None
    for key in ("training", "objective"):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    tree = innermost(tree)[1].get("augment") if isinstance(tree, Mapping) else None
    found = None if tree is None else measured(tree, MODEL)
    # A picture that is enlarged before is none that this model is told, whatever the file says.
    return found if isinstance(found, Noised) and found.family == family and found.up in (1, (1, 1)) else None


def _tile(text: str, up: tuple[int, int]) -> tuple[int, int]:
    try:
        size = wanted.size(text)
    except Refusal:
        raise Refusal(
            f"--tile is {text!r}, but a window has a height and a width in pixels, such as 64 or 48x80"
        ) from None
    if any(side % factor for side, factor in zip(size, up, strict=True)):
        raise Refusal(f"--tile is {text}, and the model makes pictures {up[0]} x {up[1]} times larger: take a multiple")
    return size


def _levels(text: str | None, usual: list[float]) -> list[float]:
    """A level a stage; one alone is the first stage's."""
    if text is None:
        return usual
    try:
        found = [float(piece) for piece in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, len(usual)) or not all(0 <= level <= 1 for level in found):
        raise Refusal(
            f"--level is {text!r}, but it is a share of noise from 0 to 1, or one for each of {len(usual)} stages, "
            "such as 0,0.2"
        )
    return [*found, *usual[len(found) :]]
