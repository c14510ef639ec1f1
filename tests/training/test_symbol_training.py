"""Training on symbols: the loss against the exact entropy, and what a run shows of texts and of shades."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import mezzotint as mz
from mezzotint.core import Refusal
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Categorical
from mezzotint.core.learner import Learner
from mezzotint.data import Chain, Data, Digits, Shaded
from mezzotint.denoiser.base import Denoiser
from mezzotint.doctor.ailments import examine
from mezzotint.objectives.base import Loss, Objective
from mezzotint.processes import Absorbing
from mezzotint.samplers import Ancestral, Uniform
from mezzotint.training import Rate, Trainer
from mezzotint.training.pictures import enlargement, grid
from mezzotint.training.texts import plain, read_settings, save_texts, sheet


class Small(Denoiser, Learner):
    """Every entry from all others through one hidden layer."""

    def __init__(self, process: Absorbing, shape: tuple[int, ...], width: int = 64) -> None:
        super().__init__()
        self.process: Absorbing = process
        self.shape, self.uses_level = tuple(shape), False
        count = math.prod(shape)
        self.inner = nn.Sequential(
            nn.Flatten(), nn.Linear(count * process.symbols, width), nn.GELU(), nn.Linear(width, count * process.vocab)
        )

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: tuple[str, ...] = ()) -> Categorical:
        hot = nn.functional.one_hot(x, self.process.symbols).float()
        return Categorical(self.inner(hot).reshape(*x.shape, self.process.vocab))


class Bound(Objective):
    """Nats of a sample: masked entries' surprise over the share that is masked (2406.03736, lambda-DCE)."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: mz.Rng, player: str = "model") -> Loss:
        assert isinstance(model, Small)
        t = 1 - rng.uniform("time", ())
        x_t = model.process.corrupt(x, t).sample(rng.at("noise"))
        said = model.forward(x_t, t, cond).logits.log_softmax(-1).gather(-1, x[..., None])[..., 0]
        lost = x_t != x
        return Loss(-((said * lost).flatten(1).sum(1) / t.to(said)))


def fit(data: Data, folder: Path, images: int = 128, **more: object) -> mz.training.Run:
    assert data.vocab is not None
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "batch": 64,
        "sampler": Ancestral(8, grid=Uniform()),
        "rate": Rate(peak=1e-2, warmup=0),
    } | more
    return Trainer(Bound(), images, **settings).fit(Small(Absorbing(data.vocab), data.shape), data, folder)


def exact_bound(model: Denoiser, start: Tensor, step: Tensor, length: int) -> float:
    """The mean of the loss over all sequences of a chain, all masks and all shares: no draw is left in it.

    A set S of k entries is masked, and weighs, the integral of u^(k - 1) (1 - u)^(L - k) du = (k - 1)! (L - k)! / L!.
    """
    vocab, total = len(start), 0.0
    x = torch.cartesian_prod(*[torch.arange(vocab)] * length)
    probs = start[x[:, 0]] * torch.stack([step[x[:, i], x[:, i + 1]] for i in range(length - 1)]).prod(0)
    for lost in itertools.product([False, True], repeat=length):
        if k := sum(lost):
            mask = torch.tensor(lost)
            said = model(torch.where(mask, vocab, x), torch.ones(len(x))).log_prob(torch.where(mask, x, 0))
            # Entries that are known are not asked: what is said of symbol 0 there is taken out again.
            rest = model(torch.where(mask, vocab, x), torch.ones(len(x))).mean.log()[..., 0]
            nats = said - (rest * ~mask).sum(1)
            total -= float((probs * nats).sum()) * math.factorial(k - 1) * math.factorial(length - k)
    return total / math.factorial(length)


