"""An independent judge: does a picture show the class it was asked to show?

A support vector machine on pixels shares nothing with the network whose features the Frechet distance is taken in, nor
with the model under judgement, so the three cannot be fooled by one flaw. It is weak on photographs and strong on
small, centred pictures; its own accuracy on real held-out pictures stands beside every judgement, as the ceiling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.metrics.estimate import Estimate, share
from mezzotint.metrics.pictures import checked, flat, subset

SIDE = 32
ROWS = 10_000


@dataclass(frozen=True)
class Judge:
    """Support vectors with a Gaussian kernel on pixels (C = 10, gamma = 1 / (D var)), one against one.

    Make one with :meth:`fit`. Pictures above 32 pixels a side are shrunk by area; of more than 10,000 training pictures
    a fixed random subset is used.

    Arguments:
        machine: the fitted ``sklearn.svm.SVC``.
        count: pictures it was fitted to.
    """

    machine: Any
    count: int

    @classmethod
    def fit(cls, images: Tensor, labels: Tensor) -> Judge:
        """A judge fitted to pictures (N, C, H, W) in [-1, 1] and their labels (N,)."""
        from sklearn.svm import SVC

        pictures, classes = checked(images, labels, "the judge's pictures")
        assert classes is not None
        rows = subset(len(pictures), ROWS)
        if len(set(classes[rows].tolist())) < 2:
            raise Refusal("a judge needs pictures of at least two classes to tell apart")
        machine = SVC(C=10.0, gamma="scale", cache_size=500).fit(flat(pictures[rows], SIDE), classes[rows].numpy())
        return cls(machine, len(rows))

    def predict(self, images: Tensor) -> NDArray[np.int64]:
        """The class of each picture (N, C, H, W), as int64 (N,)."""
        answer: NDArray[np.int64] = self.machine.predict(flat(images, SIDE))
        return answer

    def accuracy(self, images: Tensor, labels: Tensor, name: str = "judge accuracy") -> Estimate:
        """Share of pictures judged to be of the class in ``labels``, with Wilson's interval."""
        pictures, classes = checked(images, labels, "the pictures to judge")
        assert classes is not None
        hits = int((self.predict(pictures) == classes.numpy()).sum())
        return share(name, hits, len(pictures), self.count)
