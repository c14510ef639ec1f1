"""The contract of a condition part: a family's values become context, and where it is dropped the null stands in.

Guidance moves away from what a model says without its condition, so what a network is told of a dropped row may depend
on nothing but the null; and whether that null ever learnt is remembered where it did, not where it was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mezzotint.conditions.attributes import Attributes
from mezzotint.conditions.frozen_text import FrozenText
from mezzotint.conditions.part import ConditionPart
from mezzotint.core.condition import family
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.text import written
from mezzotint.networks.context import Context
from mezzotint.testing.expect import Broken, close, expect, finite, same, works
from mezzotint.testing.spec import check_made
from mezzotint.testing.truth import nudge

_COUNT = 5
TEXTS = ("a red circle", "two blue squares", "nothing green", "a small circle on two squares", "squares")
"""What a part that takes texts is told: five that differ."""


def check_condition_part(part: ConditionPart, values: Mapping[str, Tensor] | None = None) -> None:
    """Check that a condition part keeps the promises encoders, guidance and trainers rely on. It is left as it was.

    Arguments:
        part: an instance.
        values: of one family by dotted name, five rows that differ; None: the first of some guesses (integers, layouts,
            vectors, pictures, texts) that the part does not refuse.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(part).__name__
    expect(
        isinstance(part, ConditionPart),
        f"{who} should derive from conditions.ConditionPart; the encoder asks for its null",
    )
    check_made(part)
    kept = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    expect(
        not bool(part.null_trained), f"the null of a new {who} should not count as trained; guidance would sample noise"
    )
    nudge(part)
    try:
        with works(f"encoding with {who}", "a model is told its condition at every step"):
            given = _guess(part, who) if values is None else dict(values)
            _prepares(part, given, who)
            _tells(part, given, who)
            _drops(part, given, who)
            _learns(part, given, who)
            arguments: dict[str, Any] = part._arguments
            again = type(part)(**arguments)
            again.load_state_dict(part.state_dict())
            expect(
                bool(again.null_trained), f"{who} made again with its state should remember that its null was trained"
            )
            everything = torch.ones(_COUNT, dtype=torch.bool)
            for (slot, mine), (_, theirs) in zip(
                _slots(part(given, everything)), _slots(again(given, everything)), strict=True
            ):
                same(f"the {slot} of {who} made again with its state", theirs, mine, "a loaded model is the saved one")
    finally:
        part.load_state_dict(kept)


def guesses(part: ConditionPart) -> Iterator[dict[str, Tensor]]:
    """Values a part may take, by the numbers its constructor was given."""
    rng = Rng(range(_COUNT))
    if isinstance(part, Attributes):  # which are known by their names
        kinds = {f"it.{name}": (rng.uniform(name, ()) * count).long() for name, count in part.words}
        yield kinds | {f"it.{name}": mean + spread * rng.normal(name, ()) for name, mean, spread in part.numbers}
        return
    numbers: list[int] = []
    for value in part._arguments.values():
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, int) and not isinstance(number, bool) and 0 < number <= 4096:
                numbers.append(number)
    yield {"it": torch.arange(_COUNT) % min(numbers, default=2)}
    yield {"it": (rng.uniform("it", (4, 6)) * min(numbers, default=2)).long()}
    yield {"it": rng.normal("it", ())}
    shapes = [tuple(v) for v in part._arguments.values() if isinstance(v, tuple | list) and v]
    for shape in [*shapes, *((n,) for n in numbers), *((n, 4, 6) for n in numbers), *((5, n) for n in numbers)]:
        yield {"it": rng.normal("it", shape)}
    texts = {"it": written(TEXTS)}
    yield texts
    if isinstance(part, FrozenText):  # as its encoder may have left them on a machine where its folder is
        mask = torch.arange(part.length) < torch.arange(1, _COUNT + 1)[:, None]
        made = {"features": rng.normal("features", (part.length, part.width)), "mask": mask}
        made |= {"pooled": rng.normal("pooled", (part.pooled,))} if part.pooled else {}
        yield texts | {f"it.{name}": value for name, value in (made | {"stamp": part.stamp(list(TEXTS))}).items()}


def _guess(part: ConditionPart, who: str) -> dict[str, Tensor]:
    everything = torch.ones(_COUNT, dtype=torch.bool)
    for values in guesses(part):
        try:
            part({**values, **part.prepare(values)}, everything)
        except (Refusal, RuntimeError, IndexError, ValueError):
            continue
        return values
    raise Broken(
        f"{who} should take integers, vectors, pictures or texts but refuses all guesses; give "
        "check_condition_part values"
    )


def _slots(context: Context) -> list[tuple[str, Tensor]]:
    """Every tensor of a context by name."""
    found = [(name, getattr(context, name)) for name in ("vector", "tokens", "mask", "visible")]
    found += [(f"map {port!r}", value) for port, value in context.maps.items()]
    found += [(f"residual {place}", value) for place, value in enumerate(context.residuals)]
    return [(name, value) for name, value in found if value is not None]


