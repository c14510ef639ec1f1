"""What measures are taken of: tables of labelled pictures, cut to a size and a number that a measure can afford."""

from __future__ import annotations

import hashlib
from collections.abc import Sized
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.resize import fit


class Source(Sized, Protocol):
    """Anything that answers ``source[rows]`` with pictures (B, C, H, W) and their condition: any data set."""

    def __getitem__(self, index: Any, /) -> tuple[Tensor, Any]: ...


def subset(count: int, limit: int | None) -> NDArray[np.int64]:
    """Rows of a fixed random subset of at most ``limit`` of ``count``, in ascending order."""
    if limit is None or count <= limit:
        return np.arange(count)
    order = np.argsort(Rng([count]).uniform("subset", (count,)).numpy()[0], kind="stable")
    return np.sort(order[:limit])


def table(source: Source, limit: int | None = None) -> tuple[Tensor, Tensor | None]:
    """Pictures (N, C, H, W) and labels (N,), or None without them, of at most ``limit`` items of a source."""
    pictures, cond = source[subset(len(source), limit)]
    return pictures, cond["label"] if "label" in cond else None


def checked(pictures: Tensor, labels: Tensor | None, what: str) -> tuple[Tensor, Tensor | None]:
    """Pictures as float32 in [-1, 1] on the CPU, as they would be shown, and labels as int64; refused if unfit."""
    if pictures.ndim != 4 or len(pictures) < 2:
        raise Refusal(f"{what} are of shape {tuple(pictures.shape)}, but at least two pictures (N, C, H, W) are needed")
    if labels is not None and labels.shape != (len(pictures),):
        raise Refusal(f"{what} are {len(pictures)}, but their labels are of shape {tuple(labels.shape)}")
    return shown(pictures, what), None if labels is None else labels.detach().cpu().long()


def shown(pictures: Tensor, what: str) -> Tensor:
    """Pictures as float32 in [-1, 1] on the CPU; refused where they are not finite."""
    if not pictures.isfinite().all():
        raise Refusal(f"{what} hold NaN or infinite pixels; look at the loss of the run that made them")
    return pictures.detach().cpu().float().clamp(-1, 1)


def shrink(pictures: Tensor, side: int) -> Tensor:
    """Pictures (N, C, H, W) by area to at most ``side`` pixels a side, the aspect kept to a pixel."""
    longest = max(pictures.shape[-2:])
    if longest <= side:
        return pictures
    height, width = (max(1, round(n * side / longest)) for n in pictures.shape[-2:])
    return resized(pictures, (height, width))


def resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (N, C, H, W) at (height, width): each pixel the mean over the area it covers, linear where enlarged.

    As data are brought to size. torch's ``area`` is not that: where the ratio is no whole number its windows overlap,
    and their means are smoother than the picture's.
    """
    if pictures.shape[-2:] == size:
        return pictures
    if not len(pictures):
        return pictures.new_empty(0, pictures.shape[1], *size)
    made = fit(pictures.detach().cpu().float().permute(0, 2, 3, 1).contiguous().numpy(), size, "stretch")
    return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous().to(pictures)


def flat(pictures: Tensor, side: int) -> NDArray[np.float64]:
    """Pixels as rows (N, C * h * w) in float64, of pictures shrunk to ``side``."""
    return shrink(pictures, side).flatten(1).double().numpy()


class Fingerprint:
    """SHA-256 over dtypes, shapes and contents of tensors, which may come in pieces of rows."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def begin(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        """A tensor of this type and shape follows."""
        self._digest.update(f"{dtype} {shape};".encode())

    def add(self, rows: Tensor) -> None:
        """Rows of the tensor that was begun."""
        self._digest.update(rows.detach().cpu().contiguous().numpy().tobytes())

    def whole(self, tensor: Tensor) -> None:
        """A tensor at once."""
        self.begin(tensor.dtype, tuple(tensor.shape))
        self.add(tensor)

    def hexdigest(self) -> str:
        """The hash of what came, in hexadecimal."""
        return self._digest.hexdigest()


def fingerprint(*tensors: Tensor) -> str:
    """SHA-256 over dtypes, shapes and contents of tensors, in hexadecimal."""
    digest = Fingerprint()
    for tensor in tensors:
        digest.whole(tensor)
    return digest.hexdigest()
