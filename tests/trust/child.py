"""Processes that train and are killed: one that has imported everything forks one for each job it reads.

A job is a line of JSON on standard input: what to do, in which folder, and where to die. A child dies by SIGKILL, at a
named point or when the server has waited ``after`` seconds. For each job a line comes back: how the child ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trial


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Fault:
    """Dies at the ``count``-th time that a point is passed."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def _moves(name: str, target: Callable[[Path, Path], bool], before: bool = True) -> Callable[[Fault], None]:
    """Die before or after a call of ``os.rename`` or ``os.replace``."""

    def install(fault: Fault) -> None:
        original = getattr(os, name)

        def moved(source: Any, goal: Any, **rest: Any) -> None:
            chosen = target(Path(source), Path(goal)) and fault()
            if chosen and before:
                die()
            original(source, goal, **rest)
            if chosen:
                die()

        setattr(os, name, moved)

    return install


def _calls(module: str, name: str, before: bool = True) -> Callable[[Fault], None]:
    """Die before or after a call of a function."""

    def install(fault: Fault) -> None:
        import importlib

        home: Any = importlib.import_module(module)
        *inside, last = name.split(".")
        for one in inside:
            home = getattr(home, one)
        original = getattr(home, last)

        def called(*arguments: Any, **named: Any) -> Any:
            chosen = fault()
            if chosen and before:
                die()
            found = original(*arguments, **named)
            if chosen:
                die()
            return found

        setattr(home, last, called)

    return install


