"""A worker: one process with one thread, doing tasks of one experiment as they are told to it.

Lines of JSON come in on standard input, the first saying which experiment, each further one a task; lines of JSON go
out. Where standard input ends, whoever asked is gone, and so is the worker: work that goes on unseen would meet its
successor.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

EVERY = 0.02
"""Progress is told at every fiftieth of a task."""


def main() -> None:
    """Serve until standard input ends."""
    told: queue.Queue[str] = queue.Queue()
    source, out = sys.stdin, os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print is not for whoever reads our lines

    def listen() -> None:
        for line in source:
            told.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    first = json.loads(told.get())
    try:
        serve = _experiment(first)
    except Exception as error:
        _answer(out, {"failed": _said(error)})
        return
    _answer(out, {"ready": os.getpid()})
    while True:
        task = json.loads(told.get())
        shown = [0.0]

        def tell(share: float, shown: list[float] = shown) -> None:
            if share - shown[0] >= EVERY:
                shown[0] = share
                _answer(out, {"share": share})

        try:
            _answer(out, {"done": serve(task, tell)})
        except Exception as error:
            _answer(out, {"failed": _said(error)})


def _experiment(first: dict[str, Any]) -> Callable[[dict[str, Any], Callable[[float], None]], Any]:
    """What does the tasks of an experiment."""
    import torch

    from mezzotint.core.errors import Refusal
    from mezzotint.evidence import keys
    from mezzotint.evidence.estimate import time_arm, time_training
    from mezzotint.evidence.load import load
    from mezzotint.evidence.recipe import Setting, Trained
    from mezzotint.evidence.work import Work

    torch.set_num_threads(1)
    loaded = load(first["origin"])
    if [loaded.code, keys.package()] != first["code"]:
        raise Refusal("the code has changed since this run began: start it again, and what is still valid is kept")
    experiment = loaded.recipe.at(first["size"])
    assert isinstance(experiment, Trained)
    setting = Setting(experiment.setting).edited(first["changes"])
    work = Work(experiment, first["size"], setting, loaded.code, Path(first["folder"]))

    def serve(task: dict[str, Any], tell: Callable[[float], None]) -> Any:
        match task["do"]:
            case "judge":
                work.judged()
            case "fit":
                work.fit(work.training(task["arm"], task["training"]), task["seed"], tell)
            case "draw":
                work.measure(task["arm"], task["seed"], tell)
            case "time fit":
                return time_training(work, work.training(task["arm"], task["training"]))
            case "time draw":
                return time_arm(work, task["arm"])
        return None

    return serve


def _said(error: Exception) -> dict[str, Any]:
    from mezzotint.core.errors import Refusal

    return {
        "refusal": str(error) if isinstance(error, Refusal) else None,
        "error": f"{type(error).__name__}: {error}".rstrip(": "),
        "places": [f"{one.filename}:{one.lineno} in {one.name}" for one in traceback.extract_tb(error.__traceback__)],
    }


def _answer(out: TextIO, value: Any) -> None:
    out.write(json.dumps(value) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
