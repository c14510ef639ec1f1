"""A run folder: everything a training run leaves behind, describing itself.

    config.yaml environment.json metrics.jsonl
    samples/<images>.png, or .txt              fixed seeds, so samples of one run can be compared
    checkpoints/<images>/                      {model, ema-*, optimizer, objective}.safetensors state.json manifest.json
    model/                                     the exportable folder: the average of the weights, its config and card

A checkpoint is written whole or not at all; the latest is the newest that is complete. One process at a time writes.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint.conditions.layout import Layout
from mezzotint.core import config
from mezzotint.core.bounded import inside, parse_json, read_bytes, read_text
from mezzotint.core.errors import DISK, FULL, Refusal, from_disk
from mezzotint.core.folder import MANIFEST, SCHEMA, check_folder, flush, sha256, tidy, write_folder, write_text
from mezzotint.core.lock import NAME, alone
from mezzotint.core.spec import PART, filled, name_of
from mezzotint.core.store import load_tensors, save_tensors
from mezzotint.data.data import unplaced

CHECKPOINTS = "checkpoints"
WRITTEN = ("config.yaml", "environment.json", "metrics.jsonl")
LOG = 2**28
"""The longest log that is read, in bytes: 256 MiB, some hundred thousand lines."""


def environment() -> dict[str, Any]:
    """What ran: versions and the machine, without anything that names a place or a person."""

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {n: installed(n) for n in ("mezzotint", "torch", "numpy", "accelerate", "safetensors", "pillow")},
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "byteorder": sys.byteorder,
    }


def vacant(path: Path) -> bool:
    """Whether a run may begin in a folder: there is none, or nothing in it but what one killed at its start leaves."""
    left = {NAME, f".{WRITTEN[0]}.tmp"}
    for one in path.iterdir() if path.is_dir() else ():
        empty = one.name in ("samples", CHECKPOINTS) and one.is_dir() and not any(one.iterdir())
        if not empty and one.name not in left:
            return False
    return True


def another(before: Mapping[str, Any], tree: Mapping[str, Any], kept: tuple[str, ...] = ()) -> str | None:
    """What shows that a config is of another run: its model, its data or a setting of the training; None: nothing.

    Arguments:
        before, tree: two configs with all their defaults.
        kept: settings of the training that have to be the same.
    """
    if unnamed(filled(before.get("model"))) != unnamed(_plain(tree["model"])):
        return "model"
    if unplaced(filled(before.get("data"))) != unplaced(_plain(tree["data"])):
        return "data"
    theirs, ours = filled(before.get("training")), _plain(tree["training"])
    for name in kept:
        if not isinstance(theirs, dict) or theirs.get(name) != ours.get(name):
            return f"training.{name}"
    return None


def unnamed(tree: Any) -> Any:
    """A model's config without the names of its things, which are words for people and no weights."""
    if isinstance(tree, list):
        return [unnamed(item) for item in tree]
    if not isinstance(tree, Mapping):
        return tree
    layout = tree.get(PART) == name_of(Layout)
    return {key: unnamed(value) for key, value in tree.items() if not (layout and key == "things")}


