"""A folder of pictures, one sub-folder a class.

The folder is the whole description: class names are the names of the sub-folders in sorted order, and a folder with
pictures but no sub-folders is a set without labels. Which split a picture belongs to is decided by a hash of its path
inside the folder, so pictures added later never move others across.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, Rows, bytes_of, check_share, check_split, glimpse, in_split, unit
from mezzotint.data.origins import Origins
from mezzotint.data.picture import ENDINGS, MAX_PIXELS, Turns, channels_of, decode, decoded, upright
from mezzotint.data.resize import check_resize, fit, sides
from mezzotint.data.threads import each, tolerant
from mezzotint.data.transparency import check_colour, shade

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Folder(Data):
    """Pictures of a folder, x (C, H, W) in [-1, 1], ``Condition(label)`` where there are sub-folders.

    PNG, JPEG, WebP, BMP and GIF files are taken at any depth, names that start with a dot are passed over. Pictures are
    decoded once, when the part is made, and kept as bytes if this split fits ``budget``; else headers are checked then
    and pictures decoded when they are asked for. ``skipped`` says which files were left out, and why.

    Arguments:
        path: the folder.
        size: pixels of a side, (height, width), or None where all pictures have one size; by area.
        channels: 1 grey, 3 colour, None for colour if any header announces it.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
        held_out_share: share of the paths that is held out, in [0, 1).
        skip_broken: leave out broken and oversized pictures, and links that lead out, instead of refusing (all of the
            split are then decoded once, kept or not).
        max_pixels: the largest width times height of a file that is unpacked.
        budget: bytes of decoded pictures to keep in memory.
        links: follow links that lead out of the folder. Without it they are refused: whoever packed the folder may have
            pointed them at your own pictures. Links to files and class folders inside it are always followed, others
            to folders never, nor those to the folder itself.
        resize: what gives way where the aspect is another: ``"crop"`` cuts its edges, ``"pad"`` adds to them,
            ``"stretch"`` brings each side by itself.
        under: the colour under transparency, and of what is added.
    """

    path: str
    size: int | tuple[int, int] | None = None
    channels: int | None = None
    split: str = "train"
    held_out_share: float = 0.1
    skip_broken: bool = False
    max_pixels: int = MAX_PIXELS
    budget: int = 2**30
    links: bool = False
    resize: str = "crop"
    under: str = "white"
    skipped: dict[str, str] = field(init=False, repr=False, compare=False)
    _files: tuple[Path, ...] = field(init=False, repr=False, compare=False)
    _labels: Rows | None = field(init=False, repr=False, compare=False)
    _classes: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _shape: tuple[int, int, int] = field(init=False, repr=False, compare=False)
    _kept: Bytes | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_split(self.split)
        check_share(self.held_out_share)
        check_resize(self.resize)
        check_colour(self.under)
        if self.channels not in (None, 1, 3):
            raise Refusal(f"channels is {self.channels!r}, but pictures are read as 1 (grey) or 3 (colour)")
        size = sides(self.size)
        self._set(path=os.fspath(self.path), size=self.size if isinstance(self.size, int) else size)
        root = Path(self.path)
        skipped: dict[str, str] = {}
        classes, found = _listing(root, self.links, skipped if self.skip_broken else None)
        names = [unicodedata.normalize("NFC", file.relative_to(root).as_posix()) for file, _ in found]
        mine = [row for row, name in enumerate(names) if in_split(name, self.split, self.held_out_share)]
        if not mine:
            raise Refusal(
                f"none of the {len(found)} pictures in {self.path!r} falls into the split {self.split!r} at a held-out "
                f"share of {self.held_out_share}; choose another share"
            )
        self._set(skipped=skipped, _classes=classes, _shape=self._measure([file for file, _ in found]))
        origins = Origins.each(found[row][0] for row in mine)  # before they are read
        kept, good = self._check([found[row][0] for row in mine])
        rows = [row for row, fine in zip(mine, good, strict=True) if fine]
        labels = np.array([found[row][1] for row in rows], dtype=np.int64)
        for label in sorted({found[row][1] for row in mine} - set(labels.tolist())):
            what = f"class {classes[label]!r} of {self.path!r}" if classes else repr(self.path)
            raise Refusal(f"no picture in {what} can be read; replace them or take the folder away")
        self._set(_files=tuple(found[row][0] for row in rows), _labels=labels if classes else None, _kept=kept)
        self._set(origins=origins.take(np.flatnonzero(good)))

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _measure(self, files: list[Path]) -> tuple[int, int, int]:
        """The shape of all splits: what was asked for, and where nothing was, what the files are."""
        if self.channels is None:
            headers = each(tolerant(lambda file: channels_of(file, self.max_pixels), self.skip_broken), files)
            channels = max((header for header in headers if isinstance(header, int)), default=3)
        else:
            channels = self.channels
        size = sides(self.size)
        if size is not None:
            return channels, *size
        for file in files:
            try:
                height, width, _ = decode(file, channels, self.max_pixels).shape
            except Refusal:
                if not self.skip_broken:
                    raise
            else:
                return channels, height, width
        raise Refusal(f"no picture in {self.path!r} can be read; replace them")

    def _check(self, files: list[Path]) -> tuple[Bytes | None, list[bool]]:
        """Decode or at least look at every file; which are good, and their bytes if they are kept."""
        channels, height, width = self._shape
        keep = len(files) * channels * height * width <= self.budget
        if keep:
            kept = np.empty((len(files), height, width, channels), dtype=np.uint8)

        turns = Turns(self.max_pixels)  # a few threads with a picture of the largest size each would be too much

        def look(row: int) -> bool:
            if keep:
                kept[row] = self._decode(files[row], turns)
            elif self.skip_broken:
                self._decode(files[row], turns)
            else:
                channels_of(files[row], self.max_pixels)
            return True

        good = []
        for row, answer in enumerate(each(tolerant(look, self.skip_broken), range(len(files)))):
            good.append(not isinstance(answer, Refusal))
            if isinstance(answer, Refusal):
                self.skipped[files[row].relative_to(self.path).as_posix()] = str(answer)
        return (kept if all(good) else kept[good]) if keep else None, good

    def _decode(self, file: Path, turns: Turns | None = None) -> Bytes:
        channels, height, width = self._shape
        with decoded(file, channels, self.max_pixels, self.under, turns) as picture:
            if self.size is None and picture.shape != (height, width, channels):
                raise Refusal(
                    f"the image {str(file)!r} is {picture.shape[1]} x {picture.shape[0]} pixels, the first of the "
                    f"folder {width} x {height}; pass a size to bring all to one"
                )
            return fit(picture, (height, width), self.resize, shade(self.under, channels))

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def labels(self) -> Rows | None:
        return self._labels

    def __len__(self) -> int:
        return len(self._files)

    def _marks(self) -> Iterator[bytes]:
        for file in self._files:
            yield os.fsencode(file.relative_to(self.path).as_posix()) + b" " + glimpse(file)

    @cached_property
    def origins(self) -> Origins:
        return Origins.each(self._files)

    @cached_property
    def originals(self) -> Rows:
        found = [*each(lambda file: upright(file, self.max_pixels), self._files)]
        return np.array(found, dtype=np.int64)

    def resized(self, size: tuple[int, int]) -> Folder:
        other = object.__new__(Folder)
        other._set(**{one.name: getattr(self, one.name) for one in fields(self)})
        other._set(size=size, _shape=(self._shape[0], *size), _kept=None)
        return other

    def read(self, rows: Rows) -> Tensor:
        return unit(self._bytes(rows))

    def packed(self, rows: Rows) -> tuple[Tensor, Condition]:
        return bytes_of(self._bytes(rows)), self.condition(rows)

    def _bytes(self, rows: Rows) -> Bytes:
        if self._kept is not None:
            return self._kept[rows]
        channels, height, width = self._shape
        found = np.empty((len(rows), height, width, channels), dtype=np.uint8)
        for place, row in enumerate(rows):
            found[place] = self._decode(self._files[row])
        return found


def _listing(
    root: Path, links: bool = False, skipped: dict[str, str] | None = None
) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """Class names and (file, label) of every picture, sorted; label 0 throughout where there are no sub-folders.

    Links that lead out are refused unless ``links``, or where ``skipped`` is given, left out and put down there.
    """
    if not root.is_dir():
        raise Refusal(f"there is no folder {str(root)!r}")
    whole = root.resolve()

    def out(item: Path) -> bool:
        """Whether a link leads out of the folder and is left out."""
        if links or not item.is_symlink() or item.resolve().is_relative_to(whole):
            return False
        why = (
            f"{str(item)!r} is a link that leads out of {str(root)!r}: copy what it leads to (cp -rL), or pass "
            "links=True to data.Folder (--set data.links=true) if you know where its links lead"
        )
        if skipped is None:
            raise Refusal(why)
        skipped[item.relative_to(root).as_posix()] = why
        return True

    loose = sorted(item for item in root.iterdir() if _is_picture(item))
    folders = sorted(
        item
        for item in root.iterdir()
        if item.is_dir()
        and not item.name.startswith((".", "__MACOSX"))
        and not (item.is_symlink() and item.resolve() == whole)
    )
    loose, folders = ([item for item in items if not out(item)] for items in (loose, folders))
    if loose and folders:
        raise Refusal(
            f"{str(root)!r} holds both pictures ({loose[0].name!r}) and sub-folders ({folders[0].name!r}); "
            "either put every picture into the sub-folder of its class, or all into one folder without sub-folders"
        )
    if not loose and not folders:
        raise Refusal(f"no images in {str(root)!r}: it holds no {', '.join(ENDINGS)} files and no sub-folders")
    found = [(file, 0) for file in loose]
    for label, folder in enumerate(folders):
        inside = sorted(
            Path(here, name)
            for here, below, names in os.walk(folder)
            for name in names
            if _is_picture(Path(here, name)) and not _hidden(Path(here), folder) and not out(Path(here, name))
        )
        if not inside:
            raise Refusal(f"no images in {str(folder)!r}: class {folder.name!r} is empty; fill or remove it")
        found += [(file, label) for file in inside]
    return tuple(folder.name for folder in folders), found


def _is_picture(item: Path) -> bool:
    return item.suffix.lower() in ENDINGS and not item.name.startswith(".") and item.is_file()


def _hidden(here: Path, folder: Path) -> bool:
    return any(step.startswith(".") for step in here.relative_to(folder).parts)
