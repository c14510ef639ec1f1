"""``mezzotint extractor``: what sees the pictures when a model is judged, trained and recorded by one command."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, Threads, emit, note, number, use_threads

_ONLY = {
    "train": ("seed", "images", "width", "features", "size", "held_out"),
    "network": ("want", "level"),
    "onnx": ("size", "values", "layout", "output", "input", "channels", "mean", "deviation"),
    "show": (),
}


@dataclass(frozen=True)
class Extract:
    """Make a feature extractor with a record, for evaluate --extractor.

      train WHAT      a small classifier of the pictures that train knows by WHAT: digits, a folder, an .npz
      network RUN     a layer of a denoiser or classifier of ours, in a run or model folder
      onnx FILE       a network trained elsewhere; its size, range, layout and output are yours to say
      show FOLDER     what an extractor is

    The folder holds the weights and extractor.json: what it is, what it was trained on, and the SHA-256 of its weights,
    which every number measured with it names. An extractor must not be a network that guides or draws what it judges.

    examples:
      mezzotint extractor train digits --out eyes/digits
      mezzotint extractor network runs/flowers --want down.1 --level 0.2 --out eyes/down
      mezzotint extractor onnx inception.onnx --size 299 --values=-1,1 --output pool --out eyes/inception
      mezzotint evaluate runs/flowers --extractor eyes/inception
    """

    action: Annotated[Positional[Literal["train", "network", "onnx", "show"]], arg(metavar="ACTION")]
    """train, network, onnx or show."""
    what: Annotated[Positional[str], arg(metavar="WHAT", help_behavior_hint="")]
    """Pictures, a run, a file or an extractor's folder."""
    out: Annotated[Optional[str], arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Where the extractor goes."""
    overwrite: Flag = False
    """Replace an extractor that exists."""
    size: Annotated[Optional[str], arg(metavar="N", help_behavior_hint="(train: as they are)")] = None
    """Pixels a side: of pictures of different sizes (train), or of what goes in (onnx), one number or HEIGHTxWIDTH."""
    held_out: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """Held-out pictures of an .npz."""
    images: Annotated[Optional[str], arg(metavar="N", help_behavior_hint="(default: 14.4k, each at least once)")] = None
    """Pictures seen in training, counted with repetition, such as 100k."""
    width: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 16)")] = None
    """Channels of the classifier's first convolution."""
    features: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 64)")] = None
    """How many features it has."""
    seed: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 0)")] = None
    """Of its weights and the order of pictures."""
    want: Annotated[Optional[str], arg(metavar="NAME", help_behavior_hint="(default: the last before the answer)")] = (
        None
    )
    """Which layer of a network."""
    level: Annotated[Optional[float], arg(metavar="U", help_behavior_hint="(default: 0)")] = None
    """The noise level that the network is told, from 0 (clean) to below 1 (noise)."""
    values: Annotated[Optional[str], arg(metavar="LOW,HIGH", help_behavior_hint="(default: 0,1)")] = None
    """What black and white are to an ONNX file: 0,1 or 0,255 or, with an equals sign, --values=-1,1."""
    layout: Annotated[Optional[str], arg(metavar="AXES", help_behavior_hint="(default: NCHW)")] = None
    """The order of the axes that go into an ONNX file, NCHW or NHWC."""
    output: Annotated[Optional[str], arg(metavar="NAME", help_behavior_hint="(default: the only one)")] = None
    """Which output of an ONNX file holds the features."""
    input: Annotated[Optional[str], arg(metavar="NAME", help_behavior_hint="(default: the only one)")] = None
    """Which input of an ONNX file takes the pictures."""
    channels: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 3)")] = None
    """Channels that go into an ONNX file."""
    mean: Annotated[Optional[str], arg(metavar="R,G,B", help_behavior_hint="(default: 0,0,0)")] = None
    """Taken off each channel, in the terms of --values."""
    deviation: Annotated[Optional[str], arg(metavar="R,G,B", help_behavior_hint="(default: 1,1,1)")] = None
    """Each channel is divided by it after that."""
    threads: Threads = None
    """Threads to compute with on the CPU."""
    json: Flag = False
    """Print the record as JSON."""


