"""Models of symbols from the command line: texts, shades, prompts, and likelihoods beside the exact one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.special import stdtrit

import mezzotint as mz
from mezzotint.cli import main
from mezzotint.cli.likelihood import costs, objective
from mezzotint.cli.symbols import Prompt, completing
from mezzotint.data import Chain, Digits, Shaded, TextFile
from mezzotint.denoiser import Chunked, Markov
from mezzotint.metrics.pictures import subset
from mezzotint.processes import Absorbing, Blockwise, Multinomial
from mezzotint.samplers import Ancestral, Sampling, Uniform
from mezzotint.training.texts import read_settings

Command = Callable[..., Any]
PROSE = "Der Kupferstecher schabt die Platte, bis sie glänzt; aus Schwarz wird Licht.\n" * 60


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, a run on it, and a run on digits in five shades."""
    path = tmp_path_factory.mktemp("symbols")
    (path / "prose.txt").write_text(PROSE, encoding="utf-8")
    quick = ["training.batch=64", "training.sampler.steps=6", "training.picture=320", "training.save=320"]
    quick += ["--images", "320", "--width", "16"]
    text = ["train", path / "prose.txt", "--out", path / "text", "--set", "data.length=24", *quick]
    data = {"data": {"part": "data.Shaded", "source": {"part": "data.Digits"}, "shades": 5}}
    (path / "shades.yaml").write_text(yaml.safe_dump(data))
    shades = ["train", path / "shades.yaml", "--out", path / "shades", "--set", *quick]
    for words in (text, shades):
        assert main([str(word) for word in words]) == 0
    return path


def written(path: Path) -> list[str]:
    """The texts of a sheet, by splitting it at its titles."""
    pieces = path.read_text(encoding="utf-8").rpartition("mezzotint: ")[0].split("--- seed ")[1:]
    return [piece.split(" ---\n", 1)[1].removesuffix("\n").removesuffix("\n") for piece in pieces]


def test_texts_are_those_of_the_sampler_and_come_back(command: Command, home: Path, tmp_path: Path) -> None:
    first, again, one = tmp_path / "first.txt", tmp_path / "again.txt", tmp_path / "one.txt"
    said = command("sample", home / "text", "--seeds", "0-4", "--steps", 5, "--out", first, "--npz", tmp_path / "a.npz")
    assert said.code == 0 and "5 texts in" in said.out, said
    data = TextFile(str(home / "prose.txt"), length=24)
    model = mz.load(home / "text")
    settings = read_settings(first)
    x = Ancestral(5, grid=Uniform())(Chunked(model, settings["rows"]), rng=mz.Rng(range(5)))
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.array_equal(arrays["symbols"], x) and arrays["texts"].tolist() == data.spelt(x)
    assert written(first) == data.spelt(x)
    assert command("sample", "--like", first, "--out", again).code == 0
    assert again.read_bytes() == first.read_bytes()
    assert command("sample", home / "text", "--seeds", "3-3", "--steps", 5, "--out", one).code == 0
    assert written(one) == data.spelt(x[3:4])  # whatever is drawn beside it
    assert command("sample", home / "text", "--seeds", "1", "--each", tmp_path / "each").code == 0
    assert [file.name for file in (tmp_path / "each").iterdir()] == ["000001.txt"]


