"""``mezzotint train`` of a cascade: all of its stages from one recipe, a run folder each inside one.

    cascade.yaml    what the cascade is, for whoever draws from it (:mod:`mezzotint.cascades.folder`)
    recipe.yaml     what its stages are trained by, so that a training that was stopped goes on with those to come
    7/  14/         the runs

Stages know nothing of each other while they are trained: each learns from the data alone. They are trained one after
the other, the smallest first; each may be trained on another machine, by the recipe of its own run.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.cascades.folder import FILE, Member, is_cascade, write
from mezzotint.cli.console import duration, emit, note, number, progress
from mezzotint.cli.flags import changes_of, parameters_of
from mezzotint.cli.source import FLAGS, built, is_recipe, is_run, name_of, written
from mezzotint.core import config, ranks
from mezzotint.core.blueprint import blueprint
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import SCHEMA, write_text
from mezzotint.core.spec import PART, resolve
from mezzotint.core.spec import name_of as name_of_part
from mezzotint.core.stop import Stopped, poll, watching
from mezzotint.core.store import DATA, MODEL
from mezzotint.data import Data
from mezzotint.data.derived import Derived
from mezzotint.data.wrapped import Wrapped

if TYPE_CHECKING:
    from mezzotint.cli.train import Train
    from mezzotint.training.run import Run

RECIPE = "recipe.yaml"
STAGES = "stages"
_KEYS = ("name", "model", "data", "training")

Trees = dict[str, dict[str, Any]]
"""The config of every stage, by its name."""


def asked(args: Train) -> bool:
    """Whether a cascade is what is to be trained."""
    if args.cascade is not None or args.augment is not None:
        return True
    if is_cascade(args.what) or (args.resume and args.out is not None and is_cascade(args.out)):
        return True
    return is_recipe(args.what) and not is_run(args.what) and STAGES in written(args.what)


def run(args: Train) -> int:
    """Train every stage that is not at its end yet."""
    for flag in ("autoencoder", "codes", "model", "mirror"):
        if getattr(args, flag) is not None:
            raise Refusal(f"--{flag} is for one model, and a cascade has several; leave it out, or --cascade")
    folder = _folder(args)
    if not args.resume and not args.dry_run and ranks.main():
        from mezzotint.cli.train import free

        free(folder)
    trees = _edited(args, _trees(args, folder))
    members = _members(trees)
    if args.dry_run:
        _dry(args, trees)
        return 0
    place, start = Path(folder), time.perf_counter()
    if ranks.main():
        place.mkdir(parents=True, exist_ok=True)
        write_text(place / RECIPE, config.dumps({"schema": SCHEMA, STAGES: _listed(trees)}))
        if not is_cascade(place):  # which may have been edited since
            write(place, members)
    ranks.wait()
    done: dict[str, Run] = {}
    try:
        with watching():
            for name, tree in trees.items():
                poll()
                done[name] = _train(args, tree, place / name, f"{name}: ")
    except (KeyboardInterrupt, Stopped):
        note(f"what was saved is whole: mezzotint train {shlex.quote(folder)} --resume goes on from there")
        raise
    if ranks.main():
        _finish(args, done, folder, time.perf_counter() - start)
    return 0


def _folder(args: Train) -> str:
    """Where the cascade is written."""
    if args.out is not None:
        return args.out
    if is_cascade(args.what):
        if not args.resume and not args.dry_run:
            raise Refusal(
                f"{args.what!r} is a cascade: add --resume to go on with it, or --out DIR to train the same anew"
            )
        return args.what
    return f"runs/{name_of(args.what)}{'' if args.cascade is None else '-cascade'}"


def _trees(args: Train, folder: str) -> Trees:
    """The configs of the stages: of the folder where it goes on, of a recipe, or written from pictures."""
    before = _read(str(Path(folder) / RECIPE)) if args.resume and (Path(folder) / RECIPE).is_file() else {}
    for name in before:
        if is_run(Path(folder) / name):
            before[name] = written(str(Path(folder) / name))
    wanted = None if args.cascade is None else _sizes(args.cascade)
    if before and wanted not in (None, _drawn(before)):
        raise Refusal(
            f"the cascade in {folder!r} has the sizes {','.join(map(str, _drawn(before)))}, not {args.cascade}: leave "
            "--cascade out, or train into a new folder"
        )
    listed = is_cascade(args.what) or (is_recipe(args.what) and not is_run(args.what) and STAGES in written(args.what))
    if wanted is not None and not listed:
        trees = _written(args, wanted, before)
        return {
            name: {**tree, "training": before[name]["training"]} if before else tree for name, tree in trees.items()
        }
    if not listed:
        raise Refusal("say the sizes of the stages of a cascade, such as --cascade 16,64, or name its folder to go on")
    for flag in (
        "width",
        "size",
        "held_out",
        "skip_broken",
        *FLAGS.values(),
        "augment",
        *(() if before else ("cascade",)),
    ):
        if getattr(args, flag):
            raise Refusal(
                f"--{flag.replace('_', '-')} is for pictures, but {args.what!r} is a recipe that says it itself; edit "
                "it with --set"
            )
    return before or _read(str(Path(args.what) / RECIPE) if is_cascade(args.what) else args.what)


def _written(args: Train, sizes: list[int], before: Trees) -> Trees:
    """The recipe that is written from pictures; where a training goes on, what was not said is as it was."""
    from mezzotint.cli import train
    from mezzotint.recipes import cascaded

    changes = changes_of(args.set)
    if is_recipe(args.what):
        tree = written(args.what)
        if set(tree) != {"data"}:
            raise Refusal(f"--cascade is for pictures, but {args.what!r} is a recipe of one model: leave it out")
        mine = [one for one in changes if one.lstrip().startswith("data")]
        data = built(config.edit(tree, mine)["data"], Data, f"'data' of {args.what!r}").sibling("train")
    else:
        data = train.read(args, {})
    if args.width is not None and args.width < 1:
        raise Refusal(f"--width is {args.width}, but a network needs at least one channel")
    more: dict[str, Any] = {} if before else dict(train.batch(changes))
    if args.width is not None or before:
        more["width"] = args.width if args.width is not None else [train.width(one["model"]) for one in before.values()]
    if args.images is not None and not before:  # whose training is as it was, but for what is edited afterwards
        more["images"] = _images(args.images)
    how = args.augment or (_augment(before) if before else "noise")
    trainings = cascaded.usual(data, sizes, augment=how, **more)
    return {name: training.tree(args.seed or 0) for name, training in trainings.items()}


def _augment(trees: Trees) -> str:
    """How a cascade was augmented, as the recipe calls it."""
    from mezzotint.conditions.augment import Blurred, Noised
    from mezzotint.objectives.beside import innermost

    kinds = {name_of_part(Noised): "noise", name_of_part(Blurred): "blur"}
    *_, last = trees.values()
    _, objective = innermost(last["training"]["objective"])
    return kinds.get((objective.get("augment") or {}).get(PART, ""), "none")


def _sizes(text: str) -> list[int]:
    pieces = [piece.strip() for piece in text.split(",")]
    if not all(piece.isdecimal() for piece in pieces):
        raise Refusal(f"--cascade is {text!r}, but it names the sides of its pictures, such as 7,14,28")
    return [int(piece) for piece in pieces]


def _images(text: str) -> Any:
    """One number for all stages, or one a stage."""
    found = [config.count(piece.strip()) for piece in text.split(",")]
    return found if len(found) > 1 else found[0]


def _drawn(trees: Trees) -> list[int]:
    """The shortest side of every stage."""
    return [min(member.shape[1:]) for member in _members(trees)]


def _read(path: str) -> Trees:
    """The stages of a recipe file."""
    tree = config.load(path)
    if not isinstance(tree, dict) or tree.get("schema", SCHEMA) != SCHEMA:
        raise Refusal(f"{path!r} is no recipe that this version of mezzotint reads")
    stages = tree.get(STAGES)
    if set(tree) - {"schema", STAGES} or not isinstance(stages, list) or not stages:
        raise Refusal(
            f"the recipe of a cascade has the entry 'stages' alone, a list, and {path!r} has {', '.join(tree)}"
        )
    trees: Trees = {}
    for number_, one in enumerate(stages):
        if not isinstance(one, dict) or set(one) != set(_KEYS):
            raise Refusal(f"stage {number_} of {path!r} has to have the entries {', '.join(_KEYS)} and no others")
        name = str(one["name"])
        if not name or name in trees or name in (".", "..") or set(name) & set("/\\\0") or name in (FILE, RECIPE):
            raise Refusal(
                f"stage {number_} of {path!r} is called {name!r}, but it has a name of its own, that of a folder"
            )
        trees[name] = {key: one[key] for key in _KEYS[1:]}
    return trees


def _listed(trees: Trees) -> list[dict[str, Any]]:
    return [{"name": name, **{key: tree[key] for key in _KEYS[1:]}} for name, tree in trees.items()]


def _edited(args: Train, trees: Trees) -> Trees:
    """The recipe with what the flags say; ``--set`` edits every stage, or the one that it names first."""
    lengths: list[Any] = []
    if args.images is not None:
        found = _images(args.images)
        lengths = found if isinstance(found, list) else [found] * len(trees)
        if len(lengths) != len(trees):
            raise Refusal(
                f"--images names {len(lengths)} numbers for {len(trees)} stages: one for all, or one for each"
            )
    changed: Trees = {}
    for place, (name, tree) in enumerate(trees.items()):
        if args.resume and args.seed is not None and args.seed != tree["training"].get("seed", 0):
            raise Refusal(f"the stage {name!r} has the seed {tree['training'].get('seed')}, and a run keeps its seed")
        changes = list(_mine(changes_of(args.set), name, list(trees), tree))
        changes += [f"training.images={lengths[place]}"] if lengths else []
        changes += [] if args.seed is None else [f"training.seed={args.seed}"]
        changes += ["training.shard=true"] if args.shard else []
        changed[name] = config.edit(tree, changes)
    return changed


def _mine(changes: Sequence[str], name: str, names: Sequence[str], tree: Mapping[str, Any]) -> Iterator[str]:
    """The edits that are a stage's; those of its data are of the pictures behind what is made of them."""
    behind = ""
    data = tree["data"]
    while isinstance(data, Mapping) and _wraps(data):
        behind, data = f"{behind}source.", data.get("source")
    for change in changes:
        first, _, rest = change.strip().partition(".")
        if first not in (*names, "training", "data", "model") and first.isdecimal():
            raise Refusal(f"--set {change.strip()}: there is no stage {first!r}, the stages are {', '.join(names)}")
        if first in names and not change.strip().startswith(("training.", "data.", "model.")):
            if first != name:
                continue
            change = rest
        room, dot, inner = change.strip().partition(".")
        yield f"data.{behind}{inner}" if room == "data" and dot and not inner.startswith("source.") else change


