"""Which files of a folder are taken for pictures, and of which class, and what stands in the way of the others.

The rules are those of :class:`~mezzotint.data.folder.Folder`; here nothing is refused, and everything that is passed
over is said. No link that leads out of the folder is opened, and nothing but regular files is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mezzotint.core.errors import Refusal
from mezzotint.data.check.report import NAMED, Case
from mezzotint.data.palette import FILE as PALETTE
from mezzotint.data.picture import ENDINGS
from mezzotint.data.table import TABLES

UNREAD = (
    ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".jfif", ".psd", ".svg", ".ico", ".tga", ".ppm", ".pgm",
    ".pnm", ".dng", ".cr2", ".nef", ".arw", ".exr", ".hdr", ".apng",
)  # fmt: skip


_HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")


class Notes:
    """What is found on the way: how many files of every kind, and the first of them."""

    def __init__(self) -> None:
        self.kinds: dict[str, tuple[int, list[Case]]] = {}

    def add(self, kind: str, file: str, why: str = "") -> None:
        """One more file of a kind."""
        count, cases = self.kinds.get(kind, (0, []))
        if len(cases) < NAMED:
            cases.append(Case(file, why))
        self.kinds[kind] = (count + 1, cases)


@dataclass(frozen=True, slots=True)
class File:
    """A regular file that is called like a picture: where it is, its path inside the folder, and its class."""

    path: Path
    name: str
    label: str


class Walk:
    """One walk through a folder.

    Arguments:
        root: the folder.
        notes: where to say what is passed over.
    """

    def __init__(self, root: Path, notes: Notes) -> None:
        self.root, self.notes = root, notes
        self.classes: list[str] = []
        self.tables: list[Path] = []
        try:
            self._whole = root.resolve(strict=True)
            self._top = sorted(os.scandir(root), key=lambda entry: entry.name)
        except FileNotFoundError:
            raise Refusal(f"there is no folder {str(root)!r}") from None
        except NotADirectoryError:
            raise Refusal(f"{str(root)!r} is no folder, and pictures are looked at by the folder") from None
        except (OSError, RuntimeError) as error:
            raise Refusal(f"the folder {str(root)!r} cannot be read: {error}") from None

    def files(self) -> list[File]:
        """Every file that is called like a picture and may be opened, in the order of training."""
        loose: list[File] = []
        folders: list[Path] = []
        for entry in self._top:
            path = Path(entry.path)
            if entry.name in TABLES and self._regular(path):
                self.tables.append(path)
            elif entry.is_symlink() and not entry.name.startswith("."):
                way = self._way(path)
                if way == "folder":
                    folders.append(path)
                elif way == "file":
                    loose += self._file(path, "")
            elif entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith((".", "__MACOSX")):
                    folders.append(path)
            else:
                loose += self._file(path, "")
        found = list(loose)
        for folder in folders:
            inside = sorted(self._below(folder), key=lambda file: file.path)
            if folder.suffix.lower() in ENDINGS:
                self.notes.add("no file", folder.name, "a folder")
            if not inside and not self.tables:
                self.notes.add("empty class", folder.name)
            found += inside
        self.classes = [folder.name for folder in folders]
        if loose and folders and not self.tables:
            for file in loose:
                self.notes.add("mixed", file.name)
        return found

    def _below(self, folder: Path) -> Iterator[File]:
        """Files of a class, at any depth; links to folders are not followed, as in training."""

        def unread(error: OSError) -> None:
            self.notes.add("unreadable", self._name(Path(str(error.filename))), (error.strerror or "").lower())

        for here, below, names in os.walk(folder, onerror=unread):
            at = Path(here)
            for name in list(below):
                if name.startswith("."):
                    below.remove(name)
                elif (at / name).is_symlink():
                    if self._way(at / name) == "folder":
                        self.notes.add("folder not followed", self._name(at / name))
                elif Path(name).suffix.lower() in ENDINGS:
                    self.notes.add("no file", self._name(at / name), "a folder")
            for name in names:
                path = at / name
                if not name.startswith(".") and (not path.is_symlink() or self._way(path) == "file"):
                    yield from self._file(path, folder.name)

    def _file(self, path: Path, label: str) -> Iterator[File]:
        """The file, if it is a regular one and called like a picture."""
        ending, name = path.suffix.lower(), self._name(path)
        if path.name.startswith(".") or name == PALETTE:
            return
        if ending not in ENDINGS:
            kind = "no ending" if not ending and self._regular(path) and _begins(path) else "other files"
            self.notes.add("kind not read" if ending in UNREAD else kind, name)
        elif not self._regular(path):
            self.notes.add("no file", name)
        else:
            yield File(path, name, label)

    def _way(self, path: Path) -> str:
        """What a link leads to: ``file``, ``folder``, or ``""`` where it is not followed, which is said."""
        name = self._name(path)
        try:
            goal = path.resolve(strict=True)
            folder = goal.is_dir()
        except (OSError, RuntimeError) as error:  # Python before 3.13 says of a loop that it is a RuntimeError
            loop = isinstance(error, RuntimeError) or error.errno == errno.ELOOP
            self.notes.add("link loop" if loop else "broken link", name)
            return ""
        below = path.parent != self.root
        if not goal.is_relative_to(self._whole):
            if folder and below:  # which nobody follows, wherever it leads
                self.notes.add("folder not followed", name, "it leads out of the folder")
            elif folder or path.suffix.lower() in ENDINGS:
                self.notes.add("link outside", name)
            return ""
        if folder and path.parent.resolve().is_relative_to(goal):
            self.notes.add("link loop", name)
            return ""
        return "folder" if folder else "file"

    def _regular(self, path: Path) -> bool:
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except OSError:
            return False

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def _begins(path: Path) -> bool:
    """Whether a file begins as a picture does."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(_HEADS) or (head.startswith(b"RIFF") and head.endswith(b"WEBP"))
