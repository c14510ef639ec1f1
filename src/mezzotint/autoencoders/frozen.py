"""A trained autoencoder in its folder: known by a hash, opened when it is first asked, and never trained further.

The hash is of what decides a code and a picture: the weights, by their own SHA-256, and the config of the model. So a
run that has gone on is another autoencoder, and one that was copied is the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.core.config import dumps
from mezzotint.core.distribution import Categorical
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.store import WEIGHTS, load_model, model_config, model_folder, settled, sha256

ENTRIES, MOST, LEAST = 2**16, 64, 8
"""About so many numbers are asked of a network at once, in pieces of so many samples at most and at least."""


def digest(folder: str) -> str:
    """The SHA-256 of an autoencoder: of the hash of its weights and the config of its model.

    Raises:
        Refusal: there is no run or model folder, or no finished model in it.
    """

    def read() -> str:
        said = dumps({"model": model_config(folder)["model"], "weights": sha256(model_folder(folder) / WEIGHTS)})
        return hashlib.sha256(said.encode()).hexdigest()

    return settled(folder, read)


@lru_cache(maxsize=4)
def _opened(folder: str, hashed: str) -> Autoencoder:
    """The autoencoder of a folder, once for all data sets of one process; the hash is part of the key."""
    made = load_model(folder)
    if not isinstance(made, Autoencoder):
        raise Refusal(
            f"{folder!r} holds a {type(made).__name__}, which is no autoencoder; mezzotint train PICTURES "
            "--autoencoder vq trains one"
        )
    if digest(folder) != hashed:
        raise Refusal(f"the autoencoder in {folder!r} was replaced while it was read; try again")
    return made


@dataclass(frozen=True)
class Frozen:
    """An autoencoder by its folder.

    Arguments:
        folder: of a run or a model.
        sha256: that it must have (:func:`digest`); None: whichever is there.
    """

    folder: str
    sha256: str | None = None

    def found(self) -> str:
        """Its hash, as it lies there now; refused where another is recorded."""
        if not Path(self.folder).is_dir():
            raise Refusal(
                f"there is no autoencoder {self.folder!r}: train it first (mezzotint train PICTURES --autoencoder vq), "
                "or say where it is now by the setting folder of autoencoders.Encoded (--set data.folder=...)"
            )
        now = digest(self.folder)
        if self.sha256 not in (None, now):
            raise Refusal(
                f"the autoencoder in {self.folder!r} has the SHA-256 {now[:12]}..., but the codes are those of "
                f"{str(self.sha256)[:12]}...: it was trained further, is damaged or is another, and its codes mean "
                "something else; bring back the one that was used"
            )
        return now

    def open(self) -> Autoencoder:
        """The autoencoder, frozen, on the CPU."""
        return _opened(str(Path(self.folder).resolve()), self.found())


def piece(shape: tuple[int, ...]) -> int:
    """How many samples of a shape are asked at once."""
    fit = ENTRIES // math.prod(shape)
    return max(LEAST, min(MOST, 1 << max(0, fit.bit_length() - 1)))


def pieces(ask: Callable[[Tensor, slice], Tensor], x: Tensor, size: int) -> Tensor:
    """What ``ask`` answers for x (B, ...), asked ``size`` rows at a time, the last ones filled up.

    So an answer is the same to the last bit however many are asked for beside it.
    """

    def answers() -> Iterator[Tensor]:
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            some = x[rows]
            full = torch.cat([some, some[-1:].expand(size - len(some), *some.shape[1:])]) if len(some) < size else some
            yield ask(full, rows)[: len(some)]

    return torch.cat(list(answers()))


@torch.no_grad()
def encoded(machine: Autoencoder, x: Tensor, rng: Rng | None = None) -> Tensor:
    """The codes of x (B, *shape), on the CPU: int64 (B, *latent), or float32.

    Arguments:
        machine: the autoencoder.
        x: samples.
        rng: a key each, to draw the code from its law; None: the mean of the law, of symbols the most likely ones.
    """
    size = piece(tuple(x.shape[1:]))

    def ask(some: Tensor, rows: slice) -> Tensor:
        law = machine.encode(some.to(machine.device))
        if rng is not None:
            keys = rng[rows]
            filled = [*range(len(keys)), *[len(keys) - 1] * (len(some) - len(keys))]
            return law.sample(keys[filled])
        return law.mean.argmax(-1) if isinstance(law, Categorical) else law.mean

    if not len(x):
        return torch.zeros(0, *machine.latent, dtype=torch.float32 if machine.vocab is None else torch.int64)
    z = pieces(ask, x, size).cpu()
    return z.float() if machine.vocab is None else z.long()


@torch.no_grad()
def decoded(machine: Autoencoder, z: Tensor) -> Tensor:
    """The samples (B, *shape) that codes (B, *latent) stand for, float32, on the CPU."""
    if not len(z):
        return torch.zeros(0, *machine.shape)
    return pieces(lambda some, _: machine.decode(some.to(machine.device)), z, piece(machine.shape)).float().cpu()
