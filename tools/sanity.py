"""Print which measure catches which flaw, on real digits and clothes and on scenes.

Run it from the root of the repository; it takes some minutes on one core:

    python tools/sanity.py
    python tools/sanity.py --only digits --count 200
    python tools/sanity.py --out results/sanity.json     # the numbers as well

Clothes are read from the folder that MEZZOTINT_DATA names, and left out without it. In the table a flaw that was
caught shows by how much the measure got worse, with the 95 % interval of the difference; a dot is one that was not. A
flaw that a measure is meant to catch and did not is marked !, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

COUNTS = {"digits": 300, "clothes": 500, "scenes": 300}


def real(name: str, count: int) -> Any:
    """Enough real pictures with their labels, and captions where there are any."""
    from mezzotint.core.text import spoken
    from mezzotint.data import Digits, FashionMNIST, Scenes
    from mezzotint.testing.sanity import Labelled

    if name == "scenes":
        x, cond = Scenes(size=32, objects=(1, 2), tells=("label", "caption"))[: 7 * count]
        return Labelled(x, cond["label"], tuple(spoken(cond["caption"])))
    x, cond = Digits(split="all")[:] if name == "digits" else FashionMNIST(split="held_out")[: 7 * count]
    return Labelled(x, cond["label"])


def told(name: str, found: dict[str, Any]) -> bool:
    """Print one table; whether every measure caught what it is meant to."""
    from mezzotint.testing.sanity import MEASURES

    flaws = list(next(iter(found.values())))
    wide = max(len(measure) for measure in found) + 2
    print(f"\n{name}\n{'':{wide}}{'untouched':>10}" + "".join(f"{flaw:>29}" for flaw in flaws))
    good = True
    for measure, cells in found.items():
        line = f"{measure:{wide}}{next(iter(cells.values())).untouched.value:>10.4g}"
        for flaw, cell in cells.items():
            missed = flaw in MEASURES[measure].meant and not cell.caught
            good &= not missed
            apart = cell.difference
            by = f"{apart.value:+.3g} [{apart.low:+.3g}, {apart.high:+.3g}]"
            line += f"{by if cell.caught else '!' if missed else '.':>29}"
        print(line)
    return good


def main(words: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=COUNTS, default=list(COUNTS), help="which pictures")
    parser.add_argument("--count", type=int, help="pictures of a set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=100, help="resamplings of intervals")
    parser.add_argument("--seen", type=int, help="pictures seen in training the extractor")
    parser.add_argument("--out", help="write the numbers as JSON")
    given = parser.parse_args(words)
    from mezzotint.testing.sanity import Bench, suite

    good, numbers = True, {}
    for name in given.only:
        if name == "clothes" and "MEZZOTINT_DATA" not in os.environ:
            say("clothes are left out: MEZZOTINT_DATA names no folder")
            continue
        count = given.count or COUNTS[name]
        bench = Bench.of(real(name, count), count, given.seed, given.draws, given.seen)
        found = suite(bench)
        good &= told(f"{name}: {count} pictures a set, seed {given.seed}", found)
        numbers[name] = {
            measure: {
                flaw: {"caught": cell.caught, "flawed": cell.estimate.plain(), "untouched": cell.untouched.plain()}
                for flaw, cell in cells.items()
            }
            for measure, cells in found.items()
        }
    if given.out:
        Path(given.out).write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
