"""Attributes: several things that are known of a sample as a whole, by name, some of them words and some numbers.

A word is one of a few, so each has a vector of its own. A number has an order and a distance, so it becomes waves of
several lengths (:class:`~mezzotint.networks.Sinusoid`, the features of Vaswani et al., arXiv 1706.03762, section 3.5):
a linear layer reads from them whether it is large, and whether it is near another. The vectors of all attributes are
added, and their sum to the network's embedding of the noise level. They are one family and dropped together; a learnt
vector then stands in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mezzotint.conditions.part import ConditionPart
from mezzotint.core.errors import Refusal
from mezzotint.networks.context import Context
from mezzotint.networks.embed import Sinusoid

_WAVES = 32


class Attributes(ConditionPart):
    """Attributes of a family, as ``attributes.sail`` and ``attributes.speed`` are.

    Arguments:
        words: (name, how many) of each attribute that is one of a few; values are integers (B,) from 0.
        numbers: (name, mean, spread) of each that is a number, as the data have it; values are real (B,).
        width: of the vector handed to the network (its ``vector``).
    """

    def __init__(
        self,
        words: Sequence[tuple[str, int]] = (),
        numbers: Sequence[tuple[str, float, float]] = (),
        width: int = 128,
    ) -> None:
        super().__init__()
        self.words = tuple((str(name), int(count)) for name, count in words)
        self.numbers = tuple((str(name), float(mean), float(spread)) for name, mean, spread in numbers)
        self.names = (*(name for name, _ in self.words), *(name for name, _, _ in self.numbers))
        if not self.names or len(set(self.names)) < len(self.names):
            raise Refusal(f"Attributes needs at least one name, each once, not {list(self.names)}")
        if width < 1 or any(count < 1 for _, count in self.words) or any(not s > 0 for _, _, s in self.numbers):
            raise Refusal("of attributes every count, every spread and the width are positive")
        self.width = width
        self.tables = nn.ModuleList(nn.Embedding(count, width) for _, count in self.words)
        self.waves = Sinusoid(_WAVES)
        self.layers = nn.ModuleList(nn.Linear(_WAVES, width) for _ in self.numbers)
        self.null = nn.Parameter(torch.zeros(width))

    @classmethod
    def example(cls) -> Attributes:
        """One of each, for whoever checks the part."""
        return cls((("kind", 3),), (("size", 0.0, 1.0),), width=16)

    def _named(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values by the names of their attributes, all of which are there and as they should be."""
        found = {name.partition(".")[2]: value for name, value in values.items()}
        if set(found) != set(self.names):
            raise Refusal(
                f"this model knows the attributes {', '.join(self.names)}, all of them together, and was given "
                f"{', '.join(sorted(filter(None, found))) or 'one value without a name'}"
            )
        whole = {name for name, _ in self.words}
        for name, value in found.items():
            real = value.is_floating_point()
            if value.ndim != 1 or value.is_complex() or value.dtype == torch.bool or (real and name in whole):
                wanted = "whole numbers from 0" if name in whole else "numbers"
                raise Refusal(f"{name!r} is {wanted} (B,), not {value.dtype} of shape {tuple(value.shape)}")
        return found

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = self._named(values) if values else {}
        for name, count in self.words if found else ():
            wrong = found[name][(found[name] < 0) | (found[name] >= count)]
            if len(wrong):
                raise Refusal(f"{name!r} is {int(wrong[0])}, but this model knows its values 0 to {count - 1}")
        for name, _, _ in self.numbers if found else ():
            if not found[name].isfinite().all():
                raise Refusal(
                    f"{name!r} is not finite somewhere; replace it, by zero in rows where the family is dropped"
                )
        return {}

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        told = self.null.expand(len(keep), -1)
        if values:
            found, vectors = self._named(values), list[Tensor]()
            if keep.device.type == "cpu":  # on an accelerator this would wait for it; prepare() has looked already
                self.prepare(values)
            vectors += [table(found[name].long()) for table, (name, _) in zip(self.tables, self.words, strict=True)]
            for layer, (name, mean, spread) in zip(self.layers, self.numbers, strict=True):
                waves = self.waves((found[name].double() - mean) / spread)
                vectors.append(layer(waves.to(self.null.dtype)))
            told = torch.where(keep[:, None], torch.stack(vectors).sum(0), told)
        self.saw(keep, told)
        return Context(vector=told)
