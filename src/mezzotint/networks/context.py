"""What a network is told besides the noisy sample and its noise level, and what it answers.

Networks never see labels, text or processes. An encoder turns a condition into tensors named by the *mechanism* that
consumes them, so one network serves every kind of condition and one encoder serves every network:

    vector      (B, D)          modulates every block
    tokens      (B, L, D)       are attended to, in no order but what they say themselves; ``mask`` (B, L) is true
                                where a token is real
    maps        {port: (B, C, *space)}   enter at a port: ``input`` (concatenated), ``decoder`` or ``all``;
                (B, C) is the same everywhere
    residuals   tuple of tensors from a control branch, added to the features of the same level
    visible     (B, L)          true at the tokens a masked network may see

A network refuses a slot it has no use for: a condition that is silently ignored is a bug found months later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from torch import Tensor

from mezzotint.core.errors import Refusal


@dataclass(frozen=True, slots=True)
class Context:
    """Optional tensors by mechanism; what is absent is ``None`` (or empty)."""

    vector: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    residuals: tuple[Tensor, ...] = ()
    visible: Tensor | None = None

    def only(self, *slots: str) -> None:
        """Refuse if anything but ``slots`` is filled; called by a network that knows only these.

        Raises:
            Refusal: naming the filled slots that the caller cannot use.
        """
        extra = [
            slot.name
            for slot in fields(self)
            if slot.name not in slots and (value := getattr(self, slot.name)) is not None and len(value)
        ]
        if extra:
            raise Refusal(
                f"the context fills {', '.join(extra)}, but this network takes {', '.join(slots) or 'none'}; "
                "use an encoder that fills only those, or a network that has the mechanism"
            )


EMPTY = Context()


@dataclass(frozen=True, slots=True)
class Output:
    """A network's answer with the features that were asked for by name.

    Arguments:
        sample: (B, C, *space), the answer itself.
        aux: features by the name in ``want``; each (B, C', *space').
    """

    sample: Tensor
    aux: Mapping[str, Tensor]
