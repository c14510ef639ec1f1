"""Every part of the house keeps the contract of its kind: found by walking it, made from its signature alone."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from mezzotint import testing
from mezzotint.core import Refusal
from mezzotint.core.spec import parameters, spec
from mezzotint.data.root import VARIABLE
from mezzotint.guidance import between
from mezzotint.processes import EDM, Flow
from mezzotint.testing import example, kind_of, parts

PROCESSES = [made for cls in parts("process") if (made := example(cls)).kind == "real"]
SHAPES = [(6,), (2, 8), (2, 4, 6), (2, 2, 4, 4)]


NEEDS = {"HuggingFace": "pyarrow"}
"""What a part is made of that an extra brings."""


def every(kind: str | None = None) -> pytest.MarkDecorator:
    marked = [
        pytest.param(
            cls,
            id=cls.__name__,
            marks=[pytest.mark.skipif(find_spec(need) is None, reason=f"needs {need}")]
            if (need := NEEDS.get(cls.__name__))
            else [],
        )
        for cls in parts(kind)
    ]
    return pytest.mark.parametrize("cls", marked)


@every()
def test_spec(cls: type) -> None:
    """Written and made again; what holds tensors says in one sentence that a config cannot."""
    made = example(cls)
    if any(p.annotation == "Tensor" for p in parameters(cls).values() if p.default is p.empty):
        with pytest.raises(Refusal, match="a Tensor, which a config cannot hold"):
            spec(made)
    else:
        testing.check_spec(made)


@every("process")
def test_process(cls: type) -> None:
    testing.check_process(example(cls))


@every("grid")
def test_grid(cls: type) -> None:
    testing.check_grid(example(cls))


@every("sampler")
def test_sampler(cls: type) -> None:
    testing.check_sampler(example(cls), processes=[EDM(), Flow()])


@pytest.mark.long
@every("sampler")
def test_sampler_on_every_process(cls: type) -> None:
    testing.check_sampler(example(cls))


@every("denoiser")
def test_denoiser(cls: type) -> None:
    testing.check_denoiser(example(cls))


@every("guidance")
def test_guidance(cls: type) -> None:
    testing.check_guidance(example(cls))


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
@every("guidance")
def test_guidance_on_every_process(cls: type, process: Any) -> None:
    """With a scale by level or one a row, where there is a scale; networks on one process only."""
    scale = between(2.0, 0.2, 0.9) if PROCESSES.index(process) % 2 else "strength"
    try:
        guided = example(cls, process, **({"scale": scale} if "scale" in parameters(cls) else {}))
    except (Refusal, AssertionError):
        assert not process.gaussian  # a reward's gradient is Bayes' rule for normal noise only
        return
    if not any(True for _ in guided.parameters()) or isinstance(process, Flow):
        testing.check_guidance(guided)


@every("objective")
def test_objective(cls: type) -> None:
    testing.check_objective(example(cls))


@every("levels")
def test_levels(cls: type) -> None:
    testing.check_levels(example(cls))


def sized(network: Any, shape: tuple[int, ...]) -> Any:
    """The same network for samples of another shape, or around a network for them."""
    arguments = {k: sized(v, shape) if kind_of(type(v)) == "network" else v for k, v in network._arguments.items()}
    return type(network)(**{**arguments, **({"shape": shape} if "shape" in arguments else {})})


@every("network")
def test_network(cls: type) -> None:
    """In every number of axes it has, and told tokens where it may be."""
    made = []
    for shape in SHAPES:
        try:
            made.append(sized(example(cls), shape))
        except Refusal:
            continue
    assert made
    for network in made:
        testing.check_network(network)
    if "tokens" in parameters(cls):
        testing.check_network(sized(example(cls, tokens=6), made[0].shape))


@every("condition")
def test_condition_part(cls: type) -> None:
    testing.check_condition_part(example(cls))


@every("reward")
def test_reward(cls: type) -> None:
    testing.check_reward(example(cls))


@every("data")
def test_data(cls: type) -> None:
    made = example(cls)
    try:
        made[:1]
    except Refusal as absent:
        if VARIABLE not in str(absent) and "there is no autoencoder" not in str(absent):  # its own tests make one
            raise
        pytest.skip(str(absent))
    testing.check_data(made)


@every("autoencoder")
def test_autoencoder(cls: type) -> None:
    testing.check_autoencoder(example(cls))


@every("operator")
def test_operator(cls: type) -> None:
    testing.check_operator(example(cls))


@every("pipeline")
def test_pipeline(cls: type) -> None:
    testing.check_pipeline(example(cls))
