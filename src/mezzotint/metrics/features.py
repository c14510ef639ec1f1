"""What sees pictures for a measure, whoever trained it, and why it must not be what guided them.

An extractor turns pictures into features and has a record with the SHA-256 of its weights. There are four: our own
classifier (:class:`~mezzotint.metrics.Extractor`), our own segmenter (:class:`~mezzotint.metrics.Segmenter`), a layer
of any network of ours (:class:`~mezzotint.metrics.NetworkExtractor`), and an ONNX file
(:class:`~mezzotint.metrics.OnnxExtractor`). Each is saved as a folder, and :func:`load_extractor` reads whichever it
is.

A sampler that climbs a network's opinion finds pictures that this network likes, good or not. Judged by the same
network they look better than they are, and the more so the harder they were guided. So judges differ from guides:
:func:`check_apart` refuses an extractor that is among the networks that drew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mezzotint.core.bounded import read_json
from mezzotint.core.errors import Refusal
from mezzotint.metrics.pictures import shrink

RECORD = "extractor.json"
_ASKED = ("want", "level", "input", "output", "layout", "channels", "range", "mean", "deviation")


@runtime_checkable
class Features(Protocol):
    """Features of pictures, with a record of where they are from.

    Attributes:
        record: plain data: ``sha256`` of the weights, ``resize`` in words, and whatever else decides the features.
        networks: what it looks with, for :func:`check_apart`; none of a file that is not ours.
    """

    @property
    def record(self) -> dict[str, Any]: ...

    @property
    def networks(self) -> Sequence[nn.Module]: ...

    def features(self, images: Tensor, /) -> NDArray[np.float64]:
        """Features (N, D) in float64 of pictures (N, C, H, W) in [-1, 1]."""
        ...

    def save(self, path: str | Path, /) -> Path:
        """Write a folder that :func:`load_extractor` reads."""
        ...


def load_extractor(path: str | Path) -> Features:
    """The extractor in a folder, of whatever kind; what is damaged or not what its record says is refused."""
    from mezzotint.metrics.extractor import Extractor
    from mezzotint.metrics.network import NetworkExtractor
    from mezzotint.metrics.onnx_file import OnnxExtractor
    from mezzotint.metrics.segmenter import Segmenter

    folder = Path(path)
    try:
        kind = read_json(folder / RECORD).get("kind", "classifier")
    except (Refusal, AttributeError):
        raise Refusal(f"{str(folder)!r} holds no extractor: its {RECORD} is missing or unreadable") from None
    if kind == "network":
        return NetworkExtractor.load(folder)
    if kind == "onnx":
        return OnnxExtractor.load(folder)
    if kind == "segmenter":
        return Segmenter.load(folder)
    if kind != "classifier":
        raise Refusal(
            f"{str(folder)!r} holds an extractor of kind {str(kind)[:50]!r}, which this version does not know"
        )
    return Extractor.load(folder)


def asked_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the features beside the weights and the size: one network has many layers; {} of our classifier.

    Arguments:
        record: of an extractor.
    """
    return {key: record[key] for key in _ASKED if key in record}


def check_apart(extractor: Features, *drawn_by: nn.Module) -> None:
    """Refuse an extractor whose network is among those that drew the pictures or guided their drawing.

    Arguments:
        extractor: the judge.
        drawn_by: whatever drew, whole: a guided denoiser holds its guides.

    Raises:
        Refusal: a part of ``drawn_by`` has exactly the judge's weights.
    """
    judges = [list(network.state_dict().values()) for network in extractor.networks]
    for whole in drawn_by:
        for name, part in whole.named_modules():
            mine = list(part.state_dict().values())
            if any(_same(mine, judge) for judge in judges if judge):
                inside = f" ({name})" if name else ""
                raise Refusal(
                    f"the extractor {extractor.record['sha256'][:12]} is the very network that drew or guided these "
                    f"pictures{inside}, which likes what it asked for; judge them by another"
                )


def _same(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    if [tuple(x.shape) for x in a] != [tuple(x.shape) for x in b]:
        return False
    return all(torch.equal(x.cpu().double(), y.cpu().double()) for x, y in zip(a, b, strict=True))


def brought(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Pictures (N, C, H, W) brought to what a network takes: made smaller by area, and nothing else."""
    if images.ndim == 4 and images.shape[1] == shape[0] and images.shape[2] > shape[1]:
        images = shrink(images, max(shape[1:]))
    if tuple(images.shape[1:]) != tuple(shape):
        raise Refusal(
            f"this extractor takes pictures of shape {tuple(shape)}, or larger ones alike, not {images.shape}"
        )
    return images


def pooled(features: Tensor) -> Tensor:
    """Features (N, C) of maps (N, C, *space): the mean over space."""
    return features.flatten(2).mean(2) if features.ndim > 2 else features
