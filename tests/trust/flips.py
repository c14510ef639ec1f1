"""Flipping bytes of a folder, one at a time: is each one noticed?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mezzotint.core.errors import Refusal
from mezzotint.core.folder import MANIFEST, check_folder
from mezzotint.training.run import Run


def places(folder: Path, most: int) -> Iterator[tuple[Path, int]]:
    """Every byte of the manifest and of small files; of larger ones ``most``, the first and last ones among them."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = file.stat().st_size
        if file.name == MANIFEST or size <= most:
            yield from ((file, at) for at in range(size))
        else:
            edge = most // 4
            step = max(1, (size - 2 * edge) // (most - 2 * edge))
            inside = list(range(edge, size - edge, step))[: most - 2 * edge]
            yield from ((file, at) for at in (*range(edge), *inside, *range(size - edge, size)))


def flipped(file: Path, at: int, mask: int) -> Callable[[], None]:
    """Change a byte in place; calling the answer changes it back."""

    def flip() -> None:
        with file.open("r+b") as opened:
            opened.seek(at)
            byte = opened.read(1)[0]
            opened.seek(at)
            opened.write(bytes([byte ^ mask]))

    flip()
    return flip


def noticed(folder: Path) -> bool:
    """Whether a folder, or the config of a run, is refused."""
    try:
        if (folder / "checkpoints").is_dir():
            _ = Run(folder).config
        else:
            check_folder(folder)
    except Refusal:
        return True
    return False


def detected(folder: Path, most: int, masks: Callable[[Path, int], tuple[int, ...]]) -> tuple[int, list[str]]:
    """How many flips were tried, and those that nobody noticed.

    Arguments:
        folder: with a manifest, whole.
        most: bytes to flip of a large file.
        masks: of a file and a place in it, what to flip its bits with.
    """
    assert not noticed(folder)
    tried, missed = 0, []
    config = folder / "config.yaml"  # all of a run that is read when it goes on and lies in no folder with a manifest
    run = [(config, at) for at in range(config.stat().st_size)] if (folder / "checkpoints").is_dir() else None
    for file, at in places(folder, most) if run is None else run:
        for mask in masks(file, at):
            back = flipped(file, at, mask)
            tried += 1
            if not noticed(folder):
                missed.append(f"{file.name} at {at} with {mask:#04x}")
            back()
    assert not noticed(folder)
    return tried, missed


SPACE = ord(" ") ^ ord("\n")
"""What makes another white space of a blank or a line end: the JSON says the same afterwards."""


def usual(file: Path, at: int) -> tuple[int, ...]:
    """Two bits of the manifest, others at every place, and its white space; one bit elsewhere."""
    return (1 << at % 8, 1 << (at + 3) % 8, SPACE) if file.name == MANIFEST else (1 << at % 8,)


def every(file: Path, at: int) -> tuple[int, ...]:
    """Every other value of a byte of the manifest; every bit elsewhere."""
    return tuple(range(1, 256)) if file.name == MANIFEST else tuple(1 << bit for bit in range(8))
