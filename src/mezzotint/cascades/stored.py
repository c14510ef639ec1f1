"""A stage of a cascade in its folder: opened when its turn comes, and released after it.

What is opened is the usual pipeline (``samplers.Sampling``) with a sampler, a guidance and an average of the weights of
its own. Stages that stay on the disk until they are asked let a cascade run in the memory of its largest one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mezzotint.core.blueprint import PARAMETERS, measured
from mezzotint.core.bounded import inside, parse_json, read_bytes
from mezzotint.core.config import dumps
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import MANIFEST, check_folder, sha256
from mezzotint.core.spec import Part
from mezzotint.core.store import (
    MODEL,
    WEIGHTS,
    fill_module,
    load_model,
    load_tensors,
    model_config,
    model_folder,
    settled,
)
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.chunked import Chunked
from mezzotint.guidance.contrast import CFG
from mezzotint.guidance.scale import Between
from mezzotint.samplers.base import Sampler
from mezzotint.samplers.heun import Heun
from mezzotint.samplers.sampling import Sampling

STEPS = 18
"""Of Heun's method, where the folder names no sampler."""
_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Stored(Part):
    """A pipeline by the folder of its run or model.

    Arguments:
        folder: of a run or a model.
        sampler: the rule; None: the model's usual one.
        average: of the weights, by its relative length, such as 0.10: one that the run has kept in its newest
            checkpoint; None: the exported weights.
        guidance: scale of classifier-free guidance; 1 is the plain model.
        interval: the lowest and the highest level at which it guides; None: everywhere.
        sha256: that the model must have (:meth:`found`); None: whichever is there.
        rows: how many the network is asked at once, so that a sample is the same to the last bit in any batch; None:
            the batch.
        device: where the model goes.
        level: the share of noise at which the run is stopped; 0: at its end.
        parameters: how many the model may have.
    """

    folder: str
    sampler: Sampler | None = None
    average: float | None = None
    guidance: float = 1.0
    interval: tuple[float, float] | None = None
    sha256: str | None = None
    rows: int | None = None
    device: str = "cpu"
    level: float = 0.0
    parameters: int = PARAMETERS

    def __post_init__(self) -> None:
        if self.sampler is not None and not isinstance(self.sampler, Sampler):
            raise Refusal(f"the sampler of a stage is a part such as samplers.Heun, not {self.sampler!r:.60}")
        if self.guidance - self.guidance != 0:
            raise Refusal(f"the scale of a guidance is a number, not {self.guidance}; 1 is the plain model")
        if not 0 <= self.level <= 1:
            raise Refusal(f"a run stops at a level in [0, 1], not at {self.level}")
        if self.interval is not None:
            object.__setattr__(self, "interval", tuple(self.interval))

    @classmethod
    def example(cls) -> Stored:
        return cls("runs/7", Heun(4), guidance=2.0)

    @property
    def average_name(self) -> str:
        """The file of the average in a checkpoint: ``ema-0.100``."""
        return f"ema-{self.average:.3f}"

    def until(self, level: float) -> Self:
        """The same, stopped where the share of noise is ``level``."""
        return replace(self, level=float(level))

    def found(self) -> str:
        """The SHA-256 of what decides its pictures: of that of the weights it draws with, and the config of the model.

        Raises:
            Refusal: there is no finished model or no such average, or another hash is recorded.
        """

        def now() -> str:
            said = {"model": model_config(self.folder)["model"], "weights": sha256(self._weights())}
            return hashlib.sha256(dumps(said).encode()).hexdigest()

        digest = settled(self.folder, now)
        if self.sha256 not in (None, digest):
            raise Refusal(
                f"the model in {self.folder!r} has the SHA-256 {digest[:12]}..., and {str(self.sha256)[:12]}... is "
                "asked for: it was trained further, is damaged or is another; bring back that one, or leave the hash "
                "out"
            )
        return digest

    @contextmanager
    def open(self) -> Iterator[Sampling]:
        """The pipeline for as long as the block lasts; whoever keeps it keeps its weights in memory."""
        yield self._pipeline()

    def usual(self) -> Sampler:
        """The sampler: its own, or else the model's."""
        if self.sampler is not None:
            return self.sampler
        return usual(self.folder, model_config(self.folder), self.parameters)

    def guided(self, denoiser: Denoiser) -> Denoiser:
        """The model under its guidance."""
        if self.guidance == 1:
            return denoiser
        scale = self.guidance if self.interval is None else Between(self.guidance, *self.interval)
        return CFG(denoiser, scale).eval()

    def _pipeline(self) -> Sampling:
        if self.sha256 is not None:
            self.found()
        model = load_model(self.folder, parameters=self.parameters)
        if not isinstance(model, Denoiser):
            raise Refusal(f"{self.folder!r} holds a {type(model).__name__}, which does not draw pictures")
        if self.average is not None:
            file = self._weights()
            fill_module(model, load_tensors(file, like=model), repr(str(file)))
        model.to(self.device)
        even = model if self.rows is None else Chunked(model, self.rows)
        return Sampling(self.usual(), self.guided(even)).until(self.level)

    def _weights(self) -> Path:
        """The file of the weights that it draws with, checked against its manifest."""
        if self.average is None:
            return model_folder(self.folder) / WEIGHTS
        place = Path(self.folder, _CHECKPOINTS)
        whole = (
            [one for one in place.iterdir() if one.name.isdecimal() and (one / MANIFEST).is_file()]
            if place.is_dir()
            else []
        )
        if not whole:
            raise Refusal(
                f"{self.folder!r} has no checkpoints, so no average of its weights but the exported one; leave it out"
            )
        newest = max(whole, key=lambda one: one.name)
        named = check_folder(newest)
        if f"{self.average_name}.safetensors" not in named:
            state = parse_json(read_bytes(inside(newest, "state.json")), f"the state of {str(newest)!r}")
            kept = [one.get("sigma_rel") for one in state.get("averages", [])] if isinstance(state, dict) else []
            raise Refusal(
                f"the run in {self.folder!r} kept averages of the relative lengths {', '.join(map(str, kept))}, and "
                f"none of {self.average}: take one of these"
            )
        return inside(newest, f"{self.average_name}.safetensors")


def usual(folder: str, config: Mapping[str, Any], parameters: int = PARAMETERS) -> Sampler:
    """The sampler that the config of a model's folder names; Heun's where it names none.

    Arguments:
        folder: whose config it is.
        config: of the model.
        parameters: how many anything in it may have.
    """
    found = config.get("sampler")
    made: Any = Heun(STEPS) if found is None else measured(found, MODEL, parameters)
    if not isinstance(made, Sampler):
        raise Refusal(f"the config of {folder!r} names {type(made).__name__} as the model's sampler, which it is not")
    return made
