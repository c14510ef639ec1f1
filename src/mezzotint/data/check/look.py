"""Looking at a folder of somebody's pictures: what is there, and what will be in the way.

Files are listed first, then read one by one by a few threads, then compared. What is kept of a picture is about
two kilobytes, so a folder may be much larger than memory; what is unpacked at once has no more pixels than one picture
may have.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from mezzotint.core.errors import Refusal
from mezzotint.data.check.files import File, Notes, Walk
from mezzotint.data.check.maps import Maps
from mezzotint.data.check.report import Report, ordered
from mezzotint.data.check.seen import ENDINGS, Broken, Seen, see
from mezzotint.data.check.table import Told
from mezzotint.data.check.twins import alike, same
from mezzotint.data.data import check_share, in_split
from mezzotint.data.huggingface import is_saved
from mezzotint.data.pairs import is_pairs, or_classes
from mezzotint.data.picture import MAX_PIXELS, Turns
from mezzotint.data.shards import is_shards
from mezzotint.data.threads import each

_RARE = 10
_FEW = 20  # held-out pictures, below which a mean over them says little


class Progress(Protocol):
    """Told how many files of how many were looked at."""

    def __call__(self, done: int, total: int) -> None: ...


def look(
    folder: str | Path,
    size: int | None = None,
    held_out_share: float = 0.1,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> Report:
    """Look at every picture of a folder and say what was found; nothing in it is written, and nothing outside is read.

    Arguments:
        folder: its path; laid out as for :class:`~mezzotint.data.folder.Folder`, with a table beside the pictures, or
            as for :class:`~mezzotint.data.pairs.Pairs`.
        size: the side to which they are to be brought, in pixels; None: the one that is proposed.
        held_out_share: share of the paths that is held out.
        max_pixels: the largest width times height of a file that is unpacked.
        progress: told after every file.

    Raises:
        Refusal: there is no such folder, it cannot be listed, nothing in it is called like a picture, or it is tar
            shards or a saved set.
    """
    check_share(held_out_share)
    kind = "tar shards" if is_shards(folder) else "a set that datasets saved" if is_saved(folder) else None
    if kind is not None:
        raise Refusal(
            f"{str(folder)!r} is {kind}: mezzotint train reads it as it is, and the check looks into folders of "
            "picture files only; there is nothing to be looked at here"
        )
    notes = Notes()
    walk = Walk(Path(folder), notes)
    files = walk.files()
    tables = [Told(path, notes) for path in walk.tables]
    if not files and set(notes.kinds) <= {"other files"}:
        raise Refusal(f"no images in {str(folder)!r}: it holds no PNG, JPEG, WebP, BMP or GIF files")
    if len(tables) > 1:
        for path in walk.tables:
            notes.add("tables", path.name)
    if tables:
        files = _told(files, tables, notes)
    maps = None
    if not tables and is_pairs(folder):
        try:
            maps = Maps(Path(folder), files, notes, held_out_share, max_pixels)
        except Refusal as refusal:
            raise or_classes(folder, refusal) from None
        files = maps.files
    for file in files:
        _name(file, notes)
    seen: list[Seen] = []
    turns = Turns(max_pixels)  # a few threads with a picture of the largest size each would be too much
    for done, answer in enumerate(each(lambda file: see(file, max_pixels, turns), files)):
        if isinstance(answer, Broken):
            notes.add(answer.kind, answer.file.name, answer.why)
        else:
            seen.append(answer)
        if progress is not None:
            progress(done + 1, len(files))
    splits = {name: out for table in tables for name, out in table.splits.items()} if maps is None else maps.splits
    held_out = [
        splits[name] if name in splits else in_split(_plain(name), "held_out", held_out_share)
        for name in (one.file.name for one in seen)
    ]
    for one in seen:
        _look(one, notes)
    _compare(seen, held_out, notes)
    names = () if tables or maps is not None else walk.classes
    counts = Counter({name: 0 for name in names}) + Counter(one.file.label for one in seen if one.file.label)
    classes = {name: counts[name] for name in sorted({*names, *counts})}
    _balance(classes, {file.label for file in files}, notes)
    sizes = Counter(one.header.size for one in seen)
    if len(sizes) > 1:
        for one in seen:
            if one.header.size != seen[0].header.size:
                notes.add("sizes differ", one.file.name, _by(one))
    if seen and not any(held_out):
        notes.add("none held out", str(folder))
    elif sum(held_out) < _FEW:
        for one, out in zip(seen, held_out, strict=True):
            if out:
                notes.add("few held out", one.file.name)
    report = Report(
        folder=os.fspath(folder),
        pictures=len(seen),
        held_out=sum(held_out),
        classes=classes,
        formats=dict(Counter(one.header.format for one in seen).most_common()),
        modes=dict(Counter(one.mode for one in seen).most_common()),
        sizes=dict(sizes),
        grey=bool(seen) and all(one.grey for one in seen),
        tables=tuple(path.name for path in walk.tables),
        columns=tables[0].columns if tables else {},
        problems=(),
        things=None if maps is None else maps.things,
    )
    side = report.size if size is None else size
    for one in seen:
        if side is not None and min(one.header.size) < side:
            notes.add("small", one.file.name, _by(one))
    return replace(report, problems=ordered(notes.kinds))


def _told(files: list[File], tables: list[Told], notes: Notes) -> list[File]:
    """The pictures of a table, with its labels; what it does not name is said and passed over."""
    labels = {name: label for table in tables for name, label in table.labels.items()}
    others = {name for table in tables for name in table.others}
    found = [File(file.path, file.name, labels[file.name]) for file in files if file.name in labels]
    untold = [file.name for file in files if file.name not in labels and file.name not in others]
    for name in untold:
        notes.add("mostly untold" if len(untold) > len(found) else "untold", name)
    return found


def _name(file: File, notes: Notes) -> None:
    """What is special about how a file is called; the names of folders count."""
    if not file.name.isprintable():
        notes.add("unprintable name", file.name)
    elif not file.name.isascii():
        notes.add("unicode name", file.name)


def _plain(name: str) -> str:
    """A path inside the folder as training knows it."""
    return unicodedata.normalize("NFC", name)


def _look(one: Seen, notes: Notes) -> None:
    """What is special about one picture."""
    header, name = one.header, one.file.name
    for kind, holds in (
        ("rotated", header.turned),
        ("transparent", header.transparent),
        ("animated", header.animated),
        ("16-bit", one.deep),
        ("CMYK", header.mode == "CMYK"),
        ("flat", one.flat),
    ):
        if holds:
            notes.add(kind, name)
    if not name.lower().endswith(ENDINGS[header.format]):
        notes.add("ending", name, f"it is {header.format}")


def _compare(seen: list[Seen], held_out: list[bool], notes: Notes) -> None:
    """Which pictures are there more than once, and where that does harm."""
    files = [_plainest(group, seen) for group in same(one.digest for one in seen)]
    copies = {row: group[0] for group in files for row in group[1:]}
    for row, first in copies.items():
        notes.add("same file", seen[row].file.name, f"as {seen[first].file.name}")
    doubles: set[int] = set()
    for group in (_plainest(group, seen) for group in same(one.pixels for one in seen)):
        doubles.update(group[1:])
        for row in group[1:]:
            if row not in copies:
                notes.add("same pixels", seen[row].file.name, f"as {seen[group[0]].file.name}")
        _across(group, seen, held_out, notes)
    alone = [row for row in range(len(seen)) if row not in doubles]
    hashes = np.array([seen[row].hash for row in alone], dtype=np.uint64)
    for found in alike(hashes, [seen[row].thumbnail for row in alone]):
        first, *others = (alone[place] for place in found)
        for row in others:
            notes.add("alike", seen[row].file.name, f"as {seen[first].file.name}")
            if held_out[row] != held_out[first]:
                notes.add("alike, both splits", seen[row].file.name, f"as {seen[first].file.name}")


def _plainest(group: list[int], seen: list[Seen]) -> list[int]:
    """The group, the one first whose name anybody can type: that is the one to keep."""

    def odd(row: int) -> tuple[bool, bool, int]:
        name = seen[row].file.name
        return not name.isprintable(), not name.isascii(), row

    return sorted(group, key=odd)


def _across(group: list[int], seen: list[Seen], held_out: list[bool], notes: Notes) -> None:
    """Whether one picture stands in two classes, or is trained on and held out."""
    first = group[0]
    for row in group[1:]:
        name, other = seen[row].file.name, f"as {seen[first].file.name}"
        if seen[row].file.label != seen[first].file.label:
            notes.add("two classes", name, other)
        if held_out[row] != held_out[first]:
            notes.add("both splits", name, other)


def _balance(classes: dict[str, int], tried: set[str], notes: Notes) -> None:
    """Whether the classes hold about as many pictures."""
    for name, count in classes.items():
        if not count and name in tried:
            notes.add("empty class", name, "no picture in it can be read")
        elif 0 < _RARE * count <= max(classes.values()):
            notes.add("unbalanced", name, f"{count:,} picture{'s' * (count != 1)}")
    if len(classes) == 1:
        notes.add("one class", next(iter(classes)))


def _by(one: Seen) -> str:
    return f"{one.header.size[0]} x {one.header.size[1]}"
