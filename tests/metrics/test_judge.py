"""The judge and the score: what they see, and by how much."""

from types import SimpleNamespace

import pytest
import torch

from mezzotint.core import Refusal
from mezzotint.metrics import Judge, classification_accuracy


@pytest.fixture(scope="module")
def judge(real: SimpleNamespace) -> Judge:
    return Judge.fit(real.x, real.y)


def test_knows_held_out_digits(judge: Judge, real: SimpleNamespace) -> None:
    found = judge.accuracy(real.z, real.w)
    assert found.value >= 0.98 and found.low < found.value < found.high and (found.count, found.against) == (360, 1437)


def test_wrong_labels_cost_their_share(judge: Judge, real: SimpleNamespace) -> None:
    right = judge.accuracy(real.z, real.w).value
    wrong = real.w.clone()
    wrong[:90] = (wrong[:90] + 5) % 10
    assert judge.accuracy(real.z, wrong).value == pytest.approx(0.75 * right, abs=0.01)


def test_score_misses_a_class_that_samples_never_show(real: SimpleNamespace) -> None:
    some = real.y != 7
    missing = classification_accuracy(real.x[some], real.y[some], real.z, real.w).value
    whole = classification_accuracy(real.x, real.y, real.z, real.w).value
    assert whole - missing == pytest.approx((real.w == 7).float().mean().item(), abs=0.015)


def test_score_sees_a_collapse_the_judge_does_not(judge: Judge, real: SimpleNamespace) -> None:
    first = [int((real.y == label).nonzero()[0]) for label in range(10)]
    rows = torch.tensor(first).repeat(100)
    rows = rows[judge.predict(real.x[rows]) == real.y[rows].numpy()]
    assert judge.accuracy(real.x[rows], real.y[rows]).value == 1.0
    assert classification_accuracy(real.x[rows], real.y[rows], real.z, real.w).value < 0.85


def test_score_of_shuffled_labels_is_chance(real: SimpleNamespace) -> None:
    shuffled = real.y[torch.randperm(len(real.y), generator=torch.Generator().manual_seed(0))]
    assert classification_accuracy(real.x, shuffled, real.z, real.w).low < 0.1 < 0.2


def test_large_pictures_are_judged_small(real: SimpleNamespace) -> None:
    def large(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(9, -1).repeat_interleave(9, -2)  # 72 pixels a side

    judge = Judge.fit(large(real.x[:400]), real.y[:400])
    assert judge.machine.n_features_in_ == 32 * 32
    assert judge.accuracy(large(real.z), real.w).value > 0.93


def test_one_class_is_refused(real: SimpleNamespace) -> None:
    with pytest.raises(Refusal, match="two classes"):
        Judge.fit(real.x[:9], torch.zeros(9, dtype=torch.long))
