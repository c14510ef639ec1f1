"""Flags that several verbs share: how pictures are drawn, and where they go."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Optional, Protocol, Union

from tyro.conf import OmitArgPrefixes, arg

from mezzotint.cli.console import Flag, Processes, Threads

Run = Annotated[Optional[str], arg(metavar="[RUN]", help_behavior_hint="(default: the one that --like names)")]
Seeds = Annotated[Optional[str], arg(metavar="WHICH", help_behavior_hint="(default: 0-7)")]
Device = Annotated[str, arg(metavar="NAME", help_behavior_hint="(default: cuda where there is one, else cpu)")]
Settings = Annotated[Union[None, tuple[str, ...]], arg(metavar="KEY=VALUE ...", help_behavior_hint="")]
Parameters = Annotated[Optional[str], arg(metavar="N", help_behavior_hint="(default: 2G)")]
"""How many parameters a model may have: what a config asks for is counted before any memory is."""


def parameters_of(given: str | None) -> int:
    """The number meant by ``--max-parameters``, such as 5G."""
    from mezzotint.core.blueprint import PARAMETERS
    from mezzotint.core.config import count

    return PARAMETERS if given is None else count(given)


def changes_of(given: tuple[str, ...] | None) -> list[str]:
    """The edits of ``--set``, which needs at least one."""
    from mezzotint.core.errors import Refusal

    if given == ():
        raise Refusal("--set takes key=value, such as training.batch=64 or sampler.order=3, and was given nothing")
    return list(given or ())


def numbers(given: Any, flag: str, kind: type, count: int) -> list[Any]:
    """One number a stage of a cascade, where one for all of them or one for each is given; None where none is."""
    from mezzotint.core.errors import Refusal

    try:
        found = [None if given is None else kind(piece) for piece in str(given).split(",")]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise Refusal(f"--{flag} is {given!r}, but it is one of {what}, or one a stage such as 2,1") from None
    found = found * count if len(found) == 1 else found
    if len(found) != count:
        raise Refusal(
            f"--{flag} names {len(found)} numbers, and there are {count} to be said: one for all, or one for each"
        )
    return found


def of_stage(changes: list[str], name: str, names: list[str]) -> list[str]:
    """The edits of ``--set`` that are a stage's: those that begin with its name, without it, and those with none."""
    found = []
    for change in changes:
        first, _, rest = change.strip().partition(".")
        if first not in names:
            found.append(change)
        elif first == name:
            found.append(rest)
    return found


def alone(given: Any, flag: str) -> Any:
    """The number of a flag that takes one a stage of a cascade, where there is one model."""
    from mezzotint.core.errors import Refusal

    if isinstance(given, str):
        more = ": one a stage is for cascades" if "," in given else ""
        raise Refusal(f"--{flag} is {given!r}, but it is a number{more}")
    return given


@dataclass(frozen=True)
class Telling:
    """What the pictures show, in words, or as pictures of the data do.

    For models that were trained with captions, layouts and the like.
    """

    caption: Annotated[
        Union[None, tuple[str, ...]],
        arg(metavar="TEXT ...", help_behavior_hint="(default: those of a few held-out pictures; edit: none)"),
    ] = None
    """What to draw, in words; several texts, each in quotes."""
    caption_file: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """Captions, one a line, in UTF-8."""
    negative: Annotated[Optional[str], arg(metavar="TEXT", help_behavior_hint="")] = None
    """What to keep clear of, in words; needs --guidance above 1, which then moves away from it."""
    items: Annotated[
        Optional[str], arg(metavar="WHICH", help_behavior_hint="(default: 0-7, where the model needs them; edit: none)")
    ] = None
    """Draw what is told of these held-out pictures of the model's data, such as their layouts: 0-7 or 3,5."""
    layout: Annotated[Union[None, tuple[str, ...]], arg(metavar="MAP ...", help_behavior_hint="")] = None
    """Draw what these maps say, each with every seed: PNGs of class numbers (grey or palette), or of colours."""
    palette: Annotated[
        Optional[str], arg(metavar="FILE", help_behavior_hint="(default: the colours of our sheets)")
    ] = None
    """What the colours of the maps mean: JSON such as {"sky": [70, 130, 180], "unsaid": [0, 0, 0]}."""
    instances: Annotated[Union[None, tuple[str, ...]], arg(metavar="MAP ...", help_behavior_hint="")] = None
    """Beside each map, which instance is where, for models that are told where instances end."""

    @property
    def maps(self) -> bool:
        """Whether anything is said of maps."""
        return any(given is not None for given in (self.layout, self.palette, self.instances))


