"""A run under examination: what its folder says, and what its model answers.

Parts of the run are built when a check first asks for them. What cannot be built - the pictures have moved, a part
belongs to a package that is not here - leaves the checks that need it undone, with the reason, and nothing else. The
folder may be a stranger's: its model is measured before it is made, its settings are those of parts that read no file,
and its data set, which reads what the config names, is built only if ``data`` says so.
"""

from __future__ import annotations

import math
import shlex
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.blueprint import blueprint
from mezzotint.core.condition import Condition
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import build
from mezzotint.core.store import MODEL, data_set, fill_module
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Denoiser, Trainable
from mezzotint.denoiser.exact import Empirical
from mezzotint.doctor.finding import Unknown
from mezzotint.doctor.folder import broken
from mezzotint.doctor.levels import Level
from mezzotint.doctor.predictors import PICTURES, Answer, Linear, Mean, errors
from mezzotint.training.levels import BINS
from mezzotint.training.run import Run
from mezzotint.training.trainer import Trainer

_ENTRIES, _FEWEST, _MOST = 8_192, 32, 512
_BY_HEART, _BY_HEART_ENTRIES = 20_000, 20_000_000
_TRAINER = (*MODEL, "objectives", "training")


class Patient:
    """A run folder, read and built as far as it is asked for.

    Arguments:
        path: of the folder.
        data: whether the data set that its config names may be read.
    """

    def __init__(self, path: str | Path, data: bool = True) -> None:
        self.run = Run.open(path)
        self.name = shlex.quote(str(path).rstrip("/") or "/")
        self.config = self.run.config
        self._read = data

    @cached_property
    def lines(self) -> list[tuple[bytes, dict[str, Any] | None]]:
        """Of its log, with what they say; None where that is no line that training writes."""
        return [(line, row if row is not None and _whole(row) else None) for line, row in self.run.lines()]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """What its log says."""
        return [row for _, row in self.lines if row is not None]

    def _entry(self, name: str) -> Any:
        if name not in self.config:
            raise Unknown(f"the config has no entry {name!r}")
        return self.config[name]

    @cached_property
    def trainer(self) -> Trainer:
        """How it was trained."""
        made = blueprint(self._entry("training"), _TRAINER)
        if not isinstance(made, Trainer):
            raise Unknown("the config's entry 'training' is no Trainer")
        return made

    @cached_property
    def data(self) -> Data:
        """What it was trained on."""
        if not self._read:
            raise Unknown("the data were left alone, as asked")
        made = data_set(self._entry("data"))
        if not isinstance(made, Data):
            raise Unknown("the config's entry 'data' is no data set")
        len(made)  # pictures that have moved are missed here
        return made

    @cached_property
    def held_out(self) -> Data | None:
        """What it never saw, None where nothing was held out."""
        try:
            others = self.data.held_out()
            return others if len(others) else None
        except Refusal:
            return None

    @cached_property
    def broken(self) -> dict[int, str]:
        """Checkpoints that are not whole, and why."""
        return broken(self.run)

    @cached_property
    def whole(self) -> list[int]:
        """Checkpoints that are whole, by images seen."""
        return [images for images in self.run.checkpoints() if images not in self.broken]

    def checkpoint(self, images: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """The tensors of a checkpoint by file, and its state."""
        return self.run.load(images)

    @cached_property
    def newest(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """The newest whole checkpoint."""
        if not self.whole:
            raise Unknown("there is no whole checkpoint")
        return self.checkpoint(self.whole[-1])

    @property
    def averages(self) -> list[str]:
        """The files of its averages, the exported one first."""
        return [entry["file"] for entry in self.newest[1]["averages"]]

    def model(self, name: str) -> Denoiser:
        """The model with the weights of a file of the newest checkpoint, ready to ask."""
        made = self._made()
        tensors, _ = self.newest
        fill_module(made, tensors[name], f"the checkpoint of {self.whole[-1]} images")
        if not isinstance(made, Denoiser):
            raise Unknown(f"a {type(made).__name__} is no denoiser")
        return made.eval().requires_grad_(False)

    @cached_property
    def average(self) -> Denoiser:
        """The model with the weights that are exported."""
        return self.model(self.averages[0])

    @cached_property
    def weights(self) -> Denoiser:
        """The model with the weights that are trained."""
        return self.model("model")

    @cached_property
    def beginning(self) -> dict[str, Tensor]:
        """The weights it began with, as :func:`mezzotint.training.train` draws them."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.trainer.seed)
            return self._made().state_dict()

    def _made(self) -> torch.nn.Module:
        """The model of the config, measured before memory is taken."""
        self.measure()
        made: torch.nn.Module = build(self._entry("model"), MODEL)
        return made

    def measure(self) -> None:
        """Refuse a model that cannot be made, or is too large."""
        if not isinstance(blueprint(self._entry("model"), MODEL), torch.nn.Module):
            raise Unknown("the config's entry 'model' is no model")

    @property
    def finished(self) -> bool:
        """Whether every image that was asked for has been seen."""
        return self.images >= count(self.trainer.images)

    @property
    def images(self) -> int:
        """Seen, by the log."""
        return max((int(row.get("images", 0)) for row in self.rows), default=0)

    @property
    def steps(self) -> int:
        """Done so far, at least one."""
        return max(1, self.images // self.trainer.batch)

    @property
    def rate(self) -> float:
        """The mean learning rate of a step."""
        batch, total = self.trainer.batch, count(self.trainer.images)
        some = np.linspace(1, self.steps, min(self.steps, 1_000))
        return float(np.mean([self.trainer.rate(step * batch, total) for step in some]))

    @cached_property
    def table(self) -> list[Level]:
        """Error by level, of the model and of those it is measured against."""
        process: Any = self.average.process
        if process.kind != "real":
            raise Unknown("squared errors by level are of real data, and this model is of symbols: look at its loss")
        if not isinstance(self.average, Trainable) or self.average.times is not None:
            raise Unknown("predictors are for networks on continuous processes that answer at all times")
        shares = self._shares() or [None] * BINS
        few = min(_MOST, max(_FEWEST, _ENTRIES // math.prod(self.data.shape)))
        seen = _some(self.data, few)
        new = seen if self.held_out is None else _some(self.held_out, few)
        many, _ = _some(self.data, PICTURES)
        told = [family for family in seen[1].families if family in self.families]
        nulls = [family for family in told if family in self.average.nulls]
        asked = {"model": _ask(self.average, told), "weights": _ask(self.weights, told)}
        asked |= {"null": _ask(self.average, told, nulls)} if nulls else {}
        known: dict[str, Answer] = {
            "mean": Mean(many),
            "trivial": _trivial(self.average),
            "linear": Linear(process, many),
        }
        exact = self._exact(process, "label" in told)
        heart = {"by_heart": _ask(exact, ["label"] if "label" in told else [])} if exact is not None else {}
        middles, keys = (torch.arange(BINS) + 0.5) / BINS, Rng([0]).at("doctor")

        def measure(answers: dict[str, Answer], x: Tensor, cond: Condition) -> dict[str, list[float]]:
            return errors(answers, process, x, cond, middles, keys.repeat(len(x)).at(torch.arange(len(x))))

        theirs = measure({**known, **asked, **heart}, *new)
        ours = measure({"seen": asked["model"], **heart}, *seen)
        columns: dict[str, list[Any]] = {**theirs, "level": middles.tolist(), "seen": ours["seen"]}
        columns["share"] = shares
        columns["null"] = theirs.get("null", [None] * BINS)
        columns["by_heart"] = ours.get("by_heart", [None] * BINS)
        columns["by_heart_new"] = theirs.get("by_heart", [None] * BINS)
        return [Level(**{name: column[i] for name, column in columns.items()}) for i in range(BINS)]

    @property
    def families(self) -> tuple[str, ...]:
        """The condition families that the model hears."""
        encoder = getattr(self.average, "encoder", None)
        return tuple(getattr(encoder, "families", ()))

    def _exact(self, process: Any, told: bool) -> Empirical | None:
        """The exact denoiser of the training set, where it is small enough and the noise is normal."""
        many = len(self.data)
        small = many <= _BY_HEART and many * math.prod(self.data.shape) <= _BY_HEART_ENTRIES
        if not small or not process.gaussian or self.held_out is None:
            return None
        x, cond = self.data[:]
        return Empirical(process, x, cond["label"] if told and "label" in cond else None)

    def _shares(self) -> list[float | None]:
        """Which share of the training draws fell into each bin of the level, by the log."""
        drawn = np.zeros(BINS)
        for row in self.rows:
            for bin in row.get("levels", ()):
                drawn[round(float(bin["low"]) * BINS)] += float(bin["count"])
        shares: list[float | None] = (drawn / drawn.sum()).tolist() if drawn.sum() else []
        return shares


def _whole(row: dict[str, Any]) -> bool:
    """Whether the bins of a log line have their figures: a byte that changes may leave JSON with another key."""
    bins = row.get("levels", [])
    return isinstance(bins, list) and all(
        isinstance(bin, dict) and all(isinstance(bin.get(name), int | float) for name in ("low", "count", "error"))
        for bin in bins
    )


def _ask(model: Denoiser, told: list[str], drop: list[str] | None = None) -> Answer:
    """A model as an answer: told these families, without those in ``drop``."""

    def answer(x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        heard, _ = cond.take(*told)
        mean: Tensor = model(x, t, model.prepare(heard.drop(*drop) if drop else heard)).mean
        return mean

    return answer


def _trivial(model: Trainable) -> Answer:
    return lambda x, t, cond: model.trivial(x, t)


def _some(data: Data, few: int) -> tuple[Tensor, Condition]:
    """So many pictures, spread evenly over a data set."""
    rows = np.unique(np.linspace(0, len(data) - 1, min(few, len(data))).round().astype(np.int64))
    return data[rows]
