"""Train on synthetic, test on real: can a classifier learn the real classes from samples alone?

A sample may look right one by one, and the whole set may sit where real pictures do, while what tells the classes apart
is missing. So a fresh classifier sees samples and the classes asked for, never a real picture, and is tested on real
held-out ones. It falls when samples show the wrong class and when they miss part of what a class looks like. Its
ceiling is the score of as many real pictures in the samples' place, trained on alike.

Two classifiers are at hand. :func:`classification_accuracy` fits support vectors: one answer, nothing drawn by chance,
at its best on small, centred pictures. :func:`train_on_synthetic` trains a convolutional network, the same for
every arm whatever its samples show: as many classes, channels, units and pictures seen, from the same seeds.

Source: Ravuri and Vinyals 2019, "Classification accuracy score for conditional generative models" (1905.10887, section
3; there a ResNet-50 on ImageNet, top-1 and top-5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.metrics.estimate import Estimate, mean, share
from mezzotint.metrics.extractor import IMAGES, Extractor
from mezzotint.metrics.judge import Judge
from mezzotint.metrics.pictures import checked, subset

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Scores:
    """What a classifier learnt from samples, and from as many real pictures.

    Arguments:
        samples: the score of the samples.
        real: of as many real training pictures: the ceiling.
    """

    samples: Estimate
    real: Estimate

    @property
    def reached(self) -> float:
        """The part of the ceiling that is reached, ``samples / real``; 1 is as good as real pictures."""
        return self.samples.value / self.real.value if self.real.value else math.nan

    def __str__(self) -> str:
        return (
            f"{self.samples}, as many real pictures {self.real.value:.4g} [{self.real.low:.4g}, {self.real.high:.4g}]"
        )


def classification_accuracy(samples: Tensor, labels: Tensor, images: Tensor, truth: Tensor) -> Estimate:
    """Classification accuracy score of support vectors: a judge fitted to samples alone, tested on real pictures.

    It falls both when samples show the wrong class and when they miss part of what a class looks like, which accuracy
    by a judge cannot see. Set it beside the score of a judge fitted to as many real pictures. Ravuri and Vinyals 2019,
    "Classification accuracy score for conditional generative models", 1905.10887 (there a ResNet-50).

    Arguments:
        samples, labels: generated pictures (N, C, H, W) and the classes asked for (N,).
        images, truth: real held-out pictures (M, C, H, W) and their classes (M,).
    """
    return Judge.fit(samples, labels).accuracy(images, truth, "classification accuracy score")


def train_on_synthetic(
    samples: Tensor,
    labels: Tensor,
    images: Tensor,
    truth: Tensor,
    *,
    seeds: Sequence[int] = SEEDS,
    seen: int = IMAGES,
    width: int = 16,
    features: int = 64,
    top: int = 1,
) -> Estimate:
    """Classification accuracy score of a network: the mean over seeds of its accuracy on real held-out pictures.

    A :class:`mezzotint.metrics.Classifier` with one answer a class of ``truth`` is trained from each seed, on samples
    alone. The interval covers other held-out pictures and other seeds, not another draw of the samples: Wilson's
    distance for M pictures and Student's for the spread over seeds, squared and added (Zou and Donner 2008,
    "Construction of confidence limits about effect measures"). A single seed says nothing of the spread.

    Arguments:
        samples, labels: generated pictures (N, C, H, W) in [-1, 1], any size, and the classes asked for (N,).
        images, truth: real held-out pictures (M, C, H, W) and their classes (M,).
        seeds: one network each; of its weights and of the order of the pictures.
        seen: pictures each network sees in training, counted with repetition, however many samples there are.
        width, features: of the classifier.
        top: a picture counts where its class is among the ``top`` likeliest.
    """
    images, truth, classes = _truth(images, truth)
    samples, labels = _told(samples, labels, images, classes)
    if not seeds or len(set(seeds)) < len(seeds):
        raise Refusal(f"seeds are different numbers, one network each, not {tuple(seeds)}")
    if isinstance(top, bool) or not 1 <= top < classes:
        raise Refusal(f"of {classes} classes the likeliest 1 to {classes - 1} can be counted, not {top!r}")
    if seen < 1:
        raise Refusal(f"a network that learns sees at least one picture, not {seen}")
    hits = []
    for seed in seeds:
        learnt = Extractor.train(samples, labels, seed=seed, seen=seen, width=width, features=features, classes=classes)
        likeliest = learnt.logits(images).topk(top, dim=1).indices
        hits.append(int((likeliest == truth[:, None]).any(1).sum()))
    return _over_seeds("train on synthetic", hits, len(truth), len(samples))


def beside_real(
    samples: Tensor,
    labels: Tensor,
    train: tuple[Tensor, Tensor],
    images: Tensor,
    truth: Tensor,
    *,
    seeds: Sequence[int] = SEEDS,
    seen: int = IMAGES,
    width: int = 16,
    features: int = 64,
    top: int = 1,
) -> Scores:
    """:func:`train_on_synthetic` of samples, and of as many real training pictures with everything else alike.

    Arguments:
        samples, labels, images, truth, seeds, seen, width, features, top: as there.
        train: real training pictures (K, C, H, W) and their classes (K,), of which a fixed random subset as large as
            the samples is taken; there must be as many.
    """
    pictures, classes = checked(*train, "the real training pictures")
    if len(pictures) < len(samples):
        raise Refusal(
            f"the ceiling of {len(samples)} samples needs as many real pictures, but there are {len(pictures)}; "
            f"score {len(pictures)} of the samples"
        )
    assert classes is not None
    rows = subset(len(pictures), len(samples))
    own, real = (
        train_on_synthetic(x, y, images, truth, seeds=seeds, seen=seen, width=width, features=features, top=top)
        for x, y in ((samples, labels), (pictures[rows], classes[rows]))
    )
    return Scores(own, real)


def _truth(images: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, int]:
    pictures, classes = checked(images, truth, "the held-out pictures")
    assert classes is not None
    if int(classes.min()) < 0 or len(torch.unique(classes)) < 2:
        raise Refusal("a score needs held-out pictures of at least two classes, numbered from 0")
    return pictures, classes, int(classes.max()) + 1


def _told(samples: Tensor, labels: Tensor, images: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    pictures, asked = checked(samples, labels, "the samples")
    assert asked is not None
    if pictures.shape[1:] != images.shape[1:]:
        raise Refusal(
            f"samples are {tuple(pictures.shape[1:])} and held-out pictures {tuple(images.shape[1:])}; bring them to "
            "one size first"
        )
    if int(asked.min()) < 0 or int(asked.max()) >= classes:
        raise Refusal(
            f"samples are of classes {int(asked.min())} to {int(asked.max())}, but held-out pictures of 0 to "
            f"{classes - 1}; a class that is never tested has no score"
        )
    return pictures, asked


def _over_seeds(name: str, hits: Sequence[int], count: int, against: int) -> Estimate:
    """The mean of one share a seed; the limits of both kinds of chance, squared and added."""
    each = np.array(hits, dtype=np.float64) / count
    value, spread = float(each.mean()), 0.0
    pictures = share(name, round(value * count), count, against)
    if len(each) > 1:
        seeds = mean(name, each)
        spread = seeds.high - seeds.value
    low, high = (
        value + sign * math.hypot(edge - value, spread) for sign, edge in ((-1, pictures.low), (1, pictures.high))
    )
    return Estimate(name, value, max(low, 0.0), min(high, 1.0), count, against)
