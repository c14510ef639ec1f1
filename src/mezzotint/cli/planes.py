"""A picture that is to be made larger, plane by plane: what a model is shown of it, and what comes back around that.

A model draws grey or colour. Of a coloured picture one of grey is shown the luma (Rec. 601), and what it draws replaces
the luma of the picture enlarged by linear interpolation, so that colours stay as they were. A grey picture is shown to
a model of colour as one, and what that draws becomes grey again.

Transparency is a plane of its own, enlarged by linear interpolation. Under what is wholly transparent a file may hold
any colour, black as a rule, which would leak into what is seen beside it: the model is shown the colours around it
instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.conditions.enlarge import enlarged
from mezzotint.core.errors import Refusal
from mezzotint.core.store import sha256
from mezzotint.data.data import unit
from mezzotint.data.picture import MAX_PIXELS, Header, layers
from mezzotint.training.pictures import Pixels, pixels

_LUMA = (0.299, 0.587, 0.114)
_KINDS = {b"GRAY": 1, b"RGB ": 3}
"""Channels of a picture that an ICC profile is about, by its header."""


@dataclass(frozen=True)
class Planes:
    """A picture as its file has it.

    Arguments:
        path: as the person wrote it.
        sha256: of the file.
        colours: uint8 (H, W, 1 or 3), those that are not seen too.
        share: uint8 (H, W), how much of each pixel is seen; None: all of it.
        profile: what the colours mean (ICC), where the file says.
        deep: whether the file has more than eight bits a channel.
    """

    path: str
    sha256: str
    colours: NDArray[np.uint8]
    share: NDArray[np.uint8] | None = None
    profile: bytes | None = None
    deep: bool = False

    @classmethod
    def of(cls, path: str, factor: tuple[int, int] = (1, 1)) -> Planes:
        """Read a file that is to be made larger by a factor; several frames, and too large a result, are refused."""
        if not Path(path).is_file():
            raise Refusal(f"there is no picture {path!r}")
        header = Header.of(Path(path), MAX_PIXELS)
        if header.animated:
            raise Refusal(f"{path!r} is an animation, and upscale makes one picture larger: save one of its frames")
        high, wide = header.size[1] * factor[0], header.size[0] * factor[1]
        if high * wide > MAX_PIXELS:  # before anything is unpacked
            raise Refusal(f"the result would be {wide} x {high} pixels, and {MAX_PIXELS:,} pixels are the most")
        colours, share, profile = layers(Path(path), MAX_PIXELS)
        share = None if share is None or (share == 255).all() else share
        if profile is not None and _KINDS.get(profile[16:20]) != colours.shape[-1]:
            profile = None  # of inks, or of the colours of a picture that has become grey
        return cls(path, sha256(Path(path)), colours, share, profile, _deep(Path(path), header))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.colours.shape[0], self.colours.shape[1]

    @cached_property
    def x(self) -> Tensor:
        """Its colours (C, H, W) in [-1, 1], those around it where a pixel is not seen at all."""
        x = unit(self.colours[None])[0]
        return x if self.share is None else beneath(x, torch.from_numpy(self.share > 0))

    def shown(self, channels: int) -> Tensor:
        """What a model of 1 or 3 channels is shown of it, (channels, H, W)."""
        if len(self.x) == channels:
            return self.x
        return luma(self.x) if channels == 1 else self.x.expand(3, -1, -1)

    def larger(self, x: Tensor, factor: tuple[int, int]) -> Pixels:
        """The picture (H', W', 1 to 4) in bytes that goes with what a model drew, (1 or 3, H', W')."""
        if len(x) > len(self.x):
            x = luma(x)
        elif len(x) < len(self.x):
            x = _by(self.x, factor) + (x - _by(luma(self.x), factor))
        made: Pixels = pixels(x[None])[0]
        if self.share is None:
            return made
        share = _by(torch.from_numpy(self.share)[None].float(), factor).round().to(torch.uint8)
        return np.concatenate([made, share.permute(1, 2, 0).numpy()], -1)

    def remarks(self, channels: int) -> list[str]:
        """What a person should know of how it is read."""
        found = []
        if self.deep:
            found.append(f"{self.path} has more than 8 bits a pixel, and is read and written with 8 bits")
        if channels < len(self.x):
            found.append(
                "the model is of grey pictures: it draws the light and dark of this one, its colours are spread"
            )
        if channels > len(self.x):
            found.append("the model is of colour and this picture is grey: what it draws is made grey")
        if self.share is not None:
            found.append("transparency is enlarged by linear interpolation, and the model draws the colours alone")
        return found

    def record(self) -> dict[str, Any]:
        """What a result says of the picture."""
        return {"path": self.path, "sha256": self.sha256, "size": list(self.size)}


def luma(x: Tensor) -> Tensor:
    """The luma (1, H, W) of colours (3, H, W), Rec. 601."""
    return (x * torch.tensor(_LUMA).reshape(3, 1, 1)).sum(0, keepdim=True)


def beneath(x: Tensor, seen: Tensor) -> Tensor:
    """Colours (C, H, W) with those that are not seen taken from around them, the nearer the finer.

    Means over cells of 2, 4, 8, .. pixels a side, of what is seen in each; a pixel that is not seen takes that of the
    smallest cell around it in which anything is (pull-push: Gortler et al. 1996, "The lumigraph").
    """
    if bool(seen.all()) or not bool(seen.any()):
        return x
    weight = seen.to(x.dtype)[None]
    high, wide = x.shape[-2] % 2, x.shape[-1] % 2
    sums = F.avg_pool2d(F.pad(x * weight, (0, wide, 0, high)), 2)
    counts = F.avg_pool2d(F.pad(weight, (0, wide, 0, high)), 2)
    coarse = beneath(sums / counts.clamp(min=1e-6), counts[0] > 0)
    around = coarse.repeat_interleave(2, -2).repeat_interleave(2, -1)[:, : x.shape[-2], : x.shape[-1]]
    return torch.where(seen, x, around)


def _by(x: Tensor, factor: tuple[int, int]) -> Tensor:
    return enlarged(x[None], factor)[0]


def _deep(path: Path, header: Header) -> bool:
    """Whether a file has more than eight bits a channel; of a coloured PNG only its header says so, byte 24 of it."""
    if header.mode[:1] in ("I", "F"):
        return True
    if header.format != "PNG":
        return False
    with path.open("rb") as file:
        return file.read(25)[24:] == bytes([16])