@dataclass(frozen=True)
class Run:
    """A run folder by its path."""

    path: Path

    @classmethod
    def create(cls, path: str | Path, tree: Mapping[str, Any], resume: bool = False) -> Run:
        """Begin a run, or go on with one; what a killed process left there is cleared away.

        Arguments:
            path: the folder; it must be new or empty unless ``resume``.
            tree: the config, written as ``config.yaml``; on resuming, the model and the data must be the same, and
                it is written by :meth:`describe` once the checkpoint has agreed to it.
        """
        run = cls(Path(path))
        begun = run.begun(tree, resume)
        run.path.mkdir(parents=True, exist_ok=True)
        for folder in (run.path / "samples", run.path / CHECKPOINTS):
            folder.mkdir(exist_ok=True)
            tidy(folder, alone=True)
        tidy(run.path)
        tidy(run.path, alone=True, name="model")  # which nobody writes but who holds the run
        for name in WRITTEN:
            (run.path / f".{name}.tmp").unlink(missing_ok=True)
        if not begun:
            run.describe(tree)
        return run

    def begun(self, tree: Mapping[str, Any], resume: bool) -> bool:
        """Whether there is a run to go on with; what cannot be trained into is refused. Nothing is written."""
        path = self.path
        if path.exists() and not path.is_dir():
            raise Refusal(f"{str(path)!r} is a file; a run needs a folder of its own")
        begun = not vacant(path)
        if begun:
            if not resume:
                raise Refusal(
                    f"the folder {str(path)!r} is not empty; go on with its run by --resume, or name another folder"
                )
            part = another(self.config, tree)
            if part is not None:
                raise Refusal(
                    f"the run in {str(path)!r} has another {part} than this recipe; resume with its own "
                    "config.yaml, or train into a new folder"
                )
        return begun

    def alone(self) -> AbstractContextManager[int | None]:
        """Hold the folder against a second writer; the hold goes with this process."""
        return alone(self.path, "another training", "wait for it or stop it, or train into another folder")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Say in a sentence what the disk refuses, and what is whole all the same."""
        try:
            yield
        except OSError as error:
            elsewhere = isinstance(error.filename, str) and not Path(error.filename).is_relative_to(self.path)
            if error.errno not in DISK or elsewhere:  # such as data that cannot be read
                raise
            whole = next((images for images in self.latest() if self.whole(images)), None)
            state = (
                "no checkpoint was written before"
                if whole is None
                else f"the checkpoint of {whole} images in it is whole, and --resume goes on from there"
            )
            what = "make room" if error.errno in FULL else "see that it can be written"
            raise Refusal(f"the disk refused {str(self.path)!r}: {from_disk(error)}; {what}: {state}") from None

    def describe(self, tree: Mapping[str, Any]) -> None:
        """Write ``config.yaml`` and ``environment.json``; on resuming, once the checkpoint has agreed to the config."""
        write_text(self.path / "config.yaml", _sealed(config.dumps({"schema": SCHEMA, **tree})))
        write_text(self.path / "environment.json", json.dumps(environment(), indent=1))

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """A run that exists."""
        run = cls(Path(path))
        if not (run.path / "config.yaml").is_file() or not (run.path / CHECKPOINTS).is_dir():
            raise Refusal(f"{str(path)!r} is not a run folder: it has no config.yaml with checkpoints beside it")
        return run

    @property
    def config(self) -> dict[str, Any]:
        """The config it was started with, refused where it is no longer what was written."""
        path = self.path / "config.yaml"
        tree = config.loads(_unsealed(path), repr(str(path)))
        if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
            found = tree.get("schema") if isinstance(tree, dict) else None
            raise Refusal(f"{str(self.path)!r} has schema {repr(found)[:50]}, this version of mezzotint reads {SCHEMA}")
        return tree

    def log(self, **row: Any) -> None:
        """Append one line to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def lines(self) -> list[tuple[bytes, dict[str, Any] | None]]:
        """The lines of ``metrics.jsonl`` as they stand there, and what they say: None where that is no mapping.

        A last line cut short by a crash is left out. A log of more than ``LOG`` bytes is refused.
        """
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        if path.stat().st_size > LOG:  # before it is read: a file with a hole is as long as it says
            raise Refusal(f"the log {str(path)!r} is longer than {LOG:,} bytes, the most that is read; move it away")
        *lines, last = read_bytes(path, LOG).split(b"\n")
        found = [(line, _row(line)) for line in lines]
        if (row := _row(last)) is not None:
            found.append((last, row))
        return found

    def metrics(self) -> list[dict[str, Any]]:
        """What the lines of ``metrics.jsonl`` say; lines that are no mapping are left out."""
        return [row for _, row in self.lines() if row is not None]

    def forget_after(self, images: int) -> None:
        """Drop log lines beyond ``images``, which belong to steps that are about to be done again, and a last line that
        was cut short; every other line stays as it is, even one that cannot be read."""
        if (self.path / "metrics.jsonl").is_file():
            kept = [line for line, row in self.lines() if row is None or not _beyond(row, images)]
            write_text(self.path / "metrics.jsonl", "".join(line.decode("utf-8", "replace") + "\n" for line in kept))

    def checkpoints(self) -> list[int]:
        """Images seen at every checkpoint that has its manifest, in order."""
        folder = self.path / CHECKPOINTS
        if not folder.is_dir():
            return []
        found = [images_of(p.name) for p in folder.iterdir() if (p / MANIFEST).is_file()]
        return sorted(images for images in found if images is not None)

    def whole(self, images: int) -> bool:
        """Whether a checkpoint is what its manifest says."""
        try:
            check_folder(self.path / CHECKPOINTS / f"{images:010d}")
        except Refusal:
            return False
        return True

    def save(self, images: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Path:
        """Write a checkpoint: one safetensors file a name, and ``state.json``; the log is on the disk before it."""
        if (self.path / "metrics.jsonl").is_file():
            flush(self.path / "metrics.jsonl")

        def fill(folder: Path) -> None:
            for name, group in tensors.items():
                save_tensors(folder / f"{name}.safetensors", group)
            (folder / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")

        return write_folder(self.path / CHECKPOINTS / f"{images:010d}", fill, replace=True)

    def load(self, images: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Read a checkpoint after checking it against its manifest."""
        files, state = self.files(images)
        return {name: load_tensors(path) for name, path in files.items()}, state

    def files(self, images: int) -> tuple[dict[str, Path], dict[str, Any]]:
        """The files of weights of a checkpoint by name, and its state, after checking them against its manifest."""
        folder = self.path / CHECKPOINTS / f"{images:010d}"
        found = sorted(folder / name for name in check_folder(folder))
        state = parse_json(read_bytes(inside(folder, "state.json")), f"the state of {str(folder)!r}")
        if not isinstance(state, dict):
            raise Refusal(f"the state of {str(folder)!r} is no mapping")
        return {path.stem: path for path in found if path.suffix == ".safetensors"}, state

    def seal(self, images: int) -> str:
        """The SHA-256 of a checkpoint's manifest, which is that of all that is in it."""
        return sha256(self.path / CHECKPOINTS / f"{images:010d}" / MANIFEST)

    def latest(self) -> Iterator[int]:
        """Checkpoints from the newest back, for a reader that skips damaged ones."""
        yield from reversed(self.checkpoints())


def _sealed(text: str) -> str:
    """Text after a comment with its SHA-256: in the first line, because what is cut off is the end."""
    return f"# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _unsealed(path: Path) -> str:
    """The text of a file, refused where it changed after it was sealed.

    One without a seal, written by hand or long ago, is believed.
    """
    text = read_text(path, config.TEXT)
    first, _, body = text.partition("\n")
    # A damaged seal must not pass for none: whatever one byte of it became, half of its digits stand in a row.
    if re.search("[0-9a-f]{30}", first) and text != _sealed(body):
        raise Refusal(
            f"{str(path)!r} is not as it was written: its SHA-256 is another; change settings by --set, or remove its "
            "first line if you have edited it on purpose"
        )
    return text


def images_of(name: str) -> int | None:
    """Images seen at a checkpoint, by the name of its folder; None where that is the name of none."""
    number = int(name) if name.isascii() and name.isdecimal() else -1
    return number if name == f"{number:010d}" else None


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = parse_json(line, "a line of the log")
    except ValueError:  # as a Refusal is
        return None
    return row if isinstance(row, dict) else None


def _beyond(row: Mapping[str, Any], images: int) -> bool:
    seen = row.get("images", 0)
    return isinstance(seen, int | float) and seen > images


def _plain(tree: Any) -> Any:
    """A tree as it is read again, its defaults written out."""
    return filled(config.loads(config.dumps(tree)))
