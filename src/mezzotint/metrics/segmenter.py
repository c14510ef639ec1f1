"""A recorded segmenter: what stands in a picture, place by place, and what a picture is like, learnt from layouts.

A model that paints to layouts is judged by a network that finds layouts in pictures and that was trained on real ones.
As an :class:`~mezzotint.metrics.Extractor` it is a thing with a record: how it was trained, on which pictures, how well
it does on pictures it never saw, which is the ceiling of what it can say of samples, and the SHA-256 of its weights.
Its coarsest maps are features, so that data without labels have features that are their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import spec
from mezzotint.data.resize import nearest
from mezzotint.metrics.encoder_decoder import EncoderDecoder
from mezzotint.metrics.estimate import Estimate
from mezzotint.metrics.pictures import checked, fingerprint, shrink
from mezzotint.metrics.recorded_network import digest, fit, read, write
from mezzotint.metrics.segmentation import UNSAID, Maps, mean_iou, pixel_accuracy

SIDE = 64
IMAGES = 24_000
LEVELS = 3
_EASY = 16  # pixels a side
_BATCH = 32
_PIXELS = 2**19
"""Pixels that are looked at at once, which bounds the memory their logits take."""


@dataclass(frozen=True)
class Segmenter:
    """A trained encoder and decoder with its record; make one with :meth:`train` or :meth:`load`.

    Arguments:
        network: frozen.
        record: plain data: ``kind``, ``spec``, ``seed``, ``images`` (seen in training), ``train`` (fingerprint and
            count), ``ignored``, ``held_out`` (``miou`` and ``pixel_accuracy`` with intervals, or None) and ``sha256``
            of the weights.
    """

    network: EncoderDecoder
    record: dict[str, Any]

    @classmethod
    def train(
        cls,
        images: Tensor,
        layouts: Maps,
        held_out: tuple[Tensor, Maps] | None = None,
        *,
        classes: int | None = None,
        seed: int = 0,
        seen: int | None = None,
        width: int = 32,
        ignored: int = UNSAID,
        sha256: str | None = None,
    ) -> Segmenter:
        """Train with cross-entropy on every pixel that the layouts say something of, and AdamW on a one-cycle rate.

        Arguments:
            images: training pictures (N, C, H, W) in [-1, 1]; above 64 pixels a side they are shrunk by area, and their
                layouts by nearest.
            layouts: the classes of their pixels, whole numbers (N, H, W), 0 to ``classes - 1`` or ``ignored``.
            held_out: pictures and layouts for the measures in the record.
            classes: how many answers it has. None: up to the highest number in the layouts.
            seed: of the weights and of the order of pictures; torch's own generator is left as it was.
            seen: pictures seen in training, counted with repetition. None: 24,000 of up to 16 x 16 pixels, fewer of
                larger ones, which have more pixels to learn from: as the inverse of their side.
            width: channels at full size.
            ignored: the number of pixels of which nothing is said.
            sha256: the fingerprint of the training pictures, where these are shrunk already. None: taken here.

        Raises:
            Refusal: pictures and layouts do not fit, or the layouts say nothing, or more than there are classes.
        """
        images, said = _told(images, layouts, "the training pictures")
        kept = said != ignored
        if not kept.any():
            raise Refusal("the layouts of the training pictures say nothing of any pixel, so there is nothing to learn")
        lowest, highest = int(said[kept].min()), int(said[kept].max())
        answers = highest + 1 if classes is None else classes
        if lowest < 0 or highest >= min(answers, UNSAID):
            raise Refusal(
                f"layouts hold {lowest} to {highest}, but with {answers} classes they must hold 0 to "
                f"{min(answers, UNSAID) - 1}, or {ignored} where nothing is said"
            )
        small = shrink(images, SIDE)
        maps = brought(said, (small.shape[2], small.shape[3]))
        if seen is None:
            seen = round(IMAGES * min(1.0, _EASY / math.sqrt(small.shape[2] * small.shape[3])))
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds every device, whose state nobody keeps
            network = EncoderDecoder(small.shape[1], answers, width=width, levels=LEVELS)

            def loss(rows: Tensor) -> Tensor:
                said = maps[rows].long()
                found = F.cross_entropy(network(small[rows]), said, ignore_index=ignored, reduction="sum")
                # By the pixels that are judged; a batch of which nothing is said moves nothing, a mean would be NaN.
                return found / (said != ignored).sum().clamp(min=1)

            fit(network, loss, len(small), _BATCH, seen, torch.Generator().manual_seed(seed))
        network.eval().requires_grad_(False)
        made = cls(network, {})
        made.record.update(
            kind="segmenter",
            spec=spec(network),
            seed=seed,
            images=seen,
            train={"count": len(images), "sha256": sha256 or fingerprint(images, said)},
            ignored=ignored,
            resize=f"by area to at most {SIDE} a side",
            sha256=made.sha256,
        )
        scores = {} if held_out is None else made.scores(*held_out)
        made.record["held_out"] = {name: found.plain() for name, found in scores.items()} or None
        return made

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """The encoder and decoder."""
        return (self.network,)

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights, by name in the order of the network."""
        return digest(self.network)

    @property
    def classes(self) -> int:
        """How many answers it has for a pixel."""
        return int(self.network.head.out_channels)

    def features(self, images: Tensor) -> NDArray[np.float64]:
        """The coarsest maps averaged over space, (N, D), of pictures (N, C, H, W) in [-1, 1], in float64."""
        return self._each(images, lambda x, _: self.network.features(x)).double().numpy()

    def segment(self, images: Tensor) -> NDArray[np.uint8]:
        """The likeliest class of every pixel, uint8 (N, H, W), of pictures (N, C, H, W) in [-1, 1].

        Above 64 pixels a side pictures are looked at shrunk by area, and the logits are enlarged linearly.
        """
        return self._each(images, self._answer).numpy()

    def scores(self, images: Tensor, layouts: Maps) -> dict[str, Estimate]:
        """``miou`` and ``pixel_accuracy`` on pictures (N, C, H, W) and their own layouts (N, H, W)."""
        pictures, said = _told(images, layouts, "the pictures to segment")
        seen, ignored = self.segment(pictures), self.record["ignored"]
        return {made.name: made for made in (f(seen, said, self.classes, ignored) for f in (mean_iou, pixel_accuracy))}

    def _answer(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        logits: Tensor = self.network(x)
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits.argmax(1).to(torch.uint8)

    @torch.no_grad()
    def _each(self, images: Tensor, look: Any) -> Tensor:
        channels = self.network.channels
        if images.ndim != 4 or images.shape[1] != channels:
            raise Refusal(
                f"this segmenter learnt from pictures (N, {channels}, H, W), so it cannot look at such of shape "
                f"{tuple(images.shape)}; give it pictures of {channels} channels, or train one on yours"
            )
        size = (int(images.shape[-2]), int(images.shape[-1]))
        rows = max(1, _PIXELS // max(1, size[0] * size[1]))
        pieces = (images[at : at + rows].detach().cpu().float() for at in range(0, max(1, len(images)), rows))
        return torch.cat([look(shrink(piece, SIDE), size) for piece in pieces])

    def save(self, path: str | Path) -> Path:
        """Write a folder with ``extractor.json`` (the record), the weights as safetensors, and a manifest of hashes."""
        return write(path, self.record, self.network)

    @classmethod
    def load(cls, path: str | Path) -> Segmenter:
        """Read a folder written by :meth:`save`; what is damaged or not what its record says is refused."""
        network, record = read(path, EncoderDecoder, "segmenter", "segmenter", "kind", "ignored")
        if record["kind"] != "segmenter":
            raise Refusal(f"{str(path)!r} does not describe a segmenter")
        return cls(network, record)


def brought(layouts: Tensor, size: tuple[int, int]) -> Tensor:
    """Layouts (N, h, w) at (height, width): each pixel is the one of ``layouts`` in whose area its centre lies."""
    if tuple(layouts.shape[-2:]) == size:
        return layouts
    return torch.from_numpy(nearest(layouts.numpy()[..., None], size, "stretch")[..., 0])


def _told(images: Tensor, layouts: Maps, what: str) -> tuple[Tensor, Tensor]:
    """Pictures as they would be shown, and their layouts as uint8 or int64 (N, H, W)."""
    pictures, _ = checked(images, None, what)
    maps = torch.as_tensor(layouts).detach().cpu()
    if maps.is_floating_point() or maps.dtype == torch.bool or maps.shape != (len(images), *images.shape[2:]):
        raise Refusal(
            f"{what} {tuple(images.shape)} need layouts of whole numbers of shape "
            f"{(len(images), *images.shape[2:])}, not {maps.dtype} of {tuple(maps.shape)}"
        )
    return pictures, maps if maps.dtype == torch.uint8 else maps.long()
