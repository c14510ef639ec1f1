"""Evaluate, show and runs: numbers that are kept, and what they are about."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mezzotint.core.store import sha256

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def judged(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run with one evaluation."""
    from mezzotint.cli import main

    run = tmp_path_factory.mktemp("judged") / "digits"
    shutil.copytree(digits, run)
    assert main(["evaluate", str(run), "--count", "40"]) == 0
    return run


def test_evaluation(command: Command, judged: Path) -> None:
    (first,) = (judged / "reports").glob("*.json")
    report = json.loads(first.read_text())
    assert report["evaluations_per_sample"] == 3  # Heun, two steps
    assert set(report["measures"]) >= {"accuracy", "classification_score", "frechet_pixels", "neighbour_ratio"}
    assert report["counts"]["samples"] == 40 and report["counts"]["held_out"] == 360
    kept = json.loads((judged / "extractor" / "extractor.json").read_text())
    assert report["extractor"]["sha256"] == kept["sha256"]


def test_evaluating_again(command: Command, judged: Path, tmp_path: Path) -> None:
    written = (judged / "extractor" / "model.safetensors").stat().st_mtime_ns
    said = command("evaluate", judged, "--count", 40, "--guidance", 2, "--sampler", "ddim", "--steps", 3, "--json")
    report = said.json
    assert report["evaluations_per_sample"] == 6  # three steps, two questions each
    assert report["guidance"] == {"part": "guidance.CFG", "scale": 2.0}
    assert (judged / "extractor" / "model.safetensors").stat().st_mtime_ns == written  # kept, not trained again
    assert len(list((judged / "reports").glob("*.json"))) == 2
    words = ("--count", 40, "--steps", 3, "--set", "sampler.grid.part=samplers.Level")
    report = command("evaluate", judged, *words, "--json").json
    assert report["sampler"]["grid"] == {"part": "samplers.Level"} and report["guidance"] is None
    assert len(list((judged / "reports").glob("*.json"))) == 3  # other settings, another name
    out = tmp_path / "mine.json"
    out.write_text("mine")
    assert "exists already" in command("evaluate", judged, "--out", out).sentence and out.read_text() == "mine"
    assert "at least two samples" in command("evaluate", judged, "--count", 1).sentence


def test_measures_by_name(command: Command, judged: Path, tmp_path: Path) -> None:
    judged = Path(shutil.copytree(judged, tmp_path / "run"))
    whole = judged / "reports" / "heun2-guidance1-n40-seed0.json"
    usual = json.loads(whole.read_text())["measures"]
    assert {"kid", "precision", "recall", "density", "coverage", "diversity", "patches_8", "copying"} <= set(usual)
    assert "did you mean 'precision'" in command("evaluate", judged, "--measures", "kid,presision").sentence
    said = command("evaluate", judged, "--count", 40, "--measures", "kid, energy_pixels")
    assert "reports" in said.out and "judging  100 %" in said.err
    lines = {line.split()[0]: line.split() for line in said.out.splitlines() if line}
    assert {"kid", "energy_pixels"} <= set(lines) and "recall" not in lines and lines["kid"][-1] == "lower"
    kept = json.loads(whole.read_text())["measures"]
    assert kept == usual  # a report of some measures takes no place of the whole one
    (some,) = [path for path in (judged / "reports").glob("*.json") if "energy_pixels" in path.read_text()]
    found = json.loads(some.read_text())["measures"]
    assert set(found) == {"kid", "energy_pixels"} and found["kid"] == usual["kid"]
    other = tmp_path / "other"
    shutil.copytree(judged, other)
    for path in (other / "reports").glob("*.json"):
        path.unlink()
    assert command("evaluate", other, "--count", 30, "--measures", "kid,recall").code == 0
    refused = command("runs", "compare", judged, other, "--json").json["differences"][str(other)]
    assert "count is 40 and 30" in refused["kid"]["refused"] and "refused" in refused["recall"]


def test_data_that_moved(command: Command, cats: Path, place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(cats, run)
    config = run / "model" / "config.yaml"
    config.write_text(config.read_text().replace(str(place / "animals"), "gone"))
    manifest = run / "model" / "manifest.json"
    entries = json.loads(manifest.read_text())
    del entries["sha256"]  # its own: the change is meant
    entries["files"]["config.yaml"] = {"bytes": config.stat().st_size, "sha256": sha256(config)}
    manifest.write_text(json.dumps(entries))
    assert "--set data.path=" in command("evaluate", run).sentence
    said = command("evaluate", run, "--count", 8, "--set", f"data.path={place / 'animals'}", "--json")
    assert said.code == 0 and said.json["counts"]["samples"] == 8, said.err


def test_show(command: Command, judged: Path, cats: Path) -> None:
    text = command("show", judged).out
    for words in ("denoiser.Preconditioned", "networks.UNet", "10 classes", "512 images seen", "0.9 - 1.0", "accuracy"):
        assert words in text, words
    assert "cat, dog" in command("show", cats).out
    assert "a model" in command("show", cats / "model").out
    assert command("runs", "show", cats).out.startswith(str(cats))


def test_show_prints_recipes_that_train_reads(command: Command, cats: Path, tmp_path: Path) -> None:
    assert command("show", "digits").out == command("train", "digits", "--dry-run").out
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(command("show", cats, "--config").out)
    assert command("train", recipe, "--dry-run").out == command("train", cats, "--dry-run").out
    assert "recipe" in command("show", recipe).out
    assert "did you mean 'digits'" in command("show", "digts").sentence


def test_runs(command: Command, judged: Path, cats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = command("runs", "list", judged.parent).out
    assert str(judged) in listed and "512" in listed and "ago" in listed
    monkeypatch.chdir(tmp_path)
    assert "no folder 'runs'" in command("runs").sentence
    (tmp_path / "runs").mkdir()
    assert "no runs in runs" in command("runs").out
    text = command("runs", "compare", judged, cats).out
    assert "training.images" in text and "model.network.width" not in text and "accuracy" in text
    text = command("runs", "compare", cats, judged, judged).out
    assert f"not compared: {cats}, " in text and "never evaluated" in text and "accuracy" not in text
    assert "two runs or more" in command("runs", "compare", judged).sentence
    assert "not a run folder" in command("runs", "compare", judged, tmp_path).sentence
    assert "the settings are the same" in command("runs", "compare", judged, judged).out
