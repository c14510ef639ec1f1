"""Samples that are points in the plane, as a picture: one dot each, real ones in grey below.

No plotting library is asked: a dot is a square of pixels, and where more of a kind fall together it grows darker.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mezzotint.training.pictures import Pixels

_COLOURS = ((31, 119, 180), (214, 96, 20), (44, 140, 60), (150, 60, 160), (180, 150, 20))
_REAL, _MARGIN = (205, 205, 205), 0.06


def scatter(x: Tensor, labels: Tensor | None, real: Tensor, side: int = 480, dot: int = 2) -> Pixels:
    """Points (B, 2) over real ones (N, 2), as bytes (side, side, 3); the frame is that of the real points.

    Arguments:
        x: what to draw; what falls outside the frame is drawn at its edge, so that it is seen.
        labels: classes (B,), a colour each; None: one colour.
        real: what is drawn below, in grey.
        side: pixels of a side.
        dot: pixels of a dot.
    """
    low, high = real.amin(0).double().cpu(), real.amax(0).double().cpu()
    middle, reach = (low + high) / 2, float((high - low).max()) * (0.5 + _MARGIN) or 1.0
    sheet = np.full((side, side, 3), 255.0)

    def draw(points: Tensor, colour: tuple[int, int, int], opacity: float) -> None:
        place = (points.detach().double().cpu().nan_to_num(0.0) - middle) / (2 * reach) + 0.5
        column, row = ((place * (side - dot)).round().clamp(0, side - dot).long()).unbind(1)
        for down in range(dot):
            for across in range(dot):
                where = (side - dot - row + down).numpy(), (column + across).numpy()
                hits = np.zeros((side, side))
                np.add.at(hits, where, 1.0)
                clear = ((1 - opacity) ** hits)[..., None]
                sheet[:] = clear * sheet + (1 - clear) * np.array(colour)

    draw(real, _REAL, 0.6)
    classes = torch.zeros(len(x), dtype=torch.int64) if labels is None else labels.cpu()
    for label in sorted(set(classes.tolist())):
        draw(x[classes.to(x.device) == label], _COLOURS[label % len(_COLOURS)], 0.6)
    drawn: Pixels = sheet.round().astype(np.uint8)
    return drawn