@dataclass(frozen=True)
class Drawing:
    """How pictures are drawn.

    heun, multistep, unipc and churn are of second order or higher, euler and
    ddim of first; ddpm draws fresh noise, as does churn with sampler.churn=10.
    --set edits the sampler and the guidance, as often as it is said, such as
    sampler.order=3, sampler.grid.part=samplers.LogSNR, guidance.scale=2 or
    guidance.part=guidance.Perturbed.
    """

    sampler: Annotated[Optional[str], arg(metavar="NAME", help_behavior_hint="(default: the model's usual one)")] = None
    """heun, multistep, unipc, euler, ddim, churn, ddpm, or any other by name, such as mypackage.samplers.Mine."""
    steps: Annotated[
        Union[None, int, str],
        arg(metavar="N", help_behavior_hint="(default: ddpm 100, euler and ddim 36, others 18)"),
    ] = None
    """Intervals; heun and churn ask the model twice in each, the others once. Of a cascade, one number or one a
    stage."""
    guidance: Annotated[Union[None, float, str], arg(metavar="SCALE", help_behavior_hint="(default: 1)")] = None
    """Classifier-free guidance: 1 is the plain model, more follows what was asked more closely, 0 ignores it. Of a
    cascade, one number or one a stage."""
    interval: Annotated[Optional[str], arg(metavar="LOW-HIGH", help_behavior_hint="(default: all)")] = None
    """Guide only between these noise levels, from 0 (clean) to 1 (noise), such as 0.2-0.8."""
    set: Settings = None
    """Edit a value of the sampler or the guidance."""
    average: Annotated[Optional[float], arg(metavar="LENGTH", help_behavior_hint="(default: the exported weights)")] = (
        None
    )
    """Use an average of the weights of this relative length, such as 0.08, rebuilt from the run's checkpoints."""
    batch: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 256)")] = None
    """Pictures drawn at once by each process, in whole pieces of --rows."""
    rows: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 8 to 64, by size)")] = None
    """Pictures a network is asked at once, never more or fewer: what it rounds like, so repeat them with it."""
    processes: Processes = None
    """Processes that share the work on this machine, a GPU each where there are GPUs."""
    device: Device = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps."""
    max_parameters: Parameters = None
    """Refuse a model with more parameters than this, before it takes any memory."""
    threads: Threads = None
    """Threads to compute with on the CPU."""


@dataclass(frozen=True)
class Output:
    """Where pictures go, and which are made again."""

    out: Annotated[
        Optional[str],
        arg(metavar="FILE", help_behavior_hint="(default: samples.png or edits.png, unless --each or --npz)"),
    ] = None
    """All pictures on one sheet, a PNG."""
    columns: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: one a label or caption)")] = None
    """Columns of the sheet."""
    each: Annotated[Optional[str], arg(metavar="DIR", help_behavior_hint="")] = None
    """Also one PNG a picture at its own size, LABEL-SEED.png, or CAPTION-SEED.png and MAP-SEED.png by number."""
    npz: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """Also an .npz with images, seeds, and labels, captions and layouts that were told; train reads one with labels or
    captions."""
    like: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """Repeat the pictures of this PNG; refused where the weights are no longer the same."""
    overwrite: Flag = False
    """Replace files that exist."""


class Asked(Protocol):
    """What the arguments of a verb that draws pictures have in common."""

    @property
    def run(self) -> str | None: ...
    @property
    def label(self) -> str | None: ...
    @property
    def seeds(self) -> str | None: ...
    @property
    def telling(self) -> Telling: ...
    @property
    def drawing(self) -> Drawing: ...
    @property
    def output(self) -> Output: ...
    @property
    def json(self) -> bool: ...


Said = OmitArgPrefixes[Telling]
Drawn = OmitArgPrefixes[Drawing]
Written = OmitArgPrefixes[Output]
