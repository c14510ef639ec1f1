"""What fuzzing and the tests of any tree found, one test each: inputs that gave neither a result nor a refusal."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mezzotint.core import Refusal, build, config
from mezzotint.core.store import MODEL


@contextmanager
def memory(more: int) -> Iterator[None]:
    """So many further bytes, and no more, for this process."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux, which says how large a process is")
@pytest.mark.parametrize("held", ["[0]", "[1000000000]", "[0.5]", "[[0]]", "[a]", "[true]", "[]"])
def test_the_places_of_a_large_shape_are_not_listed(held: str) -> None:
    """``samplers.Held`` made a set of every place along its axis: forty gigabytes for a line of YAML."""
    text = f"{{part: samplers.Held, process: {{part: processes.EDM}}, shape: [1000000000, 4], held: {held}}}"
    with memory(2**29):
        if held == "[0]":
            assert build(config.loads(text), MODEL).held == (0,)
        else:
            with pytest.raises(Refusal, match="different places|holds numbers"):
                build(config.loads(text), MODEL)


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"], ids=["NEL", "LS", "PS"])
def test_line_ends_of_other_alphabets_come_back(end: str) -> None:
    """Beside a letter beyond ASCII they were written between single quotes, where they are read as a blank."""
    text = f"\xe9{end}b"
    for tree in ({text: ["a"]}, {"a": text}, [text, {text: text}]):
        assert config.loads(config.dumps(tree)) == tree


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux, which says how large a process is")
@pytest.mark.parametrize(
    "settings",
    ["width: word, multipliers: [2147483648]", "width: [0], multipliers: [2147483648]",
     "width: 2147483648, multipliers: [word]", "width: 2147483648, multipliers: [[0]]"],
)  # fmt: skip
def test_words_are_not_multiplied(settings: str) -> None:
    """``networks.UNet`` multiplied a width that was a word: two billion times, eight gigabytes."""
    text = f"{{part: networks.UNet, shape: [1, 8, 8], {settings}}}"
    with memory(2**29), pytest.raises(Refusal, match=r"UNet\.(width is a number|multipliers holds numbers), not"):
        build(config.loads(text), MODEL)