def _wraps(data: Mapping[str, Any]) -> bool:
    """Whether a data set of a recipe is one that a stage's recipe puts around the pictures."""
    try:
        return issubclass(resolve(data.get(PART, ""), DATA), Wrapped) and "operator" in data
    except Refusal:
        return False


def _members(trees: Trees) -> list[Member]:
    """What the cascade of these stages is; stages that do not fit together are refused before any is trained."""
    members: list[Member] = []
    for name, tree in trees.items():
        model = blueprint(tree["model"], MODEL)
        objective = built(tree["training"], _trainer(), f"'training' of the stage {name!r}").objective
        family = _family(tree["data"])
        if members and family is None:
            raise Refusal(
                f"the stage {name!r} is told nothing of the stage before: its data are to be data.Derived, which tells "
                "the low resolution of its pictures"
            )
        takes = {family: members[-1].name} if members and family is not None else {}
        members.append(Member.of(name, model, takes, getattr(objective, "augment", None)))
    return members


def _trainer() -> type:
    from mezzotint.training import Trainer

    return Trainer


def _family(data: Any) -> str | None:
    """The family under which data tell a low resolution; None: they tell none."""
    while isinstance(data, Mapping):
        try:
            if resolve(data.get(PART, ""), DATA) is Derived:
                return str(data.get("family", "low"))
        except Refusal:
            return None
        data = data.get("source")
    return None


