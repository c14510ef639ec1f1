"""Arrays of an ``.npz`` file, their sizes known before a byte is unpacked.

An ``.npz`` is a zip of arrays, each with a header of its own. A file of a few kilobytes can announce terabytes in
either; so the size in the zip's table is added up first, then each array's header is read alone, and an array is
unpacked only where the two agree. Object arrays, which would need a pickle, are refused by their header.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal, nearest

_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes; an LZMA header can ask for gigabytes itself
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read(
    path: str | Path, names: Sequence[str], budget: int, hints: Mapping[str, str] | None = None
) -> list[NDArray[Any]]:
    """These arrays of a file.

    Arguments:
        path: the ``.npz``.
        names: of the arrays.
        budget: bytes that they may unpack to altogether.
        hints: what to do where an array is not there, by name.

    Raises:
        Refusal: the file is missing, damaged, or holds no such arrays; or what it announces is larger than the budget.
    """
    path = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as archive:
            items = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            for name in names:
                if name not in items:
                    hint = (hints or {}).get(name)
                    raise Refusal(
                        f"{path!r} has no array {name!r}: {nearest(name, list(items))}{f'; {hint}' if hint else ''}"
                    )
            if sum(items[name].file_size for name in names) > budget:
                raise Refusal(
                    f"the arrays of {path!r} unpack to more than budget = {budget} bytes; raise it if they fit"
                )
            return [_array(archive, items[name]) for name in names]
    except Refusal:
        raise
    except FileNotFoundError:
        raise Refusal(f"there is no file {path!r}") from None
    except Exception as error:  # a damaged archive fails in zipfile, zlib, the header's parser or numpy
        raise Refusal(f"{path!r} cannot be read as a .npz file without pickles: {error}") from error


def _array(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, once its own header says what the zip's table says."""
    if item.compress_type not in _KINDS:
        raise ValueError(f"{item.filename!r} is packed in a way that numpy does not write")
    with archive.open(item) as file:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{item.filename!r} has a header of version {version}")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise ValueError(
                f"{item.filename!r} holds objects, which would need a pickle; write strings as np.array(texts, str)"
            )
        size = math.prod(shape) * dtype.itemsize
        if size != item.file_size - file.tell():
            raise ValueError(f"{item.filename!r} announces {size} bytes, but it has {item.file_size - file.tell()}")
    with archive.open(item) as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        return array
