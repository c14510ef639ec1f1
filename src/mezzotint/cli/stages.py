"""``mezzotint show`` of a cascade: its stages, what each is told and takes, and how far each is trained."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mezzotint.cascades.folder import FILE, Member, check, read
from mezzotint.cli.console import emit, number, printable, table
from mezzotint.cli.results import Result
from mezzotint.cli.source import is_run
from mezzotint.core import config
from mezzotint.core.blueprint import blueprint
from mezzotint.core.errors import Refusal
from mezzotint.core.store import MODEL, model_config
from mezzotint.training.run import Run


@dataclass(frozen=True)
class Standing:
    """A stage and how far it is.

    Arguments:
        member: what the folder says of it.
        parameters: of its model, 0 where there is none yet.
        result: of its run, None where there is none, or a model alone.
    """

    member: Member
    parameters: int = 0
    result: Result | None = None

    def row(self) -> tuple[str, ...]:
        """For people."""
        member, result = self.member, self.result
        takes = printable(", ".join(f"{family} of {name}" for family, name in member.takes.items())) or "-"
        handed = (
            "-" if not member.takes else "as drawn" if member.augment is None else f"at level {member.level or 0:g}"
        )
        unseen = "not known" if self.parameters else "not begun"  # a model folder says nothing of its training
        seen = unseen if result is None else f"{result.images:,} of {max(result.total or 0, result.images):,}"
        size = " x ".join(map(str, member.shape[1:]))
        told = printable(", ".join(member.told)) or "-"
        held = number(None if result is None else result.held_out)
        return (printable(member.name), size, f"{self.parameters:,}", seen, held, told, takes, handed)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        found = {} if self.result is None else self.result.plain()
        return {**self.member.plain(), "parameters": self.parameters, "run": found or None}


def show(path: str, as_json: bool, parameters: int, recipe: bool = False) -> int:
    """Print what the cascade in a folder is; stages that do not fit together are said last."""
    members = read(path)
    if recipe:
        tree = config.load(Path(path) / "recipe.yaml")
        emit(tree) if as_json else print(config.dumps(tree), end="")
        return 0
    standing = [_standing(path, member, parameters) for member in members]
    try:
        check(path, members, parameters)
        wrong = None
    except Refusal as refusal:
        wrong = str(refusal)
    if as_json:
        emit({"what": path, "kind": "a cascade", "stages": [one.plain() for one in standing], "wrong": wrong})
        return 0
    total = sum(one.parameters for one in standing)
    begun = sum(one.result is not None or one.parameters > 0 for one in standing)
    far = "" if begun == len(standing) else f" in the {begun} that have begun"
    print(f"{path}: a cascade of {len(members)} stages, {total:,} parameters{far}\n")
    head = ("stage", "size", "parameters", "images seen", "held out", "told", "takes", "handed over")
    print(table(head, [one.row() for one in standing], 2))
    first = shlex.quote(str(Path(path) / members[0].folder))
    print(f"\n{FILE} says all this and may be edited; mezzotint show {printable(first)} tells more of a stage")
    if wrong is not None:
        print(f"it cannot be sampled yet: {printable(wrong)}")
    return 0


def _standing(path: str, member: Member, parameters: int) -> Standing:
    place = str(Path(path) / member.folder)
    run = Run.open(place) if is_run(place) else None
    try:
        tree = model_config(place) if run is None else run.config
    except Refusal:  # nothing is there yet; what else is wrong is said beneath the table
        return Standing(member)
    model: Any = blueprint(tree["model"], MODEL, parameters)
    return Standing(member, sum(p.numel() for p in model.parameters()), None if run is None else Result.read(run))


def judge(path: str) -> Refusal:
    """What ``mezzotint evaluate`` says of a cascade."""
    last = shlex.quote(str(Path(path) / read(path)[-1].folder))
    return Refusal(
        f"{path!r} is a cascade, and evaluate judges one model: mezzotint evaluate {last} judges its last stage on "
        f"true small pictures, and mezzotint sample {shlex.quote(path)} --seeds 0-999 --npz drawn.npz draws what the "
        "measures of mezzotint.metrics judge from Python"
    )
