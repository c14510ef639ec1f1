"""PSNR and SSIM: flat pictures in closed form, every window by hand, limits, and scales."""

import math

import numpy as np
import pytest
import torch

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import psnr, psnr_each, ssim, ssim_each


def windows_by_hand(a: np.ndarray, b: np.ndarray, span: float) -> float:
    """SSIM of one channel: each window's weighted moments, centred, as Wang et al. write them (Eqs. 14 to 16)."""
    grid = np.arange(11) - 5
    weight = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 1.5**2))
    weight /= weight.sum()
    found = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            m, n = (weight * p).sum(), (weight * q).sum()
            s, t, st = (weight * (p - m) ** 2).sum(), (weight * (q - n) ** 2).sum(), (weight * (p - m) * (q - n)).sum()
            c, d = (0.01 * span) ** 2, (0.03 * span) ** 2
            found.append((2 * m * n + c) * (2 * st + d) / ((m * m + n * n + c) * (s + t + d)))
    return float(np.mean(found))


def by_hand(a: torch.Tensor, b: torch.Tensor, span: float) -> list[float]:
    """The mean over channels, of each pair."""
    each = [
        [windows_by_hand(p, q, span) for p, q in zip(x, y, strict=True)]
        for x, y in zip(a.numpy(), b.numpy(), strict=True)
    ]
    return [float(np.mean(channels)) for channels in each]


def pairs(count: int, channels: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    truth = Rng(range(count)).uniform("truth", (channels, height, width)) * 2 - 1
    return (truth + 0.3 * Rng(range(count)).normal("error", (channels, height, width))).clamp(-1, 1), truth


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 13, 20), (4, 11, 11)])
def test_every_window_by_hand(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pairs(3, *shape)
    want = by_hand(a, b, 2.0)
    monkeypatch.setattr("mezzotint.metrics.fidelity._CHUNK", 1000)
    assert np.allclose(ssim_each(a, b), want, rtol=1e-10) and np.allclose(ssim_each(b, a), want, rtol=1e-10)
    found = ssim(a, b)
    assert found.value == pytest.approx(np.mean(want)) and (found.count, found.against) == (3, 3)
    # The same in [0, 1], and in 0 .. 255: bounds scale everything, constants too.
    for scale in (0.5, 127.5):
        x, y = (a + 1) * scale, (b + 1) * scale
        assert np.allclose(ssim_each(x, y, (0.0, 2 * scale)), by_hand(x, y, 2 * scale), rtol=1e-9)


def test_flat_pictures_in_closed_form() -> None:
    """Without any variance SSIM is its first factor, and PSNR that of one difference."""
    a, b = torch.full((2, 3, 16, 16), 0.5), torch.full((2, 3, 16, 16), -0.25)
    c = (0.01 * 2) ** 2
    assert ssim(a, b).value == pytest.approx((2 * 0.5 * -0.25 + c) / (0.5**2 + 0.25**2 + c), rel=1e-10)
    assert psnr(a, b).value == pytest.approx(20 * math.log10(2 / 0.75), rel=1e-12)
    assert psnr(a, b, (-1.0, 0.6)).value == pytest.approx(20 * math.log10(1.6 / 0.75), rel=1e-12)
    white = psnr(torch.ones(2, 1, 4, 4) * 3, torch.ones(2, 1, 4, 4))  # shown, both are
    assert white.value == math.inf and white.plain()["value"] == "inf"


def test_limits() -> None:
    a, b = pairs(4, 3, 16, 18)
    assert np.allclose(ssim_each(a, a), 1, atol=1e-12) and (psnr_each(a, a) == math.inf).all()
    assert np.isnan(psnr(a, a).low)
    board = (torch.arange(16)[:, None] + torch.arange(18)).remainder(2).mul(2.0).sub(1).expand(2, 1, -1, -1)
    assert ssim(board, -board).value == pytest.approx(-1, abs=1e-2)  # no mean to compare, and the opposite structure
    worse = [psnr(a, a + level * (b - a)).value for level in (0.1, 0.3, 1.0)]
    assert worse[0] > worse[1] > worse[2]
    # Ten times the error costs 20 dB.
    small = 0.01 * torch.ones_like(a[:, :, :5, :5])
    zero = torch.zeros_like(small)
    assert psnr(small, zero).value - psnr(10 * small, zero).value == pytest.approx(20, abs=1e-5)


def test_each_picture_counts_once_and_the_interval_is_students() -> None:
    """A mean of decibels, not the decibels of a mean."""
    a = torch.zeros(5, 1, 4, 4)
    b = a + torch.tensor([0.1, 0.2, 0.2, 0.4, 0.8]).view(5, 1, 1, 1)
    each = 20 * np.log10(2 / np.array([0.1, 0.2, 0.2, 0.4, 0.8]))
    found = psnr(b, a)
    assert found.value == pytest.approx(each.mean(), rel=1e-6)
    assert found.high - found.value == pytest.approx(2.776445 * each.std(ddof=1) / 5**0.5, rel=1e-5)
    assert np.isnan(psnr(b[:1], a[:1]).high)


def test_unfit_pictures_are_refused() -> None:
    x = torch.zeros(2, 1, 16, 16)
    with pytest.raises(Refusal, match="one shape"):
        psnr(x, x[:1])
    with pytest.raises(Refusal, match="11 x 11"):
        ssim(x[..., :10], x[..., :10])
    with pytest.raises(Refusal, match="darkest first"):
        psnr(x, x, (1.0, -1.0))
    with pytest.raises(Refusal, match="finite"):
        ssim(x, x.log() * 0)
