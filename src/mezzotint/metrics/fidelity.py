"""Fidelity: how near does each picture come to the one picture it should be? For restoration, editing and codecs.

    PSNR = 10 log10(range^2 / mean squared error),            in dB,
    SSIM = mean over windows of (2 m_a m_b + c1)(2 s_ab + c2) / ((m_a^2 + m_b^2 + c1)(s_a^2 + s_b^2 + c2)),

with means m, variances s^2 and covariance s_ab under a Gaussian window of 11 x 11 pixels and standard deviation 1.5,
c1 = (0.01 range)^2 and c2 = (0.03 range)^2. PSNR counts errors; SSIM asks whether contrast and structure are kept, and
is 1 for equal pictures only. Both prefer the mean of all answers to any one of them: among good answers to an ill-posed
question neither tells better from worse.

What papers leave open is fixed here. PSNR is taken of each picture and then averaged, rather than of the error of all
together. The range is that of the bounds, 2 by default, never that of the pictures at hand; what lies outside is
clamped. SSIM looks at windows that lie wholly inside the picture, as the authors' own program does, and colours are
averaged over their channels.

Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity" (IEEE Transactions
on Image Processing 13, Eqs. 13 and 14 and section III.C).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.stop import poll
from mezzotint.metrics.estimate import Estimate, mean

WINDOW = 11
DEVIATION = 1.5
K1, K2 = 0.01, 0.03
SHOWN = (-1.0, 1.0)
_CHUNK = 2**22  # pixels at once


def psnr(pictures: Tensor, truth: Tensor, bounds: tuple[float, float] = SHOWN) -> Estimate:
    """Mean over pictures of the peak signal-to-noise ratio in dB; high is good, and equal pictures make it infinite.

    Arguments:
        pictures, truth: pairs of pictures (N, C, H, W), of any number of channels and any size.
        bounds: the darkest and the lightest value there is; their difference is the range.
    """
    return mean("psnr", psnr_each(pictures, truth, bounds).numpy(), len(truth))


def psnr_each(pictures: Tensor, truth: Tensor, bounds: tuple[float, float] = SHOWN) -> Tensor:
    """The peak signal-to-noise ratio of each picture (N,), in float64.

    Arguments:
        pictures, truth, bounds: as in :func:`psnr`.
    """

    def noise(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().flatten(1).mean(1)

    return 10 * torch.log10((bounds[1] - bounds[0]) ** 2 / _each(noise, pictures, truth, bounds, 1))


def ssim(pictures: Tensor, truth: Tensor, bounds: tuple[float, float] = SHOWN) -> Estimate:
    """Mean over pictures of the structural similarity, at most 1; high is good.

    Arguments:
        pictures, truth: pairs of pictures (N, C, H, W) of at least 11 pixels a side.
        bounds: the darkest and the lightest value there is; their difference is the range.
    """
    return mean("ssim", ssim_each(pictures, truth, bounds).numpy(), len(truth))


def ssim_each(pictures: Tensor, truth: Tensor, bounds: tuple[float, float] = SHOWN) -> Tensor:
    """The structural similarity of each picture (N,), in float64.

    Arguments:
        pictures, truth, bounds: as in :func:`ssim`.
    """
    span = bounds[1] - bounds[0]
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    places = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    taps = torch.exp(-places.square() / (2 * DEVIATION**2))
    taps = taps / taps.sum()

    def smooth(x: Tensor) -> Tensor:
        channels = x.shape[1]
        down = F.conv2d(x, taps[:, None].expand(channels, 1, -1, -1), groups=channels)
        return F.conv2d(down, taps[None, :].expand(channels, 1, -1, -1), groups=channels)

    def likeness(a: Tensor, b: Tensor) -> Tensor:
        m_a, m_b = smooth(a), smooth(b)
        # A variance is a difference of squares here, and rounding can take it below zero.
        s_aa, s_bb = (smooth(a * a) - m_a * m_a).clamp(min=0), (smooth(b * b) - m_b * m_b).clamp(min=0)
        s_ab = smooth(a * b) - m_a * m_b
        local = (2 * m_a * m_b + c1) * (2 * s_ab + c2) / ((m_a * m_a + m_b * m_b + c1) * (s_aa + s_bb + c2))
        return local.flatten(1).mean(1)

    return _each(likeness, pictures, truth, bounds, WINDOW)


def _each(
    quantity: Callable[[Tensor, Tensor], Tensor],
    pictures: Tensor,
    truth: Tensor,
    bounds: tuple[float, float],
    side: int,
) -> Tensor:
    """A quantity of each pair (N,), taken of clamped pictures in float64, some at a time."""
    if pictures.ndim != 4 or pictures.shape != truth.shape or len(pictures) == 0:
        raise Refusal(
            f"pictures of shape {tuple(pictures.shape)} were given beside {tuple(truth.shape)}, but fidelity is of "
            "pairs (N, C, H, W) of one shape"
        )
    if min(pictures.shape[-2:]) < side:
        raise Refusal(
            f"pictures of {pictures.shape[-2]} x {pictures.shape[-1]} pixels hold no window of {side} x {side}; "
            "measure psnr instead"
        )
    if not bounds[0] < bounds[1]:
        raise Refusal(f"bounds are the darkest and the lightest value, the darkest first, not {bounds}")
    if not (pictures.isfinite().all() and truth.isfinite().all()):
        raise Refusal("fidelity needs finite pictures, but some hold NaN or infinite pixels")
    rows, found = max(1, _CHUNK // pictures[0].numel()), []
    for a, b in zip(torch.split(pictures, rows), torch.split(truth, rows), strict=True):
        poll()
        found.append(quantity(*(x.detach().cpu().double().clamp(*bounds) for x in (a, b))))
    return torch.cat(found)
