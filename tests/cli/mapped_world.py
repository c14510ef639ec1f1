"""What tests of maps on the command line share: models, maps in files, and what the sampler draws without a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import mezzotint as mz
from mezzotint.conditions import Classes, Encoder, Layout
from mezzotint.core import Condition, Rng
from mezzotint.core.store import save_model
from mezzotint.data import Palette
from mezzotint.denoiser import Chunked, Preconditioned
from mezzotint.guidance import CFG
from mezzotint.networks import UNet
from mezzotint.processes import Cosine
from mezzotint.samplers import Euler
from mezzotint.training.pictures import pixels

Command = Callable[..., Any]
Bytes = NDArray[np.uint8]
STEPS, ROWS = 2, 4
NAMES = ("background", "red", "yellow", "green")
PALETTE = {"green": [10, 200, 30], "unsaid": [255, 255, 255], "background": "#202020", "red": [220, 20, 60]}


def model(silent: bool = False, classes: bool = False, **layout: Any) -> Preconditioned:
    """A model of layouts, untrained; its weights say something unless it is silent."""
    torch.manual_seed(3)
    part = Layout(4, 6, **{"port": "decoder", **layout})
    port: dict[str, Any] = {"decoder_maps": part.width, "hidden": 8} if part.port == "decoder" else {"maps": part.width}
    network = UNet((3, 16, 16), width=8, vector=8 if classes else None, attention=(), **port)
    part.null_trained.fill_(True)  # as after a training with dropout
    parts = {"layout": part, **({"label": Classes(2, 8)} if classes else {})}
    made = Preconditioned(network, Cosine(), Encoder(**parts), prediction="v")
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.0 if silent else 0.15 * torch.randn_like(weight))
    return made.eval().requires_grad_(False)


def save_models(home: Path) -> None:
    """Models of layouts by what they know, and ``plain`` that knows none."""
    for name, made in {
        "named": model(things=NAMES),
        "numbered": model(port="input"),
        "edges": model(edges=True, things=NAMES),
        "classes": model(classes=True),
        "silent": model(silent=True),
        "plain": Preconditioned(
            UNet((3, 16, 16), width=8, vector=8, attention=()), Cosine(), Encoder(label=Classes(2, 8))
        ),
    }.items():
        save_model(home / name, made, sampler=Euler(STEPS))


def save(path: Path, values: NDArray[Any]) -> Path:
    Image.fromarray(values).save(path)
    return path


def layout() -> Bytes:
    """A red patch and a green one that touch, and one corner."""
    values = np.zeros((16, 16), np.uint8)
    values[3:9, 2:8] = 1
    values[6:12, 8:13] = 3
    values[15, 15] = 3
    return values


def other() -> Bytes:
    """The same but for a patch in the upper right."""
    values = layout()
    values[1:5, 10:15] = 1
    return values


def save_files(folder: Path) -> None:
    """``is.png`` and ``after.png`` of numbers, the first in colours, and the palette of these."""
    values = layout()
    save(folder / "is.png", values)
    save(folder / "after.png", other())
    colours = np.zeros((256, 3), np.uint8)
    colours[[0, 1, 3]] = (32, 32, 32), (220, 20, 60), (10, 200, 30)
    save(folder / "colours.png", colours[values])
    save(folder / "usual.png", Palette.usual(NAMES).painted(values))
    (folder / "palette.json").write_text(json.dumps(PALETTE))
    save(folder / "ids.png", values)


def look(path: Path) -> Bytes:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def truth(run: Path, cond: Condition, seeds: list[int], guided: float = 1) -> Bytes:
    """What the sampler draws of a condition, without a command."""
    made: Any = Chunked(mz.load(run), ROWS)
    made = made if guided == 1 else CFG(made, guided)
    return pixels(Euler(STEPS)(made, cond, rng=Rng(seeds)))


def told(*maps: Bytes, times: int = 1, instances: torch.Tensor | None = None) -> Condition:
    cond = Condition(layout=torch.from_numpy(np.stack([*maps] * times)))
    return cond if instances is None else cond | Condition(**{"layout.instances": instances[None]})


def drawn(command: Command, *words: Any) -> Bytes:
    """The pictures of a command, (N, H, W, C)."""
    out = Path(words[words.index("--layout") + 1]).parent / "drawn.npz"
    said = command(*words, "--rows", ROWS, "--npz", out, "--overwrite")
    assert said.code == 0, said.err
    with np.load(out) as found:
        images: Bytes = found["images"]
        return images
