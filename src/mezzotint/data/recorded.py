"""Pictures that are records with declared columns: which column is the picture, and which tells what of it.

Nothing is guessed: a column that is not named tells nothing, and one that is named and not there is refused with the
names of those that are. What a container is made of is its own affair (:mod:`.records`): a table beside files, tar
shards and Arrow files with the same records are the same data set.

A cell may be missing (null, empty, a float that is no number). A record without its picture or its label is broken. Any
other gap is told: the row holds zeros there, 255 in a layout, and the condition's ``keep`` says of its family that this
row does not count, so a model learns its null there instead of a value that nobody gave. A family is kept or dropped as
a whole: where one of several attributes is missing, the row tells none of them.
"""

from __future__ import annotations

import os
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal, nearest
from mezzotint.data import picture as files
from mezzotint.data.data import Data, Rows, bytes_of, check_share, check_split, in_split, unit
from mezzotint.data.decoder import MAPS, Decoder, picture
from mezzotint.data.origins import Origins
from mezzotint.data.palette import Palette
from mezzotint.data.records import RECORDS, Records
from mezzotint.data.resize import check_resize, sides
from mezzotint.data.telling import Telling
from mezzotint.data.threads import each, tolerant
from mezzotint.data.transparency import check_colour

Array = NDArray[Any]
_UNITS = ("shares", "pixels")


