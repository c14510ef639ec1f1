"""``mezzotint reproduce``: from a paper's name to a verdict, a record and a sheet."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import textwrap
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, Meter, Threads, duration, emit, note, number, progress, table, use_threads
from mezzotint.cli.flags import Settings, changes_of

if TYPE_CHECKING:
    from mezzotint.evidence.load import Loaded
    from mezzotint.evidence.record import Record
    from mezzotint.evidence.reproduce import Progress


@dataclass(frozen=True)
class Reproduce:
    """Put a published claim to the test: train its arms at paired seeds, measure them, and say whether it holds.

    SLUG is a recipe by name, the path of a recipe file of your own (.py, which is executed), or all.

    exact   closed forms and exact denoisers: seconds
    small   real training: at most 20 minutes a paired seed on two cores, in two processes
    full    for a GPU

    A verdict is holds, does not hold, or undecided: where the 95 % interval over seeds contains the threshold. What is
    finished is kept in the work folder and not done again, and what was interrupted goes on from there. The exit code
    is 0 whatever the verdict; --json says it in "outcome".

    examples:
      mezzotint reproduce --list
      mezzotint reproduce pfgmpp --size exact
      mezzotint reproduce core-samplers
      mezzotint reproduce core-samplers --seeds 20-24 --set images=50k
      mezzotint reproduce path/to/mine.py --size small
    """

    slug: Annotated[Positional[Optional[str]], arg(metavar="[SLUG]", help_behavior_hint="")] = None
    """The recipe, as above."""
    size: Annotated[Optional[str], arg(metavar="SIZE", help_behavior_hint="(default: small; for all, exact)")] = None
    """exact, small or full."""
    seeds: Annotated[Optional[str], arg(metavar="WHICH", help_behavior_hint="(default: the recipe's own)")] = None
    """How many of the recipe's seeds, or which: 5, 20-24."""
    set: Settings = None
    """Edit a number of the experiment, such as images=50k; the record then says so."""
    out: Annotated[str, arg(metavar="DIR")] = "results"
    """Where the record and the sheet are written."""
    work: Annotated[str, arg(metavar="DIR")] = "runs/reproduce"
    """Where runs and samples are kept, so that they need not be made again."""
    jobs: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 2, or 1 on a GPU)")] = None
    """Processes, of one thread each."""
    minutes: Annotated[Optional[float], arg(metavar="N", help_behavior_hint="(default: the recipe's)")] = None
    """What a paired seed may take; what would take more than twice as long is refused."""
    list: Flag = False
    """List the recipes with their sizes and what their records say."""
    threads: Threads = None
    """Threads of this process; its workers have one each."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Reproduce) -> int:
    """Reproduce what ``args`` describe."""
    use_threads(args.threads)
    from mezzotint.core.errors import Refusal
    from mezzotint.recipes.find import find, origins

    if args.list:
        return _list(args)
    if args.slug is None:
        raise Refusal(f"name a recipe, or all: {', '.join(origins())}; --list says more")
    if args.slug != "all":
        found, records = find(args.slug), []
        records.append(_one(args, found, args.size or "small"))
    else:
        size = args.size or "exact"
        loaded = [find(slug) for slug in origins()]
        records, refused = [], 0
        for one in loaded:
            try:
                records += [_one(args, one, size)] if size in one.recipe.sizes else []
            except Refusal as refusal:  # the others may still run
                refused += 1
                note(f"{one.slug}: {refusal}")
        if refused:
            raise Refusal(f"{refused} of {len(loaded)} recipes could not be run at {size}, as said above")
    if args.json:
        emit(records[0] if args.slug != "all" else records)
    return 0


def seeds_of(given: str | None, own: tuple[int, ...]) -> tuple[int, ...]:
    """Paired seeds from ``5`` (so many of the recipe's own, and those that follow) or ``20-24``."""
    from mezzotint.cli.wanted import seeds
    from mezzotint.core.errors import Refusal

    if given is None:
        return own
    if not given.isdigit():
        return tuple(seeds(given))
    count = int(given)
    if count < 1:
        raise Refusal("--seeds is how many, at least 1, or which, such as 20-24")
    return (*own, *range(max(own) + 1, max(own) + 1 + count))[:count]


def _one(args: Reproduce, loaded: Loaded, size: str) -> dict[str, Any]:
    """Reproduce one recipe, save and say what came of it."""
    from mezzotint.cli.sheet import render
    from mezzotint.evidence.reproduce import Request, pictures, reproduce

    own = loaded.recipe.at(size).seeds
    request = Request(
        loaded,
        size,
        seeds_of(args.seeds, own),
        tuple(changes_of(args.set)),
        Path(args.work),
        args.jobs,
        args.minutes,
    )
    Path(args.out).mkdir(parents=True, exist_ok=True)  # where it cannot be written is better known before the work
    note(f"{loaded.slug}, {size}: seeds {', '.join(map(str, request.paired))}")
    with ExitStack() as stack:
        record = reproduce(request, _Meters(stack))
    path = record.save(args.out)
    sheet = path.with_suffix(".html")
    sheet.write_text(render(record, pictures(request)), encoding="utf-8")
    if not args.json:
        _say(record, path, sheet)
    return {**record.tree, "outcome": record.outcome, "record": str(path), "sheet": str(sheet)}


class _Meters:
    """A meter for every phase of a run, the next one begun where the phase changes."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack, self.phase, self.start = stack, "", 0.0
        self.meter: Meter = lambda done, total, note="", per_second=None: None

    def __call__(self, p: Progress) -> None:
        if p.phase != self.phase:
            self.stack.close()
            self.phase, self.start = p.phase, time.perf_counter()
            self.meter = self.stack.enter_context(progress(p.phase, pace=False))
        spent = time.perf_counter() - self.start
        if p.total > 0:
            # What work was thought to take is in seconds of one process: what it takes shows after a little of it.
            known = spent > 5 and p.done > 0.01 * p.total
            self.meter(round(p.done), round(p.total), p.what, p.done / spent if known else None)


def _say(record: Record, path: Path, sheet: Path) -> None:
    """The claim, the paper's numbers, ours, and the verdict with its reason."""
    from mezzotint.cli.written import bracket, ranged

    tree = record.tree
    paper = tree["paper"]
    print(f"\n{paper['title']} ({paper['authors']}, {paper['year']}; arXiv {paper['arxiv']})")
    for name in ("claim", "criterion", "departures"):
        if not (said := " ".join(tree[name].split())):
            continue
        print(textwrap.fill(f"{name}: {said}", 110, subsequent_indent="  "))
    print("\npublished")
    for what, values in tree["published"].items():
        print(f"  {what}: " + ", ".join(f"{arm} {number(value)}" for arm, value in values.items()))
    first = next(iter(tree["numbers"].values()))
    columns = list(dict.fromkeys(column for row in first.values() for column in row))
    many = len(tree["seeds"])
    print(f"\nours, {tree['size']}, {f'mean over {many} seeds' if many > 1 else 'one seed'}")
    rows = [[row, *(number(_mean(tree["numbers"], row, column)) for column in columns)] for row in first]
    print(textwrap.indent(table(("", *columns), rows), "  "))
    criteria = tree["verdict"]["criteria"]
    print("\ncriteria (mean and 95 % interval over seeds)")
    told = [
        [c["name"], number(c["mean"]), bracket(c) + (" range" if ranged(c) else ""), c["rule"], c["outcome"]]
        for c in criteria
    ]
    print(textwrap.indent(table(("statistic", "mean", "interval", "must be", ""), told), "  "))
    print(f"\n{tree['recipe']}, {tree['size']}: {record.outcome.upper()}")
    print(textwrap.fill(tree["verdict"]["reason"], 110, initial_indent="  ", subsequent_indent="  "))
    if record.closed:
        print("  exact checks of the parts; the claim itself is put to the test at small")
    if not tree["standard"]:
        print("  with other seeds or settings than the recipe's own, so it counts beside its verdict and not as it")
    print(f"\nrecord: {path}\nsheet, for a browser: {sheet}")
    print(f"took {duration(tree['times']['seconds'])}")


def _mean(tables: dict[Any, Any], row: str, column: str) -> float | None:
    values = [table[row].get(column) for table in tables.values()]
    return None if any(value is None for value in values) else sum(values) / len(values)


def _list(args: Reproduce) -> int:
    """Every recipe with its sizes, their budgets and what the records say."""
    from mezzotint.evidence.record import records
    from mezzotint.recipes.find import find, origins

    found = {(r["recipe"], r["size"]): r.outcome for r in records(args.out, note) if r["standard"]}
    recipes = {slug: find(slug).recipe for slug in origins()}
    if args.json:
        emit(
            [
                {
                    "recipe": slug,
                    "paper": recipe.paper.title,
                    "arxiv": recipe.paper.arxiv,
                    "claim": " ".join(recipe.claim.split()),
                    "sizes": {
                        size: {"seeds": one.seeds, "minutes": one.minutes, "verdict": found.get((slug, size))}
                        for size, one in recipe.sizes.items()
                    },
                }
                for slug, recipe in recipes.items()
            ]
        )
        return 0
    rows = [
        [slug, size, f"{len(one.seeds)} x {one.minutes:g} min", found.get((slug, size), "not run")]
        for slug, recipe in recipes.items()
        for size, one in recipe.sizes.items()
    ]
    print(table(("recipe", "size", "seeds, at most", f"record in {args.out}"), rows, left=2))
    print("\nmezzotint reproduce SLUG [--size exact|small|full]")
    return 0
