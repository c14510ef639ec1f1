"""Tiny models, trained once a session through the command itself, and a way to call it as a shell would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mapped_world import save_files, save_models
from PIL import Image

from mezzotint.cli import main

QUICK = ["training.batch=32", "training.sampler.steps=2", "training.rate.warmup=64"]


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one sentence of a refusal; anything else on standard error, or another exit code, fails."""
        assert self.code == 2, self
        lines = self.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("mezzotint: ") and not self.out, self
        return lines[0].removeprefix("mezzotint: ")


Command = Callable[..., Said]


@pytest.fixture(scope="module", autouse=True)  # a package or session would last beyond these tests
def short_lessons() -> Iterator[None]:
    """The extractor of an evaluation learns from a tenth of the pictures: it is looked at, not relied on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mezzotint.metrics.extractor.IMAGES", 1440)
        yield


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


def train(*words: object) -> None:
    assert main(["train", *map(str, words)]) == 0


def picture(path: Path, shade: int, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(shade).integers(shade, shade + 40, (size, size)).astype(np.uint8)
    Image.fromarray(values).save(path)


def animals(folder: Path) -> Path:
    """Forty small pictures of two classes, dark and light."""
    for number in range(20):
        picture(folder / "cat" / f"{number}.png", number)
        picture(folder / "dog" / f"{number}.png", 180 + number)
    return folder


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def digits(place: Path) -> Path:
    """A run on digits: 512 images, checkpoints at 256 and 512; it stays as it is."""
    run = place / "digits"
    train("digits", "--out", run, "--images", 512, "--width", 8, "--set", *QUICK, "training.save=256", "--json")
    return run


@pytest.fixture(scope="session")
def nullless(place: Path) -> Path:
    """A run whose null was never trained."""
    run = place / "nullless"
    settings = ("--set", *QUICK, "training.objective.dropout=0")
    train("digits", "--out", run, "--images", 128, "--width", 8, *settings, "--json")
    return run


@pytest.fixture(scope="session")
def cats(place: Path) -> Path:
    """A run on a folder of two classes with names."""
    run = place / "cats"
    train(animals(place / "animals"), "--out", run, "--images", 128, "--width", 8, "--set", *QUICK, "--json")
    return run


@pytest.fixture(scope="session")
def plain(place: Path) -> Path:
    """A run on pictures without classes."""
    for number in range(30):
        picture(place / "loose" / f"{number}.png", 5 * number)
    run = place / "plain"
    train(place / "loose", "--out", run, "--images", 128, "--width", 8, "--set", *QUICK, "--json")
    return run


SMALL_TEXT = [
    "model.encoder.caption.width=16",
    "model.encoder.caption.pooled=16",
    "model.encoder.caption.depth=1",
    "model.network.tokens=16",
    "model.network.vector=16",
]


def shades(path: Path, count: int = 256, **more: Any) -> Path:
    """Dark and light squares that say which they are; every other one of them."""
    light = np.arange(count) % 2 == 1
    noise = np.random.default_rng(0).integers(0, 40, (count, 8, 8))
    pictures = (noise + np.where(light, 190, 20)[:, None, None]).astype(np.uint8)
    np.savez(path, images=pictures, captions=np.where(light, "a light square", "a dark square"), **more)
    return path


@pytest.fixture(scope="session")
def captioned(place: Path) -> Path:
    """A run on pictures with captions: the shade of a picture is what its caption says."""
    run, fast = place / "captioned", ["training.batch=64", "training.rate.peak=0.01", "training.sampler.steps=4"]
    settings = [*QUICK, *SMALL_TEXT, *fast]
    train(shades(place / "shades.npz"), "--out", run, "--images", "3k", "--width", 8, "--set", *settings, "--json")
    return run


@pytest.fixture(scope="session")
def models(place: Path) -> Path:
    """A folder of models of layouts, untrained; they stay as they are."""
    save_models(place / "models")
    return place / "models"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of maps for these models, and a palette."""
    save_files(tmp_path)
    return tmp_path
