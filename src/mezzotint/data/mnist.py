"""Handwritten digits, the set that most papers begin with: MNIST (LeCun, Cortes and Burges 1998).

The two files, ``mnist/train.npz`` and ``test.npz`` with ``images`` (N, 28, 28) and ``labels`` (N,) in their original
order, lie in the folder that the environment variable ``MEZZOTINT_DATA`` names.

Licence: CC BY-SA 3.0, as its authors state.
"""

from __future__ import annotations

from dataclasses import dataclass

from mezzotint.data.gathered import TrainAndTest
from mezzotint.data.licence import Licence


@dataclass(frozen=True)
class MNIST(TrainAndTest):
    """55,000 digits to train on, 5,000 for choices and 10,000 held out, x (1, H, W), ``Condition(label)`` 0..9.

    Arguments:
        size: pixels of a side, or (height, width); by area, the centre kept. 28 is as they are.
        split: ``"train"``, ``"validation"`` (the last 5,000 of the training file), ``"held_out"`` or ``"all"`` (train
            and held out).
    """

    size: int | tuple[int, int] = 28
    split: str = "train"
    folder = "mnist"
    licence = Licence("CC BY-SA 3.0", "name LeCun and Cortes, and share alike")

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple("0123456789")
