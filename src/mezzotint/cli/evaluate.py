"""``mezzotint evaluate``: what a model's pictures are worth, beside real ones in their place."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, duration, emit, note, number, progress, stages, table, use_threads
from mezzotint.cli.flags import Drawing, Drawn, alone, changes_of, parameters_of
from mezzotint.cli.things import THING, by_thing, spread
from mezzotint.cli.words import good

if TYPE_CHECKING:
    from mezzotint.cli.method import Method
    from mezzotint.metrics import Features

MOST = 5000


@dataclass(frozen=True)
class Evaluate:
    """Judge a model against the pictures it was trained on and the ones held out.

    Samples are drawn with the labels or captions of the training set, or under the layouts of held-out pictures.
    Every number has a 95 % interval and stands beside what real pictures score in the samples' place, from as many
    pictures:

      accuracy               share of samples that an independent judge recognises as their label
      classification_score   accuracy on held-out pictures of a classifier trained on the samples alone
      frechet_features       distance to the held-out pictures in the features of a recorded extractor
      frechet_infinity       the same freed of what few pictures add to it, where they are five a feature
      frechet_pixels         the same in pixels, where nothing was learnt
      kid                    kernel distance in features, without bias at any count (100 subsets of 1,000)
      precision, density     are samples where real pictures are? (3 and 5 neighbours, in features)
      recall, coverage       are there samples wherever real pictures are?
      diversity              mean distance of two samples of one class, in features
      miou, pixel_accuracy   do samples show their layouts? by a segmenter trained on the training pictures
      iou_sky, ...           the same of each thing; one that no layout asks for is named as missing
      miou_read              the same by the exact readers, of scenes whose layouts say colours
      layout_diversity       mean distance of two samples of one layout (ten each, drawn for this), in features
      patches_16, ...        distance of patches at each scale: textures, fine and coarse
      neighbour_ratio        distance to the nearest training picture over that of held-out ones; far below 1 is copying
      close_share            share of samples closer to a training picture than real new ones usually are
      copying                a test of the same, cell by cell (C_T): about 0 if nothing is copied, clear below -3
      follows                of scenes: share of what the captions say that readers find in the samples, beside
                             what real scenes reach (the readers' ceiling) and the captions of others (chance)

    These are the usual ones, and --measures usual,energy_pixels takes one more, --measures kid,recall two of them, and
    --measures all also extractor_score, sliced_pixels and energy_pixels. What the pictures do not allow is left out.

    The report goes into the run folder, where runs list and runs compare find it; the extractor is kept
    there too. Beside each number it says what it was measured with, so that unlike ones are not compared. What
    is measured in labels or features needs labels, or an extractor that is given. If the pictures have moved since
    training, say where they are with --set data.path=...; edits of the sampler and the guidance are as in
    sample.

    A model of symbols is judged by its likelihood instead: a bound on it for held-out samples (--count, by default 1000
    at most), in nats and bits per symbol, lower being better.

    An autoencoder is judged by what comes back of held-out pictures (PSNR in dB) and by how many of its codes are in
    use; a model of real codes by the pictures that its samples stand for, beside those that the codes were made of.

    --report also writes a page: samples beside what they were asked to show, class by class, and beside the
    training pictures nearest to them, and every number. Of several checkpoints (--average with --at) it has curves
    of each measure against images. It shows pictures of the training set, so it stays in the run folder unless
    FILE says otherwise.

    examples:
      mezzotint evaluate runs/digits
      mezzotint evaluate runs/digits --guidance 1.5 --count 1000
      mezzotint evaluate runs/digits --sampler ddim --steps 50 --out ddim.json
      mezzotint evaluate runs/flowers --extractor eyes/inception
      mezzotint evaluate runs/digits --measures kid,precision,recall
      mezzotint evaluate runs/digits --report
      mezzotint evaluate runs/digits --average 0.1 --at 256k --report
    """

    run: Annotated[Positional[str], arg(metavar="RUN", help_behavior_hint="")]
    """A run folder or a model folder."""
    count: Annotated[
        Optional[int], arg(metavar="N", help_behavior_hint="(default: one a training picture, at most 5000)")
    ] = None
    """How many samples to judge."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Of the samples and of the intervals; another seed gives wholly other samples."""
    out: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="(default: RUN/reports/SETTINGS.json)")] = None
    """The report."""
    report: Annotated[
        Union[None, tuple[str, ...]], arg(metavar="[FILE]", help_behavior_hint="(default: beside the report)")
    ] = None
    """Also write a page, one HTML file that loads nothing."""
    at: Annotated[Optional[str], arg(metavar="IMAGES", help_behavior_hint="(default: the last)")] = None
    """With --average, judge the checkpoint at so many images, such as 256k."""
    overwrite: Flag = False
    """Replace files given by --out and --report that exist."""
    size: Annotated[
        Optional[str], arg(metavar="HEIGHTxWIDTH", help_behavior_hint="(default: the one nearest to a square)")
    ] = None
    """Of data with aspect buckets, the one to judge at, samples and real pictures alike."""
    extractor: Annotated[
        Optional[str], arg(metavar="FOLDER", help_behavior_hint="(default: RUN/extractor, trained where it is not)")
    ] = None
    """Judge the features of this extractor, made by mezzotint extractor; the measure then needs no labels."""
    measures: Annotated[str, arg(metavar="NAME,...")] = "usual"
    """Which measures; usual and all are groups of them."""
    drawing: Drawn = Drawing()
    json: Flag = False
    """Print the report as JSON instead of a table."""


