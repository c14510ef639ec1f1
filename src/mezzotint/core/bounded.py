"""Files that a stranger may have written, read within bounds: how long, how deep, and where their names lead.

A manifest of ten gigabytes, JSON nested a million deep, or a name that leads out of the folder it stands in are refused
in a sentence, before they fill the memory or touch another file.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mezzotint.core.errors import Refusal

TEXT = 2**24
"""The longest file of text that is read, in bytes, where nothing else is said: 16 MiB."""
DEPTH = 100
"""How deep JSON may be nested."""


def read_bytes(path: str | Path, most: int = TEXT) -> bytes:
    """The bytes of a file, refused where it is longer than ``most``; no more than that is read."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise Refusal(f"there is no file {str(path)!r}") from None
    except (OSError, ValueError) as error:  # a name that holds a zero is a ValueError
        raise Refusal(f"{str(path)!r} cannot be read: {error}") from None
    if len(data) > most:
        raise Refusal(f"{str(path)!r} is longer than {most:,} bytes, which is more than such a file ever needs")
    return data


def read_text(path: str | Path, most: int = TEXT) -> str:
    """The text of a file in UTF-8, of at most ``most`` bytes."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(f"{str(path)!r} cannot be read: {error}") from None


def is_text(value: str) -> bool:
    """Whether a string is one: half of a surrogate pair, which an escape can write, is no character on any screen."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_json(text: str | bytes, where: str) -> Any:
    """JSON as plain data; refuses what does not parse, is nested more than ``DEPTH`` deep or holds half a character."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = str(error)
        if isinstance(error, RecursionError):
            why = "it is nested too deep"
        elif not isinstance(error, json.JSONDecodeError | UnicodeDecodeError):  # Python's words are for who programs
            why = "it holds a whole number of more digits than are read"
        raise Refusal(f"{where} cannot be read: {why}") from None
    level, depth = [tree], 0
    while level:
        if depth > DEPTH:
            raise Refusal(f"{where} cannot be read: it is nested too deep")
        inside = [item for item in level if isinstance(item, dict | list)]
        said = [item for item in level if isinstance(item, str)]
        said += [key for item in inside if isinstance(item, dict) for key in item]
        if not all(map(is_text, said)):
            raise Refusal(f"{where} cannot be read: it holds half of a surrogate pair, which is no character")
        level = [value for item in inside for value in (item.values() if isinstance(item, dict) else item)]
        depth += 1
    return tree


def read_json(path: str | Path, most: int = TEXT) -> Any:
    """A file of JSON as plain data, within the bounds of :func:`read_text` and :func:`parse_json`."""
    return parse_json(read_text(path, most), repr(str(path)))


def inside(folder: str | Path, name: str) -> Path:
    """The path of a regular file by its name inside a folder, whoever wrote the name down.

    Arguments:
        folder: where it lies.
        name: relative, with ``/`` between its parts.

    Raises:
        Refusal: the name is absolute, climbs out by ``..``, or goes through a link; or no such file is there.
    """
    folder, parts = Path(folder), PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    leads = not parts or ".." in parts or name.startswith("/") or "\\" in name or "\0" in name or windows.anchor
    if leads:
        raise Refusal(f"a name in {str(folder)!r} leads to a file outside its folder: {name[:200]!r}")
    at, mode = folder, 0
    for part in parts:
        at = at / part
        try:
            mode = at.lstat().st_mode
        except (OSError, ValueError):  # a name that is too long, or not one that this disk knows
            raise Refusal(f"{str(folder / name)[:500]!r} is missing") from None
        if stat.S_ISLNK(mode):
            raise Refusal(
                f"{str(at)!r} is a link, which may lead to a file outside its folder; put the file itself there"
            )
    if not stat.S_ISREG(mode):
        raise Refusal(f"{str(at)!r} is missing: what is there is no file")
    return at
