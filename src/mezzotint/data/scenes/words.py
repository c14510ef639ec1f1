"""The vocabulary of scenes: what there is, by name and by number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FORMS = ("circle", "square", "triangle", "star", "cross", "ring", "figure")
COLOURS = ("red", "yellow", "green", "cyan", "blue", "purple")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "checked", "dotted")
PLACES = (
    "top left", "top", "top right",
    "left", "centre", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
GROUNDS = ("plain", "shaded", "cloudy", "tiled")
TINTS = ("grey", "sand", "slate")
RELATIONS = ("none", "left of", "right of", "above", "below")
JOINTS = (
    "head", "neck", "hip",
    "left elbow", "left hand", "right elbow", "right hand",
    "left knee", "left foot", "right knee", "right foot",
)  # fmt: skip
"""Left and right are those of who looks at the picture."""
FIGURE = FORMS.index("figure")
PRIVATE = len(TEXTURES)
"""The number of a subject's own texture, which no other object has."""

PALETTE: NDArray[np.float32] = np.array(
    [
        [0.92, 0.16, 0.14],
        [0.96, 0.88, 0.10],
        [0.16, 0.72, 0.20],
        [0.08, 0.82, 0.88],
        [0.16, 0.30, 0.96],
        [0.76, 0.16, 0.86],
    ],
    dtype=np.float32,
)
"""Colours (6, 3) in [0, 1]; a surface is its colour times how much light there is."""
TINTED: NDArray[np.float32] = np.array([[1.0, 1.0, 1.0], [1.0, 0.94, 0.84], [0.85, 0.93, 1.0]], dtype=np.float32)
"""Tints (3, 3) of backgrounds, nearly grey, so that no background has the colour of an object."""