@torch.no_grad()
def test_the_loss_falls_to_the_entropy_and_not_below(tmp_path: Path) -> None:
    """The exported model's exact bound lies between the entropy and a tenth of the way to independent symbols."""
    chain = Chain(vocab=3, length=5, size=20_000, sharpness=3.0, seed=1)
    with torch.enable_grad():
        run = fit(chain, tmp_path / "run", 76_800, batch=256)
    model, (tensors, state) = Small(Absorbing(3), (5,)), run.load(76_800)
    model.load_state_dict(tensors[state["averages"][0]["file"]])
    bound, exact = exact_bound(model.eval(), chain.start, chain.step, 5), 5 * chain.entropy
    law = [chain.start @ torch.linalg.matrix_power(chain.step, place) for place in range(5)]
    alone = float(sum(torch.special.entr(p).sum() for p in law))
    assert exact < bound < exact + 0.1 * (alone - exact)
    held = [row["held_out"]["loss"] for row in run.metrics() if isinstance(row.get("held_out"), dict)][-1]
    # 512 sequences with one share of masks each; a draw spreads about as far as it is large.
    assert abs(held - bound) < 4 * bound / math.sqrt(512)
    assert [row["levels"] for row in run.metrics() if "levels" in row][-1] == []
    found, table = examine(run.path)
    assert table == [] and not [f for f in found.findings if f.severity == "wrong"]


def test_texts_are_shown_as_texts(tmp_path: Path) -> None:
    chain = Chain(vocab=5, length=9)
    run = fit(chain, tmp_path / "run")
    (*_, last) = sorted((run.path / "samples").iterdir())
    assert last.name == "0000000128.txt"
    shown = last.read_text(encoding="utf-8").split("\n")
    assert shown[0] == "--- seed 0 ---" and shown[3] == "--- seed 1 ---"
    lines = shown[1::3]
    assert len(lines) == 40 and all(len(line) == 9 and set(line) <= set("abcde") for line in lines)
    assert "A model of 10000 texts" in (run.path / "model" / "README.md").read_text()


def test_shades_are_shown_as_pictures(tmp_path: Path) -> None:
    """The sheet of the exported average: a column a class, seeds row by row."""
    shaded = Shaded(Digits(), 4)
    model = Small(Absorbing(4), shaded.shape)
    sampler = Ancestral(4, grid=Uniform())
    run = Trainer(Bound(), 128, batch=64, sampler=sampler).fit(model, shaded, tmp_path / "run")
    (*_, last) = sorted((run.path / "samples").glob("*.png"))
    tensors, state = run.load(128)
    model.load_state_dict(tensors[state["averages"][0]["file"]])
    with torch.no_grad():
        x = sampler(model.eval(), mz.Condition(label=torch.arange(10).repeat(4)), rng=mz.Rng(range(40)))
    want = grid(shaded.drawn(x), 10, enlargement(8, 8))
    assert np.array_equal(np.asarray(Image.open(last)), want[..., 0])
    levels = {0, 85, 170, 255, 32}
    assert set(np.unique(want).tolist()) <= levels
    assert "A model of 1437 pictures" in (run.path / "model" / "README.md").read_text()


def test_what_does_not_fit_is_refused_before_the_training(tmp_path: Path) -> None:
    chain = Chain(vocab=5, length=9)
    with pytest.raises(Refusal, match=r"training.sampler cannot draw from this model: Heun needs"):
        fit(chain, tmp_path / "run", sampler=mz.samplers.Heun(4))
    with pytest.raises(Refusal, match="the model is of 4 symbols, the data are 5 symbols"):
        Trainer(Bound(), 128).fit(Small(Absorbing(4), (9,)), chain, tmp_path / "run")
    with pytest.raises(Refusal, match="the model is of 4 symbols, the data are real numbers"):
        Trainer(Bound(), 128).fit(Small(Absorbing(4), (1, 8, 8)), Digits(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_texts_carry_their_settings(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    text = sheet(["ein\nTag\x1b[2J\x00", "mezzotint: {"], ["seed 0", "seed 1"])
    assert text == "--- seed 0 ---\nein\nTag\ufffd[2J\ufffd\n\n--- seed 1 ---\nmezzotint: {\n"
    settings = {"seeds": [1, 2], "said": "ü\n"}
    save_texts(file, text, settings)
    assert read_settings(file) == settings and file.read_text(encoding="utf-8").startswith(text)
    save_texts(file, text)
    with pytest.raises(Refusal, match="cannot be read|no settings|JSON"):
        read_settings(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(Refusal, match="carries no settings"):
        read_settings(file)
    assert plain("a\tb\nc\u009b") == "a\tb\nc\ufffd"
