"""What the colours of a map mean: a palette names the things in the order of their numbers, and the colour of each.

Drawing programs and public sets keep maps in colours, a model takes numbers. The file is JSON, an entry a thing, and
its order gives the numbers: ``{"sky": [70, 130, 180], "road": "#804080", "unsaid": [0, 0, 0]}``. What is under the
name ``unsaid``, a colour or a list of colours, says nothing and becomes 255. A colour that is in no entry is refused
and not brought to the nearest: what a map shows that was smeared, by JPEG or by a smooth resize, nobody painted.

The usual colours are those of the label maps of PASCAL VOC, a rule and not a choice: of the number of a class, bits 0,
3 and 6 are the highest bits of red, bits 1, 4 and 7 of green, bits 2 and 5 of blue, from the top down.

Source: the development kit of Everingham et al., "The PASCAL Visual Object Classes Challenge 2012"
(``VOClabelcolormap``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mezzotint.core.bounded import is_text, parse_json, read_text
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import write_text

UNSAID = 255
"""What a layout says where it says nothing."""
FILE = "palette.json"
"""What a palette is called that lies in the folder of its maps."""
_RESERVED = "unsaid"
_MOST = 255  # names: their numbers are 0..254
_MANY = 16  # more unknown colours than a forgotten entry explains
_BAND = 2**20  # pixels that are looked up at once
_SAID = 2**20  # bytes of a palette file
_MARK = "\ufeff"  # some editors put it before everything
_HEX = re.compile(r"#[0-9a-fA-F]{6}")

Colour = tuple[int, int, int]
Bytes = NDArray[np.uint8]


def _table() -> Bytes:
    number, colours = np.arange(256), np.zeros((256, 3), dtype=np.uint8)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= ((number >> (3 * place + channel) & 1) << (7 - place)).astype(np.uint8)
    return colours


COLOURS = _table()
"""The usual red, green and blue (256, 3) by the number of a class."""


@dataclass(frozen=True)
class Palette:
    """The things of a map, in the order of their numbers, and the colour of each.

    Arguments:
        names: of the numbers 0..K-1, each once, 255 at most.
        colours: (red, green, blue) of each, whole numbers from 0 to 255, each once.
        unsaid: colours that say nothing, told as 255.

    Raises:
        Refusal: a name or a colour is there twice, or none is there; a colour is out of range; the lengths differ.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    unsaid: tuple[Colour, ...] = ()

    def __post_init__(self) -> None:
        names, colours = tuple(self.names), tuple(_colour(one, "a colour") for one in self.colours)
        unsaid = tuple(dict.fromkeys(_colour(one, f"a colour of {_RESERVED!r}") for one in self.unsaid))
        for field, value in (("names", names), ("colours", colours), ("unsaid", unsaid)):
            object.__setattr__(self, field, value)
        if not names:
            raise Refusal('a palette names at least one thing and its colour, such as {"sky": [70, 130, 180]}')
        if len(names) > _MOST:
            raise Refusal(
                f"a palette has {_MOST} names at most, since {UNSAID} says nothing, and here are {len(names)}"
            )
        if len(names) != len(colours):
            raise Refusal(f"a palette has a colour for every name, not {len(names)} names and {len(colours)} colours")
        for name in names:
            if not isinstance(name, str) or not name.strip() or not is_text(name):
                raise Refusal(f"a name of a palette is text, not {name!r}")
            if name == _RESERVED:
                raise Refusal(f"{_RESERVED!r} is no name of a thing: it stands for the colours that say nothing")
            if names.count(name) > 1:
                raise Refusal(f"the palette names {name!r} twice; a thing has one colour and one number")
        of: dict[Colour, str] = {}
        for name, colour in [*zip(names, colours, strict=True), *((_RESERVED, colour) for colour in unsaid)]:
            if colour in of:
                raise Refusal(
                    f"{of[colour]!r} and {name!r} have one colour, {_said(colour)}, so a map could not tell them "
                    "apart; give one of them another, or take it away"
                )
            of[colour] = name

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def usual(cls, names: Sequence[str]) -> Palette:
        """These names in the usual colours, in which the house draws maps; 255 is cream."""
        if len(names) > _MOST:
            raise Refusal(f"there are usual colours for {_MOST} names, and here are {len(names)}")
        colours = [_triple(colour) for colour in COLOURS]
        return cls(tuple(names), tuple(colours[: len(names)]), (colours[UNSAID],))

    @classmethod
    def read(cls, path: str | Path) -> Palette:
        """A palette file; its entries in order are the numbers.

        Raises:
            Refusal: there is none, it is no JSON object of colours, or what it holds is no palette.
        """
        text, where = read_text(path, _SAID).removeprefix(_MARK), f"the palette {str(path)!r}"
        tree = parse_json(text, where)
        if not isinstance(tree, dict):
            raise Refusal(f'{where} is no JSON object of names and colours, such as {{"sky": [70, 130, 180]}}')
        try:
            pairs = json.loads(text, object_pairs_hook=tuple)  # a name that is there twice is to be seen
            for name, value in pairs:
                if isinstance(value, tuple):
                    raise Refusal(f"under {name!r} is an object of names, and not a colour such as [70, 130, 180]")
            given = [(name, value) for name, value in pairs if name != _RESERVED]
            unsaid = [value for name, value in pairs if name == _RESERVED]
            if len(unsaid) > 1:
                raise Refusal(f"it has the entry {_RESERVED!r} twice; give it a list of colours")
            return cls(
                tuple(name for name, _ in given),
                tuple(_colour(value, f"the colour of {name!r}") for name, value in given),
                tuple(_colours(unsaid[0])) if unsaid else (),
            )
        except Refusal as refusal:
            raise Refusal(f"{where} cannot be used: {refusal}") from None

    def write(self, path: str | Path) -> None:
        """Leave a palette file, an entry a line, which :meth:`read` reads as this palette."""
        entries: dict[str, Any] = dict(zip(self.names, map(list, self.colours), strict=True))
        if self.unsaid:
            entries[_RESERVED] = [list(colour) for colour in self.unsaid]
        lines = [f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(value)}" for name, value in entries.items()]
        write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")

    @cached_property
    def _codes(self) -> tuple[NDArray[np.uint32], Bytes]:
        """The colours as one number each, sorted, and what each says."""
        codes = _packed(np.array([*self.colours, *self.unsaid], dtype=np.uint8))
        says = np.array([*range(len(self)), *[UNSAID] * len(self.unsaid)], dtype=np.uint8)
        order = np.argsort(codes)
        return codes[order], says[order]

    def numbers(self, pixels: Bytes, where: str) -> Bytes:
        """What a map in colours says, uint8 (H, W): numbers of ``names``, 255 where it says nothing.

        Arguments:
            pixels: uint8 (H, W, 3).
            where: what a refusal calls the map.

        Raises:
            Refusal: a colour is in no entry; the sentence has the first of them, its place, and the nearest entry.
        """
        pixels = np.asarray(pixels)
        if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
            raise Refusal(f"{where}: colours are uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}")
        codes, says = self._codes
        out = np.empty(pixels.shape[:2], dtype=np.uint8)
        for rows in _bands(pixels):
            mine = _packed(pixels[rows])
            place = np.searchsorted(codes, mine).clip(0, len(codes) - 1)
            if (codes[place] != mine).any():
                raise self._unknown(pixels, where)
            out[rows] = says[place]
        return out

    def _unknown(self, pixels: Bytes, where: str) -> Refusal:
        """What to say of a map with colours that are in no entry."""
        codes, _ = self._codes
        table = np.zeros(2**24, dtype=np.uint8)  # of every colour: 1 where it is known, 2 where it is not and is there
        table[codes] = 1
        down, across, code, here, count = 0, 0, 0, 0, 0
        for rows in _bands(pixels):
            mine = _packed(pixels[rows])
            strange = table[mine] != 1
            odd = mine[strange]
            if not count and len(odd):
                place, across = divmod(int(strange.argmax()), pixels.shape[1])
                down, code = rows.start + place, odd[0]
            table[odd] = 2
            count += len(odd)
            here += int((odd == code).sum())
        colour, many = _triple(pixels[down, across]), int((table == 2).sum())
        if many > _MANY:
            share = count / (pixels.shape[0] * pixels.shape[1])
            return Refusal(
                f"the map {where!r} has {many:,} colours that the palette does not know, in {share:.0%} of its "
                f"pixels, the first {_said(colour)} at row {down}, column {across}: so looks a map that went through "
                "JPEG or a smooth resize; maps must be lossless, so save the original as PNG and resize it by the "
                "nearest pixel"
            )
        known = np.array([*self.colours, *self.unsaid], dtype=np.int64)
        place = int(((known - np.array(colour)) ** 2).sum(1).argmin())
        name = (*self.names, *[_RESERVED] * len(self.unsaid))[place]
        more = f" (so are {many - 1} more, in {_pixels(count)} together)" if many > 1 else ""
        return Refusal(
            f"the map {where!r} has the colour {_said(colour)} at row {down}, column {across}, in {_pixels(here)}, "
            f"which is none of the palette{more}; nearest is {name!r}, {_said(known[place])}: add the colour to the "
            f"palette, under {_RESERVED!r} where it says nothing, or repaint the map"
        )

    def painted(self, layout: ArrayLike) -> Bytes:
        """A layout in these colours, uint8 (..., 3); 255 in the first colour that says nothing, or in cream.

        Arguments:
            layout: whole numbers (...), each 0..K-1 or 255; an array or a tensor on the CPU.
        """
        values = np.asarray(layout)
        if values.dtype.kind not in "iu":
            raise Refusal(f"a layout is of whole numbers, not of {values.dtype}")
        self.check(values, "the layout")
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(self)] = self.colours
        table[UNSAID] = self.unsaid[0] if self.unsaid else COLOURS[UNSAID]
        painted: Bytes = table[values]
        return painted

    def check(self, numbers: NDArray[Any], where: str) -> None:
        """Refuse numbers that have no name and are not 255."""
        odd = (numbers != UNSAID) & ((numbers < 0) | (numbers >= len(self)))
        if odd.any():
            raise Refusal(
                f"{where} holds the number {int(numbers[odd][0])}, and the palette names {len(self)}, 0 to "
                f"{len(self) - 1} ({_pixels(int(odd.sum()))} without a name); name it there, or write {UNSAID} where "
                "nothing is said"
            )


