"""Autoencoders and models of codes from the command line: trained, resumed, drawn from, judged."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import mezzotint as mz
from mezzotint.autoencoders import KL, VQ, Encoded
from mezzotint.cli import main
from mezzotint.cli.codes import edits
from mezzotint.core.config import load
from mezzotint.data import Digits
from mezzotint.denoiser import Chunked
from mezzotint.metrics.fidelity import psnr_each
from mezzotint.metrics.seen import digest
from mezzotint.training.pictures import pixels, read_settings

Command = Callable[..., Any]
QUICK = ["training.batch=64", "training.picture=320", "training.save=320"]
SHORT = ["--images", "320", "--width", "16", "--set", *QUICK]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder of each kind, and a model of the codes of each."""
    path = tmp_path_factory.mktemp("codes")
    for kind, more in (("vq", ["model.vocab=12"]), ("kl", ["model.code=3"])):
        words = ["train", "digits", "--autoencoder", kind, "--out", path / kind, *SHORT, "model.down=1", *more]
        assert main([str(word) for word in words]) == 0
    for kind, steps in (("vq", 4), ("kl", 2)):
        words = ["train", "digits", "--codes", path / kind, "--out", path / f"of-{kind}", *SHORT]
        assert main([str(word) for word in [*words, f"training.sampler.steps={steps}"]]) == 0
    return path


def test_an_autoencoder_shows_pictures_above_what_comes_back(home: Path) -> None:
    held, vq = Digits().held_out()[:20][0], mz.load(home / "vq")
    assert isinstance(vq, VQ) and vq.latent == (4, 4) and vq.vocab == 12 and isinstance(mz.load(home / "kl"), KL)
    with torch.no_grad():
        back = pixels(vq.decode(vq.encode(held).mean))
    sheet = np.asarray(Image.open(home / "vq" / "samples" / "0000000320.png").convert("L"))
    scale = (sheet.shape[0] - 5) // (4 * 8)  # four rows of pictures, a pixel between them
    side = 8 * scale + 1
    for row, shown in enumerate((pixels(held[:10]), back[:10], pixels(held[10:]), back[10:])):
        for column in range(10):
            tile = sheet[row * side + 1 :, column * side + 1 :][: 8 * scale : scale, : 8 * scale : scale]
            assert np.abs(tile.astype(int) - shown[column].squeeze().astype(int)).max() <= 1


def test_an_autoencoder_is_judged_by_what_comes_back(command: Command, home: Path, tmp_path: Path) -> None:
    held = Digits().held_out()[:][0]
    for kind in ("vq", "kl"):
        said = command("evaluate", home / kind, "--json", "--out", tmp_path / f"{kind}.json").json
        model = mz.load(home / kind)
        with torch.no_grad():
            z = model.encode(held).mean
            truth = psnr_each(model.decode(z).clamp(-1, 1), held)
        measures = said["measures"]
        assert measures["psnr"]["value"] == pytest.approx(float(truth.mean()), abs=1e-4)
        assert measures["psnr"]["low"] < measures["psnr"]["value"] < measures["psnr"]["high"]
        if kind == "kl":
            assert measures["code_std"]["value"] == pytest.approx(float(z.std(correction=0)), abs=1e-4)
            continue
        share = np.bincount(z.flatten().numpy(), minlength=12) / z.numel()
        assert measures["code_usage"]["value"] == pytest.approx((share > 0).mean())
        entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
        assert measures["perplexity"]["value"] == pytest.approx(np.exp(entropy), rel=1e-5)
    text = command("evaluate", home / "vq", "--count", 50).out
    assert "64 numbers a sample become 16 symbols of 12, of the shape 4x4" in text and "psnr" in text
    assert "psnr" in command("show", home / "vq").out
    assert "--steps says nothing about an autoencoder" in command("evaluate", home / "vq", "--steps", 3).sentence


