"""No byte of a folder changes unnoticed, its manifest included."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import flips
import pytest
import trial

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Refusal, folder, store
from mezzotint.training.run import Run


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return store.save_model(tmp_path / "model", Encoder(label=Classes(3, width=8)), card="a card")


def test_a_flipped_byte_anywhere_is_noticed(saved: Path) -> None:
    size = sum(file.stat().st_size for file in saved.iterdir())
    tried, missed = flips.detected(saved, 10_000, flips.usual)
    assert not missed and tried == size + 2 * (saved / folder.MANIFEST).stat().st_size


@pytest.mark.parametrize("masks", [flips.usual, lambda file, at: (flips.SPACE, 1 << (at + 2) % 8)])
def test_a_flipped_byte_of_a_run_s_config_is_noticed(masks: Any, tmp_path: Path) -> None:
    tree = trial.config(4)
    run = Run.create(tmp_path, tree)
    tried, missed = flips.detected(tmp_path, 0, masks)
    assert not missed and tried >= (tmp_path / "config.yaml").stat().st_size > 500
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("clip: 1.0", "clip: 9.0"))
    with pytest.raises(Refusal, match="--set, or remove its first line"):
        _ = run.config
    (tmp_path / "config.yaml").write_text(text.replace("clip: 1.0", "clip: 9.0").partition("\n")[2])
    assert run.config["training"]["clip"] == 9.0
    for length in range(0, len(text) - 1, 7):  # cut short, it has no settings that somebody else would fill in
        (tmp_path / "config.yaml").write_text(text[:length])
        with pytest.raises(Refusal):
            _ = run.config


@pytest.mark.long
def test_every_value_of_every_byte_of_the_manifest_is_noticed(saved: Path) -> None:
    assert flips.detected(saved, 10_000, flips.every)[1] == []


def test_a_manifest_without_its_own_hash_still_reads(saved: Path) -> None:
    """Version 0.1.0 wrote none; the flips it cannot notice show that the hash is what notices them."""
    path = saved / folder.MANIFEST
    old = {name: value for name, value in json.loads(path.read_text()).items() if name != "sha256"}
    path.write_text(json.dumps(old, indent=1))
    assert set(folder.check_folder(saved)) == {"README.md", "config.yaml", "model.safetensors"}
    missed = flips.detected(saved, 8, lambda file, at: (flips.SPACE,))[1]
    assert missed and all(one.startswith(folder.MANIFEST) for one in missed)


def test_what_is_not_in_the_manifest_or_not_in_the_folder_is_not_read(saved: Path, tmp_path: Path) -> None:
    (saved / "more.safetensors").write_bytes(b"")
    assert "more.safetensors" not in folder.check_folder(saved)
    (saved / "README.md").rename(tmp_path / "README.md")
    (saved / "README.md").symlink_to(tmp_path / "README.md")
    with pytest.raises(Refusal, match="outside its folder"):
        folder.check_folder(saved)


def test_what_a_killed_writer_left_is_removed_or_put_back(tmp_path: Path) -> None:
    dead = 2**22 + 1  # above what Linux gives out
    (tmp_path / "kept").mkdir()
    for name in (f".a.{dead}.tmp", f".kept.{dead}.old", f".gone.{dead}.old", f".b.{os.getppid()}.tmp", ".plain"):
        (tmp_path / name).mkdir()
    (tmp_path / ".config.yaml.tmp").write_text("half")
    folder.tidy(tmp_path)
    another = {".config.yaml.tmp", f".b.{os.getppid()}.tmp"}  # whose writer may live
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "gone", ".plain"} | another
    folder.tidy(tmp_path, alone=True)
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "gone", ".plain"}


def test_a_model_moved_aside_is_put_back_whatever_has_its_writer_s_number_now(tmp_path: Path) -> None:
    """In a container numbers come again at once; reports beside it may be written by somebody who lives."""
    tree = {"model": {}, "data": {}, "training": {}}
    Run.create(tmp_path, tree)
    another = f".report.{os.getppid()}.tmp"
    for name in (f".model.{os.getppid()}.old", f".model.{os.getppid()}.tmp", another):
        (tmp_path / name).mkdir()
    Run.create(tmp_path, tree, resume=True)
    assert (tmp_path / "model").is_dir()
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == {another}
