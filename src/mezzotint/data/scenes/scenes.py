"""Scenes whose conditions are exactly known: shaded, textured, overlapping objects and figures before a background.

A scene is a function of the seed and its number, on every machine and to the last bit (:mod:`.numbers`), and the same
scene whatever its size. What is told of it is exact, since it is made from the same plan as the picture; and it can be
read back from the picture by :mod:`.reader`, without a trained network.

Conventions, for everything here:

- x is across, from left to right, y is down; pixel (i, j), in row i and column j, is the unit square whose centre is
  (j + 1/2, i + 1/2) (what libraries call ``align_corners=False``).
- Boxes are (left, top, right, bottom), the outer edges of the pixels that an object shows; they and keypoints are given
  as shares of the width and of the height.
- A map says what the centre of a pixel shows.
- Depth is 1 on the background and 0 nearest; nearer objects have smaller numbers everywhere.
- A flow says of the centre of each pixel how far what it shows moves, across and down, in pixels; ``forward`` from a
  frame to the next, ``backward`` from a frame to the one before.
- Objects are numbered from the farthest to the nearest; one that is not there is -1, or zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.text import written
from mezzotint.data.data import Index, Rows, check_split
from mezzotint.data.resize import sides
from mezzotint.data.scenes import captions, styles
from mezzotint.data.scenes.numbers import Array, cosine, sine
from mezzotint.data.scenes.paint import Painting, paint
from mezzotint.data.scenes.painted import Painted
from mezzotint.data.scenes.plan import Choices, Plan
from mezzotint.data.scenes.stage import scenes
from mezzotint.data.scenes.words import COLOURS, FIGURE, FORMS, JOINTS, RELATIONS, SIZES, TEXTURES

SMALLEST, LARGEST = 16, 256
CHUNK = 2**18
"""Pixels that are painted at once: they and what is worked out of them stay in the caches."""
PLANNED = 512
"""Pictures that are planned at once."""


@dataclass(frozen=True)
class Scenes(Painted):
    """Pictures x (3, H, W) in [-1, 1] with whatever is told of them.

    What may be told, by name (H, W the picture, K the most objects):

    | name | value |
    |---|---|
    | ``label`` | the form of the object that shows most, int64 (B,) |
    | ``attributes`` | ``attributes.form``, ``.colour``, ``.size``, ``.texture``, ``.place``, ``.covers`` int64 (B, K); ``.relations`` int64 (B, K, K); ``.count`` int64 (B,) |
    | ``caption`` | a sentence, its UTF-8 bytes, uint8 (B, L) |
    | ``layout`` | 0 background, then the colour (or form) + 1, uint8 (B, H, W) |
    | ``layout.instances`` | 0 background, then the object + 1, uint8 (B, H, W) |
    | ``layout.edges`` | whether a neighbour shows another object, bool (B, 1, H, W) |
    | ``boxes`` | ``boxes`` float32 (B, K, 4), ``boxes.label`` int64 (B, K), the form |
    | ``depth`` | float32 (B, 1, H, W) |
    | ``keypoints`` | float32 (B, K, 11, 3): across, down, and 2 seen, 1 hidden, 0 not there |
    | ``mask`` | whether a pixel shows an object, bool (B, 1, H, W) |
    | ``low`` | the picture at a quarter of its size, by the mean of 4 x 4 pixels, float32 (B, 3, H / 4, W / 4) |

    Arguments:
        split: ``"train"``, ``"held_out"`` or ``"all"``.
        size: pixels of a side, or (height, width), 16 to 256.
        tells: which of the above.
        objects: the fewest and the most in a scene. Four large figures find no room: a scene that cannot hold the fewest
            after many tries has those that it can hold, and says so in all that is told of it.
        forms, colours, sizes, textures: words to draw from.
        figures: the share of objects that are figures, where figures are among the forms.
        overlap: the probability that an object covers a part of an earlier one.
        phrasing: of captions: ``mixed``, ``short``, ``full``, ``dense`` or ``relations``.
        layout: whether the map tells the ``colour`` or the ``form``.
        style: ``photo``, ``night``, ``faded``, ``sketch`` or ``poster``.
        subject: a word for a private subject: the first object of every scene is then the same one, with a texture that
            no other object has.
        seed: of everything.
        pictures: to train on, such as ``"1M"``.
        held_out_pictures: held out; none is in both.
    """  # noqa: E501  (a table has no shorter rows)

    split: str = "train"
    size: int | tuple[int, int] = 32
    tells: tuple[str, ...] = ("caption",)
    objects: tuple[int, int] = (1, 4)
    forms: tuple[str, ...] = FORMS
    colours: tuple[str, ...] = COLOURS
    sizes: tuple[str, ...] = SIZES
    textures: tuple[str, ...] = TEXTURES
    figures: float = 0.12
    overlap: float = 0.6
    phrasing: str = "mixed"
    layout: str = "colour"
    style: str = "photo"
    subject: str = ""
    seed: int = 0
    pictures: int | str = 100_000
    held_out_pictures: int | str = 10_000

    def __post_init__(self) -> None:
        check_split(self.split)
        found = sides(self.size)
        assert found is not None
        if not SMALLEST <= min(found) <= max(found) <= LARGEST:
            raise Refusal(f"scenes have {SMALLEST} to {LARGEST} pixels a side, not {self.size}")
        for name, known in (
            ("forms", FORMS), ("colours", COLOURS), ("sizes", SIZES), ("textures", TEXTURES), ("tells", tuple(TELLS)),
        ):  # fmt: skip
            words = getattr(self, name)
            if isinstance(words, str) or len(set(words)) < len(words) or (not words and name != "tells"):
                example = f"; for one word write ({words!r},)" if isinstance(words, str) else ""
                raise Refusal(f"{name} is a list of different words, not {words!r}{example}")
            for word in words:
                if word not in known:
                    raise Refusal(f"scenes have no {word!r} among their {name}: {nearest(str(word), known)}")
            object.__setattr__(self, name, tuple(words))
        for name, choices in (
            ("phrasing", captions.STYLES), ("layout", ("colour", "form")), ("style", styles.STYLES),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise Refusal(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")
        low_high = tuple(self.objects) if isinstance(self.objects, tuple | list) else ()
        if len(low_high) != 2 or not 1 <= low_high[0] <= low_high[1] <= len(captions.NUMBERS) - 1:
            raise Refusal(
                "objects are the fewest and the most in a scene, at least 1 and at most "
                f"{len(captions.NUMBERS) - 1}, such as (1, 4), not {self.objects!r}"
            )
        object.__setattr__(self, "objects", low_high)
        if not 0 <= self.figures <= 1 or not 0 <= self.overlap <= 1:
            raise Refusal(f"figures and overlap are shares in [0, 1], not {self.figures} and {self.overlap}")
        if self.subject and (not self.subject.isalnum() or self.subject != self.subject.lower()):
            raise Refusal(f"subject is a word in small letters, not {self.subject!r}")
        if self.subject in captions.WORDS:
            raise Refusal(f"captions say {self.subject!r} of other things; take a word that they do not know")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**64:
            raise Refusal(f"a seed is a whole number of 64 bits, not {self.seed!r}")
        if "low" in self.tells and any(side % 4 for side in found):
            raise Refusal(f"a quarter of the size asks for sides that 4 divides, not {self.size}")
        if count(self.pictures) < 1 or count(self.held_out_pictures) < 1:
            raise Refusal(f"both splits need a picture at least, not {self.pictures} and {self.held_out_pictures}")

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, *self._sides)

    @property
    def _sides(self) -> tuple[int, int]:
        found = sides(self.size)
        assert found is not None
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        return FORMS if "label" in self.tells else ()

    @property
    def things(self) -> tuple[str, ...]:
        """What the numbers of a layout mean."""
        return ("background", *(COLOURS if self.layout == "colour" else FORMS))

    @cached_property
    def labels(self) -> Rows | None:
        if "label" not in self.tells:
            return None
        return np.concatenate([_label(*some) for some in self._painted(self._numbers)])

    def __len__(self) -> int:
        sizes = {"train": count(self.pictures), "held_out": count(self.held_out_pictures)}
        return sizes.get(self.split, sum(sizes.values()))

    @property
    def length(self) -> int:
        """Bytes of a caption, with the zeros behind it."""
        return 64 + (72 + len(self.subject.encode())) * self.objects[1]

    def read(self, rows: Rows) -> Tensor:
        return torch.cat([self.picture(painting) for _, painting in self._painted(rows)])

    def condition(self, rows: Rows) -> Condition:
        return self.items(rows)[1]

    def texts(self, index: Index = slice(None)) -> list[str]:
        """What is written of these items, a text each; nothing is painted for it."""
        if "caption" not in self.tells:
            return []
        rows = self._rows(index)
        pieces = (self.plan(rows[at : at + PLANNED]) for at in range(0, len(rows), PLANNED))
        return [text for plan in pieces for text in captions.describe(plan, self.phrasing, self.subject)]

    def items(self, rows: Rows) -> tuple[Tensor, Condition]:
        pictures, told = [], []
        for plan, painting in self._painted(rows):
            pictures.append(self.picture(painting))
            values: dict[str, Tensor] = {}
            for name in self.tells:
                values |= TELLS[name](self, plan, painting, pictures[-1])
            told.append(values)
        return torch.cat(pictures), Condition(**{n: torch.cat([v[n] for v in told]) for n in told[0]})

    def plan(self, rows: Rows) -> Plan:
        """What is in these scenes."""
        return scenes(self._choices, self.numbers(rows), self._sides)

    def numbers(self, rows: Rows) -> Rows:
        """The numbers of these scenes among those of all splits."""
        first = count(self.pictures) if self.split == "held_out" else 0
        return np.asarray(rows, dtype=np.int64) + first

    def picture(self, painting: Painting) -> Tensor:
        """A painting in the style of these scenes, in [-1, 1]; as bytes hold it, whether it was saved or not."""
        lit = styles.styled(painting.image, painting.instances, self.style)
        shades = np.ascontiguousarray(np.floor(lit * np.float32(255) + np.float32(0.5)))
        return torch.from_numpy(shades * np.float32(1 / 127.5) - np.float32(1))

    @cached_property
    def _choices(self) -> Choices:
        plain = self.forms == ("figure",)
        return Choices(
            objects=self.objects,
            forms=tuple(FORMS.index(word) for word in self.forms),
            colours=tuple(COLOURS.index(word) for word in self.colours),
            sizes=tuple(SIZES.index(word) for word in self.sizes),
            textures=tuple(TEXTURES.index(word) for word in self.textures),
            figures=1.0 if plain else self.figures if "figure" in self.forms else 0.0,
            overlap=self.overlap,
            subject=self.subject,
            seed=self.seed,
        )

    def _painted(self, rows: Rows) -> Iterator[tuple[Plan, Painting]]:
        some = max(1, CHUNK // (self._sides[0] * self._sides[1]))
        for start in range(0, max(1, len(rows)), PLANNED):
            plan = self.plan(rows[start : start + PLANNED])
            for at in range(0, max(1, len(plan)), some):
                piece = plan[at : at + some]
                yield piece, paint(piece, self._sides)


def _label(plan: Plan, painting: Painting) -> Rows:
    most = painting.visible.argmax(1)
    label: Rows = plan.form[np.arange(len(plan)), most]
    return label


def _labels(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    return {"label": torch.from_numpy(_label(plan, painting))}


def attributes(plan: Plan) -> dict[str, Array]:
    """The words of every object by number, (B, K), -1 where there is none, their relations and their number."""
    height, width = plan.aspect
    there = plan.there
    place = 3 * _third(plan.y / height) + _third(plan.x / width)
    pairs = there[:, :, None] & there[:, None, :]
    across, down = (z[:, :, None] - z[:, None, :] for z in (plan.x, plan.y))
    relations = np.zeros(pairs.shape, dtype=np.int64)
    for i, j, k in zip(*np.nonzero(pairs), strict=True):
        relations[i, j, k] = captions.relation_of(across[i, j, k], down[i, j, k])
    told = {
        name: np.where(there, value, -1)
        for name, value in (
            ("form", plan.form),
            ("colour", plan.colour),
            ("size", plan.size),
            ("texture", plan.texture),
            ("place", place),
            ("covers", plan.covers),
        )  # fmt: skip
    }
    return {**told, "relations": relations, "count": there.sum(1)}


def _third(share: Array) -> Array:
    found: Array = np.minimum(np.floor(3 * share).astype(np.int64), 2)
    return found


def _attributes(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    return {f"attributes.{name}": torch.from_numpy(value) for name, value in attributes(plan).items()}


def _caption(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    return {"caption": written(captions.describe(plan, data.phrasing, data.subject), data.length)}


def _layout(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    what = plan.colour if data.layout == "colour" else plan.form
    table = np.concatenate([np.zeros((len(plan), 1)), what + 1], 1).astype(np.uint8)
    rows = np.arange(len(plan))[:, None, None]
    return {"layout": torch.from_numpy(table[rows, painting.instances])}


def _instances(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    return {"layout.instances": torch.from_numpy(painting.instances)}


def _edges(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    return {"layout.edges": torch.from_numpy(styles.edges(painting.instances))[:, None]}


def _boxes(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    B, K = plan.form.shape
    height, width = painting.instances.shape[1:]
    found = np.zeros((B, K, 4), dtype=np.float32)
    for k in range(K):
        held = painting.instances == k + 1
        for axis, low, high, full in ((1, 0, 2, width), (2, 1, 3, height)):
            line = held.any(axis)
            found[:, k, low] = line.argmax(1) / full
            found[:, k, high] = np.where(line.any(1), full - line[:, ::-1].argmax(1), 0) / full
    return {"boxes": torch.from_numpy(found), "boxes.label": torch.from_numpy(plan.form.copy())}


def _depth(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    return {"depth": torch.from_numpy(painting.depth)[:, None]}


def keypoints(plan: Plan) -> tuple[Array, Array]:
    """Where the joints of figures are, (B, K, 11) across and down, in units of the shorter side."""
    c, s = (f(plan.angle)[:, :, None] for f in (cosine, sine))
    a, b = plan.joints[..., 0] * plan.r[:, :, None], plan.joints[..., 1] * plan.r[:, :, None]
    return plan.x[:, :, None] + c * a - s * b, plan.y[:, :, None] + s * a + c * b


def _keypoints(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    height, width = painting.instances.shape[1:]
    across, down = keypoints(plan)
    i, j = (
        np.clip(np.floor(z * min(height, width)).astype(np.int64), 0, full - 1)
        for z, full in ((down, height), (across, width))
    )
    rows, slots = np.arange(len(plan))[:, None, None], np.arange(plan.form.shape[1])[None, :, None]
    seen = painting.instances[rows, i, j] == slots + 1
    seen &= (across >= 0) & (across < plan.aspect[1]) & (down >= 0) & (down < plan.aspect[0])
    told = np.stack([across / plan.aspect[1], down / plan.aspect[0], 1.0 + seen], -1)
    told = np.where((plan.form == FIGURE)[:, :, None, None], told, 0.0)
    assert told.shape[2] == len(JOINTS)
    return {"keypoints": torch.from_numpy(told.astype(np.float32))}


def _mask(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    return {"mask": torch.from_numpy(painting.instances > 0)[:, None]}


def _low(data: Scenes, plan: Plan, painting: Painting, x: Tensor) -> dict[str, Tensor]:
    picture: Array = x.numpy()
    total: Array = np.zeros_like(picture[:, :, ::4, ::4])
    for i in range(4):
        for j in range(4):
            total = total + picture[:, :, i::4, j::4]
    return {"low": torch.from_numpy(total * np.float32(1 / 16))}


Teller = Callable[[Scenes, Plan, Painting, Tensor], dict[str, Tensor]]
TELLS: dict[str, Teller] = {
    "label": _labels,
    "attributes": _attributes,
    "caption": _caption,
    "layout": _layout,
    "layout.instances": _instances,
    "layout.edges": _edges,
    "boxes": _boxes,
    "depth": _depth,
    "keypoints": _keypoints,
    "mask": _mask,
    "low": _low,
}
"""What scenes can tell, by name."""
assert RELATIONS[0] == "none"
