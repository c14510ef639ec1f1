"""One record decoded: its picture and what lies on it, brought to one size together.

Maps have the aspect of their picture, and are cut, padded and stretched as it is; the numbers of a map and the shades
of a mask are taken from the nearest pixel, since the mean of two numbers of things is no thing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.data import picture as files
from mezzotint.data.map_file import layout_file
from mezzotint.data.palette import UNSAID, Palette
from mezzotint.data.records import Records
from mezzotint.data.resize import check_aspect, fit, moved
from mezzotint.data.resize import nearest as taken
from mezzotint.data.transparency import shade

Array = NDArray[Any]
MAPS = ("layout", "instances", "image", "mask")


@dataclass(frozen=True)
class Decoder:
    """Reads what is declared of any record, at one shape.

    Arguments:
        records: whose pictures are read.
        path: what a refusal calls them.
        columns: of ``picture``, and of the maps and ``keypoints`` that are told.
        shape: (C, H, W).
        alike: pictures of another size are refused instead of being brought to it.
        image_channels: of the condition picture.
        points: the keypoints of every record, float32 (N, K, 3), in ``unit``: ``"shares"`` or ``"pixels"``.
        resize: what gives way where the aspect is another.
        under: the colour under transparency, and of what is added.
        max_pixels: the largest width times height of a file that is unpacked.
        palette: what the colours of layouts mean, or None where their numbers count.
    """

    records: Records
    path: str
    columns: Mapping[str, str]
    shape: tuple[int, int, int]
    alike: bool
    image_channels: int
    points: NDArray[np.float32]
    unit: str
    resize: str
    under: str
    max_pixels: int
    palette: Palette | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """What is decoded of a record, the picture first."""
        return tuple(self.columns)

    def blank(self, count: int, wanted: Collection[str]) -> dict[str, Array]:
        """Room for what is decoded of so many records, and what it is where a record says nothing."""
        channels, height, width = self.shape
        rooms: dict[str, tuple[tuple[int, ...], type, int]] = {
            "picture": ((height, width, channels), np.uint8, 0),
            "layout": ((height, width), np.uint8, UNSAID),
            "instances": ((height, width), np.int32, 0),
            "image": ((height, width, self.image_channels), np.uint8, 0),
            "mask": ((height, width), np.bool_, 0),
            "keypoints": (self.points.shape[1:], np.float32, 0),
        }
        return {
            name: np.full((count, *shape), value, dtype=kind)
            for name, (shape, kind, value) in rooms.items()
            if name in wanted
        }

    def picture(self, row: int) -> files.Source:
        """The picture file of a record."""
        return picture(self.records, self.columns["picture"], row, self.path)

    def decode(self, row: int, wanted: Collection[str], turns: files.Turns | None = None) -> dict[str, Array]:
        """What is wanted of a record, at its size; what else is told lies as the picture lies."""
        size, made = self.shape[1:], {name: room[0] for name, room in self.blank(1, wanted).items()}
        source = self.picture(row)
        if "picture" in wanted:
            with files.decoded(source, self.shape[0], self.max_pixels, self.under, turns) as pixels:
                have = pixels.shape[:2]
                made["picture"] = self._fitted(pixels)
        else:
            have = files.upright(source, self.max_pixels)
        if self.alike and have != size:
            raise Refusal(
                f"the image {str(source)!r} is {have[1]} x {have[0]} pixels, the first of {self.path!r} "
                f"{size[1]} x {size[0]}; pass a size to bring all to one"
            )
        for name in MAPS:
            found = self.records.source(self.columns[name], row) if name in wanted else None
            if found is None:
                continue
            if name == "image":
                with files.decoded(found, self.image_channels, self.max_pixels, self.under, turns) as pixels:
                    check_aspect(repr(str(found)), pixels.shape[:2], have)
                    made["image"] = self._fitted(pixels)
            else:
                numbers = self._numbers(name, found)
                check_aspect(repr(str(found)), numbers.shape, have)
                under = UNSAID if name == "layout" else 0
                made[name] = taken(numbers[..., None], size, self.resize, under)[..., 0].astype(made[name].dtype)
        if "keypoints" in wanted:
            raw = self.points[row]
            if self.unit == "shares":
                raw = raw * np.array([have[1], have[0], 1], dtype=np.float32)
            made["keypoints"] = moved(raw, have, size, self.resize)
        return made

    def _fitted(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return fit(pixels, self.shape[1:], self.resize, shade(self.under, pixels.shape[-1]))

    def _numbers(self, name: str, found: files.Source) -> NDArray[Any]:
        """What a map file says, (H, W)."""
        if name == "layout":
            return layout_file(found, self.palette, max_pixels=self.max_pixels)
        return self._white(found) if name == "mask" else files.identities(found, self.max_pixels)

    def _white(self, found: files.Source) -> NDArray[np.uint8]:
        """Where a black and white picture is white, 0 or 1 (H, W)."""
        shades = files.decode(found, 1, self.max_pixels, "black")[..., 0]
        if shades.max() and shades.max() < 128:
            raise Refusal(
                f"the mask {str(found)!r} has no shade above {shades.max()} of 255, but a mask is black and white; "
                "paint what it shows white, or declare it as the layout, whose numbers count"
            )
        return (shades >= 128).astype(np.uint8)


def picture(records: Records, column: str, row: int, path: str) -> files.Source:
    """The picture file of a record, refused where it has none."""
    found = records.source(column, row)
    if found is None:
        raise Refusal(f"the record {records.names[row]!r} of {path!r} has no picture ({column})")
    return found
