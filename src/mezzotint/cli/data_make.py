"""``mezzotint data make``: a set of painted scenes as files, with all that is known of them."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated, Literal, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, Threads, emit, onward, progress, use_threads
from mezzotint.cli.flags import Settings, changes_of

TELLS = ("label", "attributes", "caption", "layout", "mask", "keypoints")


@dataclass(frozen=True)
class Make:
    """Paint a set of scenes as PNG files, with a table of all that is known of them.

    FOLDER gets pictures/, a folder for each kind of map, and metadata.jsonl: a row a picture with file_name,
    split, caption, label, the words of its objects, keypoints, and the files of its layout and mask. Scene k is
    the same whatever N is, so a set can be continued with a larger N, and one that was stopped goes on where it
    was and ends in the same bytes.

    --set edits what is painted and told, such as objects=[1,2], style=sketch, seed=1 or
    tells=[caption,depth]; docs/scenes.md lists the settings.

    examples:
      mezzotint data make scenes --out scenes --count 10k
      mezzotint data make scenes --out figures --count 2k --size 64 --set forms=[figure] objects=[1,1]
      mezzotint data check scenes --out recipe.yaml
    """

    what: Annotated[Positional[Literal["scenes"]], arg(metavar="WHAT", help_behavior_hint="")]
    """scenes."""
    out: Annotated[str, arg(metavar="FOLDER", help_behavior_hint="")]
    """Where they go; new or empty, or a folder in which the same scenes were begun."""
    count: Annotated[str, arg(metavar="N", help_behavior_hint="(default: 1k)")] = "1k"
    """How many pictures: 500, 10k."""
    size: Annotated[Optional[int], arg(metavar="PIXELS", help_behavior_hint="(default: 32)")] = None
    """The side of a picture, 16 to 256."""
    set: Settings = None
    """Edit a setting of the scenes."""
    threads: Threads = None
    """Threads to compute with."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Make) -> int:
    """Paint them."""
    use_threads(args.threads)
    from mezzotint.cli.source import built
    from mezzotint.core import config
    from mezzotint.core.errors import Refusal
    from mezzotint.core.spec import spec
    from mezzotint.data import Scenes
    from mezzotint.data.scenes import album

    count = config.count(args.count)
    size = 32 if args.size is None else args.size
    tree = config.edit(spec(Scenes(size=size, tells=TELLS)), changes_of(args.set))
    scenes = built(tree, Scenes, "what is painted")
    for name in ("pictures", "held_out_pictures", "split"):
        if getattr(scenes, name) != getattr(Scenes(), name):
            raise Refusal(
                f"--count says how many scenes are painted, and metadata.jsonl which are held out; leave {name} out"
            )
    with progress("painting") as meter:
        table = album.write(scenes, args.out, count, onward(meter))
    commands = {"look": f"mezzotint data check {shlex.quote(args.out)} --out recipe.yaml"}
    if args.json:
        emit({"folder": args.out, "count": count, "table": str(table), "next": commands})
        return 0
    print(f"{table}: {count:,} scenes of {' x '.join(map(str, scenes.shape[1:]))} pixels")
    for what, command in commands.items():
        print(f"  {what:<8} {command}")
    return 0
