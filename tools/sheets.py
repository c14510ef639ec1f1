"""Paint the pictures of docs/scenes.md: what scenes look like, what is told of them, styles, a subject, a video.

python tools/sheets.py [--out docs/images]
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import Tensor

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from mezzotint.core.text import spoken  # noqa: E402
from mezzotint.data import Scenes, SceneVideos  # noqa: E402
from mezzotint.data.scenes.forms import BONES  # noqa: E402
from mezzotint.data.scenes.scenes import TELLS  # noqa: E402
from mezzotint.data.scenes.styles import STYLES  # noqa: E402
from mezzotint.data.scenes.words import PALETTE  # noqa: E402

ROWS = [4, 7, 11, 16, 22]


def shown(x: Tensor) -> np.ndarray:
    """A picture (3, H, W) in [-1, 1] as matplotlib has it."""
    return ((x + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy()


def coloured(layout: Tensor) -> np.ndarray:
    """A map of colours in its own palette, on light grey."""
    return np.concatenate([[[0.93, 0.93, 0.93]], PALETTE])[layout.long().numpy()]


def grid(rows: int, columns: int, cell: float = 1.35, below: float = 0.0) -> tuple[Any, Any]:
    figure, axes = plt.subplots(rows, columns, figsize=(cell * columns, (cell + below) * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    return figure, axes


def said(axis: Any, text: str, width: int, size: float = 6.5) -> None:
    axis.set_xlabel("\n".join(textwrap.wrap(text, width)), fontsize=size, labelpad=3)


def pictures() -> Any:
    """Scenes at 64 pixels with what is said of them."""
    x, told = Scenes(size=64, tells=("caption",))[:24]
    figure, axes = grid(3, 8, 1.3, 0.95)
    for axis, picture, caption in zip(axes.flat, x, spoken(told["caption"]), strict=True):
        axis.imshow(shown(picture))
        said(axis, caption, 28, 6.0)
    return figure


def conditions() -> Any:
    """Some scenes with everything that is a picture or can be drawn into one."""
    x, told = Scenes(size=96, tells=tuple(TELLS))[ROWS]
    names = ("picture", "boxes, keypoints", "layout", "instances", "edges", "depth", "mask", "low")
    figure, axes = grid(len(ROWS), len(names))
    for row, line in enumerate(axes):
        maps: list[tuple[np.ndarray, dict[str, Any]]] = [
            (shown(x[row]), {}),
            (shown(x[row]) * 0.5 + 0.5, {}),
            (coloured(told["layout"][row]), {}),
            (told["layout.instances"][row].numpy(), {"cmap": "tab10", "vmin": 0, "vmax": 9}),
            (1 - told["layout.edges"][row, 0].float().numpy(), {"cmap": "gray", "vmin": 0, "vmax": 1}),
            (told["depth"][row, 0].numpy(), {"cmap": "viridis_r", "vmin": 0, "vmax": 1}),
            (told["mask"][row, 0].float().numpy(), {"cmap": "gray", "vmin": 0, "vmax": 1}),
            (shown(told["low"][row]), {}),
        ]
        for axis, name, (picture, how) in zip(line, names, maps, strict=True):
            axis.imshow(picture, interpolation="nearest", **how)
            if row == 0:
                axis.set_title(name, fontsize=8)
        drawn(line[1], told["boxes"][row], told["keypoints"][row], 96)
    return figure


def drawn(axis: Any, boxes: Tensor, keypoints: Tensor, side: int) -> None:
    """Boxes, and the bones of figures, over a picture whose first pixel has its centre at (0, 0)."""
    for left, top, right, bottom in (side * boxes - 0.5).tolist():
        if right > left:
            axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, lw=0.8, ec="black"))
    for joints in keypoints:
        if joints[0, 2] > 0:
            places = (side * joints[:, :2] - 0.5).numpy()
            for a, b in (*BONES, (0, 1)):
                axis.plot(*places[[a, b]].T, lw=0.8, color="black")
            seen = joints[:, 2].numpy() == 2
            axis.scatter(*places[seen].T, s=5, color="black", zorder=3)
            axis.scatter(*places[~seen].T, s=6, facecolor="white", edgecolor="black", lw=0.6, zorder=3)


def styles() -> Any:
    """The same scenes in every style, and those of a private subject."""
    figure, axes = grid(len(STYLES) + 1, 8, 1.1)
    sets = [(style, Scenes(size=64, style=style)) for style in STYLES] + [("subject", Scenes(size=64, subject="zwx"))]
    for line, (name, data) in zip(axes, sets, strict=True):
        for axis, picture in zip(line, data[:8][0], strict=True):
            axis.imshow(shown(picture))
        line[0].set_ylabel(name, fontsize=8)
    return figure


def video() -> Any:
    """Frames, and what goes where: flow as arrows, what is about to be hidden in white."""
    data = SceneVideos(scenes=Scenes(size=96), frames=5, flow=True)
    x, told = data[[14, 7]]
    figure, axes = grid(4, 5)
    for row in range(2):
        for t in range(5):
            axes[2 * row, t].imshow(shown(x[row, :, t]))
            if t == 4:
                axes[2 * row + 1, t].set_visible(False)
                continue
            axis, flow = axes[2 * row + 1, t], told["flow.forward"][row, :, t].numpy()
            hidden = told["flow.forward_hidden"][row, 0, t].numpy()
            faint = shown(x[row, :, t]) * 0.4 + 0.3
            faint[hidden] = 1.0
            axis.imshow(faint)
            i = np.arange(4, 96, 8)
            axis.quiver(i, i, flow[0][np.ix_(i, i)], flow[1][np.ix_(i, i)], angles="xy", scale_units="xy", scale=0.6,
                        width=0.006, color="black")  # fmt: skip
    return figure


SHEETS: dict[str, Callable[[], Any]] = {
    "scenes": pictures,
    "scenes-conditions": conditions,
    "scenes-styles": styles,
    "scenes-video": video,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", choices=SHEETS, nargs="+", default=list(SHEETS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only:
        figure = SHEETS[name]()
        figure.tight_layout(pad=0.3, h_pad=0.5, w_pad=0.3)
        figure.savefig(given.out / f"{name}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)
        print(given.out / f"{name}.png")


if __name__ == "__main__":
    main()