def _dry(args: Train, trees: Trees) -> None:
    from mezzotint.cli.train import check

    for tree in trees.values():
        check(tree, parameters_of(args.max_parameters))
    tree = {STAGES: _listed(trees)}
    emit(tree) if args.json else print(config.dumps(tree), end="")


def _train(args: Train, tree: Mapping[str, Any], folder: Path, title: str) -> Run:
    """One stage, from where it stands to its end."""
    from mezzotint.training import train
    from mezzotint.training.run import Run

    run = Run(folder)
    if args.resume and _over(run, tree):
        return run
    with progress(f"training {title.rstrip(': ')}") as meter:
        return train(
            tree,
            folder,
            resume=args.resume,
            parameters=parameters_of(args.max_parameters),
            progress=lambda p: meter(p.images, p.total, f"loss {p.loss:.4f}  data-wait {p.waiting:.0%}", p.per_second),
        )


def _over(run: Run, tree: Mapping[str, Any]) -> bool:
    """Whether a stage is trained to its end, and exported."""
    images, batch = config.count(tree["training"]["images"]), tree["training"].get("batch", 128)
    reached = max(run.checkpoints(), default=0)
    return reached >= -(-images // batch) * batch and (run.path / "model").is_dir()


def _finish(args: Train, done: Mapping[str, Run], folder: str, seconds: float) -> None:
    """Say what came of it and how to go on."""
    from mezzotint.cli.finished import onwards
    from mezzotint.cli.results import Result

    results = {name: Result.read(run) for name, run in done.items()}
    quoted = shlex.quote(folder)
    most = max(result.images for result in results.values())
    commands = {
        "sample": f"mezzotint sample {quoted} --out {shlex.quote(folder.rstrip('/') + '.png')}",
        "look": f"mezzotint show {quoted}",
        "go on": f"mezzotint train {quoted} --resume --images {2 * most}",
    }
    if args.json:
        stages = {name: result.plain() for name, result in results.items()}
        emit({"cascade": folder, "seconds": seconds, "stages": stages, "next": commands})
        return
    print(f"{folder}: {len(results)} stages in {duration(seconds)}")
    for name, result in results.items():
        held = f"on held-out pictures {number(result.held_out)}"
        print(f"  {name:<8} {result.images:,} images, loss {number(result.loss)}, {held}")
    onwards(commands)
