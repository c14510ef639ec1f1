"""``mezzotint upscale``: a picture of any size made larger by a super-resolution model, or by stages of a cascade."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, use_threads
from mezzotint.cli.flags import Drawing, Drawn, Output, Said, Telling


@dataclass(frozen=True)
class Upscale:
    """Make a picture larger with a super-resolution model.

    RUN is the folder of a cascade, whose last stage draws unless --stages names more, or the run or model folder of
    one such stage. The picture may be of any size. What is larger than the model's pictures is drawn in windows that
    overlap and are blended at every step; what is smaller is continued by its edges, and cut again.

    What comes back is one of many pictures that have this one as their small version: other seeds, other details. How
    well it agrees is printed: it is brought down again by means of cells, and compared with the picture. It is held to
    that while it is drawn (--free: it is not).

    Grey and colour stay what they are, whichever the model draws. Transparency is enlarged by linear interpolation.
    EXIF orientation is applied; an ICC profile is kept where it still holds, and other metadata are not.

    The PNG carries its settings, the SHA-256 of picture and weights among them.

    examples:
      mezzotint upscale runs/cascade small.png --out large.png
      mezzotint upscale runs/cascade thumb.png --stages 2 --label shirt --seeds 0-3 --out shirts.png
      mezzotint upscale runs/cascade/28 photo.jpg --overlap 12 --steps 10 --out photo-2x.png
      mezzotint upscale runs/cascade noisy.png --level 0.2
      mezzotint upscale runs/cascade small.png --truth original.png
    """

    run: Annotated[Positional[str], arg(metavar="RUN", help_behavior_hint="")]
    """The folder of a cascade, or a run or model folder of a super-resolution stage."""
    image: Annotated[Positional[str], arg(metavar="IMAGE", help_behavior_hint="")]
    """The picture: PNG, JPEG, WebP, BMP or GIF, of one frame."""
    out: Annotated[str, arg(metavar="FILE", help_behavior_hint="(default: upscaled.png)")] = "upscaled.png"
    """The larger picture, a PNG; of several, NAME-LABEL-SEED.png."""
    stages: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 1)")] = None
    """Of a cascade, how many of its last stages draw, one after another."""
    level: Annotated[
        Optional[str], arg(metavar="LEVEL", help_behavior_hint="(default: 0, and the cascade's own between stages)")
    ] = None
    """Share of noise, 0 to 1, that the picture is corrupted to before the model sees it; the more, the more it
    invents. Several stages take one each, such as 0,0.2; one alone is for the picture."""
    free: Flag = False
    """Let the model alone say what is drawn, which may stray from the picture. Without it every answer on the way is
    bent so that it is the picture when it is brought down by means of cells, unless --level says that this is noisy."""
    tile: Annotated[
        Optional[str], arg(metavar="HEIGHTxWIDTH", help_behavior_hint="(default: the pictures it was trained on)")
    ] = None
    """Size of a window, in pixels of the result."""
    overlap: Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: a quarter of a window)")] = None
    """The least that neighbouring windows share, in pixels of the result."""
    label: Annotated[Optional[str], arg(metavar="WHICH", help_behavior_hint="(default: the model decides)")] = None
    """What the picture shows, as a class by number or name; several make a picture each."""
    seeds: Annotated[str, arg(metavar="WHICH", help_behavior_hint="(default: 0)")] = "0"
    """One picture a label or caption and seed: 5, 0-63 or 3,5,9."""
    truth: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """The picture as it should be, of the result's size: print how near this and a bicubic enlargement come to it."""
    telling: Said = Telling()
    drawing: Drawn = Drawing()
    overwrite: Flag = False
    """Replace files that exist."""
    json: Flag = False
    """Print one JSON document instead of text."""

    @property
    def output(self) -> Output:
        """Where the pictures go, as verbs that draw sheets say it."""
        return Output(out=self.out, overwrite=self.overwrite)


def run(args: Upscale) -> int:
    """Make larger what ``args`` name."""
    use_threads(args.drawing.threads)
    from mezzotint.cli.upscaling import Upscaling

    return Upscaling.of(args).make(args)
