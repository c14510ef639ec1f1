"""Folders on disk are whole or refused."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Refusal, store

Saved = tuple[Path, torch.nn.Module]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    model = Encoder(label=Classes(3, width=8))
    return store.save_model(tmp_path / "model", model, card="a card"), model


def test_round_trip(saved: Saved) -> None:
    folder, model = saved
    again = store.load_model(folder)
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert not again.training and not any(p.requires_grad for p in again.parameters())
    assert store.load_model(folder.parent).state_dict().keys() == model.state_dict().keys()
    assert {p.name for p in folder.iterdir()} == {"config.yaml", "manifest.json", "model.safetensors", "README.md"}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def schema(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))


def remanifest(folder: Path) -> None:
    """A manifest that agrees with whatever lies there, so that the next check is the one that speaks."""
    names = ["config.yaml", "model.safetensors"]
    files = {n: {"bytes": (folder / n).stat().st_size, "sha256": store.sha256(folder / n)} for n in names}
    (folder / "manifest.json").write_text(json.dumps({"schema": store.SCHEMA, "files": files}))


def truncated(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-16])


def truncated_unnoticed(folder: Path) -> None:
    truncated(folder)
    remanifest(folder)


def other_shape(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("count: 3", "count: 4"))
    remanifest(folder)


def other_schema(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("schema: 1", "schema: 99"))
    remanifest(folder)


def outside(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"schema": 1, "files": {"../x": {"bytes": 1, "sha256": "0"}}}')


DAMAGE = [
    (truncated, "truncated"),
    (truncated_unnoticed, "truncated or damaged"),
    (lambda f: flip(f / "model.safetensors"), "SHA-256"),
    (lambda f: (f / "model.safetensors").unlink(), "missing"),
    (lambda f: (f / "config.yaml").unlink(), "missing"),
    (lambda f: (f / "manifest.json").unlink(), "manifest"),
    (lambda f: (f / "manifest.json").write_text("{"), "cannot be read"),
    (lambda f: (f / "manifest.json").write_text('{"schema": 1, "files": {"a": 3}}'), "damaged: it is not a schema"),
    (lambda f: (f / "manifest.json").write_text('{"schema": 1, "files": []}'), "damaged: it is not a schema"),
    (lambda f: schema(f / "manifest.json"), "schema 99"),
    (other_schema, "schema 99"),
    (other_shape, "shape"),
    (outside, "outside"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGE, ids=[s for _, s in DAMAGE])
def test_damage_is_refused_in_one_sentence(saved: Saved, damage: object, says: str) -> None:
    damage(saved[0])  # type: ignore[operator]
    with pytest.raises(Refusal, match=says) as refused:
        store.load_model(saved[0])
    assert "\n" not in str(refused.value).strip()


def test_other_weights_are_refused() -> None:
    model = Encoder(label=Classes(3, width=8))
    weights = model.state_dict()
    for change, says in [
        ({"more": torch.zeros(1)}, "does not have"),
        ({"parts.label.null": torch.zeros(9)}, r"\(9,\)"),
    ]:
        with pytest.raises(Refusal, match=says):
            store.fill_module(model, {**weights, **change}, "here")
    with pytest.raises(Refusal, match="lacks"):
        store.fill_module(model, {n: v for n, v in weights.items() if "null" not in n}, "here")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    def broken(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(error):
        store.write_folder(tmp_path / "new", broken)
    assert list(tmp_path.iterdir()) == []
    store.write_folder(tmp_path / "old", lambda f: (f / "a").write_text("1") and None)
    with pytest.raises(error):
        store.write_folder(tmp_path / "old", broken, replace=True)
    assert [p.name for p in tmp_path.iterdir()] == ["old"] and (tmp_path / "old" / "a").read_text() == "1"


def test_replace_keeps_the_old_until_the_new_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.write_folder(tmp_path / "run", lambda f: (f / "a").write_text("old") and None)

    def fill(folder: Path) -> None:
        assert (path / "a").read_text() == "old"
        (folder / "a").write_text("new")

    with pytest.raises(Refusal, match="exists"):
        store.write_folder(path, fill)
    rename, asked = Path.rename, []

    def fails_once(self: Path, target: Path) -> Path:
        asked.append(self)
        if len(asked) == 2:
            raise OSError("disk")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(OSError, match="disk"):
        store.write_folder(path, fill, replace=True)
    assert (path / "a").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["run"]
    store.write_folder(path, fill, replace=True)
    assert (path / "a").read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["run"]
    store.check_folder(path)


def filled(scale: float) -> torch.nn.Module:
    made = Encoder(label=Classes(3, width=8))
    with torch.no_grad():
        for value in made.parameters():
            value.fill_(scale)
    return made


@pytest.mark.parametrize("asked", ["run", "run/model"])
def test_a_model_that_is_being_replaced_is_read_when_it_is_there(tmp_path: Path, asked: str) -> None:
    """A writer moves the old one aside and gives the new one its name; a reader comes in between."""
    model = store.save_model(tmp_path / "run" / "model", filled(1.0))
    aside = model.with_name(f".model.{os.getpid()}.old")
    model.rename(aside)
    back = threading.Timer(0.2, aside.rename, (model,))
    back.start()
    try:
        assert store.model_folder(tmp_path / asked) == model
        assert all((value == 1).all() for value in store.load_model(tmp_path / asked).parameters())
    finally:
        back.join()


def test_nobody_waits_for_a_model_that_nobody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(Refusal):
            store.load_model(path)
    assert not waits
    monkeypatch.setattr("mezzotint.core.folder.PATIENCE", 0.05)
    (tmp_path / ".model.1.tmp").mkdir()
    with pytest.raises(Refusal, match="no finished model yet"):
        store.load_model(tmp_path)
    assert waits


def test_what_is_read_is_of_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new model comes after the old one is checked, and before its weights are read."""
    place, read = tmp_path / "run" / "model", store.load_tensors
    store.save_model(place, filled(1.0), card="old")

    def replaced(path: Path, like: torch.nn.Module | None = None) -> dict[str, Any]:
        monkeypatch.setattr(store, "load_tensors", read)
        found = read(path, like)
        store.save_model(place, filled(2.0))
        return found

    monkeypatch.setattr(store, "load_tensors", replaced)
    made, config = store.settled(place.parent, lambda: (store.load_model(place), store.model_config(place)))
    assert all((value == 2).all() for value in made.parameters()) and config["schema"] == store.SCHEMA


def test_no_folder_and_no_model(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(Refusal):
            store.load_model(path)
    with pytest.raises(Refusal, match="no weights"):
        store.load_tensors(tmp_path / "x.safetensors")