@dataclass(frozen=True)
class Recorded(Data, ABC):
    """Pictures x (C, H, W) in [-1, 1] and what their records tell of them. Columns that are not named tell nothing.

    | field | its column holds | what is told |
    |---|---|---|
    | ``picture`` | picture files | x |
    | ``label`` | words, or whole numbers from 0 | ``label`` int64 (B,) |
    | ``caption`` | strings | ``caption`` uint8 (B, L), UTF-8 with zeros behind |
    | ``attributes`` | words or numbers, a column each | ``attributes.<column>`` int64 or float32 (B,) |
    | ``layout`` | maps, grey or with a palette, whose numbers are classes, or in colours that ``palette`` explains | ``layout`` uint8 (B, H, W), 255 unsaid |
    | ``instances`` | maps beside the layouts, grey of 8 or 16 bits or in colours, whose values say which is which | ``layout.instances`` int32 (B, H, W), 0 where a record has none |
    | ``image`` | picture files | ``image`` float32 (B, C, H, W) in [-1, 1] |
    | ``mask`` | black and white picture files | ``mask`` bool (B, 1, H, W), True where it is white |
    | ``keypoints`` | lists of [across, down, seen] | ``keypoints`` float32 (B, K, 3): shares of the final picture; 2 seen, 1 hidden, 0 not there or cut off |
    | ``split_by`` | 0 and 1, or ``train`` and ``test`` or ``val`` | nothing: it says what is held out |

    Words are numbered in sorted order, over all splits: ``classes`` and ``words`` say how. Maps have the aspect of their
    picture, and go with it wherever it is cut, padded or stretched.

    Arguments:
        path: where the records are.
        palette: a file that names the things of the layouts and their colours, see :class:`~mezzotint.data.Palette`.
        points: what keypoints are given in, ``"shares"`` of the picture's width and height or its ``"pixels"``, of the
            picture as it is shown, upright.
        size: pixels of a side, (height, width), or None where all pictures have one size; by area.
        resize: what gives way where the aspect is another: ``"crop"``, ``"pad"`` (on ``under``) or ``"stretch"``.
        under: the colour under transparency, and of what is added.
        channels: 1 grey, 3 colour, None for colour if any header announces it.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
        held_out_share: the share held out by a hash of the record's name, where nothing else says it, in [0, 1).
        skip_broken: leave out broken records instead of refusing; ``skipped`` says which, and why.
        max_pixels: the largest width times height of a file that is unpacked.
        budget: bytes of what is decoded that are kept in memory; what does not fit is decoded when it is asked for.
    """  # noqa: E501  (a table has no shorter rows)

    path: str
    picture: str
    label: str | None = None
    caption: str | None = None
    attributes: tuple[str, ...] = ()
    layout: str | None = None
    palette: str | None = None
    instances: str | None = None
    image: str | None = None
    mask: str | None = None
    keypoints: str | None = None
    points: str = "shares"
    split_by: str | None = None
    size: int | tuple[int, int] | None = None
    resize: str = "crop"
    under: str = "white"
    channels: int | None = None
    split: str = "train"
    held_out_share: float = 0.1
    skip_broken: bool = False
    max_pixels: int = files.MAX_PIXELS
    budget: int = 2**30
    skipped: dict[str, str] = field(init=False, repr=False, compare=False)
    _records: Records = field(init=False, repr=False, compare=False)
    _places: Rows = field(init=False, repr=False, compare=False)
    _palette: Palette | None = field(init=False, repr=False, compare=False)
    _told: Telling = field(init=False, repr=False, compare=False)
    _decoder: Decoder = field(init=False, repr=False, compare=False)
    _kept: dict[str, Array] | None = field(init=False, repr=False, compare=False)

    @abstractmethod
    def _open(self) -> Records:
        """The records at ``path``."""

    def __post_init__(self) -> None:
        check_split(self.split)
        check_share(self.held_out_share)
        check_resize(self.resize)
        check_colour(self.under)
        if self.channels not in (None, 1, 3):
            raise Refusal(f"channels is {self.channels!r}, but pictures are read as 1 (grey) or 3 (colour)")
        if self.points not in _UNITS:
            raise Refusal(f"points are given in {' or '.join(_UNITS)}, not in {self.points!r}")
        if isinstance(self.attributes, str):
            raise Refusal(f"attributes is a list of columns; for a single one write [{self.attributes!r}]")
        size = sides(self.size)
        self._set(path=os.fspath(self.path), size=self.size if isinstance(self.size, int) else size)
        self._set(attributes=tuple(self.attributes), skipped={})
        self._set(palette=None if self.palette is None else os.fspath(self.palette))
        for name in ("instances", "palette"):
            if getattr(self, name) is not None and self.layout is None:
                raise Refusal(f"{name} says something of layouts; declare the layouts, too (layout=...)")
        self._set(_palette=self._explained())
        records = self._open()
        if len(records) > RECORDS:
            raise Refusal(f"{self.path!r} has {len(records):,} records, and at most {RECORDS:,} are read")
        for name, why in records.broken.items():
            self._leave(name, why)
        if not len(records) and records.broken:
            name, why = next(iter(records.broken.items()))
            raise Refusal(f"no record of {self.path!r} can be read; the first, {name!r}, is broken: {why}")
        for column in self._named.values():
            if not records.has(column):
                raise Refusal(
                    f"{self.path!r} has no column {column!r} ({nearest(column, records.columns)}); "
                    f"its columns are {', '.join(sorted(records.columns)) or 'none'}"
                )
        self._set(_records=records)
        told, wrong = Telling.read(records, self._named, self.points)
        mine = self._mine(told)
        for row, why in sorted(wrong.items()):
            self._leave(records.names[row], why, bool(mine[row]))
        rows = np.array([row for row in np.flatnonzero(mine) if row not in wrong], dtype=np.int64)
        if not len(rows):
            raise Refusal(
                f"none of the {len(records)} records of {self.path!r} falls into the split {self.split!r}"
                + (f" ({len(wrong)} are broken: {next(iter(wrong.values()))})" if wrong else "; choose another share")
            )
        sound = [row for row in range(len(records)) if row not in wrong]
        self._set(_told=told, _places=rows, _decoder=self._measure(told, sound))
        good = self._check()
        labels = np.zeros(len(records), dtype=np.int64) if told.labels is None else told.labels
        for label in sorted({*labels[rows].tolist()} - {*labels[rows[good]].tolist()}):
            what = f"class {told.classes[label]!r} of {self.path!r}" if told.classes else repr(self.path)
            raise Refusal(f"no picture in {what} can be read; replace them or take their records away")
        self._set(_places=rows[good])

    def _explained(self) -> Palette | None:
        """The palette of the layouts."""
        return None if self.palette is None else Palette.read(self.palette)

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def _named(self) -> dict[str, str]:
        """The declared columns by what they tell; attributes by their dotted name."""
        one = {name: getattr(self, name) for name in ("picture", "label", "caption", *MAPS, "keypoints", "split_by")}
        named = {name: str(column) for name, column in one.items() if column is not None}
        return named | {f"attributes.{column}": column for column in self.attributes}

    def _leave(self, name: str, why: str, mine: bool = True) -> None:
        """Refuse a broken record, or leave it out where that was asked for."""
        if not self.skip_broken:
            raise Refusal(
                f"the record {name!r} of {self.path!r} is broken: {why}; mend it, or pass "
                "skip_broken=True (--skip-broken on the command line)"
            )
        if mine:
            self.skipped[name] = why

    def _mine(self, told: Telling) -> NDArray[np.bool_]:
        """Which records are of this split."""
        if told.held_out is not None and self.split != "all":
            return told.held_out if self.split == "held_out" else ~told.held_out
        # However a file is spelled, it falls into one split: ./a.png is a.png.
        names = (os.path.normpath(unicodedata.normalize("NFC", name)) for name in self._records.names)
        asked = (in_split(name, self.split, self.held_out_share) for name in names)
        return np.fromiter(asked, dtype=bool, count=len(self._records))

    def _measure(self, told: Telling, rows: Collection[int]) -> Decoder:
        """What reads the records, at the shape of all splits: what was asked for, and else what the files are."""

        def most(column: str) -> int:
            def look(row: int) -> int:
                found = self._records.source(column, row)
                return 1 if found is None else files.channels_of(found, self.max_pixels)

            headers = each(tolerant(look, self.skip_broken), rows)
            return max((header for header in headers if isinstance(header, int)), default=3)

        channels = most(self.picture) if self.channels is None else self.channels
        image_channels = most(self.image) if self.image is not None else 0
        size = sides(self.size)
        for row in rows if size is None else ():
            try:
                size = files.upright(picture(self._records, self.picture, row, self.path), self.max_pixels)
                break
            except Refusal:
                if not self.skip_broken:
                    raise
        if size is None:
            raise Refusal(f"no picture of {self.path!r} can be read; replace them")
        columns = {name: column for name, column in self._named.items() if name in ("picture", *MAPS, "keypoints")}
        return Decoder(
            self._records, self.path, columns, (channels, *size), self.size is None, image_channels, told.points,
            self.points, self.resize, self.under, self.max_pixels, self._palette,
        )  # fmt: skip

    def _check(self) -> list[bool]:
        """Decode or at least look at every record of this split; which are good, and what is kept of them."""
        count, decoder = len(self._places), self._decoder
        keep = count * sum(room.nbytes for room in decoder.blank(1, decoder.wanted).values()) <= self.budget
        kept = decoder.blank(count, decoder.wanted) if keep else None
        turns = files.Turns(self.max_pixels)  # a few threads with a picture of the largest size each would be too much

        def look(place: int) -> bool:
            row = int(self._places[place])
            if kept is not None or self.skip_broken:
                made = decoder.decode(row, decoder.wanted, turns)
                for name, room in (kept or {}).items():
                    room[place] = made[name]
            else:
                files.channels_of(decoder.picture(row), self.max_pixels)
            return True

        origins = self._made_of() if keep else None  # before they are read
        good = []
        for place, answer in enumerate(each(tolerant(look, self.skip_broken), range(count))):
            good.append(not isinstance(answer, Refusal))
            if isinstance(answer, Refusal):
                self.skipped[self._records.names[self._places[place]]] = str(answer)
        if origins is not None:
            self._set(origins=origins.take(np.flatnonzero(good)))
        self._set(_kept={name: room[good] for name, room in kept.items()} if kept and not all(good) else kept)
        return good

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._decoder.shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self._told.classes

    @property
    def things(self) -> tuple[str, ...]:
        return () if self._palette is None else self._palette.names

    @property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """The words of each attribute by their number; numbers have none."""
        return dict(self._told.words)

    @property
    def labels(self) -> Rows | None:
        labels = self._told.labels
        return None if labels is None else labels[self._places]

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def originals(self) -> Rows:
        found = each(lambda row: files.upright(self._decoder.picture(int(row)), self.max_pixels), self._places)
        return np.array([*found], dtype=np.int64)

    @cached_property
    def origins(self) -> Origins:
        return self._made_of()

    def _made_of(self) -> Origins:
        files, of = self._records.files(self.picture)
        return Origins.numbered(files, of[self._places])

    def resized(self, size: tuple[int, int]) -> Self:
        other = object.__new__(type(self))
        other._set(**{one.name: getattr(self, one.name) for one in fields(self)})
        decoder = replace(self._decoder, shape=(self.shape[0], *size), alike=False)
        other._set(size=size, _decoder=decoder, _kept=None)
        return other

    def _marks(self) -> Iterator[bytes]:
        yield repr(sorted(self._named)).encode()
        if self._palette is not None:
            yield repr(self._palette).encode()
        for row in self._places:
            yield self._records.names[row].encode(errors="replace") + b" "
            for name in self._decoder.wanted:
                if name != "keypoints":
                    yield self._records.glimpse(self._named[name], int(row))
        yield from self._told.marks(self._places)

    def read(self, rows: Rows) -> Tensor:
        return unit(self._batch(rows, ("picture",))["picture"])

    def condition(self, rows: Rows) -> Condition:
        return self._condition(rows, self._batch(rows, self._decoder.wanted[1:]))

    def items(self, rows: Rows) -> tuple[Tensor, Condition]:
        batch = self._batch(rows, self._decoder.wanted)
        return unit(batch["picture"]), self._condition(rows, batch)

    def packed(self, rows: Rows) -> tuple[Tensor, Condition]:
        batch = self._batch(rows, self._decoder.wanted)
        return bytes_of(batch["picture"]), self._condition(rows, batch)

    def _batch(self, rows: Rows, wanted: Collection[str]) -> dict[str, Array]:
        if self._kept is not None:
            return {name: self._kept[name][rows] for name in wanted}
        out = self._decoder.blank(len(rows), wanted)
        for place, row in enumerate(self._places[rows] if wanted else ()):
            for name, value in self._decoder.decode(int(row), wanted).items():
                out[name][place] = value
        return out

    def _condition(self, rows: Rows, batch: Mapping[str, Array]) -> Condition:
        mine = self._places[rows]
        values = {name: torch.from_numpy(value) for name, value in self._told.values(mine).items()}
        if "layout" in batch:
            values["layout"] = torch.from_numpy(batch["layout"])
        if "instances" in batch:
            values["layout.instances"] = torch.from_numpy(batch["instances"])
        if "image" in batch:
            values["image"] = unit(batch["image"])
        if "mask" in batch:
            values["mask"] = torch.from_numpy(batch["mask"])[:, None]
        if "keypoints" in batch:
            values["keypoints"] = torch.from_numpy(batch["keypoints"])
        if not values:
            return NONE
        cond = Condition(**values)
        for name, gaps in self._told.gaps.items():
            cond = cond.drop(name, rows=torch.from_numpy(gaps[mine]))
        return cond
