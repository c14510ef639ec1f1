"""A run folder that somebody broke, or made to break who looks at it: every answer is a finding or a reason."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mezzotint.cli import main
from mezzotint.core import Refusal
from mezzotint.doctor import ailments
from mezzotint.doctor.finding import Examination, Finding
from mezzotint.doctor.levels import Level, unlearnt
from mezzotint.training import Run
from mezzotint.training.run import LOG


def config(change: Callable[[str], str]) -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        before = (run / "config.yaml").read_text().partition("\n")[2]  # a stranger seals what he likes
        (run / "config.yaml").write_text(change(before))
        assert (run / "config.yaml").read_text() != before

    return harm


def line(text: bytes) -> Callable[[Path], None]:
    """A line in the middle of the log."""

    def harm(run: Path) -> None:
        first, rest = (run / "metrics.jsonl").read_bytes().split(b"\n", 1)
        (run / "metrics.jsonl").write_bytes(b"\n".join([first, text, rest]))

    return harm


def said(**row: object) -> bytes:
    return json.dumps(row).encode()


def hole(run: Path) -> None:
    with (run / "metrics.jsonl").open("ab") as file:
        file.truncate(3 * 2**30)


def squared(run: Path) -> None:
    (run / "checkpoints" / "²").mkdir()
    shutil.copy(run / "checkpoints" / "0000006400" / "manifest.json", run / "checkpoints" / "²")


def piped(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    os.mkfifo(run / "metrics.jsonl")


def without_training(text: str) -> str:
    return text[: text.index("training:")]


HARMS: dict[str, tuple[Callable[[Path], None], str, str]] = {  # what was done, what is found, which check cannot tell
    "no training": (config(without_training), "settings unreadable", "skipped steps"),
    "batch of none": (config(lambda text: text.replace("batch: 64", "batch: 0")), "settings unreadable", "loss"),
    "wide": (
        config(lambda text: text.replace("width: 48", "width: 1000000")), "settings unreadable", "levels: more than 2,0"
    ),
    "model that reads": (
        config(lambda text: text.replace("part: networks.MLP", "part: data.Arrays", 1)),
        "settings unreadable",
        "levels: data.Arrays",
    ),
    "list": (line(b"[1, 2]"), "log damaged", ""),
    "deep": (line(b"[" * 100_000), "log damaged", ""),
    "deep mapping": (line(b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"), "log damaged", ""),
    "no text": (line(b"\xff\xfe"), "log damaged", ""),
    "images in words": (line(said(images="x", loss=0.5, waiting=0.9)), "", "levels"),
    "skip of nothing": (line(said(event="skipped")), "not finite", "pictures"),
    "hole": (hole, "log unreadable", "loss"),
    "pipe": (piped, "", "loss"),
    "a number that is none": (squared, "", ""),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_it_is_found_or_cannot_be_told(harm: str, ill: Run, capsys: pytest.CaptureFixture[str]) -> None:
    done, name, unknown = HARMS[harm]
    done(ill.path)
    start = time.process_time()
    code = main(["doctor", str(ill.path), "--json", "--no-data"])
    out = capsys.readouterr()
    told = json.loads(out.out)
    assert not out.err and time.process_time() - start < 5
    assert [finding["name"] for finding in told["findings"]] == ([name] if name else [])
    check, _, reason = unknown.partition(": ")
    assert code == (4 if name else 0) and (not check or reason in told["unknown"][check])
    assert len(told["checked"]) + len(told["unknown"]) == len(ailments.CHECKS)
    assert all("\n" not in why for why in told["unknown"].values())


def test_a_level_that_is_none(ill: Run) -> None:
    """Here the data are read: only the table looks at the levels of the log."""
    line(said(images=1, levels=[{"low": 5, "count": 1, "error": 1.0}]))(ill.path)
    examined, table = ailments.examine(ill.path)
    assert not table and examined.unknown["levels"].startswith("IndexError: ") and "loss" in examined.checked


def test_data_are_read_unless_they_are_to_be_left_alone(ill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mezzotint.data import Arrays

    read: list[str] = []
    real = Arrays.__post_init__
    monkeypatch.setattr(Arrays, "__post_init__", lambda self: (read.append(self.path), real(self))[1])
    examined, table = ailments.examine(ill.path, data=False)
    assert not read and not table and examined.unknown["levels"] == "the data were left alone, as asked"
    assert {"export", "weights", "averages", "loss", "checkpoints"} <= set(examined.checked)
    assert ailments.examine(ill.path)[1] and read


def test_any_other_exception_of_a_check_is_a_reason() -> None:
    def breaks() -> list[Finding]:
        raise ZeroDivisionError("division by zero\nand more")

    found = Examination.of({"one": breaks, "two": lambda: []})
    assert found.unknown == {"one": "ZeroDivisionError: division by zero"} and found.checked == ("two",)


def test_a_broken_line_is_told_and_kept_and_a_cut_one_is_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for images in (64, 128, 192):
        run.log(images=images, loss=0.5)
    rows = run.metrics()
    line(b'{"images": 70, "lo\xff')(run.path)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"images": 256, "loss"')
    assert run.metrics() == rows and [row is None for _, row in run.lines()] == [False, True, False, False]
    run.forget_after(128)
    assert run.metrics() == rows[:2] and [row is None for _, row in run.lines()] == [False, True, False]
    assert (run.path / "metrics.jsonl").read_text() == (
        '{"images": 64, "loss": 0.5}\n{"images": 70, "lo\ufffd\n{"images": 128, "loss": 0.5}\n'
    )


def test_a_log_without_an_end_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "metrics.jsonl").open("wb") as file:
        file.truncate(LOG)
    assert Run(tmp_path).path == tmp_path
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.truncate(LOG + 1)
    with pytest.raises(Refusal, match="longer than 268,435,456 bytes"):
        Run(tmp_path).metrics()


def row(share: float, model: float) -> Level:
    return Level(0.5, share, 1.0, 1.0, 0.5, model, model, None, model, None, None)


def test_levels_that_training_hardly_drew_are_not_judged() -> None:
    """One draw in fifty is the bound: a model may be as bad as it likes where it was hardly ever asked."""
    good = [row(0.3, 0.4)] * 3
    assert not unlearnt([*good, row(0.019, math.inf)], "run", 100, 1e-3, 10, 1e-3)
    assert unlearnt([*good, row(0.021, 5.0)], "run", 100, 1e-3, 10, 1e-3)[0].name == "worse than linear"


def test_a_line_with_another_key_is_no_line(ill: Run) -> None:
    """What one changed byte makes of a key is still JSON."""
    line(said(images=1, levels=[{"mow": 0.5, "count": 1, "error": 1.0}]))(ill.path)
    examined, table = ailments.examine(ill.path)
    assert table and "log damaged" in [finding.name for finding in examined.findings]
