"""From a condition to what a network is told: one part a family, summed by mechanism.

Families that nobody encodes are refused, so that a misspelt condition is never silently ignored. Families that are
absent count as dropped, which needs a trained null.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mezzotint.conditions.part import ConditionPart
from mezzotint.core.condition import Condition, family, known
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.context import Context


class Encoder(Module):
    """Condition -> Context.

    Arguments:
        families: a condition part by family name, as ``Encoder(label=Classes(10))``. Vectors of several families are
            added, tokens are joined in the order given, maps are joined channel by channel at their port; one without
            space, (B, C), is spread over the space of the others.
    """

    def __init__(self, **families: ConditionPart) -> None:
        super().__init__()
        for name, part in families.items():
            if not isinstance(part, ConditionPart):
                kind = type(part).__name__
                raise Refusal(f"the encoder of {name!r} must be a condition part such as Classes, not a {kind}")
        self.parts = nn.ModuleDict(families)

    def __getitem__(self, name: str) -> ConditionPart:
        return cast(ConditionPart, self.parts[name])

    @property
    def families(self) -> tuple[str, ...]:
        """The families it knows."""
        return tuple(self.parts)

    @property
    def nulls(self) -> tuple[str, ...]:
        """The families whose null was trained."""
        return tuple(name for name in self.families if bool(self[name].null_trained))

    def prepare(self, cond: Condition) -> Condition:
        """Check values and add what frozen encoders make of them; once per run."""
        known(cond, self.families, "this model")
        missing = [name for name in self.families if name not in cond.families and name not in self.nulls]
        if missing:
            raise Refusal(
                f"this model needs the condition {missing[0]!r}: its null was never trained, so it cannot be left out; "
                f"give it, or train with dropout for {missing[0]!r}"
            )
        added: dict[str, Tensor] = {}
        for name in cond.families:
            added |= self[name].prepare({n: v for n, v in cond.values.items() if family(n) == name})
        return cond | Condition(**added)

    def forward(self, cond: Condition, count: int) -> Context:
        """The context of ``count`` rows."""
        known(cond, self.families, "this model")
        contexts = []
        for name in self.families:
            part = self[name]
            device = part.null_trained.device
            values = {n: v.to(device) for n, v in cond.values.items() if family(n) == name}
            keep = cond.kept(name).to(device) if values else torch.zeros(count, dtype=torch.bool, device=device)
            contexts.append(part(values, keep))
        return merge(contexts)


def merge(contexts: list[Context]) -> Context:
    """Several families' contexts as one: vectors add, tokens and maps are joined."""
    if len(contexts) == 1:
        return contexts[0]
    vectors = [c.vector for c in contexts if c.vector is not None]
    if len({v.shape[-1] for v in vectors}) > 1:
        widths = [v.shape[-1] for v in vectors]
        raise Refusal(f"families give vectors of widths {widths}; they are added, so make them one")
    tokens = [c for c in contexts if c.tokens is not None]
    masks = [
        c.mask if c.mask is not None else torch.ones(c.tokens.shape[:2], dtype=torch.bool, device=c.tokens.device)
        for c in tokens
        if c.tokens is not None
    ]
    ports = dict.fromkeys(port for c in contexts for port in c.maps)
    return Context(
        vector=torch.stack(vectors).sum(0) if vectors else None,
        tokens=torch.cat([c.tokens for c in tokens if c.tokens is not None], 1) if tokens else None,
        mask=torch.cat(masks, 1) if tokens else None,
        maps={port: _beside([c.maps[port] for c in contexts if port in c.maps]) for port in ports},
        residuals=sum((c.residuals for c in contexts), ()),
        visible=next((c.visible for c in contexts if c.visible is not None), None),
    )


def _beside(maps: list[Tensor]) -> Tensor:
    """Maps (B, C, *space) or (B, C) as one, channel by channel."""
    spaces = {m.shape[2:] for m in maps if m.ndim > 2}
    if len(spaces) > 1:
        sizes = " and ".join(str(tuple(space)) for space in sorted(spaces))
        raise Refusal(f"families give maps of the sizes {sizes}, but they enter side by side; make them one size")
    space = spaces.pop() if spaces else torch.Size()
    return torch.cat([m if m.ndim > 2 else m[(..., *(None,) * len(space))].expand(*m.shape, *space) for m in maps], 1)
