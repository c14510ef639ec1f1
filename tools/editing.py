"""Draw docs/images/symbols-edit.png: a digit edited by a short chain of autoregressive models of its codes.

python tools/editing.py            # trains an autoencoder and the chain first, some minutes
python tools/editing.py RUN        # RUN is a run that it left with --keep
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from mezzotint.cli import main as mezzotint  # noqa: E402
from mezzotint.data import Digits  # noqa: E402
from mezzotint.training.pictures import pixels  # noqa: E402

CODES = ("model.down=1", "model.vocab=64")
DIGIT = 109  # of the held-out ones: the three of docs/editing.md
EDITS: tuple[tuple[str, ...], ...] = (
    ("--mask", "top.png", "--dilate", "0", "--label", "3,8,5,9", "--seeds", "0-1"),
    ("--strength", "0.67", "--label", "3,8,5,9", "--seeds", "0"),
)


def trained(folder: Path, images: str) -> Path:
    """A run of a chain of three stages on the codes of digits, one for 2 x 2 pixels; the autoencoder's is beside it."""
    run(["train", "digits", "--autoencoder", "vq", "--out", folder / "vq", "--images", "30k", "--set", *CODES])
    words = ["train", "digits", "--codes", folder / "vq", "--model", "chain", "--out", folder / "chain"]
    run([*words, "--images", images, "--width", "64"])
    return folder / "chain"


def run(words: list[object]) -> None:
    """The command, as a shell would call it."""
    code = mezzotint([str(word) for word in words])
    if code:
        raise SystemExit(code)


def stacked(sheets: list[Image.Image]) -> Image.Image:
    """Sheets below each other."""
    across = max(sheet.width for sheet in sheets)
    paper = Image.new("RGB", (across, sum(sheet.height for sheet in sheets)), (32, 32, 32))
    top = 0
    for sheet in sheets:
        paper.paste(sheet, (0, top))
        top += sheet.height
    return paper


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw docs/images/symbols-edit.png.")
    parser.add_argument("run", nargs="?", type=Path, help="a chain of codes of digits; it is trained if left out")
    parser.add_argument("--images", default="40k", help="how long to train")
    parser.add_argument("--keep", type=Path, help="a folder for the run")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "symbols-edit.png", help="the picture")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if given.run is None and given.keep is not None:
            given.keep.mkdir(parents=True, exist_ok=True)
        model = given.run or trained(given.keep or folder, given.images)
        Image.fromarray(pixels(Digits(split="held_out")[[DIGIT]][0])[0, ..., 0]).save(folder / "three.png")
        mask = np.zeros((8, 8), np.uint8)
        mask[:4] = 255
        Image.fromarray(mask).save(folder / "top.png")
        sheets = []
        for number, words in enumerate(EDITS):
            out = folder / f"{number}.png"
            said = [folder / word if word == "top.png" else word for word in words]
            run(["edit", model, folder / "three.png", *said, "--out", out])
            sheets.append(Image.open(out).convert("RGB"))
        stacked(sheets).save(given.out)


if __name__ == "__main__":
    main()
