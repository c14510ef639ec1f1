"""The sheet of a record: one self-contained page that says what was claimed, what was found, and how to repeat it.

Every number on it is the record's, or the mean and the 95 % interval of numbers of the record.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mezzotint.cli import samples
from mezzotint.cli.chart import Line, axis, chart
from mezzotint.cli.console import duration
from mezzotint.cli.page import Html, document, join, section, tag
from mezzotint.cli.strip import by_seed, found, strip
from mezzotint.cli.written import between, columns, each, number, seeds, spread
from mezzotint.core.config import dumps
from mezzotint.evidence.record import Record
from mezzotint.evidence.verdict import FAILS, HOLDS

_EXACT = "Exact answers, without training: the parts compute what they should. The claim itself is asked at size small."
_LOOKS = {HOLDS: "good", FAILS: "bad"}


def render(record: Record, pictures: Mapping[str, Tensor]) -> str:
    """The page of a record as HTML that needs nothing beside it.

    Arguments:
        record: what a run found.
        pictures: by arm, the first samples of the first seed: (n, C, H, W) in [-1, 1], or points (n, 2).
    """
    return document(
        f"{record['recipe']}, {record['size']}: {record.outcome} – mezzotint",
        _top(record),
        _criteria(record),
        _published(record),
        _table(record),
        _figures(record),
        _samples(record, pictures),
        _ran(record),
        section("Repeat it", tag("pre", command(record))),
        tag("footer", tag("p", "Written by mezzotint. This page is one file and loads nothing.", class_="note")),
    )


def command(record: Record) -> str:
    """The command line that repeats a record; a recipe that is a file goes by the file's name."""
    words = ["mezzotint", "reproduce", str(record["recipe"]), "--size", str(record["size"])]
    if not record["standard"]:
        words += ["--seeds", seeds(record["seeds"])]
        changed = [f"{key}={_plain(value)}" for key, value in record["setting"].items()]
        words += ["--set", *changed] if changed else []
    return shlex.join(words)


def _top(record: Record) -> Html:
    """The paper, the claim and the verdict."""
    paper, verdict = record["paper"], record["verdict"]
    arxiv = str(paper["arxiv"])
    address = f"https://arxiv.org/abs/{arxiv}" if arxiv.replace(".", "").isdigit() else None
    place = tag("a", f"arXiv {arxiv}", href=address) if address else f"arXiv {arxiv}"
    apart = "These are not the seeds and the setting that the recipe counts by, so this is not its verdict."
    return tag(
        "header",
        tag("p", f"mezzotint reproduce · {record['recipe']} · {record['size']}", class_="eyebrow"),
        tag("h1", paper["title"]),
        tag("p", join([f"{paper['authors']}, {paper['year']}, ", place]), class_="soft"),
        tag("p", tag("strong", "Claim. "), record["claim"], class_="lede"),
        tag(
            "div",
            tag("p", _capital(_outcome(record)), class_="outcome"),
            tag("p", _EXACT, class_="note") if record.closed else None,
            tag("p", f"{_capital(verdict['reason'])}."),
            tag("p", f"{_seeds(record)}. {apart}" if not record["standard"] else f"{_seeds(record)}.", class_="note"),
            class_=f"verdict {_look(record.outcome)}",
        ),
    )


def _criteria(record: Record) -> Html:
    """Every criterion: what it asks, the drawing, the numbers and the outcome."""
    made = []
    for one in record["verdict"]["criteria"]:
        said = tag("div", tag("b", one["name"]), tag("span", f"must be {one['rule']}"), class_="asked")
        outcome = tag("div", one["outcome"], class_=f"answer {_look(one['outcome'])}")
        numbers = tag("p", f"{_capital(found(one))}. By seed: {by_seed(one, record['seeds'])}.", class_="note")
        made.append(tag("li", said, outcome, strip(one, record["seeds"]), numbers))
    return section(
        "What was asked, and the answers",
        tag("p", tag("strong", "Fixed before the run. "), record["criterion"]),
        tag("ol", *made, class_="criteria"),
        tag(
            "p",
            "One circle a seed; the short upright line is their mean, the bar its 95 % interval, and the shaded side "
            "of the threshold is where it must lie. Where the bar contains the threshold, nothing is decided.",
            class_="note",
        ),
    )


