"""A layout as a condition: which of a few things is to be seen at each place.

Numbers of things have no order, so each has a vector of its own, and the vectors of all places enter the network as
further channels beside x, as the one-hot maps of pix2pix do (Isola et al., arXiv 1611.07004, section 3); a table keeps
a layout of many things narrow. A place of which nothing is said has a learnt vector, too, and where the layout was
dropped, a learnt constant for each channel stands in everywhere. The two are not the same: "anything may be here" is
something to know of a place, and a picture drawn without a layout is told nothing at all.

Two things of one kind that touch are one patch of a layout. Where it is known which is which, the map of instances says
where one ends: a place is on an edge if a neighbour along an axis is of another instance, both sides of it alike
(pix2pixHD, arXiv 1711.11585; semantic diffusion, arXiv 2207.00050). That is one channel more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        port: where the network takes them; ``input`` is concatenation to x, ``decoder`` spatially-adaptive norms.
        edges: one channel more says where instances end: read from ``layout.instances``, integers (B, *space), or from
            ``layout.edges``, true and false (B, *space) or (B, 1, *space). Zero where neither is told.
        things: what the numbers mean, a name each, so that a model knows what a palette of names asks for; or ().

    Attributes:
        width: channels of its maps, ``channels`` or one more.
    """

    def __init__(
        self,
        count: int,
        channels: int = 16,
        port: str = "input",
        edges: bool = False,
        things: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not 1 <= count <= UNSAID or channels < 1:
            raise Refusal(f"Layout needs 1 to {UNSAID} things and a positive width, not {count} and {channels}")
        named = not isinstance(things, str) and all(isinstance(one, str) for one in things)
        if things and (not named or len(set(things)) != count or len(things) != count):
            raise Refusal(f"things are a name for each of {count} numbers, each another one, not {list(things)!r:.80}")
        self.count, self.channels, self.port, self.edges = count, channels, port, edges
        self.things = tuple(things)
        self.width = channels + edges
        self.table = nn.Embedding(count + 1, channels)  # the last one where nothing is said
        # As far apart as one-hot vectors and as long: where there is room for all, one-hot ones but for a rotation.
        apart = nn.init.orthogonal_(torch.empty(count + 1, channels, dtype=torch.float32))
        with torch.no_grad():
            self.table.weight.copy_(apart * max(1.0, (count + 1) / channels) ** 0.5)
        self.null = nn.Parameter(torch.zeros(self.width))

    def _check(self, layout: Tensor) -> Tensor:
        if layout.ndim < 2 or layout.dtype == torch.bool or layout.is_floating_point() or layout.is_complex():
            raise Refusal(f"layouts are integers (B, *space), not {layout.dtype} of shape {tuple(layout.shape)}")
        return layout

    def _split(self, values: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """The layout, and where instances end as true and false (B, *space), or None where that is not told."""
        known = {"instances", "edges"}
        more = {short: value for name, value in values.items() if (short := name.partition(".")[2]) in known}
        rest = {name: value for name, value in values.items() if name.partition(".")[2] not in known}
        layout = only(rest)
        if not self.edges or not more:  # who is which may be known and not told
            return layout, None
        found = more.get("edges")
        if found is None:
            if more["instances"].is_floating_point() or more["instances"].dtype == torch.bool:
                raise Refusal(f"instances are integers (B, *space), not {more['instances'].dtype}")
            found = edges_of(more["instances"])
        elif found.dtype != torch.bool:
            raise Refusal(f"edges are true and false, not {found.dtype}")
        if layout is None:
            raise Refusal("edges and instances are told beside the layout that they are of; give it, too")
        if found.shape == (len(layout), 1, *layout.shape[1:]):
            found = found[:, 0]
        if found.shape != layout.shape:
            raise Refusal(
                f"edges and instances are at the places of the layout, {tuple(layout.shape)}, not {tuple(found.shape)}"
            )
        return layout, found

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        layout, _ = self._split(values)
        if layout is not None:
            wrong = self._check(layout)[((layout < 0) | (layout >= self.count)) & (layout != UNSAID)]
            if len(wrong):
                raise Refusal(
                    f"a layout says {int(wrong[0])}, but this model knows the things 0 to {self.count - 1}, and "
                    f"{UNSAID} where nothing is said"
                )
        return {}

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        layout, edges = self._split(values)
        told = self.null.expand(len(keep), -1)  # (B, C): the same at every place
        if layout is not None:
            if layout.device.type == "cpu":  # on an accelerator this would wait for it; prepare() has looked already
                self.prepare(values)
            things = self._check(layout).long()
            vectors = self.table(torch.where(things == UNSAID, self.count, things)).movedim(-1, 1)
            if self.edges:
                lines = torch.zeros_like(vectors[:, :1]) if edges is None else edges[:, None].to(vectors.dtype)
                vectors = torch.cat((vectors, lines), 1)
            ones = (1,) * (layout.ndim - 1)
            told = torch.where(keep.reshape(-1, 1, *ones), vectors, told.reshape(*told.shape, *ones))
        self.saw(keep, told)
        return Context(maps={self.port: told})


def edges_of(instances: Tensor) -> Tensor:
    """Where instances end, bool (B, *space): a neighbour along an axis of space is of another one.

    Arguments:
        instances: which is at each place, integers (B, *space).
    """
    found = torch.zeros_like(instances, dtype=torch.bool)
    for axis in range(1, instances.ndim):
        count = instances.shape[axis] - 1
        differ = instances.narrow(axis, 1, count) != instances.narrow(axis, 0, count)
        for first in (0, 1):
            found.narrow(axis, first, count).logical_or_(differ)
    return found
