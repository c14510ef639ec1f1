"""Train on synthetic, test on real: plain accuracy on real pictures, chance without classes, less with fewer."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from mezzotint.core import Refusal
from mezzotint.metrics import Extractor, beside_real, train_on_synthetic

SEEN = 3200


def test_on_real_pictures_it_is_the_classifiers_plain_accuracy(real: SimpleNamespace) -> None:
    found = train_on_synthetic(real.x, real.y, real.z, real.w, seeds=(3, 4), seen=SEEN)
    plain = []
    for seed in (3, 4):
        learnt = Extractor.train(real.x, real.y, seed=seed, seen=SEEN)
        with torch.no_grad():
            plain.append(accuracy_score(real.w, learnt.classifier(real.z).argmax(1)))
    assert found.value == pytest.approx(np.mean(plain)) and found.value > 0.9
    assert found.low < found.value < found.high <= 1.0 and (found.count, found.against) == (360, 1437)


def test_the_likeliest_three_are_counted_as_elsewhere(real: SimpleNamespace) -> None:
    some = slice(0, 300)
    found = train_on_synthetic(real.x[some], real.y[some], real.z, real.w, seeds=(0,), seen=640, top=3)
    logits = Extractor.train(real.x[some], real.y[some], seed=0, seen=640).logits(real.z)
    assert found.value == pytest.approx(top_k_accuracy_score(real.w, logits.double().numpy(), k=3))


def test_shuffled_labels_score_chance(real: SimpleNamespace) -> None:
    order = torch.randperm(len(real.y), generator=torch.Generator().manual_seed(0))
    found = train_on_synthetic(real.x, real.y[order], real.z, real.w, seeds=(0, 1, 2, 3), seen=SEEN // 2)
    assert found.low <= 0.1 <= found.high < 0.3


def test_a_class_that_samples_never_show_is_lost_whichever_it_is(real: SimpleNamespace) -> None:
    whole = train_on_synthetic(real.x, real.y, real.z, real.w, seeds=(0,), seen=SEEN)
    for lost in ([9], [0, 4]):  # the last class too: the network keeps an answer for it and never learns to give it
        some = ~torch.isin(real.y, torch.tensor(lost))
        found = train_on_synthetic(real.x[some], real.y[some], real.z, real.w, seeds=(0,), seen=SEEN)
        held = torch.isin(real.w, torch.tensor(lost)).float().mean().item()
        assert found.value <= 1 - held and whole.value - found.value > held / 2


def test_every_arm_is_met_by_one_architecture(real: SimpleNamespace) -> None:
    some = real.y < 7
    ten = Extractor.train(real.x[some], real.y[some], seen=64, classes=10).classifier
    assert [p.shape for p in ten.parameters()] == [
        p.shape for p in Extractor.train(real.x, real.y, seen=64).classifier.parameters()
    ]
    with pytest.raises(Refusal, match="cannot learn label 9"):
        Extractor.train(real.x, real.y, seen=64, classes=9)


def test_beside_it_stand_as_many_real_pictures(real: SimpleNamespace) -> None:
    noisy = real.x[:200] + 1.5 * torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = beside_real(noisy, real.y[:200], (real.x, real.y), real.z, real.w, seeds=(0,), seen=SEEN)
    assert found.samples.against == found.real.against == 200 and found.samples.high < found.real.low
    assert found.reached == pytest.approx(found.samples.value / found.real.value) and "as many real" in str(found)
    with pytest.raises(Refusal, match="score 100 of the samples"):
        beside_real(noisy, real.y[:200], (real.x[:100], real.y[:100]), real.z, real.w)


def test_the_interval_covers_seeds_and_pictures() -> None:
    """Networks that are sure of one of two faint classes: other seeds and other pictures answer within the interval."""
    g = torch.Generator().manual_seed(0)

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.arange(count) % 2
        return (0.4 * torch.randn(count, 3, 5, 9, generator=g) + 0.16 * (y[:, None, None, None] - 0.5)).clamp(-1, 1), y

    train, large = drawn(120), drawn(6000)
    few = drawn(150)
    at = {seeds: train_on_synthetic(*train, *few, seeds=seeds, seen=320, width=8) for seeds in ((0,), (0, 1, 2))}
    truth = train_on_synthetic(*train, *large, seeds=(5, 6, 7, 8), seen=320, width=8)
    assert at[0, 1, 2].low < truth.value < at[0, 1, 2].high
    wilson = binomtest(round(at[0,].value * 150), 150).proportion_ci(method="wilson")  # one seed has no spread to add
    assert (at[0,].low, at[0,].high) == pytest.approx((wilson.low, wilson.high))
    assert at[0, 1, 2].high - at[0, 1, 2].low > wilson.high - wilson.low


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"seeds": ()}, "one network each"),
        ({"seeds": (1, 1)}, "one network each"),
        ({"top": 10}, "likeliest 1 to 9"),
        ({"seen": 0}, "at least one picture"),
    ],
)
def test_settings_that_say_nothing_are_refused(real: SimpleNamespace, what: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        train_on_synthetic(real.x, real.y, real.z, real.w, **what)


def test_sets_that_do_not_belong_together_are_refused(real: SimpleNamespace) -> None:
    with pytest.raises(Refusal, match="one size"):
        train_on_synthetic(real.x[..., :4], real.y, real.z, real.w)
    with pytest.raises(Refusal, match="never tested"):
        train_on_synthetic(real.x, real.y + 1, real.z, real.w)
    with pytest.raises(Refusal, match="two classes"):
        train_on_synthetic(real.x, real.y, real.z[real.w == 0], real.w[real.w == 0])
