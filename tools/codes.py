"""The picture of docs/latents.md: digits, what comes back of them, and what two models of their codes draw.

python tools/codes.py FOLDER            runs in FOLDER, the picture in docs/images/codes.png; minutes on two cores
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import mezzotint as mz
from mezzotint.autoencoders import Encoded
from mezzotint.cli import main
from mezzotint.core.rng import Rng
from mezzotint.data import Digits
from mezzotint.samplers import Sampling
from mezzotint.training.pictures import grid, save_png

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "codes.png"
TRAINED = (
    ("vq", ["--autoencoder", "vq", "--images", "25k", "--set", "training.batch=32", "model.down=1", "model.vocab=64"]),
    ("kl", ["--autoencoder", "kl", "--images", "25k", "--set", "training.batch=32", "model.down=1"]),
    ("masked", ["--codes", "{home}/vq", "--images", "60k", "--width", "64"]),
    ("real", ["--codes", "{home}/kl", "--images", "40k"]),
)


def run(home: Path) -> None:
    """Train what is not there yet, and draw the sheet: a row each of digits, VQ, KL, and samples of both models."""
    for name, words in TRAINED:
        if not (home / name / "model").is_dir():
            words = [word.replace("{home}", str(home)) for word in words]
            if main(["train", "digits", "--out", str(home / name), *words]):
                raise SystemExit(f"{name} was not trained")
    held = Digits().held_out()
    labels = torch.arange(10)
    first = [int((torch.from_numpy(held.labels) == label).nonzero()[0]) for label in labels.tolist()]
    x, rows = held[first][0], []
    for kind, name in (("vq", "masked"), ("kl", "real")):
        data, model = Encoded.of(Digits(), home / kind), mz.load(home / name)
        sampler = mz.build(mz.core.config.load(home / name / "config.yaml")["training"]["sampler"])
        drawn = Sampling(sampler, model, decode=data.decode)(mz.Condition(label=labels), Rng(range(10)))
        rows.append((data.decode(data.encode(x)), drawn))
    (vq, masked), (kl, real) = rows
    save_png(PICTURE, grid(torch.cat([x, vq, kl, masked, real]), 10, 5))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
