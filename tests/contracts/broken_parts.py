"""How a test notes a broken part: what breaks, what is said of it, and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mezzotint.processes import Flow
from mezzotint.testing import Broken, check_guidance

ONE = {"processes": [Flow()]}


def noting(cases: list[Any]) -> Callable[..., Callable[[Any], Any]]:
    """A decorator that adds a class to the cases: its contract, a piece of the sentence, how it is made and checked."""

    def broken(contract: Callable[..., None], sentence: str, *made: Any, **given: Any) -> Callable[[Any], Any]:
        def note(cls: Any) -> Any:
            part = cls if contract is check_guidance else lambda: cls(*made)
            name = f"{contract.__name__.removeprefix('check_')}-{cls.__name__}"
            cases.append(pytest.param(contract, part, sentence, given, id=name))
            return cls

        return note

    return broken


def caught(contract: Callable[..., None], make: Callable[..., Any], sentence: str, given: dict[str, Any]) -> None:
    """The contract must name the way in which the part is broken."""
    with pytest.raises(Broken) as found:
        contract(make if contract is check_guidance else make(), **given)
    assert sentence in str(found.value), found.value
