"""Sampling from the command line: the same picture again, whatever else is drawn."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mezzotint.cli import method
from mezzotint.core import config
from mezzotint.core.store import MANIFEST, sha256
from mezzotint.data import Arrays
from mezzotint.training.pictures import read_settings, save_png

Command = Callable[..., Any]


def look(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    "words",
    [
        ("--label", "3", "--seeds", "0-8", "--guidance", "1.5"),
        ("--sampler", "ddpm", "--steps", 4, "--seeds", "5,2", "--batch", 7),
        ("--sampler", "ddim", "--steps", 3, "--seeds", "0", "--guidance", 2, "--interval", "0.1-0.9", "--columns", 4),
        ("--average", 0.08, "--seeds", "1-2", "--label", "9,0"),
        (
            "--sampler",
            "multistep",
            "--steps",
            4,
            "--seeds",
            "0",
            "--set",
            "sampler.order=3",
            "sampler.grid.part=samplers.LogSNR",
        ),
        ("--guidance", 2, "--seeds", "0", "--set", "guidance.denoiser={part: guidance.CFG, scale: 0.5}"),
    ],
)
def test_like_repeats_the_pixels(command: Command, digits: Path, tmp_path: Path, words: tuple[Any, ...]) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    said = command("sample", digits, *words, "--out", first)
    assert said.code == 0, said.err
    assert command("sample", "--like", first, "--out", again).code == 0
    assert np.array_equal(look(first), look(again))
    assert read_settings(first) == read_settings(again)


def test_what_a_picture_carries(command: Command, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    command("sample", digits, "--label", "3,5", "--seeds", "0-2", "--sampler", "euler", "--steps", 4, "--out", out)
    settings = read_settings(out)
    assert settings["model"]["path"] == str(digits)
    assert settings["model"]["sha256"] == sha256(digits / "model" / "model.safetensors")
    assert settings["labels"] == [3, 5] * 3 and settings["seeds"] == [0, 0, 1, 1, 2, 2]
    assert settings["sampler"]["part"] == "samplers.Euler" and settings["sampler"]["steps"] == 4
    assert settings["guidance"] is None and set(settings["versions"]) == {"mezzotint", "torch"}


def test_flags_beside_like_change_what_they_name(command: Command, digits: Path, tmp_path: Path) -> None:
    first, more = tmp_path / "first.png", tmp_path / "more.png"
    command("sample", digits, "--label", "3", "--seeds", "0-3", "--sampler", "ddim", "--steps", 4, "--out", first)
    command("sample", "--like", first, "--seeds", "4-5", "--steps", 3, "--out", more)
    before, after = read_settings(first), read_settings(more)
    assert after["labels"] == [3, 3] and after["seeds"] == [4, 5]
    assert after["sampler"] == {**before["sampler"], "steps": 3} and after["guidance"] == before["guidance"]


@pytest.mark.parametrize("name", [*method.names("sampler", "samplers"), *method.ALIASES])
def test_every_sampler_has_a_short_name(command: Command, digits: Path, tmp_path: Path, name: str) -> None:
    """Found by walking the room: what one draws can be repeated, and what needs more says what."""
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    said = command("sample", digits, "--sampler", name, "--steps", 3, "--label", "3", "--seeds", "0-2", "--out", first)
    if said.code == 2:
        assert " needs " in command("sample", digits, "--sampler", name, "--out", first).sentence
        return
    assert command("sample", "--like", first, "--out", again).code == 0
    assert np.array_equal(look(first), look(again))
    settings = read_settings(first)
    assert settings["sampler"]["steps"] == 3 and settings["sampler"]["part"] == method.named(name)["part"]
    assert read_settings(again) == settings


def test_names_in_the_help_exist(command: Command) -> None:
    text = " ".join(command("sample", "--help").out.replace("│", " ").split())
    listed = text.split("--sampler NAME")[1].split("or any other by name")[0]
    named = re.findall(r"[a-z]+", listed)
    assert len(named) >= 6 and all(method.named(name)["part"] for name in named)


def test_steps_that_nobody_named() -> None:
    counts = {name: method.named(name)["steps"] for name in ("heun", "multistep", "unipc", "euler", "ddim", "ddpm")}
    assert counts == {"heun": 18, "multistep": 18, "unipc": 18, "euler": 36, "ddim": 36, "ddpm": 100}


def test_the_same_sampler_by_other_words(command: Command, digits: Path, tmp_path: Path) -> None:
    ways = [
        ("--sampler", "ddim", "--steps", 3, "--guidance", 2),
        ("--sampler", "samplers.Ancestral", "--steps", 3, "--set", "sampler.eta=0", "guidance.scale=2"),
        (
            "--set",
            "sampler.part=ancestral",
            "sampler.steps=3",
            "sampler.eta=0.0",
            "guidance.part=cfg",
            "guidance.scale=2",
        ),
    ]
    for number, words in enumerate(ways):
        assert (
            command(
                "sample", digits, "--label", "3,5", "--seeds", "0-1", *words, "--out", tmp_path / f"{number}.png"
            ).code
            == 0
        )
    shown = [look(tmp_path / f"{number}.png") for number in range(3)]
    assert np.array_equal(shown[0], shown[1]) and np.array_equal(shown[0], shown[2])
    plain = tmp_path / "plain.png"
    command("sample", digits, "--label", "3,5", "--seeds", "0-1", "--sampler", "ddim", "--steps", 3, "--out", plain)
    assert not np.array_equal(shown[0], look(plain))
    # Twice the way from the weak answer to what lies half way from it to the strong one.
    half = ("--steps", 3, "--sampler", "ddim", "--guidance", 2, "--set", "guidance.denoiser={part: cfg, scale: 0.5}")
    command("sample", digits, "--label", "3,5", "--seeds", "0-1", *half, "--out", tmp_path / "half.png")
    assert np.abs(look(tmp_path / "half.png").astype(int) - look(plain)).max() <= 1


def test_a_second_model_guides(command: Command, digits: Path, nullless: Path, tmp_path: Path) -> None:
    """At scale 0 the weak model draws, at 1 the strong one; which one it was is kept, and another is refused."""
    weak = tmp_path / "weak"
    shutil.copytree(nullless, weak)
    words = ("--label", "3", "--seeds", "0-3", "--steps", 3)
    shown = {}
    for scale, alone in ((0, nullless), (1, digits)):
        guided = ("--set", "guidance.part=guidance.Autoguidance", f"guidance.scale={scale}", f"guidance.weak={weak}")
        out = tmp_path / f"{scale}.png"
        assert command("sample", digits, *words, *guided, "--out", out).code == 0
        command("sample", alone, *words, "--out", tmp_path / "alone.png", "--overwrite")
        shown[scale] = look(out)
        assert np.abs(shown[scale].astype(int) - look(tmp_path / "alone.png")).max() <= 1
    assert np.abs(shown[0].astype(int) - shown[1]).mean() > 1
    out, again = tmp_path / "0.png", tmp_path / "again.png"
    assert read_settings(out)["guidance"]["weak"]["sha256"] == sha256(nullless / "model" / "model.safetensors")
    assert command("sample", "--like", out, "--out", again).code == 0 and np.array_equal(look(out), look(again))
    shutil.rmtree(weak)
    shutil.copytree(digits, weak)
    assert "is another" in command("sample", "--like", out, "--out", tmp_path / "b.png").sentence


def test_a_sampler_from_another_package(
    command: Command, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that declares the entry point needs no edit here; the guidance in it neither."""
    package = tmp_path / "site" / "burin"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(OUTSIDE)
    installed = tmp_path / "site" / "burin-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: burin\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[mezzotint.parts]\nburin = burin\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    words = ("--label", "3", "--seeds", "0-2")
    plain, mine, again = (tmp_path / f"{name}.png" for name in ("plain", "mine", "again"))
    command("sample", digits, *words, "--sampler", "euler", "--steps", 5, "--out", plain)
    said = command("sample", digits, *words, "--sampler", "burin.Plain", "--steps", 5, "--out", mine)
    assert said.code == 0, said.err
    assert np.abs(look(mine).astype(int) - look(plain)).max() <= 1  # it is Euler, written the long way
    assert read_settings(mine)["sampler"]["part"] == "burin.Plain"
    words = ("--set", "sampler.part=burin.Plain", "sampler.steps=5", "guidance.part=burin.Flat", "guidance.shade=0.5")
    assert command("sample", digits, "--label", "3", "--seeds", "0-2", *words, "--out", mine, "--overwrite").code == 0
    assert command("sample", "--like", mine, "--out", again).code == 0
    assert np.array_equal(look(mine), look(again))
    tile = look(mine)[1:49, 1:49]
    assert (tile == round(1.5 * 127.5)).all()
    assert "no setting 'shad'" in command("sample", digits, *words, "--set", "guidance.shad=1", "--out", again).sentence


