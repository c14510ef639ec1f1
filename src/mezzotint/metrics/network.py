"""An extractor out of any network of ours: a layer of it, averaged over space.

A denoiser has learnt what its pictures consist of, and its middle layers say so; a classifier that was trained for
guidance knows the classes. Either is asked for a layer by the name that its network gives it (``want``), at a noise
level that is part of the record, with no noise added: x_t = alpha(t) x. Which layer and level say most has to be found
out; near the level 0 a denoiser has nothing to do and thinks of little but texture.

Source: Baranchuk et al. 2022, "Label-efficient semantic segmentation with diffusion models" (2112.03126), for features
of denoisers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mezzotint.core import config
from mezzotint.core.bounded import read_json
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.folder import SCHEMA
from mezzotint.core.spec import spec
from mezzotint.core.stop import poll
from mezzotint.core.store import CONFIG, WEIGHTS, load_model, save_tensors, weights, write_folder
from mezzotint.denoiser.base import Denoiser
from mezzotint.metrics.classifier import Classifier
from mezzotint.metrics.features import RECORD, brought, pooled
from mezzotint.metrics.pictures import fingerprint
from mezzotint.rewards.classifier import Classifier as CleanClassifier
from mezzotint.rewards.classifier import NoiseAwareClassifier

_ROWS = 64


@dataclass(frozen=True)
class NetworkExtractor:
    """A layer of a denoiser or a classifier; make one with :meth:`of` or :meth:`load`.

    Arguments:
        model: the network with its meaning, frozen.
        record: plain data: ``kind``, ``spec``, ``want``, ``level``, ``resize`` and ``sha256`` of the weights.
    """

    model: nn.Module
    record: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module | str | Path, want: str | None = None, level: float = 0.0) -> NetworkExtractor:
        """An extractor of a layer.

        Arguments:
            model: a denoiser, a :class:`~mezzotint.rewards.NoiseAwareClassifier` or a classifier of clean pictures, or
                a run or model folder with one.
            want: the name of the layer, one of :func:`layers`. None: the last before the answer.
            level: of noise, from 0 to 1, that the network is told; classifiers of clean pictures are told none.

        Raises:
            Refusal: the model has no such layer, or is none of these.
        """
        made: nn.Module = load_model(model) if isinstance(model, str | Path) else model.eval().requires_grad_(False)
        known = layers(made)
        want = known[-1] if want is None else want
        if want not in known:
            raise Refusal(f"there is no layer {want!r} in this {type(made).__name__}: {nearest(want, known)}")
        if not 0 <= level < 1:
            raise Refusal(f"the level is {level}, but a noise level is at least 0 (clean) and below 1 (noise)")
        told = None if isinstance(_clean(made), Classifier) else float(level)
        if told is None and level != 0:
            raise Refusal("a classifier of clean pictures is told no noise level; leave it out")
        channels, height, width = cast(Any, _shape(made))
        record = {
            "kind": "network",
            "spec": spec(made),
            "want": want,
            "level": told,
            "resize": f"means over area to {height} x {width}, {channels} channels",
            "sha256": fingerprint(*made.state_dict().values()),
        }
        return cls(made, record)

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The model, and the network inside it."""
        inside = getattr(self.model, "network", None)
        return (self.model,) if inside is None else (self.model, inside)

    @torch.no_grad()
    def features(self, images: Tensor) -> NDArray[np.float64]:
        """The layer's features (N, D) of pictures (N, C, H, W) in [-1, 1], in float64."""
        small = brought(images, _shape(self.model)).float()
        place = next(iter(self.model.parameters())).device
        found = []
        for row in range(0, len(small), _ROWS):
            poll()
            piece = small[row : row + _ROWS]
            # One size always: a network rounds differently at another, and a picture's features would feel its batch.
            filled = torch.cat((piece, piece[-1:].expand(_ROWS - len(piece), *piece.shape[1:])))
            found.append(pooled(self._asked(filled.to(place)))[: len(piece)].cpu())
        return torch.cat(found).double().numpy()

    def _asked(self, x: Tensor) -> Tensor:
        want, level = self.record["want"], self.record["level"]
        clean = _clean(self.model)
        if isinstance(clean, Classifier):
            return clean.features(x) if want == "features" else cast(Tensor, clean(x))
        model = cast(Any, self.model)
        t = model.process.time(torch.full((len(x),), level, dtype=torch.float64)).to(x.device)
        x_t = model.process.scales(t, x)[0].to(x) * x
        if isinstance(model, NoiseAwareClassifier):
            return model.logs(x_t, t) if want == "logs" else model.seen(x_t, t, (want,))[want]
        return cast(Tensor, model(x_t, t, want=(want,)).aux[want])

    def save(self, path: str | Path) -> Path:
        """Write a model folder with the record beside the weights."""

        def fill(folder: Path) -> None:
            (folder / RECORD).write_text(json.dumps(self.record, indent=1), encoding="utf-8")
            tree = {"schema": SCHEMA, "model": self.record["spec"]}
            (folder / CONFIG).write_text(config.dumps(tree), encoding="utf-8")
            save_tensors(folder / WEIGHTS, weights(self.model))

        return write_folder(path, fill, replace=True)

    @classmethod
    def load(cls, path: str | Path) -> NetworkExtractor:
        """Read a folder written by :meth:`save`; what is damaged or not what its record says is refused."""
        folder = Path(path)
        model = load_model(folder)
        try:
            record = read_json(folder / RECORD)
            want, level, digest = record["want"], record["level"], record["sha256"]
            made = cls.of(model, want, 0.0 if level is None else float(level))
        except (LookupError, TypeError, ValueError):
            raise Refusal(f"{str(folder)!r} holds no extractor: its {RECORD} is missing or unreadable") from None
        if made.record["sha256"] != digest:
            raise Refusal(f"the weights in {str(folder)!r} are not those its record names; make the extractor again")
        return cls(model, record)


def layers(model: nn.Module) -> list[str]:
    """The names of the layers a model can be asked for, in the order they are computed."""
    if isinstance(_clean(model), Classifier):
        return ["logits", "features"]
    if isinstance(model, Denoiser | NoiseAwareClassifier):
        known = list(getattr(getattr(model, "network", None), "wants", ()))
        known = [*known, "logs"] if isinstance(model, NoiseAwareClassifier) else known
        if known and len(model.shape) == 3 and hasattr(model.process, "scales"):
            return known
    raise Refusal(
        f"a {type(model).__name__} has no layers to ask for; features are taken of a denoiser or a classifier of "
        "pictures whose network knows `want`"
    )


def _clean(model: nn.Module) -> nn.Module:
    """The classifier inside a reward of clean pictures; anything else is itself."""
    return model.network if isinstance(model, CleanClassifier) else model


def _shape(model: nn.Module) -> tuple[int, ...]:
    clean = _clean(model)
    if isinstance(clean, Classifier):
        return tuple(cast(Any, spec(clean))["shape"])
    return tuple(cast(Any, model).shape)
