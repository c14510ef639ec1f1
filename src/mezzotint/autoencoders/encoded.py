"""The codes of a data set: what a latent model is trained on, and how its samples become pictures again.

A latent model is a model of any other data (Latent Diffusion, arXiv 2112.10752, section 3.2; VQGAN, arXiv 2012.09841,
section 3.2): the data set knows what a code stands for, as a set of texts knows its letters, and nobody else has to.
The autoencoder is not the model's: it is neither trained nor saved with it, and what a config keeps of it is where it
lies and its hash.
"""

from __future__ import annotations

import dataclasses
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.autoencoders.frozen import Frozen, decoded, encoded, piece
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.cached import Cached
from mezzotint.data.data import Data, Rows
from mezzotint.data.digits import Digits
from mezzotint.data.wrapped import Wrapped

_BYTES = 256  # symbols that a cache keeps as a byte each
_MANY = 1024  # items that are encoded in one go


@dataclass(frozen=True)
class Encoded(Wrapped):
    """The codes z (B, *latent) of another set's samples, by a frozen autoencoder; what is told is the source's.

    Symbols are int64 from 0 to ``vocab - 1``; real codes are float32, by default the mean of their law. What lies on
    the grid of the pictures, such as a layout, is told as it is. Make it by :meth:`of`, which looks into the folder;
    the constructor opens no file, so a config may name an autoencoder that is trained later. Each item is encoded once
    and kept, in memory or in a cache.

    Arguments:
        source: pictures or other real samples, of the shape that the autoencoder takes.
        folder: run or model folder of the autoencoder.
        latent: shape of one code.
        vocab: how many symbols there are; None: codes are real numbers.
        sha256: of the autoencoder (:func:`~mezzotint.autoencoders.frozen.digest`); None: whichever is there.
        cache: folder of caches, as ``data.Cached`` has it, named after the source, its pictures and the autoencoder;
            None: codes are kept in memory.
        draw: seed of one draw a picture from the law of its code, once and for all; None: the mean of the law.
    """

    source: Data
    folder: str
    latent: tuple[int, ...]
    vocab: int | None = None
    sha256: str | None = None
    cache: str | None = None
    draw: int | None = None

    @classmethod
    def example(cls) -> Encoded:
        """Of an autoencoder that is not there, which nobody minds before a code is read."""
        return cls(Digits(), "runs/vq", (4, 4), 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("folder", "cache"):
            path = getattr(self, name)
            if path is not None:
                if not isinstance(path, str | os.PathLike):
                    raise Refusal(f"{name} of autoencoders.Encoded is a path, not {path!r:.80}")
                object.__setattr__(self, name, os.fspath(path))
        latent = tuple(self.latent) if isinstance(self.latent, tuple | list) else ()
        if not latent or not all(type(side) is int and side > 0 for side in latent):
            raise Refusal(f"latent is the shape of a code, such as [7, 7], not {self.latent!r:.80}")
        object.__setattr__(self, "latent", latent)
        if self.vocab is not None and (type(self.vocab) is not int or self.vocab < 2):
            raise Refusal(f"vocab is a number of symbols from 2 on, or None for real codes, not {self.vocab!r:.80}")
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", str(self.sha256)):
            raise Refusal(f"sha256 of autoencoders.Encoded is 64 hexadecimal digits, not {self.sha256!r:.80}")
        if self.draw is not None and type(self.draw) is not int:
            raise Refusal(f"draw is the seed of a draw of real codes, a whole number or None, not {self.draw!r:.80}")
        if self.draw is not None and self.vocab is not None:
            raise Refusal(
                "draw is the seed of a draw of real codes, and these are symbols, which have no law; leave it out"
            )

    @classmethod
    def of(
        cls, source: Data, folder: str | os.PathLike[str], cache: str | None = None, draw: int | None = None
    ) -> Self:
        """The codes by the autoencoder of a folder, with its hash, shape of codes and symbols as they are found there.

        Raises:
            Refusal: there is no autoencoder, or it takes samples of another shape.
        """
        folder = os.fspath(folder)
        frozen = Frozen(folder)
        hashed, machine = frozen.found(), frozen.open()
        return cls(source, folder, tuple(machine.latent), machine.vocab, hashed, cache, draw).check()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.latent

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.latent,)

    @property
    def buckets(self) -> Rows | None:
        return None

    @cached_property
    def machine(self) -> Autoencoder:
        """The autoencoder, opened and compared with what is recorded of it."""
        found = Frozen(self.folder, self.sha256).open()
        if (tuple(found.latent), found.vocab) != (self.latent, self.vocab):
            said, there = _kind(self.latent, self.vocab), _kind(tuple(found.latent), found.vocab)
            raise Refusal(
                f"the autoencoder in {self.folder!r} makes {there}, not {said} as these data were described: it is "
                "another one; Encoded.of(source, folder) finds what it makes"
            )
        return found

    def check(self) -> Self:
        """The same data set, refused where the autoencoder cannot encode the source; its pictures are looked at."""
        name, where, shape = type(self.source).__name__, repr(self.folder), tuple(self.machine.shape)
        if self.source.vocab is not None:
            raise Refusal(f"codes are made of real samples such as pictures, and those of data.{name} are symbols")
        if self.source.buckets is not None:
            raise Refusal(
                f"the pictures of data.{name} have several sizes, and the autoencoder in {where} takes one: take one "
                "size with data.Bucket"
            )
        if tuple(self.source.shape) != shape:
            raise Refusal(
                f"the autoencoder in {where} takes samples of the shape {shape}, and those of data.{name} have "
                f"{tuple(self.source.shape)}: bring them to its size, or train one for them"
            )
        return self

    def encode(self, x: Tensor, rng: Rng | None = None) -> Tensor:
        """The codes (B, *latent) of samples of the source's kind (B, *source.shape), on the CPU.

        Arguments:
            x: of pictures in [-1, 1].
            rng: a key each, to draw codes from their law; None: its mean.
        """
        if tuple(x.shape[1:]) != tuple(self.machine.shape):
            raise Refusal(
                f"the autoencoder in {self.folder!r} takes samples of the shape {tuple(self.machine.shape)}, "
                f"not {tuple(x.shape[1:])}"
            )
        return encoded(self.machine, x, rng)

    def decode(self, z: Tensor, cond: Condition = NONE) -> Tensor:
        """The samples (B, *source.shape) that codes (B, *latent) stand for, on the CPU; of pictures, in [-1, 1].

        What a pipeline calls: ``samplers.Sampling(sampler, denoiser, decode=data.decode)``.
        """
        if tuple(z.shape[1:]) != self.latent:
            raise Refusal(f"codes of {self.folder!r} have the shape {self.latent}, not {tuple(z.shape[1:])}")
        if z.is_floating_point() == (self.vocab is not None):
            raise Refusal(f"codes of {self.folder!r} are {_kind(self.latent, self.vocab)}, not {z.dtype}")
        if self.vocab is not None and len(z) and not 0 <= int(z.min()) <= int(z.max()) < self.vocab:
            raise Refusal(
                f"codes of {self.folder!r} are 0 to {self.vocab - 1}, and these reach from {int(z.min())} to "
                f"{int(z.max())}"
            )
        x = decoded(self.machine, z)
        return x.clamp(-1, 1) if len(x.shape) == 4 else x

    def drawn(self, x: Tensor) -> Tensor | None:
        """Codes (B, *latent) as pictures (B, C, H, W) in [-1, 1]; None where the source has none."""
        made = self.decode(x)
        return made if made.ndim == 4 else self.source.drawn(made)  # no picture of the source is looked at

    def coded(self, x: Tensor) -> Tensor | None:
        """Pictures (B, C, H, W) in [-1, 1] as codes, the mean of their law; None where the source has none."""
        made = x if len(self.machine.shape) == 3 else self.source.coded(x)
        return None if made is None else self.encode(made)

    def spelt(self, x: Tensor) -> None:
        return None

    def read(self, rows: Rows) -> Tensor:
        _ = self._fits  # before a cache is believed
        if self._cached is None:
            return self._kept.read(rows)
        z = self._cached.read(rows)
        if self.vocab is None:
            return z
        return ((z + 1) * 127.5 if self.vocab <= _BYTES else z).round().long()

    def build(self, progress: Callable[[int, int], None] | None = None, device: torch.device | str = "cpu") -> Self:
        """Encode every item now, into the cache or the memory of this data set.

        Arguments:
            progress: called with how many are done and how many there are.
            device: where the autoencoder computes meanwhile; codes of another device may differ by rounding.
        """
        self.check().machine.to(device)
        try:
            if self._cached is not None:
                self._cached.build(progress)
            else:
                for start in range(0, len(self), _MANY):
                    self._kept.read(self._numbers[start : start + _MANY])
                    if progress is not None:
                        progress(min(start + _MANY, len(self)), len(self))
        finally:
            self.machine.to("cpu")
        return self

    @cached_property
    def _fits(self) -> bool:
        return self.check() is self

    @property
    def missing(self) -> int:
        """How many items are not encoded yet."""
        if self._cached is not None:
            return len(self) - self._cached.done
        return len(self) - self._kept.done

    @cached_property
    def _cached(self) -> Cached | None:
        if self.cache is None:
            return None
        return _Shelf(_Numbers(dataclasses.replace(self, sha256=self.hashed, cache=None)), self.cache)

    @cached_property
    def _kept(self) -> _Kept:
        return _Kept(self)

    @cached_property
    def hashed(self) -> str:
        """The hash of the autoencoder that is recorded, or of the one that is there."""
        return self.sha256 or Frozen(self.folder).found()

    def made(self, rows: Rows) -> Tensor:
        """The codes of these rows, encoded anew."""
        keys = None if self.draw is None else Rng([self.draw]).at("codes").repeat(len(rows)).at(torch.from_numpy(rows))
        size = piece(tuple(self.machine.shape))
        found = [
            encoded(
                self.machine, self.source.read(rows[at : at + size]), None if keys is None else keys[at : at + size]
            )
            for at in range(0, len(rows), size)
        ]
        return torch.cat(found) if found else encoded(self.machine, torch.zeros(0, *self.machine.shape))

    @cached_property
    def _moments(self) -> tuple[float, float]:
        train = self.sibling("train")
        return self._measured() if train is self else train._moments

    def _marks(self) -> Iterator[bytes]:
        yield repr((self.hashed, self.latent, self.vocab, self.draw)).encode()

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self)} | {"split": self.split}


