"""An edit, settled: the picture, its mask, how far from it to start, and what draws it.

Image to image starts a run where the picture is corrupted to a level, and not at the prior (SDEdit: Meng et al. 2022,
2108.01073). Inpainting draws under the guidance :class:`~mezzotint.guidance.Known`: wherever the mask keeps the
picture, the clean data are known, whatever the model thinks. Going over stretches again, with fresh noise, lets the
new part hear of the kept one (RePaint: Lugmayr et al. 2022, 2201.09865).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mezzotint.cli import mapped
from mezzotint.cli.canvas import Canvas, Margins
from mezzotint.cli.cells import Cells
from mezzotint.cli.changes import masked
from mezzotint.cli.console import note
from mezzotint.cli.method import CFG, Method, repeated, resampled
from mezzotint.cli.original import Mask, Original
from mezzotint.cli.plan import EDIT, Plan, read
from mezzotint.cli.symbols import completing
from mezzotint.cli.titled import Tile, enlarged, hatched, sheet, wrapped
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.rng import Rng
from mezzotint.guidance import Known
from mezzotint.samplers import Reference, Sampling
from mezzotint.training.pictures import Pixels, enlargement, grid, pixels

if TYPE_CHECKING:
    from mezzotint.cli.edit import Edit

RESAMPLE = 8
"""How often each interval of an inpainting is walked, where nothing is said: on an exact mixture, the largest
difference between the law of the samples and the true conditional one fell from 0.38 (1) to 0.20 (4) and 0.09 (8); on
enumerated texts of six redrawn symbols, three of them kept, the total variation from 0.13 to 0.07 and 0.04."""


MOST = 1_000
"""By less than this a mask grows."""


@dataclass(frozen=True)
class Editing:
    """Everything that decides the pixels of an edit.

    Arguments:
        plan: what any drawing needs; it is handed pictures.
        cells: where pictures lie among what the model draws.
        original: the picture.
        mask: where to make it anew, or None for all of it.
        strength: the level to start from, in (0, 1].
        dilate: by how many entries the mask grows.
        paste: whether the picture's own pixels come back where it is kept.
        margins: what is added on each side, in entries.
    """

    plan: Plan
    cells: Cells
    original: Original
    mask: Mask | None
    strength: float
    dilate: int = 0
    paste: bool = False
    margins: Margins = Margins()

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
        if denoiser.process.kind == "real" and (denoiser.times is not None or not denoiser.clean):
            raise Refusal(f"the model in {plan.model.path!r} does not answer at every noise level, so it cannot edit")
        cells = Cells.of(plan.model, plan.shown)
        original = Original.of(path, cells.picture)
        remarks = [original.remark(), _same(original, before.get("image"), args.image)]
        said: Any = before.get("mask")
        mask = masked(args, said, plan.told.mapped, original, whole=cells.data is not None)
        if mask is not None:
            remarks += [mask.remark(), _same(mask, said, args.mask or args.before)]
        beyond = args.extend if args.extend is not None else before.get("extend")
        wide = None if beyond is None else Margins.of(beyond)
        if wide is not None and plan.told.mapped is not None:
            raise Refusal("--extend draws beyond the edges, where the map of --layout ends: leave one of them out")
        margins = Margins() if wide is None else wide.cells(cells.size)
        remarks.append(None if wide is None else _rounded(wide, margins.times(cells.size)))
        given = mask is not None or wide is not None
        usual = before.get("strength", 1.0 if given else 0.5)
        strength = usual if args.strength is None else args.strength
        if not 0 < strength <= 1:
            raise Refusal(f"--strength is {strength}, but it is a noise level above 0 and up to 1")
        if wide is not None and strength < 1:
            raise Refusal(
                "--strength starts from the picture, and beyond its edges there is none: leave out one of them"
            )
        dilate = args.dilate if args.dilate is not None else before.get("dilate", cells.dilate)
        if args.dilate is not None and mask is None:
            raise Refusal("--dilate grows a mask, so it needs a --mask")
        if not 0 <= dilate < MOST:
            raise Refusal(f"--dilate is {dilate}, but a mask grows by 0 to {MOST - 1}")
        paste = args.paste or (before.get("paste", False) and given)
        if paste and not (given and cells.data is not None):
            raise Refusal(
                "--paste puts kept pixels back, and without --mask or --extend none is kept"
                if cells.data is not None
                else "this model draws pixels, and keeps them to the bit where the mask does: leave out --paste"
            )
        _asked(plan)
        made = cls(_pictured(plan, cells, margins, old), cells, original, mask, strength, dilate, paste, margins)
        if given:
            settled = bool(said) or bool(before.get("extend"))
            made = replace(made, plan=replace(made.plan, method=made.agreeing(args.resample, settled)))
            remarks.append(made.remark())
        elif args.resample is not None:
            raise Refusal("--resample lets a new part agree with a kept one, so it needs a --mask")
        made.check()
        remarks.append(made.nearest())
        for remark in filter(None, remarks):
            note(remark)
        return made

    @property
    def beyond(self) -> bool:
        """Whether it draws beyond the edges."""
        return any(self.margins.sides)

    @cached_property
    def redo(self) -> Tensor:
        """The entries that are drawn anew, bool (h, w)."""
        if self.mask is None:
            return torch.full(self.cells.latent[-2:], not self.beyond)
        return self.cells.over(self.mask.redo[0], self.dilate)

    @cached_property
    def canvas(self) -> Canvas:
        """What is given, and what is drawn around it."""
        return Canvas(self.cells.encode(self.original.x), ~self.redo, self.margins)

    def agreeing(self, times: int | None, settled: bool) -> Method:
        """The method with intervals walked, or stages drawn, several times.

        Where nothing is said they are not, where a way rises already, or where there is nothing to agree with, or where
        the model sees what is kept from the first step on.
        """
        method, denoiser = self.plan.method, self.plan.model.denoiser
        if denoiser.times is not None:
            return method if times is None else repeated(method, times)
        if times is None:
            seen = getattr(denoiser.process, "mask", None) is not None
            path = method.sampler.grid(denoiser.process, method.sampler.steps)
            plain = seen or (bool(self.redo.all()) and not self.beyond)
            times = None if settled or plain or bool((path[1:] > path[:-1]).any()) else RESAMPLE
        return method if times is None else resampled(method, times)

    def remark(self) -> str | None:
        """What a person should know of what is kept."""
        denoiser, redo = self.plan.model.denoiser, self.redo
        if self.beyond or self.cells.data is None:
            return None
        if not redo.any():
            return "the mask is black all over, so the picture comes back as its symbols show it"
        if redo.all():
            return "the mask leaves no symbol as it is, so nothing of the picture is seen"
        if (
            denoiser.times is not None and len(denoiser.times) == 1
        ):  # also a chain of one stage, as --model raster trains
            return "this model says symbols in their order: what comes before a kept one does not know of it"
        return None

    def check(self) -> None:
        """Refuse a strength from which the sampler has no way down."""
        start, sampler = self.start(), self.plan.method.sampler
        try:
            if start is not None and self.plan.model.denoiser.times is None:
                start.path(sampler.grid, sampler.steps)
        except Refusal as refusal:
            raise Refusal(f"--strength is {self.strength}, from where no way leads down: {refusal}") from refusal

    def record(self) -> dict[str, Any]:
        """What the pictures say of the edit."""
        mask = None if self.mask is None else self.mask.record()
        more: dict[str, Any] = {}
        if self.mask is not None and (self.cells.data is not None or self.dilate):
            more["dilate"] = self.dilate
        if self.paste:
            more["paste"] = True
        if self.beyond:
            more["extend"] = ",".join(map(str, self.margins.times(self.cells.size).sides))
        return {"image": self.original.record(), "mask": mask, "strength": self.strength, **more}

    def cond(self) -> Condition:
        """What is asked for: labels and captions, and where to start; one row a picture."""
        cond = self.plan.told.cond()
        if self.start() is None:
            return cond
        z = self.canvas.x
        return cond | Condition(reference=z.expand(len(self.plan.seeds), *z.shape))

    def start(self) -> Reference | None:
        """Where a run begins; at full strength nothing is left of the picture, and it begins at the prior."""
        if self.strength == 1:
            return None
        denoiser = self.plan.model.denoiser
        process = denoiser.process
        if denoiser.times is not None:
            t = self._stage(denoiser.times)
            return None if t == 1 else Reference(process, t)
        t = float(process.time(torch.tensor([self.strength], dtype=torch.float64)))
        # A model of T discrete steps was trained at t = 1/T, 2/T, ..: the nearest of them, which grids may ask for.
        steps = getattr(process, "steps", None)
        return Reference(process, t if steps is None else max(1, round(t * steps)) / steps)

    def _stage(self, times: Tensor) -> float:
        """The time of a short chain whose level is nearest to the strength."""
        away = (self.plan.model.denoiser.process.level(times) - self.strength).abs()
        return float(times[int(away.argmin())])

    def nearest(self) -> str | None:
        """Which stage of a short chain stands for the strength, where it is not at one."""
        denoiser = self.plan.model.denoiser
        if denoiser.times is None or self.strength == 1:
            return None
        times, t = denoiser.times, self._stage(denoiser.times)
        if len(times) == 1:
            return "this model draws whole samples at once, so it begins at strength 1, and sees nothing of the picture"
        level = float(denoiser.process.level(torch.tensor([t], dtype=torch.float64)))
        stage = int((times >= t).sum())
        same = abs(level - self.strength) < 5e-4
        return None if same else f"--strength {self.strength:g} begins at {level:.3g}: stage {stage} of {len(times)}"

    def pipeline(self) -> Pipeline:
        """What draws it."""
        method, start = self.plan.method, self.start()
        denoiser = method.guided(self.plan.model.denoiser, self.plan.rows)
        plain = Sampling(method.sampler, denoiser, start=start)
        told = Sampling(method.sampler, Known(denoiser), start=start) if not self.cells.symbols else completing(plain)

        def drawn(cond: Condition, rng: Rng) -> Tensor:
            z = self.canvas.fill(lambda known: told if known else plain, cond, rng)
            whole = self.cells.data is None or not self.beyond
            return self._pasted(self.cells.pictures(z) if whole else self.canvas.shown(z, self.cells.pictures))

        return drawn

    def _pasted(self, x: Tensor) -> Tensor:
        """Pictures with the original's own pixels where it is kept, if that is asked for."""
        if not self.paste:
            return x
        size = self.cells.size if self.beyond else (1, 1)
        around = self.margins.times(size)
        keep = around.around(~self.cells.under(self.redo))
        return torch.where(keep, around.around(self.original.x).to(x), x)

    def sheet(self, x: Tensor) -> Pixels:
        """The original, what is kept of it, and the results, under titles; without titles, the results alone."""
        layout = dict(self.plan.layout)
        if not layout.pop("titles", False):
            return grid(x, **layout)
        scale, columns = layout["scale"], layout["columns"]
        beyond = self.margins.times(self.cells.size if self.beyond else (1, 1))
        was = enlarged(pixels(beyond.around(self.original.x, -1)[None])[0], scale)
        edge = beyond.around(torch.zeros(self.cells.picture[-2:], dtype=torch.bool), True)
        above = [Tile(_hidden(was, edge, scale), ("original",))]
        if self.mask is not None:
            redo = beyond.around(self.cells.under(self.redo), True)
            above.append(Tile(_hidden(was, redo, scale), ("kept",)))
        above += mapped.heads(self.plan, self.mask, self.cells.picture[-2:], scale)
        tiles = [Tile(enlarged(tile, scale), self._title(row, was.shape[1])) for row, tile in enumerate(pixels(x))]
        rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
        return sheet([above, *rows], layout["gap"])

    def _title(self, row: int, width: int) -> tuple[str, ...]:
        """What was asked for, once a column where it is the same all down the column, and the seed."""
        plan, told, seed = self.plan, self.plan.told, f"seed {self.plan.seeds[row]}"
        if told.mapped is not None and told.kinds > 1:
            below = row >= plan.layout["columns"] == told.kinds
            return (seed,) if below else (*mapped.asked(plan, row, width), seed)
        if row >= plan.layout["columns"] == told.kinds > 1 or (told.labels is None and told.captions is None):
            return (seed,)
        name = () if told.labels is None else (plan.model.classes[told.labels[row]],)
        return (*name, *(() if told.captions is None else wrapped(told.captions[row], width)), seed)


