"""A run keeps its pictures: it goes on where they were moved, and not where others lie in their place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trial
from PIL import Image

import mezzotint as mz
from mezzotint.cli import main
from mezzotint.training.run import Run


def pictures(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("ring", "square"):
        (folder / label).mkdir(parents=True)
        for number in range(24):
            shade = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(shade).save(folder / label / f"{number}.png")
    return folder


def array(folder: Path) -> Path:
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (48, 8, 8), dtype=np.uint8)
    np.savez(folder / "all.npz", images=images, labels=np.arange(48) % 2)
    return folder / "all.npz"


def config(data: mz.data.Data) -> dict[str, Any]:
    tree = mz.recipes.of_data(data, images=1_024, width=8, steps=1)
    tree["model"]["network"] |= {"multipliers": [1], "blocks": 1}
    tree["training"] |= {"images": 64, "batch": 16, "save": 32, "log": 32, "picture": 64}
    return tree


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("pictures")
    with trial.few():
        mz.training.train(config(mz.data.Folder(str(pictures(home / "folder")))), home / "folder-run")
        mz.training.train(config(mz.data.Arrays(str(array(home / "array")))), home / "array-run")
    return home


def rewritten(home: Path) -> None:
    file = home / "folder" / "ring" / "3.png"
    Image.fromarray(np.asarray(Image.open(file))[::-1].copy()).save(file)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "added": lambda home: shutil.copy(home / "folder/ring/3.png", home / "folder/ring/x.png"),
    "removed": lambda home: [(home / "folder/square" / f"{n}.png").unlink() for n in range(12)],
    "renamed": lambda home: [p.rename(p.with_name(f"x{p.name}")) for p in (home / "folder/ring").iterdir()],
    "rewritten": rewritten,
    "another class": lambda home: (home / "folder/ring").rename(home / "folder/zigzag"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_pictures_are_refused(change: Callable[[Path], Any], trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "home")
    home = tmp_path / "home"
    change(home)
    tree = Run(home / "folder-run").config
    tree["data"] |= {"path": str(home / "folder")}
    with pytest.raises(mz.Refusal, match=r"trained on other pictures"), trial.few():
        mz.training.train(tree | {"training": tree["training"] | {"images": 96}}, home / "folder-run", resume=True)


def test_another_file_of_arrays_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "home")
    path = tmp_path / "home" / "array" / "all.npz"
    held = dict(np.load(path))
    np.savez(path, images=held["images"][::-1], labels=held["labels"])  # of the same size and labels
    tree = Run(tmp_path / "home" / "array-run").config
    tree["data"] |= {"path": str(path)}
    with pytest.raises(mz.Refusal, match=r"trained on other pictures"), trial.few():
        mz.training.train(
            tree | {"training": tree["training"] | {"images": 96}}, path.parents[1] / "array-run", resume=True
        )


@pytest.mark.parametrize("kind", ["folder", "array"])
def test_pictures_that_moved_are_followed(kind: str, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "elsewhere")
    run = tmp_path / "elsewhere" / f"{kind}-run"
    place = tmp_path / "elsewhere" / kind
    path = place if kind == "folder" else place / "all.npz"
    with trial.few():
        assert main(["train", str(run), "--resume", "--images", "96", "--set", f"data.path={path}"]) == 0
    assert Run(run).checkpoints()[-1] == 96 and Run(run).config["data"]["path"] == str(path)


def test_a_run_without_its_config_is_not_taken_for_pictures(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "folder-run", tmp_path / "run")
    (tmp_path / "run" / "config.yaml").unlink()
    assert main(["train", str(tmp_path / "run"), "--resume"]) == 2
    assert "lost its config.yaml" in capsys.readouterr().err


def test_fewer_images_than_were_seen_train_nothing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "home")
    run = tmp_path / "home" / "folder-run"
    words = ["--set", f"data.path={tmp_path / 'home' / 'folder'}", "training.picture=64"]
    with trial.few():
        assert main(["train", str(run), "--resume", "--images", "32", *words]) == 0
    assert "seen 64 images before, more than --images 32: nothing was trained" in capsys.readouterr().err
    assert Run(run).checkpoints()[-1] == 64
