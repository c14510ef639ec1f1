"""The sheet of a record: its numbers are the record's, its words stay text, and every kind of record has one."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import t

from mezzotint.cli.sheet import command, render
from mezzotint.cli.strip import strip
from mezzotint.evidence import Closed, Figure, Paper, Recipe, Seen, Verdict, at, ratio
from mezzotint.evidence.load import Loaded
from mezzotint.evidence.record import Record, finite
from mezzotint.evidence.reproduce import Request, reproduce

HOSTILE = '<script>alert(1)</script> "quote\'d" & </style><img src=x onerror=alert(2)>'
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A page read back: its elements, its words, its tables, and whether every element was closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name == "table":
            self.tables.append([])
        elif name == "tr":
            self.tables[-1].append([])
        elif name in ("td", "th"):
            self.tables[-1][-1].append("")
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def every(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]


def record(
    tables: Mapping[int, Mapping[str, Mapping[str, float]]],
    verdict: Verdict,
    figures: tuple[Figure, ...] = (),
    words: str = "plain words",
    **changes: Any,
) -> Record:
    """A record made by hand."""
    tree = {
        "schema": 1,
        "recipe": "guidance-basics",
        "size": "small",
        "setting": {"images": 1000, "share": 0.5, "name": "a b", "both": (1, 2)},
        "standard": True,
        "variant": "12345678",
        "seeds": list(tables),
        "paper": {"title": words, "authors": words, "year": 2024, "arxiv": "2406.02507"},
        "claim": words,
        "published": {words: {words: 1.25}},
        "criterion": words,
        "departures": words,
        "numbers": tables,
        "verdict": verdict.plain(),
        "figures": [figure.plain() for figure in figures],
        "evidence": {
            "package": "p" * 16,
            "recipe": "r" * 16,
            "data": {words: {"sha256": "d" * 16, "count": 12345}},
            "weights": {str(seed): {arm: {"model": f"{seed}" * 32} for arm in table} for seed, table in tables.items()},
            "judge": {"sha256": "j" * 64},
        },
        "environment": {"python": "3.11.9", "platform": words, "packages": {"torch": "2.13.0"}, "accelerator": None},
        "times": {"seconds": 100.0, "when": "2026-01-02", "estimate_per_seed": 61.0, "jobs": 2},
        **changes,
    }
    return Record(finite(tree))


def random_tables(arms: int, seeds: int, columns: int = 2) -> dict[int, dict[str, dict[str, float]]]:
    draw = np.random.default_rng(0)
    return {
        10 + s: {f"arm {a}": {f"column {c}": float(draw.lognormal(a - 2)) for c in range(columns)} for a in range(arms)}
        for s in range(seeds)
    }


def two(tables: Mapping[int, Any], threshold: float = 1.0) -> Verdict:
    seen = Seen(tables)
    first, second = at("arm 0", "column 0"), at("arm 1", "column 0")
    return seen.all(
        seen.at_most("first over second", ratio(first, second), threshold),
        seen.more_often("second less first", lambda n: second(n) - first(n)),
    )


def test_every_number_is_the_records() -> None:
    tables = random_tables(9, 5)
    made = record(tables, two(tables))
    page = Page(render(made, {}))
    published, ours, means, each = page.tables
    assert published == [["plain words", "1.25"]]
    assert [row[0] for row in means[1:]] == [f"arm {a}" for a in range(9)] and means[0][1:] == ["column 0", "column 1"]
    for row in means[1:]:
        for column, cell in zip(means[0][1:], row[1:], strict=True):
            values = np.array([table[row[0]][column] for table in tables.values()])
            half = t.ppf(0.975, 4) * values.std(ddof=1) / math.sqrt(5)
            mean, written = cell.split(" ± ")
            assert float(written) == pytest.approx(half, rel=0.06) and float(mean) == pytest.approx(
                values.mean(), abs=0.06 * half
            )
    assert each[0][2:] == [f"seed {seed}" for seed in tables] and len(each) == 1 + 9 * 2
    for row in each[1:]:
        found = [table[row[0]][row[1]] for table in tables.values()]
        assert [float(cell) for cell in row[2:]] == pytest.approx(found, rel=1e-5)
    for criterion, row in zip(made["verdict"]["criteria"], ours, strict=True):
        assert row[0] == criterion["name"]
        assert float(row[1].partition(" ")[0]) == pytest.approx(criterion["mean"], rel=0.1)
        said = next(a["aria-label"] for a in page.every("svg") if str(a["aria-label"]).startswith(criterion["name"]))
        for value in (criterion["mean"], criterion["low"], criterion["high"], *criterion["values"]):
            assert f"{value:.4g}" in str(said) and f"{value:.4g}" in page.text


def test_every_string_stays_text() -> None:
    tables = {seed: {HOSTILE: {HOSTILE: 1.0 + seed}, "b": {HOSTILE: 2.0}} for seed in (1, 2, 3)}
    seen = Seen(tables)
    verdict = seen.all(seen.at_most(HOSTILE, at(HOSTILE, HOSTILE), 9.0))
    figure = Figure(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: [(1.0, 2.0), (2.0, 3.0)]})
    made = record(tables, verdict, (figure,), HOSTILE, recipe=HOSTILE, setting={HOSTILE: HOSTILE}, standard=False)
    text = render(made, {HOSTILE: torch.zeros(3, 1, 4, 4), "points": torch.zeros(3, 2)})
    page = Page(text)
    assert "<script" not in text and not page.every("script")
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert all(str(image["src"]).startswith("data:image/png") for image in page.every("img"))
    assert text.count("</style>") == 1
    bad = Page(render(record(tables, verdict, paper={"title": "", "authors": "", "year": 1, "arxiv": HOSTILE}), {}))
    assert not bad.every("a")


def test_nothing_is_loaded_and_the_paper_is_linked() -> None:
    tables = random_tables(2, 3)
    page = Page(text := render(record(tables, two(tables)), {}))
    assert [link["href"] for link in page.every("a")] == ["https://arxiv.org/abs/2406.02507"]
    assert text.count("https://") == 1 and not re.search(r"url\(|@import", text)
    policy = next(meta["content"] for meta in page.every("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@pytest.mark.parametrize("threshold, outcome, look", [(1e9, "holds", "good"), (-1e9, "does not hold", "bad")])
def test_the_verdict_is_said_large_with_its_reason(threshold: float, outcome: str, look: str) -> None:
    tables = random_tables(2, 3)
    first = at("arm 0", "column 0")
    seen = Seen(tables)
    made = record(tables, seen.all(seen.at_most("it", first, threshold)))
    page = Page(render(made, {}))
    assert f"{outcome[0].upper()}{outcome[1:]}" in page.words and "It is" in page.text
    assert any(a.get("class") == f"verdict {look}" for a in page.every("div"))
    assert made["verdict"]["reason"][3:] in page.text


def test_what_could_not_be_computed_is_a_dash_and_no_seed_is_dropped() -> None:
    tables = random_tables(2, 3)
    tables[11]["arm 0"]["column 0"] = math.nan
    made = record(tables, two(tables))
    page = Page(render(made, {}))
    *_, means, each = page.tables
    assert made["numbers"]["11"]["arm 0"]["column 0"] is None
    assert means[1][1] == "–" and "±" in means[1][2]
    assert each[1][3] == "–" and "–" not in each[2]
    assert "could not be computed at seed 11" in page.text and "Undecided" in page.words
    assert "– (11)" in page.text


def test_a_seed_alone_has_no_interval() -> None:
    tables = random_tables(2, 1)
    page = Page(render(record(tables, two(tables)), {}))
    assert "±" not in page.tables[2][1][1] and "no interval" in page.text and "only seed" in page.text
    assert not any(a.get("class") == "reach" for a in page.every("line"))


def test_strips_put_everything_where_it_belongs() -> None:
    values = {10: 0.8, 11: 1.0, 12: 1.4, 13: 1.0}
    seen = Seen({seed: {"a": {"b": v}} for seed, v in values.items()})
    found = seen.at_most("it", at("a", "b"), 1.2).plain()
    drawn = strip(found, list(values))
    assert drawn is not None
    page = Page(drawn)
    dots = sorted((float(str(c["cx"])), float(str(c["cy"]))) for c in page.every("circle"))
    lines = {line["class"]: line for line in page.every("line")}
    at_limit, at_mean = (float(str(lines[name]["x1"])) for name in ("threshold", "mean"))
    (allowed,) = page.every("rect")
    unit = (dots[3][0] - dots[0][0]) / 0.6  # from 0.8 to 1.4
    assert dots[1][0] == dots[2][0] == pytest.approx(dots[0][0] + 0.2 * unit, abs=0.2) and dots[1][1] != dots[2][1]
    assert at_limit == pytest.approx(dots[0][0] + 0.4 * unit, abs=0.2)
    assert at_mean == pytest.approx(dots[0][0] + 0.25 * unit, abs=0.2)
    reach = lines["reach"]
    assert (float(str(reach["x2"])) - float(str(reach["x1"]))) / unit == pytest.approx(
        found["high"] - found["low"], abs=0.02
    )
    assert float(str(allowed["x"])) + float(str(allowed["width"])) == pytest.approx(at_limit, abs=0.2)
    within = strip(seen.within("it", at("a", "b"), 1.0, 0.3).plain(), list(values))
    assert within is not None and len([a for a in Page(within).every("line") if a["class"] == "threshold"]) == 2
    nothing = Seen({1: {"a": {"b": math.nan}}, 2: {"a": {"b": math.nan}}}).at_most("it", at("a", "b"), 1.0)
    assert strip(nothing.plain(), [1, 2]) is None


def test_pictures_are_the_samples() -> None:
    tables = random_tables(3, 2)
    x = torch.linspace(-1, 1, 7 * 3 * 4 * 6).reshape(7, 3, 4, 6)
    page = Page(render(record(tables, two(tables)), {"arm 0": x, "arm 1": x[:1], "arm 2": torch.zeros(5, 9)}))
    first, second = page.every("img")
    assert first["alt"] == "the first 7 samples of arm 0" and second["alt"] == "the first 1 samples of arm 1"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(str(first["src"]).partition(",")[2]))))
    scale = 84 // 6
    tile = picture[4 + 4 + 4 * scale :, 4:][: 4 * scale : scale, : 6 * scale : scale]  # the seventh begins a second row
    assert np.array_equal(tile, ((x[6] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    assert "The first samples of seed 10" in page.text


def test_points_have_the_same_axes_in_every_arm() -> None:
    tables = random_tables(2, 2)
    narrow, wide = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [4.0, 2.0]])
    page = Page(render(record(tables, two(tables)), {"narrow": narrow, "wide": wide}))
    places = [
        [tuple(map(float, pair)) for pair in re.findall(r"M([\d.]+) ([\d.]+)h0", str(path["d"]))]
        for path in page.every("path")
    ]
    (a, b), (c, d) = places
    assert a == c  # the origin
    assert (b[0] - a[0]) * 4 == pytest.approx(d[0] - c[0], abs=0.5) and b[1] == a[1]
    assert c[1] - d[1] == pytest.approx((d[0] - c[0]) / 2, abs=0.3)  # upwards, and one unit on both axes
    spoilt = Page(render(record(tables, two(tables)), {"one": torch.tensor([[0.0, 0.0], [math.nan, 1.0], [1.0, 1.0]])}))
    assert "1 of 3 lie outside the frame" in spoilt.text


def test_figures_have_many_lines_that_can_be_told_apart() -> None:
    tables = random_tables(2, 2)
    lines = {f"line {i}, with a rather long name": [(10.0**k, i - 4.0 + k) for k in range(4)] for i in range(9)}
    lines["gap"] = [(1.0, math.nan), (10.0, 2.0)]
    figures = (Figure("many", "steps", "height", lines), Figure("none", "a", "b", {"x": [(1.0, math.nan)]}))
    page = Page(render(record(tables, two(tables), figures), {}))
    curves = [a for a in page.every("polyline") if str(a["class"]).startswith("curve c")]
    looks = [str(curve["class"]) for curve in curves]
    assert len(curves) == 10 and len(set(looks)) == 10
    first = [float(pair.split(",")[0]) for pair in str(curves[0]["points"]).split()]
    assert np.diff(first) == pytest.approx([first[1] - first[0]] * 3, abs=0.2)  # logarithmic along
    height = [float(pair.split(",")[1]) for pair in str(curves[0]["points"]).split()]
    assert height == sorted(height, reverse=True) and len(height) == 4  # values below zero are drawn
    assert "none" not in page.words and all(name in page.words for name in lines)


@pytest.mark.parametrize("standard", [True, False])
def test_the_command_repeats_the_record(standard: bool) -> None:
    import shlex

    from mezzotint.cli.reproduce import seeds_of
    from mezzotint.evidence import Setting

    for seeds in ((10,), (10, 11, 12), (3, 7, 8)):
        tables = {seed: random_tables(2, 1)[10] for seed in seeds}
        made = record(tables, two(tables), standard=standard)
        words = shlex.split(command(made))
        assert words[:5] == ["mezzotint", "reproduce", "guidance-basics", "--size", "small"]
        if standard:
            assert len(words) == 5
            continue
        assert seeds_of(words[6], (1, 2)) == seeds
        own = Setting({"images": 5, "share": 0.25, "name": "c", "both": (7,)})
        assert dict(own.edited(words[8:])) == {"images": 1000, "share": 0.5, "name": "a b", "both": (1, 2)}
    stranger = record(tables, two(tables), recipe="my_own.py")
    assert command(stranger).startswith("mezzotint reproduce my_own.py ")


def test_a_closed_experiment_has_a_page_of_numbers() -> None:
    experiment = Closed(
        measure=lambda s, seed: {"Euler": {"order": 1.0 + s.off * seed}, "Heun": {"order": 2.0}},
        verdict=lambda seen: seen.all(seen.within("order of Euler", at("Euler", "order"), 1.0, 0.1)),
        seeds=(0, 1, 2),
        setting={"off": 0.01},
        criterion="as it is",
    )
    recipe = Recipe(
        paper=Paper("A paper", "Somebody", 2020, "2001.00001"),
        claim="It\n    is so.",
        published={},
        sizes={"exact": experiment},
    )
    made = reproduce(Request(Loaded("mine.py", "mine.py", recipe, "0" * 16), "exact"))
    page = Page(render(made, {}))
    _, means, each = page.tables
    assert means == [["", "order"], ["Euler", "1.010 ± 0.025"], ["Heun", "2 ± 0"]]
    assert each[1] == ["Euler", "1", "1.01", "1.02"]
    assert not page.every("img") and "Samples" not in page.words and "No numbers." in page.words
    assert "Exact checks hold" in page.words and "mezzotint reproduce mine.py --size exact" in page.text
