"""Data sets of Hugging Face's ``datasets``: a folder that ``save_to_disk`` wrote, or Parquet files.

Such a folder holds Arrow files, which are memory-mapped: a picture is read where it lies when it is asked for, and the
set may be larger than memory. Parquet is packed and cannot be read at random, so ``datasets`` unpacks it once into
Arrow files in its own cache (``HF_DATASETS_CACHE``). Pictures are Image features with their bytes inside; the names of
a ClassLabel are the classes. A DatasetDict says what is held out by the names of its splits. Nothing is downloaded, and
no code or pickle of a set is run: of a folder only its JSON and its Arrow files are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.bounded import inside, parse_json, read_json
from mezzotint.core.errors import Refusal
from mezzotint.data.arrow import cells_of, first_line, library, opened
from mezzotint.data.columns import held_out
from mezzotint.data.picture import Packed
from mezzotint.data.recorded import Recorded
from mezzotint.data.records import Records

STATE, SPLITS = "state.json", "dataset_dict.json"


@dataclass(frozen=True)
class HuggingFace(Recorded):
    """The rows of a folder that ``datasets`` saved, of a ``.parquet`` file or of a folder of them.

    Fields as of ``Recorded``. A row is known by the name of the file its picture had, with its number behind where an
    earlier row has that name already (``1.png#7``), or by its number.

    Arguments:
        picture: the column with the pictures; other files (``layout``, ``image``, ``mask``) likewise.
    """

    picture: str = "image"

    def _open(self) -> Records:
        return ArrowRows(self.path, tuple(self._named.values()))


class ArrowRows(Records):
    """The rows of memory-mapped Arrow files.

    Arguments:
        path: the folder, or the Parquet file.
        wanted: the columns that are asked for; the first is the picture.
    """

    def __init__(self, path: str, wanted: Sequence[str]) -> None:
        self.path, self.broken, self._wanted = path, {}, tuple(dict.fromkeys(wanted))
        self._files, self._splits = _files(Path(path))
        counts = [table.num_rows for table in self._tables]
        self._ends = np.cumsum([0, *counts], dtype=np.int64)
        self.columns = tuple(self._tables[0].schema.names)
        self._features = _features(self._tables[0].schema)
        total = int(self._ends[-1])
        names = self._paths(wanted[0]) if wanted and wanted[0] in self.columns else [None] * total
        self.names = _apart(names)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tables"}  # mapped anew elsewhere

    @cached_property
    def _tables(self) -> list[Any]:
        """The mapped tables, a file each, with the wanted columns checked: a broken offset would lead anywhere."""
        arrow = library()
        tables: list[Any] = []
        for file in self._files:
            try:
                with arrow.memory_map(str(file)) as mapped:
                    table = arrow.ipc.open_stream(mapped).read_all()
                for name in self._wanted:
                    if name in table.schema.names:
                        table.column(name).validate(full=True)
            except Exception as error:  # a damaged file fails in Arrow in many ways
                raise Refusal(f"{str(file)!r} cannot be read as an Arrow file: {first_line(error)}") from None
            if tables and table.schema.names != tables[0].schema.names:
                raise Refusal(f"{str(file)!r} has other columns than the first file of {self.path!r}")
            tables.append(table)
        return tables

    def _chunks(self, column: str) -> list[Any]:
        return [chunk for table in self._tables for chunk in table.column(column).chunks]

    def _paths(self, column: str) -> list[str | None]:
        """The paths that pictures had, which say nothing of where they are now."""
        if not self._is_picture(column):
            return [None] * int(self._ends[-1])
        found: list[str | None] = []
        for chunk in self._chunks(column):
            struct = hasattr(chunk.type, "num_fields") and chunk.type.num_fields == 2
            found += chunk.field("path").to_pylist() if struct else [None] * len(chunk)
        return [None if name is None else Path(name).name for name in found]

    def _is_picture(self, column: str) -> bool:
        kind = self._tables[0].schema.field(column).type
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return set(names) == {"bytes", "path"} or str(kind) in ("binary", "large_binary")

    def cells(self, column: str) -> list[object]:
        if self._is_picture(column):
            raise Refusal(f"the column {column!r} of {self.path!r} holds pictures, which tell no label, text or number")
        return [cell for chunk in self._chunks(column) for cell in cells_of(chunk)]

    def without(self, column: str) -> NDArray[np.bool_]:
        return np.fromiter((self._scalar(column, row) is None for row in range(len(self))), bool, len(self))

    def classes(self, column: str) -> tuple[str, ...] | None:
        feature = self._features.get(column)
        names = feature.get("names") if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel" else None
        return tuple(map(str, names)) if isinstance(names, list) else None

    def held_out(self) -> NDArray[np.bool_] | None:
        if len(set(self._splits)) < 2:
            return None
        out, wrong = held_out(self._splits, "split")
        for number, why in wrong.items():
            raise Refusal(f"the split {self._splits[number]!r} of {self.path!r}: {why}; name the folder of one split")
        return np.repeat(out, np.diff(self._ends))

    def files(self, column: str) -> tuple[Sequence[Path], NDArray[np.int64]]:
        return self._files, np.repeat(np.arange(len(self._files)), np.diff(self._ends))

    def source(self, column: str, row: int) -> Packed | None:
        if not self._is_picture(column):
            kind = self._tables[0].schema.field(column).type
            raise Refusal(
                f"the {column!r} of {self.path!r} is {kind}, but pictures are Image features with bytes in them"
            )
        found = self._scalar(column, row)
        return None if found is None else Packed(f"{self.path}: row {row}, {column}", memoryview(found.as_buffer()))

    def _scalar(self, column: str, row: int) -> Any:
        """The bytes of a picture as they lie in the file, None where there are none."""
        at = int(np.searchsorted(self._ends, row, side="right")) - 1
        cell = self._tables[at].column(column)[row - int(self._ends[at])]
        if not cell.is_valid:
            return None
        if not hasattr(cell, "as_buffer"):
            path, cell = cell["path"].as_py(), cell["bytes"]
            if not cell.is_valid and path:
                raise Refusal(
                    f"row {row} of {self.path!r} names the file {path[:200]!r} and does not hold its bytes; save "
                    "the set with its pictures embedded"
                )
        return cell if cell.is_valid else None


def _apart(names: Sequence[str | None]) -> list[str]:
    """A name for every row, none of them twice; what comes behind changes none."""
    seen: dict[str, None] = {}  # in their order
    for row, name in enumerate(names):
        own = name or str(row)
        while own in seen:
            own = f"{own}#{row}"
        seen[own] = None
    return [*seen]


def is_saved(path: str | Path) -> bool:
    """Whether a folder is one that ``datasets`` saved."""
    return (Path(path) / STATE).is_file() or (Path(path) / SPLITS).is_file()


def columns_of(path: str | Path) -> dict[str, str]:
    """The columns of a saved folder or of Parquet files, and of what kind each is: its feature, or its Arrow type."""
    path = Path(path)
    if is_saved(path):
        rows = ArrowRows(str(path), ())
        schema, features = rows._tables[0].schema, rows._features
    else:
        schema = opened(_parquets(path)[0]).schema_arrow
        features = _features(schema)
    kinds = {}
    for name in schema.names:
        feature, kind = features.get(name), str(schema.field(name).type)
        said = feature.get("_type") if isinstance(feature, Mapping) else None
        kinds[name] = said if said in ("Image", "ClassLabel") else kind
        if kind.startswith("struct<bytes: ") and "path: " in kind:
            kinds[name] = "Image"
    return kinds


def _files(path: Path) -> tuple[list[Path], list[object]]:
    """The Arrow files of a set, and the split that each is of."""
    if (path / SPLITS).is_file():
        tree = read_json(path / SPLITS)
        splits = tree.get("splits") if isinstance(tree, dict) else None
        if not isinstance(splits, list) or not splits or not all(isinstance(name, str) for name in splits):
            raise Refusal(f"{str(path / SPLITS)!r} names no splits")
        parts = [(name, _saved(inside(path, f"{name}/{STATE}"))) for name in splits]
        return [file for _, files in parts for file in files], [name for name, files in parts for _ in files]
    if (path / STATE).is_file():
        files = _saved(path / STATE)
        return files, [None] * len(files)
    files = _unpacked(_parquets(path))
    return files, [None] * len(files)


def _saved(state: Path) -> list[Path]:
    """The Arrow files that a ``state.json`` names, all of them beside it."""
    tree = read_json(state)
    named = tree.get("_data_files") if isinstance(tree, dict) else None
    if not isinstance(named, list) or not named:
        raise Refusal(f"{str(state)!r} names no Arrow files; save the set again with save_to_disk")
    return [inside(state.parent, str(one.get("filename")) if isinstance(one, dict) else "") for one in named]


def _parquets(path: Path) -> list[Path]:
    found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise Refusal(f"{str(path)!r} is neither a folder that datasets saved (with {STATE}) nor Parquet files")
    return found


def _unpacked(files: Sequence[Path]) -> list[Path]:
    """Parquet files as Arrow files in the cache of ``datasets``, made once."""
    for file in files:
        opened(file)
    try:
        import datasets
    except ImportError:
        raise Refusal("Parquet files with pictures need datasets: pip install 'mezzotint[hf]'") from None
    try:
        made = datasets.Dataset.from_parquet([str(file) for file in files])
        return [Path(entry["filename"]) for entry in made.cache_files]
    except Exception as error:  # of whatever kind: what is in the files decides that
        raise Refusal(f"{str(files[0])!r} cannot be unpacked: {first_line(error)}") from None


def _features(schema: Any) -> dict[str, Any]:
    """What ``datasets`` wrote of the columns into the schema, {} where it did not write it."""
    said = (schema.metadata or {}).get(b"huggingface")
    tree = parse_json(said, "the features") if said else {}
    info = tree.get("info") if isinstance(tree, dict) else None
    found = info.get("features") if isinstance(info, dict) else None
    return found if isinstance(found, dict) else {}