def run(args: Extract) -> int:
    """Make the extractor, or read one."""
    use_threads(args.threads)
    from pathlib import Path

    from mezzotint.core.errors import Refusal
    from mezzotint.core.stop import watching
    from mezzotint.metrics import load_extractor

    every = dict.fromkeys(name for names in _ONLY.values() for name in names)
    for name in every:
        if getattr(args, name) is not None and name not in _ONLY[args.action]:
            raise Refusal(f"--{name.replace('_', '-')} says nothing to extractor {args.action}; leave it out")
    if args.action == "show":
        if args.out is not None:
            raise Refusal("extractor show makes nothing; leave --out out")
        found = load_extractor(args.what)
        emit(found.record) if args.json else print(describe(found.record))
        return 0
    if args.out is None:
        raise Refusal("say where the extractor goes: --out FOLDER")
    if Path(args.out).exists() and not args.overwrite:
        raise Refusal(f"{args.out!r} exists already; name another folder, or pass --overwrite to replace it")
    with watching():
        made = {"train": _trained, "network": _network, "onnx": _onnx}[args.action](args)
    folder = made.save(args.out)
    if args.json:
        emit({"written": str(folder), **made.record})
        return 0
    print(f"{describe(made.record)}\nthe extractor is {folder}")
    return 0


def describe(record: dict[str, Any]) -> str:
    """An extractor in a few lines."""
    kind = record.get("kind", "classifier")
    lines = [f"{kind}, sha256 {record['sha256'][:12]}"]
    if kind in ("classifier", "segmenter"):
        seen = record["train"]
        lines.append(f"trained on {seen['count']:,} pictures ({seen['sha256'][:12]}), {record['images']:,} seen")
        if record.get("held_out") and kind == "segmenter":
            for name, right in record["held_out"].items():
                lines.append(
                    f"{name} {number(right['value'])} [{number(right['low'])}, {number(right['high'])}] "
                    f"on {right['count']:,} held-out pictures"
                )
        elif record.get("held_out"):
            right = record["held_out"]
            lines.append(
                f"accuracy {number(right['value'])} [{number(right['low'])}, {number(right['high'])}] "
                f"on {right['count']:,} held-out pictures"
            )
    elif kind == "network":
        at = "" if record["level"] is None else f" at level {record['level']:g}"
        lines.append(f"layer {record['want']} of {record['spec']['part']}{at}, {record['resize']}")
    else:
        low, high = record["range"]
        lines.append(f"output {record['output']}, {record['layout']}, values {low:g} to {high:g}, {record['resize']}")
    return "\n".join(lines)


def _trained(args: Extract) -> Any:
    from mezzotint.cli.source import pictures
    from mezzotint.core import config
    from mezzotint.metrics.pictures import subset
    from mezzotint.metrics.report import TRAIN_LIMIT, trained

    size = None if args.size is None else _whole(args.size, "--size")
    data = pictures(args.what, size, args.held_out).sibling("train")
    note(f"training on {len(subset(len(data), TRAIN_LIMIT)):,} pictures")
    given = {name: value for name in ("width", "features", "seed") if (value := getattr(args, name)) is not None}
    seen = None if args.images is None else config.count(args.images)
    return trained(data, data.held_out(), seen=seen, **given)


def _network(args: Extract) -> Any:
    from mezzotint.metrics import NetworkExtractor

    return NetworkExtractor.of(args.what, args.want, 0.0 if args.level is None else args.level)


def _onnx(args: Extract) -> Any:
    from mezzotint.core.errors import Refusal
    from mezzotint.metrics import OnnxExtractor

    if args.size is None:
        raise Refusal("an ONNX file does not say what size of pictures its weights expect; give it with --size")
    sides = [_whole(side, "--size") for side in args.size.lower().split("x")]
    if len(sides) > 2:
        raise Refusal(f"--size is {args.size!r}, but a size is a number of pixels, or HEIGHTxWIDTH")
    values = (0.0, 1.0) if args.values is None else tuple(_numbers(args.values, "--values"))
    if len(values) != 2:
        raise Refusal(f"--values is {args.values!r}, but it is two numbers: black and white")
    return OnnxExtractor.of(
        args.what,
        (sides[0], sides[-1]),
        values=(values[0], values[1]),
        layout=(args.layout or "NCHW").upper(),
        output=args.output,
        input=args.input,
        channels=3 if args.channels is None else args.channels,
        mean=None if args.mean is None else _numbers(args.mean, "--mean"),
        deviation=None if args.deviation is None else _numbers(args.deviation, "--deviation"),
    )


def _whole(text: str, flag: str) -> int:
    from mezzotint.core.errors import Refusal

    if not text.isdecimal() or int(text) < 1:
        raise Refusal(f"{flag} is {text!r}, but a size is a number of pixels, at least 1")
    return int(text)


def _numbers(text: str, flag: str) -> list[float]:
    from mezzotint.core.errors import Refusal

    try:
        return [float(piece) for piece in text.split(",")]
    except ValueError:
        raise Refusal(f"{flag} is {text!r}, but it is numbers with commas between them") from None
