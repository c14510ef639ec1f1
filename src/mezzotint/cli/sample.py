"""``mezzotint sample``: pictures from a trained model, each carrying the settings that made it."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, use_threads
from mezzotint.cli.flags import Drawing, Drawn, Output, Run, Said, Seeds, Telling, Written


@dataclass(frozen=True)
class Sample:
    """Make pictures with a trained model.

    Every label or caption is drawn with every seed: one column each, one row a seed (a single one fills a
    square). A picture depends on the weights, the settings and its own seed, not on its neighbours.

    A model that was trained with captions is told one by --caption, and what to keep clear of by --negative.
    Words that it does not know are said on the way, and so is what of a long caption it does not read.

    A model that was trained with layouts, masks, condition pictures or attributes is told those of held-out pictures of
    its data (--items), a column each, which stand above what is drawn. If the data have moved, say where they are with
    --set data.path=...

    Maps of your own say what to draw by --layout, each with every seed: a column a map, a row a seed. --palette says
    what their colours mean; entries are matched by name with what the model knows. From the second map on it is said
    how far pictures of the same seed changed where the maps differ, and elsewhere.

    Of a cascade all stages are drawn, each told the label or the caption. --steps and --guidance take one number or one
    a stage, and so does --set, as in --set 14.sampler.order=3.

    A model of texts writes them into one .txt, each under its seed; --prompt says how they begin. Symbols that are
    shades are drawn as pictures.

    The PNG, or the last line of the .txt, carries its settings: model, SHA-256 of the weights, labels, captions,
    seeds, sampler, guidance, versions. --like reads them back and makes the same again; further flags change what
    they name.

    examples:
      mezzotint sample runs/digits
      mezzotint sample runs/digits --label 3 --seeds 0-63 --out threes.png
      mezzotint sample runs/digits --label 3,5 --guidance 2 --interval 0.2-0.8 --out guided.png
      mezzotint sample runs/digits --sampler ddpm --steps 250 --out slow.png
      mezzotint sample runs/digits --sampler multistep --steps 12 --set sampler.order=3 --out fast.png
      mezzotint sample runs/digits --seeds 0-999 --npz many.npz         10,000 pictures as arrays
      mezzotint sample --like threes.png --seeds 64-127 --out more.png
      mezzotint sample runs/emoji --caption "a red heart" "a black cat" --guidance 2 --out two.png
      mezzotint sample runs/streets --items 0-5 --seeds 0-3 --out streets.png
      mezzotint sample runs/streets --layout map.png --palette palette.json --seeds 0-7 --out one.png
      mezzotint sample runs/streets --layout is.png wanted.png --seeds 0-3 --out changed.png
      mezzotint sample runs/shakespeare --prompt "ROMEO:" --seeds 0-3 --out romeo.txt
      mezzotint sample runs/wide --size 48x80 --out wide.png
      mezzotint sample runs/cascade --levels 0.2 --steps 36,18 --stages --out three.png
      mezzotint sample runs/emoji --caption-file wishes.txt --negative "a face" --guidance 3 --each wishes
    """

    run: Positional[Run] = None
    """A run folder or a model folder."""
    label: Annotated[Optional[str], arg(metavar="WHICH", help_behavior_hint="(default: every class)")] = None
    """Classes by number or name: 3, cat, 0-9, 3,5 or cat,dog."""
    seeds: Seeds = None
    """One picture a label or caption and seed: 5, 0-63 or 3,5,9."""
    size: Annotated[Optional[str], arg(metavar="HEIGHTxWIDTH", help_behavior_hint="(default: the model's own)")] = None
    """Of the pictures, in pixels, for networks that take any, as the U-Net of every recipe from pictures does."""
    prompt: Annotated[Optional[str], arg(metavar="TEXT", help_behavior_hint="")] = None
    """How texts begin, for models that write them; the rest is drawn, and sees it from the first step on."""
    levels: Annotated[Optional[str], arg(metavar="LEVEL", help_behavior_hint="(default: as the cascade says)")] = None
    """Of a cascade: how noisy small pictures are handed over, from 0 (as drawn) to 1; one number or one a hand-over."""
    truncated: Flag = False
    """Of a cascade: stop a stage at that level and hand its state over, instead of noising what it drew."""
    apart: Flag = False
    """Of a cascade: keep one stage in memory at a time."""
    stages: Flag = False
    """Of a cascade: also write what every stage drew, beside the sheet."""
    telling: Said = Telling()
    drawing: Drawn = Drawing()
    output: Written = Output()
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Sample) -> int:
    """Draw what ``args`` ask for."""
    use_threads(args.drawing.threads)
    from mezzotint.cli import cascaded, plan
    from mezzotint.cli.making import make
    from mezzotint.cli.symbols import Prompt, completing
    from mezzotint.samplers import Sampling

    old = plan.read(args.output.like, plan.SAMPLE)
    if cascaded.asked(args, old):
        return cascaded.run(args, old)
    asked = plan.Plan.of(args, plan.SAMPLE, old)
    prompt = args.prompt if args.prompt is not None else old.get("prompt")
    begun = None if prompt is None else Prompt.of(prompt, asked.shown, asked.model)
    cond = asked.told.cond()
    if begun is not None:
        cond = cond | begun.cond(len(asked.seeds), asked.model.shape)

    def pipeline() -> Sampling:
        denoiser = asked.method.guided(asked.model.denoiser, asked.rows)
        plain = Sampling(asked.method.sampler, denoiser, shape=asked.shape)
        return plain if begun is None else completing(plain)

    more: dict[str, Any] = {} if begun is None else {"prompt": begun.text}
    return make(args, plan.SAMPLE, asked, pipeline, cond, **more)
