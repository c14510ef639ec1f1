"""A map in a file as a layout of a model: its numbers or colours, what these mean to the model, and its size.

What the model knows by name is matched by name; one without names takes numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.store import sha256
from mezzotint.data import resize
from mezzotint.data.map_file import layout_file
from mezzotint.data.palette import COLOURS, UNSAID, Palette
from mezzotint.data.picture import MAX_PIXELS, Header, identities, upright

if TYPE_CHECKING:
    from mezzotint.cli.drawing import Model

_NUMBERS = ("1", "L", "P", "I")
_SHOWN = 12  # names that a sentence lists
Size = tuple[int, int]


@dataclass(frozen=True)
class File:
    """A file as the person wrote it, and what it held.

    Arguments:
        path: of it.
        sha256: of its bytes.
    """

    path: str
    sha256: str

    @classmethod
    def of(cls, path: str, what: str) -> File:
        """One that is named now."""
        if not Path(path).is_file():
            raise Refusal(f"there is no {what} {path!r}")
        return cls(path, sha256(Path(path)))

    @classmethod
    def again(cls, said: dict[str, str], what: str, flag: str) -> File:
        """One that a picture carries, refused where it is another by now."""
        found = cls.of(said["path"], what)
        if found.sha256 != said["sha256"]:
            raise Refusal(
                f"the {what} {found.path!r} has the SHA-256 {found.sha256[:12]}..., but the picture was made with "
                f"{said['sha256'][:12]}...: the file has changed, so the picture cannot be repeated; to draw what it "
                f"says now, name it with --{flag}"
            )
        return found

    def record(self) -> dict[str, str]:
        """What a picture says of it."""
        return {"path": self.path, "sha256": self.sha256}


@dataclass(frozen=True)
class Things:
    """What a model tells apart in a layout.

    Arguments:
        path: of the model.
        count: numbers 0 .. count - 1.
        names: of these numbers, or () where nobody has said them.
        edges: whether it is told where instances end.
    """

    path: str
    count: int
    names: tuple[str, ...] = ()
    edges: bool = False

    @classmethod
    def of(cls, model: Model) -> Things:
        """Those of a model, refused where it is told no layouts."""
        if "layout" not in model.more:
            told = ["label"] * bool(model.classes) + ["caption"] * model.reads + [*model.more]
            heard = f"it is told a {', a '.join(told)}" if told else "it is told nothing"
            raise Refusal(f"the model in {model.path!r} knows no layouts, so it takes no --layout: {heard}")
        encoder: Any = getattr(model.denoiser, "encoder", None)
        part = encoder["layout"]
        count = getattr(part, "count", None)
        if not isinstance(count, int):
            raise Refusal(
                f"the layouts of the model in {model.path!r} are read by a {type(part).__name__}, which does not say "
                "what numbers it knows; draw those of its data with --items"
            )
        return cls(model.path, count, tuple(getattr(part, "things", ())), bool(getattr(part, "edges", False)))

    def called(self, number: int) -> str:
        """The name of a number, or the number."""
        return self.names[number] if number < len(self.names) else str(number)

    @property
    def listed(self) -> str:
        """Them in words."""
        names = ", ".join(self.names[:_SHOWN]) + (", ..." if len(self.names) > _SHOWN else "")
        return f"the things 0 to {self.count - 1}" + (f" ({names})" if names else "")

    def numbers(self, palette: Palette, path: str) -> NDArray[np.uint8]:
        """The model's number of each number of a palette, uint8 (256,), refused where they do not agree."""
        table = np.full(256, UNSAID, np.uint8)
        if not self.names:
            if len(palette) > self.count:
                raise Refusal(
                    f"the palette {path!r} has {len(palette)} entries, but the model in {self.path!r} knows "
                    f"{self.listed} and no names: the order of the entries gives their numbers, so name as many"
                )
            table[: len(palette)] = np.arange(len(palette))
            return table
        for place, name in enumerate(palette.names):
            if name not in self.names:
                raise Refusal(
                    f"the palette {path!r} has an entry {name!r}, which the model in {self.path!r} does not know: "
                    f"{nearest(name, self.names)}; entries are matched by name, and a colour that says nothing goes "
                    'under "unsaid"'
                )
            table[place] = self.names.index(name)
        return table

    def check(self, values: NDArray[np.uint8], path: str) -> None:
        """Refuse numbers that the model does not know."""
        odd = (values >= self.count) & (values != UNSAID)
        if odd.any():
            down, across = np.argwhere(odd)[0].tolist()
            places = int(odd.sum())
            raise Refusal(
                f"the map {path!r} says {values[down, across]} at row {down}, column {across}, and a number that the "
                f"model in {self.path!r} does not know at {places:,} place{'s' * (places != 1)}: it knows {self.listed}"
                f", and {UNSAID} where nothing is said; if these are shades and no numbers, say what they mean with "
                "--palette"
            )


