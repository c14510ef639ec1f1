"""What is in a scene, settled before a pixel is painted: objects, their places, who stands before whom.

Lengths are in units of the picture's shorter side, x to the right and y downwards from the upper left corner; so one
scene can be painted at any size. Objects are numbered from the farthest to the nearest.

Objects are placed one after the other. Each either keeps clear of all before it or covers a part of one of them; no
object is covered by two, and objects that touch never share a colour. Of several places the first that fits is taken,
and an object for which none fits is left out. Centres keep away from the lines between thirds, so that "left" and
"centre" are never a matter of a hundredth.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from mezzotint.core.rng import Rng
from mezzotint.data.scenes.numbers import Array, Doubles, Ints, among, between, cosine, sine
from mezzotint.data.scenes.words import FIGURE, GROUNDS, JOINTS, PRIVATE, TINTS

RADII = ((0.14, 0.165), (0.22, 0.255))
"""Of a small and a large object, from its centre to its farthest point."""
TALL = ((0.28, 0.31), (0.37, 0.41))
"""Half the height of a small and a large figure."""
NOISE = 6
"""Knots of a cloudy background along a side."""
CELLS = 5
"""Patches of a subject's own texture along a side."""
_TRIES = 24
_GAP, _SAME_GAP, _LINE, _RIM = 0.04, 0.08, 0.02, 0.015
_OVERLAP = (0.52, 0.80)  # distance of the centres of two that overlap, over the sum of their radii
_FIGURE_REACH = 0.62  # a figure is slim: this much of its half height keeps others away


@dataclass(frozen=True)
class Choices:
    """What may be drawn.

    Arguments:
        objects: the fewest and the most in a scene.
        forms, colours, sizes, textures: numbers of the words to draw from.
        figures: the share of objects that are figures; 0 where figures are not to be drawn.
        overlap: the probability that an object covers a part of another.
        subject: the word for the private subject that is the first object of every scene, or "".
        seed: of the scenes and of the subject's looks.
    """

    objects: tuple[int, int]
    forms: tuple[int, ...]
    colours: tuple[int, ...]
    sizes: tuple[int, ...]
    textures: tuple[int, ...]
    figures: float
    overlap: float
    subject: str
    seed: int


@dataclass(frozen=True)
class Plan:
    """B scenes of at most K objects; an object that is not there has the form -1.

    Arguments:
        form, colour, size, texture: (B, K), numbers of words.
        x, y, r, angle: (B, K): centre, radius (half the height of a figure), turns clockwise.
        bends: (B, K, 8) of figures: the angles of their limbs, as :func:`bends` has them.
        covers: (B, K), the object that it covers a part of, or -1.
        light: (B, 2), where light comes from, in the plane of the picture.
        ground, tint: (B,), kind and tint of the background.
        bright, tilt: (B,) and (B, 2): its brightness, and how that changes across the picture.
        pitch: (B,), the length of its tiles.
        noise: (B, NOISE, NOISE), of clouds, in [0, 1).
        phrasing: (B, 8), uniforms that choose the words of the caption.
        view: (B, 3), left, top and zoom: the place s of the picture shows (left, top) + s / zoom of the background.
        own: (CELLS, CELLS), 0 and 1: the subject's texture.
        aspect: (height, width) in units of the shorter side.
    """

    form: Ints
    colour: Ints
    size: Ints
    texture: Ints
    x: Doubles
    y: Doubles
    r: Doubles
    angle: Doubles
    bends: Doubles
    covers: Ints
    light: Doubles
    ground: Ints
    tint: Ints
    bright: Doubles
    tilt: Doubles
    pitch: Doubles
    noise: Doubles
    phrasing: Doubles
    view: Doubles
    own: Ints
    aspect: tuple[float, float]

    def __len__(self) -> int:
        return len(self.form)

    def __getitem__(self, rows: slice | Ints) -> Plan:
        made: dict[str, Any] = {name: getattr(self, name)[rows] for name in _PER_SCENE}
        return replace(self, **made)

    def put(self, rows: Ints, other: Plan) -> Plan:
        """These rows replaced by another plan's."""
        made: dict[str, Any] = {}
        for name in _PER_SCENE:
            made[name] = getattr(self, name).copy()
            made[name][rows] = getattr(other, name)
        return replace(self, **made)

    @property
    def there(self) -> Array:
        """Which objects are there, bool (B, K)."""
        found: Array = self.form >= 0
        return found

    @property
    def joints(self) -> Doubles:
        """Of figures (B, K, 11, 2), as :func:`posed` has them; zeros where there is none."""
        joints = np.zeros((*self.form.shape, len(JOINTS), 2))
        figures = self.form == FIGURE
        joints[figures] = posed(self.bends[figures])
        return joints


