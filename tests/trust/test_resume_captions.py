"""A run with captions that is stopped and goes on is the run that was not stopped, and trains without a word."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resumes
import torch
import trial

import mezzotint as mz
from mezzotint.conditions import Encoder, Text, TextWarning, Words
from mezzotint.core import Condition
from mezzotint.training.stop import Stopped

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAID = ("a {}", "the digit {} by hand", "{}", "")


class Told(mz.data.Digits):
    """Digits with a caption in place of their label; a quarter of them is told nothing."""

    def condition(self, rows: Any) -> Condition:
        names = [NAMES[label] for label in self.labels[rows]]
        return Condition(caption=[SAID[row % 4].format(name) for row, name in zip(rows, names, strict=True)])

    @property
    def classes(self) -> tuple[str, ...]:
        return ()


def fitted(folder: Path, data: mz.data.Data, resume: bool = False) -> None:
    torch.manual_seed(1)
    words = Words.of(f"the digit {name} by hand" for name in NAMES[:8])  # "a", eight and nine stay unknown
    encoder = Encoder(caption=Text(words, width=16, depth=1, heads=2, length=4, pooled=16))
    network = mz.networks.UViT((1, 8, 8), width=16, depth=0, heads=2, patch=4, vector=16, tokens=16)
    model = mz.denoiser.Preconditioned(network, mz.processes.EDM(), encoder, sigma_data=data.std)
    trainer = mz.training.Trainer(
        mz.objectives.Denoising(dropout={"caption": 0.2}), images=6 * 32, batch=32, accumulate=2, log=64, save=96,
        picture=192, sampler=mz.samplers.Heun(1), averages=(0.1,), seed=3,
    )  # fmt: skip
    with trial.few():
        trainer.fit(model, data, folder, resume=resume)


def test_a_run_with_captions_goes_on_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.Told.__module__", "mezzotint.data")
    data = Told()
    with warnings.catch_warnings():
        warnings.simplefilter("error", TextWarning)
        fitted(tmp_path / "whole", data)
    for steps in (1, 4):
        run = tmp_path / f"stopped {steps}"
        with resumes.told_to_stop(steps), pytest.raises(Stopped):
            fitted(run, data)
        fitted(run, data, resume=True)
        assert trial.differences(run, tmp_path / "whole") == [], steps
    kept, _ = mz.training.Run(tmp_path / "whole").load(192)
    assert bool(kept["model"]["encoder.parts.caption.null_trained"])
    model = mz.load(tmp_path / "whole")
    assert model.nulls == ("caption",)
    with pytest.warns(TextWarning, match="'nine'"):
        x = mz.samplers.Heun(2)(model, Condition(caption=["the digit nine"]), rng=mz.Rng([0]))
    assert x.shape == (1, 1, 8, 8) and np.isfinite(x.numpy()).all()
