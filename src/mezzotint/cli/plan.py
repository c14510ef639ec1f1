"""What is to be drawn, settled from the flags of a verb and from the settings inside a picture."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mezzotint.autoencoders import Encoded
from mezzotint.cascades.folder import families
from mezzotint.cli import drawing, layouts, mapped, told, wanted
from mezzotint.cli.changes import Change, changes
from mezzotint.cli.console import note
from mezzotint.cli.flags import Asked, Output, alone, changes_of, parameters_of
from mezzotint.cli.items import Items, above
from mezzotint.cli.method import Method
from mezzotint.cli.symbols import SUFFIX, Shown
from mezzotint.cli.titled import captioned
from mezzotint.cli.told import Told
from mezzotint.core.errors import Refusal
from mezzotint.training import texts
from mezzotint.training.pictures import Pixels, enlargement, grid, pixels, read_settings, save_png
from mezzotint.training.texts import plain, save_texts, sheet

BATCH = 256


@dataclass(frozen=True)
class Verb:
    """What the verbs that draw pictures do differently.

    Arguments:
        name: of the verb; settings of another verb carry the entry ``name`` and are refused.
        out: the sheet, where no other is named.
        every: whether every class is drawn where no label is named, or the captions that a model brings; else nothing
            is asked for.
        columns: of the sheet, where there are so many pictures of one label.
        side: to about how many pixels a side a small picture is enlarged on the sheet; twice as many under captions.
        titles: whether pictures always stand under titles, and not under captions alone.
    """

    name: str
    out: str
    every: bool
    columns: Callable[[int], int]
    side: int
    titles: bool = False


SAMPLE = Verb("sample", "samples.png", True, lambda count: math.ceil(math.sqrt(count)), 48)
EDIT = Verb("edit", "edits.png", False, lambda count: min(count, 8), 96, titles=True)


@dataclass(frozen=True)
class Plan:
    """Everything that decides the pixels.

    Arguments:
        model: with its weights.
        told: what each picture is asked to show.
        seeds: one a picture.
        method, batch, rows: how they are drawn.
        layout: ``columns``, ``scale`` and ``gap`` of the sheet, and whether it has ``titles``.
        sheet: where the sheet is written, or None.
        threads: of the picture to be repeated, or None.
        shape: of one picture, where it is not the model's own.
        shown: how symbols and codes are shown; None for a model of pictures.
    """

    model: drawing.Model
    told: Told
    seeds: list[int]
    method: Method
    batch: int
    rows: int
    layout: dict[str, int]
    sheet: str | None
    threads: int | None
    shape: tuple[int, ...] | None = None
    shown: Shown | None = None

    @classmethod
    def of(cls, args: Asked, verb: Verb, old: dict[str, Any], changes: list[str] | None = None) -> Plan:
        """Lay the flags over earlier settings, and load the model.

        Arguments:
            args: of the verb.
            verb: which it is.
            old: the settings inside the picture to be repeated, {} where there is none.
            changes: the ``--set`` edits, where they are not just those of the flags.
        """
        if args.run is None and not old:
            greedy = next((flag for flag in ("caption", "layout", "instances") if getattr(args.telling, flag)), None)
            last = f"; it comes before --{greedy}, which takes all that follows" if greedy else ""
            raise Refusal(f"name a run folder, or a picture to repeat with --like{last}")
        given, output = args.drawing, args.output
        model = _model(args, verb, old)
        changes = changes_of(given.set) if changes is None else changes
        moved = [change for change in changes if re.match(r"\s*data\s*[.=]", change)]
        changes = [change for change in changes if change not in moved]
        shown = Shown.of(model, moved)
        shape = _shape(getattr(args, "size", None), old, model)
        if shape is not None and shown is not None and isinstance(shown.data, Encoded):
            raise Refusal(
                f"the model in {model.path!r} is of codes of one size, so its pictures have no other --size than "
                "theirs; leave it out"
            )
        known = replace(model, size=model.shape if shape is None else shape)
        wish, seeds = told.asked(
            args,
            verb.every,
            old,
            known,
            lambda: (
                layouts.asked(args, old, known, shown)
                or Items.of_run(model.path, families(model.denoiser), known.shape, moved)
            ),
        )
        same = old and wish == told.before(old) and seeds == old["seeds"] and output.columns is None
        wanted_sheet = output.out is not None or (output.each is None and output.npz is None)
        method = Method.of(
            given,
            changes,
            model.sampler,
            old,
            negative=wish.negative is not None,
            symbols=hasattr(model.denoiser.process, "vocab"),
        )
        scale = alone(given.guidance, "guidance")
        towards = scale is not None and scale < 1  # below 1 it would move to it
        if wish.negative is not None and (towards or not method.negative):
            if args.telling.negative is not None or towards:
                if not towards and method.guidance is not None:
                    other = method.guidance.get("part")
                    raise Refusal(
                        f"--negative is moved away from by guidance.Negative, and {other} does something else: leave "
                        "out --set guidance.part, or --negative"
                    )
                raise Refusal(
                    "--negative says what to move away from, and nothing moves: give a scale above 1, such as "
                    "--guidance 2"
                )
            note("nothing moves away from the negative of that picture, so it is left out")
            wish = replace(wish, negative=None)
        return cls(
            model=model,
            told=wish,
            seeds=seeds,
            method=method,
            batch=given.batch if given.batch is not None else old.get("batch", BATCH),
            rows=given.rows
            if given.rows is not None
            else old.get("rows") or drawing.rows_of(model.denoiser, known.shape),
            layout=old["layout"] if same else layout_of(output, verb, wish, seeds, known, shown),
            sheet=_sheet(output.out, verb, shown) if wanted_sheet else None,
            threads=threads_of(old),
            shape=shape,
            shown=shown,
        )

    def settings(self, threads: int, **more: Any) -> dict[str, Any]:
        """What a picture carries, plain data."""
        return {
            "model": self.model.record(),
            **more,
            **self.told.record(),
            "seeds": self.seeds,
            **self.method.record(),
            "batch": self.batch,
            "rows": self.rows,
            "layout": self.layout,
            **({} if self.shape is None else {"size": list(self.shape[-2:])}),
            "device": self.model.denoiser.device.type,
            "threads": threads,
            "versions": drawing.versions(),
        }

    def _each(self, folder: str) -> list[str]:
        """One file name a sample."""
        paths = [Path(folder, name) for name in self.told.names(self.seeds, len(self.model.classes))]
        return [str(path.with_suffix(SUFFIX) if self.text else path) for path in paths]

    @property
    def text(self) -> bool:
        """Whether the samples are texts."""
        return self.shown is not None and self.shown.text

    def remarks(self) -> list[str]:
        """Sentences about how maps were read, and about what of the texts does not reach the model."""
        negative = self.told.negative
        said = () if self.told.source is None else self.told.source.remarks
        return [*said, *self.model.remarks([*self.told.texts, *([] if negative is None else [negative])])]

    def files(self, output: Output) -> list[str]:
        """Every file that will be written."""
        names = [name for name in (self.sheet, output.npz) if name is not None]
        return names + (self._each(output.each) if output.each is not None else [])

    def write(
        self, output: Output, x: Tensor, settings: dict[str, Any], lay: Callable[[Tensor], Pixels] | None = None
    ) -> list[str]:
        """Write the sheet, single pictures and arrays that were asked for.

        Arguments:
            output: where they go.
            x: the pictures, (N, C, H, W), or symbols or codes of them.
            settings: what the files carry.
            lay: makes the sheet; None: a grid, under captions where there are any.
        """
        if self.shown is not None:
            if self.shown.text:
                return self._write_texts(output, x, self.shown.texts(x), settings)
            x = self.shown.pictures(x)
        written = []
        if self.sheet is not None:
            save_png(self.sheet, self.grid(x) if lay is None else lay(x), settings)
            written.append(self.sheet)
        if output.npz is not None:
            _save_npz(Path(output.npz), self.told, self.seeds, images=pixels(x))
            written.append(output.npz)
        if output.each is not None:
            one = {**settings, "layout": {"columns": 1, "scale": 1, "gap": 0}}
            for row, (name, tile) in enumerate(zip(self._each(output.each), pixels(x), strict=True)):
                save_png(name, tile, {**one, **self.told.row(row).record(), "seeds": [self.seeds[row]]})
                written.append(name)
        return written

    def _write_texts(self, output: Output, x: Tensor, texts: list[str], settings: dict[str, Any]) -> list[str]:
        labels = self.told.labels
        names = [""] * len(texts) if labels is None else [f"{self.model.classes[label]}, " for label in labels]
        titles = [f"{name}seed {seed}" for name, seed in zip(names, self.seeds, strict=True)]
        written = []
        if self.sheet is not None:
            save_texts(self.sheet, sheet(texts, titles), settings)
            written.append(self.sheet)
        if output.npz is not None:
            _save_npz(Path(output.npz), self.told, self.seeds, symbols=x.numpy(), texts=np.array(texts, dtype=np.str_))
            written.append(output.npz)
        if output.each is not None:
            for row, (name, text) in enumerate(zip(self._each(output.each), texts, strict=True)):
                save_texts(name, plain(text), {**settings, **self.told.row(row).record(), "seeds": [self.seeds[row]]})
                written.append(name)
        return written

    def changes(self, x: Tensor) -> list[Change]:
        """How far the pictures, or symbols or codes of them, of one seed differ from map to map."""
        if self.told.mapped is None:
            return []
        return changes(self, x if self.shown is None else self.shown.pictures(x))

    def grid(self, x: Tensor) -> Pixels:
        """Pictures side by side, each column under its caption and what else it was asked to show."""
        if self.told.mapped is not None:
            return mapped.drawn(self, x)
        layout, captions = dict(self.layout), self.told.captions or []
        titles, columns = layout.pop("titles", False), layout["columns"]
        if self.told.items is not None and columns == self.told.kinds:
            x = above(x, self.told.rows(slice(columns)).cond(), columns)
            captions = [*captions[:columns] * (len(x) // columns)]
        return captioned(x, captions, **layout) if titles else grid(x, **layout)


def read(path: str | None, verb: Verb) -> dict[str, Any]:
    """The settings inside a picture, refused unless they are such as the verb writes; {} where none is named."""
    if path is None:
        return {}
    old = texts.read_settings(path) if path.lower().endswith(SUFFIX) else read_settings(path)
    made = next((name for name in ("edit", "upscale") if name in old), "sample")
    if made == "upscale":
        raise Refusal(f"{path!r} was made by mezzotint upscale, from another picture: ask for it there again")
    if made != verb.name:
        raise Refusal(f"{path!r} was made by mezzotint {made}; repeat it with mezzotint {made} --like")
    model, layout, seeds = (old.get(key) for key in ("model", "layout", "seeds"))
    whole = isinstance(model, dict) and isinstance(model.get("path"), str) and isinstance(model.get("sha256"), str)
    whole = whole and isinstance(layout, dict) and set(layout) - {"titles"} == {"columns", "scale", "gap"}
    whole = (
        all(isinstance(n, int) and 0 <= n <= 1_000 for n in layout.values()) and layout["columns"] * layout["scale"] > 0
        if whole and layout
        else False
    )
    whole = whole and _whole_numbers(seeds, 2**64) and 0 < len(seeds or []) <= wanted.MOST
    whole = whole and told.before(old) is not None
    whole = whole and isinstance(old.get("versions", {}), dict) and _interval(old.get("interval"))
    whole = (
        whole and isinstance(old.get("sampler"), dict) and isinstance(old.get("guidance"), int | float | dict | None)
    )
    whole = whole and ("size" not in old or (_whole_numbers(old["size"], 2**31) and len(old["size"]) == 2))
    whole = whole and isinstance(old.get("prompt"), str | None)
    whole = whole and isinstance(old.get("batch"), int) and isinstance(old.get("rows", 1), int)
    if not whole:
        raise Refusal(f"the settings inside {path!r} are not those of mezzotint {verb.name}, so it cannot be repeated")
    return old


def _whole_numbers(values: Any, end: int) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < end for value in values)


def _interval(value: Any) -> bool:
    """Whether it is what version 0.1.0 wrote of where to guide."""
    return not value or (isinstance(value, list) and len(value) == 2 and all(type(v) in (int, float) for v in value))


def _model(args: Asked, verb: Verb, old: dict[str, Any]) -> drawing.Model:
    """The model asked for; for ``--like`` it must have the weights of the picture."""
    average, device, like = args.drawing.average, args.drawing.device, args.output.like
    most = parameters_of(args.drawing.max_parameters)
    if not old:
        assert args.run is not None
        return drawing.load(args.run, average, device=device, parameters=most)
    said = old["model"]
    path = args.run if args.run is not None else said["path"]
    if not Path(path).is_dir():
        raise Refusal(
            f"{like!r} was made by the model {path!r}, which is not here; "
            f"say where it is now: mezzotint {verb.name} RUN --like ..."
        )
    mine = average if average is not None else said.get("average")
    model = drawing.load(path, mine, said.get("images"), device=device, parameters=most)
    if mine == said.get("average") and model.sha256 != said["sha256"]:
        raise Refusal(
            f"the weights in {path!r} have the SHA-256 {model.sha256[:12]}..., but {like!r} was made with "
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


def _shape(given: str | None, old: dict[str, Any], model: drawing.Model) -> tuple[int, ...] | None:
    """Of one picture, where another size than the model's own is asked for."""
    size = wanted.size(given) if given is not None else old.get("size")
    if size is None:
        return None
    if len(model.shape) != 3 or min(size) < 1:
        raise Refusal(f"the model in {model.path!r} makes samples of shape {model.shape}, which have no --size")
    shape = (model.shape[0], *size)
    return None if shape == model.shape else shape


