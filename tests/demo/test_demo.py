"""The verb itself, made small: what it writes, what it refuses, and that a bar that fails is a finding."""

import json
from pathlib import Path

import pytest

from mezzotint import recipes
from mezzotint.cli import main
from mezzotint.cli.demo import BARS
from mezzotint.training.pictures import read_settings


@pytest.mark.slow
def test_writes_a_report_of_a_poor_model_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipes, "DEMO", {"images": 640, "width": 8, "steps": 2})
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--seed", "3", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found == json.loads(Path("demo/report.json").read_text())
    assert found["holds"] is False and set(found["bars"]) == set(BARS) and found["counts"]["samples"] == 1437
    assert found["measures"]["accuracy"]["value"] == found["bars"]["accuracy"]["reached"] < 0.96
    assert found["evaluations_per_sample"] == 3 and found["seed"] == 3
    assert set(found["stages"]) == {"start", "training", "sampling", "evaluation", "report"}
    assert all(f"{stage} took" in said.err for stage in found["stages"])
    page = Path("demo/report.html").read_text(encoding="utf-8")
    assert "1,437 digits, drawn from noise" in page and found["model"]["sha256"] in page
    assert read_settings("demo/samples.png")["model"]["sha256"] == found["model"]["sha256"]

    assert main(["sample", "--like", "demo/samples.png", "--out", "again.png"]) == 0
    assert Path("again.png").read_bytes() == Path("demo/samples.png").read_bytes()
    assert main(["show", "demo/run"]) == 0
    assert "neighbour_ratio" in capsys.readouterr().out

    Path("demo/mine.txt").write_text("keep me")
    before = Path("demo/report.json").read_text()
    assert main(["demo"]) == 2
    assert "is not empty" in capsys.readouterr().err and Path("demo/report.json").read_text() == before
    assert main(["demo", "--overwrite"]) == 0
    out = capsys.readouterr().out
    assert "FAILS" in out and "demo/report.html" in out and "mezzotint sample demo/run" in out
    assert json.loads(Path("demo/report.json").read_text())["seed"] == 0
    assert Path("demo/mine.txt").read_text() == "keep me"


def test_refuses_what_it_must_not_replace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file")]) == 2
    (tmp_path / "other" / "run").mkdir(parents=True)
    (tmp_path / "other" / "run" / "thesis.txt").write_text("years of work")
    assert main(["demo", "--out", str(tmp_path / "other"), "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert "is a file" in said and "is not a run of ours" in said
    assert (tmp_path / "other" / "run" / "thesis.txt").read_text() == "years of work"
