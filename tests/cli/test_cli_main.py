"""The command itself: verbs, help, exit codes, what machines read."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mezzotint.cli.main import VERBS

Command = Callable[..., Any]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_quick_and_whole(verb: str) -> None:
    """At most 0.5 s of work, the best of a few: what the machine does beside it is not the command's doing."""
    seconds: list[float] = []
    while len(seconds) < 8 and min(seconds, default=1.0) > 0.5:
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = [sys.executable, "-m", "mezzotint", verb, "--help"]
        said = subprocess.run(words, capture_output=True, text=True, check=False)
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(end.ru_utime - start.ru_utime + end.ru_stime - start.ru_stime)
        assert said.returncode == 0 and not said.stderr
    assert min(seconds) <= 0.5, seconds
    assert f"usage: mezzotint {verb}" in said.stdout and "examples:" in said.stdout and "--json" in said.stdout
    assert f"  mezzotint {verb}" in said.stdout and "about-this-verb" not in said.stdout


def test_help_of_a_verb_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom mezzotint.cli import main\n"
        f"for verb in {list(VERBS)}:\n    assert main([verb, '--help']) == 0\n"
        "print(sorted({'typeguard', 'torch', 'numpy', 'PIL', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[]"


def test_the_bare_command_explains_itself(command: Command) -> None:
    said = command()
    assert said.code == 0 and all(f"\n  {verb} " in said.out for verb in VERBS) and "exit codes" in said.out
    assert command("--version").out.startswith("mezzotint 0.")


def test_an_unknown_verb_names_the_nearest(command: Command) -> None:
    assert command("smaple").sentence == "there is no verb 'smaple': did you mean 'sample'?"
    assert "verbs: demo, train" in command("xyzzy").sentence


def test_a_misspelt_flag(command: Command) -> None:
    said = command("sample", "run", "--stesp", "4")
    assert said.code == 2 and "--stesp" in said.err and "--steps" in said.err and "Traceback" not in said.err


def test_errors_for_machines(command: Command, tmp_path: Path) -> None:
    wrong = ("smaple", f"show {tmp_path / 'none'}", "sample run --stesp 4", "sample run --steps x", "sample --label")
    for words in wrong:
        said = command(*words.split(), "--json")
        error = json.loads(said.err)
        assert said.code == 2 and not said.out and error["code"] == 2 and error["error"]
        assert "  " not in error["error"] and "---" not in error["error"]


def test_every_verb_speaks_json(command: Command, digits: Path, cats: Path, tmp_path: Path) -> None:
    assert command("train", "digits", "--dry-run", "--json").json["model"]["part"] == "denoiser.Preconditioned"
    assert command("show", digits, "--json").json["images"] == 512
    assert command("show", "digits", "--json").json["data"] == {"part": "data.Digits", "split": "train"}
    listed = command("runs", "list", digits.parent, "--json").json
    assert {str(digits), str(cats)} <= {entry["run"] for entry in listed}
    compared = command("runs", "compare", digits, cats, "--json").json
    assert compared["settings"]["training.images"] == [512, 128] and compared["numbers"]["images"] == [512, 128]
    made = command("sample", digits, "--out", tmp_path / "a.png", "--seeds", "0", "--json").json
    assert made["count"] == 10 and made["written"] == [str(tmp_path / "a.png")]


def test_the_disk_is_refused_in_one_sentence(command: Command, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "a.png"
    assert "the disk refused" in command("sample", digits, "--seeds", "0", "--out", out).sentence
    assert "is a file" in command("train", "digits", "--out", tmp_path / "file", "--width", 8).sentence
    assert (tmp_path / "file").read_text() == "mine"
