"""Pages of evaluations and comparisons: what they show is what was measured, and what cannot be compared is refused."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mezzotint as mz
from mezzotint.cli import main, maps
from mezzotint.cli.history import history
from mezzotint.cli.rivals import flagged
from mezzotint.cli.words import wish, words
from mezzotint.core import Condition, Refusal
from mezzotint.data import Arrays, Scenes
from mezzotint.metrics import compare, nearest, neighbours, records
from mezzotint.training.pictures import pixels

Command = Callable[..., Any]
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A page read back: its elements, its words, and whether every element was closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def images(self, alt: str) -> list[dict[str, str | None]]:
        found = [attributes for name, attributes in self.elements if name == "img"]
        return [one for one in found if re.search(alt, str(one["alt"]))]


def read(path: Path) -> Page:
    """A page that is whole, loads nothing and runs nothing."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?://|<script", text)
    page = Page(text)
    for name, attributes in page.elements:
        assert name not in ("script", "iframe", "object") and not any(key.startswith("on") for key in attributes)
        assert str(attributes.get("src", "data:")).startswith("data:")
    return page


def bytes_of(image: dict[str, str | None]) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(str(image["src"]).partition(",")[2]))))


@pytest.fixture(scope="module")
def judged(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, with a report and a page of each of its two checkpoints."""
    run = tmp_path_factory.mktemp("judged") / "digits"
    shutil.copytree(digits, run)
    for images in (256, 512):
        words = ["evaluate", str(run), "--count", "40", "--average", "0.1", "--at", str(images), "--report"]
        assert main(words) == 0
    return run


@pytest.fixture(scope="module")
def report(judged: Path) -> dict[str, Any]:
    (path,) = (judged / "reports").glob("*at512*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def page(judged: Path) -> Page:
    (path,) = (judged / "reports").glob("*at512*.html")
    return read(path)


def test_the_page_has_the_numbers_of_the_report(page: Page, report: dict[str, Any]) -> None:
    assert {"accuracy", "frechet_features", "neighbour_ratio", "kid", "coverage"} <= set(report["measures"])
    for name, found in report["measures"].items():
        word = words(name)
        assert word.means and wish(name) and wish(name) in page.text, name
        assert word.title in page.text and word.number(found["value"]) in page.text, name
        assert f"[{word.number(found['low'])}, {word.number(found['high'])}]".replace(" %,", ",") in page.text, name
        if found["real"]:
            assert word.number(found["real"]["value"]) in page.text, name
    assert "digits after 512 images" in page.text and report["model"]["images"] == 512
    assert "licence" in page.text


def test_every_class_has_its_strip(page: Page) -> None:
    data = mz.data.Digits()
    held = data.held_out()
    assert held.labels is not None
    for label, name in enumerate(data.classes):
        real = page.images(f"^real picture of {name}$")
        rows = np.flatnonzero(held.labels == label)[: len(real)]
        assert len(real) == 3 and page.images(f"^sample [0-9]+ of {name}$")
        assert [bytes_of(image).tolist() for image in real] == pixels(held[rows][0])[..., 0].tolist()


def test_neighbours_are_the_nearest_by_brute_force(page: Page) -> None:
    data = mz.data.Digits()
    train = pixels(data[:][0])[..., 0].reshape(len(data), -1).astype(float) / 127.5
    samples = [bytes_of(one).reshape(-1) / 127.5 for one in page.images("^sample of .*, seed ")]
    assert len(samples) == 10
    before = 0.0
    for rank, which in enumerate(("its nearest", "its second nearest", "its third nearest")):
        shown = page.images(f"^{which} training picture")
        assert len(shown) == 10
        for sample, image in zip(samples, shown, strict=True):
            apart = np.sort(np.linalg.norm(train - sample, axis=1))
            said = float(re.findall(r"[\d.]+", str(image["alt"]))[0])
            mine = np.linalg.norm(bytes_of(image).reshape(-1) / 127.5 - sample)
            # The page's samples are rounded to bytes: sqrt(64) halves of a step at most.
            assert said == pytest.approx(apart[rank], abs=0.04) and mine == pytest.approx(apart[rank], abs=0.04)
            if rank == 0:
                assert said >= before - 0.005
                before = said


def test_neighbours_in_pieces_are_those_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mezzotint.metrics.seen._ROWS", 100)
    data = mz.data.Digits()
    x, train = data.held_out()[:40][0], data[:][0]
    apart, rows = neighbours(x, data, 3)
    brute = (x[:, None].double() - train[None].double()).flatten(2).norm(dim=2)
    expected, places = brute.sort(1)
    np.testing.assert_allclose(apart, expected[:, :3], rtol=1e-9)
    assert np.array_equal(rows, places[:, :3])
    np.testing.assert_allclose(apart[:, 0], nearest(x, train), rtol=1e-9)
    few, which = neighbours(x, data, 1, limit=50)
    assert len(set(which[:, 0].tolist())) <= 50 and (few[:, 0] >= apart[:, 0] - 1e-9).all()
    np.testing.assert_allclose(few[:, 0], brute[torch.arange(40), torch.from_numpy(which[:, 0])], rtol=1e-9)
    assert neighbours(x[:2], data.held_out(), 1000)[0].shape == (2, 360)
    with pytest.raises(Refusal, match="no neighbours among those of shape"):
        neighbours(torch.zeros(2, 3, 8, 8), data)


def test_curves_join_what_was_measured_alike(judged: Path, page: Page, report: dict[str, Any]) -> None:
    both = [json.loads(path.read_text()) for path in (judged / "reports").glob("*.json")]
    found = history(both, report)
    assert set(found) == set(report["measures"])
    assert [point.images for point in found["accuracy"]] == [256, 512]
    assert found["accuracy"][1].record.estimate.value == report["measures"]["accuracy"]["value"]
    assert "How it grew" in page.text
    first = read(next((judged / "reports").glob("*at256*.html")))
    assert "How it grew" not in first.text  # there was nothing to join yet
    other = json.loads(json.dumps(both[0]))
    for measure in other["measures"].values():
        measure["how"]["guidance"] = {"part": "guidance.CFG", "scale": 2.0}
    assert history([other, both[1]], both[1]) == {}


def test_a_page_goes_where_it_is_told(command: Command, judged: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.html"
    words = ("evaluate", judged, "--count", 8, "--out", tmp_path / "mine.json", "--overwrite", "--report", out)
    assert command(*words).code == 0
    assert "class by class" in read(out).text
    assert "one file, not 2" in command(*words, out).sentence
    assert "with --average" in command("evaluate", judged, "--at", 256).sentence
    assert "no checkpoint at 300 images" in command("evaluate", judged, "--average", 0.1, "--at", 300).sentence
    out.write_text("mine")
    refused = command("evaluate", judged, "--count", 8, "--out", tmp_path / "other.json", "--report", out)
    assert "exists already" in refused.sentence and out.read_text() == "mine"
    model = tmp_path / "model"
    shutil.copytree(judged / "model", model)
    assert "not a run folder" in command("evaluate", model, "--count", 8, "--report").sentence


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is told masks of scenes."""
    from mezzotint.conditions import Encoder
    from mezzotint.conditions import Image as Picture
    from mezzotint.denoiser import Preconditioned
    from mezzotint.networks import UNet
    from mezzotint.objectives import Denoising
    from mezzotint.processes import EDM
    from mezzotint.samplers import Heun
    from mezzotint.training import Trainer

    data = Scenes(size=16, tells=("mask", "caption"), pictures=48, held_out_pictures=24, style="night")
    torch.manual_seed(0)
    network = UNet((3, 16, 16), width=8, vector=16, blocks=1, maps=1)
    model = Preconditioned(network, EDM(), Encoder(mask=Picture(1)), sigma_data=0.5)
    trainer = Trainer(Denoising(dropout=0.1), images=64, batch=16, sampler=Heun(steps=2))
    told = Scenes(size=16, tells=("mask",), pictures=48, held_out_pictures=24, style="night")
    assert len(told) == len(data)
    return trainer.fit(model, told, tmp_path_factory.mktemp("masked") / "run").path


def test_what_was_asked_for_stands_above_what_came(command: Command, masked: Path, tmp_path: Path) -> None:
    assert command("evaluate", masked, "--count", 9, "--report").code == 0
    (path,) = (masked / "reports").glob("*.html")
    page, data = read(path), Scenes(size=16, tells=("mask",), pictures=48, held_out_pictures=24, style="night")
    (report,) = (masked / "reports").glob("*.json")
    assert json.loads(report.read_text())["counts"]["samples"] == 9
    asked, drawn = page.images("^mask that sample [0-9] was asked"), page.images("^sample [0-9]$")
    real = page.images("^the real picture of which that was told")
    assert len(asked) == len(drawn) == len(real) == 9
    masks = data.condition(np.arange(48))["mask"].numpy()[:, 0]
    pictures = pixels(data[:][0])
    for mask, picture in zip(asked, real, strict=True):
        (row,) = (i for i in range(48) if np.array_equal(pictures[i], bytes_of(picture)))
        assert np.array_equal(bytes_of(mask) > 0, masks[row])
    assert "class by class" not in page.text and "What it draws" in page.text and "Is it copying?" in page.text
    sheet = command("sample", masked, "--seeds", "0", "--steps", "1", "--out", tmp_path / "sheet.png")
    assert sheet.code == 0 and "licence Apache-2.0" in sheet.err


def test_maps_have_the_colours_of_voc() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for number, colour in {**known, 255: (224, 224, 192)}.items():
        assert tuple(maps.COLOURS[number]) == colour
    assert len({tuple(colour) for colour in maps.COLOURS.tolist()}) == 256
    layout = torch.tensor([[[0, 15], [255, 1]]], dtype=torch.uint8)
    drawn = maps.maps(Condition(layout=layout, label=[0]), (2, 2))
    assert list(drawn) == ["layout"]
    assert pixels(drawn["layout"])[0].tolist() == [[[0, 0, 0], [192, 128, 128]], [[224, 224, 192], [128, 0, 0]]]


def test_points_stand_where_they_are() -> None:
    # Seen at a quarter across and three quarters down, hidden at the middle, and one that is not there.
    told = torch.tensor([[[0.25, 0.75, 2], [0.5, 0.5, 1], [0.75, 0.25, 0]]])
    (drawn,) = pixels(maps.points(told, (48, 96)))
    assert drawn.shape == (48, 96, 3)
    paper = drawn[0, 0]
    assert tuple(drawn[36, 24]) == tuple(maps.COLOURS[1]) and np.array_equal(drawn[12, 72], paper)
    ring = (drawn == maps.COLOURS[2]).all(2)
    assert not ring[24, 48] and ring.any() and np.abs(np.argwhere(ring).mean(0) + 0.5 - (24, 48)).max() < 1
    assert maps.points(told, (8, 16)).shape == (1, 3, 48, 96)  # small pictures are enlarged
    both = maps.points(told[:, None].repeat(1, 2, 1, 1), (48, 96))
    assert torch.equal(both[0], maps.points(told, (48, 96))[0])


def test_runs_are_compared_by_their_records(command: Command, judged: Path, tmp_path: Path) -> None:
    """Two checkpoints of one run stand for two runs: their weights differ, and nothing else."""
    early, late = tmp_path / "<b>early", tmp_path / "late"
    for run, images in ((early, 512), (late, 256)):
        shutil.copytree(judged, run)
        for path in (run / "reports").glob(f"*at{images}*"):
            path.unlink()
    out = tmp_path / "page.html"
    said = command("runs", "compare", early, late, "--out", out)
    assert said.code == 0 and "clear" in said.out and str(out) in said.out
    assert sum(line.startswith("accuracy ") for line in said.out.splitlines()) == 1  # a quantity has one value a run
    for run, images in ((early, 256), (late, 512)):
        assert f"report of {run}: 40 samples, Heun in 2 steps" in said.out and f"after {images} images" in said.out
    assert "accuracy" not in command("runs", "compare", early, late, "--json").json["numbers"]
    assert [line for line in said.out.splitlines() if line.startswith("copying ")][0].endswith("a test each")
    found = command("runs", "compare", early, late, "--json").json["differences"][str(late)]
    mine, theirs = (records(json.loads(next((run / "reports").glob("*.json")).read_text())) for run in (early, late))
    page = read(out)
    for name, record in mine.items():
        difference = compare(record, theirs[name])
        assert found[name]["value"] == pytest.approx(difference.value) and found[name]["between"] == ["weights"]
        assert found[name]["clear"] == (difference.clear and name != "copying")
        word = words(name)
        for e in (record.estimate, theirs[name].estimate):
            assert word.number(e.value) in page.text
        times = 100 if word.share else 1
        assert f"{times * difference.value:+.3g}" in page.text
    assert "<b>early" in page.text and "by their weights" in page.text  # a name stays text
    assert len(page.images("^samples of ")) == 2 and "The settings are the same" in page.text
    assert "exists already" in command("runs", "compare", early, late, "--out", out).sentence
    assert command("runs", "compare", early, late, "--out", out, "--overwrite").code == 0


def test_what_was_measured_otherwise_is_refused(command: Command, judged: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other", tmp_path / "page.html"
    shutil.copytree(judged, other)
    for path in (other / "reports").glob("*"):
        path.unlink()
    assert command("evaluate", other, "--count", 30, "--guidance", 2, "--steps", 3).code == 0
    said = command("runs", "compare", judged, other, "--out", out)
    assert said.code == 2 and said.out.count("not compared: ") == 1 and "despite=" not in said.out
    (why,) = (line for line in said.out.splitlines() if line.startswith("not compared: "))
    assert "accuracy" in why and "recall" in why and "count (40 and 30)" in why and said.err.startswith("mezzotint: ")
    page = read(out)
    assert "count (40 and 30)" in page.text and "may not be compared" in page.text and "Not compared: " in page.text
    assert 'class="reach' not in out.read_text() and 'class="criteria' not in out.read_text()
    said = command("runs", "compare", judged, other, "--despite", "count", "--json")
    refused = said.json["differences"][str(other)]["accuracy"]["refused"]
    assert said.code == 2 and json.loads(said.err)["code"] == 2
    assert "guidance" in refused and "neither explains the difference alone" in refused
    # The sentence names every key at once, and labels of another count are none of them.
    despite = re.search(r"--despite ([\w,]+)", why)[1]
    assert "guidance" in despite.split(",") and "labels" not in despite.split(",")
    said = command("runs", "compare", judged, other, "--despite", despite, "--json")
    found = said.json["differences"][str(other)]
    assert said.code == 0 and not any("refused" in one for one in found.values())
    assert "guidance" in found["accuracy"]["between"] and said.json["despite"] == {str(other): []}
    assert "its key is 'sampler'" in command("runs", "compare", judged, other, "--despite", "steps").sentence
    assert "did you mean 'guidance'" in command("runs", "compare", judged, other, "--despite", "guidence").sentence
    assert "of runs compare" in command("runs", "list", judged.parent, "--despite", "count").sentence
    assert flagged("pass despite=('count', 'resize') where") == "pass --despite count,resize where"


def test_names_of_strangers_stay_text(command: Command, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    rng = np.random.default_rng(0)
    arrays = {"images": rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), "labels": np.arange(60) % 2}
    np.savez(tmp_path / "data.npz", **arrays)
    data = Arrays(str(tmp_path / "data.npz"), label="labels", classes=(evil, '"&</style>'), held_out_share=0.4)
    from mezzotint.core.config import dumps
    from mezzotint.recipes import of_data

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dumps(of_data(data, images=128, width=8)))
    run = tmp_path / '<script>alert("run")</script>'
    quick = ("--set", "training.sampler.steps=2", "training.rate.warmup=64")
    assert command("train", recipe, "--out", run, *quick).code == 0
    assert command("evaluate", run, "--count", 12, "--report").code == 0
    (path,) = (run / "reports").glob("*.html")
    page = read(path)
    assert evil in page.text and run.name in page.text
