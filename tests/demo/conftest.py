"""Real digits and one extractor trained on them, made once for the tests of the demo's bars."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mezzotint.core import Condition
from mezzotint.data import Digits
from mezzotint.metrics import Extractor


class Table:
    """A data set from two tensors."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: object) -> tuple[Tensor, Condition]:
        rows = torch.as_tensor(rows)
        return self.x[rows], Condition(label=self.y[rows])


@pytest.fixture(scope="session")
def digits() -> SimpleNamespace:
    """Real digits: the data set, its train pictures x and labels y, held-out pictures z and labels w."""
    data = Digits()
    (x, y), (z, w) = data[:], data.held_out()[:]
    return SimpleNamespace(data=data, x=x, y=y["label"], z=z, w=w["label"], table=Table)


@pytest.fixture(scope="session")
def eye(digits: SimpleNamespace) -> Extractor:
    """The extractor of the demo."""
    return Extractor.train(digits.x, digits.y, (digits.z, digits.w))
