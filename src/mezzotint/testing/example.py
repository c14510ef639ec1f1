"""A small instance of any part, made from its constructor's signature alone.

Arguments with a default keep it, except those that only make a network large. The others are filled by what they are
called (``steps``, ``shape``, ``scale``, ...) or, where the name says nothing, by what they are annotated as (a
denoiser, a process, a sampler, ...). Each has a few candidates, and the first combination the constructor does not
refuse is taken, so that a guidance that needs a network is given one. A part that cannot be made this way fails loudly;
it then offers its own, a classmethod ``example()``.
"""

from __future__ import annotations

import inspect
import itertools
import math
import os
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
import torch

from mezzotint.conditions import Classes, Encoder, Words
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import parameters
from mezzotint.data import Buckets, Folder
from mezzotint.denoiser.base import Denoiser
from mezzotint.metrics.classifier import Classifier
from mezzotint.objectives import Denoising, LogNormal
from mezzotint.operators import BlockMean, Mask
from mezzotint.processes import EDM, Absorbing, Continuous
from mezzotint.samplers import Ancestral, Euler, Karras, Sampling
from mezzotint.testing.condition import TEXTS
from mezzotint.testing.expect import Broken
from mezzotint.testing.parts import kind_of
from mezzotint.testing.truth import CLASSES, SHAPE, Slope, mixture, model

Candidates = Sequence[Callable[[], Any]]


def _just(*values: object) -> Candidates:
    return [lambda value=value: value for value in values]  # type: ignore[misc]


def _denoisers(on: Continuous) -> Candidates:
    return [lambda: mixture(on), lambda: model(on)]


@lru_cache(maxsize=1)
def _pictures() -> tuple[tempfile.TemporaryDirectory[str], dict[str, str]]:
    """A few pictures of three classes in every container that a data set reads; gone at exit."""
    from PIL import Image

    home = tempfile.TemporaryDirectory(prefix="mezzotint-example-")
    values = np.random.default_rng(0).integers(0, 256, (30, 5, 7), dtype=np.uint8)
    numbers = np.arange(30) % CLASSES
    archive, folder = Path(home.name, "pictures.npz"), Path(home.name, "pictures")
    np.savez(archive, images=values, labels=numbers)
    for row, (picture, number) in enumerate(zip(values, numbers, strict=True)):
        (folder / str(number)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / str(number) / f"{row}.png")
    files = sorted(folder.glob("*/*.png"))
    table, shard, saved = Path(home.name, "pictures.csv"), Path(home.name, "pictures.tar"), Path(home.name, "saved")
    table.write_text("".join(["file_name\n", *(f"{file.relative_to(home.name).as_posix()}\n" for file in files)]))
    with tarfile.open(shard, "w") as tar:
        for file in files:
            tar.add(file, file.name)
    _save(saved, files)
    pairs = Path(home.name, "pairs")
    for what, of in (("pictures", values), ("layouts", values % CLASSES)):
        (pairs / what).mkdir(parents=True)
        for row, picture in enumerate(of):
            Image.fromarray(picture).save(pairs / what / f"{row}.png")
    return home, {path.name: os.fspath(path) for path in (archive, folder, table, shard, saved, pairs)}