def test_a_prompt_stands_at_the_beginning(command: Command, home: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "out.txt", tmp_path / "again.txt"
    assert command("sample", home / "text", "--prompt", "glänzt", "--seeds", "0-7", "--out", out).code == 0
    texts = written(out)
    assert all(text.startswith("glänzt") for text in texts) and len(set(texts)) == 8
    assert command("sample", "--like", out, "--out", again).code == 0
    assert again.read_bytes() == out.read_bytes()
    for words, says in (
        (("--prompt", ""), "0 symbols, but texts of this model have 24"),
        (("--prompt", "die Platte, " * 2), "24 symbols, but texts"),
        (("--prompt", "Qu"), "'Q' is not among"),
        (("--out", tmp_path / "a.png"), "ends in .txt"),
        (("--size", "3x3"), "have no --size"),
        (("--label", "1"), "knows no classes"),
    ):
        assert says in command("sample", home / "text", *words).sentence


def test_a_prompt_decides_what_follows(command: Command, tmp_path: Path) -> None:
    """Of an exact chain: what is drawn behind a prompt has the law of the chain from there on."""
    chain = Chain(vocab=4, length=6, sharpness=2.0, seed=5)
    for process in (Absorbing(4), Multinomial(4)):
        exact = Markov(process, chain.start, chain.step, (6,))
        prompt = Prompt("..", torch.tensor([2, 1]))
        steps = 24 if process.mask is not None else 48
        run = completing(Sampling(Ancestral(steps, grid=Uniform()), exact))
        x = run(prompt.cond(2_000, (6,)), mz.Rng(range(2_000)))
        assert bool((x[:, :2] == torch.tensor([2, 1])).all())
        law = chain.step[1]
        for place in range(2, 6):
            share = torch.bincount(x[:, place], minlength=4).double() / 2_000
            error = (law * (1 - law) / 2_000).sqrt()
            if process.mask is not None:  # on others the prompt is lost at first, and known only little by little
                assert bool(((share - law).abs() < 4.5 * error + 0.01).all()), (place, share, law)
            law = law @ chain.step


def test_shades_are_drawn(command: Command, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "threes.npz"
    words = ("--label", "3,5", "--guidance", 1.5, "--seeds", "0-3", "--npz", out, "--out", tmp_path / "t.png")
    assert command("sample", home / "shades", *words).code == 0
    with np.load(out) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    assert images.shape == (8, 8, 8, 1) and labels.tolist() == [3, 5] * 4
    assert set(np.unique(images).tolist()) <= {0, 64, 128, 191, 255}
    model = mz.load(home / "shades")
    guided = mz.guidance.CFG(Chunked(model, 64), 1.5)
    x = Ancestral(6, grid=Uniform())(
        guided, mz.Condition(label=torch.tensor([3, 5] * 4)), rng=mz.Rng([s for s in range(4) for _ in range(2)])
    )
    want = ((Shaded(Digits(), 5).drawn(x) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    assert np.array_equal(images, want)
    assert command("sample", "--like", tmp_path / "t.png", "--out", tmp_path / "u.png").code == 0
    assert (tmp_path / "t.png").read_bytes() == (tmp_path / "u.png").read_bytes()
    assert "writes no texts" in command("sample", home / "shades", "--prompt", "a").sentence


@pytest.mark.parametrize("process", [Absorbing(5), Multinomial(5), Blockwise(Absorbing(5), 7)])
def test_the_bound_of_an_exact_model_is_its_likelihood(process: Any) -> None:
    """On masks the bound of exact conditionals is the likelihood itself; on others a chain of steps adds a little."""
    chain = Chain(vocab=5, length=7, size=100, held_out_size=400, seed=2)
    exact = Markov(process, chain.start.tolist(), chain.step.tolist(), (7,))
    assert abs(exact.entropy - 7 * chain.entropy) < 1e-9
    held, rows = chain.held_out(), np.arange(400)
    nats = costs(exact, objective(exact), held, rows, seed=0)
    # Against the exact likelihood of the same samples, so that only the corruptions are left to chance.
    apart = nats + exact.log_prob(held[:][0]).numpy()
    error = float(apart.std(ddof=1)) / 20
    assert error < 0.4 and abs(float(apart.mean())) < 3.5 * error + (0.02 if process.mask is None else 0)


def test_runs_of_symbols_are_listed_shown_compared_and_judged(command: Command, home: Path, tmp_path: Path) -> None:
    for run in ("text", "shades"):
        said = command("evaluate", home / run, "--count", 20, "--out", home / run / "reports" / "a.json", "--overwrite")
        assert said.code == 0 and "bits_per_symbol" in said.out, said
        assert "nats_per_symbol" in command("show", home / run).out
    report = command("evaluate", home / "text", "--count", 20, "--out", tmp_path / "b.json", "--json").json
    model, held = mz.load(home / "text"), TextFile(str(home / "prose.txt"), length=24).held_out()
    nats = costs(Chunked(model, report["rows"]), objective(model), held, subset(len(held), 20), seed=0) / 24
    found = report["measures"]["bits_per_symbol"]
    assert abs(found["value"] * math.log(2) - nats.mean()) < 1e-9 and found["count"] == min(20, len(held))
    half = float(stdtrit(len(nats) - 1, 0.975)) * nats.std(ddof=1) / math.sqrt(len(nats)) / math.log(2)
    assert abs(found["high"] - found["value"] - half) < 1e-9 and abs(found["value"] - found["low"] - half) < 1e-9
    assert "bits/symbol" in command("runs", "list", home).out
    page = tmp_path / "page.html"
    said = command("runs", "compare", home / "text", home / "shades", "--out", page, "--overwrite")
    assert said.code == 2 and "--despite count,reference would allow it" in said.err  # of other symbols
    assert "--- seed 0 ---" in page.read_text(encoding="utf-8")
    for words, says in (
        (("--steps", 3), "--steps says nothing about a model of symbols"),
        (("--guidance", 2), "--guidance says nothing"),
        (("--measures", "kid"), "--measures says nothing"),
        (("--set", "sampler.eta=0"), "says nothing about a likelihood"),
    ):
        assert says in command("evaluate", home / "text", *words).sentence
    assert command("doctor", home / "text").code == 0
    assert "writes texts, and edits are of pictures" in command("edit", home / "text", "a.png").sentence


def test_a_run_of_a_text_goes_on(command: Command, home: Path, tmp_path: Path) -> None:
    """With the length it had, which is not said again."""
    out = tmp_path / "run"
    words = ("train", home / "prose.txt", "--out", out, "--width", 32, "--images", 128)
    quick = ("training.batch=64", "training.sampler.steps=2")
    assert command(*words, "--set", "data.length=16", *quick).code == 0
    said = command("train", home / "prose.txt", "--out", out, "--resume", "--images", 256)
    assert said.code == 0 and mz.training.Run.open(out).config["data"]["length"] == 16, said
    for flags, says in ((("--size", 8), "--size says nothing about the text"), (("--skip-broken",), "--skip-broken")):
        assert says in command("train", home / "prose.txt", "--out", tmp_path / "no", *flags).sentence


def test_data_that_changed_are_refused(command: Command, home: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text(PROSE + "QXY" * 100, encoding="utf-8")
    said = command("sample", home / "text", "--set", f"data.path={tmp_path / 'other.txt'}", "--out", tmp_path / "a.txt")
    assert "they have changed, so nobody knows what a symbol stands for" in said.sentence
    gone = command("sample", home / "text", "--set", "data.path=gone.txt", "--out", tmp_path / "a.txt")
    assert "there is no file of text 'gone.txt'" in gone.sentence