def _hidden(picture: Pixels, where: Tensor, scale: int) -> Pixels:
    """An enlarged picture under stripes where it is not seen, bool (H, W)."""
    return hatched(picture, where.numpy().repeat(scale, 0).repeat(scale, 1))


def _rounded(wide: Margins, whole: Margins) -> str | None:
    """What a person should know of a margin that is brought to whole codes."""
    if wide == whole:
        return None
    left, top, right, bottom = whole.sides
    return f"codes are added whole: {left} pixels on the left, {top} on top, {right} on the right, {bottom} below"


def _pictured(plan: Plan, cells: Cells, margins: Margins, old: dict[str, Any]) -> Plan:
    """The plan for pictures, whatever the model draws: the sheet enlarges them by their own size."""
    if plan.shown is None and not any(margins.sides):
        return plan
    high, wide = cells.picture[-2:]
    left, top, right, bottom = margins.times(cells.size if any(margins.sides) else (1, 1)).sides
    scale = enlargement(high + top + bottom, wide + left + right, EDIT.side)
    layout = plan.layout if plan.layout == old.get("layout") else {**plan.layout, "scale": scale}
    return replace(plan, shown=None, layout=layout)


def _before(old: dict[str, Any], path: str | None) -> dict[str, Any]:
    """What an earlier edit says of itself, refused unless it is whole; {} where there is none."""
    if not old:
        return {}
    edit = old["edit"]
    files = [edit.get("image"), *filter(None, [edit.get("mask")])] if isinstance(edit, dict) else [None]
    named = all(isinstance(f, dict) and {type(f.get("path")), type(f.get("sha256"))} == {str} for f in files)
    more = isinstance(edit, dict) and all(
        isinstance(edit.get(name, kind()), kind) for name, kind in (("dilate", int), ("paste", bool), ("extend", str))
    )
    if not named or not more or not isinstance(edit.get("strength"), int | float):
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
            more = ", or name a map with --layout" if family == "layout" else ""
            raise Refusal(
                f"this model never learnt to draw without its {family}; take one of its data with --items{more}"
            )
    nothing = told.labels is None and told.captions is None and told.items is None
    if nothing and (model.classes or model.reads) and (plan.method.guidance or {}).get("part") == CFG:
        what, flag = ("label", "--label") if model.classes else ("caption", "--caption")
        raise Refusal(f"--guidance makes pictures follow their {what}, and none is given; name one with {flag}")
