"""The verb: what it prints, what machines read, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mezzotint.cli import main
from mezzotint.doctor.traps import CHECKS
from mezzotint.training import Run


def test_a_healthy_run(healthy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(healthy.path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{healthy.path}: healthy (15 checks)\n") and "fix:" not in out
    assert all(f"\n0.{level}5   |" in out for level in range(10)) and max(map(len, out.splitlines())) <= 110


def test_findings_for_people_and_machines(ill: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The worst first, each with its fix; the document has the same findings and the table."""
    tensors, state = ill.load(12_800)
    tensors["model"]["encoder.parts.label.null"] = torch.full((16,), float("inf"))
    ill.save(12_800, tensors, state)
    with (ill.path / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"images": 12_800, "event": "skipped", "where": "the gradient of model.a"}) + "\n")
    assert main(["doctor", str(ill.path)]) == 4
    out = capsys.readouterr().out
    assert f"{ill.path}: 2 findings (13 of 15 checks)" in out and out.count("fix: mezzotint train") == 2
    assert out.index("wrong     weights not finite") < out.index("warning   not finite") < out.index("not checked")
    assert "levels, average: weights not finite: mend that first" in out
    assert main(["doctor", str(ill.path), "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["about"] == str(ill.path) and not told["healthy"] and len(told["levels"]) == 10
    assert [f["name"] for f in told["findings"]] == ["weights not finite", "not finite"]
    assert all(f["fix"] and f["seen"] and f["severity"] in ("wrong", "warning", "hint") for f in told["findings"])


def test_a_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code = main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["about"] == "machine" and code == (0 if told["healthy"] else 4)
    assert {*told["checked"], *told["unknown"]} == set(CHECKS)
    monkeypatch.setenv("OMP_NUM_THREADS", "512")
    assert main(["doctor", "--processes", "3"]) == 4
    out = capsys.readouterr().out
    assert "3 processes of 512 threads (OMP_NUM_THREADS) on" in out and "fix: export OMP_NUM_THREADS=" in out


def test_what_cannot_be_examined(healthy: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert main(["doctor", str(healthy.path), "--processes", "2"]) == 2
    assert "--processes" in capsys.readouterr().err
