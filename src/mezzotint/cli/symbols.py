"""Samples that are no pictures, shown as their data say: texts in a file that carries its settings, shades and codes as
pictures.

What a symbol or a code stands for is known by the data set that the model's config names, and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mezzotint.autoencoders import Encoded
from mezzotint.cli import source
from mezzotint.cli.drawing import Model
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import PART, resolve
from mezzotint.core.store import DATA, model_config
from mezzotint.data import Data
from mezzotint.denoiser.base import Denoiser
from mezzotint.guidance import Known
from mezzotint.processes.base import Process
from mezzotint.samplers import Sampling
from mezzotint.samplers.grids import Grid
from mezzotint.samplers.start import Start

SUFFIX = ".txt"


def vocab(denoiser: Denoiser) -> int | None:
    """How many symbols a model is of, None for one of real numbers."""
    return getattr(denoiser.process, "vocab", None)


def of_codes(path: str) -> bool:
    """Whether a run or model folder is of a model of codes; its data are not built for it."""
    tree = model_config(path).get("data")
    name = tree.get(PART) if isinstance(tree, dict) else None
    try:
        return isinstance(name, str) and issubclass(resolve(name, DATA), Encoded)
    except Refusal:  # of a package that is not here
        return False


@dataclass(frozen=True)
class Shown:
    """How samples that are no pictures are shown.

    Arguments:
        data: what the model was trained on.
        text: whether its symbols are text, and not a picture.
        size: height and width of one picture, None of texts.
    """

    data: Data
    text: bool
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, model: Model, changes: list[str]) -> Shown | None:
        """What the config of a model of symbols or codes names; None for a model of pictures.

        Arguments:
            model: that draws.
            changes: edits of where the data lie, such as ``data.path=elsewhere``.
        """
        many = vocab(model.denoiser)
        if many is None and not of_codes(model.path):
            return None
        data = source.of_run(model.path, changes)
        if many is None and (data.vocab is not None or tuple(data.shape) != tuple(model.denoiser.shape)):
            raise Refusal(
                f"the model in {model.path!r} is of real codes of the shape {tuple(model.denoiser.shape)}, and its "
                "data have others now: they have changed, so nobody knows what a code stands for; bring back what it "
                "was trained on"
            )
        if data.vocab != many:
            found = "no symbols" if data.vocab is None else f"{data.vocab} symbols"
            raise Refusal(
                f"the model in {model.path!r} is of {many} symbols, and its data have {found} now: they have changed, "
                "so nobody knows what a symbol stands for; bring back what it was trained on"
            )
        one = torch.zeros(1, *model.denoiser.shape, dtype=torch.float32 if many is None else torch.int64)
        text = data.spelt(one) is not None
        drawn = None if text else data.drawn(one)
        if not text and drawn is None:
            what = "codes" if many is None else "symbols"
            raise Refusal(f"data.{type(data).__name__} does not say what its {what} stand for, so none can be shown")
        return cls(data, text, None if drawn is None else (drawn.shape[-2], drawn.shape[-1]))

    def pictures(self, x: Tensor) -> Tensor:
        """Symbols or codes (B, ...) as pictures (B, C, H, W)."""
        found = self.data.drawn(x)
        assert found is not None
        return found

    def texts(self, x: Tensor) -> list[str]:
        """Symbols (B, L) as texts."""
        found = self.data.spelt(x)
        assert found is not None
        return found


@dataclass(frozen=True)
class Prompt:
    """A beginning that is given.

    Arguments:
        text: of it.
        x: its symbols, int64 (n,).
    """

    text: str
    x: Tensor

    @classmethod
    def of(cls, text: str, shown: Shown | None, model: Model) -> Prompt:
        """The symbols of a text, refused where the model writes none or no more than that."""
        numbered: Any = getattr(None if shown is None else shown.data, "numbered", None)
        if numbered is None:
            raise Refusal(f"the model in {model.path!r} writes no texts, so it takes no --prompt")
        x: Tensor = numbered(text)
        (length,) = model.shape
        if not 0 < len(x) < length:
            raise Refusal(
                f"--prompt has {len(x)} symbols, but texts of this model have {length}: give it 1 to {length - 1}"
            )
        return cls(text, x)

    def cond(self, count: int, shape: tuple[int, ...]) -> Condition:
        """What is known of so many samples."""
        x = torch.zeros(count, *shape, dtype=torch.int64)
        x[:, : len(self.x)] = self.x
        known = torch.arange(shape[0]) < len(self.x)
        return Condition(**{"known.x": x, "known.mask": known.expand(count, *shape)})


@dataclass(frozen=True)
class Begun(Start):
    """A start with what is known in its place: a process that masks leaves it there, so that the model sees it from the
    first step on, and :class:`~mezzotint.guidance.Known` brings it back on any other.

    Arguments:
        denoiser: whose process it is of.
        start: what the rest begins at; None: the prior.
    """

    denoiser: Denoiser
    start: Start | None = None

    @property
    def process(self) -> Process:  # type: ignore[override]
        return self.denoiser.process

    @property
    def ends(self) -> float:
        return 1.0 if self.start is None else self.start.ends

    @property
    def families(self) -> tuple[str, ...]:
        return () if self.start is None else self.start.families

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        if self.start is None:
            x = self.process.prior(tuple(self.denoiser.shape)).repeat(len(rng)).sample(rng.at("start"))
        else:
            x = self.start(cond, rng.at("start"))
        return torch.where(cond["known.mask"], cond["known.x"], x) if "known.mask" in cond else x

    def path(self, grid: Grid, steps: int) -> Tensor:
        return grid(self.process, steps) if self.start is None else self.start.path(grid, steps)


def completing(sampling: Sampling) -> Sampling:
    """The same pipeline, with entries that its condition knows."""
    start = sampling.start
    if start is not None and not isinstance(start, Start):
        raise TypeError(f"what is known is put into a Start, not into a {type(start).__name__}")
    begun = Begun(sampling.denoiser, start)
    return Sampling(sampling.sampler, Known(sampling.denoiser), start=begun, shape=sampling.shape)
