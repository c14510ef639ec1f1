"""What WHAT means on the command line: a recipe, digits or scenes, pictures of one's own, or a run.

Pictures are a folder of them, or of pictures and maps, an .npz, a table beside files, tar shards, or a set that
``datasets`` saved
(:mod:`.columns`).

Each becomes a config tree (``model``, ``data``, ``training``). A recipe is one already; for pictures the tree is
written by :func:`mezzotint.recipes.of_data` from what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mezzotint.cli.codes import edits
from mezzotint.cli.columns import made, recorded
from mezzotint.core import config
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.spec import build
from mezzotint.core.store import SCHEMA, data_set, model_config
from mezzotint.data import Arrays, Data, Digits, Folder, Scenes, TextFile
from mezzotint.data.table import ENDINGS, TABLES
from mezzotint.training.run import CHECKPOINTS, Run

BUILT_IN = ("digits", "scenes")
FLAGS = {
    **{name: name for name in ("layout", "palette", "instances", "mask")},
    "image": "condition",
    "attributes": "attributes",
}
"""The flags that declare a column or what it means, by what they tell."""
_RECIPES = (".yaml", ".yml")
_FILES = (".npz", ".tar", ".txt", *ENDINGS)


def is_run(path: str | Path) -> bool:
    """Whether a path looks like a run folder: a config with checkpoints beside it."""
    return (Path(path) / "config.yaml").is_file() and (Path(path) / CHECKPOINTS).is_dir()


def is_recipe(what: str) -> bool:
    """Whether WHAT is written out: a YAML file or a run, rather than pictures."""
    return what not in BUILT_IN and (what.lower().endswith(_RECIPES) or is_run(what))


def name_of(what: str) -> str:
    """The name of a run on WHAT: the file's or folder's own, without its ending."""
    path = Path(what)
    if path.name in TABLES:
        return path.resolve().parent.name
    return path.stem if path.suffix.lower() in (*_RECIPES, *_FILES) else path.resolve().name


def written(what: str) -> dict[str, Any]:
    """The tree of a recipe file or of a run."""
    tree = Run.open(what).config if is_run(what) else config.load(what)
    if not isinstance(tree, dict):
        raise Refusal(f"{what!r} is not a recipe: a recipe has the entries model, data and training")
    if tree.get("schema", SCHEMA) != SCHEMA:
        raise Refusal(f"this config has schema {repr(tree['schema'])[:50]}, this version of mezzotint reads {SCHEMA}")
    return {key: value for key, value in tree.items() if key != "schema"}


def pictures(
    what: str,
    size: int | None = None,
    held_out: str | None = None,
    skip_broken: bool = False,
    declared: Mapping[str, Any] | None = None,
    changes: Sequence[str] = (),
) -> Data:
    """The pictures that WHAT names, their train split.

    Arguments:
        what: a path, or the name of a built-in set.
        size: pixels of a side.
        held_out: the .npz with the pictures to judge by.
        skip_broken: leave out broken pictures.
        declared: further columns of sets that have any, by what they tell.
        changes: edits such as ``data.links=true``, which decide how the pictures are read.
    """
    if size is not None and size < 1:
        raise Refusal(f"--size is {size}, but a size is a number of pixels, at least 1")
    path = Path(what)
    if what in BUILT_IN:
        _without(what, **{FLAGS[name]: column for name, column in (declared or {}).items()})
        _without(what, held_out=held_out, skip_broken=skip_broken or None)
        if what == "scenes":
            return made(Scenes, changes, size=size or 32, objects=[1, 2])
        _without(what, size=size)
        return made(Digits, changes)
    if (path / CHECKPOINTS).is_dir() and not (path / "config.yaml").is_file():
        raise Refusal(
            f"{what!r} holds checkpoints, so it is no folder of pictures but a run that has lost its config.yaml; "
            "bring that file back, or train the same recipe with --out and --resume"
        )
    found = recorded(what, size, skip_broken, declared, changes)
    if found is not None:
        _without(repr(what), held_out=held_out)
        return found
    for name in declared or ():
        if path.exists():
            raise Refusal(
                f"--{FLAGS[name]} says something of what is told of pictures, and nothing is told of those in "
                f"{what!r}: put a table beside them, such as metadata.jsonl, or them and their maps into folders "
                "pictures and layouts"
            )
    if path.is_dir():
        _without(f"the folder {what!r}", held_out=held_out)
        return made(Folder, changes, path=what, size=size, skip_broken=skip_broken)
    if what.lower().endswith(".npz"):
        _without(f"the file {what!r}", skip_broken=skip_broken or None)
        label, caption = _told(path)
        return made(Arrays, changes, path=what, label=label, caption=caption, size=size, held_out_path=held_out)
    if what.lower().endswith(".txt") and path.is_file():
        _without(f"the text {what!r}", size=size, held_out=held_out, skip_broken=skip_broken or None)
        return made(TextFile, changes, path=what)
    if path.is_file():
        raise Refusal(
            f"{what!r} is neither a recipe (.yaml), nor a folder of pictures, nor an .npz, .jsonl, .csv, .parquet, "
            ".tar or .txt file"
        )
    hint = nearest(what, BUILT_IN) if "/" not in what and "." not in what else "check the path"
    raise Refusal(f"there is no recipe, folder of pictures or .npz file {what!r} ({hint})")


def _without(what: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise Refusal(f"--{name.replace('_', '-')} says nothing about {what}; leave it out")


def _told(path: Path) -> tuple[str | None, str | None]:
    """The names of the arrays of an .npz with the labels and the captions of its pictures, None where it has none."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return None, None  # the data set says what is wrong with the file
    caption = "captions" if "captions" in names else None
    # A file of pictures alone has no labels; one with further arrays but without labels probably calls them otherwise.
    without = names == {"images"} or (caption is not None and "labels" not in names)
    if "images" in names and "labels" not in names and not without:
        others = ", ".join(sorted(names - {"images"})[:5])
        raise Refusal(
            f"{str(path)!r} holds images and {others}, and what is told of pictures is called labels (whole numbers) "
            "or captions (strings): rename it, or say in a recipe which array is which (data.caption, data.label)"
        )
    return None if without else "labels", caption


def built(part: Any, kind: type, what: str) -> Any:
    """Build one entry of a tree, and refuse what is not a ``kind``."""
    made = build(part)
    if not isinstance(made, kind):
        raise Refusal(f"{what} is a {type(made).__name__}, but it must be a {kind.__name__}")
    return made


def of_run(run: str, changes: Sequence[str]) -> Data:
    """The train split that the config of a run or a model names.

    Arguments:
        run: its folder.
        changes: edits of the config, such as ``data.path=elsewhere``.
    """
    tree = model_config(run)
    if "data" not in tree:
        raise Refusal(f"the config of {run!r} names no data")
    tree = config.edit(tree, edits(tree, list(changes)))
    try:
        data = data_set(tree["data"])
    except Refusal as refusal:
        inner = tree["data"].get("source", tree["data"]) if isinstance(tree["data"], dict) else None
        path = inner.get("path") if isinstance(inner, dict) else None
        if path is None or changes:
            raise
        raise Refusal(f"{refusal}; if the data have moved, say where they are with --set data.path=...") from None
    if not isinstance(data, Data):
        raise Refusal(f"'data' of the run's config is a {type(data).__name__}, but it must be a Data")
    return data.sibling("train")