def test_the_way_on_reads_the_same_pictures(command: Command, tmp_path: Path) -> None:
    for number in range(12):
        folder = tmp_path / "my pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9 + number, 11), 20 * number).save(folder / f"{number}.png")
    run, words = tmp_path / "vq", ("--images", "16", "--width", "4", "--set", "training.batch=8", "data.under=black")
    said = command("train", folder.parent, "--size", "8", "--autoencoder", "vq", "--out", run, *words, "--json")
    assert said.code == 0, said
    learn = shlex.split(said.json["next"]["learn"])
    assert learn[3:5] == ["--size", "8"] and learn[5:7] == ["--set", "data.under=black"]
    assert command(*learn[1:], "--dry-run").code == 0
    again = command("train", run, "--resume", "--images", "32", "--json").json["next"]["learn"]
    assert again.startswith("mezzotint train PICTURES --size 8 --codes ")


def test_codes_move_with_their_autoencoder(command: Command, home: Path, tmp_path: Path) -> None:
    tree, there = load(home / "of-vq" / "config.yaml"), tmp_path / "else where"
    shutil.copytree(home / "vq", there)
    moved = [f"data.folder={json.dumps(str(there))}"]
    assert edits(tree, moved) == [*moved, f"data.cache={json.dumps(str(there / 'codes'))}"]
    assert edits(tree, [*moved, "data.cache=null"]) == [*moved, "data.cache=null"]
    assert edits(tree, ["data.split=train"]) == ["data.source.split=train"]
    assert edits(tree, ["data.folder=nowhere"]) == ["data.folder=nowhere", "data.cache=null"]
    words = ("--set", *moved, "--count", 16, "--json", "--out", tmp_path / "a.json")
    assert command("evaluate", home / "of-vq", *words).code == 0


@pytest.mark.parametrize("kind", ["vq", "kl"])
def test_samples_are_the_decoded_ones(command: Command, home: Path, kind: str, tmp_path: Path) -> None:
    run, out = home / f"of-{kind}", tmp_path / "a.png"
    said = command("sample", run, "--label", "3", "--seeds", "0-4", "--out", out, "--npz", tmp_path / "a.npz", "--json")
    assert said.code == 0, said
    settings, model = read_settings(out), mz.load(run)
    sampler = mz.build(load(run / "config.yaml")["training"]["sampler"])
    cond = mz.Condition(label=torch.full((5,), 3))
    z = sampler(Chunked(model, settings["rows"]), cond, rng=mz.Rng(range(5)))
    assert z.shape[1:] == ((4, 4) if kind == "vq" else (3, 4, 4))
    with torch.no_grad():
        truth = pixels(mz.load(home / kind).decode(z))
    assert np.abs(np.load(tmp_path / "a.npz")["images"].astype(int) - truth.astype(int)).max() <= 1
    again = tmp_path / "again.png"
    assert command("sample", "--like", out, "--out", again).code == 0
    assert np.array_equal(np.asarray(Image.open(again)), np.asarray(Image.open(out)))
    size = "makes samples of shape (4, 4)" if kind == "vq" else "is of codes of one size"
    assert size in command("sample", run, "--size", "8x8").sentence
    assert "holds an autoencoder" in command("sample", home / kind).sentence


def test_models_of_codes_are_judged(command: Command, home: Path, tmp_path: Path) -> None:
    said = command("evaluate", home / "of-vq", "--count", 64, "--json", "--out", tmp_path / "a.json").json
    assert said["symbols"] == {"vocab": 12, "a_sample": 16} and 0 < said["measures"]["nats_per_symbol"]["value"] < 4
    words = ("--count", 32, "--measures", "frechet_pixels,neighbour_ratio", "--json", "--out", tmp_path / "b.json")
    real = command("evaluate", home / "of-kl", *words).json
    assert real["counts"]["train"] == 1437
    assert tuple(mz.load(home / "of-kl").shape) == Encoded.of(Digits(), home / "kl").shape == (3, 4, 4)
    assert real["counts"]["held_out_sha256"] == digest(Digits().held_out(), "the pictures")  # pixels, and not codes
    assert real["measures"]["frechet_pixels"]["real"]["value"] < real["measures"]["frechet_pixels"]["value"]


def test_a_run_of_codes_goes_on(command: Command, home: Path) -> None:
    run = home / "of-vq"
    before = load(run / "config.yaml")
    assert before["data"]["part"] == "autoencoders.Encoded" and len(before["data"]["sha256"]) == 64
    assert command("train", "digits", "--codes", home / "vq", "--out", run, "--resume", "--images", 384).code == 0
    assert command("train", run, "--resume", "--images", 448, "--json").json["images"] == 448
    after = load(run / "config.yaml")
    assert after["model"] == before["model"] and after["data"] == before["data"]
    other = command("train", "digits", "--codes", home / "kl", "--out", run, "--resume")
    assert "is another, and its codes mean something else" in other.sentence
    assert command("train", "digits", "--autoencoder", "vq", "--out", home / "vq", "--resume", "--dry-run").code == 0


