"""``mezzotint train``: from pictures or a recipe to a run folder."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, Processes, Threads, emit, note, progress, use_threads
from mezzotint.cli.flags import Parameters, Settings, changes_of, parameters_of

if TYPE_CHECKING:
    from mezzotint.data import Data
    from mezzotint.training.run import Run

Column = Annotated[Optional[str], arg(metavar="COLUMN", help_behavior_hint="")]
_HEARD = 5_000  # captions that are looked at before training


@dataclass(frozen=True)
class Train:
    """Train a model and leave a run folder that describes itself.

    WHAT is one of
      digits       the 1,437 real handwritten digits that come with scikit-learn
      scenes       painted shapes and figures with captions, one or two a picture (--size 16 to 256)
      a folder     of pictures, one sub-folder a class (or none, for a model without classes)
      a table      metadata.jsonl, .csv or .parquet, or the folder it is in: file_name, and label or caption, and
                   what --layout, --condition, --mask and --attributes name
      pairs        a folder with pictures/NAME.jpg and layouts/NAME.png, and a palette.json if maps are in colours
      .tar files   or a folder of them, as WebDataset writes them, or a folder that datasets saved
      a .txt       of UTF-8 text, for a model of texts: windows of 256 symbols (--set data.length=128)
      an .npz      with images (N, H, W[, C]) and, if there are classes, labels (N,), or captions (N,)
      a .yaml      a recipe with the entries model, data and training, or stages (a cascade), or data alone
      a run        with --resume to go on with it, with --out to train the same anew; a cascade alike

    Pictures may be learnt by way of codes: --autoencoder trains what turns pictures into codes and back, and --codes a
    model of the codes that it makes of WHAT; its samples are pictures again.

    Or stage by stage: --cascade 16,64 trains a model of small pictures and one that makes them larger, a run folder
    each inside one; its --images, one number or one a stage, such as 400k,200k.

    Training is counted in images seen. Checkpoints are whole or absent; a run that was stopped goes on with
    --resume from the last one and ends with the same weights as a run that was not. Asked to stop by Ctrl-C,
    SIGTERM or SIGUSR1 it saves first and ends with code 75; asked twice, it ends at once.

    examples:
      mezzotint train digits --out runs/digits
      mezzotint train pictures/ --size 32 --images 2M
      mezzotint train shakespeare.txt --out runs/shakespeare
      mezzotint train pictures/ --size 32 --dry-run > recipe.yaml       write the recipe, edit it, then
      mezzotint train recipe.yaml --set training.rate.peak=1e-3
      mezzotint train digits --set training.objective+=objectives.ContextPrediction
      mezzotint train runs/digits --resume --images 400k
      mezzotint train streets/ --size 64 --layout map                   pictures that follow a map of things
      mezzotint train pictures/ --size 64 --processes 8                 eight GPUs of this machine
      mezzotint train pictures/ --size 64 --autoencoder vq --out runs/vq
      mezzotint train pictures/ --size 64 --codes runs/vq --model chain
      mezzotint train pictures/ --size 64 --cascade 16,64 --out runs/cascade
    """

    what: Annotated[Positional[str], arg(metavar="WHAT", help_behavior_hint="")]
    """Pictures, a recipe or a run, as above."""
    out: Annotated[Optional[str], arg(metavar="DIR", help_behavior_hint="(default: runs/ and the name of WHAT)")] = None
    """The run folder; new or empty, unless --resume."""
    images: Annotated[Optional[str], arg(metavar="N", help_behavior_hint="(default: 200k, or the recipe's)")] = None
    """How long to train, in images seen: 50000, 200k, 2M."""
    width: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 32, symbols 128)")] = None
    """Channels of the U-Net at full size, or features of a symbol, the dial for capacity; a recipe says it itself."""
    seed: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 0, or the recipe's)")] = None
    """Of the weights, the order of pictures and the noise."""
    size: Annotated[Optional[int], arg(metavar="PIXELS", help_behavior_hint="(default: as they are)")] = None
    """Bring pictures to this many pixels a side: by area, the centre kept."""
    held_out: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="(default: a tenth of WHAT)")] = None
    """An .npz with the pictures to judge by, where WHAT is an .npz."""
    skip_broken: Flag = False
    """Leave out broken and oversized pictures of a folder instead of refusing them."""
    layout: Column = None
    """The column of a table with maps, or the folder of them, whose numbers say what is where; the model learns to
    paint to them."""
    palette: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """What the colours of the maps mean, JSON such as {"sky": [70, 130, 180]}; of pairs, their palette.json is it."""
    instances: Column = None
    """The column or the folder with maps that say which is which, where things of one kind touch."""
    condition: Column = None
    """The column with a picture to go by: a sketch, a depth map, an earlier state."""
    mask: Column = None
    """The column with black and white pictures to go by."""
    attributes: Annotated[Union[None, tuple[str, ...]], arg(metavar="COLUMN ...", help_behavior_hint="")] = None
    """Columns of words or numbers to go by."""
    autoencoder: Annotated[Optional[str], arg(metavar="KIND", help_behavior_hint="")] = None
    """Train an autoencoder of the pictures: vq, whose codes are symbols, or kl, whose codes are real numbers."""
    codes: Annotated[Optional[str], arg(metavar="RUN", help_behavior_hint="")] = None
    """Learn the codes that the autoencoder of this run makes of the pictures; they are kept in it."""
    model: Annotated[
        Optional[str], arg(metavar="NAME", help_behavior_hint="(default: masked, of real codes the U-Net)")
    ] = None
    """Of symbols: masked, all at once from masks; chain, a few autoregressive stages; raster, one by one. Of pictures
    with maps: layout, told in the decoder and in two phases, the second for guidance."""
    cascade: Annotated[Optional[str], arg(metavar="SIZES", help_behavior_hint="")] = None
    """Train a cascade: the sides of its pictures, ascending, each a divisor of the next, such as 7,14,28."""
    augment: Annotated[Optional[str], arg(metavar="KIND", help_behavior_hint="(default: noise)")] = None
    """What corrupts the small pictures that the stages of a cascade learn from: noise, blur or none."""
    set: Settings = None
    """Edit values of the recipe, such as training.batch=64; may be given several times."""
    max_parameters: Parameters = None
    """Refuse a model with more parameters than this, before it takes any memory."""
    resume: Flag = False
    """Go on with the run that is in the folder."""
    dry_run: Flag = False
    """Print the recipe as YAML and train nothing."""
    processes: Processes = None
    """Processes that share each batch on this machine, a GPU each where there are GPUs; the steps are the same."""
    shard: Flag = False
    """Cut the model, its averages and the optimiser into a piece a process (FSDP2) instead of a copy each."""
    mirror: Annotated[Optional[str], arg(metavar="URL", help_behavior_hint="")] = None
    """Copy the run there after every checkpoint (s3://, gs://, file://, ...); with --resume, fetch it from there."""
    threads: Threads = None
    """Threads to compute with in each process; small networks are fastest on one or two."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Train) -> int:
    """Train what ``args`` describe."""
    use_threads(args.threads)
    from mezzotint.cli import codes, staged
    from mezzotint.cli.finished import finish
    from mezzotint.core import config, ranks
    from mezzotint.core.stop import Stopped
    from mezzotint.training import train

    codes.check(args.autoencoder, args.codes, args.model)
    if staged.asked(args):
        return staged.run(args)
    folder = _folder(args)
    if not args.resume and not args.dry_run and ranks.main():
        free(folder)
    mirror = _mirror(args, folder)
    tree = _tree(args, folder)
    changes = changes_of(args.set)
    if args.images is not None:
        config.count(args.images)
        changes.append(f"training.images={args.images}")
    if args.seed is not None:
        changes.append(f"training.seed={args.seed}")
    if args.shard:
        changes.append("training.shard=true")
    tree = config.edit(tree, codes.edits(tree, changes))
    if args.dry_run:
        check(tree, parameters_of(args.max_parameters))
        emit(tree) if args.json else print(config.dumps(tree), end="")
        return 0
    start = time.perf_counter()
    try:
        with progress("training") as meter:
            done = train(
                tree,
                folder,
                resume=args.resume,
                parameters=parameters_of(args.max_parameters),
                progress=lambda p: meter(
                    p.images, p.total, f"loss {p.loss:.4f}  data-wait {p.waiting:.0%}", p.per_second
                ),
                saved=None if mirror is None else mirror,
            )
    except (KeyboardInterrupt, Stopped):
        note(f"what was saved is whole: mezzotint train {shlex.quote(folder)} --resume goes on from there")
        raise
    if ranks.main():
        finish(args, done, folder, time.perf_counter() - start)
    return 0


def _folder(args: Train) -> str:
    """Where the run is written."""
    from mezzotint.cli.codes import suffix
    from mezzotint.cli.source import is_recipe, is_run, name_of
    from mezzotint.core.errors import Refusal

    if args.out is not None:
        return args.out
    if is_recipe(args.what) and is_run(args.what):
        if not args.resume and not args.dry_run:
            raise Refusal(f"{args.what!r} is a run: add --resume to go on with it, or --out DIR to train the same anew")
        return args.what
    return f"runs/{name_of(args.what)}{suffix(args.autoencoder, args.codes, args.model)}"


def _mirror(args: Train, folder: str) -> Callable[[Run], None] | None:
    """What copies the run to its mirror; a run that is only there is fetched first, where it is to go on."""
    from pathlib import Path

    from mezzotint.cli.source import is_run
    from mezzotint.core import ranks
    from mezzotint.training import Mirror

    if args.mirror is None or args.dry_run:
        return None
    mirror = Mirror(args.mirror)
    if ranks.main():
        if args.resume and not is_run(folder) and mirror.pull(Path(folder)):
            note(f"fetched {folder} from {args.mirror}")
        mirror.check(Path(folder) if args.resume and is_run(folder) else None)
    ranks.wait()

    def saved(run: Run) -> None:
        mirror.push(run.path)

    return saved


def free(folder: str) -> None:
    """Refuse a folder that holds something, before any picture is read."""
    from pathlib import Path

    from mezzotint.cli.source import is_run
    from mezzotint.core.errors import Refusal
    from mezzotint.training.run import vacant

    if not vacant(Path(folder)):
        way = "go on with the run in it by --resume, or name" if is_run(folder) else "name"
        raise Refusal(f"the folder {folder!r} is not empty; {way} another folder with --out")


def _tree(args: Train, folder: str) -> dict[str, Any]:
    """The tree of WHAT; on resuming, what was not said is as it was."""
    from mezzotint.cli import codes
    from mezzotint.cli.source import FLAGS, built, is_recipe, is_run, written
    from mezzotint.core import config
    from mezzotint.core.errors import Refusal
    from mezzotint.data import Data

    before = written(folder) if args.resume and is_run(folder) else {}
    if before and args.seed is not None and args.seed != before["training"].get("seed"):
        raise Refusal(
            f"the run in {folder!r} has the seed {before['training'].get('seed')}, and a run keeps its seed; "
            "leave --seed out"
        )
    data: Any = None
    if is_recipe(args.what):
        tree = written(args.what)
        alone = set(tree) == {"data"}  # the rest is written from them, as it is from pictures
        ours = ("autoencoder", "codes", "model")
        for name in (*(() if alone else ("width", *ours)), "size", "held_out", "skip_broken", *FLAGS.values()):
            if getattr(args, name):
                raise Refusal(
                    f"--{name.replace('_', '-')} is for pictures, but {args.what!r} is a recipe that says it itself; "
                    "edit it with --set" + (", or keep nothing but its data in it" if name in ("width", *ours) else "")
                )
        if not alone:
            return tree
        changed = [change for change in changes_of(args.set) if change.lstrip().startswith("data")]
        tree = config.edit(tree, changed)  # before the rest is written from them
        data = built(tree["data"], Data, f"'data' of {args.what!r}").sibling("train")
    wide = args.width
    if before and wide is None:
        wide = width(before["model"])
    if wide is not None and wide < 1:
        raise Refusal(f"--width is {wide}, but a network needs at least one channel")
    if data is None:
        data = read(args, before)
    if before and args.width is None and not (args.autoencoder or args.model) and codes.is_ours(before):
        return codes.again(before, data, args.codes)
    if args.codes is not None:
        data = codes.coded(data, args.codes)
    images = config.count(args.images) if args.images is not None else 200_000
    more = batch(changes_of(args.set)) | ({} if wide is None else {"width": wide})
    tree = codes.tree(data, args.autoencoder, args.model, images=images, seed=args.seed or 0, **more)
    if not before:
        _say_unheard(data, tree)
    return {**tree, "training": before["training"]} if before else tree


def width(model: dict[str, Any]) -> int | None:
    """The width that a model was written with; None where it does not say one."""
    networks = model.get("networks") or [model.get("network") or model]
    found = networks[0].get("width") if isinstance(networks[0], dict) else None
    return found if isinstance(found, int) else None


def batch(changes: list[str]) -> dict[str, int]:
    """The batch that is asked for: it decides whether the images are enough, so it cannot wait for the other edits."""
    from mezzotint.core import config

    mine = [change for change in changes if change.partition("=")[0].strip() == "training.batch"]
    found = config.edit({"training": {"batch": None}}, mine)["training"]
    return found if type(found["batch"]) is int else {}


def read(args: Train, before: dict[str, Any]) -> Data:
    """The pictures that WHAT names, read as ``before``, where the run is to go on and nothing else is said."""
    from mezzotint.cli.codes import is_codes
    from mezzotint.cli.source import BUILT_IN, FLAGS, pictures

    size, held_out, skip = args.size, args.held_out, args.skip_broken
    columns, changes = {told: getattr(args, flag) for told, flag in FLAGS.items()}, changes_of(args.set)
    if before and args.what not in ("digits",):
        was = before["data"]["source"] if is_codes(before) else before["data"]
        if size is None and isinstance(was.get("size"), list | tuple):
            changes = [f"data.size={json.dumps([*was['size']])}", *changes]
        size = was.get("size") if size is None and isinstance(was.get("size"), int) else size
        held_out = was.get("held_out_path") if held_out is None else held_out
        skip = skip or bool(was.get("skip_broken"))
        if was.get("part") == "data.TextFile":
            kept = [f"data.{name}={json.dumps(was[name])}" for name in ("length", "stride", "symbols") if name in was]
            changes = [*kept, *changes]
        if was.get("part") in ("data.Table", "data.Shards", "data.HuggingFace", "data.Pairs"):
            columns = {told: was.get(told) if column is None else column for told, column in columns.items()}
    declared = {told: column for told, column in columns.items() if column}
    if before and args.what not in BUILT_IN and was.get("links"):
        changes = ["data.links=true", *changes]
    found = pictures(args.what, size, held_out, skip, declared, changes)
    _say_skipped(found)
    return found


def check(tree: dict[str, Any], parameters: int) -> None:
    """Build every part once, so that a recipe that is printed is one that trains."""
    from mezzotint.cli.source import built
    from mezzotint.core.blueprint import blueprint
    from mezzotint.core.learner import Learner
    from mezzotint.core.store import MODEL
    from mezzotint.data import Data
    from mezzotint.training import Trainer, start

    start.check(tree)
    blueprint(tree["model"], MODEL, parameters)
    model, data, trainer = (
        built(tree[key], kind, f"{key!r} of the recipe")
        for key, kind in (("model", Learner), ("data", Data), ("training", Trainer))
    )
    trainer.suits(model, data)


def _say_unheard(data: Data, tree: dict[str, Any]) -> None:
    """Name what is told of the pictures and will not reach the model."""
    from mezzotint.core.spec import build

    encoder = tree["model"].get("encoder") or {}
    if "caption" not in encoder:
        return
    if "label" in data[:1][1]:
        note("the captions are learnt and the labels left out; for classes, write caption: null into the recipe")
    texts = data.texts(range(min(len(data), _HEARD)))
    for remark in build(encoder["caption"]).remarks(texts):
        note(remark)


def _say_skipped(data: Data) -> None:
    """Name the pictures that were left out, a few of them."""
    skipped: dict[str, str] = getattr(data, "skipped", {})
    for why in list(skipped.values())[:5]:
        note(f"skipped: {why}")
    if len(skipped) > 5:
        note(f"skipped: {len(skipped) - 5} further pictures")
