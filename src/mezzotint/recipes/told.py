"""What is told of a data set, as the parts of an encoder: what it is decides, not what it is called.

| what is told | becomes |
|---|---|
| ``label`` | ``Classes``, the network's vector |
| ``caption`` | ``Text``, its tokens and its vector |
| ``attributes``, words and numbers (B,) | ``Attributes``, its vector |
| integers (B, H, W) at the size of the pictures, such as ``layout`` | ``Layout``, channels beside the picture |
| the same with ``layout.instances`` or ``layout.edges`` beside it | ``Layout``, and where instances end |
| pictures, maps and masks (B, C, H, W) at their size, such as ``image``, ``mask``, ``depth`` | ``Image``, the same |

Anything else, such as keypoints, boxes or a picture at another size, is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mezzotint.conditions.attributes import Attributes
from mezzotint.conditions.classes import Classes
from mezzotint.conditions.image import Image
from mezzotint.conditions.layout import UNSAID, Layout
from mezzotint.conditions.part import ConditionPart
from mezzotint.core.condition import Condition, family
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, together

_AT_ONCE = 256
_FEW = 256  # whole numbers below this may be kinds of something; larger or negative ones are amounts


def parts(data: Data) -> dict[str, ConditionPart]:
    """An encoder part for every family that these data tell, captions left out.

    Raises:
        Refusal: a family that no part reads; the sentence says which.
    """
    x, cond = data.items(np.zeros(1, dtype=np.int64))
    made: dict[str, ConditionPart] = {}
    for name in cond.families:
        values = {key: value for key, value in cond.values.items() if family(key) == name}
        ends = {key.partition(".")[2] for key in values} - {""}
        edges = len(ends) == 1 and ends < {"instances", "edges"}
        value = values.get(name) if len(values) == 1 or edges else None
        if name == "label" and data.classes:
            made[name] = Classes(len(data.classes))
        elif name == "attributes" and all(value.ndim == 1 for value in values.values()):
            made[name] = _attributes(data, values)
        elif value is not None and value.shape[1:] == x.shape[2:] and _whole(value):
            made[name] = Layout(_things(data, name), edges=edges, things=_names(data, name))
        elif value is not None and not edges and value.ndim == x.ndim and value.shape[2:] == x.shape[2:]:
            made[name] = Image(value.shape[1])
        elif name != "caption":
            shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in values.items())
            raise Refusal(
                f"these data tell {name!r}, which is no word or number of a picture and no map at its size ({shapes}), "
                "and the recipe that is written from data has no part for it; let the data tell no more, or write the "
                "model into the recipe"
            )
    return made


def channels(part: ConditionPart) -> int:
    """The channels of maps that a part adds to what a network reads."""
    return part.width if isinstance(part, Layout) else part.channels if isinstance(part, Image) else 0


def _whole(value: Tensor) -> bool:
    return not value.is_floating_point() and value.dtype != torch.bool


def _conditions(data: Data) -> Iterator[Condition]:
    """What is told of all items, of those that are held out, too."""
    splits = [data]
    try:
        splits.append(data.held_out())
    except Refusal:  # nothing was held out
        pass
    for split in splits:
        rows = np.arange(len(split), dtype=np.int64)
        most = max(1, min(_AT_ONCE, 2**24 // math.prod(split.shape)))
        yield from (split.condition(some) for some in together(rows, split.buckets, most))


def _names(data: Data, name: str) -> tuple[str, ...]:
    """What the numbers of a layout mean, where the data say so."""
    return data.things if name == "layout" else ()


def _things(data: Data, name: str) -> int:
    """How many things a layout tells apart: those that the data name, else up to the largest number in any map."""
    if named := _names(data, name):
        return len(named)
    said = (value[value != UNSAID] for cond in _conditions(data) if (value := cond[name]).numel())
    return 1 + max((int(numbers.max()) for numbers in said if len(numbers)), default=0)


def _attributes(data: Data, names: Iterable[str]) -> Attributes:
    """Words by how many there are; numbers by their mean and spread, and whole ones beyond a few as well."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}
    for cond in _conditions(data):
        for name, rows in seen.items():
            rows.append(cond[name][cond.kept("attributes")])
    known: Mapping[str, Sequence[str]] = getattr(data, "words", {})
    words, numbers = list[tuple[str, int]](), list[tuple[str, float, float]]()
    for name, pieces in seen.items():
        found, short = torch.cat(pieces), name.partition(".")[2]
        low, high = (found.min().item(), found.max().item()) if len(found) else (0, 0)
        if short in known:
            words.append((short, len(known[short])))
        elif _whole(found) and low >= 0 and high < _FEW:
            words.append((short, 1 + int(high)))
        else:
            spread = found.double().std(correction=0).item() if len(found) else 0.0
            mean = found.double().mean().item() if len(found) else 0.0
            numbers.append((short, float(f"{mean:.6g}"), float(f"{spread:.6g}") if spread > 0 else 1.0))
    return Attributes(tuple(words), tuple(numbers))