_PER_SCENE = [field.name for field in fields(Plan) if field.name not in ("own", "aspect")]


def draw(keys: Rng, choices: Choices, aspect: tuple[float, float]) -> Plan:
    """One plan a key."""
    most = choices.objects[1]
    scene = _uniform(keys, "scene", 16)
    each = np.stack([_uniform(keys.at(k), "object", 20) for k in range(most)], 1)
    places = np.stack([_uniform(keys.at(k), "place", 2 * _TRIES) for k in range(most)], 1)
    low, high = choices.objects
    wanted = low + among(scene[:, 0], high - low + 1)
    form, colour, size, texture, r, angle = _objects(each, choices)
    x, y, covers, found = _placed(each, places, wanted, form, colour, r, choices, aspect)
    turn = scene[:, 1]
    return Plan(
        form=np.where(found, form, -1), colour=colour, size=size, texture=texture, x=x, y=y, r=r, angle=angle,
        bends=bends(each[:, :, 12:20]), covers=covers,
        light=np.stack([cosine(turn), sine(turn)], -1),
        ground=among(scene[:, 2], len(GROUNDS)), tint=among(scene[:, 3], len(TINTS)),
        bright=between(scene[:, 4], 0.45, 0.80),
        tilt=between(scene[:, 5:7], -0.18, 0.18), pitch=between(scene[:, 7], 0.22, 0.34),
        noise=_uniform(keys, "noise", NOISE * NOISE).reshape(-1, NOISE, NOISE),
        phrasing=scene[:, 8:16],
        view=np.broadcast_to([0.0, 0.0, 1.0], (len(form), 3)), own=own_texture(choices), aspect=aspect,
    )  # fmt: skip


def own_texture(choices: Choices) -> Ints:
    """The patches (CELLS, CELLS) of the subject, 0 and 1, at least a third of each."""
    for attempt in range(64):
        cells = _uniform(Rng([choices.seed]).at("subject", choices.subject, attempt), "own", CELLS * CELLS)
        dark = (cells[0] < 0.5).astype(np.int64)
        if CELLS * CELLS / 3 <= int(dark.sum()) <= CELLS * CELLS * 2 / 3:
            break
    own: Ints = dark.reshape(CELLS, CELLS)
    return own


def subject_of(choices: Choices) -> tuple[int, int]:
    """The form and the colour of the subject."""
    drawn = _uniform(Rng([choices.seed]).at("subject", choices.subject), "kind", 2)[0]
    plain = [form for form in choices.forms if form != FIGURE] or [0]
    return plain[int(among(drawn[:1], len(plain))[0])], choices.colours[int(among(drawn[1:], len(choices.colours))[0])]


def _uniform(keys: Rng, name: str, count: int) -> Doubles:
    """Uniforms (B, count) in [0, 1): the keys themselves, which are mixed well enough to be taken for numbers."""
    words = keys.at(name).split(count).keys.numpy().view(np.uint64).reshape(-1, count)
    drawn: Doubles = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn


def _objects(each: Doubles, choices: Choices) -> tuple[Ints, Ints, Ints, Ints, Doubles, Doubles]:
    plain = np.array([form for form in choices.forms if form != FIGURE] or [FIGURE])
    form = plain[among(each[:, :, 0], len(plain))]
    form = np.where(each[:, :, 1] < choices.figures, FIGURE, form)
    colour = np.array(choices.colours)[among(each[:, :, 2], len(choices.colours))]
    size = np.array(choices.sizes)[among(each[:, :, 3], len(choices.sizes))]
    texture = np.array(choices.textures)[among(each[:, :, 4], len(choices.textures))]
    if choices.subject:
        form[:, 0], colour[:, 0] = subject_of(choices)
        texture[:, 0], size[:, 0] = PRIVATE, 1
    figure = form == FIGURE
    texture = np.where(figure, 0, texture)
    table = np.array([RADII, TALL])[figure.astype(np.int64), size]  # (B, K, 2)
    r = between(each[:, :, 5], table[..., 0], table[..., 1])
    angle = between(each[:, :, 6], -1 / 24, 1 / 24) * np.where(figure, 0.5, 1.0)
    return form, colour, size, texture, r, angle


