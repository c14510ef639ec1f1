"""Promises in one sentence: what was expected, what was found, and why it matters.

A contract is a list of promises. A part that breaks one raises :class:`Broken`, an ``AssertionError`` whose sentence is
meant for the person who wrote the part and has never read the contract. There is nothing of a test runner in here, so a
contract runs in a script, a notebook or under any runner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal


class Broken(AssertionError):
    """A promise of the house that a part does not keep."""


def expect(holds: object, sentence: str) -> None:
    """Raise :class:`Broken` with ``sentence`` unless ``holds``."""
    if not holds:
        raise Broken(sentence)


@contextmanager
def works(what: str, why: str) -> Iterator[None]:
    """What happens inside must not raise; whatever it does raise becomes a broken promise.

    Arguments:
        what: the deed, as the subject of a sentence.
        why: why somebody relies on it.
    """
    try:
        yield
    except Broken:
        raise
    except Exception as error:
        raise Broken(f"{what} should work but raised {type(error).__name__}: {error}; {why}") from error


def refused(what: str, call: Callable[[], object], why: str) -> None:
    """``call`` must raise a :class:`~mezzotint.core.errors.Refusal`."""
    try:
        call()
    except Refusal:
        return
    except Exception as error:
        found = f"raised {type(error).__name__}: {error}"
    else:
        found = "was accepted"
    raise Broken(f"{what} should be refused with core.errors.Refusal but {found}; {why}")


def finite(what: str, tensor: Tensor, why: str) -> None:
    """Every number of ``tensor`` is finite."""
    wrong = int((~torch.isfinite(tensor)).sum())
    expect(not wrong, f"{what} should be finite but {wrong} of {tensor.numel()} numbers are not; {why}")


def same(what: str, found: Tensor, expected: Tensor, why: str) -> None:
    """Two tensors agree to the last bit."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        seen = f"{found.dtype} {tuple(found.shape)} against {expected.dtype} {tuple(expected.shape)}"
        raise Broken(f"{what} should be the same to the last bit but they are {seen}; {why}")
    if not torch.equal(found, expected):
        gap = float((found.detach().double() - expected.detach().double()).abs().max())
        raise Broken(f"{what} should be the same to the last bit but differ by up to {gap:.3g}; {why}")


def close(what: str, found: Tensor, expected: Tensor, tolerance: float, why: str) -> None:
    """Two tensors agree within ``tolerance`` times the larger of 1 and the largest expected number."""
    if found.shape != expected.shape:
        raise Broken(f"{what} should agree but have the shapes {tuple(found.shape)} and {tuple(expected.shape)}; {why}")
    if not found.numel():
        return
    scale = max(1.0, float(expected.detach().double().abs().max()))
    gap = float((found.detach().double() - expected.detach().double()).abs().max())
    if not gap <= tolerance * scale:
        allowed = f"{tolerance:.0e} of {scale:.3g}"
        raise Broken(f"{what} should agree within {allowed} but differ by up to {gap:.3g}; {why}")


def shaped(what: str, tensor: object, shape: tuple[int, ...], why: str) -> None:
    """``tensor`` is a tensor of this shape."""
    found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
    expect(found == shape, f"{what} should be a tensor of shape {shape} but is {found}; {why}")
