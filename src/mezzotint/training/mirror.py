"""A second home for a run: its folder copied to object storage after every checkpoint, and fetched from there.

Files of a checkpoint are copied before its manifest, so a checkpoint over there is complete when its manifest is, as it
is here; one that has the same manifest on both sides is not copied again. A place holds one run: another one is not
copied over it. Places are URLs that fsspec knows (``s3://``, ``gs://``, ``file://``, ``memory://``), whose libraries
are installed apart.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from mezzotint.core import config
from mezzotint.core.errors import Refusal
from mezzotint.core.store import MANIFEST
from mezzotint.training.run import CHECKPOINTS, Run, another

PROBE = ".probe"
KEPT = ("batch", "seed")
"""What of its training every run keeps."""


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

    def check(self, folder: Path | None = None) -> None:
        """Refuse a place that nothing here can write to, or that holds another run, before the work.

        Arguments:
            folder: of the run that is to go on; None: a new one, so that no run may be there yet.
        """
        there, root = self._place()
        probe = f"{root}/{PROBE}"
        try:
            there.makedirs(root, exist_ok=True)  # which object storage answers without being asked
            there.pipe_file(probe, b"mezzotint")
        except Exception as error:
            raise Refusal(f"the mirror {self.url!r} cannot be written: {error}") from None
        with suppress(Exception):  # a place that keeps everything will do: hidden names are not fetched
            there.rm_file(probe)
        try:
            self._common(there, root, folder)
        except Refusal:
            raise
        except Exception as error:
            raise Refusal(f"the mirror {self.url!r} cannot be read: {error}") from None

    def push(self, folder: Path) -> bool:
        """Copy what is new; False, with a word on standard error, where the place holds another run or is not there."""
        try:
            there, root = self._place()
            common = self._common(there, root, folder)
            for file in _ordered(folder):
                if not _within(file, common):
                    target = f"{root}/{file.as_posix()}"
                    there.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
                    there.put_file(str(folder / file), target)
        except Refusal as refusal:
            print(f"nothing was copied: {refusal}", file=sys.stderr)
            return False
        except Exception as error:
            print(f"the mirror {self.url!r} was not reached, the next checkpoint tries again: {error}", file=sys.stderr)
            return False
        return True

    def _common(self, there: Any, root: str, folder: Path | None) -> set[str]:
        """The checkpoints that are the same on both sides; a place with another run is refused.

        A run is known by its model, its data, its batch size and its seed, and where both sides have checkpoints of the
        same numbers, by one that is the same: a run that went on from an earlier one may have made later ones anew.
        """
        found = _read(there, f"{root}/config.yaml")
        if found is None:
            return set()
        if folder is None:
            raise Refusal(f"the mirror {self.url!r} holds a run; go on with it by --resume, or name another place")
        before = config.loads(found.decode("utf-8"), f"the config in the mirror {self.url!r}")
        part = another(before if isinstance(before, dict) else {}, Run(folder).config, KEPT)
        both = {}
        for manifest in (folder / CHECKPOINTS).glob(f"[0-9]*/{MANIFEST}"):
            theirs = _read(there, f"{root}/{CHECKPOINTS}/{manifest.parent.name}/{MANIFEST}")
            if theirs is not None:
                both[manifest.parent.name] = theirs == manifest.read_bytes()
        if part is None and both and not any(both.values()):
            part = "checkpoint of the same number"
        if part is not None:
            raise Refusal(
                f"the mirror {self.url!r} holds another run than {str(folder)!r}, with another {part}; "
                "name another place"
            )
        return {name for name, same in both.items() if same}

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
            if _hidden(file):
                continue
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            there.get_file(f"{root}/{file}", str(folder / file))
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        return True


def _read(there: Any, path: str) -> bytes | None:
    """The bytes of a small file over there, None without one."""
    try:
        return bytes(there.cat_file(path))
    except FileNotFoundError:
        return None


def _ordered(folder: Path) -> list[Path]:
    """The files of a run by their place in it, manifests last; temporary ones are left out."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    files = [file for file in files if not _hidden(file)]
    return sorted(files, key=lambda file: (file.name == MANIFEST, str(file)))


def _hidden(file: PurePath) -> bool:
    return any(part.startswith(".") for part in file.parts)


def _within(file: Path, kept: set[str]) -> bool:
    return file.parts[0] == CHECKPOINTS and len(file.parts) > 1 and file.parts[1] in kept