def _save(saved: Path, files: Sequence[Path]) -> None:
    """Pictures as ``datasets`` saves them, where the extra ``hf`` is installed."""
    try:
        import pyarrow
    except ImportError:
        return
    saved.mkdir()
    rows = pyarrow.table({"image": [{"bytes": file.read_bytes(), "path": file.name} for file in files]})
    with pyarrow.ipc.new_stream(str(saved / "data.arrow"), rows.schema) as stream:
        stream.write_table(rows)
    (saved / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')


def _paths() -> Candidates:
    names = ("pictures.npz", "pictures", "pictures.csv", "pictures.tar", "saved", "pairs")
    return [lambda name=name: _pictures()[1][name] for name in names]  # type: ignore[misc]


NAMED: Mapping[str, Callable[[Continuous], Candidates]] = MappingProxyType(
    {
        "steps": lambda on: _just(6),
        "shape": lambda on: _just((2, 8, 6), (2, 12), (2, 4, 8, 6), (6,)),
        "scale": lambda on: _just(1.5),
        "low": lambda on: _just(0.2),
        "high": lambda on: _just(0.8),
        "count": lambda on: _just(CLASSES),
        "classes": lambda on: _just(CLASSES),
        "channels": lambda on: _just(2),
        "features": lambda on: _just(5),
        "symbols": lambda on: _just(6),
        "vocab": lambda on: _just(5),
        "size": lambda on: _just(5, (8, 8)),
        "width": lambda on: _just(16),
        "means": lambda on: _just(((-1.0, 0.5), (1.0, 0.0))),
        "covariances": lambda on: _just((((0.3, 0.1), (0.1, 0.2)), ((0.1, 0.0), (0.0, 0.4)))),
        "alphas": lambda on: _just(tuple(math.cos(math.pi * i / 16) for i in range(1, 8)) + (0.0,)),
        "sigmas": lambda on: _just(tuple(math.sin(math.pi * i / 16) for i in range(1, 9))),
        "data": lambda on: [lambda: torch.linspace(-1, 1, 42).reshape(7, 1, 2, 3)],
        "vocabulary": lambda on: [lambda: Words.of(TEXTS).vocabulary],
        "tokenizer": lambda on: [lambda: Words.of(TEXTS)],
        "folder": lambda on: [lambda: os.path.join(_pictures()[0].name, "kept")],
        "sha256": lambda on: _just("0" * 64),
        "path": lambda on: _paths(),
        "weak": lambda on: [lambda: mixture(on, spread=2.0), lambda: model(on)],
        "network": lambda on: [lambda: Classifier(SHAPE, CLASSES), lambda: model(on).network],
        "grid": lambda on: [Karras],
        "sampler": lambda on: [lambda: Euler(6), lambda: Ancestral(6)],
        "reward": lambda on: [Slope],
        "mixture": lambda on: [lambda: mixture(on)],
    }
)
"""Candidates by the name of an argument."""

TYPED: Mapping[str, Callable[[Continuous], Candidates]] = MappingProxyType(
    {
        "Denoiser": _denoisers,
        "Data": lambda on: [_folder, lambda: Buckets(_folder(), chosen=((8, 8), (4, 12)))],
        "Trainable": lambda on: [lambda: model(on)],
        "Process": lambda on: [lambda: on],
        "Continuous": lambda on: [lambda: on],
        "Discrete": lambda on: [lambda: Absorbing(3)],
        "Sampler": NAMED["sampler"],
        "Transition": lambda on: [lambda: Ancestral(6)],
        "Grid": lambda on: [Karras],
        "Objective": lambda on: [Denoising],
        "Levels": lambda on: [LogNormal],
        "ConditionPart": lambda on: [lambda: Classes(CLASSES, 16)],
        "Encoder": lambda on: [lambda: Encoder(label=Classes(CLASSES, 16))],
        "Operator": lambda on: [Mask],
        "Measurement": lambda on: [lambda: BlockMean((5, 7))],
        "Pipeline": lambda on: [lambda: Sampling(Euler(6), mixture(on))],
        "Reward": lambda on: [Slope],
        "Scale": lambda on: _just(1.5),
    }
)
"""Candidates by the last word of an argument's annotation."""


def _folder() -> Folder:
    return Folder(_pictures()[1]["pictures"], channels=1)


_ON = EDM()
SMALL: Mapping[str, Any] = MappingProxyType({"width": 16, "depth": 2, "heads": 2, "vector": 16, "multipliers": (1, 2)})
"""What makes a network small, in place of its defaults."""

T = TypeVar("T")


def example(cls: type[T], on: Continuous = _ON, /, **given: Any) -> T:
    """A small instance of a part.

    Arguments:
        cls: the part's class; its classmethod ``example``, if it has one, makes the instance where nothing is given.
        on: the process of every denoiser that is put inside.
        given: arguments that are settled already.

    Raises:
        Broken: naming the argument nobody knows an example for.
    """
    own = getattr(cls, "example", None)
    if inspect.ismethod(own) and not given:
        return cast(T, own())
    names, choices, fixed = [], [], dict(given)
    for name, parameter in parameters(cls).items():
        several = parameter.kind is inspect.Parameter.VAR_KEYWORD
        if name in given or (several and given):
            continue
        if kind_of(cls) == "network" and name in SMALL and parameter.default is not parameter.empty:
            fixed[name] = SMALL[name]
        elif parameter.default is parameter.empty:
            names.append("label" if several else name)
            choices.append(_candidates(cls, name, parameter, on))
    reasons = []
    for chosen in itertools.product(*choices):
        try:
            return cls(**fixed, **dict(zip(names, (make() for make in chosen), strict=True)))
        except (Refusal, TypeError, ValueError, AttributeError) as error:
            reasons.append(str(error))
    raise Broken(
        f"{cls.__name__} should be made from {', '.join(names) or 'no argument'} but was refused ({reasons[-1]}); "
        "give its arguments defaults that work, or give the class a classmethod example()"
    )


def _candidates(cls: type, name: str, parameter: inspect.Parameter, on: Continuous) -> Candidates:
    said = (
        parameter.annotation if isinstance(parameter.annotation, str) else getattr(parameter.annotation, "__name__", "")
    )
    for kind, makers in TYPED.items():
        if name not in NAMED and said.replace(" | None", "").split(".")[-1] == kind:
            return makers(on)
    if name in NAMED:
        return NAMED[name](on)
    raise Broken(
        f"the argument {name}: {said} of {cls.__name__} should have a default, or a name or annotation that says "
        "what it is, but no example of it is known, so the part would never be checked; give the class a classmethod "
        "example()"
    )


def around(part: Denoiser) -> Callable[[Denoiser], Denoiser]:
    """How to make the same guidance around another denoiser: its first argument is what it guides."""
    first, *_ = parameters(type(part))
    rest = {name: value for name, value in part._arguments.items() if name != first}
    return lambda denoiser: type(part)(**{first: denoiser}, **rest)
