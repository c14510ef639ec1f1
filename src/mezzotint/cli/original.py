"""The picture that is edited and the mask over it, made ready as the training pictures were.

A mask is white where the picture is to be made anew and black where it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.store import sha256
from mezzotint.data.data import unit
from mezzotint.data.picture import MAX_PIXELS, decode
from mezzotint.data.resize import fit, nearest

_HALF = 128


@dataclass(frozen=True)
class Original:
    """A picture as the model knows pictures.

    Arguments:
        path: as the person wrote it.
        sha256: of the file.
        x: (C, H, W) in [-1, 1].
        size: (height, width) of the file, in pixels.
    """

    path: str
    sha256: str
    x: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, path: str, shape: tuple[int, ...]) -> Original:
        """Read a file; another size is brought to the model's by area, the centre kept, as in :class:`data.Folder`.

        Arguments:
            path: any picture that the data room reads.
            shape: (C, H, W) of the model, C 1 (the picture becomes grey) or 3.
        """
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise Refusal(f"the model makes samples of shape {tuple(shape)}, and edits are of grey or colour pictures")
        channels, height, width = shape
        read = decode(_file(path), channels, MAX_PIXELS)
        size = read.shape[0], read.shape[1]
        return cls(path, sha256(Path(path)), unit(fit(read, (height, width))[None].copy())[0], size)

    def remark(self) -> str | None:
        """What a person should know of how it was read."""
        size = self.x.shape[-2], self.x.shape[-1]
        if size == self.size:
            return None
        return f"{self.path} is {_by(self.size)}: its middle is brought to {_by(size)}, as training pictures are"

    def record(self) -> dict[str, Any]:
        """What an edit says of the picture."""
        return {"path": self.path, "sha256": self.sha256}


@dataclass(frozen=True)
class Mask:
    """Where to make the picture anew.

    Arguments:
        path: as the person wrote it.
        sha256: of the file.
        redo: bool (1, H, W).
        greys: whether the file has other values than black and white.
    """

    path: str
    sha256: str
    redo: Tensor
    greys: bool

    @classmethod
    def of(cls, path: str, original: Original, whole: bool = False) -> Mask:
        """Read a file of the size of the picture's file or of the model's pictures.

        Light greys count as white, and what is transparent as black: what nobody painted is kept.

        Arguments:
            path: of the mask.
            original: what it lies over.
            whole: whether it may be of one shade all over.
        """
        height, width = original.x.shape[-2:]
        read = decode(_file(path), 1, MAX_PIXELS, under="black")
        size = read.shape[0], read.shape[1]
        if size not in ((height, width), original.size):
            own = f", or {_by((height, width))} as the model draws" if original.size != (height, width) else ""
            raise Refusal(f"the mask {path!r} is {_by(size)}, but it must be {_by(original.size)} as the picture{own}")
        redo = torch.from_numpy(np.ascontiguousarray(nearest(read, (height, width)) >= _HALF)).permute(2, 0, 1)
        if not whole and not redo.any():
            raise Refusal(f"the mask {path!r} is black all over, so everything would be kept: paint white what to redo")
        if not whole and redo.all():
            raise Refusal(
                f"the mask {path!r} is white all over, so nothing would be kept: paint black what to keep, or leave "
                "--mask out"
            )
        return cls(path, sha256(Path(path)), redo, not np.isin(read, (0, 255)).all())

    def remark(self) -> str | None:
        """What a person should know of how it was read."""
        return f"{self.path} has greys: from {_HALF} of 255 up they count as white, to redo" if self.greys else None

    def record(self) -> dict[str, Any]:
        """What an edit says of the mask."""
        return {"path": self.path, "sha256": self.sha256}


def _file(path: str) -> Path:
    if not Path(path).is_file():
        raise Refusal(f"there is no picture {path!r}")
    return Path(path)


def _by(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]} pixels"