OUTSIDE = """
from dataclasses import dataclass
import torch
from mezzotint.core.condition import NONE
from mezzotint.core.distribution import Dirac
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers import Sampler


@dataclass(frozen=True)
class Plain(Sampler):
    def move(self, denoiser, state, s, cond):
        x0 = denoiser(state.x, state.t, cond).mean
        noise = denoiser.process.noise(state.x, x0, state.t)
        alpha, sigma = denoiser.process.scales(s, state.x)
        return (alpha * x0 + sigma * noise).to(state.x), state.memory


class Flat(Denoiser):
    def __init__(self, denoiser: Denoiser, shade: float):
        super().__init__()
        self.denoiser, self.shade = denoiser, shade
        self.process, self.shape = denoiser.process, denoiser.shape

    def prepare(self, cond):
        return self.denoiser.prepare(cond)

    def forward(self, x, t, cond=NONE, want=()):
        return Dirac(torch.full_like(x, self.shade))
"""


def test_like_reads_the_settings_of_version_0_1(command: Command, digits: Path, tmp_path: Path) -> None:
    """A number and an interval in the place of a guidance."""
    new, old, again = (tmp_path / f"{name}.png" for name in ("new", "old", "again"))
    words = ("--label", "3,5", "--seeds", "0-1", "--steps", 3)
    command("sample", digits, *words, "--guidance", 2, "--interval", "0.3-0.9", "--out", new)
    settings = {**read_settings(new), "guidance": 2.0, "interval": [0.3, 0.9]}
    save_png(old, look(new)[..., None], settings)
    assert command("sample", "--like", old, "--out", again).code == 0
    assert np.array_equal(look(new), look(again)) and read_settings(again) == read_settings(new)
    command("sample", digits, *words, "--out", new, "--overwrite")
    save_png(old, look(new)[..., None], {**read_settings(new), "guidance": 1.0, "interval": None})
    assert command("sample", "--like", old, "--out", again, "--overwrite").code == 0
    assert np.array_equal(look(new), look(again))


