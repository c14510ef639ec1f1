"""Feature distance: how unlike do two pictures look to a network that has learnt to see?

Two pictures a pixel apart differ everywhere in pixels and nowhere to the eye. The maps of a network forgive that, the
coarser the more. At every place of every map the channels are scaled to a vector of length one, so that it matters what
is seen there and not how strongly, and

    d = sum over layers l of  mean over places h, w of |f_l(a)[h, w] - f_l(b)[h, w]|^2,

which is between 0 and 2 a layer where maps are not negative.

This is *not* LPIPS. That adds weights a channel learnt from human judgements, on networks trained on photographs, and
its numbers are of another scale; this is its distance with all weights 1, on the network given, which has seen the data
set at hand and nothing else. It compares under one network only: name its SHA-256 beside the number.

Source: Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric" (1801.03924, Eq. 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.stop import poll
from mezzotint.metrics.estimate import Estimate, mean

_CHUNK = 2**21  # pixels at once, of which a network makes many more numbers


class Mapped(Protocol):
    """A network that gives its maps: a :class:`mezzotint.metrics.Classifier`, or any other."""

    def maps(self, x: Tensor, /) -> Sequence[Tensor]:
        """Maps (B, channels, h, w), one a layer, of pictures (B, C, H, W)."""
        ...


def feature_distance(network: Mapped, pictures: Tensor, others: Tensor) -> Estimate:
    """Mean over pairs of the distance of their maps, under weights of one; small is alike.

    Arguments:
        network: whose maps are compared, such as the ``classifier`` of an extractor.
        pictures, others: pairs (N, C, H, W) in [-1, 1], of a size the network takes.
    """
    return mean("feature distance", feature_distances(network, pictures, others).numpy(), len(others))


@torch.no_grad()
def feature_distances(network: Mapped, pictures: Tensor, others: Tensor) -> Tensor:
    """The distance of each pair (N,), in float64; the network computes in float32.

    Arguments:
        network, pictures, others: as in :func:`feature_distance`.
    """
    if pictures.ndim != 4 or pictures.shape != others.shape or len(pictures) == 0:
        raise Refusal(
            f"pictures of shape {tuple(pictures.shape)} were given beside {tuple(others.shape)}, but a feature "
            "distance is of pairs (N, C, H, W) of one shape"
        )
    if not (pictures.isfinite().all() and others.isfinite().all()):
        raise Refusal("a feature distance needs finite pictures, but some hold NaN or infinite pixels")
    rows, found = max(1, _CHUNK // pictures[0].numel()), []
    for a, b in zip(torch.split(pictures, rows), torch.split(others, rows), strict=True):
        poll()
        seen = (network.maps(x.detach().float().clamp(-1, 1)) for x in (a, b))
        layers = [(_unit(f) - _unit(g)).square().sum(1).mean((1, 2)) for f, g in zip(*seen, strict=True)]
        found.append(torch.stack(layers).sum(0).cpu())
    return torch.cat(found)


def _unit(x: Tensor) -> Tensor:
    # Where no channel sees anything the vector stays zero.
    return F.normalize(x.double(), dim=1, eps=1e-10)
