"""A folder of pictures and maps without any table: ``pictures/NAME.jpg`` has its map in ``layouts/NAME.png``.

Files are paired by their path inside their folder, without the ending: ``pictures/a/1.jpg`` with ``layouts/a/1.png``.
Where everything lies in folders called as splits are, ``train`` and ``val`` for one, they say what is held out, be it
below (``pictures/train``) or above (``train/pictures``); else a hash of the name does.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.data.columns import held_out, is_split
from mezzotint.data.palette import FILE, Palette
from mezzotint.data.picture import ENDINGS
from mezzotint.data.recorded import Recorded
from mezzotint.data.records import RECORDS, Records

FOLDERS: Mapping[str, tuple[str, ...]] = {
    "picture": ("pictures", "images", "photos"),
    "layout": ("layouts", "labels", "maps", "annotations", "segmentations"),
    "instances": ("instances",),
}
"""What the folders are usually called. One of black and white masks is none of layouts, unless that is said."""

_WORDS = {"picture": "pictures", "layout": "maps", "instances": "instances"}


@dataclass(frozen=True)
class Pairs(Recorded):
    """The pictures of a folder and the maps that lie beside them, paired by name; see ``Recorded``.

    Its columns are folders: ``pictures`` (or ``images``, ``photos``), ``layouts`` (or ``labels``, ``maps``,
    ``annotations``, ``segmentations``) and, where there is one, ``instances``; ``image`` and ``mask`` may name further
    ones. A picture without its map, and a map without its picture, are broken records; all but layouts may be missing.
    A ``palette.json`` in the folder is the palette, where no other is named.

    Arguments:
        picture: the folder of the pictures inside ``path``; "" for what it is usually called.
        layout: the folder of the maps; None for what it is usually called.
        instances: the folder of the maps of instance numbers; None for what it is usually called, if there is one.
        links: follow links that lead out of the folder.

    Raises:
        Refusal: there are no such folders, or several that could be meant; nothing in them has one name.
    """

    picture: str = ""
    links: bool = False

    def __post_init__(self) -> None:
        self._resolve()
        super().__post_init__()

    def _resolve(self) -> None:
        """Find the folders that are not named."""
        root = Path(self.path)
        picture, layout = self.picture or _usual(root, "picture"), self.layout or _usual(root, "layout")
        for what, found in (("picture", picture), ("layout", layout)):
            if found is None:
                raise Refusal(
                    f"{self.path!r} has no folder of {_WORDS[what]}: it is called {' or '.join(FOLDERS[what])}, or "
                    f"named by {what}=..."
                )
        self._set(picture=picture, layout=layout, instances=self.instances or _usual(root, "instances"))

    @classmethod
    def opened(cls, path: str, links: bool = False) -> tuple[Palette | None, Files]:
        """The palette and the files of a folder, as they are usually called, without a picture being read."""
        one = object.__new__(cls)
        one._set(**{field.name: field.default for field in fields(cls) if field.default is not MISSING})
        one._set(path=path, links=links)
        one._resolve()
        return one._explained(), one._open()

    def _open(self) -> Files:
        return Files(Path(self.path), self.picture, str(self.layout), tuple(self._named.values()), self.links)

    def _explained(self) -> Palette | None:
        beside = Path(self.path, FILE)
        if self.palette is not None or not beside.is_file():
            return super()._explained()
        if not self.links and leads_out(beside, Path(self.path)):
            raise Refusal(f"{str(beside)!r} is a link that leads out of its folder; copy the palette there")
        return Palette.read(beside)


class Files(Records):
    """Files of the same name in several folders.

    Arguments:
        root: where the folders are, or folders called as splits are with those in each.
        picture: the folder of the pictures.
        layout: the folder of the maps, without which a picture is broken.
        wanted: all folders that are looked into.
        links: follow links that lead out of ``root``.
    """

    def __init__(self, root: Path, picture: str, layout: str, wanted: Collection[str], links: bool = False) -> None:
        self.root, self.links, self.broken = root, links, {}
        self.picture, self.layout = picture, layout
        bases = _bases(root)
        self.columns = tuple(sorted({folder.name for _, base in bases for folder in _folders(base)}))
        self._of = {name: self._found(bases, name) for name in wanted if name in self.columns}
        pictures, maps = self._of.get(picture, {}), self._of.get(layout, {})
        self.names = sorted(pictures.keys() & maps.keys())
        if picture in self.columns and layout in self.columns and not self.names:
            raise Refusal(
                f"no picture of {str(root)!r} has a map: the {len(pictures):,} in {picture!r} are called such as "
                f"{_first(pictures)}, and the {len(maps):,} in {layout!r} such as {_first(maps)}; a picture and its "
                "map have one name, but for the ending"
            )
        self._lacks({name: pictures[name] for name in pictures.keys() - maps.keys()}, "picture", layout)
        for column, found in self._of.items():
            if column != picture:
                self._lacks({name: found[name] for name in found.keys() - pictures.keys()}, "map", picture)
        self.names = [name for name in self.names if name not in self.broken]

    def _found(self, bases: Collection[tuple[str, Path]], column: str) -> dict[str, Path]:
        """The files of a folder by their name."""
        found: dict[str, Path] = {}
        for before, base in bases:
            top = base / column
            away = leads_out(top, self.root)  # links to folders below it are not followed
            for name, path in _files(before, top):
                if not self.links and (away or (path.is_symlink() and leads_out(path, self.root))):
                    self.broken[name] = (
                        f"{str(path)!r} is a link that leads out of {str(self.root)!r}: copy what it leads to (cp "
                        "-rL), or pass links=True to data.Pairs (--set data.links=true) if you know where it leads"
                    )
                elif name in found:
                    self.broken[name] = f"there are two of that name, {str(found[name])!r} and {str(path)!r}"
                found.setdefault(name, path)
            if len(found) > RECORDS:
                raise Refusal(f"{str(top)!r} has more than {RECORDS:,} files, which is more than are read")
        return found

    def _lacks(self, files: Mapping[str, Path], what: str, column: str) -> None:
        """Put down files that have no other of their name in a folder."""
        for place, name in enumerate(sorted(files)):
            more = f" (nor have {len(files) - 1:,} more)" if len(files) > 1 and not place else ""
            file = files[name].relative_to(self.root).as_posix()
            self.broken.setdefault(name, f"the {what} {file!r} has no file of its name in {column!r}{more}")

    def cells(self, column: str) -> list[object]:
        raise Refusal(f"{column!r} is a folder of files in {str(self.root)!r}, which tell no label, text or number")

    def source(self, column: str, row: int) -> Path | None:
        return self._of[column].get(self.names[row])

    def at(self, column: str, row: int) -> Path:
        """The file of a record in a folder where it has one."""
        return self._of[column][self.names[row]]

    def without(self, column: str) -> NDArray[np.bool_]:
        return np.fromiter((name not in self._of[column] for name in self.names), bool, len(self))

    def held_out(self) -> NDArray[np.bool_] | None:
        first = [name.partition("/")[0] if "/" in name else "" for name in self.names]
        if not all(map(is_split, first)):
            return None
        cells: list[object] = [*first]
        out, _ = held_out(cells, "folder")
        return out if out.any() and not out.all() else None


def is_pairs(path: str | Path, layout: str | None = None, declared: bool = False) -> bool:
    """Whether a folder holds pictures in one folder and maps in another, as they are usually called.

    Classes may be called ``maps`` and ``photos``, too. So there are no further folders, and at least one picture has a
    map of its name, unless a ``palette.json`` or whoever asks says that there are maps.

    Arguments:
        path: the folder.
        layout: the folder of the maps, where it is named.
        declared: whether it was said that there are maps.
    """
    root = Path(path)
    if not root.is_dir():
        return False
    bases = _bases(root)
    here = {folder.name for _, base in bases for folder in _folders(base)}
    pictures = here & {*FOLDERS["picture"]}
    maps = here & {*FOLDERS["layout"], *([] if layout is None else [layout])}
    if not pictures or not maps or declared or _is_said(root):
        return bool(pictures and maps)
    if here - {name for names in FOLDERS.values() for name in names}:
        return False
    names = {name for before, base in bases for one in pictures for name, _ in _files(before, base / one)}
    return any(name in names for before, base in bases for one in maps for name, _ in _files(before, base / one))


def or_classes(path: str | Path, refusal: Refusal) -> Refusal:
    """What to say of a folder that was taken for pairs and cannot be read so: it may be of classes."""
    if _is_said(Path(path)):
        return refusal
    return Refusal(
        f"{refusal}; {str(path)!r} is taken for pictures and maps, since files of its folders have one name: if its "
        f"folders are classes, train a recipe with data: {{part: data.Folder, path: {os.fspath(path)}}}"
    )


def _is_said(root: Path) -> bool:
    """Whether a folder itself says that it has maps."""
    return (root / FILE).is_file()


def leads_out(path: Path, root: Path) -> bool:
    """Whether a path is a link, or below one, that leads out of a folder."""
    return not path.resolve().is_relative_to(root.resolve())


def _usual(root: Path, what: str) -> str | None:
    """The folder that is called as such folders are, None where there is none."""
    here = {folder.name for _, base in _bases(root) for folder in _folders(base)}
    found = [name for name in FOLDERS[what] if name in here]
    if len(found) > 1:
        raise Refusal(
            f"{str(root)!r} does not say which is its folder of {_WORDS[what]}: there are {' and '.join(found)}; name "
            f"it by {what}=... (--set data.{what}=...)"
        )
    return found[0] if found else None


def _bases(root: Path) -> list[tuple[str, Path]]:
    """Where the folders are: here, or in every folder called as a split is, and what then stands before a name."""
    if not root.is_dir():
        raise Refusal(f"there is no folder {str(root)!r}")
    here = _folders(root)
    splits = [folder for folder in here if is_split(folder.name)]
    usual = {name for names in FOLDERS.values() for name in names}
    if splits and not any(folder.name in usual for folder in here):
        return [(f"{folder.name}/", folder) for folder in splits]
    return [("", root)]


def _files(before: str, top: Path) -> Iterator[tuple[str, Path]]:
    """The pictures of a folder at any depth in order, by what pairs them; none where there is no such folder."""
    for here, below, files in os.walk(top):
        below[:] = sorted(name for name in below if not name.startswith((".", "__MACOSX")))
        for file in sorted(files):
            path = Path(here, file)
            if not file.startswith(".") and path.suffix.lower() in ENDINGS and path.is_file():
                yield before + unicodedata.normalize("NFC", path.relative_to(top).with_suffix("").as_posix()), path


def _folders(root: Path) -> list[Path]:
    return sorted(item for item in root.iterdir() if item.is_dir() and not item.name.startswith((".", "__MACOSX")))


def _first(files: Mapping[str, Path]) -> str:
    """The first of some files, in quotes."""
    return repr(files[min(files)].name) if files else "none"
