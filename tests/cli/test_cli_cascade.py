"""Cascades from the command line: trained from one recipe, drawn as a whole, and told apart when they do not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mezzotint as mz
from mezzotint.cascades import load
from mezzotint.core import config
from mezzotint.core.store import load_tensors
from mezzotint.training.pictures import pixels, read_settings, save_png

Command = Callable[..., Any]
QUICK = (
    "training.batch=32",
    "training.sampler.steps=2",
    "training.rate.warmup=1",
    "training.rate.peak=0.03",
    "training.rate.cooldown=0",
    "training.picture=100k",
    "training.save=100k",
    "training.log=100k",
)
SHORT = ("--width", 8, "--set", *QUICK)


@pytest.fixture(scope="module")
def runs(place: Path) -> Path:
    """Three stages on digits, 2 -> 4 -> 8, told noise; it stays as it is."""
    from mezzotint.cli import main

    out = place / "cascade"
    words = ["train", "digits", "--cascade", "2,4,8", "--out", out, "--images", "96,64,32", *SHORT, "--json"]
    assert main([str(word) for word in words]) == 0
    return out


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Path:
    shutil.copytree(runs, tmp_path / "c")
    return tmp_path / "c"


def edited(place: Path, **changes: Any) -> None:
    """``cascade.yaml`` with values of its last stage changed."""
    tree = config.load(place / "cascade.yaml")
    tree["stages"][-1] |= changes
    (place / "cascade.yaml").write_text(config.dumps(tree))


def pictures(folder: Path) -> Path:
    """Ten grey pictures 8 x 8."""
    folder.mkdir()
    for number in range(10):
        values = np.random.default_rng(number).integers(0, 256, (8, 8)).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    return folder


def images(path: Path) -> np.ndarray:
    found: np.ndarray = np.load(path)["images"]
    return found


def test_one_recipe_prints_and_trains_all_stages(command: Command, runs: Path, tmp_path: Path) -> None:
    words = ("train", "digits", "--cascade", "2,4,8", "--images", "96,64,32", *SHORT)
    said = command(*words, "--dry-run")
    assert said.code == 0 and [one["name"] for one in config.loads(said.out)["stages"]] == ["2", "4", "8"]
    (tmp_path / "recipe.yaml").write_text(said.out)
    other = tmp_path / "other"
    assert command("train", tmp_path / "recipe.yaml", "--out", other).code == 0
    assert config.load(other / "cascade.yaml") == config.load(runs / "cascade.yaml")
    for name, seen in (("2", 96), ("4", 64), ("8", 32)):
        one, two = (load_tensors(folder / name / "model" / "model.safetensors") for folder in (runs, other))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
        assert (runs / name / "checkpoints" / f"{seen:010d}").is_dir()


def test_it_goes_on_wherever_it_stopped(command: Command, runs: Path, copy: Path) -> None:
    """As after a kill at the end of the second stage: what is over is left alone, the rest ends as without it."""
    shutil.rmtree(copy / "8")
    shutil.rmtree(copy / "4" / "model")
    log = (copy / "2" / "metrics.jsonl").stat().st_mtime_ns
    assert command("train", copy, "--resume").code == 0
    assert (copy / "2" / "metrics.jsonl").stat().st_mtime_ns == log
    for name in ("4", "8"):
        model = Path(name, "model", "model.safetensors")
        assert (copy / model).read_bytes() == (runs / model).read_bytes()
    said = command("train", "digits", "--cascade", "2,4,8", "--out", copy, "--resume", "--images", "96,64,64", "--json")
    assert said.code == 0, said.err
    assert [one["images"] for one in said.json["stages"].values()] == [96, 64, 64]
    assert (
        "has the sizes 2,4,8, not 4,8"
        in command("train", "digits", "--cascade", "4,8", "--out", copy, "--resume").sentence
    )
    assert "is a cascade: add --resume" in command("train", copy).sentence


def test_edits_of_one_stage_and_of_all(command: Command, tmp_path: Path) -> None:
    words = ("train", pictures(tmp_path / "a"), "--cascade", "4,8", "--dry-run", "--json", "--augment", "blur")
    tree = command(*words, "--set", "training.clip=2", "8.training.clip=3", "data.links=true").json
    small, large = tree["stages"]
    assert (small["training"]["clip"], large["training"]["clip"]) == (2, 3)
    assert small["data"]["source"]["links"] and large["data"]["source"]["links"]
    assert large["training"]["objective"]["augment"]["part"] == "conditions.Blurred"


def test_the_picture_is_the_cascade_of_its_parts(command: Command, runs: Path, tmp_path: Path) -> None:
    """What the command draws is what the stages draw by hand, one after the other, under the keys of their names."""
    out = tmp_path / "a.png"
    words = ("--label", "3,5", "--seeds", "0-3", "--levels", "0.2,0.1", "--steps", "3,2,4", "--guidance", "2,1,1")
    assert command("sample", runs, *words, "--stages", "--out", out, "--npz", tmp_path / "a.npz").code == 0
    labels, seeds = torch.tensor([3, 5] * 4), [seed for seed in range(4) for _ in range(2)]
    cond, rng, x = mz.Condition(label=labels), mz.Rng(seeds), torch.zeros(0)
    augment = mz.conditions.Noised()
    for name, steps, scale, level in (("2", 3, 2.0, None), ("4", 2, 1.0, 0.2), ("8", 4, 1.0, 0.1)):
        model, keys, told = mz.load(runs / name), rng.at("stage", name), cond
        if level is not None:
            s = augment.process.time(torch.full((8,), level, dtype=torch.float64))
            z = augment.corrupted(x, s, keys.at("augment"))
            told = cond | mz.Condition(**{"low": z, "low.level": torch.full((8,), level, dtype=torch.float64)})
        guided = model if scale == 1 else mz.guidance.CFG(model, scale)
        x = mz.samplers.Heun(steps)(guided, told, rng=keys)
    assert np.abs(images(tmp_path / "a.npz").astype(int) - pixels(x).astype(int)).max() <= 1
    sheets = [np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "a-2.png", "a-4.png")]
    assert len({sheet.shape for sheet in sheets}) == 1 and not np.array_equal(sheets[0], sheets[2])
    said = read_settings(out)["cascade"]
    assert said["levels"] == [0.2, 0.1] and [one["sampler"]["steps"] for one in said["stages"]] == [3, 2, 4]


def test_a_picture_is_repeated_and_does_not_feel_its_neighbours(command: Command, runs: Path, tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in ("a.png", "b.npz", "c.npz"))
    asked = ("--label", "3", "--seeds", "0-9", "--rows", 8)
    first = ("sample", runs, *asked, "--truncated", "--levels", "0.3", "--steps", 4)
    assert command(*first, "--out", a, "--npz", c).code == 0
    assert command("sample", "--like", a, "--apart", "--out", tmp_path / "again.png", "--npz", b).code == 0
    assert np.array_equal(images(b), images(c))
    assert np.array_equal(np.asarray(Image.open(a)), np.asarray(Image.open(tmp_path / "again.png")))
    assert command("sample", "--like", a, "--seeds", "7", "--npz", tmp_path / "one.npz", "--batch", 1).code == 0
    assert np.array_equal(images(tmp_path / "one.npz")[0], images(c)[7])
    assert command(*first[:-5], "--levels", "0.3", "--steps", 4, "--npz", tmp_path / "d.npz").code == 0
    assert not np.array_equal(images(tmp_path / "d.npz"), images(c))  # as drawn and noised is not stopped on its way
    for words in (("--truncated",), ()):
        name = tmp_path / f"clean{len(words)}.npz"
        assert command("sample", runs, "--label", "3", "--levels", 0, "--steps", 2, *words, "--npz", name).code == 0
    assert np.array_equal(images(tmp_path / "clean0.npz"), images(tmp_path / "clean1.npz"))


def test_a_run_that_has_gone_on_is_not_repeated(command: Command, copy: Path, tmp_path: Path) -> None:
    assert command("sample", copy, "--seeds", "0", "--out", tmp_path / "a.png").code == 0
    assert command("train", copy, "--resume", "--images", "96,96,32").code == 0
    assert "the stage '4' has the SHA-256" in command("sample", "--like", tmp_path / "a.png", "--overwrite").sentence


def test_what_it_is(command: Command, runs: Path, copy: Path) -> None:
    said = command("show", runs)
    assert "a cascade of 3 stages" in said.out and "low of 4" in said.out and "cannot be sampled" not in said.out
    assert command("show", runs, "--json").json["stages"][1]["run"]["images"] == 64
    shutil.rmtree(copy / "8")
    said = command("show", copy)
    assert "not begun" in said.out and "--resume" in said.out
    assert "evaluate judges one model" in command("evaluate", runs).sentence


def test_a_cascade_of_model_folders_from_a_stranger(command: Command, copy: Path) -> None:
    """What is there without a run is counted; names that would move the cursor are written out."""
    shutil.move(copy / "8" / "model", copy / "model")
    edited(copy, folder="model", name="8\x1b[2J")
    said = command("show", copy)
    assert "not known" in said.out and "not begun" not in said.out and "\x1b" not in said.out
    found = command("show", copy, "--json").json["stages"][-1]
    assert found["run"] is None
    assert found["parameters"] == sum(p.numel() for p in mz.load(copy / "model").parameters())


def test_settings_of_a_strangers_picture(command: Command, runs: Path, tmp_path: Path) -> None:
    """Whatever they are, they are refused in words."""
    out = tmp_path / "a.png"
    assert command("sample", runs, "--label", "3", "--seeds", "0", "--steps", 1, "--out", out).code == 0
    for place, value in (("levels", ["a", 0.1]), ("levels", [None, 0.1]), ("rows", True), ("average", "x")):
        settings = read_settings(out)
        home = {"rows": settings["cascade"]["stages"][0], "average": settings["model"]}
        home.get(place, settings["cascade"])[place] = value
        save_png(tmp_path / "b.png", np.zeros((8, 8, 1), np.uint8), settings)
        said = command("sample", "--like", tmp_path / "b.png", "--out", tmp_path / "c.png")
        assert "does not say how a cascade made it" in said.sentence, place


def test_stages_that_do_not_fit_say_what_they_expect(command: Command, copy: Path, tmp_path: Path) -> None:
    def refused(why: str) -> None:
        assert why in command("sample", copy, "--out", tmp_path / "a.png").sentence

    edited(copy, shape=[1, 16, 16])
    refused("says that the stage '8' draws pictures of shape (1, 16, 16)")
    edited(copy, shape=[1, 8, 8], takes={"low": "2"})
    refused("stage '8' expects 'low' of the shape (1, 4, 4), and stage '2' draws (1, 2, 2)")
    edited(copy, takes={"low": "4"}, told=[])
    refused("hears low, and its model hears label, low")
    edited(copy, told=["label"], folder="../c/8")
    refused("has to lie inside that of the cascade")
    edited(copy, folder="9")
    refused("which is no folder; train it")
    edited(copy, folder="8", level=2)
    refused("has the level 2")
    edited(copy, level=0.1, takes={"low": "5"})
    refused("takes what '5' draws, and the stages before it are 2, 4")
    edited(copy, takes={})
    refused("takes nothing from a stage before")
    edited(copy, name="x", folder="2", shape=[1, 2, 2], takes={"low": "4"})
    refused("a stage after the first is a super-resolution model")


def test_flags_that_make_no_sense_are_refused(command: Command, runs: Path, digits: Path, tmp_path: Path) -> None:
    cases = [
        (("train", "digits", "--cascade", "3,8"), "8 is not a whole multiple of 3"),
        (("train", "digits", "--cascade", "four"), "it names the sides of its pictures"),
        (("train", "digits", "--augment", "blur"), "say the sizes of the stages"),
        (("train", "digits", "--cascade", "4,8", "--augment", "fog"), "no augmentation 'fog'"),
        (("train", "digits", "--cascade", "4,8", "--images", "1k,2k,3k"), "names 3 values for 2 stages"),
        (("train", "digits", "--cascade", "4,8", "--autoencoder", "vq"), "--autoencoder is for one model"),
        (("sample", digits, "--levels", "0.1"), "--levels is for cascades"),
        (("sample", digits, "--steps", "2,3"), "one a stage is for cascades"),
        (("sample", digits, "--guidance", "2,3"), "one a stage is for cascades"),
        (("sample", runs, "--steps", "2,3"), "--steps names 2 numbers, and there are 3"),
        (("sample", runs, "--levels", "1.5"), "a level is a share of noise"),
        (("sample", runs, "--size", "16"), "--size is for one model"),
        (("sample", runs, "--label", "12"), "out of range"),
        (("sample", runs, "--average", "0.2"), "kept averages of the relative lengths 0.05, 0.1"),
    ]
    for words, why in cases:
        assert why in command(*words, "--out", tmp_path / "none").sentence, words


def test_stages_are_opened_from_python(runs: Path) -> None:
    cascade = load(runs, levels=[0.0, 0.0], apart=True, stages={"2": {"guidance": 2.0, "average": 0.10}})
    cond, rng = mz.Condition(label=torch.tensor([1, 2])), mz.Rng([0, 1])
    walked = list(cascade.walk(cond, rng))
    assert [tuple(one.x.shape) for one in walked] == [(2, 1, 2, 2), (2, 1, 4, 4), (2, 1, 8, 8)]
    plain = load(runs, levels=[0.0, 0.0])
    model = mz.load(runs / "2")
    tensors = load_tensors(runs / "2" / "checkpoints" / "0000000096" / "ema-0.100.safetensors")
    model.load_state_dict(tensors)
    truth = mz.samplers.Heun(2)(mz.guidance.CFG(model, 2.0), cond, rng=rng.at("stage", "2"))
    assert torch.equal(walked[0].x, truth)
    assert not torch.equal(next(iter(plain.walk(cond, rng))).x, truth)
    stored = mz.cascades.Stored(str(runs / "8"))
    same = mz.cascades.Stored(str(runs / "8"), sha256=stored.found())
    with same.open() as pipeline:
        assert pipeline.denoiser.shape == (1, 8, 8)
    with (
        pytest.raises(mz.core.Refusal, match="is asked for"),
        mz.cascades.Stored(str(runs / "8"), sha256="0" * 64).open(),
    ):
        pass