def _published(record: Record) -> Html:
    """The paper's numbers, ours, and what differs."""
    theirs: list[object] = []
    for what, arms in record["published"].items():
        rows = [tag("tr", tag("th", arm, scope="row"), tag("td", number(value))) for arm, value in arms.items()]
        theirs += [tag("p", what, class_="row"), tag("table", tag("tbody", *rows), class_="plain")]
    ours = []
    for one in record["verdict"]["criteria"]:
        mean, low, high = one["mean"], one["low"], one["high"]
        half = None if low is None or high is None else (high - low) / 2
        even = half is not None and abs(low + high - 2 * mean) <= 1e-6 * (abs(low) + abs(high))
        written = between(mean, half) if even else number(mean)
        ours.append(tag("tr", tag("th", one["name"], scope="row"), tag("td", written)))
    return section(
        "The paper’s numbers, and ours",
        tag(
            "div",
            tag("div", tag("h3", "In the paper"), *(theirs or [tag("p", "No numbers.", class_="soft")])),
            tag("div", tag("h3", "Here"), tag("table", tag("tbody", *ours), class_="plain")),
            class_="beside",
        ),
        tag("p", tag("strong", "What differs. "), record["departures"]) if record["departures"] else None,
    )


def _table(record: Record) -> Html:
    """Every arm by every column: means with the half-width of their interval, and the numbers of every seed."""
    tables = record["numbers"]
    rows, names = columns(tables)
    first = "" if record.closed else "arm"
    head = tag("tr", tag("th", first, scope="col"), *(tag("th", name, scope="col") for name in names))
    body = [
        tag("tr", tag("th", row, scope="row"), *(tag("td", between(*spread(each(tables, row, n)))) for n in names))
        for row in rows
    ]
    heads = ["", *(["of"] if len(names) > 1 else []), *(f"seed {seed}" for seed in tables)]
    lines = [
        tag(
            "tr",
            tag("th", row, scope="row"),
            tag("td", name, class_="of") if len(names) > 1 else None,
            *(tag("td", number(value, 6)) for value in each(tables, row, name)),
        )
        for row in rows
        for name in names
        if any(row in table and name in table[row] for table in tables.values())
    ]
    about = "Numbers of the only seed, and so without an interval."
    if len(tables) > 1:
        about = f"Means over {len(tables)} seeds, ± half the width of the 95 % interval; none where a seed is missing."
    return section(
        "The numbers",
        tag("p", about),
        _wide(tag("table", tag("thead", head), tag("tbody", *body), class_="plain numbers")),
        tag(
            "details",
            tag("summary", "Every number of every seed"),
            _wide(
                tag(
                    "table",
                    tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads))),
                    tag("tbody", *lines),
                    class_="plain numbers",
                )
            ),
        ),
    )


def _figures(record: Record) -> Html | None:
    made = [drawn for one in record["figures"] if (drawn := _figure(one)) is not None]
    return section("Curves", tag("div", *made, class_="charts")) if made else None


def _figure(figure: Mapping[str, Any]) -> Html | None:
    """A figure of the record; values that were not computed are left out."""
    lines = {name: [(x, y) for x, y in points if None not in (x, y)] for name, points in figure["lines"].items()}
    places = [x for points in lines.values() for x, _ in points]
    if not places:
        return None
    ticks, logarithmic = axis(places)
    described = "; ".join(
        f"{name}: {', '.join(f'{number(y)} at {number(x)}' for x, y in points)}" for name, points in lines.items()
    )
    drawn = chart(
        [Line(name, points, i) for i, (name, points) in enumerate(lines.items())],
        figure["across"],
        f"{figure['title']}. {described}",
        ticks,
        up=figure["up"],
        logarithmic=logarithmic,
        signed=any(y <= 0 for points in lines.values() for _, y in points),
    )
    return tag("figure", drawn, tag("figcaption", figure["title"]))


