"""An edit, settled: the picture, its mask, how far from it to start, and what draws it.

Image to image starts a run where the picture is corrupted to a level, and not at the prior (SDEdit: Meng et al. 2022,
2108.01073). Inpainting draws under the guidance :class:`~mezzotint.guidance.Known`: wherever the mask keeps the
picture, the clean data are known, whatever the model thinks. Going over stretches again, with fresh noise, lets the
new part hear of the kept one (RePaint: Lugmayr et al. 2022, 2201.09865).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mezzotint.cli.console import note
from mezzotint.cli.method import CFG, Method, resampled
from mezzotint.cli.original import Mask, Original
from mezzotint.cli.plan import EDIT, Plan, read
from mezzotint.cli.titled import Tile, enlarged, hatched, sheet, wrapped
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.pipeline import Pipeline
from mezzotint.guidance import Known
from mezzotint.processes.base import Process
from mezzotint.samplers import Reference, Sampling
from mezzotint.training.pictures import Pixels, grid, pixels

if TYPE_CHECKING:
    from mezzotint.cli.edit import Edit

RESAMPLE = 8
"""How often each interval of an inpainting is walked, where nothing is said: on an exact mixture, the largest
difference between the law of the samples and the true conditional one fell from 0.38 (1) to 0.20 (4) and 0.09 (8)."""


@dataclass(frozen=True)
class Editing:
    """Everything that decides the pixels of an edit.

    Arguments:
        plan: what any drawing needs.
        original: the picture.
        mask: where to make it anew, or None for all of it.
        strength: the level to start from, in (0, 1].
    """

    plan: Plan
    original: Original
    mask: Mask | None
    strength: float

    @classmethod
    def of(cls, args: Edit) -> Editing:
        """Lay the flags over the settings of ``--like``, and read the model, the picture and the mask."""
        old = read(args.output.like, EDIT)
        before = _before(old, args.output.like)
        path = args.image if args.image is not None else before.get("image", {}).get("path")
        if args.run is not None and path is None:
            raise Refusal(f"name the picture to edit: mezzotint edit {args.run} IMAGE")
        plan = Plan.of(args, EDIT, old)
        denoiser = plan.model.denoiser
        if denoiser.process.kind != "real" or denoiser.times is not None or not denoiser.clean:
            raise Refusal(f"the model in {plan.model.path!r} does not answer at every noise level, so it cannot edit")
        original = Original.of(path, denoiser.shape)
        remarks = [original.remark(), _same(original, before.get("image"), args.image)]
        said: Any = before.get("mask")
        path = args.mask if args.mask is not None else said and said["path"]
        mask = None if path is None else Mask.of(path, original)
        if mask is not None:
            remarks += [mask.remark(), _same(mask, said, args.mask)]
        usual = before.get("strength", 0.5 if mask is None else 1.0)
        strength = usual if args.strength is None else args.strength
        if not 0 < strength <= 1:
            raise Refusal(f"--strength is {strength}, but it is a noise level above 0 and up to 1")
        _asked(plan)
        if mask is not None:
            plan = replace(plan, method=_agreeing(plan.method, args.resample, denoiser.process, settled=bool(said)))
        elif args.resample is not None:
            raise Refusal("--resample lets a new part agree with a kept one, so it needs a --mask")
        made = cls(plan, original, mask, strength)
        made.check()
        for remark in filter(None, remarks):
            note(remark)
        return made

    def check(self) -> None:
        """Refuse a strength from which the sampler has no way down."""
        start, sampler = self.start(), self.plan.method.sampler
        try:
            if start is not None:
                start.path(sampler.grid, sampler.steps)
        except Refusal as refusal:
            raise Refusal(f"--strength is {self.strength}, from where no way leads down: {refusal}") from refusal

    def record(self) -> dict[str, Any]:
        """What the pictures say of the edit."""
        mask = None if self.mask is None else self.mask.record()
        return {"image": self.original.record(), "mask": mask, "strength": self.strength}

    def cond(self) -> Condition:
        """What is asked for: labels and captions, where to start, what is known; one row a picture."""
        count = len(self.plan.seeds)
        rows = self.original.x.expand(count, *self.original.x.shape)
        cond = self.plan.told.cond()
        if self.strength < 1:
            cond = cond | Condition(reference=rows)
        if self.mask is not None:
            keep = ~self.mask.redo
            cond = cond | Condition(**{"known.x": rows, "known.mask": keep.expand(count, *keep.shape)})
        return cond

    def start(self) -> Reference | None:
        """Where a run begins; at full strength nothing is left of the picture, and it begins at the prior."""
        if self.strength == 1:
            return None
        process = self.plan.model.denoiser.process
        t = float(process.time(torch.tensor([self.strength], dtype=torch.float64)))
        # A model of T discrete steps was trained at t = 1/T, 2/T, ..: the nearest of them, which grids may ask for.
        steps = getattr(process, "steps", None)
        return Reference(process, t if steps is None else max(1, round(t * steps)) / steps)

    def pipeline(self) -> Pipeline:
        """What draws it."""
        method = self.plan.method
        denoiser = method.guided(self.plan.model.denoiser, self.plan.rows)
        told = denoiser if self.mask is None else Known(denoiser)
        return Sampling(method.sampler, told, start=self.start(), decode=self._keep)

    def _keep(self, x: Tensor, cond: Condition) -> Tensor:
        """Kept pixels to the bit: solvers arrive at them but for rounding."""
        if self.mask is None:
            return x
        return torch.where(self.mask.redo.to(x.device), x, self.original.x.to(x))

    def sheet(self, x: Tensor) -> Pixels:
        """The original, what is kept of it, and the results, under titles; without titles, the results alone."""
        layout = dict(self.plan.layout)
        if not layout.pop("titles", False):
            return grid(x, **layout)
        scale, columns = layout["scale"], layout["columns"]
        was = enlarged(pixels(self.original.x[None])[0], scale)
        above = [Tile(was, ("original",))]
        if self.mask is not None:
            redo = self.mask.redo[0].numpy().repeat(scale, 0).repeat(scale, 1)
            above.append(Tile(hatched(was, redo), ("kept",)))
        tiles = [Tile(enlarged(tile, scale), self._title(row, was.shape[1])) for row, tile in enumerate(pixels(x))]
        rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
        return sheet([above, *rows], layout["gap"])

    def _title(self, row: int, width: int) -> tuple[str, ...]:
        """What was asked for, once a column where it is the same all down the column, and the seed."""
        plan, told, seed = self.plan, self.plan.told, f"seed {self.plan.seeds[row]}"
        if row >= plan.layout["columns"] == told.kinds > 1 or (told.labels is None and told.captions is None):
            return (seed,)
        name = () if told.labels is None else (plan.model.classes[told.labels[row]],)
        return (*name, *(() if told.captions is None else wrapped(told.captions[row], width)), seed)


def _agreeing(method: Method, times: int | None, process: Process, settled: bool) -> Method:
    """The method with intervals walked several times; where nothing is said, a way that rises already is kept."""
    if times is None:
        path = method.sampler.grid(process, method.sampler.steps)
        times = None if settled or bool((path[1:] > path[:-1]).any()) else RESAMPLE
    return method if times is None else resampled(method, times)


def _before(old: dict[str, Any], path: str | None) -> dict[str, Any]:
    """What an earlier edit says of itself, refused unless it is whole; {} where there is none."""
    if not old:
        return {}
    edit = old["edit"]
    files = [edit.get("image"), *filter(None, [edit.get("mask")])] if isinstance(edit, dict) else [None]
    named = all(isinstance(f, dict) and {type(f.get("path")), type(f.get("sha256"))} == {str} for f in files)
    if not named or not isinstance(edit.get("strength"), int | float):
        raise Refusal(f"the settings inside {path!r} do not say what was edited, so it cannot be repeated")
    return dict(edit)


def _same(found: Original | Mask, said: dict[str, Any] | None, named: str | None) -> str | None:
    """Refuse a file that is no longer the one that was edited; one that is named anew takes its place."""
    if not said or found.sha256 == said["sha256"]:
        return None
    if named is None:
        raise Refusal(
            f"{found.path!r} has the SHA-256 {found.sha256[:12]}..., but the edit was made with "
            f"{said['sha256'][:12]}...: the file has changed, so the edit cannot be repeated"
        )
    return f"{found.path} is another picture than {said['path']}: the same is done with it"


def _asked(plan: Plan) -> None:
    """Refuse to leave the choice to a model that never learnt to choose, and to follow what nobody asked for."""
    model, told = plan.model, plan.told
    for family, flag, known, given in (
        ("label", "a class; name one with --label", model.classes, told.labels),
        ("caption", "what to draw; say it with --caption", model.reads, told.captions),
    ):
        if known and given is None and family not in model.denoiser.nulls:
            raise Refusal(f"this model never learnt to draw without being told {flag}")
    for family in model.more:
        if told.items is None and family not in model.denoiser.nulls:
            raise Refusal(f"this model never learnt to draw without its {family}; take one of its data with --items")
    nothing = told.labels is None and told.captions is None and told.items is None
    if nothing and (model.classes or model.reads) and (plan.method.guidance or {}).get("part") == CFG:
        what, flag = ("label", "--label") if model.classes else ("caption", "--caption")
        raise Refusal(f"--guidance makes pictures follow their {what}, and none is given; name one with {flag}")
