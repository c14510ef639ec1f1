"""Which columns of a set of records are its pictures, its classes and its captions, where their names say so.

Only what is unmistakable is guessed: one column that is called as pictures are, at most one as classes are and at most
one as captions are. Layouts, masks, condition pictures and attributes are declared by flags of ``train``; everything
else is for a recipe. A folder without a table, with pictures in one folder and maps of their names in another, is of
pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mezzotint.core import config
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import build
from mezzotint.data import Data, HuggingFace, Pairs, Recorded, Shards, Table, huggingface, pairs, shards, table
from mezzotint.data.called import CAPTIONS, LABELS, PICTURES, called
from mezzotint.data.columns import is_split

_OF_SHARDS = {"label": (*LABELS, "cls"), "caption": (*CAPTIONS, "txt")}


Kind = TypeVar("Kind", bound=Data)


def made(kind: type[Kind], changes: Sequence[str], **options: Any) -> Kind:
    """A data set with these options, and those that edits of a recipe's ``data`` name.

    Edits decide what is read, so they cannot wait until it was. Those that reach deeper, or make the data another
    part, are for the recipe that is written then.
    """
    ways = [change.partition("=")[0].strip().split(".") for change in changes]
    mine = [change for change, way in zip(changes, ways, strict=True) if way[0] == "data" and len(way) == 2]
    if ["data", "part"] in ways:
        mine = []
    tree = config.edit({"data": {"part": f"data.{kind.__name__}", **options}}, mine)
    found: Kind = build(tree["data"], ("data",))
    return found


def recorded(
    what: str,
    size: int | None = None,
    skip_broken: bool = False,
    declared: Mapping[str, Any] | None = None,
    changes: Sequence[str] = (),
) -> Recorded | None:
    """The set of records or of pairs of files that WHAT is, None where it is something else.

    Arguments:
        what: a path.
        size: pixels of a side.
        skip_broken: leave out broken records.
        declared: further columns by what they tell, as ``Recorded`` has them.
        changes: edits such as ``data.links=true``.

    Raises:
        Refusal: its columns do not say what they are; the sentence lists them.
    """
    path = Path(what)
    options: dict[str, Any] = {"size": size, "skip_broken": skip_broken, **(declared or {})}
    if shards.is_shards(path):
        columns = shards.columns_of(path)
        if not set(shards.PICTURES.split(";")) & set(columns):
            raise _unclear(what, "Shards", columns, "which members are its pictures", shards.PICTURES.split(";"))
        told: dict[str, Any] = {name: _one(what, "Shards", columns, known, name) for name, known in _OF_SHARDS.items()}
        return made(Shards, changes, path=what, **told, **options)
    if path.is_dir() and huggingface.is_saved(path):
        return _hugging(what, options, changes)
    is_folder = path.is_dir() and any((path / name).is_file() for name in table.TABLES)
    if not is_folder and not (path.is_file() and path.suffix.lower() in table.ENDINGS):
        named = options.get("layout")
        if declared and pairs.is_pairs(path, declared=True):
            for flag, folder in (("layout", named), ("instances", options.get("instances"))):
                _there(what, flag, folder)
        if not pairs.is_pairs(path, named, bool(declared)):
            return None
        try:
            return made(Pairs, changes, path=what, **options)
        except Refusal as refusal:
            raise (refusal if declared else pairs.or_classes(path, refusal)) from None
    file = table.table_of(path)
    if file.suffix.lower() == ".parquet" and "Image" in huggingface.columns_of(file).values():
        return _hugging(str(file), options, changes)
    columns = table.columns_of(path)
    picture = _one(what, "Table", columns, PICTURES, "picture")
    if picture is None:
        raise _unclear(what, "Table", columns, "which column names its pictures", PICTURES)
    return made(Table, changes, path=what, picture=picture, **_told(what, "Table", columns), **options)


def _there(what: str, flag: str, folder: str | None) -> None:
    """Refuse a folder of pairs that is named and is not there, where all pairs would be broken."""
    here = {item.name: item for item in sorted(Path(what).iterdir()) if item.is_dir()}
    splits = [item for name, item in here.items() if is_split(name)]
    below = {item.name for split in splits for item in split.iterdir() if item.is_dir()}
    if folder is not None and folder not in {*here, *below}:
        names = sorted(name for name in {*here, *below} if not name.startswith((".", "__MACOSX")))
        raise Refusal(
            f"--{flag} names the folder {folder!r}, and there is none in {what!r}; there are {', '.join(names)}"
        )


def _hugging(what: str, options: dict[str, Any], changes: Sequence[str]) -> HuggingFace:
    kinds = huggingface.columns_of(what)
    images = [name for name, kind in kinds.items() if kind == "Image"]
    if len(images) != 1 and "image" not in images:
        raise _unclear(what, "HuggingFace", kinds, "which column holds its pictures", ("image",))
    picture = images[0] if len(images) == 1 else "image"
    return made(HuggingFace, changes, path=what, picture=picture, **_told(what, "HuggingFace", kinds), **options)


def _told(what: str, part: str, columns: Collection[str]) -> dict[str, Any]:
    return {
        "label": _one(what, part, columns, LABELS, "label"),
        "caption": _one(what, part, columns, CAPTIONS, "caption"),
    }


def _one(what: str, part: str, columns: Collection[str], known: Collection[str], field: str) -> str | None:
    """The column that is called so, None where none is."""
    found = called(columns, known)
    if len(found) > 1:
        raise _unclear(what, part, columns, f"which of {' and '.join(found)} is the {field}", known)
    return found[0] if found else None


def _unclear(what: str, part: str, columns: Collection[str], why: str, known: Collection[str]) -> Refusal:
    return Refusal(
        f"{what!r} does not say {why}: its columns are {', '.join(sorted(columns)) or 'none'}, and known are "
        f"{', '.join(known)}; declare them in a recipe, such as data: {{part: data.{part}, path: ..., "
        "picture: ..., label: ...}"
    )
