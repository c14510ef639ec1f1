"""A layout as a condition: which of a few things is to be seen at each place.

Numbers of things have no order, so each has a vector of its own, and the vectors of all places enter the network as
further channels beside x, as the one-hot maps of pix2pix do (Isola et al., arXiv 1611.07004, section 3); a table keeps
a layout of many things narrow. A place of which nothing is said has a learnt vector, too, and where the layout was
dropped, a learnt constant for each channel stands in everywhere. The two are not the same: "anything may be here" is
something to know of a place, and a picture drawn without a layout is told nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mezzotint.conditions.part import ConditionPart, only
from mezzotint.core.errors import Refusal
from mezzotint.networks.context import Context

UNSAID = 255
"""What a layout says where it says nothing, as the data room has it."""


class Layout(ConditionPart):
    """One of ``count`` things at each place, over one, two or three axes of space.

    The network is built with as many channels of maps, ``UNet(shape, maps=channels)``; of several families with maps,
    with the sum of theirs.

    Arguments:
        count: how many things, at most 255; values are integers (B, *space) at the size of x, 0 .. count - 1, and 255
            where nothing is said.
        channels: of the vectors that stand for things.
        port: where the network takes them; ``input`` is concatenation to x.
    """

    def __init__(self, count: int, channels: int = 16, port: str = "input") -> None:
        super().__init__()
        if not 1 <= count <= UNSAID or channels < 1:
            raise Refusal(f"Layout needs 1 to {UNSAID} things and a positive width, not {count} and {channels}")
        self.count, self.channels, self.port = count, channels, port
        self.table = nn.Embedding(count + 1, channels)  # the last one where nothing is said
        self.null = nn.Parameter(torch.zeros(channels))

    def _check(self, layout: Tensor) -> Tensor:
        if layout.ndim < 2 or layout.dtype == torch.bool or layout.is_floating_point() or layout.is_complex():
            raise Refusal(f"layouts are integers (B, *space), not {layout.dtype} of shape {tuple(layout.shape)}")
        return layout

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        layout = only(values)
        if layout is not None:
            wrong = self._check(layout)[((layout < 0) | (layout >= self.count)) & (layout != UNSAID)]
            if len(wrong):
                raise Refusal(
                    f"a layout says {int(wrong[0])}, but this model knows the things 0 to {self.count - 1}, and "
                    f"{UNSAID} where nothing is said"
                )
        return {}

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        layout, told = only(values), self.null.expand(len(keep), -1)  # (B, C): the same at every place
        if layout is not None:
            if layout.device.type == "cpu":  # on an accelerator this would wait for it; prepare() has looked already
                self.prepare(values)
            things = self._check(layout).long()
            vectors = self.table(torch.where(things == UNSAID, self.count, things)).movedim(-1, 1)
            ones = (1,) * (layout.ndim - 1)
            told = torch.where(keep.reshape(-1, 1, *ones), vectors, told.reshape(*told.shape, *ones))
        self.saw(keep, told)
        return Context(maps={self.port: told})
