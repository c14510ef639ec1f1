"""The digits and one extractor trained on them, made once for all tests of this room."""

from types import SimpleNamespace

import pytest

from mezzotint.data import Digits
from mezzotint.metrics import Extractor


@pytest.fixture(scope="session")
def real() -> SimpleNamespace:
    """Real digits: the data set, its train pictures x and labels y, held-out pictures z and labels w."""
    data = Digits()
    (x, y), (z, w) = data[:], data.held_out()[:]
    return SimpleNamespace(data=data, x=x, y=y["label"], z=z, w=w["label"])


@pytest.fixture(scope="session")
def extractor(real: SimpleNamespace) -> Extractor:
    return Extractor.train(real.x, real.y, (real.z, real.w))
