"""Where a picture lies among what a model draws: pixels, a shade a pixel, or codes that each stand for a cell of them.

What a symbol stands for is known by the model's data alone: they draw samples as pictures, and make samples of pictures
as they made their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.cli.drawing import Model
from mezzotint.cli.symbols import Shown, vocab
from mezzotint.core.errors import Refusal
from mezzotint.data import Data


@dataclass(frozen=True)
class Cells:
    """The pictures of a model and its samples, laid over each other.

    Arguments:
        picture: (C, H, W) of one picture.
        latent: (..., h, w) of one sample of the model; a cell of about H/h by W/w pixels an entry.
        data: which say what a sample stands for; None: samples are pictures.
        vocab: how many symbols a sample is made of, or None.
    """

    picture: tuple[int, ...]
    latent: tuple[int, ...]
    data: Data | None = None
    vocab: int | None = None

    @classmethod
    def of(cls, model: Model, shown: Shown | None) -> Cells:
        """Of a model, and of what its data say of its samples."""
        shape = tuple(model.denoiser.shape)
        if shown is None:
            return cls(shape, shape)
        if shown.text:
            raise Refusal(f"the model in {model.path!r} writes texts, and edits are of pictures")
        one = torch.zeros(1, *shape, dtype=torch.int64 if vocab(model.denoiser) else torch.float32)
        picture = tuple(shown.pictures(one).shape[1:])
        if len(shape) < 2 or len(picture) != 3:
            raise Refusal(f"the model in {model.path!r} has samples of shape {shape}, which lie nowhere in a picture")
        return cls(picture, shape, shown.data, vocab(model.denoiser))

    @property
    def symbols(self) -> bool:
        """Whether samples are symbols."""
        return self.vocab is not None

    @property
    def dilate(self) -> int:
        """By how many entries a mask grows, where nothing is said: the code of a cell knows of its neighbours."""
        return int(self.picture[-2:] != self.latent[-2:])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a cell in pixels, refused where they are no whole numbers."""
        (high, wide), (rows, columns) = self.picture[-2:], self.latent[-2:]
        if high % rows or wide % columns:
            raise Refusal(
                f"{rows} x {columns} codes stand for {high} x {wide} pixels, which is no whole number each, so nothing "
                "can be put beside them"
            )
        return high // rows, wide // columns

    def encode(self, x: Tensor) -> Tensor:
        """A picture (C, H, W) in [-1, 1] as a sample of the model, (..., h, w), refused where that is not known."""
        if self.data is None:
            return x
        name = type(self.data).__name__
        with torch.no_grad():
            found = self.data.coded(x[None])
        if found is None:
            raise Refusal(f"data.{name} does not say which symbols a picture has, so none can be edited")
        if tuple(found.shape[1:]) != self.latent:
            raise Refusal(
                f"data.{name} makes samples of shape {tuple(found.shape[1:])} of a picture, and the model draws "
                f"{self.latent}: the two were not trained together"
            )
        if self.vocab is not None:
            if found.is_floating_point():
                raise Refusal(f"data.{name} makes real numbers of a picture, and the model draws symbols")
            low, high = int(found.min()), int(found.max())
            if low < 0 or high >= self.vocab:
                raise Refusal(
                    f"data.{name} makes symbols from {low} to {high} of the picture, and the model knows 0 to "
                    f"{self.vocab - 1}: the two were not trained together"
                )
        return found[0].detach().cpu()

    def pictures(self, z: Tensor) -> Tensor:
        """Samples (B, ..., h', w') as pictures (B, C, H', W')."""
        if self.data is None:
            return z
        with torch.no_grad():
            found = self.data.drawn(z)
        assert found is not None
        return found.cpu()

    def over(self, pixels: Tensor, dilate: int = 0) -> Tensor:
        """The entries, bool (h, w), that lie over any of these pixels, bool (H, W), and so many around them."""
        rows, columns = self._spans()
        found = (rows @ pixels.double() @ columns.T > 0).double()
        if dilate:
            wide = 2 * dilate + 1
            found = F.max_pool2d(found[None, None], wide, 1, dilate)[0, 0]
        return found > 0

    def under(self, entries: Tensor) -> Tensor:
        """The pixels, bool (H, W), that lie under any of these entries, bool (h, w)."""
        rows, columns = self._spans()
        found: Tensor = rows.T @ entries.double() @ columns > 0
        return found

    def _spans(self) -> tuple[Tensor, Tensor]:
        return _span(self.picture[-2], self.latent[-2]), _span(self.picture[-1], self.latent[-1])


def _span(pixels: int, cells: int) -> Tensor:
    """Which pixels each of some equal cells touches, along one axis: float64 (cells, pixels) of zeros and ones."""
    pixel, cell = torch.arange(pixels), torch.arange(cells)[:, None]
    return (((pixel + 1) * cells > cell * pixels) & (pixel * cells < (cell + 1) * pixels)).double()
