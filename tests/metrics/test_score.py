"""Extractor score: laws whose score is known, scipy's entropies, splits, and the interval."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import extractor_score, split_scores


def answers(count: int, classes: int, sure: float) -> torch.Tensor:
    """Probabilities: every class in turn, with that much on it and the rest spread evenly."""
    p = torch.full((count, classes), (1 - sure) / (classes - 1), dtype=torch.float64)
    p[torch.arange(count), torch.arange(count) % classes] = sure
    return p


@pytest.mark.parametrize("classes", [2, 7, 10])
def test_even_classes_in_closed_form(classes: int) -> None:
    """log K - H(p) where every class comes equally often; K where all are sure, 1 where none says anything."""
    for sure in (1.0, 0.9, 1 / classes):
        p = answers(classes * 12, classes, sure)
        want = classes * np.exp(-entropy(p[0]))
        assert extractor_score(p.log(), 1).value == pytest.approx(want, rel=1e-12)
    same = extractor_score(p[:1].repeat(40, 1).log() + 3.0, 4)
    assert same.value == pytest.approx(1, abs=1e-12) and same.count == 40


def test_is_the_mean_divergence_from_the_marginal() -> None:
    logits = 3 * Rng(range(50)).normal("logits", (6,)).double()
    p = logits.softmax(1).numpy()
    want = np.exp(np.mean([entropy(row, p.mean(0)) for row in p]))
    assert extractor_score(logits, 1).value == pytest.approx(want, rel=1e-10)
    assert extractor_score(logits.softmax(1).log(), 1).value == pytest.approx(want, rel=1e-10)
    assert extractor_score(logits[:, [3, 1, 0, 5, 4, 2]] + 7, 1).value == pytest.approx(want, rel=1e-10)
    assert np.isnan(extractor_score(logits, 1).low)


def test_splits_are_dealt_out_and_leave_none_out() -> None:
    ordered = answers(1000, 10, 1.0)[torch.arange(1000).remainder(10).argsort()]
    assert (
        split_scores(ordered.log(), 10) > 9
    ).all()  # dealt out in their order, each would hold one class and score 1
    assert np.allclose(split_scores(ordered.log(), 1000), 1, atol=1e-12)
    # Of 11 pictures in 4 splits one is unlike the others: wherever it is dealt, one split of 2 or 3 shows it.
    odd = answers(2, 2, 1.0)[torch.tensor([1] + 10 * [0])]
    sizes = [np.exp(entropy([1 / n, 1 - 1 / n])) for n in (2, 3)]
    for seed in range(12):
        scores = np.sort(split_scores(odd.log(), 4, Rng([seed])))
        assert np.allclose(scores[:3], 1) and min(abs(scores[3] - size) for size in sizes) < 1e-12


def test_interval_holds_the_score_of_as_many_pictures() -> None:
    def scores(trial: int, count: int) -> torch.Tensor:
        return 2 * Rng([trial]).normal("logits", (count, 4))[0]

    truth = split_scores(scores(10**6, 40_000), 1000).mean()
    found = [extractor_score(scores(trial, 200), 5) for trial in range(200)]
    assert 0.91 < np.mean([one.low <= truth <= one.high for one in found]) < 0.985


def test_unfit_tables_are_refused() -> None:
    logits = torch.randn(8, 3)
    for unfit, splits in ((logits[0], 1), (logits[:, :1], 1), (logits, 9), (logits, 0)):
        with pytest.raises(Refusal, match="at least two classes"):
            extractor_score(unfit, splits)
    with pytest.raises(Refusal, match="finite"):
        extractor_score(torch.cat([logits, torch.full((1, 3), -torch.inf)]), 2)


def test_ten_splits_are_those_of_the_paper() -> None:
    assert len(split_scores(torch.randn(40, 3))) == 10
