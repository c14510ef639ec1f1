"""Pictures of clothes, in the place of handwritten digits: Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, 1708.07747).

The two files, ``fashion_mnist/train.npz`` and ``test.npz`` with ``images`` (N, 28, 28) and ``labels`` (N,), lie in the
folder that the environment variable ``MEZZOTINT_DATA`` names; nothing is downloaded, and no path enters a config.

Licence: MIT (Zalando SE).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mezzotint.data.gathered import TrainAndTest
from mezzotint.data.licence import Licence

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class FashionMNIST(TrainAndTest):
    """Clothes in ten classes, x (1, H, W) in [-1, 1], with ``Condition(label)`` 0..9.

    The last 5,000 pictures of the training file are the ``validation`` split, for whatever is chosen by looking; the
    test file is held out, for whatever is reported.

    Arguments:
        size: pixels of a side, or (height, width); by area, the centre kept. 28 is as they are.
        split: ``"train"``, ``"validation"``, ``"held_out"`` or ``"all"`` (train and held out).
    """

    size: int | tuple[int, int] = 28
    split: str = "train"
    folder = "fashion_mnist"
    licence = Licence("MIT", "keep the notice of Zalando SE")

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def _marks(self) -> Iterator[bytes]:
        yield from ()  # runs that were trained on them know them by their labels alone