@pytest.mark.parametrize(("name", "networks"), [("chain", 3), ("raster", 1)])
def test_chains_of_codes(command: Command, home: Path, name: str, networks: int, tmp_path: Path) -> None:
    words = ("train", "digits", "--codes", home / "vq", "--model", name, *SHORT[:4])
    tree = command(*words, "--dry-run", "--json", "--set", *QUICK).json
    assert tree["model"]["part"] == "denoiser.Chain" and len(tree["model"]["networks"]) == networks
    (tmp_path / "recipe.yaml").write_text(json.dumps(tree))
    run = tmp_path / "run"
    assert command("train", tmp_path / "recipe.yaml", "--out", run).code == 0
    assert command("sample", run, "--label", "1", "--seeds", "0-3", "--out", tmp_path / "a.png").code == 0
    said = command("evaluate", run, "--count", 32, "--json").json
    assert said["bound"]["part"] == "objectives.ChainBound" and 1 < said["measures"]["nats_per_symbol"]["value"] < 4


def test_flags_that_make_no_sense_are_refused(command: Command, home: Path, tmp_path: Path) -> None:
    cases = [
        (("digits", "--autoencoder", "gan"), "--autoencoder is vq (codes are symbols) or kl"),
        (("digits", "--autoencoder", "vq", "--codes", home / "vq"), "train the autoencoder first"),
        (("digits", "--codes", home / "of-vq"), "--codes names the run of an autoencoder"),
        (("digits", "--codes", tmp_path / "none"), "--codes names the run of an autoencoder"),
        (
            ("digits", "--codes", home / "vq", "--model", "tree"),
            "--model is chain, masked, raster or layout, not 'tree'",
        ),
        (("digits", "--codes", home / "kl", "--model", "chain"), "these data hold real codes"),
        (("digits", "--model", "raster"), "these data hold no symbols"),
        (("scenes", "--codes", home / "vq", "--size", "16"), "takes samples of the shape (1, 8, 8)"),
        ((home / "of-vq", "--codes", home / "vq", "--out", tmp_path / "x"), "--codes is for pictures"),
    ]
    for words, why in cases:
        assert why in command("train", *words).sentence


def test_vectors_of_another_autoencoder_are_refused_though_they_fit(
    command: Command, home: Path, tmp_path: Path
) -> None:
    """One that was copied is the same; one whose weights moved has as many vectors, of other codes."""
    same, other = (shutil.copytree(home / "vq", tmp_path / name) for name in ("same", "other"))
    weights = load_file(other / "model" / "model.safetensors")
    weights["codebook.weight"] = weights["codebook.weight"] + 0.1
    save_file(weights, other / "model" / "model.safetensors")
    words = ["train", "digits", "--codes", home / "vq", "--out", tmp_path / "run", *SHORT]
    around = "training.objective+={part: objectives.ContextPrediction, codebook: '%s'}"
    said = command(*words, around % other).sentence
    assert "other" in said and "vq" in said and not (tmp_path / "run").exists()
    assert "another autoencoder" in command(*words, around % other, "--dry-run").sentence
    # The same without this command line: a recipe by hand that records no hash, and codes inside another data set.
    tree = command(*words, around % same, "--dry-run", "--json").json
    tree["training"]["objective"]["codebook"] = str(other)
    tree["data"]["sha256"] = None
    with pytest.raises(mz.Refusal, match="another autoencoder"):
        mz.training.train(tree, tmp_path / "run")
    objective = mz.build(tree["training"]["objective"])
    with pytest.raises(mz.Refusal, match="another autoencoder"):
        objective.suits(mz.data.Untold(mz.build(tree["data"])))
    mz.objectives.Hybrid(mz.build({**tree["training"]["objective"], "codebook": str(same)}), 10).suits(
        mz.build(tree["data"])
    )
    assert not (tmp_path / "run").exists()
