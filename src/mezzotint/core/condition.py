"""A condition: everything a sample is made from, as one value.

Names are dotted and the *family* is the part before the dot: ``label`` and ``label.add`` are one family, encoded,
dropped and guided together. Each part of the house takes out what was meant for it and passes the rest on. Which rows
of a family are to be ignored is not a special token but ``keep``, so that any family can be dropped the same way; a
family without an entry in ``keep`` is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mezzotint.core.batched import Batched
from mezzotint.core.errors import Refusal
from mezzotint.core.text import filled, written

if TYPE_CHECKING:
    from mezzotint.core.rng import Rng

_KEEP = "keep:"


def family(name: str) -> str:
    """The family a dotted name belongs to: the part before the first dot."""
    return name.split(".", 1)[0]


class Condition(Batched):
    """Named tensors with the batch first, and which rows of each family to keep.

    Arguments:
        values: tensors (B, ...) by name; dotted names are passed as ``Condition(**{"low.level": u})``. Numbers and
            sequences become tensors, and a list of strings the bytes that :mod:`mezzotint.core.text` writes.
    """

    __slots__ = ("values", "keep")
    values: Mapping[str, Tensor]
    keep: Mapping[str, Tensor]

    def __init__(self, **values: Any) -> None:
        self._fill({name: _tensor(value) for name, value in values.items()}, {})

    def _fill(self, values: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        sizes = {name: len(value) if value.ndim else None for name, value in values.items()}
        if None in sizes.values() or len(set(sizes.values())) > 1:
            raise Refusal(f"every value of a condition has the batch first and the same length, not {sizes}")
        object.__setattr__(self, "values", dict(values))
        object.__setattr__(self, "keep", dict(keep))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Condition is immutable; combine two with |")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (dict(self.values), dict(self.keep))

    def leaves(self) -> dict[str, Tensor]:
        return {**self.values, **{_KEEP + name: rows for name, rows in self.keep.items()}}

    def rebuild(self, leaves: Mapping[str, Tensor]) -> Condition:
        return _restore(
            {name: leaf for name, leaf in leaves.items() if not name.startswith(_KEEP)},
            {name.removeprefix(_KEEP): leaf for name, leaf in leaves.items() if name.startswith(_KEEP)},
        )

    def joined(self, others: Sequence[Condition]) -> Condition:
        # A family whose rows are all kept has no entry in keep; when another part of the join drops some, it needs one.
        everything = [self, *others]
        marked = {name for cond in everything for name in cond.keep}
        texts = {name for name, value in self.values.items() if all(_is_text(c.values.get(name)) for c in everything)}
        for name in texts:  # texts that were written apart are as long as the longest of each
            length = max(cond.values[name].shape[1] for cond in everything)
            everything = [
                _restore({**cond.values, name: filled(cond.values[name], length)}, cond.keep) for cond in everything
            ]
        first, *rest = (_restore(cond.values, {name: cond.kept(name) for name in marked}) for cond in everything)
        return Batched.joined(first, rest)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __bool__(self) -> bool:
        return bool(self.values)

    def __getitem__(self, index: Any) -> Any:
        """``cond["label"]`` is a tensor (B, ...); ``cond[3]``, ``cond[:2]`` and ``cond[[0, 4]]`` are conditions."""
        if isinstance(index, str):
            if index not in self.values:
                raise KeyError(f"no {index!r} in a condition that holds {sorted(self.values)}")
            return self.values[index]
        return super().__getitem__(index)

    def __repr__(self) -> str:
        parts = [f"{name}={tuple(value.shape)}" for name, value in self.values.items()]
        dropped = [f"{name}: {int((~rows).sum())} dropped" for name, rows in self.keep.items()]
        return f"Condition({', '.join(parts + dropped)})"

    @property
    def families(self) -> tuple[str, ...]:
        """The families present, in order."""
        return tuple(dict.fromkeys(family(name) for name in self.values))

    def kept(self, name: str) -> Tensor:
        """Which rows of a family are kept, bool (B,)."""
        if name in self.keep:
            return self.keep[name]
        device = next((v.device for n, v in self.values.items() if family(n) == name), None)
        return torch.ones(len(self), dtype=torch.bool, device=device)

    def drop(self, *families: str, rows: Tensor | None = None) -> Condition:
        """The same condition with rows of these families (all, if none is named) to be ignored.

        Arguments:
            rows: which, bool (B,); None: every row.
        """
        named = [name for name in families or self.families if name in self.families]
        left = dict(self.keep)
        for name in named:
            kept = self.kept(name)
            left[name] = torch.zeros_like(kept) if rows is None else kept & ~rows.to(kept.device)
        return _restore(self.values, left)

    def dropout(self, p: float | Mapping[str, float], rng: Rng) -> Condition:
        """Drop each family of each row with its own probability.

        Arguments:
            p: one probability for every family, or one a family; families left out are kept.
            rng: keys (B,); each family has its own draw, so one family's rate never moves another's rows.
        """
        rates = p if isinstance(p, Mapping) else dict.fromkeys(self.families, p)
        keep = dict(self.keep)
        for name in self.families:
            if rates.get(name, 0.0) > 0:
                drawn = rng.uniform(f"drop {name}", ()) >= rates[name]
                before = self.kept(name)
                keep[name] = before & drawn.to(before.device)
        return _restore(self.values, keep)

    def take(self, *families: str) -> tuple[Condition, Condition]:
        """Split into (these families, the rest); what is not there is not missed."""

        def pick(inside: bool) -> Condition:
            return _restore(
                {n: v for n, v in self.values.items() if (family(n) in families) == inside},
                {n: k for n, k in self.keep.items() if (n in families) == inside},
            )

        return pick(True), pick(False)

    def __or__(self, other: Condition) -> Condition:
        """Both conditions together; where both hold a name, the right side wins.

        A name the right side gives anew is kept unless the right side drops it; names that only join a family (what
        a frozen encoder adds) leave its dropped rows dropped.
        """
        replaced = {family(name) for name in other.values if name in self.values}
        keep = {name: rows for name, rows in self.keep.items() if name not in replaced}
        return _restore({**self.values, **other.values}, {**keep, **other.keep})

    def to(self, device: torch.device | str) -> Condition:
        """The same condition on another device."""
        return self.rebuild({name: leaf.to(device) for name, leaf in self.leaves().items()})


def _tensor(value: Any) -> Tensor:
    words = isinstance(value, str) or (isinstance(value, list | tuple) and any(isinstance(one, str) for one in value))
    if getattr(getattr(value, "dtype", None), "kind", None) == "U":  # an array of strings
        return written(value.tolist())
    if words:
        return written(value)
    return torch.as_tensor(value)


def _is_text(value: Tensor | None) -> bool:
    return value is not None and value.dtype == torch.uint8 and value.ndim == 2


def _restore(values: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> Condition:
    cond = Condition.__new__(Condition)
    cond._fill(values, keep)
    return cond


NONE = Condition()
"""The empty condition; it fits any batch."""


def known(cond: Condition, families: Iterable[str], who: str) -> None:
    """Refuse a condition with a family that ``who`` does not know."""
    families = tuple(families)
    for name in cond.families:
        if name not in families:
            raise Refusal(
                f"{who} was given the condition {name!r} but knows {', '.join(families) or 'none'}; "
                f"take it out with cond.take({name!r}) or train a model with an encoder for it"
            )
