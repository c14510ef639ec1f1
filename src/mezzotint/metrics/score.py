"""Extractor score: are single pictures of a clear class, and all of them together of many?

    score = exp(E_x KL(p(y | x) || p(y))),    p(y) = E_x p(y | x),

with the class probabilities p(y | x) of a classifier. It is 1 where every picture gets the same answer and at most the
number of classes, reached where every answer is sure and every class equally frequent. With the Inception network it is
the Inception score; with any other it is that network's, which is why ours bears another name.

It never looks at real pictures: one sharp picture per class repeated scores best, and what real pictures score has to
stand beside it. A marginal p(y) of few pictures fits them too well, so the score falls with fewer pictures a split and
compares at equal counts and splits only.

Source: Salimans et al. 2016, "Improved techniques for training GANs" (1606.03498, section 4: splits of 5,000 pictures,
mean and spread over ten of them); Barratt and Sharma 2018, "A note on the Inception score" (1801.01973).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.metrics.estimate import Estimate, mean

SPLITS = 10


def extractor_score(
    logits: Tensor | NDArray[Any], splits: int = SPLITS, rng: Rng | None = None, name: str = "extractor score"
) -> Estimate:
    """The mean over splits of exp(E KL(p(y|x) || p(y))), between 1 and the number of classes; high is good.

    The splits share no picture, so their mean has Student's interval: of the score that N / splits pictures have, not
    of the limit of many.

    Arguments:
        logits: of the pictures' classes (N, K); logarithms of probabilities are logits too.
        splits: parts of N; a single one has no interval (NaN).
        rng: one key for the order in which pictures are dealt to the splits; by default ``Rng([0])``.
    """
    scores = split_scores(logits, splits, rng)
    found = mean(name, scores)
    return Estimate(name, found.value, found.low, found.high, len(logits))


def split_scores(logits: Tensor | NDArray[Any], splits: int = SPLITS, rng: Rng | None = None) -> NDArray[np.float64]:
    """The score of each split (splits,), whose mean :func:`extractor_score` is.

    Samples often come class by class; dealt out in that order each split would hold few classes, so they are shuffled.

    Arguments:
        logits, splits, rng: as in :func:`extractor_score`.
    """
    table = torch.as_tensor(logits).detach().cpu()
    if table.ndim != 2 or table.shape[1] < 2 or not 1 <= splits <= len(table):
        raise Refusal(
            f"an extractor score needs logits (N, K) of at least two classes and one picture in each of {splits} "
            f"splits, not a table of shape {tuple(table.shape)}"
        )
    log_p = table.double().log_softmax(1)
    if log_p.isnan().any():
        raise Refusal(
            "an extractor score needs logits of which each row has a finite one, and none is NaN or +infinite"
        )
    order = (Rng([0]) if rng is None else rng).uniform("splits", (len(table),))[0].argsort()
    edges = [len(table) * part // splits for part in range(splits + 1)]
    scores = []
    for start, end in zip(edges, edges[1:], strict=False):
        some = log_p[order[start:end]]
        p = some.exp()
        # 0 log 0 is 0: a class ruled out adds nothing, be it by one picture or by all.
        gain = torch.special.entr(p.mean(0)).sum() - torch.special.entr(p).sum(1).mean()
        scores.append(gain.exp())
    return torch.stack(scores).numpy()
