"""Layouts from files: maps that say what to draw, in the place of items of the data (:mod:`.items`).

Every map is drawn with every seed. Pictures carry the path and the SHA-256 of every file, so that one that has changed
is refused where they are to be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mezzotint.cli.map_reader import File, Reader, Things
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.data.palette import Palette
from mezzotint.data.picture import MAX_PIXELS, upright
from mezzotint.networks import UNet

if TYPE_CHECKING:
    from mezzotint.cli.drawing import Model
    from mezzotint.cli.flags import Asked
    from mezzotint.cli.symbols import Shown

KEY = "layouts"
"""Under what pictures carry them."""
MOST = 1_000
"""Maps of one call."""


@dataclass(frozen=True)
class Layouts:
    """Maps that say what to draw, in the place of items of the data.

    Arguments:
        maps: their files.
        instances: a file a map, or ().
        values: uint8 (K, H, W).
        ids: int64 (K, H, W), or None.
        reader: that read them.
        remarks: sentences about how they were read.
    """

    maps: tuple[File, ...]
    instances: tuple[File, ...]
    values: Tensor
    ids: Tensor | None
    reader: Reader
    remarks: tuple[str, ...] = ()
    key = KEY
    mark = None
    licence = ""

    @classmethod
    def of(
        cls, maps: Sequence[File], palette: File | None, instances: Sequence[File], reader: Reader, model: Model
    ) -> Layouts:
        """Read the files, and refuse what does not go together."""
        things = reader.things
        if not 1 <= len(maps) <= MOST:
            raise Refusal(f"--layout takes 1 to {MOST} maps, and was given {len(maps)}")
        for family in model.more:
            if family != "layout" and family not in model.denoiser.nulls:
                raise Refusal(
                    f"the model in {model.path!r} never learnt to draw without its {family}, which no map says; draw "
                    "what its data tell with --items"
                )
        if instances and not things.edges:
            raise Refusal(
                f"the model in {model.path!r} is told which thing is where, and not where instances end, so it takes "
                "no --instances; leave it out"
            )
        if instances and len(instances) != len(maps):
            raise Refusal(
                f"--instances takes one file a map, in the order of --layout: there are {len(maps)} maps and "
                f"{len(instances)} files of instances"
            )
        if palette is not None:
            reader = replace(reader, palette=Palette.read(palette.path), file=palette)
        read = [reader.read(file.path) for file in maps]
        pairs = zip(instances, maps, strict=False)
        ids = [reader.instances(file.path, beside.path) for file, beside in pairs]
        remarks = list(dict.fromkeys(remark for _, some in read for remark in some))
        if reader.palette is not None and not things.names:
            numbers = ", ".join(f"{name} is {n}" for n, name in enumerate(reader.palette.names))
            remarks.append(f"the model knows no names, so the order of the palette's entries counts: {numbers}")
        if things.edges and not instances:
            remarks.append(
                "this model is told where instances end, too, and draws without: things of one kind that touch may "
                "become one; name a map of them with --instances"
            )
        values = torch.from_numpy(np.stack([found for found, _ in read]))
        told = torch.stack(ids) if ids else None
        return cls(tuple(maps), tuple(instances), values, told, reader, tuple(remarks))

    def usual(self) -> list[int]:
        """All of them."""
        return list(range(len(self.maps)))

    def check(self, rows: Sequence[int]) -> None:
        """Refuse rows that are none; settings alone can name such."""
        if not all(0 <= row < len(self.maps) for row in rows):
            raise Refusal(f"the picture was asked to show map {max(rows)}, and it names {len(self.maps)}")

    def cond(self, rows: Sequence[int]) -> Condition:
        """What is told of these rows."""
        index = torch.as_tensor(list(rows))
        cond = Condition(layout=self.values[index])
        return cond if self.ids is None else cond | Condition(**{"layout.instances": self.ids[index]})

    def record(self, rows: Sequence[int]) -> dict[str, Any]:
        """What a picture says of them: every file once, and which rows are whose."""
        used = {row: place for place, row in enumerate(dict.fromkeys(rows))}
        return {
            "rows": [used[row] for row in rows],
            "maps": [self.maps[row].record() for row in used],
            "palette": None if self.reader.file is None else self.reader.file.record(),
            "instances": [self.instances[row].record() for row in used] if self.instances else None,
        }

    def arrays(self, rows: Sequence[int]) -> dict[str, Any]:
        """What an .npz says of them."""
        return {KEY: self.values[list(rows)].numpy()}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each map is called: its file without folder and ending, as far as that tells them apart."""
        stems = [Path(file.path).stem for file in self.maps]
        return tuple(stem if stems.count(stem) == 1 else f.path for stem, f in zip(stems, self.maps, strict=True))


def asked(args: Asked, old: dict[str, Any], model: Model, shown: Shown | None) -> Layouts | None:
    """The maps that the flags name, or that a picture to be repeated was told; None where there are none."""
    given, said = args.telling, old.get(KEY) or {}
    if given.items is not None:
        if given.maps:
            raise Refusal("--items takes layouts from the data and --layout from files: leave one of them out")
        return None
    if not (given.maps or said):
        return None
    if given.layout is None and not said:
        if getattr(args, "before", None) is not None:
            raise Refusal(
                "--before is the map of the picture as it is, and --layout the map of what it becomes: name both"
            )
        flag = "palette" if given.palette is not None else "instances"
        raise Refusal(f"--{flag} goes with maps, and none is named; name one with --layout")
    things = Things.of(model)
    if len(model.shape) != 3 if shown is None else shown.size is None:
        raise Refusal(f"the model in {model.path!r} makes samples of shape {model.shape}, and maps are of pictures")
    maps = _files(given.layout, said.get("maps"), "map", "layout")
    anew = given.layout is not None  # other maps have other instances
    instances = _files(given.instances, None if anew else said.get("instances"), "map of instances", "instances")
    palette = _files(
        None if given.palette is None else (given.palette,),
        [said["palette"]] if said.get("palette") else None,
        "palette",
        "palette",
    )
    high, wide = model.shape[-2:]  # a map lies on what the network sees, so on codes where these are drawn
    image = getattr(args, "image", None) or old.get("edit", {}).get("image", {}).get("path")
    picture = upright(Path(image), MAX_PIXELS) if image is not None and Path(image).is_file() else None
    sized = hasattr(args, "size") and shown is None and isinstance(getattr(model.denoiser, "network", None), UNet)
    reader = Reader(things, (high, wide), picture=picture, sized=sized)
    return Layouts.of(maps, palette[0] if palette else None, instances, reader, model)


def _files(given: Sequence[str] | None, said: Any, what: str, flag: str) -> list[File]:
    if given is not None:
        if not given:
            raise Refusal(f"--{flag} takes files, and was given none")
        return [File.of(path, what) for path in given]
    return [File.again(one, what, flag) for one in said or ()]


def before(old: dict[str, Any], count: int) -> list[int] | None:
    """The map of each row of an earlier picture; None where its settings are not whole."""
    said = old[KEY]
    if not isinstance(said, dict):
        return None
    rows, maps, instances, palette = (said.get(key) for key in ("rows", "maps", "instances", "palette"))
    files = [maps, *filter(None, [instances]), *([[palette]] if palette else [])]
    for some in files:
        if not isinstance(some, list) or not all(_named(one) for one in some):
            return None
    if not isinstance(rows, list) or not isinstance(maps, list) or len(rows) != count:
        return None
    return rows if all(type(row) is int and 0 <= row < len(maps) for row in rows) else None


def _named(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("path"), str) and isinstance(one.get("sha256"), str)
