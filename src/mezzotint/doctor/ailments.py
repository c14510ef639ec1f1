"""What can ail a run: every check of a patient, by name.

The rules are in :mod:`mezzotint.doctor.logs`, :mod:`~mezzotint.doctor.folder`, :mod:`~mezzotint.doctor.weights` and
:mod:`~mezzotint.doctor.levels`, each a function of what it judges; here they are given what the run has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.store import load_tensors
from mezzotint.doctor import folder, levels, logs, weights
from mezzotint.doctor.finding import Examination, Finding, Unknown
from mezzotint.doctor.patient import Patient
from mezzotint.objectives.beside import innermost
from mezzotint.training.order import Order

_REPLAYED = 4


def examine(path: str | Path, data: bool = True) -> tuple[Examination, list[levels.Level]]:
    """Every check of a run folder, and its error by level (empty where that cannot be measured).

    Arguments:
        path: of the folder.
        data: whether the data set that its config names may be read; what needs it is not checked otherwise.
    """
    it = Patient(path, data)
    found = Examination.of({name: lambda check=check: check(it) for name, check in CHECKS.items()}, Refusal)  # type: ignore[misc]
    try:
        return found, it.table
    except Exception:  # the checks that need it have said why
        return found, []


def export(it: Patient) -> list[Finding]:
    """Whether model/ is whole, and the average it should be."""
    found = folder.model(it.run, it.name)
    if found:
        return found
    kept = load_tensors(it.run.path / "model" / "model.safetensors")
    return weights.exported(it.newest[0][it.averages[0]], kept, it.averages[0], it.name)


def averages(it: Patient) -> list[Finding]:
    """Averages that never moved, from the start or from the checkpoint before."""
    tensors, _ = it.newest
    mine = {name: tensors[name] for name in it.averages}
    before: list[tuple[str, Mapping[str, Mapping[str, Tensor]]]] = []
    try:
        before.append(("the start", {name: it.beginning for name in ("model", *mine)}))
    except (Refusal, Unknown):  # a model of a package that is not here
        pass
    before += [(f"{images:,} images", it.checkpoint(images)[0]) for images in it.whole[-2:-1]]
    return weights.dead(mine, tensors["model"], before, it.name)


def pictures(it: Patient) -> list[Finding]:
    """Training pictures that are not finite, in the batches of the first skipped steps."""
    skipped = [row for row in it.rows if row.get("event") == "skipped"]
    if not skipped:
        return []
    order, batch = Order(len(it.data), it.trainer.seed), it.trainer.batch
    for row in skipped[:_REPLAYED]:
        rows = order.at(int(row["images"]) - batch, batch)
        bad = rows[~it.data[rows][0].flatten(1).isfinite().all(1).numpy()]
        if len(bad):
            seen = f"the step that ended at {row['images']:,} images was given pictures that are not finite: number "
            seen += f"{', '.join(map(str, bad[:5]))} of the training set"
            return [Finding("picture not finite", "wrong", seen, "take them out of the data set, and train anew")]
    return []


def null(it: Patient) -> list[Finding]:
    """A null that was never trained, or is as good as that."""
    loss, _ = innermost(it.config["training"]["objective"])
    never = weights.unheard(it.average, it.data[:1][1].families, it.name, loss)
    return never or levels.garbage(it.table, it.average.nulls, it.name, loss)


def skips(it: Patient) -> list[Finding]:
    """Steps that were skipped."""
    names = ("precision", "patience", "batch")
    trainer = {name: getattr(it.trainer, name) for name in names} | {"rate": it.trainer.rate.peak}
    return logs.skips(it.rows, it.name, trainer, it.finished, dict(_terms(it.config["training"], "training")))


def _terms(tree: Any, path: str) -> Iterator[tuple[str, float]]:
    """Every number called ``weight`` in a part of a config, by its path."""
    for name, value in tree.items() if isinstance(tree, Mapping) else ():
        if name == "weight" and isinstance(value, (int, float)):
            yield f"{path}.weight", float(value)
        yield from _terms(value, f"{path}.{name}")


def settings(it: Patient) -> list[Finding]:
    """A model or settings of training that cannot be made from the config: most checks then know too little."""
    found, asked = [], dict[str, Callable[[], object]](model=it.measure, training=lambda: it.trainer)
    for entry, ask in asked.items():
        try:
            ask()
        except Exception as reason:
            seen = f"the entry {entry} of its config cannot be used: {str(reason).partition(chr(10))[0]}"
            fix = f"put {entry} in {it.name}/config.yaml right, or install the package that its parts are of"
            found.append(Finding("settings unreadable", "warning", seen, fix))
    return found


def caused(it: Patient) -> None:
    """Refuse to judge errors whose cause another check has named: longer training would not mend them."""
    for name in ("weights", "averages", "loss"):
        try:
            found = CHECKS[name](it)
        except (Refusal, Unknown):
            continue
        if found:
            raise Unknown(f"{found[0].name}: mend that first, it shows here too")


def learnt(it: Patient) -> list[Finding]:
    """Whether anything was learnt, and more than two moments; of a model that repeats its pictures, only the first."""
    caused(it)
    found = levels.unlearnt(it.table, it.name, it.images, it.rate, it.steps, it.trainer.rate.peak)
    try:
        by_heart = levels.memorised(it.table, it.name, it.images)
    except Unknown:
        by_heart = []
    return [finding for finding in found if not by_heart or finding.severity == "wrong"]


def behind(it: Patient) -> list[Finding]:
    """An average that is worse than the weights it averages."""
    caused(it)
    longer = f"mezzotint train {it.name} --resume --images {2 * it.images}"
    return levels.behind(it.table, it.averages[0], longer)


CHECKS: Mapping[str, Callable[[Patient], list[Finding]]] = {
    "settings": settings,
    "log": lambda it: logs.readable(lambda: it.lines, it.name),
    "checkpoints": lambda it: folder.checkpoints(it.run, it.broken, it.name),
    "export": export,
    "disk": lambda it: folder.room(it.run, it.name),
    "skipped steps": skips,
    "pictures": pictures,
    "weights": lambda it: weights.not_finite(it.newest[0], it.name),
    "averages": averages,
    "loss": lambda it: logs.diverging(it.rows, it.name, it.trainer.rate.peak, it.trainer.clip),
    "levels": learnt,
    "average": behind,
    "memory": lambda it: levels.memorised(it.table, it.name, it.images),
    "null": null,
    "data loop": lambda it: logs.waiting(it.rows, it.name, it.trainer.workers, os.cpu_count() or 1, it.finished),
}
"""The checks of a run by name, in their order."""
