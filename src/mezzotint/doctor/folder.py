"""Whether what lies in a run folder is whole, and whether there is room for more."""

from __future__ import annotations

import shutil
from pathlib import Path

from mezzotint.core.errors import Refusal
from mezzotint.core.store import check_folder
from mezzotint.doctor.finding import Finding, Unknown
from mezzotint.training.run import CHECKPOINTS, Run, images_of

_ROOM = 2


def broken(run: Run) -> dict[int, str]:
    """What is wrong with each checkpoint that is not whole, by images seen."""
    found: dict[int, str] = {}
    for folder in sorted((run.path / CHECKPOINTS).iterdir()):
        images = images_of(folder.name)
        if images is not None and folder.is_dir():
            try:
                check_folder(folder)
            except Refusal as refusal:
                found[images] = str(refusal)
    return found


def checkpoints(run: Run, bad: dict[int, str], name: str) -> list[Finding]:
    """Checkpoints that are damaged or cut short.

    Arguments:
        run: the run.
        bad: what :func:`broken` says.
        name: the folder, as it is written on a command line.
    """
    whole = [images for images in run.checkpoints() if images not in bad]
    if not bad:
        return []
    newest = max(bad)
    many = f"{len(bad)} checkpoint{'s are' if len(bad) > 1 else ' is'} damaged: {bad[newest]}"
    if not whole:
        return [
            Finding(
                "checkpoint damaged", "wrong", f"{many}; none is whole", f"mezzotint train {name} --out {name}-again"
            )
        ]
    if newest > whole[-1]:
        seen = f"{many}; the newest whole one is that of {whole[-1]:,} images"
        return [Finding("checkpoint damaged", "wrong", seen, f"mezzotint train {name} --resume")]
    folder = Path(name) / CHECKPOINTS / f"{newest:010d}"
    return [Finding("checkpoint damaged", "warning", f"{many}; newer ones are whole", f"rm -r {folder}")]


def model(run: Run, name: str) -> list[Finding]:
    """A damaged export."""
    if not (run.path / "model").is_dir():
        raise Unknown("nothing was exported yet")
    try:
        check_folder(run.path / "model")
    except Refusal as refusal:
        return [
            Finding(
                "export damaged",
                "wrong",
                f"model/ is not what was written: {refusal}",
                f"mezzotint train {name} --resume",
            )
        ]
    return []


def room(run: Run, name: str, free: int | None = None) -> list[Finding]:
    """Too little room for the next checkpoints.

    Arguments:
        run: the run.
        name: the folder, as it is written on a command line.
        free: bytes; None: what the disk says.
    """
    done = [run.path / CHECKPOINTS / f"{images:010d}" for images in run.checkpoints()]
    if not done:
        raise Unknown("there is no checkpoint to measure")
    size = sum(file.stat().st_size for file in done[-1].iterdir())
    free = shutil.disk_usage(run.path).free if free is None else free
    if free >= _ROOM * size:
        return []
    seen = f"{free / 2**20:,.1f} MiB are free where the run lies, and a checkpoint takes {size / 2**20:,.1f}"
    oldest = Path(name) / CHECKPOINTS / done[0].name
    return [Finding("little disk", "warning", seen, f"rm -r {oldest}, or move the run")]
