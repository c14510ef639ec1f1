"""Samples of the arms of an experiment side by side: pictures as one sheet of tiles an arm, points as scatters.

Scatters of all arms have the same axes, so that what one arm loses is seen beside another.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mezzotint.cli.page import Html, join, tag
from mezzotint.cli.tiles import SIDE, uri
from mezzotint.metrics.pictures import shrink
from mezzotint.training.pictures import enlargement, grid

COLUMNS = 6
_MOST = 36  # pictures of an arm
_POINTS = 5_000
_TILE = 84  # pixels of a small picture's side, enlarged
_FRAME = 200
_OUTSIDE = 0.005  # the share of points that may lie beyond each end of the common axes


def figures(samples: Mapping[str, Tensor]) -> list[Html]:
    """One figure an arm; samples that are neither pictures (n, C, H, W) nor points (n, 2) are left out."""
    points = {name: x for name, x in samples.items() if x.ndim == 2 and x.shape[1] == 2 and len(x)}
    frame = _frame(torch.cat(list(points.values()))) if points else None
    made = []
    for name, x in samples.items():
        if name in points and frame is not None:
            made.append(_scatter(name, x, *frame))
        elif x.ndim == 4 and x.numel():
            made.append(_pictures(name, x))
    return made


def _pictures(name: str, x: Tensor) -> Html:
    small = shrink(x[:_MOST].detach().float().cpu().clamp(-1, 1), SIDE)
    sheet = grid(small, min(COLUMNS, len(small)), enlargement(small.shape[2], small.shape[3], _TILE), gap=4)
    alt = f"the first {len(small)} samples of {name}"
    picture = tag("img", src=uri(sheet), alt=alt, width=sheet.shape[1], height=sheet.shape[0])
    return tag("figure", picture, tag("figcaption", name))


def _frame(x: Tensor) -> tuple[Tensor, float]:
    """The middle and the reach of square axes that hold all but a few of the points."""
    kept = x.double()[x.isfinite().all(1)]
    if not len(kept):
        return torch.zeros(2, dtype=torch.float64), 1.0
    ends = torch.tensor([_OUTSIDE, 1 - _OUTSIDE], dtype=torch.float64)
    low, high = torch.quantile(kept, ends, dim=0) if len(kept) > 1 / _OUTSIDE else (kept.amin(0), kept.amax(0))
    return (low + high) / 2, 0.54 * float((high - low).max()) or 1.0


def _scatter(name: str, x: Tensor, middle: Tensor, reach: float) -> Html:
    """Points as dots in one path, which is a hundred times shorter than an element each."""
    places = 0.5 + (x[:_POINTS].double().cpu() - middle) / (2 * reach)
    inside = places.isfinite().all(1) & (places >= 0).all(1) & (places <= 1).all(1)
    shown = (places[inside] * _FRAME).tolist()
    path = "".join(f"M{a:.1f} {_FRAME - b:.1f}h0" for a, b in shown)
    (left, below), (right, above) = (middle - reach).tolist(), (middle + reach).tolist()
    label = f"{len(shown)} samples of {name}, from ({left:.3g}, {below:.3g}) to ({right:.3g}, {above:.3g})"
    square = tag("rect", class_="frame", x=0, y=0, width=_FRAME, height=_FRAME)
    few = " few" if len(shown) <= 200 else ""
    drawn = tag("path", class_=f"points{few}", d=path) if path else None
    away = len(places) - len(shown)
    note = tag("small", f"{away} of {len(places)} lie outside the frame") if away else None
    svg = tag("svg", square, drawn, class_="chart", viewBox=f"0 0 {_FRAME} {_FRAME}", role="img", aria_label=label)
    return tag("figure", svg, tag("figcaption", join([name, note])))