@dataclass(frozen=True)
class _Numbers(Wrapped):
    """The same as plain numbers, which is what a cache keeps: symbol k as the shade of byte k, where bytes do."""

    source: Encoded

    @property
    def vocab(self) -> None:
        return None

    def read(self, rows: Rows) -> Tensor:
        z, bytes_do = self.source.made(rows).float(), (self.source.vocab or _BYTES + 1) <= _BYTES
        return z.div_(127.5).sub_(1.0) if bytes_do else z


class _Shelf(Cached):
    """A cache that is written more often: what is kept is small, and what it is made of is not."""

    @property
    def _many(self) -> int:
        return _MANY


class _Kept:
    """The codes of a split in memory; whoever asks for an item has those encoded that lie in one piece with it."""

    def __init__(self, data: Encoded) -> None:
        dtype = torch.float32 if data.vocab is None else torch.int64
        self._data, self._size, self._lock = data, piece(tuple(data.machine.shape)), threading.Lock()
        self._codes = torch.empty(len(data), *data.latent, dtype=dtype)
        self._there = np.zeros(-(-len(data) // self._size), dtype=bool)

    @property
    def done(self) -> int:
        """How many items are there."""
        return min(len(self._codes), int(self._there.sum()) * self._size)

    def read(self, rows: Rows) -> Tensor:
        asked = np.unique(np.asarray(rows) // self._size)
        with self._lock:
            for number in asked[~self._there[asked]].tolist():
                mine = np.arange(number * self._size, min((number + 1) * self._size, len(self._codes)))
                self._codes[mine] = self._data.made(mine)
                self._there[number] = True
        return self._codes[torch.from_numpy(np.asarray(rows))]


def _kind(latent: tuple[int, ...], vocab: int | None) -> str:
    return f"{'real numbers' if vocab is None else f'{vocab} symbols'} of the shape {latent}"