@dataclass(frozen=True)
class Reader:
    """How a file becomes a layout of a model.

    Arguments:
        things: of the model.
        size: (height, width) of a layout.
        palette: what colours mean, or None.
        file: of the palette.
        picture: (height, width) of the picture that is edited, as its file has it; maps of this size are cut as it is.
        sized: whether there may be another size with --size.
    """

    things: Things
    size: Size
    palette: Palette | None = None
    file: File | None = None
    picture: Size | None = None
    sized: bool = False

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        """How each number of the model is shown, uint8 (256, 3): as the palette has it, else in the usual colours."""
        table = COLOURS.copy()
        if self.palette is not None and self.file is not None:
            of = self.things.numbers(self.palette, self.file.path)
            for place, colour in enumerate(self.palette.colours):
                table[of[place]] = colour
        return table

    def read(self, path: str) -> tuple[NDArray[np.uint8], list[str]]:
        """The layout (H, W) of a file in the model's numbers, and what a person should know of it."""
        values = self._numbers(path)
        self.things.check(values, path)
        made, remarks = self._brought(values, path)
        gone = [self.things.called(n) for n in np.setdiff1d(values, [*np.unique(made), UNSAID]).tolist()]
        if gone:
            remarks[-1] += f", and nothing is left of {', '.join(gone[:_SHOWN])}"
        silent = float((made == UNSAID).mean())
        if silent:
            where = "anywhere" if silent == 1 else f"at {100 * silent:.2g} % of its places"
            remarks.append(f"{path} says nothing {where}: what is drawn there is the model's choice")
        return made, remarks

    def _numbers(self, path: str) -> NDArray[np.uint8]:
        mode = Header.of(Path(path)).mode
        plain = mode in _NUMBERS or mode.startswith("I;16")
        if self.palette is not None and self.file is not None:
            of = self.things.numbers(self.palette, self.file.path)
            return of[layout_file(path, self.palette)]
        if plain:
            return layout_file(path)
        usual = Palette.usual([str(number) for number in range(self.things.count)])
        try:
            return layout_file(path, usual)
        except Refusal:
            raise Refusal(
                f"the map {path!r} is in colours, and they are not those in which sheets show {self.things.listed}: "
                'say what its colours mean with --palette, a JSON file such as {"sky": [70, 130, 180], "unsaid": '
                "[0, 0, 0]}, or save the map as a grey or palette PNG whose numbers are the things"
            ) from None

    def _brought(self, values: NDArray[Any], path: str) -> tuple[NDArray[Any], list[str]]:
        """A map at the size that is told, every place that of the nearest one."""
        have = (values.shape[0], values.shape[1])
        if have == self.size:
            return values, []
        if have == self.picture:
            return nearby(values, self.size, "crop"), [f"{path} is brought to {by(self.size)} as the picture is"]
        if not alike(have, self.size):
            other = f"make it {by(self.size)}"
            if self.picture is not None and self.picture != self.size:
                other += f", or {by(self.picture)} as the picture"
            elif self.sized:
                other = f"draw at another size, such as its own with --size {have[0]}x{have[1]}, or {other}"
            raise Refusal(
                f"the map {path!r} is {by(have)}, and what is drawn is {by(self.size)}, of another shape; a map is not "
                f"cut or stretched: {other}"
            )
        return nearby(values, self.size), [f"{path} is {by(have)}: it is brought to {by(self.size)}, by the nearest"]

    def instances(self, path: str, beside: str) -> Tensor:
        """Which instance is at each place, int64 (H, W), for the map ``beside``."""
        ids, have = identities(Path(path), MAX_PIXELS), upright(Path(beside), MAX_PIXELS)
        if ids.shape != have:
            raise Refusal(
                f"the instances {path!r} are {by((ids.shape[0], ids.shape[1]))}, but the map {beside!r} is {by(have)}: "
                "the two show the same places"
            )
        return torch.from_numpy(np.ascontiguousarray(self._brought(ids, path)[0]))


def nearby(values: NDArray[Any], size: Size, way: str = "stretch") -> NDArray[Any]:
    """A map (H, W) at another size, every place that of the nearest one."""
    return resize.nearest(values[..., None], size, way)[..., 0]


def alike(have: Size, size: Size) -> bool:
    """Whether two sizes have one aspect within a pixel, as maps of data must."""
    return abs(have[0] * size[1] - have[1] * size[0]) <= max(*have, *size)


def by(size: Size) -> str:
    """A (height, width) in words."""
    return f"{size[1]} x {size[0]} pixels"
