"""Pictures that are computed: stripes in three directions."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mezzotint.data import Data
from mezzotint.data.data import Rows


@dataclass(frozen=True)
class Stripes(Data):
    """(1, size, size) pictures of waves; two thirds are for training."""

    size: int = 8
    count: int = 90
    split: str = "train"

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, self.size, self.size

    @property
    def classes(self) -> tuple[str, ...]:
        return "across", "down", "aslant"

    @property
    def _items(self) -> Rows:
        first, last = {"train": (0, 2), "held_out": (2, 3), "all": (0, 3)}[self.split]
        return np.arange(self.count * first // 3, self.count * last // 3)

    @property
    def labels(self) -> Rows:
        return self._items % 3

    def __len__(self) -> int:
        return len(self._items)

    def read(self, rows: Rows) -> Tensor:
        item = torch.from_numpy(self._items[rows])[:, None, None, None]
        y, x = torch.meshgrid(torch.arange(self.size), torch.arange(self.size), indexing="ij")
        along = torch.where(item % 3 == 0, x, torch.where(item % 3 == 1, y, x + y))
        return torch.sin(along * (0.7 + 0.01 * item) + item).float()
