"""Somebody else's package, installed beside mezzotint, works in Python, in YAML and on the command line as ours does.

``aquatint`` lies next to this file. It is put into an empty folder with the metadata a real installation writes - a
``dist-info`` that declares the entry point group ``mezzotint.parts`` - and not a line inside mezzotint knows of it.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import mezzotint as mz
from mezzotint.cli import main
from mezzotint.core import Condition, Refusal, Rng, build, config, spec
from mezzotint.core.spec import name_of, resolve
from mezzotint.core.store import MODEL
from mezzotint.samplers import Sampling
from mezzotint.testing import KINDS, check_part, example, kind_of, parts
from mezzotint.training.pictures import read_settings

HERE = Path(__file__).parent
METADATA = "Metadata-Version: 2.1\nName: aquatint\nVersion: 1.0\n"
ENTRY = "[mezzotint.parts]\naquatint = aquatint\n"


def install(home: Path, entry: str) -> Path:
    """What an installer would leave in site-packages."""
    shutil.copytree(HERE / "aquatint", home / "aquatint", ignore=shutil.ignore_patterns("__pycache__"))
    info = home / "aquatint-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(entry)
    return home


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "aquatint"]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"), ENTRY)


@pytest.fixture
def aquatint(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package's modules by name."""
    forget()
    monkeypatch.syspath_prepend(home)
    names = [path.stem for path in (HERE / "aquatint").glob("*.py") if path.stem != "__init__"]
    yield SimpleNamespace(**{name: importlib.import_module(f"aquatint.{name}") for name in names})
    forget()


def test_it_has_a_part_of_each_kind(aquatint: Any) -> None:
    found = [kind_of(cls) for cls in parts(within="aquatint")]
    assert sorted(found) == sorted(KINDS)
    assert not {cls for cls in parts(within="mezzotint") if cls.__module__.startswith("aquatint")}


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_keeps_its_contract(kind: str, aquatint: Any) -> None:
    (cls,) = parts(kind, within="aquatint")
    check_part(example(cls))


def test_in_python(aquatint: Any) -> None:
    """Outside parts with ours and with each other: a process, a sampler on its grid, guidance by an outside reward."""
    process = aquatint.processes.Late()
    truth = mz.denoiser.Mixture(process, [[-1.0], [1.0]], [[[0.04]], [[0.09]]], labels=[0, 1])
    sampler = aquatint.samplers.Midpoint(40, grid=aquatint.samplers.Bend(2.0))
    label = torch.arange(400) % 2
    x = Sampling(sampler, truth)(Condition(label=label), Rng(range(400)))
    for wanted, mean, std in ((0, -1.0, 0.2), (1, 1.0, 0.3)):
        mine = x[label == wanted]
        assert abs(float(mine.mean()) - mean) < 0.08 and abs(float(mine.std()) / std - 1) < 0.15
    same = mz.samplers.Heun(40)(truth, Condition(label=label[:9]), rng=Rng(range(9)))
    torch.testing.assert_close(sampler(truth, Condition(label=label[:9]), rng=Rng(range(9))), same, rtol=0, atol=0.01)
    bounded = aquatint.guidance.Bounded(mz.guidance.CFG(truth, 3.0), 0.9)
    assert float(sampler(bounded, Condition(label=label), rng=Rng(range(400))).abs().max()) <= 0.9 + 1e-9
    best = aquatint.pipelines.Best(Sampling(sampler, truth), aquatint.rewards.Light(1.0))
    assert float((best(mz.NONE, Rng(range(100))) - 1).abs().mean()) < 0.5 * float((x[:200] - 1).abs().mean())
    light = mz.guidance.ThroughDenoiser(truth, aquatint.rewards.Light(1.0), 8.0)
    assert float((sampler(light, rng=Rng(range(200))) - 1).abs().mean()) < float((x[:200] - 1).abs().mean())


def recipe(aquatint: Any) -> dict[str, Any]:
    """Everything that can be outside is."""
    data = mz.data.Digits()
    network = aquatint.networks.Flat(data.shape, width=48, vector=16)
    encoder = mz.conditions.Encoder(label=aquatint.conditions.Circle(10, 16))
    model = mz.denoiser.Preconditioned(network, aquatint.processes.Late(), encoder, sigma_data=0.6, prediction="v")
    trainer = mz.training.Trainer(
        aquatint.objectives.Huber(aquatint.objectives.Ramp()),
        images=384,
        batch=64,
        sampler=aquatint.samplers.Midpoint(4, grid=aquatint.samplers.Bend(1.5)),
    )
    return {"model": spec(model), "data": spec(data), "training": spec(trainer)}


