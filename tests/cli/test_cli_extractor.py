"""The verb extractor: made by one command, read by evaluate, refused where it drew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., Any]


def test_trained_kept_and_judged_with(command: Command, digits: Path, tmp_path: Path) -> None:
    eye = tmp_path / "eye"
    said = command("extractor", "train", "digits", "--images", 640, "--features", 8, "--out", eye, "--json").json
    assert said["train"]["count"] == 1437 and said["images"] == 640 and said["spec"]["features"] == 8
    assert command("extractor", "show", eye, "--json").json["sha256"] == said["sha256"]
    assert said["sha256"][:12] in command("extractor", "show", eye).out
    assert "exists already" in command("extractor", "train", "digits", "--out", eye).sentence
    run = tmp_path / "run"
    shutil.copytree(digits, run)
    judged = command("evaluate", run, "--count", 30, "--extractor", eye, "--json").json
    assert judged["extractor"]["sha256"] == said["sha256"] and not (run / "extractor").exists()
    how = judged["measures"]["frechet_features"]["how"]
    assert how["extractor"] == said["sha256"] and how["weights"] == judged["model"]["sha256"] and how["seeds"] == 0
    assert how["sampler"]["part"] == "samplers.Heun" and "grid" not in how["sampler"] and how["grid"]["part"]
    (report,) = (run / "reports").glob("*.json")
    assert json.loads(report.read_text())["measures"]["frechet_features"]["how"] == how
    assert said["sha256"][:8] in report.name


def test_a_layer_of_another_run_judges_and_of_its_own_does_not(command: Command, digits: Path, tmp_path: Path) -> None:
    eye = tmp_path / "eye"
    said = command("extractor", "network", digits, "--want", "down.1", "--level", 0.3, "--out", eye, "--json").json
    assert said["want"] == "down.1" and said["level"] == 0.3
    sentence = command("evaluate", digits, "--count", 10, "--extractor", eye).sentence
    assert "the very network that drew" in sentence
    assert (
        "no layer 'downn'"
        in command("extractor", "network", digits, "--want", "downn", "--out", tmp_path / "f").sentence
    )


def test_an_onnx_file(command: Command, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    h, o = onnx.helper, onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w")
    maps = h.make_tensor_value_info("maps", o, ["n", 1, 8, 8])
    node = h.make_node("Conv", ["x", "w"], ["maps"])
    graph = h.make_graph([node], "sum", [h.make_tensor_value_info("x", o, ["n", 3, 8, 8])], [maps], [weight])
    path = tmp_path / "sum.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9), str(path))
    words = ("extractor", "onnx", path, "--size", 8, "--values=-1,1", "--out", tmp_path / "eye")
    assert "values -1 to 1" in command(*words).out
    assert command("extractor", "show", tmp_path / "eye", "--json").json["range"] == [-1, 1]
    assert "what size" in command("extractor", "onnx", path, "--out", tmp_path / "f").sentence
    assert (
        "two numbers"
        in command("extractor", "onnx", path, "--size", 8, "--values", "1", "--out", tmp_path / "f").sentence
    )


def test_what_says_nothing_is_refused(command: Command, digits: Path, tmp_path: Path) -> None:
    assert "--out FOLDER" in command("extractor", "train", "digits").sentence
    assert (
        "--want says nothing"
        in command("extractor", "train", "digits", "--want", "mid", "--out", tmp_path / "a").sentence
    )
    assert (
        "--seed says nothing" in command("extractor", "network", digits, "--seed", 1, "--out", tmp_path / "a").sentence
    )
    assert "holds no extractor" in command("extractor", "show", digits).sentence
    assert "holds no extractor" in command("evaluate", digits, "--extractor", digits).sentence
