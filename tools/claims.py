"""Write docs/claims.md: every recipe of the package, and what the records in results/ say of it.

Run it from the root of the repository after a record was added or a recipe changed:

    python tools/claims.py
    python tools/claims.py --check    # writes nothing; exit code 1 where the page is not what it would write
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from mezzotint.cli.claims import claims  # noqa: E402
from mezzotint.evidence.load import load  # noqa: E402
from mezzotint.evidence.record import records  # noqa: E402
from mezzotint.recipes.find import origins  # noqa: E402


def page(results: Path) -> str:
    """The page, from the recipes of this package and the records of a folder."""
    own = {slug: origin for slug, origin in origins().items() if origin.startswith("mezzotint.")}
    recipes = {slug: load(origin).recipe for slug, origin in own.items()}
    return claims(recipes, records(results), records(results / "earlier"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write docs/claims.md from the records in results/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the page is stale")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="the folder of the records")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "claims.md", help="the page")
    given = parser.parse_args(arguments)
    text = page(given.results)
    if not given.check:
        given.page.write_text(text, encoding="utf-8")
    elif not given.page.is_file() or given.page.read_text(encoding="utf-8") != text:
        print(f"{given.page} is stale: run python tools/claims.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
