"""The page shows what was drawn and measured, whatever the data are called, and it fetches nothing."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.cli.bar import Bar
from mezzotint.cli.chart import Line, chart
from mezzotint.cli.page import Html, tag
from mezzotint.cli.report import render
from mezzotint.cli.subject import Subject
from mezzotint.conditions import Classes, Encoder
from mezzotint.core.store import load_model
from mezzotint.data import Arrays
from mezzotint.denoiser import Preconditioned
from mezzotint.metrics import Extractor, evaluate
from mezzotint.networks import UNet
from mezzotint.objectives import Denoising
from mezzotint.processes import EDM, Flow
from mezzotint.samplers import Heun
from mezzotint.training import Trainer
from mezzotint.training.pictures import pixels

VOID = {"meta", "link", "img", "br"}
NAMES = ("<script>alert(1)</script>", "a\"quote'd & <b>name</b>", "</style><img src=x onerror=alert(2)>")


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

    def every(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]


def decoded(uri: str | None) -> np.ndarray[Any, Any]:
    """The pixels behind a data address."""
    assert uri is not None and uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def subject(folder: Path, names: tuple[str, ...], shape: tuple[int, int, int], process: Any) -> Subject:
    """A model trained for three steps on noise, sampled and judged."""
    channels, height, width = shape
    rng = np.random.default_rng(0)
    arrays = {"images": rng.integers(0, 256, (60, height, width, channels), dtype=np.uint8)}
    if names:
        arrays["labels"] = np.arange(60) % len(names)
    np.savez(folder / "data.npz", **arrays)
    data = Arrays(str(folder / "data.npz"), label="labels" if names else None, classes=names, held_out_share=0.4)
    encoder = Encoder(label=Classes(len(names), width=16)) if names else None
    torch.manual_seed(0)
    model = Preconditioned(UNet(shape, width=8, vector=16, blocks=1), process, encoder, sigma_data=data.std)
    trainer = Trainer(Denoising(dropout=0.2 if names else 0.0), images=24, batch=8, sampler=Heun(steps=2))
    run = trainer.fit(model, data, folder / 'a "run" & <script>alert(3)</script>')
    labels = torch.arange(24).flip(0) % len(names) if names else None
    x, cond = data[:]
    samples = torch.cat([x[:1], torch.from_numpy(rng.uniform(-1, 1, (23, *shape))).float()])  # the first is a copy
    eye = Extractor.train(x, cond["label"], seen=64) if names else None
    report = evaluate(samples, labels, data, data.held_out(), extractor=eye, draws=0)
    bars = {name: Bar(name, 0.9) for name in report.measures if name != "close_share"}
    return Subject(run, data, load_model(run.path), Heun(steps=2), samples, labels, range(100, 124), report, bars)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three channels, not square, classes and a path that try to break out."""
    about = subject(tmp_path_factory.mktemp("report"), NAMES, (3, 8, 12), EDM())
    text = render(about, title='An "unkind" <title>')
    return SimpleNamespace(about=about, text=text, page=Page(text))


def test_every_string_stays_text(hostile: SimpleNamespace) -> None:
    page = hostile.page
    assert not page.every("script") and not page.every("iframe") and "<script" not in hostile.text
    assert {name for name, _ in page.elements} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "main", "header", "section", "footer"),
        *("h1", "h2", "p", "strong", "em", "span", "b", "ul", "li", "div", "figure", "figcaption", "img", "small"),
        *("svg", "line", "text", "polyline", "polygon", "circle", "table", "thead", "tbody", "tr", "th", "td"),
        *("dl", "dt", "dd", "code", "pre", "details", "summary"),
    }
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    for said in (*NAMES, 'An "unkind" <title>', str(hostile.about.run.path)):
        assert said in page.text
    assert any(attributes.get("alt") == f"sample of {NAMES[0]}, seed 123" for attributes in page.every("img")), "seed"


