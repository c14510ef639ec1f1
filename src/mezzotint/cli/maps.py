"""What is told of a picture, as a picture: maps of classes in fixed colours, masks, pictures and points.

The colours of maps are those of the label maps of PASCAL VOC (:data:`mezzotint.data.palette.COLOURS`): every class has
one colour everywhere, 0 is black, and 255, which says nothing, is cream.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.condition import Condition, family
from mezzotint.data.palette import COLOURS

_CANVAS = 96  # pixels of the longer side on which points are drawn, at least about so many
_PAPER = 242
_AROUND = 30  # radii of a point to a side
_SEEN, _HIDDEN = 2.0, 1.0


def maps(cond: Condition, size: tuple[int, int]) -> dict[str, Tensor]:
    """What can be drawn of a condition, by name: pictures (B, 1 or 3, H, W) in [-1, 1].

    Arguments:
        cond: of any families; words and numbers are left out.
        size: (height, width) of the pictures that it tells of.
    """
    drawn = {name: _drawn(name, value.detach().cpu(), size) for name, value in cond.values.items()}
    return {name: x for name, x in drawn.items() if x is not None}


def _drawn(name: str, value: Tensor, size: tuple[int, int]) -> Tensor | None:
    kind = family(name)
    if kind == "layout" and value.ndim == 3 and not value.is_floating_point():
        return _signed(torch.from_numpy(COLOURS)[value.long().clamp(0, 255)].permute(0, 3, 1, 2))
    if kind == "keypoints" and value.ndim in (3, 4) and value.shape[-1] == 3:
        return points(value, size)
    if value.ndim != 4 or value.shape[1] not in (1, 3):
        return None
    if value.dtype == torch.bool:
        return value.float() * 2 - 1
    if not value.is_floating_point():
        return None
    return value.float() * 2 - 1 if kind == "depth" else value.float()


def points(keypoints: Tensor, size: tuple[int, int]) -> Tensor:
    """Keypoints (B, K, 3) or, of several figures, (B, N, K, 3) as dots on paper, (B, 3, H, W) in [-1, 1].

    Point k has the colour of class k + 1; one that is hidden is a ring, one that is not there is not drawn.

    Arguments:
        keypoints: across and down as shares of the width and the height, then 2 seen, 1 hidden, 0 not there.
        size: (height, width) of the picture; a small one is enlarged a whole number of times.
    """
    times = max(1, round(_CANVAS / max(size)))
    height, width = size[0] * times, size[1] * times
    radius = max(1.5, max(height, width) / _AROUND)
    down, across = np.mgrid[:height, :width] + 0.5
    out = np.full((len(keypoints), height, width, 3), _PAPER, dtype=np.uint8)
    joints = keypoints.shape[-2]
    flat = keypoints.reshape(len(keypoints), -1, 3).double().numpy()
    for row, figure in enumerate(flat):
        for place, (x, y, seen) in enumerate(figure):
            if seen not in (_SEEN, _HIDDEN) or not np.isfinite([x, y]).all():
                continue
            apart = np.hypot(across - x * width, down - y * height)
            inside = apart <= radius
            if seen == _HIDDEN:
                inside &= apart > 0.55 * radius
            out[row, inside] = COLOURS[1 + place % joints % 254]
    return _signed(torch.from_numpy(out).permute(0, 3, 1, 2))


def legend(layout: Tensor) -> list[tuple[int, str]]:
    """The classes that a layout holds, in order, and the colour of each as a page writes it."""
    return [(n, "#" + COLOURS[n].tobytes().hex()) for n in np.unique(layout.numpy()).tolist()]


def _signed(values: Tensor) -> Tensor:
    return values.float() / 127.5 - 1