def test_in_yaml(aquatint: Any) -> None:
    """Written, read, edited and built; wrong names and settings are told the nearest right ones."""
    tree = recipe(aquatint)
    text = config.dumps(tree)
    assert config.loads(text) == config.loads(config.dumps(config.loads(text)))
    assert "part: aquatint.samplers.Midpoint" in text and "part: aquatint.processes.Late" in text
    changes = ["training.sampler.steps=9", "training.sampler.grid.power=3", "model.process.rate=2"]
    made = {key: build(value) for key, value in config.edit(config.loads(text), changes).items()}
    assert made["training"].sampler == aquatint.samplers.Midpoint(9, grid=aquatint.samplers.Bend(3))
    assert made["model"].process == aquatint.processes.Late(rate=2)
    with pytest.raises(Refusal, match="no setting 'powr': did you mean 'power'"):
        config.edit(tree, ["training.sampler.grid.powr=3"])
    with pytest.raises(Refusal, match="did you mean 'Midpoint'"):
        build({"part": "aquatint.samplers.Midpiont", "steps": 3})
    with pytest.raises(Refusal, match="rate is positive"):
        build({"part": "aquatint.processes.Late", "rate": 0})
    with pytest.raises(Refusal, match="has no part 'torch'"):
        build({"part": "aquatint.samplers.torch"})


def test_undeclared_it_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the entry point a config cannot reach it, installed or not."""
    forget()
    monkeypatch.syspath_prepend(install(tmp_path / "site", ""))
    with pytest.raises(Refusal, match="no part is called 'aquatint.processes.Late'"):
        build({"part": "aquatint.processes.Late"})
    assert "aquatint" not in sys.modules
    forget()


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the command in a process of its own, which knows the package by its metadata only."""
    place = tmp_path_factory.mktemp("run")
    forget()
    sys.path.insert(0, str(home))
    try:
        modules = {
            name: importlib.import_module(f"aquatint.{name}") for name in ("networks", "conditions", "processes")
        }
        modules |= {name: importlib.import_module(f"aquatint.{name}") for name in ("objectives", "samplers")}
        (place / "recipe.yaml").write_text(config.dumps(recipe(SimpleNamespace(**modules))))
    finally:
        sys.path.remove(str(home))
        forget()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(home), os.environ["PYTHONPATH"]])}
    words = [sys.executable, "-m", "mezzotint", "train", "recipe.yaml", "--out", "run", "--json"]
    words += ["--set", "training.rate.warmup=64"]
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 384
    return place / "run"


def drawn(path: Path) -> torch.Tensor:
    import numpy as np
    from PIL import Image

    return torch.from_numpy(np.array(Image.open(path))).float()


@pytest.mark.slow
def test_on_the_command_line(run: Path, aquatint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model folder brings its outside parts back, and an outside sampler and guidance draw from it."""
    model = mz.load(run)
    assert type(model.network) is aquatint.networks.Flat and "label" in model.nulls
    one, two, three = (tmp_path / f"{name}.png" for name in ("one", "two", "three"))
    common = ["sample", str(run), "--label", "3", "--seeds", "0-3"]
    assert main([*common, "--out", str(one)]) == 0
    assert read_settings(one)["sampler"]["part"] == "aquatint.samplers.Midpoint"
    words = ["--sampler", "aquatint.samplers.Midpoint", "--steps", "5", "--out", str(two)]
    words += ["--set", "sampler.grid.part=aquatint.samplers.Bend", "sampler.grid.power=3"]
    words += ["guidance.part=aquatint.guidance.Bounded", "guidance.bound=0.25"]
    assert main([*common, *words]) == 0, capsys.readouterr().err
    settings = read_settings(two)
    assert settings["sampler"]["grid"] == {"part": "aquatint.samplers.Bend", "power": 3}
    assert settings["guidance"] == {"part": "aquatint.guidance.Bounded", "bound": 0.25}
    assert drawn(two).max() - drawn(two).min() < 0.5 * (drawn(one).max() - drawn(one).min())  # the bound was heard
    assert main(["sample", "--like", str(two), "--out", str(three)]) == 0
    assert torch.equal(drawn(two), drawn(three))
    capsys.readouterr()
    assert main([*common, "--sampler", "aquatint.samplers.Midpiont", "--out", str(tmp_path / "four.png")]) == 2
    assert "did you mean 'Midpoint'" in capsys.readouterr().err


def test_without_the_package_a_run_says_what_it_lacks(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forget()
    assert main(["sample", str(run)]) == 2
    assert "aquatint" in capsys.readouterr().err


def test_outside_data_have_no_place_in_a_model_folder(aquatint: Any) -> None:
    """A data set is one wherever it is written; what makes a model is let in."""
    for cls in parts(within="aquatint"):
        if kind_of(cls) in ("data", "objective", "levels"):
            with pytest.raises(Refusal, match="no place here"):
                build({"part": name_of(cls)}, MODEL)
        else:
            assert resolve(name_of(cls), MODEL) is cls