def _prepares(part: ConditionPart, values: dict[str, Tensor], who: str) -> None:
    added = part.prepare(values)
    replaced = sorted(added.keys() & values.keys())
    expect(not replaced, f"{who}.prepare should add values and replace none but replaces {replaced}")
    odd = sorted(name for name in added if family(name) not in {family(given) for given in values})
    expect(
        not odd, f"{who}.prepare should add to its own family but adds {odd}; families are encoded and dropped together"
    )
    for name, value in added.items():
        expect(
            len(value) == _COUNT,
            f"{name!r} added by {who}.prepare should have a row per sample but is {tuple(value.shape)}",
        )


def _tells(part: ConditionPart, values: dict[str, Tensor], who: str) -> None:
    """Something of every row, by itself."""
    everything = torch.ones(_COUNT, dtype=torch.bool)
    with torch.no_grad():
        told = part(values, everything)
        expect(isinstance(told, Context), f"{who} should return a networks.Context but returns a {type(told).__name__}")
        expect(_slots(told), f"{who} should fill some slot of the context but fills none; nothing would be heard")
        moved = {name: value.flip(0) for name, value in values.items()}
        other = dict(_slots(part(moved, everything)))
        heard = False
        for slot, value in _slots(told):
            expect(
                len(value) == _COUNT, f"the {slot} of {who} should have a row per sample but is {tuple(value.shape)}"
            )
            if value.is_floating_point():
                finite(f"the {slot} of {who}", value, "networks read it")
            close(
                f"the {slot} of {who} in another order",
                other[slot].flip(0).double(),
                value.double(),
                1e-5,
                "a row is told of its own",
            )
            heard |= len(torch.unique(value.flatten(1).float(), dim=0)) > 1
            for rows in ([3], [4, 0]):
                few = dict(_slots(part({name: each[rows] for name, each in values.items()}, everything[rows])))[slot]
                close(
                    f"rows {rows} of the {slot} of {who} alone",
                    few.double(),
                    value[rows].double(),
                    1e-5,
                    "a row is told of its own",
                )
        expect(heard, f"{who} should tell rows with different values different things but tells all the same")


def _drops(part: ConditionPart, values: dict[str, Tensor], who: str) -> None:
    """Dropped rows are told the null, whatever their values; an absent family is a dropped one."""
    keep = torch.tensor([True, False, True, False, False])
    nothing = torch.zeros(_COUNT, dtype=torch.bool)
    with torch.no_grad():
        full = dict(_slots(part(values, torch.ones(_COUNT, dtype=torch.bool))))
        null = dict(_slots(part(values, nothing)))
        mixed = dict(_slots(part(values, keep)))
        why = "guidance moves away from what is said without the condition"
        for slot, value in mixed.items():
            here = keep.reshape(-1, *(1 for _ in value.shape[1:]))
            due = torch.where(here, full[slot], null[slot])
            close(f"the {slot} of {who} with some rows dropped", value.double(), due.double(), 1e-6, why)
            alike = len(torch.unique(null[slot].flatten(1).float(), dim=0)) == 1
            expect(
                alike,
                f"the {slot} that {who} tells of dropped rows should be one for all but depends on their values; {why}",
            )
        differs = any(not torch.equal(full[slot], null[slot]) for slot in full)
        expect(differs, f"what {who} tells of kept and of dropped rows should differ but does not; {why}")
        try:
            absent = dict(_slots(part({}, nothing)))
        except Refusal:
            return  # it cannot say how large its null is without values
        why = "absent counts as dropped; a map may leave out its space, (B, C), where it is the same everywhere"
        for slot, value in absent.items():
            wide = value.reshape(*value.shape, *(1 for _ in range(null[slot].ndim - value.ndim)))
            with works(f"spreading the {slot} of {who} for an absent family over {tuple(null[slot].shape)}", why):
                wide = wide.expand_as(null[slot])
            close(
                f"the {slot} of {who} for an absent and a dropped family", wide.double(), null[slot].double(), 1e-6, why
            )


def _learns(part: ConditionPart, values: dict[str, Tensor], who: str) -> None:
    """The null counts as trained when a gradient came back through rows that were dropped, and only then."""

    def push(keep: Tensor) -> None:
        said = [value for _, value in _slots(part(values, keep)) if value.requires_grad]
        expect(said, f"what {who} tells should have a gradient, or its null would never be trained")
        sum(value.square().sum() for value in said).backward()  # type: ignore[union-attr]
        part.zero_grad()

    some = torch.tensor([True, False, True, True, True])
    part(values, some)
    expect(not bool(part.null_trained), f"asking {who} should not count its null as trained; only a gradient trains it")
    push(torch.ones(_COUNT, dtype=torch.bool))
    expect(not bool(part.null_trained), f"a step in which {who} dropped no row should not count its null as trained")
    push(some)
    expect(
        bool(part.null_trained),
        f"a step in which {who} dropped rows should count its null as trained but does not: call self.saw(keep, told); "
        "guidance asks for it",
    )
