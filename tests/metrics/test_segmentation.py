"""Segmentation: known overlaps, scikit-learn's scores, absent and ignored classes, and intervals over pictures."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import class_iou, confusion, mean_iou, pixel_accuracy, segmentation


def layouts(count: int, classes: int, wrong: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = Rng([seed])
    truth, other = ((rng.uniform(name, (count, 6, 7))[0] * classes).long().numpy() for name in ("truth", "other"))
    return np.where(rng.uniform("wrong", (count, 6, 7))[0].numpy() < wrong, other, truth), truth


def test_known_overlaps() -> None:
    """Two halves of 8 columns, predicted two columns too far to the right: 4/6 and 2/4 of 6 pixels and 4."""
    truth, seen = np.zeros((3, 5, 8), dtype=np.uint8), np.zeros((3, 5, 8), dtype=np.uint8)
    truth[..., 4:], seen[..., 6:] = 1, 1
    assert class_iou(seen, truth, 2) == pytest.approx([4 / 6, 2 / 4])
    assert mean_iou(seen, truth, 2).value == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert pixel_accuracy(seen, truth, 2).value == pytest.approx(6 / 8)
    assert confusion(seen, truth, 2).tolist() == [[60, 0], [30, 30]]
    assert mean_iou(truth, truth, 2).value == 1 and mean_iou(1 - truth, truth, 2).value == 0


def test_is_scikit_learns_over_the_whole_set() -> None:
    seen, truth = layouts(9, 5, 0.4)
    a, b = seen.ravel(), truth.ravel()
    assert (confusion(seen, truth, 5) == confusion_matrix(b, a)).all()
    assert class_iou(seen, truth, 5) == pytest.approx(jaccard_score(b, a, average=None))
    assert mean_iou(torch.from_numpy(seen), torch.from_numpy(truth), 5).value == pytest.approx(
        jaccard_score(b, a, average="macro"), rel=1e-12
    )
    assert pixel_accuracy(seen, truth, 5).value == pytest.approx(accuracy_score(b, a), rel=1e-12)
    assert (confusion(seen[:4], truth[:4], 5) + confusion(seen[4:], truth[4:], 5) == confusion(seen, truth, 5)).all()


def test_absent_classes_are_missing_and_ignored_pixels_do_not_count() -> None:
    seen, truth = layouts(6, 3, 0.3)
    want = mean_iou(seen, truth, 3).value
    assert mean_iou(seen, truth, 40).value == pytest.approx(want, rel=1e-12)
    assert np.isnan(class_iou(seen, truth, 40)[3:]).all()
    # One stray pixel of a class that the truth lacks costs the class it stands on one pixel, and not 1/4 of the score.
    stray = seen.copy()
    stray[0, 0, 0] = 3
    assert abs(mean_iou(stray, truth, 4).value - want) < 0.01 and np.isnan(class_iou(stray, truth, 4)[3])
    unsaid = truth.copy()
    unsaid[:, :2] = 255
    seen[:, 0] = 200  # what is seen where nothing is judged may be anything
    assert mean_iou(seen, unsaid, 3).value == pytest.approx(mean_iou(seen[:, 2:], truth[:, 2:], 3).value, rel=1e-12)
    assert mean_iou(seen[:, 1:], np.where(truth == 2, 7, truth)[:, 1:], 3, ignored=7).value > 0
    # A picture without a judged pixel is none.
    unsaid[0] = 255
    assert mean_iou(seen, unsaid, 3).count == pixel_accuracy(seen, unsaid, 3).count == 5


def test_interval_is_over_pictures() -> None:
    """Whole pictures right or wrong: the spread is that of the number of pictures, not of pixels."""
    truth = np.zeros((40, 10, 10), dtype=np.int64)
    truth[:, 5:] = 1
    found, held = [], []
    for trial in range(60):
        wrong = Rng([trial]).uniform("wrong", (40,))[0].numpy() < 0.3
        one = pixel_accuracy(np.where(wrong[:, None, None], 1 - truth, truth), truth, 2, draws=100)
        found.append(one.value)
        held.append(one.low <= 0.7 <= one.high)
    one = mean_iou(np.where(wrong[:, None, None], 1 - truth, truth), truth, 2, draws=200)
    assert one.low < one.value < one.high and one.count == 40
    assert 0.85 < np.mean(held) and np.std(found) == pytest.approx((0.3 * 0.7 / 40) ** 0.5, rel=0.3)


def test_ceiling_stands_beside() -> None:
    ours, ceiling = segmentation(*layouts(8, 4, 0.5), layouts(10, 4, 0.1, seed=1), 4, draws=20)
    assert list(ours) == list(ceiling) == ["miou", "pixel_accuracy"]
    assert ours["miou"].value == mean_iou(*layouts(8, 4, 0.5), 4).value and ours["miou"].count == 8
    assert ceiling["miou"].value > ours["miou"].value and ceiling["pixel_accuracy"].count == 10


def test_unfit_maps_are_refused() -> None:
    x = np.zeros((2, 4, 4), dtype=np.int64)
    for a, b in ((x, x[:1]), (x[0], x[0]), (x.astype(float), x)):
        with pytest.raises(Refusal, match="whole numbers"):
            mean_iou(a, b, 2)
    with pytest.raises(Refusal, match="hold 0 to 1"):
        confusion(x + 2, x, 2)
    with pytest.raises(Refusal, match="hold 0 to 1"):
        confusion(x, x - 1, 2)
    with pytest.raises(Refusal, match="nothing to judge"):
        mean_iou(x, x + 255, 2)