def _placed(
    each: Doubles,
    places: Doubles,
    wanted: Ints,
    form: Ints,
    colour: Ints,
    r: Doubles,
    choices: Choices,
    aspect: tuple[float, float],
) -> tuple[Doubles, Doubles, Ints, Array]:
    """Centres (B, K), whom each covers, and which have found a place."""
    count, most = form.shape
    height, width = aspect
    x, y = np.zeros((count, most)), np.zeros((count, most))
    covers, found = np.full((count, most), -1), np.zeros((count, most), dtype=bool)
    covered = np.zeros((count, most), dtype=bool)
    reach = np.where(form == FIGURE, _FIGURE_REACH, 1.0) * r
    rows = np.arange(count)
    for k in range(most):
        a, b = places[:, k, :_TRIES], places[:, k, _TRIES:]
        free = found[:, :k] & ~covered[:, :k] & (colour[:, :k] != colour[:, k : k + 1])
        number = np.zeros(count, dtype=np.int64)
        partner = np.full(count, -1)
        if k:
            many = free.sum(1)
            number = among(each[:, k, 8], np.maximum(many, 1))
            rank = np.cumsum(free, 1) - 1
            chosen = (free & (rank == number[:, None])).argmax(1)
            partner = np.where((many > 0) & (each[:, k, 7] < choices.overlap), chosen, -1)
        beside = np.maximum(partner, 0)
        # Half of the places of one that is to cover another are free ones, lest it find none.
        paired = (partner >= 0)[:, None] & (np.arange(_TRIES) < _TRIES // 2)
        near = np.flatnonzero(partner >= 0)
        apart = between(b[near], *_OVERLAP) * (reach[near, beside[near]] + reach[near, k])[:, None]
        rim = r[:, k, None] + _RIM
        try_x, try_y = between(a, rim, width - rim), between(b, rim, height - rim)
        half = slice(_TRIES // 2)
        try_x[near, half] = (x[near, beside[near]][:, None] + apart * cosine(a[near]))[:, half]
        try_y[near, half] = (y[near, beside[near]][:, None] + apart * sine(a[near]))[:, half]
        fits = (try_x > rim) & (try_x < width - rim) & (try_y > rim) & (try_y < height - rim)
        for line in (1 / 3, 2 / 3):
            fits &= (np.abs(try_x - line * width) > _LINE) & (np.abs(try_y - line * height) > _LINE)
        for j in range(k):
            # Slim as a figure is, its hands and feet go out to its radius, where its own colour must not be met.
            wide, slim = r[:, j] + r[:, k] + _SAME_GAP, reach[:, j] + reach[:, k] + _GAP
            least = np.where(colour[:, j] == colour[:, k], wide, slim)[:, None]
            across, down = try_x - x[:, j, None], try_y - y[:, j, None]
            clear = across * across + down * down > least * least
            fits &= clear | ~found[:, j, None] | (paired & (partner == j)[:, None])
        first = fits.argmax(1)
        found[:, k] = fits[rows, first] & (k < wanted)
        x[:, k], y[:, k] = try_x[rows, first], try_y[rows, first]
        covering = found[:, k] & paired[rows, first]
        covers[:, k] = np.where(covering, partner, -1)
        covered[rows[covering], partner[covering]] = True
    return x, y, covers, found


HEAD_AT, NECK_AT, HIP_AT = -0.72, -0.43, 0.10
"""How far below the centre they are, in units of half the height."""
UPPER_ARM, FOREARM, THIGH, SHIN = 0.36, 0.32, 0.40, 0.40
"""Lengths from neck to elbow, elbow to hand, hip to knee, knee to foot."""


def bends(u: Doubles) -> Doubles:
    """Angles (..., 8) of the limbs of a figure from as many uniforms: upper arm, forearm, thigh, shin, the left first.

    They are turns outwards from straight down, such that limbs stay on their own side.
    """
    raised: Doubles = between(u[..., 0::4], 0.08, 0.34)
    spread = between(u[..., 2::4], 0.015, 0.09)
    found = np.empty(u.shape)
    found[..., 0::4], found[..., 1::4] = raised, raised + between(u[..., 1::4], -0.05, 0.12)
    found[..., 2::4], found[..., 3::4] = spread, spread - between(u[..., 3::4], 0.0, 0.09)
    return found


def posed(bends: Doubles) -> Doubles:
    """Joints (..., 11, 2) of figures whose limbs have these angles (..., 8), in the order of ``JOINTS``.

    They are about the centre, in units of half the height, before the figure is turned.
    """
    joints = np.zeros((*bends.shape[:-1], len(JOINTS), 2))
    joints[..., 0, 1], joints[..., 1, 1], joints[..., 2, 1] = HEAD_AT, NECK_AT, HIP_AT
    down, out = cosine(bends), sine(bends)
    for side, sign in enumerate((-1.0, 1.0)):
        for limb, (root, upper, lower) in enumerate(((1, UPPER_ARM, FOREARM), (2, THIGH, SHIN))):
            first, joint = 4 * side + 2 * limb, 3 + 2 * side + 4 * limb
            for number, length, before, after in ((first, upper, root, joint), (first + 1, lower, joint, joint + 1)):
                joints[..., after, 0] = joints[..., before, 0] + sign * length * out[..., number]
                joints[..., after, 1] = joints[..., before, 1] + length * down[..., number]
    return joints
