"""A trained model made ready to draw: its weights by hash, its classes by name, its usual sampler.

What a picture is depends on the weights, the settings and its own seed only, to the last bit: networks are asked in
pieces of one size (:class:`mezzotint.denoiser.Chunked`), the last one filled up, so that a picture does not feel how
many are drawn beside it, in which batches, or by how many processes.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.cascades.folder import families
from mezzotint.cascades.stored import usual
from mezzotint.cli.console import printable
from mezzotint.core import ranks
from mezzotint.core.blueprint import PARAMETERS
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.rng import Rng
from mezzotint.core.stop import Stopped, poll
from mezzotint.core.store import WEIGHTS, load_model, model_config, model_folder, settled, sha256
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers import Sampler
from mezzotint.training import Run, reconstruct
from mezzotint.training.preview import quiet


@dataclass(frozen=True)
class Model:
    """A model with what is known of it.

    Arguments:
        denoiser: frozen, on its device.
        path: as the person wrote it.
        sha256: of the weights file, or of the reconstructed weights.
        classes: names by label; () for a model without classes.
        reads: whether it is told captions.
        captions: of a few held-out pictures, for whoever names none; () where none are recorded.
        sampler: its usual one.
        average: the relative length of the reconstructed average, or None for the exported one.
        images: seen when the average was taken, or None.
        more: families that it is told of and no flag can say, such as layouts.
        size: shape of one picture, where another is asked for.
    """

    denoiser: Denoiser
    path: str
    sha256: str
    classes: tuple[str, ...]
    sampler: Sampler
    average: float | None = None
    images: int | None = None
    reads: bool = False
    captions: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    size: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one picture."""
        return self.size or tuple(self.denoiser.shape)

    def remarks(self, texts: Sequence[str]) -> list[str]:
        """Sentences about what of these texts does not reach the model."""
        encoder: Any = getattr(self.denoiser, "encoder", None)
        said = getattr(encoder["caption"], "remarks", None) if self.reads else None
        return [] if said is None else list(said(texts))

    def record(self) -> dict[str, Any]:
        """What a picture says of its model."""
        return {"path": self.path, "sha256": self.sha256, "average": self.average, "images": self.images}


def load(
    path: str,
    average: float | None = None,
    images: int | None = None,
    device: str = "auto",
    parameters: int = PARAMETERS,
) -> Model:
    """Read the model of a run or model folder; with ``average``, reconstruct that length from the run's snapshots."""

    def read() -> tuple[Any, dict[str, Any], str]:
        made = load_model(path, parameters=parameters)
        return made, model_config(path), sha256(model_folder(path) / WEIGHTS)  # checked against the manifest by now

    denoiser, found, digest = settled(path, read)
    if isinstance(denoiser, Autoencoder):
        raise Refusal(
            f"{path!r} holds an autoencoder, which draws nothing by itself: train a model of its codes with mezzotint "
            f"train PICTURES --codes {shlex.quote(path)}, and draw from that"
        )
    if not isinstance(denoiser, Denoiser):
        raise Refusal(f"{path!r} holds a {type(denoiser).__name__}, which does not draw pictures")
    if average is not None:
        run = Run.open(path)
        reconstruct(run, average, denoiser, images)
        if images is None:
            images = next(seen for seen in run.latest() if run.whole(seen))
        digest = _fingerprint(denoiser)
    else:
        images = None
    sampler = usual(path, found, parameters)
    classes = classes_of(denoiser, found.get("classes") or ())
    captions = tuple(found.get("captions") or ())
    denoiser.to(place(device))
    known = families(denoiser)
    more = tuple(family for family in known if family not in ("label", "caption"))
    return Model(denoiser, path, digest, classes, sampler, average, images, "caption" in known, captions, more)


def _fingerprint(model: torch.nn.Module) -> str:
    from mezzotint.metrics.pictures import fingerprint

    return fingerprint(*(value for _, value in sorted(model.state_dict().items())))


def classes_of(denoiser: Denoiser, names: Any) -> tuple[str, ...]:
    """Class names, as many as the model knows labels; numbers where a name is missing."""
    known = families(denoiser)
    if "label" not in known:
        return ()
    encoder: Any = getattr(denoiser, "encoder", None)
    count = int(getattr(encoder["label"], "count", len(names)))
    return tuple(printable(str(names[i])) if i < len(names) else str(i) for i in range(count))


