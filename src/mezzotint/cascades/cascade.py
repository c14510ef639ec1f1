"""A cascade: a small picture is drawn first, and each further model draws a larger one that it is told the smaller of.

    p(x_0 | c) = integral p(x_0 | z_0, c) p(z_0 | c) dz_0,

and so on for more stages, the class or the caption c given to all of them. What one stage draws is not what the next
was trained on, and its faults add up; so the next is trained on corrupted pictures, and is handed corrupted ones, with
their level (Ho et al. 2022, "Cascaded diffusion models for high fidelity image generation", arXiv 2106.15282). There is
no switch between the paper's two ways:

    not truncated   the stage before runs to its end, and what it drew is corrupted: z_s ~ q(z_s | z_0);
    truncated       the stage before stops at that level, ``pipeline.until(u)``, and its state is handed over.

A state is a draw of its level already, so it is not noised again; where its process has another scale than the
augmentation's, it is brought to that, which is a factor. Names are dotted together by the stages: any stage may be
handed any earlier one, under any family, so the hand-over need not be a low resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mezzotint.cascades.stage import Opens, Stage, small, unheard, wanted
from mezzotint.conditions.augment import Augment, Noised
from mezzotint.conditions.classes import Classes
from mezzotint.conditions.encoder import Encoder
from mezzotint.conditions.enlarge import sides_of
from mezzotint.conditions.image import Image
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.processes.base import Continuous


@dataclass(frozen=True)
class Handed:
    """What a stage drew: x (B, *shape), a sample, or at ``t`` > 0 of ``process`` the state where it was stopped."""

    name: str
    x: Tensor
    t: float = 0.0
    process: Any = None


@dataclass(frozen=True)
class Cascade(Part):
    """``(cond, rng) -> x`` through stages that are told what earlier ones drew.

    Sample k depends on the condition and the key of k alone: stage s draws under ``rng.at("stage", s.name)``, and its
    augmentation under ``.at("augment")`` of that, so it is the same in any batch and however stages are opened.

    Arguments:
        stages: in the order they are run.
        apart: open a stage that :class:`~mezzotint.cascades.Opens` when its turn comes and release it after, so that
            one is in memory at a time; else all of them stay open with the cascade.

    Raises:
        Refusal: names or shapes do not fit together.
    """

    stages: tuple[Stage, ...]
    apart: bool = False

    @classmethod
    def example(cls) -> Cascade:
        encoder = Encoder(label=Classes(3, 16), low=Image(2, up=2, level=16))
        larger = Stage("larger", small((2, 8, 8), encoder, 2), augment=Noised(level=0.2))
        return cls((Stage.example(), larger))

    def __post_init__(self) -> None:
        stages = tuple(self.stages)
        object.__setattr__(self, "stages", stages)
        if not stages or not all(isinstance(stage, Stage) for stage in stages):
            raise Refusal("a cascade is one stage or more: Cascade((Stage('base', ...), Stage('larger', ...)))")
        names: list[str] = []
        for stage in stages:
            if stage.name in names:  # first: stages are told apart by it from here on
                raise Refusal(f"two stages are called {stage.name!r}; a name is how later stages know one")
            for family, source in self.takes(stage).items():
                if source not in names:
                    raise Refusal(
                        f"stage {stage.name!r} is to be handed {source!r} as {family!r}, which is no stage before it: "
                        f"{nearest(source, names) if names else 'it is the first'}"
                    )
            names.append(stage.name)
        shapes = {stage.name: _shape(stage.pipeline) for stage in stages}
        for stage in stages:
            for family, source in self.takes(stage).items():
                fits(stage.name, stage.pipeline, family, source, shapes[source], stage.augment)

    def takes(self, stage: Stage) -> dict[str, str]:
        """The earlier stage a stage is handed, by family."""
        if stage.takes is not None:
            return dict(stage.takes)
        place = self.stages.index(stage)
        return {"low": self.stages[place - 1].name} if place else {}

    @property
    def ends(self) -> float:
        """The time at which the last stage ends: 0 unless it is stopped on its way."""
        return float(getattr(self.stages[-1].pipeline, "ends", 0.0))

    def __call__(self, cond: Condition = NONE, rng: Rng | None = None) -> Tensor:
        for handed in self.walk(cond, rng):
            last = handed.x
        return last

    def walk(self, cond: Condition = NONE, rng: Rng | None = None) -> Iterator[Handed]:
        """What each stage draws, in turn: previews, and all that a caller may want to keep."""
        if rng is None:
            raise TypeError("a pipeline needs rng=Rng(seeds), one key per sample")
        made: dict[str, Handed] = {}
        for stage in self.stages:
            made[stage.name] = self._run(stage, cond, rng, made)
            yield made[stage.name]

    def resumed(self, made: Sequence[Handed], cond: Condition, rng: Rng) -> Iterator[Handed]:
        """What the further stages draw where the first have drawn already: a sweep draws its base once.

        Arguments:
            made: of the first stages, as :meth:`walk` gives them under the same condition and keys.
        """
        done = {handed.name: handed for handed in made}
        if list(done) != [stage.name for stage in self.stages[: len(done)]]:
            raise Refusal(f"what was drawn is of {', '.join(done)}, and not of the first stages of this cascade")
        for stage in self.stages[len(done) :]:
            done[stage.name] = self._run(stage, cond, rng, done)
            yield done[stage.name]

    def at(self, levels: Sequence[float | None], truncated: bool = False) -> Cascade:
        """The same cascade with other levels of corruption, one a stage after the first.

        Arguments:
            levels: shares of noise in [0, 1]; None leaves a hand-over as it is.
            truncated: stop the stage before at the level instead of corrupting what it drew.
        """
        if len(levels) != len(self.stages) - 1:
            raise Refusal(f"{len(self.stages)} stages hand over {len(self.stages) - 1} times, not {len(levels)}")
        stages = list(self.stages)
        for place, asked in enumerate(levels, 1):
            if asked is None:
                continue
            for name in self.takes(stages[place]).values():
                if _stopped(self._stage(name).pipeline):
                    raise Refusal(
                        f"stage {name!r} is stopped on its way already: ask for other levels of the cascade that runs "
                        "to its end, from which this one was made"
                    )
            stage, level = stages[place], float(asked)
            if not isinstance(stage.augment, Noised):
                if level:
                    raise Refusal(
                        f"stage {stage.name!r} is handed pictures as they are, so it has no level to be {level}: give "
                        "it augment=Noised(process) and a model that was trained so"
                    )
                continue
            if stage.augment.family not in self.takes(stage):
                raise Refusal(
                    f"stage {stage.name!r} is handed {', '.join(map(repr, self.takes(stage))) or 'nothing'}, and its "
                    f"augmentation is of {stage.augment.family!r}: let it be of what the stage is handed"
                )
            if not truncated:
                stages[place] = replace(stage, augment=replace(stage.augment, level=level))
                continue
            source = self.takes(stage)[stage.augment.family]
            before = next(index for index, other in enumerate(stages) if other.name == source)
            if not hasattr(stages[before].pipeline, "until"):
                raise Refusal(f"stage {source!r} cannot be stopped on its way: it is a pipeline without until(level)")
            stopped: Any = stages[before].pipeline
            stages[before] = replace(stages[before], pipeline=stopped.until(level))
            stages[place] = replace(stage, augment=replace(stage.augment, level=None))
        return replace(self, stages=tuple(stages))

    def _stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    @cached_property
    def _open(self) -> tuple[ExitStack, dict[str, Pipeline]]:
        """What holds the stages that were opened and stay so, and their pipelines by name."""
        return ExitStack(), {}

    def _run(self, stage: Stage, cond: Condition, rng: Rng, made: dict[str, Handed]) -> Handed:
        own = rng.at("stage", stage.name)
        with ExitStack() as stack:
            if self.apart or not isinstance(stage.pipeline, Opens):
                pipeline = stack.enter_context(stage.opened())
            else:
                holds, opened = self._open
                if stage.name not in opened:
                    opened[stage.name] = holds.enter_context(stage.opened())
                pipeline = opened[stage.name]
            told = self._told(stage, pipeline, cond, own, made)
            x = pipeline(told, own)
            process = getattr(getattr(pipeline, "denoiser", None), "process", None)
            ends = float(getattr(pipeline, "ends", 0.0))
        return Handed(stage.name, x, ends, process)

    def _told(self, stage: Stage, pipeline: Pipeline, cond: Condition, rng: Rng, made: dict[str, Handed]) -> Condition:
        """What a stage is told: of the outer condition, and of earlier stages."""
        told = stage.hears(cond)
        augment, states = stage.augment, False
        for family, source in self.takes(stage).items():
            handed = made[source]
            fits(stage.name, pipeline, family, source, tuple(handed.x.shape[1:]), stage.augment)
            # Whatever the outer condition said of this family was about another picture.
            told = told.take(family)[1] | Condition(**{family: handed.x})
            if handed.t > 0:
                told, states = told | self._state(stage, family, handed), True
        if augment is None or states:
            return told
        if isinstance(augment, Noised) and augment.level is None:
            augment = replace(augment, level=0.0)  # levels are drawn in training; what is sampled has one that is said
        return augment(told, None, rng.at("augment"))

    def _state(self, stage: Stage, family: str, handed: Handed) -> Condition:
        """A state that an earlier stage was stopped at, as a stage is told it."""
        augment = stage.augment
        if not isinstance(augment, Noised) or augment.family != family or not isinstance(handed.process, Continuous):
            raise Refusal(
                f"stage {handed.name!r} stops at t = {handed.t:.4g}, so stage {stage.name!r} is handed a noisy state: "
                f"give it augment=Noised(process, family={family!r}), which says on what scale its model knows noise"
            )
        if augment.level is not None:
            raise Refusal(
                f"stage {handed.name!r} stops at t = {handed.t:.4g} and stage {stage.name!r} would noise its state "
                f"again, to level {augment.level}: leave one of the two out"
            )
        t = torch.full((len(handed.x),), handed.t, dtype=torch.float64)
        x, level = augment.received(handed.x, t, handed.process)
        return augment.told(NONE, x, level)


def _stopped(pipeline: Any) -> bool:
    """Whether a pipeline, open or not, ends above its level 0."""
    return bool(getattr(pipeline, "ends", 0.0) or (isinstance(pipeline, Opens) and getattr(pipeline, "level", 0.0)))


def _shape(pipeline: Any) -> tuple[int, ...] | None:
    """Of what a pipeline draws, where that is known before it runs."""
    denoiser = getattr(pipeline, "denoiser", None)
    if denoiser is None or getattr(pipeline, "decode", None) is not None:
        return None
    return tuple(getattr(pipeline, "shape", None) or denoiser.shape)


def fits(
    name: str, pipeline: Any, family: str, source: str, shape: Sequence[int] | None, augment: Augment | None = None
) -> None:
    """Refuse a stage whose model is told pictures of another shape than it is handed.

    Arguments:
        name: of the stage.
        pipeline: of the stage.
        family: under which it is handed a picture.
        source: the stage that draws that.
        shape: of what it draws; None: that is not known yet.
        augment: of the stage, which may enlarge what is handed over.
    """
    known = unheard(pipeline, family)
    if known is not None:
        heard = f"knows {', '.join(known)}" if known else "is told nothing"
        raise Refusal(
            f"stage {name!r} is handed what {source!r} draws as {family!r}, but its model {heard}: a stage after the "
            f"first is a super-resolution model, with Image(channels, up=2) as {family!r}"
        )
    due = wanted(pipeline, family)
    if due is None or shape is None:
        return
    drawn = came = tuple(shape)
    if isinstance(augment, Noised) and augment.family == family:
        sides = sides_of(augment.up, len(drawn) - 1)
        came = (drawn[0], *(side * n for side, n in zip(sides, drawn[1:], strict=True)))
    if came != due:
        larger = "" if came == drawn else f", which its augmentation enlarges to {came}"
        raise Refusal(
            f"stage {name!r} expects {family!r} of the shape {due}, and stage {source!r} draws {drawn}{larger}: the "
            "sizes and channels of neighbouring stages have to agree"
        )