def _samples(record: Record, pictures: Mapping[str, Tensor]) -> Html | None:
    made = samples.figures(pictures)
    if not made:
        return None
    first = record["seeds"][0]
    return section(
        "Samples",
        tag(
            "p",
            f"The first samples of seed {first}, none of them chosen. Sample k starts from the same noise in every "
            "arm, so what stands in one place can be compared from arm to arm.",
        ),
        tag("div", *made, class_="arms"),
    )


def _ran(record: Record) -> Html:
    """What ran, by hashes, versions and times."""
    evidence, environment, times = record["evidence"], record["environment"], record["times"]
    versions = environment.get("packages", {})
    jobs = times.get("jobs", 1)
    ran = [
        f"Python {environment.get('python')}",
        environment.get("platform"),
        environment.get("accelerator") or "CPU",
        f"{jobs} process{'' if jobs == 1 else 'es'} of one thread",
        *(f"{name} {version}" for name, version in versions.items() if version),
    ]
    setting = ", ".join(f"{key}={_plain(value)}" for key, value in record["setting"].items())
    estimate = times.get("estimate_per_seed")
    judge = evidence.get("judge")
    facts: list[tuple[str, object]] = [
        ("Seeds", ", ".join(map(str, record["seeds"]))),
        ("Setting", tag("code", setting) if setting else None),
        ("These are", "the recipe’s own" if record["standard"] else "not the recipe’s own seeds and setting"),
        ("Code", tag("code", f"package {evidence['package']}, recipe {evidence['recipe']}")),
        *(
            ("Data", join([f"{name}, {data['count']:,} items, ", tag("code", f"sha256 {data['sha256']}")]))
            for name, data in evidence.get("data", {}).items()
        ),
        ("Judge", tag("code", f"sha256 {judge['sha256']}") if judge else None),
        ("Ran on", ", ".join(part for part in ran if part)),
        ("Date", times["when"]),
        ("Time", f"{duration(times['seconds'])}, without what earlier runs had finished"),
        ("Estimate", f"{duration(estimate)} a paired seed" if estimate is not None else None),
    ]
    listed = [part for name, value in facts if value is not None for part in (tag("dt", name), tag("dd", value))]
    return section("What ran", tag("dl", *listed, class_="facts"), _weights(evidence.get("weights", {})))


def _weights(weights: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Html | None:
    """The hash of every trained model once, with the arms that used it."""
    users: dict[str, list[str]] = {}
    for seed, arms in weights.items():
        for arm, models in arms.items():
            for name, sha in models.items():
                users.setdefault(sha, [f"seed {seed}:"]).append(f"{name} of {arm};")
    if not users:
        return None
    lines = "\n".join(f"{sha}  {' '.join(names).removesuffix(';')}" for sha, names in users.items())
    return tag("details", tag("summary", "The weights of every model, by their SHA-256"), tag("pre", lines))


def _wide(table: Html) -> Html:
    """A table that may be wider than its page, and then is moved under the finger."""
    return tag("div", table, class_="wide", tabindex=0)


def _outcome(record: Record) -> str:
    """The verdict in words; checks of parts are called what they are."""
    if not record.closed:
        return record.outcome
    return {HOLDS: "exact checks hold", FAILS: "exact checks do not hold"}.get(record.outcome, "exact checks undecided")


def _look(outcome: str) -> str:
    return _LOOKS.get(outcome, "open")


def _seeds(record: Record) -> str:
    given: Sequence[int] = record["seeds"]
    return f"Seed{'' if len(given) == 1 else 's'} {', '.join(map(str, given))}, size {record['size']}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(value: Any) -> str:
    """A setting as ``--set`` takes it."""
    text = " ".join(dumps([value]).split())
    return text[1:-1] if text.startswith("[") else text.removeprefix("- ")
