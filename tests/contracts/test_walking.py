"""Parts are found, not listed, and made from what they say of themselves; what cannot be made fails and says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mezzotint.core import Refusal
from mezzotint.core.spec import Module, Part
from mezzotint.denoiser import Denoiser, Mixture, Preconditioned
from mezzotint.guidance import Perturbed
from mezzotint.processes import Flow
from mezzotint.testing import CONTRACTS, KINDS, Broken, check_part, example, kind_of, parts


def test_bases_and_witnesses_are_no_parts() -> None:
    names = {cls.__name__ for cls in parts()}
    assert {"Heun", "UNet", "CFG", "EDM", "Karras", "Classes", "Digits", "Trainer"} <= names
    bases = {
        "Sampler",
        "Transition",
        "Denoiser",
        "Trainable",
        "Process",
        "Objective",
        "Module",
        "Part",
        "Learner",
        "Data",
    }
    assert not names & bases and not names & {"Normals", "Watched", "Missed", "Slope"}
    assert set(CONTRACTS) == set(KINDS) and all(parts(kind) for kind in KINDS)
    assert kind_of(Mixture) == "denoiser" and kind_of(Perturbed) == "guidance" and kind_of(Module) is None
    with pytest.raises(Refusal, match="did you mean 'sampler'"):
        parts("samplers")


def test_examples_stand_on_the_process_that_is_asked_for() -> None:
    guided = example(Perturbed, Flow(), scale="strength")
    assert isinstance(guided.strong, Preconditioned) and guided.process == Flow() and guided.scale == "strength"


@dataclass(frozen=True)
class Odd(Part):
    frobnicate: complex


@dataclass(frozen=True)
class Picky(Part):
    steps: int

    def __post_init__(self) -> None:
        raise Refusal(f"never {self.steps}")


@dataclass(frozen=True)
class Helpful(Part):
    frobnicate: complex

    @classmethod
    def example(cls) -> Helpful:
        return cls(1j)


class Inner(Module):
    def __init__(self, denoiser: Denoiser, **settings: Any) -> None:
        super().__init__()
        self.denoiser = denoiser


def test_what_cannot_be_made_fails_loudly() -> None:
    with pytest.raises(Broken, match="the argument frobnicate: complex of Odd .* never be checked"):
        example(Odd)
    with pytest.raises(Broken, match=r"Picky should be made from steps but was refused \(never 6\)"):
        example(Picky)
    with pytest.raises(Broken, match="the argument settings: Any of Inner"):
        example(Inner)
    assert example(Helpful) == Helpful(1j) and example(Odd, frobnicate=2j) == Odd(2j)


def test_a_part_of_no_kind_has_a_spec() -> None:
    (rate,) = (cls for cls in parts() if cls.__name__ == "Rate")
    assert kind_of(rate) is None
    check_part(example(rate))