def _bands(pixels: Bytes) -> Iterator[slice]:
    """Rows of a picture that are worked on at once."""
    many = max(1, _BAND // max(1, pixels.shape[1]))
    for top in range(0, pixels.shape[0], many):
        yield slice(top, top + many)


def _packed(pixels: Bytes) -> NDArray[np.uint32]:
    """Colours (..., 3) as one number each."""
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    return np.asarray(red << 16 | green << 8 | blue, dtype=np.uint32)


def _triple(colour: NDArray[Any]) -> Colour:
    red, green, blue = (int(one) for one in colour)
    return red, green, blue


def _pixels(count: int) -> str:
    return f"{count:,} pixel{'s' * (count != 1)}"


def _said(colour: Any) -> str:
    """A colour in words: ``#4682b4 (70, 130, 180)``."""
    red, green, blue = _triple(colour)
    return f"#{red:02x}{green:02x}{blue:02x} ({red}, {green}, {blue})"


def _colour(value: object, what: str) -> Colour:
    """A colour as it is written: three whole numbers, or ``"#rrggbb"``."""
    if isinstance(value, str) and _HEX.fullmatch(value):
        return _triple(np.frombuffer(bytes.fromhex(value[1:]), np.uint8))
    three = isinstance(value, list | tuple) and len(value) == 3
    if not three or not all(isinstance(one, int) and type(one) is not bool and 0 <= one <= 255 for one in value):  # type: ignore[attr-defined]
        raise Refusal(f'{what} is {repr(value)[:60]}, but a colour is [red, green, blue], each 0 to 255, or "#rrggbb"')
    return _triple(np.array(value))


def _colours(value: object) -> list[Colour]:
    """One colour, or a list of colours."""
    what = f"the colour of {_RESERVED!r}"
    if isinstance(value, list) and value and all(isinstance(one, list | str) for one in value):
        return [_colour(one, what) for one in value]
    return [] if value == [] else [_colour(value, what)]
