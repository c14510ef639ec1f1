"""A second home for a run: its folder copied to object storage after every checkpoint, and fetched from there.

Files of a checkpoint are copied before its manifest, so a checkpoint over there is complete when its manifest is, as it
is here; one that has its manifest on both sides is not copied again. Places are URLs that fsspec knows (``s3://``,
``gs://``, ``file://``, ``memory://``), whose libraries are installed apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mezzotint.core.errors import Refusal
from mezzotint.core.store import MANIFEST
from mezzotint.training.run import CHECKPOINTS


@dataclass(frozen=True)
class Mirror:
    """A place that holds a copy of a run.

    Arguments:
        url: a folder, such as ``s3://bucket/run``.
    """

    url: str

    def _place(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            return url_to_fs(self.url)  # type: ignore[no-any-return]
        except (ImportError, ValueError) as error:
            raise Refusal(f"the mirror {self.url!r} cannot be reached: {error}") from None

    def check(self) -> None:
        """Refuse a place that nothing here can write to, before the work."""
        there, root = self._place()
        try:
            there.makedirs(root, exist_ok=True)
        except Exception as error:
            raise Refusal(f"the mirror {self.url!r} cannot be written: {error}") from None

    def push(self, folder: Path) -> bool:
        """Copy what is new; False, with a word on standard error, where the place does not answer."""
        try:
            there, root = self._place()
            kept = {name for name in _checkpoints(folder) if there.exists(f"{root}/{CHECKPOINTS}/{name}/{MANIFEST}")}
            for file in _ordered(folder):
                if not _within(file, kept):
                    target = f"{root}/{file.as_posix()}"
                    there.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
                    there.put_file(str(folder / file), target)
        except Exception as error:
            print(f"the mirror {self.url!r} was not reached, the next checkpoint tries again: {error}", file=sys.stderr)
            return False
        return True

    def pull(self, folder: Path) -> bool:
        """Fetch the run into a folder that is new or empty; False where there is none over there."""
        there, root = self._place()
        try:
            if not there.exists(f"{root}/config.yaml"):
                return False
            files = [PurePosixPath(name).relative_to(root) for name in there.find(root)]
        except Exception as error:
            raise Refusal(f"the mirror {self.url!r} cannot be read: {error}") from None
        for file in sorted(files, key=lambda file: (file.name == "config.yaml", file.name == MANIFEST, str(file))):
            if ".." in file.parts or file.is_absolute():
                raise Refusal(f"the mirror {self.url!r} names a file outside its folder: {str(file)!r}")
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            there.get_file(f"{root}/{file}", str(folder / file))
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        return True


def _checkpoints(folder: Path) -> Iterator[str]:
    for manifest in (folder / CHECKPOINTS).glob(f"[0-9]*/{MANIFEST}"):
        yield manifest.parent.name


def _ordered(folder: Path) -> list[Path]:
    """The files of a run by their place in it, manifests last; temporary ones are left out."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    files = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    return sorted(files, key=lambda file: (file.name == MANIFEST, str(file)))


def _within(file: Path, kept: set[str]) -> bool:
    return file.parts[0] == CHECKPOINTS and len(file.parts) > 1 and file.parts[1] in kept