def test_guidance_beside_like_names_the_scale(command: Command, digits: Path, tmp_path: Path) -> None:
    first, more = tmp_path / "first.png", tmp_path / "more.png"
    words = ("--label", "3", "--seeds", "0", "--steps", 2, "--guidance", 2, "--interval", "0.3-0.9")
    command("sample", digits, *words, "--out", first)
    command("sample", "--like", first, "--guidance", 3, "--out", more)
    before, after = read_settings(first)["guidance"]["scale"], read_settings(more)["guidance"]["scale"]
    assert before["low"] == 0.3 and after == {**before, "scale": 3.0}
    command("sample", "--like", first, "--guidance", 1, "--out", more, "--overwrite")
    assert read_settings(more)["guidance"] is None


def test_like_refuses_other_weights(command: Command, digits: Path, tmp_path: Path) -> None:
    run, first, again = tmp_path / "run", tmp_path / "first.png", tmp_path / "again.png"
    shutil.copytree(digits, run)
    command("sample", run, "--seeds", "0", "--out", first)
    command("sample", run, "--seeds", "0", "--average", 0.08, "--out", tmp_path / "average.png")
    command("train", run, "--resume", "--images", 640)
    assert "SHA-256" in command("sample", "--like", first, "--out", again).sentence
    # An average is taken where the picture took it, so a run that has gone on can still repeat it.
    assert command("sample", "--like", tmp_path / "average.png", "--out", again).code == 0
    assert np.array_equal(look(again), look(tmp_path / "average.png"))
    shutil.rmtree(run)
    assert "is not here" in command("sample", "--like", first, "--out", tmp_path / "c.png").sentence
    moved = command("sample", digits, "--like", first, "--out", tmp_path / "c.png")
    assert moved.code == 0 and np.array_equal(look(tmp_path / "c.png"), look(first))