def place(name: str) -> torch.device:
    """The device meant by ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    if ranks.count() > 1 and name in ("auto", "cuda"):
        return ranks.own_device()
    if ranks.count() > 1 and name != "cpu":
        raise Refusal(f"--device {name} is one device, but there are {ranks.count()} processes; leave it out")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise Refusal(f"there is no device {name!r} here that torch can use; take --device cpu") from None
    return torch.device(name)


def rows_of(denoiser: Denoiser, shape: Sequence[int] = ()) -> int:
    """The usual number of rows that a network is asked at once: many small pictures, eight large ones.

    ``shape`` is of one picture, where it is not the denoiser's.

    A power of two, so that nothing is left over where a machine takes rows in blocks, and large enough to keep the
    device busy; a piece is paid whole, so one picture costs as much as all of it.
    """
    return rows_at(denoiser.device, shape or denoiser.shape)


def rows_at(device: torch.device, shape: Sequence[int]) -> int:
    """The same on a device, for pictures of a shape."""
    entries, most = (2**14, 64) if device.type == "cpu" else (2**19, 256)
    fit = entries // math.prod(shape)
    return max(8, min(most, 1 << max(0, fit.bit_length() - 1)))


def draw(
    pipeline: Pipeline, cond: Condition, rng: Rng, batch: int, meter: Callable[[int, int], None], rows: int = 1
) -> Tensor | None:
    """Pictures (N, C, H, W), or symbols (N, *shape), on the CPU of the first process, None on the others.

    Whole pieces of ``rows`` are dealt to the processes and drawn about ``batch`` at a time, fewer where all of them
    would not get some; the last one is filled up with its last row. So a piece holds the same rows whoever draws it.

    Arguments:
        pipeline: what makes them.
        cond: one row a picture, or NONE.
        rng: one key a picture.
        batch: pictures at once in each process, at most.
        meter: told (done, total) after every batch.
        rows: of a piece.
    """
    if batch < 1 or rows < 1:
        raise Refusal(f"--batch is {batch} and --rows {rows}, but a batch and a piece hold at least one picture")
    total, count, rank = len(rng), ranks.count(), ranks.rank()
    pieces = -(-total // rows)
    each = min(max(1, batch // rows), -(-pieces // count)) * rows  # pictures of one process in one turn
    made = []
    for start in range(0, total, each * count):
        _go_on()
        first = start + rank * each
        end = min(first + each, pieces * rows)
        index = torch.arange(first, max(first, end)).clamp(max=total - 1)
        x = torch.zeros(0)
        if len(index):
            with quiet():  # whoever asks has said them
                x = pipeline(cond[index] if cond else cond, rng[index]).cpu()
            x = x.float() if x.is_floating_point() else x
        made += _handed(x, each, start, total)
        meter(min(start + each * count, total), total)
    if not ranks.main():
        return None
    x = torch.cat(made)[:total]
    if not x.isfinite().all():
        raise Refusal(
            "the model drew pictures that are not finite; its training failed, or the guidance is far too strong"
        )
    return x


def _go_on() -> None:
    """Stop, all processes at the same turn, where any of them was asked to."""
    heard = 0
    try:
        poll()
    except Stopped as stop:
        heard = stop.signal
    heard = int(ranks.largest(torch.tensor(int(heard))))
    if heard:
        raise Stopped(heard)


def _handed(x: Tensor, each: int, start: int, total: int) -> list[Tensor]:
    """What all processes drew in one turn, in order, on the first of them; what fills up is left out."""
    if ranks.count() == 1:
        return [x]
    shape = torch.tensor(x.shape[1:] if len(x) else [0] * 8)
    room = torch.zeros(9, dtype=torch.int64)
    room[: len(shape)] = shape
    room[8] = len(x) > 0 and not x.is_floating_point()
    *sizes, whole = ranks.largest(room).tolist()
    full = torch.zeros(each, *[n for n in sizes if n], dtype=torch.int64 if whole else torch.float32)
    if len(x):
        full[: len(x)] = x
    found = ranks.gathered(full) or []
    return [part[: max(0, min(each, total - start - place * each))] for place, part in enumerate(found)]


def versions() -> dict[str, str]:
    """What the arithmetic depends on besides the weights."""
    from mezzotint import __version__

    return {"mezzotint": __version__, "torch": torch.__version__}


def exists(path: str | Path, overwrite: bool) -> Path:
    """A place to write a file; one that is taken is refused unless it may be replaced."""
    path = Path(path)
    if path.is_dir():
        raise Refusal(f"{str(path)!r} is a folder; name a file")
    if path.exists() and not overwrite:
        raise Refusal(f"{str(path)!r} exists already; name another file, or pass --overwrite to replace it")
    if ranks.main():
        path.parent.mkdir(parents=True, exist_ok=True)
    return path