def run(args: Evaluate) -> int:
    """Draw samples, judge them, write the report; a signal ends it between two batches."""
    threads = use_threads(args.drawing.threads)
    from mezzotint.core.stop import watching

    with watching():
        return _run(args, threads)


def _run(args: Evaluate, threads: int) -> int:
    given = args.drawing
    import torch

    from mezzotint import metrics
    from mezzotint.autoencoders import Encoded
    from mezzotint.cascades.folder import families, is_cascade
    from mezzotint.cli import asked as asking
    from mezzotint.cli import drawing, wanted
    from mezzotint.cli.codes import is_autoencoder
    from mezzotint.cli.eye import kept, kept_segmenter
    from mezzotint.cli.method import Method
    from mezzotint.cli.plan import BATCH
    from mezzotint.cli.source import of_run
    from mezzotint.cli.symbols import vocab
    from mezzotint.core import config, ranks
    from mezzotint.core.errors import Refusal
    from mezzotint.core.folder import write_text
    from mezzotint.core.rng import Rng
    from mezzotint.core.store import model_config
    from mezzotint.core.text import spoken
    from mezzotint.data import Bucket
    from mezzotint.denoiser import Counted
    from mezzotint.metrics import measures
    from mezzotint.metrics.layouts import READ, VARIETY
    from mezzotint.metrics.record import origin
    from mezzotint.metrics.report import TRAIN_LIMIT
    from mezzotint.samplers import Sampling

    start = time.perf_counter()
    changes = changes_of(given.set)
    mine = [change for change in changes if re.match(r"\s*(sampler|guidance)\s*[.=]", change)]
    if args.count is not None and args.count < 2:
        raise Refusal(f"--count is {args.count}, but a judgement needs at least two samples")
    images = None if args.at is None else config.count(args.at)
    if images is not None and given.average is None:
        raise Refusal("--at names a checkpoint, whose weights are an average: say of which length, with --average")
    asked = measures.chosen([name for name in re.split(r"[\s,]+", args.measures) if name])
    many = parameters_of(given.max_parameters)
    if is_cascade(args.run):
        from mezzotint.cli.stages import judge

        raise judge(args.run)
    if is_autoencoder(model_config(args.run)["model"]):
        from mezzotint.cli import reconstruction

        return reconstruction.evaluate(args, threads)
    model = drawing.load(args.run, given.average, images, given.device, many)
    if vocab(model.denoiser) is not None:
        from mezzotint.cli import likelihood

        return likelihood.evaluate(args, model, changes, threads)
    method = Method.of(given, mine, model.sampler)
    counted = Counted(model.denoiser)
    rows = drawing.rows_of(model.denoiser) if given.rows is None else given.rows
    guided = method.guided(counted, rows)
    named = None if args.extractor is None else metrics.load_extractor(args.extractor)
    if named is not None:  # before anything is drawn
        metrics.check_apart(named, guided)
    train = of_run(args.run, [change for change in changes if change not in mine])
    if train.buckets is not None:
        every, size = len(train), wanted.size(args.size) if args.size is not None else train.shape[-2:]
        train = Bucket(train, (size[0], size[1]))
        note(f"judging at {size[0]}x{size[1]}, the size of {len(train):,} of {every:,} training pictures")
    elif args.size is not None:
        raise Refusal("--size chooses one of the sizes of aspect buckets, and these data have one; leave it out")
    shape, codes = train.shape, train if isinstance(train, Encoded) else None
    pipeline = Sampling(
        method.sampler, guided, shape=None if codes else shape, decode=None if codes is None else codes.decode
    )
    like = model.shape[:-2] if isinstance(train, Bucket) else model.shape
    if tuple(shape[: len(like)]) != like:
        raise Refusal(f"the model draws samples of shape {tuple(model.denoiser.shape)}, its data have {tuple(shape)}")
    if codes is not None:  # what is judged are pictures, beside those that the codes were made of
        if codes.drawn(codes[:1][0]) is None:
            raise Refusal(f"the codes of {args.run!r} stand for no pictures, and evaluate judges pictures")
        train = codes.source
    held_out = train.held_out()
    count = min(len(train), MOST) if args.count is None else args.count
    out = _out(args, count, method, model.images, edited=bool(mine), extractor=named)
    page = _page(args, out)
    told_of = held_out if "layout" in families(model.denoiser) else train
    cond, origins = asking.asked(told_of, count, families(model.denoiser))
    labels = cond["label"] if "label" in cond else None
    keys = Rng([args.seed]).at("evaluate").repeat(count).at(torch.arange(count))
    with progress("sampling", "pictures") as meter:
        batch = BATCH if given.batch is None else given.batch
        x = drawing.draw(pipeline, cond, keys, batch, meter, rows)
    asked_rows = int(ranks.total(torch.tensor(counted.rows)))
    layouts = cond["layout"] if "layout" in cond and cond["layout"].ndim == 3 else None
    several = None
    if layouts is not None and VARIETY in measures.laid(asked):
        with progress("sampling several of a layout", "pictures") as meter:
            several = asking.alike(pipeline, cond, args.seed, batch, meter, rows)
    if x is None:  # the first process judges
        return 0
    note(f"judging them beside {min(len(train), TRAIN_LIMIT):,} training pictures")
    extractor = named
    if extractor is None and labels is not None and measures.needs(asked, "features"):
        extractor = kept(args.run, train, held_out)
        metrics.check_apart(extractor, guided)
    things: tuple[str, ...] = tuple(getattr(train, "things", ()))
    segmenter = None
    if layouts is not None and (set(measures.laid(asked)) - {READ} or measures.needs(asked, "features")):
        segmenter = kept_segmenter(args.run, train, held_out, things)
        metrics.check_apart(segmenter, guided)
    captions = spoken(cond["caption"]) if "caption" in cond else None
    record, rng = method.record(), Rng([args.seed])
    drawn = origin(model.sha256, record["sampler"], record["guidance"], model.average, args.seed)
    with stages({"reading": "scenes"}) as tell:
        report = metrics.evaluate(
            x, labels, train, held_out,
            measures=asked, captions=captions, layouts=layouts, things=things,
            alike=None if several is None else several[0],
            extractor=extractor, segmenter=segmenter, rng=rng, drawn=drawn, tell=tell,
        )  # fmt: skip
    document = {
        "model": model.record(),
        **record,
        "seed": args.seed,
        "evaluations_per_sample": asked_rows / (-(-count // rows) * rows),
        **report.plain(),
        "device": model.denoiser.device.type,
        "rows": rows,
        "threads": threads,
        "versions": drawing.versions(),
        "seconds": time.perf_counter() - start,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(document, indent=1, ensure_ascii=False))
    if page is not None:
        from mezzotint.cli.judged import judged
        from mezzotint.cli.results import reports
        from mezzotint.cli.subject import Subject
        from mezzotint.training import Run

        run = Run.open(args.run)
        shown = Subject(
            run, train, model.denoiser, method.sampler, x, labels, range(count), report,
            told=cond, origins=origins, asked_of=told_of, alike=several, guided=guidance(document),
        )  # fmt: skip
        write_text(page, judged(shown, document, reports(run.path)))
    if args.json:
        emit({**document, "written": str(out), "page": None if page is None else str(page)})
        return 0
    print(describe(document))
    print(f"\n{duration(document['seconds'])}; the report is {out}")
    if page is not None:
        print(f"for a browser, with pictures of the training set: {page}")
    return 0


def describe(document: dict[str, Any]) -> str:
    """A report as text: a table, and what it was measured on."""
    if "bound" in document:
        from mezzotint.cli import likelihood

        return likelihood.describe(document)
    if "reconstruction" in document:
        from mezzotint.cli import reconstruction

        return reconstruction.describe(document)

    rows = []
    by_chance = any("chance" in found for found in document["measures"].values())
    for name, found in document["measures"].items():
        if name.startswith(THING):
            continue
        real, times = found.get("real"), document["times_real"].get(name)
        rows.append([
            name,
            number(found["value"]),
            spread(found),
            f"{found['count']:,}",
            number(real["value"]) if real else "-",
            spread(real) if real else "",
            f"{times:.2f}" if times is not None else "-",
            *([number(found["chance"]["value"]) if "chance" in found else "-"] if by_chance else []),
            good(name) or "-",
        ])  # fmt: skip
    chance = ("by chance",) if by_chance else ()
    head = ("measure", "samples", "95 %", "count", "real", "95 %", "times real", *chance, "better")
    sampler, counts, extractor = document["sampler"], document["counts"], document["extractor"]
    lines = [table(head, rows), "", *by_thing(document)]
    name = str(sampler.get("part", "")).rpartition(".")[2]
    lines.append(
        f"{name} with {sampler.get('steps')} steps, {guidance(document)}: "
        f"{document['evaluations_per_sample']:g} evaluations a sample"
    )
    lines.append(
        f"{counts['samples']:,} samples, {counts['train']:,} training and {counts['held_out']:,} held-out pictures; "
        f"distances of {counts['compared']:,}"
    )
    if extractor is not None and extractor.get("kind") == "segmenter":
        lines.append(f"features of the segmenter {extractor['sha256'][:12]}")
    elif extractor is not None:
        accuracy = extractor.get("held_out")
        score = f", accuracy {number(accuracy['value'])} on held-out pictures" if accuracy else ""
        lines.append(f"features of the extractor {extractor['sha256'][:12]}{score}")
    return "\n".join(lines)


def guidance(document: dict[str, Any]) -> str:
    """The guidance of a report in a few words; reports of version 0.1.0 hold a number."""
    said = document["guidance"]
    if not isinstance(said, dict):
        return f"guidance {1.0 if said is None else said:g}"
    scale = said.get("scale")
    inner = scale.get("scale") if isinstance(scale, dict) else scale
    name = str(said.get("part", "")).rpartition(".")[2]
    what = "guidance" if name == "CFG" else f"guidance {name}"
    levels = f" at levels {scale['low']:g}-{scale['high']:g}" if isinstance(scale, dict) and "low" in scale else ""
    return f"{what} {inner:g}{levels}" if isinstance(inner, int | float) else what


def _page(args: Evaluate, out: Any) -> Any:
    """Where the page goes; by default beside the report, in the run folder, where pictures of the data may lie."""
    from pathlib import Path

    from mezzotint.cli.drawing import exists
    from mezzotint.core.errors import Refusal
    from mezzotint.training import Run

    if args.report is None:
        return None
    if len(args.report) > 1:
        raise Refusal(f"--report takes one file, not {len(args.report)}")
    Run.open(args.run)
    return exists(args.report[0], args.overwrite) if args.report else Path(out).with_suffix(".html")


def _out(
    args: Evaluate, count: int, method: Method, images: int | None, edited: bool, extractor: Features | None
) -> Any:
    """Where the report goes; by default a name that says what was judged, in the run folder.

    Settings that were edited one by one have no short name: their hash stands in the name instead, as does that of
    which features of the extractor are looked at.
    """
    from hashlib import sha256
    from pathlib import Path

    from mezzotint.cli.drawing import exists
    from mezzotint.cli.results import REPORTS
    from mezzotint.core.store import model_folder
    from mezzotint.metrics.features import asked_of

    if args.out is not None:
        return exists(args.out, args.overwrite)
    folder = model_folder(args.run)
    home = folder.parent if folder.name == "model" else folder
    given, sampler = args.drawing, method.sampler
    eta = f"-eta{sampler.eta:g}" if hasattr(sampler, "eta") else ""
    guidance = f"-guidance{1 if given.guidance is None else alone(given.guidance, 'guidance'):g}"
    levels = f"-levels{given.interval}" if given.interval is not None else ""
    average = f"-ema{given.average:g}-at{images}" if given.average is not None else ""
    settings = json.dumps(method.record(), sort_keys=True).encode()
    other = f"-set{sha256(settings).hexdigest()[:8]}" if edited else ""
    size = f"-{args.size.lower()}" if args.size is not None else ""
    eye = "" if extractor is None else f"-eye{extractor.record['sha256'][:8]}"
    if extractor is not None and (asked := asked_of(extractor.record)):
        asked["resize"] = extractor.record.get("resize")
        eye += f"-{sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]}"
    names = sorted({name for name in re.split(r"[\s,]+", args.measures) if name})
    only = "" if names == ["usual"] else f"-{sha256(','.join(names).encode()).hexdigest()[:8]}"
    name = f"{type(sampler).__name__.lower()}{sampler.steps}{eta}{guidance}{levels}{average}{other}{size}{eye}{only}"
    return Path(home, REPORTS, f"{name}-n{count}-seed{args.seed}.json")
