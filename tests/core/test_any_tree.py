"""Whatever the tree, text or edit: a result or a refusal in one line, in bounded time; nothing else ever escapes."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Refusal, build, config, spec
from mezzotint.core.blueprint import blueprint
from mezzotint.core.spec import PART, name_of, parameters
from mezzotint.core.store import MODEL
from mezzotint.data import Data
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import UNet
from mezzotint.processes import EDM, VP
from mezzotint.samplers import Heun, Multistep, Sampling
from mezzotint.testing import parts

SECONDS = 5.0  # of the processor, for one input
MOST = 100_000  # parameters
QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck))
CLASSES = [cls for cls in parts() if cls.__module__.split(".")[1] in MODEL and not issubclass(cls, Data)]
NAMES = sorted(name_of(cls) for cls in CLASSES)
SETTINGS = sorted({key for cls in CLASSES for key in parameters(cls)})

numbers = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64, 10**9, 10**12, 10**30, -(2**63), 10**4000]),
    st.floats(),
    st.sampled_from([1e308, -0.0, 5e-324, 1e-4]),
)
words = st.one_of(
    st.text(max_size=4),
    st.text("é\x85\u2029 a", max_size=6),
    st.sampled_from(
        [*NAMES, "label", "edm", "attention", "input", "cosine", "epsilon", "200k", "..", "os.system", "data.Digits"]
    ),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, words)


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """A part that fills the memory fails here with a MemoryError, and not the machine."""
    before, size = resource.getrlimit(resource.RLIMIT_AS), Path("/proc/self/statm")
    if size.exists():
        have = int(size.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (have + 2**31, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def nodes(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A part with settings, most of them its own; the values are anything."""

    def settings_of(cls: type) -> st.SearchStrategy[dict[str, Any]]:
        own = [key for key, p in parameters(cls).items() if p.kind is not p.VAR_KEYWORD] or ["label"]
        needed = {key: inside for key, p in parameters(cls).items() if key in own and p.default is p.empty}
        more = st.dictionaries(st.sampled_from([*own, *own, *SETTINGS, "label"]), inside, max_size=3)
        return st.builds(lambda a, b: {PART: name_of(cls), **b, **a}, st.fixed_dictionaries(needed), more)

    return st.sampled_from(CLASSES).flatmap(settings_of)


trees = st.recursive(
    leaves,
    lambda inside: st.one_of(
        nodes(inside), nodes(inside), st.lists(inside, max_size=4), st.dictionaries(words, inside, max_size=3)
    ),
    max_leaves=12,
)


def answers(call: Callable[[], Any]) -> Any:
    """What a call returns, or None where it refuses in one line; in bounded time."""
    start = time.process_time()
    try:
        return call()
    except Refusal as refusal:
        assert "\n" not in str(refusal)
        return None
    finally:
        assert time.process_time() - start < SECONDS


@settings(QUIET, max_examples=60)
@given(trees)
def test_any_tree_is_built_or_refused(tree: Any) -> None:
    planned = answers(lambda: blueprint(tree, MODEL, MOST))
    if planned is None:
        return
    made = answers(lambda: build(tree, MODEL))
    written = answers(lambda: spec(made))
    if made is not None and written is not None:  # what is built is what is written, and is built from that again
        assert spec(build(written, MODEL)) == written


PIECES = [
    '"\\U', '"\\ud800', '"\\x', "\\", "%YAML 1.", "%TAG ! ", "\n---\n", "\n...\n", "FFFFFFFF", "0000", "9" * 30,
    ": ", '"',
    "<<: ", "*a", "&a ", "? ", "- ", "{", "}", "[", "]", "|2\n", ">-\n", "!!", "\r\n", "\x85", "\u2028", "\ufeff",
]  # fmt: skip
letters = st.text(alphabet=st.sampled_from("ab:&*-[]{}<!|>'\"#%@?, \n\t0123456789.e_~=\\xUué\x85\u2028"), max_size=60)
pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


@settings(QUIET, max_examples=100)
@given(letters | pieces)
@example('a: "\\UFFFFFFFF"')
@example("%YAML 1." + "9" * 5000 + "\n---\na: 1")
def test_any_text_is_read_or_refused(text: str) -> None:
    tree = answers(lambda: config.loads(text))
    if tree is not None:
        again = config.dumps(tree)
        assert config.dumps(config.loads(again)) == again
        answers(lambda: build(tree, MODEL))


BASES = [
    spec(Sampling(Heun(18), Preconditioned(UNet((1, 8, 8), width=8, vector=8), VP(), Encoder(label=Classes(3, 8))))),
    spec(Multistep(9)),
    {"model": spec(EDM()), "values": [1, [2, 3], {"a": None}]},
]
paths = st.lists(
    st.one_of(st.sampled_from([*SETTINGS, PART, "sampler", "denoiser", "0", "1", "values"]), words), max_size=4
)


@settings(QUIET, max_examples=60)
@given(
    st.sampled_from(BASES),
    st.lists(st.tuples(paths, leaves | st.sampled_from(["[", "{", "*a", "&a [*a]"])), max_size=3),
)
def test_any_edit_is_made_or_refused(tree: Any, changes: list[tuple[list[str], Any]]) -> None:
    before = config.dumps(tree)
    said = [f"{'.'.join(path)}={value}" for path, value in changes]
    edited = answers(lambda: config.edit(tree, said))
    assert config.dumps(tree) == before  # the tree that was given stays as it was
    if edited is not None:
        answers(lambda: blueprint(edited, None, MOST))


FEW = (-1, 10**9, 10**30, float("nan"), "x", [])
MANY = (*FEW, 0, 2**63, float("inf"), 1e308, [[]], {}, None, True, -0.5, 10**5000, ["x"], [0], [10**9, 10**9], {"a": 1})


@pytest.mark.parametrize("values", [FEW, pytest.param(MANY, marks=pytest.mark.long)], ids=["few", "many"])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_no_number_in_any_setting_escapes(cls: type, values: tuple[Any, ...]) -> None:
    """Every setting of every part, one at a time, at the numbers that break things."""
    from mezzotint.testing import example

    try:
        tree = spec(example(cls))
    except Refusal:
        pytest.skip("it holds tensors, so it is in no config")
    for key in [key for key in tree if key != PART]:
        for value in values:
            answers(lambda key=key, value=value: blueprint({**tree, key: value}, (*MODEL, "testing"), MOST))