def layout_of(
    output: Output, verb: Verb, wish: Told, seeds: list[int], model: drawing.Model, shown: Shown | None
) -> dict[str, int]:
    """One column a label or caption; the verb's own number where there is one of them or none."""
    columns = wish.kinds if wish.kinds > 1 else verb.columns(len(seeds))
    if output.columns is not None:
        if output.columns < 1:
            raise Refusal(f"--columns is {output.columns}, but a sheet has at least one")
        columns = min(output.columns, len(seeds))
    height, width = model.shape[-2:] if len(model.shape) > 1 else (verb.side, verb.side)  # a text has neither
    if shown is not None and shown.size is not None:  # codes are smaller than what they stand for
        height, width = shown.size
    titles = verb.titles or wish.captions is not None or wish.mapped is not None
    side = 2 * verb.side if titles and not verb.titles else verb.side
    layout = {"columns": columns, "scale": enlargement(height, width, side), "gap": 6 if titles else 1}
    return {**layout, "titles": True} if titles else layout


def _sheet(out: str | None, verb: Verb, shown: Shown | None) -> str:
    """Where the sheet goes: a PNG, or a file of text where the samples are texts."""
    if shown is None or not shown.text:
        return out or verb.out
    if out is not None and not out.lower().endswith(SUFFIX):
        raise Refusal(f"this model writes texts, and --out is {out!r}: name a file that ends in {SUFFIX}")
    return out or str(Path(verb.out).with_suffix(SUFFIX))


def threads_of(old: dict[str, Any]) -> int | None:
    """As many threads as the picture was made with, where there are as many cores."""
    threads = old.get("threads")
    return threads if isinstance(threads, int) and 1 <= threads <= (os.cpu_count() or 1) else None


def _save_npz(path: Path, asked: Told, seeds: list[int], **samples: Any) -> None:
    arrays: dict[str, Any] = {**samples, "seeds": np.array(seeds, np.uint64)}
    if asked.labels is not None:
        arrays["labels"] = np.array(asked.labels, np.int64)
    if asked.items is not None and asked.source is not None:
        arrays |= asked.source.arrays(asked.items)
    if asked.captions is not None:
        arrays["captions"] = np.array(asked.captions, dtype=np.str_)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.replace(path)