def _half_manifest(fault: Fault) -> None:
    original = Path.write_bytes

    def written(self: Path, data: bytes) -> int:
        if self.name == "manifest.json" and fault():
            original(self, data[: len(data) // 2])
            die()
        return original(self, data)

    Path.write_bytes = written  # type: ignore[method-assign, assignment]


def _half_weights(fault: Fault) -> None:
    import safetensors.torch

    original = safetensors.torch.save_file

    def saved(tensors: Any, path: Any, *rest: Any) -> None:
        original(tensors, path, *rest)
        if fault():
            os.truncate(path, os.path.getsize(path) // 2)
            die()

    safetensors.torch.save_file = saved


def _half_line(fault: Fault) -> None:
    from mezzotint.training.run import Run

    original = Run.log

    def logged(self: Run, **row: Any) -> None:
        if fault():
            text = json.dumps(row)
            with (self.path / "metrics.jsonl").open("a") as file:
                file.write(text[: len(text) // 2])
            die()
        original(self, **row)

    Run.log = logged  # type: ignore[method-assign]


def _in_evaluation(fault: Fault) -> None:
    """The sums of a training step and of held-out pictures are made by one class: only the second kind dies."""
    from mezzotint.training import preview, recorder

    original = recorder.held_out

    def held_out(*arguments: Any) -> Any:
        if fault():
            preview.ErrorByLevel.add = lambda *_: die()  # type: ignore[method-assign]
        return original(*arguments)

    recorder.held_out = held_out


def _is_checkpoint(source: Path, goal: Path) -> bool:
    return goal.name.isdigit()


def _is(name: str) -> Callable[[Path, Path], bool]:
    return lambda source, goal: goal.name == name


def _in(folder: str, suffix: str) -> Callable[[Path, Path], bool]:
    return lambda source, goal: goal.parent.name == folder and goal.suffix == suffix


FAULTS: dict[str, Callable[[Fault], None]] = {
    "before the config has its name": _moves("replace", _is("config.yaml")),
    "between config and environment": _moves("replace", _is("environment.json")),
    "in a log line": _half_line,
    "in a file of weights": _half_weights,
    "on a half-written manifest": _half_manifest,
    "in flushing": _calls("os", "fsync"),
    "before the rename of a checkpoint": _moves("rename", _is_checkpoint),
    "after the rename of a checkpoint": _moves("rename", _is_checkpoint, before=False),
    "between checkpoint and export": _calls("mezzotint.training.recorder", "export"),
    "before the old model is moved aside": _moves("rename", lambda source, goal: source.name == "model"),
    "when the old model is moved aside": _moves("rename", lambda source, goal: source.name == "model", before=False),
    "before the rename of the model": _moves("rename", _is("model")),
    "after the rename of the model": _moves("rename", _is("model"), before=False),
    "in sampling for pictures": _calls("mezzotint.training.preview", "grid"),
    "before a picture has its name": _moves("replace", lambda source, goal: goal.suffix == ".png"),
    "in the evaluation of held-out pictures": _in_evaluation,
    "before the log is cut back": _moves("replace", _is("metrics.jsonl")),
    "after the log is cut back": _moves("replace", _is("metrics.jsonl"), before=False),
    "in an optimiser step": _calls("torch.optim", "AdamW.step"),
}
"""Where a training dies."""
KEPT: dict[str, dict[str, Callable[[Fault], None]]] = {
    "extractor": {
        "in the training of a kept extractor": _calls("torch.optim", "AdamW.step"),
        "before the rename of a kept extractor": _moves("rename", _is("extractor")),
    },
    "evaluate": {
        "in the samples of mezzotint evaluate": _calls("mezzotint.cli.drawing", "poll"),
        "in the judge of mezzotint evaluate": _calls("torch.optim", "AdamW.step"),
        "before the report of mezzotint evaluate has its name": _moves("replace", _in("reports", ".json")),
    },
    "measure": {
        "in the samples of an arm": _calls("mezzotint.evidence.work", "poll"),
        "between the samples and the numbers of an arm": _moves("replace", _in("cells", ".safetensors"), before=False),
        "before the numbers of an arm have their name": _moves("replace", _in("cells", ".json")),
    },
}
"""Where the building of what is kept beside runs dies, by what builds it."""


def train(job: dict[str, Any]) -> None:
    """Train into the folder, or go on there, telling in a file beside it where it begins and every step."""
    from mezzotint.training import train
    from mezzotint.training.recorder import Recorder

    told = os.open(job["told"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    after = Recorder.after

    resume = Recorder.resume

    def begins(self: Recorder, place: Any) -> None:
        resume(self, place)
        os.write(told, f"from {place.step}\n".encode())

    def tells(self: Recorder, step: int, *rest: Any) -> None:
        after(self, step, *rest)
        os.write(told, f"{step}\n".encode())

    Recorder.resume, Recorder.after = begins, tells  # type: ignore[method-assign]
    try:
        train(job["config"], job["folder"], resume=job["resume"])
    finally:
        Recorder.resume, Recorder.after = resume, after  # type: ignore[method-assign]
        os.close(told)


def extractor(job: dict[str, Any]) -> None:
    """Train the judge that is kept beside a run, unless it is there."""
    from mezzotint.data import Digits
    from mezzotint.metrics import Extractor

    home = Path(job["folder"])
    if not home.is_dir():
        x, cond = Digits()[:256]
        Extractor.train(x, cond["label"], seen=512).save(home)
    Extractor.load(home)


def evaluate(job: dict[str, Any]) -> None:
    """Judge a run by a handful of pictures, with a judge that has seen little."""
    from functools import partial

    from mezzotint.cli import main
    from mezzotint.metrics import Extractor

    made = Extractor.train
    Extractor.train = partial(made, seen=512)  # type: ignore[method-assign]
    try:
        words = [
            "--count",
            "16",
            "--batch",
            "8",
            "--rows",
            "8",
            "--steps",
            "1",
            "--out",
            f"{job['folder']}/reports/few.json",
        ]
        code = main(["evaluate", job["folder"], *words])
    finally:
        Extractor.train = made  # type: ignore[method-assign]
    if code:
        raise SystemExit(code)


def measure(job: dict[str, Any]) -> None:
    """Train for one arm of a recipe and keep its numbers."""
    from mezzotint.evidence.load import load
    from mezzotint.evidence.recipe import Setting
    from mezzotint.evidence.work import Work

    found = load(str(Path(__file__).parent.parent / "evidence" / "mine.py"))
    experiment = found.recipe.sizes["small"]
    setting = Setting(experiment.setting).edited(["images=640", "samples=8", "batch=4"])
    work = Work(experiment, "small", setting, found.code, Path(job["folder"]))
    work.fit(work.arms["short"].trainings["model"], 1, lambda share: None)
    work.measure("short", 1, lambda share: None)


def pair(job: dict[str, Any]) -> None:
    """Train on two processes, of which the second alone is sent a SIGTERM in the third step; both must end by it."""
    from accelerate.state import AcceleratorState, PartialState

    from mezzotint.training import trainer

    AcceleratorState._reset_state(True)
    PartialState._reset_state()
    os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job["port"])}
    other = os.fork()
    rank = int(other == 0)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    if rank:
        agreed, steps = trainer.agreed, [0]

        def counted(*arguments: Any) -> Any:
            steps[0] += 1
            if steps[0] == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return agreed(*arguments)

        trainer.agreed = counted
    try:
        train(job | {"told": f"{job['told']}{rank}"})
    except SystemExit as stop:
        print(f"{rank}: {stop}", flush=True)
        if rank:
            os._exit(int(stop.code or 0))
        ended = os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])
        raise SystemExit(stop.code if ended == stop.code else 1) from None


def run(job: dict[str, Any]) -> int:
    """Do a job in this process; its exit code."""
    from mezzotint.core.errors import Refusal

    if job.get("fault") is not None:
        (FAULTS | KEPT.get(job["do"], {}))[job["fault"]](Fault(job["count"]))
    does = {"train": train, "extractor": extractor, "evaluate": evaluate, "measure": measure, "pair": pair}
    try:
        does[job["do"]](job)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 2
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def serve() -> None:
    """Fork a process for every line; what libraries import at their first use is imported before."""
    import torch

    import mezzotint.training.start  # noqa: F401
    from mezzotint.data import Digits
    from mezzotint.metrics import Extractor  # noqa: F401

    torch.set_num_threads(1)
    Digits()[:]
    with tempfile.TemporaryDirectory() as home, trial.few():
        train({"folder": f"{home}/run", "told": f"{home}/told", "config": trial.config(1), "resume": False})
        _serve()


def _serve() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            heard = os.open(job["heard"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(heard, 1)
            os.dup2(heard, 2)
            code = 1
            try:
                code = run(job)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        if job.get("after") is not None:
            time.sleep(job["after"])
            os.kill(child, signal.SIGKILL)  # ours, and not waited for yet: the number is still its own
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"ended": status, "seconds": time.monotonic() - start}), flush=True)


if __name__ == "__main__":
    serve()