def test_like_refuses_other_pictures(command: Command, place: Path, cats: Path, tmp_path: Path) -> None:
    assert "carries no settings" in command("sample", "--like", place / "animals" / "cat" / "0.png").sentence
    assert "there is no picture" in command("sample", "--like", tmp_path / "none.png").sentence
    assert "name a run folder" in command("sample").sentence


def test_a_sample_does_not_depend_on_its_batch(command: Command, digits: Path, tmp_path: Path) -> None:
    for batch in (3, 256):
        words = ("--seeds", "0-3", "--guidance", 1.5, "--batch", batch, "--npz", tmp_path / f"{batch}.npz")
        assert command("sample", digits, *words).code == 0
    command("sample", digits, "--seeds", "2", "--label", "7", "--guidance", 1.5, "--npz", tmp_path / "alone.npz")
    few, many, alone = (np.load(tmp_path / f"{name}.npz") for name in ("3", "256", "alone"))
    assert few["images"].shape == (40, 8, 8, 1)
    assert np.abs(few["images"].astype(int) - many["images"]).max() <= 1
    row = np.flatnonzero((many["labels"] == 7) & (many["seeds"] == 2))
    assert np.abs(many["images"][row].astype(int) - alone["images"]).max() <= 1
    assert len(Arrays(str(tmp_path / "256.npz"), split="all")) == 40  # what sample writes, train reads


def test_single_pictures_carry_their_own_settings(command: Command, digits: Path, tmp_path: Path) -> None:
    words = ("--seeds", "7-8", "--each", tmp_path / "each")
    assert command("sample", digits, "--label", "1,4", *words, "--npz", tmp_path / "all.npz").code == 0
    files = sorted(path.name for path in (tmp_path / "each").iterdir())
    assert files == ["1-000007.png", "1-000008.png", "4-000007.png", "4-000008.png"]
    one = tmp_path / "each" / "4-000008.png"
    assert look(one).shape == (8, 8) and read_settings(one)["labels"] == [4] and read_settings(one)["seeds"] == [8]
    assert not (tmp_path / "samples.png").exists()
    command("sample", "--like", one, "--out", tmp_path / "again.png")
    assert np.abs(look(tmp_path / "again.png").astype(int) - look(one)).max() <= 1
    assert "exists already" in command("sample", digits, "--label", "1", *words).sentence


def test_class_names(command: Command, cats: Path, tmp_path: Path) -> None:
    made = command("sample", cats, "--label", "dog", "--seeds", "0-1", "--out", tmp_path / "a.png", "--json").json
    assert made["settings"]["labels"] == [1, 1]
    assert "did you mean 'dog'" in command("sample", cats, "--label", "dgo", "--out", tmp_path / "b.png").sentence
    assert "classes 0 to 1 (cat, dog)" in command("sample", cats, "--label", 2, "--out", tmp_path / "b.png").sentence


def test_a_model_without_classes(command: Command, plain: Path, tmp_path: Path) -> None:
    made = command("sample", plain, "--seeds", "0-3", "--out", tmp_path / "a.png", "--json").json
    assert made["count"] == 4 and made["settings"]["labels"] is None
    command("sample", "--like", tmp_path / "a.png", "--out", tmp_path / "b.png")
    assert np.array_equal(look(tmp_path / "a.png"), look(tmp_path / "b.png"))
    assert "knows no classes" in command("sample", plain, "--label", 3, "--out", tmp_path / "c.png").sentence


