"""Folders and files on disk that are whole or absent, and a manifest that knows its own hash.

A folder is written under a temporary name, flushed, its manifest last, and renamed once: one with its final name is
complete. The manifest holds the size and SHA-256 of every file, and in its last line the SHA-256 of itself without that
line, so a byte that changes anywhere is found, in the manifest as well. What a killed process leaves behind is a name
that begins with a dot and ends in ``.tmp`` or ``.old``; :func:`tidy` removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from mezzotint.core.bounded import inside, parse_json, read_bytes
from mezzotint.core.errors import Refusal

SCHEMA = 1
MANIFEST = "manifest.json"
PATIENCE = 1.0
"""Seconds in which a folder that is being replaced is asked for again."""
FILES = 10_000
"""How many files a manifest may name."""
_LEFT = re.compile(r"\.(?P<name>.+?)(\.(?P<process>\d+))?\.(?P<kind>tmp|old)")
_CLOSING = b"\n}"
T = TypeVar("T")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Write a file that is whole or absent, flushed before it gets its name, and then its name."""
    write_pieces(path, [text.encode()])


def write_pieces(path: str | Path, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
    """The same, of bytes that come one after the other."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_folder(path: str | Path, fill: Callable[[Path], None], replace: bool = False) -> Path:
    """Write a folder that is whole or absent: ``fill`` writes into a temporary one, a manifest of hashes comes last.

    Arguments:
        path: the final place.
        fill: writes the files into the folder it is given.
        replace: whether a folder already there gives way (it is removed only after the new one is complete).
    """
    path = Path(path)
    if path.exists() and not replace:
        raise Refusal(f"{str(path)!r} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)
    tidy(path.parent, name=path.name)
    work = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    work.mkdir()
    try:
        fill(work)
        files = sorted(p for p in work.rglob("*") if p.is_file())
        entries = {p.relative_to(work).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in files}
        (work / MANIFEST).write_bytes(_manifest({"schema": SCHEMA, "files": entries}))
        for made in (*work.rglob("*"), work):
            flush(made)
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        if path.exists():
            if not replace:
                raise Refusal(f"{str(path)!r} exists already")
            path.rename(old)
        try:
            work.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        flush(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path


def tidy(folder: str | Path, alone: bool = False, name: str | None = None) -> None:
    """Remove what killed writers left in a folder; what had just been moved aside to be replaced is put back.

    Whether a writer lives is asked by its process number, of this machine and this container. Writers elsewhere that
    give the same name in a folder they share are not seen, so hold it by :func:`mezzotint.core.lock.alone`, as runs
    and reproductions do.

    Arguments:
        folder: where to look; not below it.
        alone: nobody else writes there, whatever process a name belongs to: process numbers come again.
        name: of what they wrote; None: whatever it was.
    """
    for left in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
        found = _LEFT.fullmatch(left.name)
        if found is None or name not in (None, found["name"]) or (not alone and _lives(found["process"])):
            continue
        final = left.with_name(found["name"])
        if found["kind"] == "old" and not final.exists():
            left.rename(final)
        elif left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def check_folder(path: Path) -> tuple[str, ...]:
    """Refuse a folder whose files are not those of its manifest; return the names of those files.

    A manifest without a hash of its own, as version 0.1.0 wrote them, is believed. Every file is read once: its name
    has to be the plain one, and a second name of the same file is refused.
    """
    if not (path / MANIFEST).is_file():
        raise Refusal(f"{str(path)!r} has no {MANIFEST}, so it is not a complete folder of mezzotint")
    raw = read_bytes(inside(path, MANIFEST))
    manifest = parse_json(raw, f"the {MANIFEST} of {str(path)!r}")
    try:
        schema = manifest["schema"]
        entries = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except (LookupError, TypeError, AttributeError):
        raise Refusal(
            f"the {MANIFEST} of {str(path)!r} is damaged: it is not a schema and, by name, the files with their bytes "
            "and SHA-256"
        ) from None
    if schema != SCHEMA:
        raise Refusal(f"{str(path)!r} has schema {repr(schema)[:50]}, this version of mezzotint reads {SCHEMA}")
    if len(entries) > FILES:
        raise Refusal(
            f"the {MANIFEST} of {str(path)!r} names {len(entries):,} files, and a folder has {FILES:,} at most"
        )
    if manifest.keys() != {"schema", "files"} and raw != _sealed(raw[: raw.rfind(b",\n")] + _CLOSING):
        raise Refusal(f"the {MANIFEST} of {str(path)!r} is damaged: its SHA-256 is not the one that was written")
    read: dict[tuple[int, int], str] = {}
    for name, (size, digest) in entries.items():
        file = inside(path, name)
        # ./big and big would be one file hashed twice, and a manifest has room for a hundred thousand such names.
        if name != file.relative_to(path).as_posix():
            raise Refusal(
                f"the {MANIFEST} of {str(path)!r} names a file as {name[:200]!r}, which is not its plain name"
            )
        found = file.stat()
        if found.st_size != size:
            raise Refusal(f"{str(file)!r} is truncated or altered: it has {found.st_size} bytes, {size} were written")
        which = (found.st_dev, found.st_ino)  # of two hard links to a file, one is read
        if which not in read:
            read[which] = sha256(file)
        if read[which] != digest:
            raise Refusal(f"{str(file)!r} is damaged: its SHA-256 is not the one that was written")
    return tuple(entries)


def steady(folders: Sequence[Path], read: Callable[[], T]) -> T:
    """What ``read`` makes of folders that a writer may just now be replacing: it is asked again, for up to a second.

    A folder that is replaced has no name for a moment, and what is read meanwhile is the old one in part and in part
    the new one. So an answer counts where the folders are the same before and after, and a refusal where, besides, no
    writer is at work beside them.
    """
    end = time.monotonic() + PATIENCE
    while True:
        before = [_which(folder) for folder in folders]
        try:
            found = read()
        except (Refusal, OSError):
            same = before == [_which(folder) for folder in folders]
            if time.monotonic() >= end or (same and not any(map(_moving, folders))):
                raise
            time.sleep(0.02)
        else:
            if before == [_which(folder) for folder in folders] or time.monotonic() >= end:
                return found


def _which(folder: Path) -> tuple[int, int] | None:
    """Which folder has this name, None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _moving(folder: Path) -> bool:
    """Whether something is on its way to this name, or away from it."""
    try:
        names = os.listdir(folder.parent)
    except OSError:
        return False
    return any(found["name"] == folder.name for found in map(_LEFT.fullmatch, names) if found is not None)


def _manifest(tree: object) -> bytes:
    return _sealed(json.dumps(tree, indent=1).encode())


def _sealed(body: bytes) -> bytes:
    """A JSON object with its own SHA-256 as the last entry."""
    digest = hashlib.sha256(body).hexdigest()
    return body.removesuffix(_CLOSING) + f',\n "sha256": "{digest}"'.encode() + _CLOSING


def _lives(process: str | None) -> bool:
    """Whether another process than this one has that number."""
    if process is None or int(process) == os.getpid():
        return process is None
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
