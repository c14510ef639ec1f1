"""Grey pictures as whole shades, for models of symbols.

A picture of few shades is a plane of symbols whose exact likelihood a model of symbols bounds, pixel by pixel. Shade k
of n stands for the grey 2 k / (n - 1) - 1, so the darkest is black, the lightest white, and 256 of them lose nothing of
a picture that came as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, Rows
from mezzotint.data.digits import Digits
from mezzotint.data.wrapped import Wrapped

MOST = 2**16


@dataclass(frozen=True)
class Shaded(Wrapped):
    """The pictures of another set, x (H, W) int64 from 0 to ``shades - 1``; splits and what is told are the source's.

    A pixel in [-1, 1] becomes the nearest of the shades 2 k / (shades - 1) - 1, the lighter one where two are as near;
    :meth:`drawn` gives these back, at most 1 / (shades - 1) from the pixel.

    Arguments:
        source: grey pictures (1, H, W), such as ``Digits`` or ``Folder(path, channels=1)``.
        shades: how many, 2 to 65,536.

    Raises:
        Refusal: the source has colours, or is no set of pictures.
    """

    source: Data
    shades: int = 8

    @classmethod
    def example(cls) -> Shaded:
        return cls(Digits())

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.shades, bool) or not isinstance(self.shades, int) or not 2 <= self.shades <= MOST:
            raise Refusal(f"a picture has 2 to {MOST} shades, not {self.shades!r}")
        name, shape = type(self.source).__name__, tuple(self.source.shape)
        if self.source.vocab is not None or len(shape) != 3:
            raise Refusal(f"shades are made of pictures, and samples of data.{name} have the shape {shape}")
        if shape[0] != 1:
            raise Refusal(
                f"shades are made of grey pictures, and those of data.{name} have {shape[0]} channels: read them with "
                "one, as data.Folder does with channels=1"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape[1:]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(shape[1:] for shape in self.source.shapes)

    @property
    def originals(self) -> Rows | None:
        return self.source.originals

    def resized(self, size: tuple[int, int]) -> Data | None:
        found = self.source.resized(size)
        return None if found is None else self._around(found)

    @property
    def vocab(self) -> int:
        """How many shades there are."""
        return self.shades

    def spelt(self, x: Tensor) -> None:
        return None

    def drawn(self, x: Tensor) -> Tensor:
        """Shades (B, H, W) as grey pictures, float32 (B, 1, H, W) in [-1, 1]."""
        return (x.float() / ((self.shades - 1) / 2) - 1.0)[:, None]  # as bytes become pictures, to the last bit

    def read(self, rows: Rows) -> Tensor:
        return self.coded(self.source.read(rows))

    def coded(self, x: Tensor) -> Tensor:
        """Grey pictures (B, 1, H, W) in [-1, 1] as the nearest shades, int64 (B, H, W)."""
        pixels = x[:, 0].double()
        return ((pixels + 1) * ((self.shades - 1) / 2) + 0.5).floor().clamp(0, self.shades - 1).to(torch.int64)

    @cached_property
    def _moments(self) -> tuple[float, float]:
        train = self.sibling("train")
        return self._measured() if train is self else train._moments

    def _marks(self) -> Iterator[bytes]:
        yield repr(self.shades).encode()
