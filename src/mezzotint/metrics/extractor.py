"""A recorded feature extractor: a number names the network it was measured with.

A Frechet distance in learnt features means nothing without the features. An extractor is therefore a thing with a
record: what it is, how it was trained, on which pictures, how well it does on pictures it never saw, and the SHA-256
of its weights. It is saved beside a report, or trained again; the same seed, pictures, machine and number of threads
give the same weights, and the hash says whether they did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import spec
from mezzotint.metrics.classifier import Classifier
from mezzotint.metrics.estimate import Estimate, share
from mezzotint.metrics.pictures import checked, fingerprint, shrink
from mezzotint.metrics.recorded_network import digest, fit, read, write

SIDE = 64
IMAGES = 14_400
_BATCH = 64
_CHUNK = 512


@dataclass(frozen=True)
class Extractor:
    """A trained classifier with its record; make one with :meth:`train` or :meth:`load`.

    Arguments:
        classifier: the network, frozen.
        record: plain data: ``spec``, ``seed``, ``images`` (seen in training), ``train`` (fingerprint and count),
            ``held_out`` (accuracy with interval, or None) and ``sha256`` of the weights.
    """

    classifier: Classifier
    record: dict[str, Any]

    @classmethod
    def train(
        cls,
        images: Tensor,
        labels: Tensor,
        held_out: tuple[Tensor, Tensor] | None = None,
        *,
        seed: int = 0,
        seen: int | None = None,
        width: int = 16,
        features: int = 64,
        classes: int | None = None,
        sha256: str | None = None,
    ) -> Extractor:
        """Train a classifier with cross-entropy (labels smoothed by 0.1) and AdamW on a one-cycle rate.

        Arguments:
            images: training pictures (N, C, H, W) in [-1, 1]; above 64 pixels a side they are shrunk by area.
            labels: their classes (N,).
            held_out: pictures and labels for the accuracy in the record.
            seed: of the weights and of the order of pictures; torch's own generator is left as it was.
            seen: pictures seen in training, counted with repetition; by default 14,400, but each at least once.
            classes: how many answers the classifier has. None: up to the highest label.
            sha256: the fingerprint of the training pictures, where these are shrunk already. None: taken here.
        """
        images, given = _labelled(images, labels)
        highest = int(given.max())
        answers = highest + 1 if classes is None else classes
        if answers <= highest:
            raise Refusal(f"a classifier with {answers} answers cannot learn label {highest}; give it {highest + 1}")
        small = shrink(images, SIDE)
        seen = max(IMAGES, len(small)) if seen is None else seen
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds every device, whose state nobody keeps
            shape = (small.shape[1], small.shape[2], small.shape[3])
            classifier = Classifier(shape, answers, width=width, features=features)

            def loss(rows: Tensor) -> Tensor:
                return torch.nn.functional.cross_entropy(classifier(small[rows]), given[rows], label_smoothing=0.1)

            fit(classifier, loss, len(small), _BATCH, seen, torch.Generator().manual_seed(seed))
        classifier.eval().requires_grad_(False)
        made = cls(classifier, {})
        accuracy = None if held_out is None else made.accuracy(*held_out).plain()
        made.record.update(
            spec=spec(classifier),
            seed=seed,
            images=seen,
            train={"count": len(images), "sha256": sha256 or fingerprint(images, given)},
            held_out=accuracy,
            sha256=made.sha256,
        )
        return made

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """The classifier."""
        return (self.classifier,)

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights, by name in the order of the network."""
        return digest(self.classifier)

    def features(self, images: Tensor) -> NDArray[np.float64]:
        """Penultimate features (N, features) of pictures (N, C, H, W) in [-1, 1], in float64."""
        return self._each(images, self.classifier.features).double().numpy()

    def logits(self, images: Tensor) -> Tensor:
        """The classifier's answers (N, classes) to pictures (N, C, H, W) in [-1, 1]."""
        return self._each(images, self.classifier)

    def accuracy(self, images: Tensor, labels: Tensor) -> Estimate:
        """Share of pictures whose likeliest class is their label."""
        images, classes = _labelled(images, labels)
        hits = int((self.logits(images).argmax(1) == classes).sum())
        return share("extractor accuracy", hits, len(classes))

    @torch.no_grad()
    def _each(self, images: Tensor, look: Any) -> Tensor:
        small = shrink(images, SIDE).float()
        return torch.cat([look(small[row : row + _CHUNK]) for row in range(0, len(small), _CHUNK)])

    def save(self, path: str | Path) -> Path:
        """Write a folder with ``extractor.json`` (the record), the weights as safetensors, and a manifest of hashes."""
        return write(path, self.record, self.classifier)

    @classmethod
    def load(cls, path: str | Path) -> Extractor:
        """Read a folder written by :meth:`save`; what is damaged or not what its record says is refused."""
        return cls(*read(path, Classifier, "extractor", "classifier"))


def _labelled(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    pictures, classes = checked(images, labels, "the labelled pictures")
    assert classes is not None
    return pictures, classes
