"""Pictures that are there twice: the same file, the same pixels, or nearly the same picture.

The first two are questions for a hash. For the third every picture has two small prints. The *difference hash* has 64
bits: the grey picture is brought to 9 x 8 cells by area, and a bit says whether a cell is brighter than its neighbour
on the left by more than two levels, so that a smooth ground with a little noise says nothing. The *thumbnail* is the
picture in colour, 16 x 16 by area. Two pictures are alike where at most ``BITS`` bits of the hash differ and the
thumbnails lie at most ``LEVELS`` levels apart (root mean square): the first sees the drawing and forgives a change of
light, the second sees the light, and both forgive another size and another compression. Neither sees a picture that
was mirrored, cut or turned.

Of two hashes that differ in at most ``BITS`` bits one of ``BITS + 1`` bands is equal, so pictures are compared within
bands only; and since the mean of a thumbnail cannot lie further apart than the thumbnails do, only with neighbours by
that mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 4
"""Bits in which the difference hashes of two pictures may differ that are alike."""
LEVELS = 8.0
"""How far apart, of 255 levels, the thumbnails of two pictures may lie that are alike."""
FLAT = 2.0
"""A picture whose thumbnail spreads less than this, in levels, shows nothing that could be compared."""
SIDE = 16
_STEP = 2
_BAND = 64 // (BITS + 1)

Bytes = NDArray[np.uint8]


def prints(picture: Bytes) -> tuple[int, Bytes]:
    """The difference hash of a picture (H, W, C) as 64 bits, and its thumbnail, uint8 (768,)."""
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).convert("RGB")
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    cells = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = np.packbits(np.diff(cells, axis=1) > _STEP)
    return int.from_bytes(bits.tobytes(), "big"), np.array(small, dtype=np.uint8).reshape(-1)


def same(marks: Iterable[bytes]) -> list[list[int]]:
    """Rows that carry one mark, a list a mark that stands more than once."""
    found: dict[bytes, list[int]] = {}
    for row, mark in enumerate(marks):
        found.setdefault(mark, []).append(row)
    return [rows for rows in found.values() if len(rows) > 1]


def alike(hashes: NDArray[np.uint64], thumbnails: Sequence[Bytes]) -> list[list[int]]:
    """Rows that show nearly the same, a list a group, in which everything is like something else of it.

    Arguments:
        hashes: difference hashes, uint64 (N,).
        thumbnails: N of uint8 (768,).
    """
    table = np.stack(thumbnails) if len(thumbnails) else np.empty((0, 3 * SIDE * SIDE), dtype=np.uint8)
    means = np.array([row.mean() for row in table], dtype=np.float64)
    spread = np.array([row.reshape(-1, 3).std(0).max() for row in table], dtype=np.float64)
    rows = np.flatnonzero(spread >= FLAT)
    rows = rows[np.argsort(means[rows], kind="stable")]
    above = np.arange(len(hashes))
    for band in range(BITS + 1):
        part = _part(hashes[rows], band)
        order = np.argsort(part, kind="stable")  # within one part they stay sorted by their mean
        edges = np.flatnonzero(np.diff(part[order])) + 1
        for bucket in np.split(rows[order], edges):
            _join(bucket, band, hashes, table, means, above)
    groups: dict[int, list[int]] = {}
    for row in range(len(above)):
        groups.setdefault(_root(above, row), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def _join(
    bucket: NDArray[np.intp],
    band: int,
    hashes: NDArray[np.uint64],
    table: Bytes,
    means: NDArray[np.float64],
    above: NDArray[np.intp],
) -> None:
    """Join what is alike in one bucket of a band, its rows sorted by their mean.

    Of many small things on white all hashes are much the same, so no pair is compared that was before in another band,
    nor one that is in a group already.
    """
    ends = np.searchsorted(means[bucket], means[bucket] + LEVELS, side="right")
    for at, (row, end) in enumerate(zip(bucket.tolist(), ends.tolist(), strict=True)):
        near, root = bucket[at + 1 : end], _root(above, row)
        near = near[above[near] != root]  # what stands below another of the group is compared, and changes nothing
        unlike = hashes[near] ^ hashes[row]
        fresh = np.bitwise_count(unlike) <= BITS
        for before in range(band):
            fresh &= _part(unlike, before) != 0
        near = near[fresh]
        if not len(near):
            continue
        apart = table[near].astype(np.float32)
        apart -= table[row]
        for other in near[np.einsum("ij,ij->i", apart, apart) <= LEVELS**2 * table.shape[1]].tolist():
            low, high = sorted((_root(above, row), _root(above, other)))
            above[[high, other, row]] = low


def _part(hashes: NDArray[np.uint64], band: int) -> NDArray[np.uint64]:
    """The bits of a band."""
    found: NDArray[np.uint64] = (hashes >> np.uint64(band * _BAND)) & np.uint64(2**_BAND - 1)
    return found


def _root(above: NDArray[np.intp], row: int) -> int:
    while above[row] != row:
        above[row] = above[above[row]]
        row = int(above[row])
    return row