def test_guidance_needs_a_trained_null(command: Command, nullless: Path, plain: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "a.png", "--seeds", "0")
    assert "never learnt" in command("sample", nullless, "--guidance", 1.5, *out).sentence
    assert "never learnt" in command("sample", plain, "--guidance", 1.5, *out).sentence
    assert "never learnt" in command("evaluate", nullless, "--guidance", 1.5).sentence
    assert command("sample", nullless, "--guidance", 1, *out).code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--label", 10), "label 10 is out of range"),
        (("--label=-1",), "label -1 is out of range"),
        (("--seeds", "9-3"), "backwards"),
        (("--steps", 0), "whole number of steps, at least one"),
        (("--batch", 0), "at least one picture"),
        (("--columns", 0), "at least one"),
        (("--guidance", "nan"), "--guidance is nan"),
        (("--interval", "0.2-0.8"), "guides nowhere"),
        (("--sampler", "huen"), "did you mean 'heun'"),
        (("--sampler", "samplers.Karras"), "is no sampler"),
        (("--sampler", "torch.nn.Linear"), "no part is called"),
        (("--set", "sampler.oder=3"), "no setting 'oder'"),
        (("--set", "sampler=3"), "a part such as samplers.Heun"),
        (("--set", "steps=3"), "no setting 'steps'"),
        (("--set", "guidance.part=samplers.Heun"), "is no guidance"),
        (("--set", "guidance=3"), "a guidance is a part"),
        (("--set", "guidance.part=cfg"), "needs scale"),
        (("--set", "guidance.part=autoguidance", "guidance.scale=2", "guidance.weak=none"), "no run or model folder"),
        (("--guidance", 2, "--set", "guidance.denoiser=3"), "the place of the model itself"),
        (("--average", 0.9), "lies in (0, 0.28]"),
        (("--device", "gpu"), "no device 'gpu'"),
    ],
)
def test_refusals_leave_what_is_there(
    command: Command, digits: Path, tmp_path: Path, words: tuple[Any, ...], sentence: str
) -> None:
    out = tmp_path / "mine.png"
    out.write_bytes(b"mine")
    assert sentence in command("sample", digits, "--out", out, "--overwrite", *words).sentence
    assert out.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [out]


def test_files_are_not_replaced_unasked(command: Command, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.png"
    out.write_bytes(b"mine")
    assert "--overwrite" in command("sample", digits, "--out", out).sentence
    assert out.read_bytes() == b"mine"
    assert command("sample", digits, "--seeds", 0, "--out", out, "--overwrite").code == 0


def reseal(folder: Path) -> None:
    """Write the manifest anew, as someone would who meant the change."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["sha256"]  # its own
    for name in manifest["files"]:
        manifest["files"][name] = {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_damaged_and_foreign_models(command: Command, digits: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        shutil.copytree(digits / "model", tmp_path / name)
        return tmp_path / name

    def sentence(model: Path) -> str:
        return str(command("sample", model, "--seeds", 0, "--out", tmp_path / "a.png").sentence)

    model = broken("truncated")
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert "truncated" in sentence(model)
    reseal(model)
    assert "truncated or damaged" in sentence(model)

    model = broken("another shape")
    tree = config.load(model / "config.yaml")
    tree["model"]["network"]["width"] = 16
    (model / "config.yaml").write_text(config.dumps(tree))
    assert "config.yaml" in sentence(model)
    reseal(model)
    assert "another architecture" in sentence(model)

    model = broken("another schema")
    (model / "config.yaml").write_text((model / "config.yaml").read_text().replace("schema: 1", "schema: 99"))
    assert "config.yaml" in sentence(model)
    reseal(model)
    assert "schema 99" in sentence(model)
    assert "holds no finished model" in sentence(tmp_path)
    assert "no run or model folder" in sentence(tmp_path / "none")
