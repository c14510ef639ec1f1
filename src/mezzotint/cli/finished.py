"""What came of a training, and how to go on from it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mezzotint.cli.console import duration, emit, note, number
from mezzotint.cli.flags import changes_of

if TYPE_CHECKING:
    from mezzotint.cli.train import Train
    from mezzotint.training.run import Run


def finish(args: Train, done: Run, folder: str, seconds: float) -> None:
    """Say what came of it and how to go on."""
    from mezzotint.cli.codes import is_autoencoder
    from mezzotint.cli.results import Result
    from mezzotint.core import config

    result = Result.read(done)
    if args.images is not None and config.count(args.images) + done.config["training"]["batch"] <= result.images:
        note(f"the run has seen {result.images:,} images before, more than --images {args.images}: nothing was trained")
    quoted = shlex.quote(folder)
    text = result.picture is not None and result.picture.endswith(".txt")
    back = is_autoencoder(done.config["model"])  # it draws nothing
    if back:
        first = f"mezzotint train {shlex.join(_same_pictures(args, done.config['data']))} --codes {quoted}"
    else:
        first = f"mezzotint sample {quoted} --out {shlex.quote(folder.rstrip('/') + ('.txt' if text else '.png'))}"
    commands = {
        "learn" if back else "sample": first,
        "judge": f"mezzotint evaluate {quoted}",
        "look": f"mezzotint show {quoted}",
        "go on": f"mezzotint train {quoted} --resume --images {2 * result.images}{_phases(done, 2 * result.images)}",
    }
    if args.json:
        emit({"run": folder, "seconds": seconds, **result.plain(), "next": commands})
        return
    print(f"{folder}: {result.images:,} images in {duration(seconds)}", end="")
    print(f", loss {number(result.loss)}, on held-out {'texts' if text else 'pictures'} {number(result.held_out)}")
    if result.picture is not None:
        shown = "texts of fixed seeds" if text else "a grid of fixed seeds"
        print(f"{'held-out pictures above what comes back of them' if back else shown}: {result.picture}")
    onwards(commands)


def _phases(done: Run, images: int) -> str:
    """What keeps the phases of a run where they were, when it goes on for more images."""
    from mezzotint.training.phase import kept

    return "".join(f" --set {edit}" for edit in kept(done.config["training"], images))


def onwards(commands: Mapping[str, str]) -> None:
    """Print what may be done next."""
    print("\nto go on:")
    for what, command in commands.items():
        print(f"  {what:<8} {command}", flush=True)


def _same_pictures(args: Train, data: Mapping[str, Any]) -> list[str]:
    """The words that name the pictures of a run, and read them at the size that its model knows."""
    from mezzotint.cli.source import FLAGS, is_recipe, written

    size = ["--size", str(data["size"])] if isinstance(data.get("size"), int) else []
    if is_recipe(args.what) and set(written(args.what)) != {"data"}:  # which says what is trained: it takes no --codes
        return ["PICTURES", *size]
    words = [args.what, *(size if args.size or args.resume else [])]
    for name in ("held_out", *FLAGS.values()):
        told = getattr(args, name)
        if told:
            words += [
                f"--{name.replace('_', '-')}",
                *(map(str, told) if isinstance(told, tuple | list) else [str(told)]),
            ]
    if args.skip_broken:
        words.append("--skip-broken")
    changes = [one for one in changes_of(args.set) if one.lstrip().startswith("data.")]
    return [*words, *(["--set", *changes] if changes else [])]
