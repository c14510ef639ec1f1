"""The same numbers from torchmetrics, on the same features; where its defaults differ, what was set and why."""

from types import ModuleType

import numpy as np
import pytest
import torch

from mezzotint.core import Rng
from mezzotint.metrics import (
    class_iou,
    extractor_score,
    kernel_distance,
    kid,
    mean_iou,
    psnr,
    split_scores,
    ssim_each,
)


@pytest.fixture(scope="module")
def twin() -> ModuleType:
    """It takes seconds to load, so it is loaded where it is asked for."""
    return pytest.importorskip("torchmetrics", reason="torchmetrics is not installed: pip install mezzotint[dev]")


def features(count: int, seed: int) -> torch.Tensor:
    return Rng([seed]).normal("features", (count, 12))[0].double() * 1.2 + 0.1 * seed


def test_kid_of_all_pictures(twin: ModuleType) -> None:
    """In a subset of all pictures nothing is drawn: mean and unbiased MMD^2 are one number."""
    from torchmetrics.image.kid import poly_mmd

    x, y = features(80, 0), features(80, 1)
    want = poly_mmd(x, y).item()
    assert kernel_distance(x, y).value == pytest.approx(want, rel=1e-9)
    assert kid(x, y, 4, 80).value == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("splits", [1, 5])
def test_extractor_score_in_its_order(twin: ModuleType, splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs divides the spread by n - 1, where the paper's program divides by n; ours leaves it to the caller."""
    from torchmetrics.image.inception import InceptionScore

    logits = 2 * features(60, 0)
    order = Rng([0]).uniform("splits", (60,))[0].argsort()
    monkeypatch.setattr(torch, "randperm", lambda count: order)
    theirs = InceptionScore(feature=torch.nn.Identity(), splits=splits)
    theirs.set_dtype(torch.float64)
    theirs.update(logits)
    mean, spread = theirs.compute()
    assert extractor_score(logits, splits).value == pytest.approx(mean.item(), rel=1e-9)
    if splits > 1:
        assert split_scores(logits, splits).std(ddof=1) == pytest.approx(spread.item(), rel=1e-9)


def test_psnr_and_ssim(twin: ModuleType) -> None:
    """Theirs takes the range from the pictures at hand unless told, one PSNR of all pictures together unless told, and
    SSIM of a mirrored rim as well: of its whole map only the windows that lie inside are the authors'."""
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    truth = Rng(range(4)).uniform("truth", (3, 16, 21)) * 2 - 1
    made = truth + 0.2 * Rng(range(4)).normal("error", (3, 16, 21)).double()
    want = peak_signal_noise_ratio(made, truth, data_range=(-1.0, 1.0), dim=(1, 2, 3))
    assert psnr(made, truth).value == pytest.approx(want.item(), rel=1e-6)  # theirs takes logarithms in float32
    _, local = structural_similarity_index_measure(made, truth, data_range=(-1.0, 1.0), return_full_image=True)
    inside = local[:, :, 5:-5, 5:-5].flatten(1).mean(1)
    assert np.allclose(ssim_each(made, truth), inside, rtol=1e-9)


def test_intersection_over_union(twin: ModuleType) -> None:
    """Theirs averages over classes that are predicted or true; the two agree where what is predicted is also true."""
    from torchmetrics.functional.classification import multiclass_jaccard_index

    rng = Rng([3])
    seen, truth = ((rng.uniform(name, (5, 9, 8))[0] * 4).long() for name in ("seen", "truth"))
    truth[:, :2] = 255
    for average, ours in (("macro", mean_iou(seen, truth, 6).value), ("none", class_iou(seen, truth, 6)[:4])):
        want = multiclass_jaccard_index(seen, truth, 6, average=average, ignore_index=255).double().numpy()
        assert ours == pytest.approx(want[:4] if average == "none" else want.item(), rel=1e-6)
