"""Short videos of scenes, with where everything goes from each frame to the next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.data import Rows, check_split
from mezzotint.data.scenes.flow import flow
from mezzotint.data.scenes.motion import Motion, moved
from mezzotint.data.scenes.paint import Painting, paint
from mezzotint.data.scenes.painted import Painted
from mezzotint.data.scenes.plan import Plan
from mezzotint.data.scenes.scenes import CHUNK, PLANNED, TELLS, Scenes

MOST = 64
"""Frames of the longest video."""
_ONCE = ("label", "attributes", "caption")
_PLANES = ("layout.edges", "depth", "mask", "low")  # have an axis of channels before that of time


@dataclass(frozen=True)
class SceneVideos(Painted):
    """Videos x (3, T, H, W) in [-1, 1] of scenes in which objects, limbs and whoever looks move.

    Frame 0 of video k is picture k of the scenes, and what they tell is told: the ``label``, the ``attributes`` and the
    ``caption`` of frame 0, everything else of every frame. Time stands where a picture would begin: a ``layout`` is
    (B, T, H, W), ``keypoints`` are (B, T, K, 11, 3), and ``depth`` is (B, 1, T, H, W). Objects may leave the picture in
    part and hide one another more than in a scene. With ``flow`` there are also

    | name | value |
    |---|---|
    | ``flow.forward`` | float32 (B, 2, T - 1, H, W): from the centre of each pixel of frame t, where what it shows goes until frame t + 1, across and down, in pixels |
    | ``flow.backward`` | the same of each pixel of frame t + 1, to where it was in frame t |
    | ``flow.forward_hidden`` | bool (B, 1, T - 1, H, W): what the pixel of frame t shows is not seen in frame t + 1: it is behind something or outside of the picture |
    | ``flow.backward_hidden`` | the same of each pixel of frame t + 1, in frame t |

    Everything is so at the centre of a pixel. A figure is made of ten pieces, its head, its trunk and eight limbs, and
    each moves as one; what goes under another piece of its own figure is hidden.

    Arguments:
        split: ``"train"``, ``"held_out"`` or ``"all"``.
        scenes: that the videos begin with, and what is told of every frame; their own split is not asked for.
        frames: of each video, 2 to 64.
        flow: whether ``flow`` is told.
        speed: the most that an object goes from frame to frame, across and down each, in units of the shorter side.
        turning: the most that an object turns from frame to frame, in turns.
        waving: how far a figure gets from frame to frame in moving its limbs to another pose and back, at most.
        pan: the most that whoever looks goes from frame to frame, across and down each, in units of the shorter side.
        zoom: the most that everything grows or shrinks from frame to frame, as a share.
    """  # noqa: E501  (a table has no shorter rows)

    split: str = "train"
    scenes: Scenes = field(default_factory=Scenes)
    frames: int = 4
    flow: bool = False
    speed: float = 0.05
    turning: float = 0.015
    waving: float = 0.12
    pan: float = 0.02
    zoom: float = 0.04

    def __post_init__(self) -> None:
        if not isinstance(self.scenes, Scenes):
            raise Refusal(f"videos are of data.Scenes, not of a {type(self.scenes).__name__}")
        check_split(self.split)
        if self.scenes.split != "train":
            raise Refusal(
                f"videos have a split of their own: SceneVideos(split={self.scenes.split!r}), and scenes without one"
            )
        if not 2 <= self.frames <= MOST:
            raise Refusal(f"a video has 2 to {MOST} frames, not {self.frames}")
        for name in ("speed", "turning", "waving", "pan", "zoom"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise Refusal(f"{name} is a share from 0 to 0.5, not {getattr(self, name)}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        channels, height, width = self.scenes.shape
        return channels, self.frames, height, width

    @property
    def classes(self) -> tuple[str, ...]:
        return self.scenes.classes

    @property
    def labels(self) -> Rows | None:
        return self._scenes.labels

    def __len__(self) -> int:
        return len(self._scenes)

    def read(self, rows: Rows) -> Tensor:
        return torch.cat([self._video(painting) for _, painting in self._painted(rows)])

    def condition(self, rows: Rows) -> Condition:
        return self.items(rows)[1]

    def items(self, rows: Rows) -> tuple[Tensor, Condition]:
        videos, told = [], []
        for plan, painting in self._painted(rows):
            videos.append(self._video(painting))
            told.append(self._told(plan, painting, videos[-1]))
        return torch.cat(videos), Condition(**{name: torch.cat([part[name] for part in told]) for name in told[0]})

    def plan(self, rows: Rows) -> Plan:
        """What is in every frame of these videos; frame t of video b is number b * frames + t."""
        motion = Motion(self.speed, self.turning, self.waving, self.pan, self.zoom)
        numbers = torch.from_numpy(self._scenes.numbers(rows))
        keys = Rng([self.scenes.seed]).at("videos").repeat(len(numbers)).at(numbers)
        return moved(self._scenes.plan(rows), keys, motion, self.frames)

    @cached_property
    def _scenes(self) -> Scenes:
        return self.scenes.sibling(self.split)

    def _painted(self, rows: Rows) -> Iterator[tuple[Plan, Painting]]:
        some = max(1, CHUNK // math.prod(self.shape[1:])) * self.frames
        many = max(1, PLANNED // self.frames)
        for start in range(0, max(1, len(rows)), many):
            plan = self.plan(rows[start : start + many])
            for at in range(0, max(1, len(plan)), some):
                piece = plan[at : at + some]
                yield piece, paint(piece, self.shape[2:])

    def _video(self, painting: Painting) -> Tensor:
        return _timed(self.scenes.picture(painting), self.frames).transpose(1, 2).contiguous()

    def _told(self, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        frames = x.transpose(1, 2).flatten(0, 1)
        for name in self.scenes.tells:
            if name in _ONCE:
                first = slice(None, None, self.frames)
                values |= TELLS[name](self.scenes, plan[first], painting[first], frames[first])
                continue
            for key, value in TELLS[name](self.scenes, plan, painting, frames).items():
                timed = _timed(value, self.frames)
                values[key] = timed.transpose(1, 2).contiguous() if name in _PLANES else timed
        return values | (self._flow(plan, painting) if self.flow else {})

    def _flow(self, plan: Plan, painting: Painting) -> dict[str, Tensor]:
        every = np.arange(len(plan)).reshape(-1, self.frames)
        before, after = every[:, :-1].reshape(-1), every[:, 1:].reshape(-1)
        values = {}
        for name, here, there in (("forward", before, after), ("backward", after, before)):
            found = flow(plan, painting.instances[here], here, there)
            for key, value in ((name, found.way), (f"{name}_hidden", found.hidden[:, None])):
                values[f"flow.{key}"] = _timed(torch.from_numpy(value), self.frames - 1).transpose(1, 2).contiguous()
        return values


def _timed(value: Tensor, frames: int) -> Tensor:
    """(B * T, ...) as (B, T, ...)."""
    return value.reshape(-1, frames, *value.shape[1:])
