"""``mezzotint edit``: a picture drawn anew in part (a mask) or in detail (a strength), by a trained model."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, use_threads
from mezzotint.cli.flags import Drawing, Drawn, Output, Run, Said, Seeds, Telling, Written


@dataclass(frozen=True)
class Edit:
    """Redraw a picture with a trained model: the part a mask shows, or all of it more or less.

    With --mask, what is white is made anew and what is black is kept, to the bit. Without one, the picture
    is noised to the level --strength and denoised: near 0 it stays as it is, at 1 nothing of it is left.
    Both may be said: then the new part starts from what was there. --extend draws on beyond the edges.

    A model of layouts is told what the picture is to show by --layout. With --before, the map of what it shows
    now, it is drawn anew where the two maps differ, and kept to the bit elsewhere.

    A model of symbols (shades, or codes of an autoencoder) keeps or redraws whole symbols: one is kept where
    all pixels under it are. Under a mask that is black all over a picture comes back as its symbols show it.

    A picture of another size than the model's is brought to it as training pictures are: by area, the
    centre kept; grey and colour become what the model draws. A mask has the size of the picture's file or
    of the model's pictures.

    The sheet shows the original, what is kept of it, and one picture a seed (and label or caption). It carries its
    settings, the SHA-256 of picture and mask among them: --like makes the same again, and a flag beside it
    changes what it names.

    examples:
      mezzotint edit runs/digits three.png --mask top.png
      mezzotint edit runs/digits three.png --mask top.png --label 3,8 --seeds 0-7 --out tops.png
      mezzotint edit runs/digits three.png --strength 0.6 --label 8
      mezzotint edit runs/digits three.png --mask top.png --resample 5 --out agreeing.png
      mezzotint edit runs/codes shirt.png --mask sleeve.png --dilate 2 --paste
      mezzotint edit runs/codes shirt.png --extend right=14,bottom=7
      mezzotint edit --like tops.png --seeds 8-15 --out more.png
      mezzotint edit runs/streets street.png --before is.png --layout wanted.png --palette palette.json
      mezzotint edit runs/streets street.png --mask corner.png --layout wanted.png --palette palette.json
    """

    run: Positional[Run] = None
    """A run folder or a model folder."""
    image: Annotated[
        Positional[Optional[str]], arg(metavar="[IMAGE]", help_behavior_hint="(default: the one that --like names)")
    ] = None
    """The picture: PNG, JPEG, WebP, BMP or GIF."""
    mask: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """A picture that is white where to draw anew and black where to keep; grey counts as what it is nearer to."""
    strength: Annotated[
        Optional[float], arg(metavar="LEVEL", help_behavior_hint="(default: 1 with a mask, else 0.5)")
    ] = None
    """Noise level to start from, above 0 (hardly any) and up to 1 (noise alone); of symbols, the share that is lost."""
    resample: Annotated[
        Optional[int], arg(metavar="N", help_behavior_hint="(default: 8, or 1 where the model sees what is kept)")
    ] = None
    """With a mask or --extend: walk every interval, or draw every stage, N times, so that new comes to agree with
    kept."""
    dilate: Annotated[
        Optional[int], arg(metavar="N", help_behavior_hint="(default: 1 for codes of several pixels, else 0)")
    ] = None
    """With a mask or --before: redraw N more pixels, shades or codes around it; a code knows of its neighbours."""
    before: Annotated[Optional[str], arg(metavar="MAP", help_behavior_hint="")] = None
    """With one --layout: the map of the picture as it is; what is drawn anew is where the two differ."""
    paste: Flag = False
    """Of a model of symbols: put the pixels of the picture back where it is kept, instead of what symbols show."""
    extend: Annotated[Optional[str], arg(metavar="LEFT,TOP,RIGHT,BOTTOM", help_behavior_hint="")] = None
    """Pixels to draw beyond each edge, such as 8,0,8,0 or right=8,top=4; codes are added whole."""
    label: Annotated[Optional[str], arg(metavar="WHICH", help_behavior_hint="(default: the model decides)")] = None
    """Classes by number or name: 3, cat, 0-9, 3,5 or cat,dog."""
    seeds: Seeds = None
    """One picture a label or caption and seed: 5, 0-63 or 3,5,9."""
    telling: Said = Telling()
    drawing: Drawn = Drawing()
    output: Written = Output()
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Edit) -> int:
    """Edit as ``args`` ask."""
    use_threads(args.drawing.threads)
    from mezzotint.cli.editing import Editing
    from mezzotint.cli.making import make
    from mezzotint.cli.plan import EDIT

    edit = Editing.of(args)
    kept = edit.mask is not None
    return make(args, EDIT, edit.plan, edit.pipeline, edit.cond(), edit.sheet, kept, edit=edit.record())
