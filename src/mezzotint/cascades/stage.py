"""One stage of a cascade: a pipeline, what it is told of the stages before, and how that is corrupted on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from mezzotint.conditions.augment import Augment
from mezzotint.conditions.classes import Classes
from mezzotint.conditions.encoder import Encoder
from mezzotint.conditions.image import Image
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.spec import Part
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.networks.unet import UNet
from mezzotint.processes.cosine import Cosine
from mezzotint.samplers.euler import Euler
from mezzotint.samplers.sampling import Sampling


@runtime_checkable
class Opens(Protocol):
    """A pipeline that is not in memory: it is opened when its turn comes, and released at the end of the block."""

    def open(self) -> AbstractContextManager[Pipeline]:
        """The pipeline, for as long as the block lasts."""
        ...

    def until(self, level: float) -> Self:
        """The same, stopped where the share of noise is ``level``, as ``Sampling.until``."""
        ...


@dataclass(frozen=True)
class Stage(Part):
    """A pipeline in a cascade.

    Arguments:
        name: by which later stages, previews and messages know it.
        pipeline: ``(cond, rng) -> x``, with a sampler, steps and a guidance of its own, or what :class:`Opens` one.
        takes: which earlier stage it is handed as which family, ``{"low": "base"}``; None: the stage before as ``low``,
            and nothing for the first.
        augment: what is done to that, such as ``conditions.Noised(process, level=0.2)``; None: nothing. Where the
            earlier stage stops above t = 0, it says on which scale the state is wanted, and the level is the state's.
        told: the families of the outer condition that it is given; None: all of them.
    """

    name: str
    pipeline: Pipeline | Opens
    takes: Mapping[str, str] | None = None
    augment: Augment | None = None
    told: tuple[str, ...] | None = None

    @classmethod
    def example(cls) -> Stage:
        return cls("base", small((2, 4, 4), Encoder(label=Classes(3, 16))))

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise Refusal(f"a stage has a name, not {self.name!r}")
        if not (callable(self.pipeline) or isinstance(self.pipeline, Opens)):
            raise Refusal(
                f"stage {self.name!r} needs a pipeline such as Sampling, not a {type(self.pipeline).__name__}"
            )
        if self.augment is not None and not isinstance(self.augment, Augment):
            raise Refusal(f"stage {self.name!r} takes an augmentation such as Noised, not {self.augment!r:.60}")
        if self.told is not None:
            object.__setattr__(self, "told", tuple(self.told))

    @contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """Its pipeline, in memory for as long as the block lasts."""
        if isinstance(self.pipeline, Opens):
            with self.pipeline.open() as pipeline:
                yield pipeline
        else:
            yield self.pipeline

    def hears(self, cond: Condition) -> Condition:
        """What it is given of the outer condition."""
        return cond if self.told is None else cond.take(*self.told)[0]


def small(shape: tuple[int, ...], encoder: Encoder, maps: int = 0) -> Sampling:
    """A pipeline around an untrained network, for the examples."""
    network = UNet(shape, 16, vector=16, maps=maps, attention=())
    return Sampling(Euler(2), Preconditioned(network, Cosine(), encoder))


def wanted(pipeline: Any, name: str) -> tuple[int, ...] | None:
    """The shape of one picture that a pipeline's model is to be told as a family; None: that is not known."""
    denoiser = getattr(pipeline, "denoiser", None)
    if not isinstance(denoiser, Denoiser):
        return None
    shape = getattr(pipeline, "shape", None) or denoiser.shape
    for module in denoiser.modules():
        part = module.parts[name] if isinstance(module, Encoder) and name in module.families else None
        if isinstance(part, Image) and len(shape) > 1:
            space = shape[1:]
            sides = (part.up,) * len(space) if isinstance(part.up, int) else part.up
            return (part.channels, *(n // side for n, side in zip(space, sides, strict=True)))
    return None


def unheard(pipeline: Any, name: str) -> tuple[str, ...] | None:
    """The families that a pipeline's model knows, where ``name`` is none of them; None: it is, or that is not known."""
    denoiser = getattr(pipeline, "denoiser", None)
    if not isinstance(denoiser, Denoiser):
        return None
    encoders = [module for module in denoiser.modules() if isinstance(module, Encoder)]
    known = tuple(dict.fromkeys(family for encoder in encoders for family in encoder.families))
    networked = any(hasattr(module, "network") for module in denoiser.modules())
    return None if name in known or not networked else known
