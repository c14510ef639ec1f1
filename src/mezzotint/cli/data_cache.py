"""``mezzotint data cache``: decode pictures once, into a file that is read from then on."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, Threads, emit, onward, progress, use_threads

if TYPE_CHECKING:
    from mezzotint.data import Data


@dataclass(frozen=True)
class Cache:
    """Decode pictures once, and keep them as a file that training reads without decoding.

    WHAT is a folder of pictures, an .npz, or a recipe, whose data are taken. Both splits are kept, each in a
    folder of its own that is named after what is in it: one FOLDER may hold caches of many sets. What was
    stopped goes on where it was. A cache is for pictures that do not fit in memory, or cost much to decode.

    The settings that read it are printed: put them in place of data in the recipe. Nothing else changes, and
    where the cache is gone or damaged, the pictures themselves are read.

    examples:
      mezzotint data cache pictures/ --size 64 --out cache
      mezzotint data cache recipe.yaml --out cache
      mezzotint data cache recipe.yaml --out cache --check
    """

    what: Annotated[Positional[str], arg(metavar="WHAT", help_behavior_hint="")]
    """Pictures or a recipe, as above."""
    out: Annotated[str, arg(metavar="FOLDER", help_behavior_hint="")]
    """The folder of caches."""
    size: Annotated[Optional[int], arg(metavar="PIXELS", help_behavior_hint="(default: as they are)")] = None
    """Bring pictures to this many pixels a side; only for pictures, a recipe says it itself."""
    skip_broken: Flag = False
    """Leave out broken and oversized pictures of a folder instead of refusing them."""
    check: Flag = False
    """Read what is there already and the files it was made of, and decode anew what is no longer as it was written."""
    threads: Threads = None
    """Threads to compute with."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Cache) -> int:
    """Build the caches of both splits."""
    use_threads(args.threads)
    from mezzotint.core import config
    from mezzotint.core.errors import Refusal
    from mezzotint.core.spec import spec
    from mezzotint.data import Cached

    source = _source(args)
    if isinstance(source, Cached):
        source = source.source
    made, states = [], []
    with progress("caching") as meter:
        for split in ("train", "held_out"):
            try:
                mine = source.sibling(split)
            except Refusal:
                if split == "train":
                    raise
                continue  # nothing is held out
            tell, there = _Tell(onward(meter)), "there already and whole" + (", checked" if args.check else "")
            made.append(Cached(mine, args.out).build(tell, check=args.check))
            states.append(there if tell.whole else "")
    tree = {"data": spec(made[0])}
    if args.json:
        emit(
            {"caches": [{"split": one.split, "items": len(one), "path": str(one.path)} for one in made], "recipe": tree}
        )
        return 0
    for one, state in zip(made, states, strict=True):
        print(f"{one.path}: {len(one):,} pictures of the split {one.split!r}{state and f', {state}'}")
    print(f"\nto train on it, put this into the recipe:\n\n{config.dumps(tree)}", end="")
    return 0


class _Tell:
    """Passes on how far a build is, but for one that finds all there: ``whole`` then, and there is no pace to tell."""

    def __init__(self, meter: Callable[[int, int], None]) -> None:
        self._meter, self.whole, self._begun = meter, False, False

    def __call__(self, done: int, total: int) -> None:
        self.whole = done >= total if not self._begun else self.whole
        self._begun = True
        if not self.whole:
            self._meter(done, total)


def _source(args: Cache) -> Data:
    """The pictures that WHAT names."""
    from mezzotint.cli.source import built, is_recipe, pictures, written
    from mezzotint.core.errors import Refusal
    from mezzotint.data import Data

    if not is_recipe(args.what):
        return pictures(args.what, args.size, skip_broken=args.skip_broken)
    for name in ("size", "skip_broken"):
        if getattr(args, name):
            raise Refusal(
                f"--{name.replace('_', '-')} is for pictures, but {args.what!r} is a recipe that says it itself; "
                "edit it there"
            )
    tree: dict[str, Any] = written(args.what)
    if "data" not in tree:
        raise Refusal(f"{args.what!r} has no entry data, so there is nothing to keep")
    found: Data = built(tree["data"], Data, f"'data' of {args.what!r}").sibling("train")
    return found
