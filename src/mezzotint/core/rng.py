"""Randomness as one value: a 64-bit key per sample, and draws that have names.

Sample k depends on seed k only. A key is never consumed: a draw of the same name under the same key gives the same
answer, however large the batch, whatever the rank, worker or order. New keys are made by walking a path
(``rng.at("noise", step)``), so two parts that name their draws cannot disturb each other.

A draw re-keys one counter-based generator (Philox-4x64, Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3") per row, on the CPU, normals in float32 and uniforms in float64; casting to a device or a precision comes
after, so every device starts from the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.batched import Batched

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NUMBER = 0xD1B54A32D192ED03  # sets integers in a path apart from names that hash to the same bits
_SPLIT = 0x8CB92BA72F3D8DD7
_MASK = (1 << 64) - 1
_FEW = 64
_ROWS = 48
Keys = NDArray[np.uint64]


def _mix(keys: Keys) -> Keys:
    """A bijection of 64-bit words in which every input bit moves every output bit (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        z = keys + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


@lru_cache(maxsize=4096)
def _named(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def _words(numbers: Iterable[int]) -> Keys:
    if isinstance(numbers, Tensor):
        whole: NDArray[np.int64] = numbers.detach().cpu().to(torch.int64).numpy()
        return whole.reshape(-1).view(np.uint64)
    return np.array([int(n) & _MASK for n in numbers], dtype=np.uint64)


def _high(a: Keys, b: int) -> Keys:
    """The upper 64 bits of the 128-bit product of ``a`` and ``b``."""
    low, b_low, b_high = np.uint64(0xFFFFFFFF), np.uint64(b & 0xFFFFFFFF), np.uint64(b >> 32)
    half = np.uint64(32)
    a_low, a_high = a & low, a >> half
    carry = (a_low * b_low) >> half
    middle = a_high * b_low + carry
    product: Keys = a_high * b_high + (middle >> half) + ((a_low * b_high + (middle & low)) >> half)
    return product


def _philox(keys: Keys, word: int, count: int) -> Keys:
    """The first ``count`` words of Philox-4x64-10 under the keys (key, word): (B,) -> (B, count).

    Bit for bit what ``numpy.random.Philox(key=(key, word))`` gives, whose first block has counter 1.
    """
    blocks = max(1, -(-count // 4))
    shape = (len(keys), blocks)
    with np.errstate(over="ignore"):
        k0 = np.broadcast_to(keys[:, None], shape).copy()
        k1 = np.full(shape, word, dtype=np.uint64)
        c0 = np.broadcast_to(np.arange(1, blocks + 1, dtype=np.uint64), shape)
        c1 = c2 = c3 = np.zeros(shape, dtype=np.uint64)
        for turn in range(10):
            if turn:
                k0, k1 = k0 + _GOLDEN, k1 + np.uint64(0xBB67AE8584CAA73B)
            m0, m2 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
            h0, h2 = _high(c0, m0), _high(c2, m2)
            c0, c1, c2, c3 = h2 ^ c1 ^ k0, c2 * np.uint64(m2), h0 ^ c3 ^ k1, c0 * np.uint64(m0)
    return np.stack([c0, c1, c2, c3], -1).reshape(len(keys), -1)[:, :count]


class Rng(Batched):
    """One immutable key per sample.

    Arguments:
        seeds: one integer per sample (a range, a list, an integer tensor (B,)); the last 64 bits count.
    """

    __slots__ = ("keys",)
    keys: Tensor

    def __init__(self, seeds: Iterable[int] | Tensor) -> None:
        object.__setattr__(self, "keys", torch.from_numpy(_mix(_words(seeds)).view(np.int64)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Rng is immutable; walk to a new key with rng.at(...)")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.keys,)

    def __repr__(self) -> str:
        return f"Rng({len(self)} keys)"

    def leaves(self) -> dict[str, Tensor]:
        return {"keys": self.keys}

    def rebuild(self, leaves: Mapping[str, Tensor]) -> Rng:
        return _restore(leaves["keys"])

    def _raw(self) -> Keys:
        return self.keys.numpy().view(np.uint64)

    def at(self, *path: str | int | Tensor) -> Rng:
        """The keys found by walking a path of names, integers, or integer tensors (B,) with one number per sample."""
        keys = self._raw()
        for step in path:
            if isinstance(step, str):
                word: Keys = np.array([_named(step)], dtype=np.uint64)
            else:
                numbers = _words(step) if isinstance(step, Tensor) else np.array([int(step) & _MASK], dtype=np.uint64)
                word = _mix(numbers ^ np.uint64(_NUMBER))
            if len(word) not in (1, len(keys)):
                raise ValueError(f"a path of {len(word)} numbers for {len(keys)} keys")
            keys = _mix(keys ^ word)
        return _restore(torch.from_numpy(np.ascontiguousarray(keys).view(np.int64)))

    def split(self, n: int) -> Rng:
        """``n`` keys per sample, in the order of :meth:`repeat`: a1 a2 b1 b2."""
        each = _mix(np.arange(n, dtype=np.uint64) ^ np.uint64(_SPLIT))
        keys = _mix(self._raw()[:, None] ^ each[None, :]).reshape(-1)
        return _restore(torch.from_numpy(keys.view(np.int64)))

    def _generators(self, name: str) -> Iterable[np.random.Generator]:
        philox = np.random.Philox(key=np.zeros(2, dtype=np.uint64))
        generator = np.random.Generator(philox)
        state: Any = philox.state
        word = _named(name)
        for key in self._raw():
            state["state"]["key"][:] = (key, word)
            philox.state = state
            yield generator

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normals (B, *shape), float32 on the CPU."""
        out = np.empty((len(self), *shape), dtype=np.float32)
        for row, generator in enumerate(self._generators(name)):
            out[row] = generator.standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(out)

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Uniforms on [0, 1) of shape (B, *shape), float64 on the CPU."""
        count = math.prod(shape)
        if count <= _FEW and len(self) > _ROWS:
            # Re-keying costs more than drawing: the same bits, computed for all rows at once, which has its own price.
            words = _philox(self._raw(), _named(name), count)
            return torch.from_numpy((words >> np.uint64(11)) * 2.0**-53).reshape(-1, *shape)
        out = np.empty((len(self), *shape), dtype=np.float64)
        for row, generator in enumerate(self._generators(name)):
            out[row] = generator.random(shape)
        return torch.from_numpy(out)

    def categorical(self, name: str, logits: Tensor) -> Tensor:
        """One symbol per entry, by inverting the cumulative distribution in float64.

        Arguments:
            logits: unnormalised log-probabilities (B, *shape, V); minus infinity is a hard zero and is never drawn.

        Returns:
            int64 (B, *shape) on the device of ``logits``.
        """
        return inverted(logits, self.uniform(name, tuple(logits.shape[1:-1])))


def inverted(logits: Tensor, u: Tensor) -> Tensor:
    """The symbol at which the cumulative distribution passes u: what :meth:`Rng.categorical` makes of its uniforms.

    Arguments:
        logits: unnormalised log-probabilities (..., V); minus infinity is a hard zero.
        u: uniforms on [0, 1), float64 (...), on any device.
    """
    probs = logits.double().softmax(-1)
    edges = probs.cumsum(-1)
    symbol = (edges <= (u.to(logits.device) * edges[..., -1])[..., None]).sum(-1)
    # Rounding can carry u * total up to the total itself; the last symbol that is possible at all then stands.
    places = torch.arange(probs.shape[-1], device=probs.device)
    last = torch.where(probs > 0, places, places.new_zeros(())).amax(-1)
    return torch.minimum(symbol, last)


def _restore(keys: Tensor) -> Rng:
    rng = Rng.__new__(Rng)
    object.__setattr__(rng, "keys", keys)
    return rng
