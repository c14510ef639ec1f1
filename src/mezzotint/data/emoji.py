"""Emoji with their names, a small real text-to-image set: drawings of Mozilla's FxEmojis, 886 of them.

The drawings are by Mozilla and its contributors (github.com/mozilla/fxemoji), under CC BY 4.0: whoever shows them, or
what a model made of them, names them so. The names are those of Unicode, as github.com/muan/unicode-emoji-json lists
them (MIT).

The file, ``emoji/emoji_64.npz`` with ``images`` (N, 64, 64, 4), ``captions``, ``groups`` and ``split``, lies in the
folder that the environment variable ``MEZZOTINT_DATA`` names; nothing is downloaded, and no path enters a config.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.data.arrays import Arrays
from mezzotint.data.data import Data, Rows, check_split
from mezzotint.data.licence import Licence
from mezzotint.data.origins import Origins
from mezzotint.data.resize import sides
from mezzotint.data.root import find
from mezzotint.data.transparency import check_colour

GROUPS = (
    "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects", "People & Body", "Smileys & Emotion",
    "Symbols", "Travel & Places",
)  # fmt: skip
_LABELS = (None, "groups")


@dataclass(frozen=True)
class Emoji(Data):
    """Emoji, x (3, H, W) in [-1, 1], with their Unicode name as ``caption`` and one of nine groups as ``label``.

    The file holds a tenth out (88 of 886), the same for everybody.

    Arguments:
        size: pixels of a side, or (height, width); by area, the centre kept. 64 is as they are.
        under: the colour behind the drawings.
        label: ``"groups"``, or None to tell the name alone.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    size: int | tuple[int, int] = 64
    under: str = "white"
    label: str | None = "groups"
    split: str = "train"
    licence = Licence("CC BY 4.0", "name Mozilla FxEmojis")

    def __post_init__(self) -> None:
        check_split(self.split)
        check_colour(self.under)
        sides(self.size)
        if self.label not in _LABELS:
            raise Refusal(f"the label of an emoji is 'groups' or None, not {self.label!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._arrays.shape

    @property
    def classes(self) -> tuple[str, ...]:
        return GROUPS if self.label is not None else ()

    @property
    def labels(self) -> Rows | None:
        return self._arrays.labels

    def __len__(self) -> int:
        return len(self._arrays)

    def read(self, rows: Rows) -> Tensor:
        return self._arrays.read(rows)

    def condition(self, rows: Rows) -> Condition:
        return self._arrays.condition(rows)

    def _marks(self) -> Iterator[bytes]:
        yield from self._arrays._marks()

    @cached_property
    def origins(self) -> Origins:
        return self._arrays.origins

    @cached_property
    def _arrays(self) -> Arrays:
        return Arrays(
            str(find("emoji/emoji_64.npz")),
            label=self.label,
            classes=self.classes,
            split=self.split,
            size=self.size,
            caption="captions",
            split_by="split",
            under=self.under,
        )
