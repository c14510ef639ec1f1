"""``mezzotint sample``: pictures from a trained model, each carrying the settings that made it."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from typing import Annotated, Literal, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, Threads, duration, emit, note, progress, use_threads

SamplerName = Literal["heun", "euler", "ddim", "ddpm"]
Device = Annotated[str, arg(metavar="NAME", help_behavior_hint="(default: cuda where there is one, else cpu)")]


@dataclass(frozen=True)
class Sample:
    """Make pictures with a trained model.

    Every label is drawn with every seed: one column a label, one row a seed (a single label fills a
    square). A picture depends on the weights, the settings and its own seed, not on its neighbours.

    The PNG carries its settings: model, SHA-256 of the weights, labels, seeds, sampler, guidance, versions.
    --like reads them back and makes the same pictures again; further flags change what they name.

    examples:
      mezzotint sample runs/digits
      mezzotint sample runs/digits --label 3 --seeds 0-63 --out threes.png
      mezzotint sample runs/digits --label 3,5 --guidance 2 --interval 0.2-0.8 --out guided.png
      mezzotint sample runs/digits --sampler ddpm --steps 250 --out slow.png
      mezzotint sample runs/digits --seeds 0-999 --npz many.npz         10,000 pictures as arrays
      mezzotint sample --like threes.png --seeds 64-127 --out more.png
    """

    run: Annotated[
        Positional[Optional[str]], arg(metavar="[RUN]", help_behavior_hint="(default: the one that --like names)")
    ] = None
    """A run folder or a model folder."""
    label: Annotated[Optional[str], arg(metavar="WHICH", help_behavior_hint="(default: every class)")] = None
    """Classes by number or name: 3, cat, 0-9, 3,5 or cat,dog."""
    seeds: Annotated[Optional[str], arg(metavar="WHICH", help_behavior_hint="(default: 0-7)")] = None
    """One picture a label and seed: 5, 0-63 or 3,5,9."""
    sampler: Annotated[
        Optional[SamplerName], arg(metavar="NAME", help_behavior_hint="(default: the model's usual one)")
    ] = None
    """heun (second order), euler or ddim (first order, no fresh noise), ddpm (fresh noise at every step)."""
    steps: Annotated[
        Optional[int], arg(metavar="N", help_behavior_hint="(default: heun 18, euler and ddim 36, ddpm 100)")
    ] = None
    """Intervals; heun asks the model twice in each, the others once."""
    guidance: Annotated[Optional[float], arg(metavar="SCALE", help_behavior_hint="(default: 1)")] = None
    """Classifier-free guidance: 1 is the plain model, more follows the label more closely, 0 ignores it."""
    interval: Annotated[Optional[str], arg(metavar="LOW-HIGH", help_behavior_hint="(default: all)")] = None
    """Guide only between these noise levels, from 0 (clean) to 1 (noise), such as 0.2-0.8."""
    average: Annotated[Optional[float], arg(metavar="LENGTH", help_behavior_hint="(default: the exported weights)")] = (
        None
    )
    """Use an average of the weights of this relative length, such as 0.08, rebuilt from the run's checkpoints."""
    out: Annotated[
        Optional[str], arg(metavar="FILE", help_behavior_hint="(default: samples.png, unless --each or --npz)")
    ] = None
    """The grid, a PNG."""
    columns: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: one a label)")] = None
    """Columns of the grid."""
    each: Annotated[Optional[str], arg(metavar="DIR", help_behavior_hint="")] = None
    """Also one PNG a picture, named LABEL-SEED.png, at its own size."""
    npz: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """Also an .npz with images, labels and seeds; train and other tools read it."""
    like: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """Repeat the pictures of this PNG; refused where the weights are no longer the same."""
    overwrite: Flag = False
    """Replace files that exist."""
    batch: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 256)")] = None
    """Pictures drawn at once."""
    device: Device = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps."""
    threads: Threads = None
    """Threads to compute with on the CPU."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Sample) -> int:
    """Draw what ``args`` ask for."""
    threads = use_threads(args.threads)
    from mezzotint.cli import drawing
    from mezzotint.cli.plan import Plan
    from mezzotint.core.rng import Rng

    plan = Plan.of(args)
    if args.threads is None and plan.threads is not None:
        threads = use_threads(plan.threads)
    names = plan.files(args)
    for name in names:
        drawing.exists(name, args.overwrite)
    denoiser = drawing.guided(plan.model.denoiser, plan.guidance, plan.interval)
    start = time.perf_counter()
    with progress("sampling", "pictures") as meter:
        x = drawing.draw(denoiser, plan.sampler, plan.labels, Rng(plan.seeds), plan.batch, meter)
    seconds = time.perf_counter() - start
    settings = plan.settings(threads)
    written = plan.write(args, x, settings)
    if args.json:
        emit({"written": written, "count": len(x), "seconds": seconds, "settings": settings})
        return 0
    print(f"{len(x):,} pictures in {duration(seconds)}: {', '.join(written[:3])}{', ...' if len(written) > 3 else ''}")
    if args.like is None and plan.grid is not None:
        note(f"the same again: mezzotint sample --like {shlex.quote(plan.grid)} --out again.png")
    return 0
