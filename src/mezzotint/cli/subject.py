"""What a report is about: a model, what it drew, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from mezzotint.cli.bar import Bar
from mezzotint.cli.tiles import COLUMNS
from mezzotint.core.condition import NONE, Condition
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Denoiser
from mezzotint.metrics.report import Report
from mezzotint.samplers.base import Sampler
from mezzotint.training.run import Run


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Arguments:
        run: whose model made the samples.
        data: the train split it learnt from.
        model: the denoiser that was sampled.
        sampler: with which sampler.
        samples: (N, C, H, W).
        labels: the classes that were asked for (N,), or None.
        seeds: the key of every sample.
        report: what was measured.
        bars: what had to be reached, by measure.
        seconds: how long each stage took.
        scale: of the guidance the samples were made with.
        told: what every sample was asked to show, where that is more than a label.
        origins: of which rows of the data that was told, or None.
        guided: the guidance in words, where its scale does not say it.
        asked_of: the split whose rows ``origins`` are; None: ``data``.
        alike: several samples of one layout each (layouts, samples, C, H, W), and of which rows of ``told``; or None.
    """

    run: Run
    data: Data
    model: Denoiser
    sampler: Sampler
    samples: Tensor
    labels: Tensor | None
    seeds: Sequence[int]
    report: Report
    bars: Mapping[str, Bar] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    scale: float = 1.0
    told: Condition = NONE
    origins: Sequence[int] | None = None
    guided: str = ""
    asked_of: Data | None = None
    alike: tuple[Tensor, Sequence[int]] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that have a column: ten at most, none where samples have no labels."""
        return self.data.classes[:COLUMNS] if self.labels is not None else ()

    @property
    def columns(self) -> int:
        """Of every sheet of pictures."""
        return len(self.classes) or COLUMNS

    @property
    def guidance(self) -> str:
        """Of the samples, in words."""
        return self.guided or f"guidance scale {self.scale:g}"

    def cond(self, labels: Tensor) -> Condition:
        """These labels as the model's condition, or none for a model without classes."""
        return NONE if self.labels is None else Condition(label=labels)

    def name(self, i: int) -> str:
        """What sample i shows, in words."""
        return "sample" if self.labels is None else f"sample of {self.data.classes[int(self.labels[i])]}"

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The log of the run."""
        return self.run.metrics()
