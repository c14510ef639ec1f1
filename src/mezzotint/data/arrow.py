"""Arrow and Parquet files, read by pyarrow, which comes with the extra ``hf``: as rows, or memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mezzotint.core.errors import Refusal
from mezzotint.data.records import RECORDS

_AT_ONCE = 1024  # rows


def library() -> Any:
    """The module ``pyarrow``.

    Raises:
        Refusal: it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise Refusal("Parquet and Arrow files need pyarrow: pip install 'mezzotint[hf]'") from None
    return pyarrow


def opened(path: Path) -> Any:
    """A Parquet file, its cells unread."""
    library()
    from pyarrow import parquet

    try:
        file: Any = parquet.ParquetFile(path)
    except FileNotFoundError:
        raise Refusal(f"there is no file {str(path)!r}") from None
    except Exception as error:  # a damaged file fails in Thrift, in Arrow or in the system
        raise Refusal(f"{str(path)!r} cannot be read as a Parquet file: {first_line(error)}") from None
    if file.metadata.num_rows > RECORDS:
        raise Refusal(f"{str(path)!r} has {file.metadata.num_rows:,} rows, and at most {RECORDS:,} are read")
    return file


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, with these of its columns; the others are None."""
    file = opened(path)
    names = file.schema_arrow.names
    others = {name: None for name in names if name not in columns}
    wanted = [name for name in columns if name in names]
    try:
        for batch in file.iter_batches(_AT_ONCE, columns=wanted):
            lists = {name: cells_of(batch.column(place)) for place, name in enumerate(batch.schema.names)}
            for row in range(batch.num_rows):
                yield others | {name: lists[name][row] for name in lists}
    except Exception as error:
        raise Refusal(f"{str(path)!r} cannot be read as a Parquet file: {first_line(error)}") from None


def cells_of(column: Any) -> list[Any]:
    """The cells of a column as plain values; times and the like as text."""
    plain = (type(None), bool, int, float, str, bytes, list, dict)
    return [cell if isinstance(cell, plain) else str(cell) for cell in column.to_pylist()]


def first_line(error: Exception) -> str:
    """What an error says, its first line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
