"""An extractor out of an ONNX file: a network trained elsewhere, whatever it was trained with.

Such a file says what goes in by name and type, and not what the numbers mean. What has to be declared is declared and
recorded: the size in pixels, the order of the axes, the values that stand for black and white, and which output holds
the features. Two numbers with the same file and another of these are two measures; people have argued for years over
distances that differed by a resizing (Parmar et al. 2022, "On aliased resizing and surprising subtleties in GAN
evaluation", 2104.11222). The file itself is known by its SHA-256 and kept in the extractor's folder.

It is run by onnxruntime (the extra ``onnx``), on the CPU, in one thread and in pieces of one size: the same pictures in
the same order give the same bits, and in another order the same but for rounding in float32. A file that keeps its
weights in a second file is refused: that path may lead anywhere.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mezzotint.core.bounded import read_bytes, read_json
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.folder import check_folder, write_folder
from mezzotint.core.stop import poll
from mezzotint.metrics.features import RECORD
from mezzotint.metrics.pictures import resized

LAYOUTS = ("NCHW", "NHWC")
LARGEST = 2**31 - 1
"""Bytes of a file: what one message of its format may hold."""
_FILE = "network.onnx"
_ROWS = 32


@dataclass(frozen=True)
class OnnxExtractor:
    """A network in an ONNX file; make one with :meth:`of` or :meth:`load`.

    Arguments:
        file: its bytes.
        session: what runs it.
        record: plain data: ``kind``, ``sha256`` of the file, ``size``, ``channels``, ``layout``, ``range``, ``mean``,
            ``deviation``, ``input``, ``output`` and ``resize`` in words.
    """

    file: bytes
    session: Any
    record: dict[str, Any]

    @classmethod
    def of(
        cls,
        path: str | Path,
        size: int | tuple[int, int],
        *,
        values: tuple[float, float] = (0.0, 1.0),
        layout: str = "NCHW",
        output: str | None = None,
        input: str | None = None,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
    ) -> OnnxExtractor:
        """An extractor of a file.

        Arguments:
            path: the ONNX file.
            size: (height, width) that goes in, or one number for both. Larger pictures are shrunk by area, smaller ones
                enlarged linearly; the aspect has to be the same.
            values: what black and white are in the file's terms: (0, 1), (0, 255) or (-1, 1).
            layout: the order of the axes that goes in, NCHW or NHWC.
            output: which output holds the features, (B, D), or maps in the order of ``layout``, which are averaged over
                space. None: the only one.
            input: which input takes the pictures. None: the only one.
            channels: that go in; grey pictures are repeated where it is 3.
            mean, deviation: of each channel, in the terms of ``values``: taken off, and divided by. None: 0 and 1.

        Raises:
            Refusal: onnxruntime is missing, the file is no ONNX file, or a declaration does not fit it.
        """
        said = (size, values, layout, output, input, channels, mean, deviation)
        return cls._made(read_bytes(path, LARGEST), repr(str(path)), _declared(dict(zip(_DECLARED, said, strict=True))))

    @classmethod
    def _made(cls, file: bytes, where: str, said: dict[str, Any]) -> OnnxExtractor:
        session = _session(file, where)
        said["input"] = _chosen(said["input"], [one.name for one in session.get_inputs()], "input", where)
        said["output"] = _chosen(said["output"], [one.name for one in session.get_outputs()], "output", where)
        taken = next(one for one in session.get_inputs() if one.name == said["input"])
        height, width = said["size"]
        wanted = [said["channels"], height, width] if said["layout"] == "NCHW" else [height, width, said["channels"]]
        fits = len(taken.shape) == 4 and all(
            not isinstance(have, int) or have == want for have, want in zip(taken.shape[1:], wanted, strict=True)
        )
        if taken.type != "tensor(float)" or not fits:
            raise Refusal(
                f"{where} takes {taken.type} of shape {taken.shape} as {taken.name!r}, but float32 pictures "
                f"{said['layout']} of {wanted} were declared"
            )
        record = {
            "kind": "onnx",
            "sha256": hashlib.sha256(file).hexdigest(),
            **said,
            "resize": f"means over area, or linearly where smaller, to {height} x {width}, {said['channels']} channels",
        }
        return cls(file, session, record)

    @property
    def networks(self) -> Sequence[nn.Module]:
        """None of ours."""
        return ()

    @torch.no_grad()
    def features(self, images: Tensor) -> NDArray[np.float64]:
        """The output (N, D) of pictures (N, C, H, W) in [-1, 1], in float64."""
        said = self.record
        pictures = _sized(images.float().cpu(), tuple(said["size"]), said["channels"])
        rows = next(one for one in self.session.get_inputs() if one.name == said["input"]).shape[0]
        rows = rows if isinstance(rows, int) else _ROWS
        low, high = said["range"]
        each = (1, -1, 1, 1)
        mean, deviation = (torch.tensor(said[key]).view(each) for key in ("mean", "deviation"))
        found = []
        for at in range(0, len(pictures), rows):
            poll()
            piece = pictures[at : at + rows]
            filled = torch.cat((piece, piece[-1:].expand(rows - len(piece), *piece.shape[1:])))
            inside = (low + (filled + 1) / 2 * (high - low) - mean) / deviation
            inside = inside if said["layout"] == "NCHW" else inside.permute(0, 2, 3, 1)
            (answer,) = self.session.run([said["output"]], {said["input"]: inside.contiguous().numpy()})
            found.append(_flat(np.asarray(answer, dtype=np.float64), said)[: len(piece)])
        return np.concatenate(found)

    def save(self, path: str | Path) -> Path:
        """Write a folder with the file, its record and a manifest of hashes."""

        def fill(folder: Path) -> None:
            (folder / RECORD).write_text(json.dumps(self.record, indent=1), encoding="utf-8")
            (folder / _FILE).write_bytes(self.file)

        return write_folder(path, fill, replace=True)

    @classmethod
    def load(cls, path: str | Path) -> OnnxExtractor:
        """Read a folder written by :meth:`save`; what is damaged or not what its record says is refused."""
        folder = Path(path)
        check_folder(folder)
        file = read_bytes(folder / _FILE, LARGEST)
        try:
            record = read_json(folder / RECORD)
            said = {**record, "values": record["range"]}
            said = _declared({key: said[key] for key in _DECLARED})
        except (LookupError, TypeError, ValueError):
            raise Refusal(f"{str(folder)!r} holds no extractor: its {RECORD} is missing or unreadable") from None
        made = cls._made(file, repr(str(folder / _FILE)), said)
        if made.record != record:
            raise Refusal(f"the file in {str(folder)!r} is not the one its record names; make the extractor again")
        return made


_DECLARED = ("size", "values", "layout", "output", "input", "channels", "mean", "deviation")


def _declared(given: dict[str, Any]) -> dict[str, Any]:
    """What was declared, checked, as the record has it."""
    size, channels, layout = given["size"], given["channels"], given["layout"]
    size = [size, size] if isinstance(size, int) else [int(side) for side in size]
    if len(size) != 2 or min(size) < 1:
        raise Refusal(f"the size is {given['size']!r}, but it is (height, width) in pixels or one number for both")
    if layout not in LAYOUTS:
        raise Refusal(f"the layout is {layout!r}, but pictures go in as {' or '.join(LAYOUTS)}")
    if channels not in (1, 3):
        raise Refusal(f"pictures have 1 channel or 3, not {channels!r}")
    low, high = (float(value) for value in given["values"])
    if not low < high:
        raise Refusal(f"black is {low} and white {high}, but white is more than black: (0, 1), (0, 255) or (-1, 1)")
    of_channel = {}
    for key, usual in (("mean", 0.0), ("deviation", 1.0)):
        found = [usual] * channels if given[key] is None else [float(value) for value in given[key]]
        if len(found) != channels or (key == "deviation" and min(found) <= 0):
            raise Refusal(f"{key} is one number a channel, here {channels}, deviations positive, not {given[key]}")
        of_channel[key] = found
    names = {"output": given["output"], "input": given["input"]}
    return {"size": size, "channels": channels, "layout": layout, "range": [low, high], **of_channel, **names}


def _session(file: bytes, where: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise Refusal("an ONNX file is run by onnxruntime, which is not here: pip install 'mezzotint[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        # From bytes it would look for further weights in the working directory: it is sent to an empty one.
        with tempfile.TemporaryDirectory() as empty:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
            return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions share no class
        raise Refusal(f"{where} cannot be run: {str(error).splitlines()[0][:200]}") from None


def _chosen(name: str | None, known: list[str], what: str, where: str) -> str:
    if name is None and len(known) == 1:
        return known[0]
    if name is None:
        raise Refusal(f"{where} has {len(known)} {what}s, so say which one: {', '.join(known[:20])}")
    if name not in known:
        raise Refusal(f"{where} has no {what} {name!r}: {nearest(name, known)}")
    return name


def _sized(pictures: Tensor, size: tuple[int, ...], channels: int) -> Tensor:
    """Pictures in the size and with the channels that go in."""
    have = pictures.shape[-2:]
    if pictures.ndim != 4 or pictures.shape[1] not in (1, channels):
        raise Refusal(f"this extractor takes pictures (N, {channels}, H, W), not {tuple(pictures.shape)}")
    if abs(have[0] * size[1] - have[1] * size[0]) > max(have) + max(size):
        raise Refusal(f"pictures of {have[0]} x {have[1]} have another aspect than this extractor's {size}; crop them")
    return resized(pictures, (size[0], size[1])).expand(-1, channels, -1, -1)


def _flat(answer: NDArray[np.float64], said: dict[str, Any]) -> NDArray[np.float64]:
    """Features (B, D) of an output (B, D) or of maps."""
    if answer.ndim == 4:
        means: NDArray[np.float64] = answer.mean((2, 3) if said["layout"] == "NCHW" else (1, 2))
        return means
    if answer.ndim != 2:
        raise Refusal(
            f"the output {said['output']!r} has the shape {answer.shape}, but features are (B, D), or maps of four axes"
        )
    return answer