def test_nothing_is_fetched(hostile: SimpleNamespace) -> None:
    page = hostile.page
    for _, attributes in page.elements:
        for key in ("src", "href", "srcset", "poster", "data", "xlink:href", "action"):
            assert key not in attributes or str(attributes[key]).startswith("data:")
    assert not re.search(r"url\(|@import|https?://", hostile.text)
    policy = next(meta["content"] for meta in page.every("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_pictures_are_the_samples_and_have_words(hostile: SimpleNamespace) -> None:
    about, images = hostile.about, hostile.page.every("img")
    assert all(image["alt"] and image["width"] == "12" and image["height"] == "8" for image in images)
    grid = [image for image in images if re.search(r", seed 1\d\d$", str(image["alt"]))]
    drawn = pixels(about.samples)
    for image in grid:
        place = int(str(image["alt"])[-3:]) - 100
        assert np.array_equal(decoded(image["src"]), drawn[place])
        assert NAMES[int(about.labels[place])] in str(image["alt"])
    assert len({image["alt"] for image in grid}) == 24  # all of them: eight rows of three columns
    real = [image for image in images if str(image["alt"]).startswith("real held-out picture")]
    assert [str(image["alt"]).partition(" of ")[2] for image in real] == list(NAMES)


def test_a_copy_is_shown_beside_what_it_copies(hostile: SimpleNamespace) -> None:
    images = hostile.page.every("img")
    first = next(i for i, image in enumerate(images) if "nearest training picture" in str(image["alt"]))
    assert images[first]["alt"] == "its nearest training picture, 0.00 away"
    copy = hostile.about.samples[:1]
    assert np.array_equal(decoded(images[first]["src"]), pixels(copy)[0])
    distances = [float(re.findall(r"[\d.]+", str(image["alt"]))[0]) for image in images[first : first + 10]]
    assert distances == sorted(distances) and distances[1] > 1


def test_bars_that_fail_are_said_to_fail(hostile: SimpleNamespace) -> None:
    text, report = hostile.page.text, hostile.about.report
    failed = [name for name, bar in hostile.about.bars.items() if not bar.holds(report)]
    assert "accuracy" in failed  # noise shows no class
    assert text.count("does not hold") == len(failed) and "not met: Judge accuracy" in text
    assert text.count("✗") == len(failed)


def test_a_model_without_classes_has_a_page_too(tmp_path: Path) -> None:
    about = subject(tmp_path, (), (1, 9, 7), Flow())
    page = Page(render(about))
    assert "24 pictures, drawn from noise" in page.text and "--label" not in page.text
    assert "What guidance does" not in page.text and "Judge accuracy" not in page.text
    assert "What it learnt, by noise level" in page.text and "Is it copying?" in page.text
    assert sum(str(image["alt"]).startswith("sample, seed") for image in page.every("img")) == 24 + 10
    bare = Page(render(replace(about, bars={})))
    assert "holds" not in bare.text and "Nearest-neighbour ratio" in bare.text


def test_values_are_escaped_unless_they_are_markup() -> None:
    assert tag("p", '<b>"&', Html("<i>x</i>"), None) == "<p>&lt;b&gt;&quot;&amp;<i>x</i></p>"
    assert tag("img", alt="\"'><x", class_=None, hidden=True) == '<img alt="&quot;&#x27;&gt;&lt;x" hidden>'


def test_a_chart_keeps_ratios_and_leaves_out_what_cannot_be_drawn() -> None:
    nan, lines = float("nan"), re.compile(r'<polyline[^>]*points="([^"]*)"')
    drawn = chart([Line("a", [(0, 1.0), (1, 0.1), (2, 0.01), (3, nan), (4, 0.0)])], "x", "d", [(0, "0"), (2, "2")])
    assert drawn is not None
    (places,) = ([tuple(map(float, p.split(","))) for p in path.split()] for path in lines.findall(drawn))
    assert len(places) == 3
    assert (
        places[1][1] - places[0][1] == pytest.approx(places[2][1] - places[1][1], abs=0.15)
        and places[0][1] < places[1][1]
    )
    near = chart([Line("a", [(0, 1.0), (1, 2.0)])], "x", "d", [(0, "0"), (1, "1")])  # linear, from 0
    assert near is not None and ">0</text>" in near
    assert chart([Line("a", [(0, nan)])], "x", "d", [(0, "0"), (1, "1")]) is None
    assert chart([], "<x>", "d", [(0, "0"), (1, "1")]) is None
