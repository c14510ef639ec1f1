"""Where maps differ: how far pictures of one seed changed there and elsewhere, and the mask of an edit.

Two maps that differ in one place, drawn with the same seed, make two pictures that ought to differ there and be alike
elsewhere. Nothing forces that: the noise is the same, and the network sees the whole map. So it is measured.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.cli.layouts import Layouts
from mezzotint.cli.map_reader import File, nearby
from mezzotint.cli.original import Mask, Original
from mezzotint.core.errors import Refusal
from mezzotint.training.pictures import pixels

if TYPE_CHECKING:
    from mezzotint.cli.edit import Edit
    from mezzotint.cli.plan import Plan

VISIBLE = 8
"""A pixel that changed by more than this, of 255 and in any channel, counts as changed."""


@dataclass(frozen=True)
class Change:
    """How pictures of one map differ from those of the first, seed by seed.

    Arguments:
        name, first: what the two maps are called.
        differ: the share of places where the maps differ.
        inside, outside: root of the mean squared difference there and elsewhere, of 255; None where there is no place.
        moved: the share of the pixels elsewhere that changed by more than ``VISIBLE``, or None.
        pairs: how many pictures were compared.
    """

    name: str
    first: str
    differ: float
    inside: float | None
    outside: float | None
    moved: float | None
    pairs: int

    @property
    def sentence(self) -> str:
        """It in words."""
        start = f"{self.name} and {self.first} under the same seeds, {self.pairs} pair{'s' * (self.pairs != 1)}: "
        if self.inside is None:
            return f"{start}the maps say the same everywhere; the pictures differ by {self.outside:.1f} of 255 (RMS)"
        start += f"the maps differ at {100 * self.differ:.3g} % of the places; "
        if self.outside is None or self.moved is None:
            return f"{start}the pictures changed by {self.inside:.1f} of 255 (RMS)"
        return (
            f"{start}there the pictures changed by {self.inside:.1f} of 255 (RMS), elsewhere by {self.outside:.1f}, "
            f"and {100 * self.moved:.3g} % of the pixels elsewhere by more than {VISIBLE}"
        )

    def record(self) -> dict[str, Any]:
        """It as plain data."""
        return {
            "map": self.name,
            "against": self.first,
            "pairs": self.pairs,
            "differ": self.differ,
            "rms_inside": self.inside,
            "rms_outside": self.outside,
            "changed_outside": self.moved,
        }


def changes(plan: Plan, x: Tensor) -> list[Change]:
    """What changed from the first map to each later one; [] where there is one map, or none.

    Arguments:
        plan: of the pictures.
        x: pictures (N, C, H, W), a row a row of the plan.
    """
    source, rows = plan.told.mapped, plan.told.items
    if source is None or rows is None or len(set(rows)) < 2:
        return []
    told, shown = plan.told, pixels(x).astype(np.float64)
    size = (x.shape[-2], x.shape[-1])
    keys = [
        (seed, told.labels and told.labels[k], told.captions and told.captions[k]) for k, seed in enumerate(plan.seeds)
    ]
    first, *later = dict.fromkeys(rows)
    of_first = {keys[k]: shown[k] for k, row in enumerate(rows) if row == first}
    found = []
    for row in later:
        mine = [k for k, other in enumerate(rows) if other == row and keys[k] in of_first]
        there = nearby(_differ(source, row, source.values[first], _ids(source, first)), size)
        apart = np.stack([np.abs(shown[k] - of_first[keys[k]]) for k in mine])  # (pairs, H, W, C)
        far = apart.max(-1)[:, ~there]
        found.append(
            Change(
                source.names[row],
                source.names[first],
                float(there.mean()),
                _rms(apart[:, there]),
                _rms(apart[:, ~there]),
                float((far > VISIBLE).mean()) if far.size else None,
                len(mine),
            )
        )
    return found


def said(found: Sequence[Change], kept: bool = False, palette: str | None = None) -> list[str]:
    """Sentences about them, and what to do where the rest moved, too.

    Arguments:
        found: what changed.
        kept: a mask held the rest.
        palette: the file that said what colours mean, or None.
    """
    lines = [one.sentence for one in found]
    if not kept and any(one.moved and one.inside is not None for one in found):
        more = "" if palette is None else f" --palette {shlex.quote(palette)}"
        lines.append(f"to keep the rest to the bit: mezzotint edit RUN PICTURE --layout AFTER --before BEFORE{more}")
    return lines


@dataclass(frozen=True)
class Differing(Mask):
    """A mask that is white where the map that is told differs from an earlier one; the file is the earlier map."""

    def record(self) -> dict[str, Any]:
        return {**super().record(), "map": True}


def masked(
    args: Edit, said: dict[str, Any] | None, source: Layouts | None, original: Original, whole: bool
) -> Mask | None:
    """The mask that an edit is asked for: a file, or where two maps differ; None where there is none.

    Arguments:
        args: of the verb.
        said: the mask of the picture that is to be repeated, or None.
        source: the maps that are told, or None.
        original: the picture.
        whole: whether it may be of one shade all over.
    """
    if args.mask is not None and args.before is not None:
        raise Refusal("--mask says where to draw anew, and so does --before, where maps differ: leave one of them out")
    path = args.before
    if path is None and args.mask is None and said is not None and said.get("map"):
        path = said["path"]
    if path is None:
        named = args.mask if args.mask is not None else (said or {}).get("path")
        return None if named is None else Mask.of(named, original, whole)
    if source is None:
        raise Refusal("--before is the map of the picture as it is, and --layout the map of what it becomes: name both")
    if len(source.maps) > 1:
        raise Refusal(
            f"--before is compared with one map, and --layout names {len(source.maps)}; name one, or say with --mask "
            "where to draw anew"
        )
    file = File.of(path, "map")
    values, _ = source.reader.read(path)
    size = (original.x.shape[-2], original.x.shape[-1])
    there = nearby(_differ(source, 0, torch.from_numpy(values), None), size)
    after = source.maps[0].path
    if not there.any():
        raise Refusal(
            f"the maps {path!r} and {after!r} say the same everywhere, so there is nothing to draw anew; change one of "
            "them, or say where with --mask"
        )
    if there.all() and not whole:
        raise Refusal(
            f"the maps {path!r} and {after!r} differ everywhere, so nothing of the picture would be kept: mezzotint "
            "sample draws the new map alone"
        )
    return Differing(path, file.sha256, torch.from_numpy(np.ascontiguousarray(there))[None], False)


def _ids(source: Layouts, row: int) -> Tensor | None:
    return None if source.ids is None else source.ids[row]


def _differ(source: Layouts, row: int, values: Tensor, ids: Tensor | None) -> NDArray[np.bool_]:
    """Where a map says other things than these values (H, W), or other instances where both are known."""
    found = source.values[row] != values
    mine = _ids(source, row)
    if mine is not None and ids is not None:
        found = found | (mine != ids)
    return found.numpy()


def _rms(apart: NDArray[np.float64]) -> float | None:
    return float(np.sqrt((apart**2).mean())) if apart.size else None
