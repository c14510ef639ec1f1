"""How what is in a scene moves, and whoever looks at it.

In the background's own coordinates an object goes straight on at its own speed and turns at its own rate; a figure
swings its limbs from its pose to another one and back. Whoever looks moves straight on, too, and comes nearer or goes
away by the same factor every frame, about the middle of the picture. Frame 0 is the scene itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mezzotint.core.rng import Rng
from mezzotint.data.scenes.numbers import Doubles, between, sine
from mezzotint.data.scenes.plan import Plan, bends
from mezzotint.data.scenes.words import FIGURE

_AWAY = 0.25  # how far whoever looks goes at most from where they began
_CALM = 0.5  # figures turn less than other objects, as they do in a picture


@dataclass(frozen=True)
class Motion:
    """The most that anything moves from one frame to the next.

    Arguments:
        speed: of an object, across and down each, in units of the shorter side.
        turning: of an object, in turns.
        waving: of the limbs of a figure, in swings to another pose and back.
        pan: of whoever looks, across and down each, in units of the shorter side.
        zoom: how much larger or smaller everything becomes, as a share.
    """

    speed: float
    turning: float
    waving: float
    pan: float
    zoom: float


def moved(plan: Plan, keys: Rng, motion: Motion, frames: int) -> Plan:
    """Every scene in every frame, (B * frames) scenes; frame t of scene b is number b * frames + t.

    Arguments:
        plan: B scenes.
        keys: (B,).
        motion: how much moves.
        frames: how many.
    """
    B, K = plan.form.shape
    height, width = plan.aspect
    last = max(1, frames - 1)
    camera = keys.uniform("camera", (3,)).numpy()
    each = np.stack([keys.at("object", k).uniform("object", (12,)).numpy() for k in range(K)], 1)
    t = np.arange(frames, dtype=np.float64)

    pan = np.clip(between(camera[:, :2], -motion.pan, motion.pan), -_AWAY / last, _AWAY / last)
    zoom = np.ones((B, frames))
    for frame in range(1, frames):
        zoom[:, frame] = zoom[:, frame - 1] * (1 + between(camera[:, 2], -motion.zoom, motion.zoom))
    left = width / 2 - width / 2 / zoom + pan[:, :1] * t
    top = height / 2 - height / 2 / zoom + pan[:, 1:] * t

    # Centres stay within what frame 0 shows, so that nothing is gone before the end.
    speed = between(each[:, :, :2], -motion.speed, motion.speed)
    across = np.clip(speed[:, :, 0], -plan.x / last, (width - plan.x) / last)
    down = np.clip(speed[:, :, 1], -plan.y / last, (height - plan.y) / last)
    x = (plan.x[:, None] + across[:, None] * t[:, None] - left[:, :, None]) * zoom[:, :, None]
    y = (plan.y[:, None] + down[:, None] * t[:, None] - top[:, :, None]) * zoom[:, :, None]
    turning = between(each[:, :, 2], -motion.turning, motion.turning) * np.where(plan.form == FIGURE, _CALM, 1.0)
    angle = plan.angle[:, None] + turning[:, None] * t[:, None]
    half = sine(between(each[:, None, :, 3], 0.5, 1.0) * (motion.waving / 2) * t[:, None])
    there_and_back = (half * half)[..., None]
    bent = plan.bends[:, None] + there_and_back * (bends(each[:, :, 4:]) - plan.bends)[:, None]

    def flat(value: Doubles) -> Doubles:
        return value.reshape(B * frames, *value.shape[2:])

    return replace(
        plan[np.repeat(np.arange(B), frames)],
        x=flat(x), y=flat(y), r=flat(plan.r[:, None] * zoom[:, :, None]), angle=flat(angle), bends=flat(bent),
        view=flat(np.stack([left, top, zoom], -1)),
    )  # fmt: skip
