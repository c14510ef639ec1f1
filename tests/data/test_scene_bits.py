"""Scenes have the same bytes whatever the processor can do and however many threads there are: hashes of many of them.

Libraries choose at run time how to compute, by what the processor can do; numpy, torch and the C library can each be
told to leave the newer ways out. Each of those is tried in a process of its own, against one table of hashes; all of
them one by one with ``python -m pytest -m "long or not long" -v tests/data/test_scene_bits.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from mezzotint.data import Scenes, SceneVideos
from mezzotint.data.data import Data
from mezzotint.data.scenes.scenes import TELLS

TABLE = Path(__file__).with_name("scene_bits.json")
"""Hashes by name; written anew by ``python tests/data/test_scene_bits.py`` where scenes were changed on purpose."""


def sets() -> dict[str, tuple[Data, int]]:
    """Data sets by name, and how many of their items are hashed."""
    everything = tuple(TELLS)
    return {
        "default": (Scenes(tells=everything), 512),
        "held out": (Scenes(tells=everything, split="held_out"), 64),
        "upright": (Scenes(tells=everything, size=(40, 24), objects=(1, 6), seed=5), 64),
        "large": (Scenes(tells=everything, size=(64, 96), layout="form"), 24),
        "subject at night": (Scenes(tells=everything, subject="zwx", style="night"), 64),
        "figures, sketched": (Scenes(tells=everything, forms=("figure",), style="sketch"), 64),
        "poster": (Scenes(style="poster"), 32),
        "faded": (Scenes(style="faded"), 32),
        "videos": (SceneVideos(scenes=Scenes(tells=everything, figures=0.3), flow=True), 24),
    }


def digest(data: Data, count: int) -> str:
    """SHA-256 over the pictures of the first items and everything that is told of them."""
    x, told = data[:count]
    found = sha256(x.numpy().tobytes())
    for name in sorted(told.values):
        found.update(f"{name} {tuple(told[name].shape)} {told[name].dtype}".encode())
        found.update(told[name].numpy().tobytes())
    return found.hexdigest()


def digests() -> dict[str, str]:
    """The hashes of this process."""
    return {name: digest(*chosen) for name, chosen in sets().items()}


def _levels() -> dict[str, dict[str, str]]:
    """What is tried, by name: environment variables that leave out what the processor could do."""
    from numpy._core import _multiarray_umath as numpy_core

    able = [name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__.get(name)]
    tried = {"one thread": {"OMP_NUM_THREADS": "1"}, "two threads": {"OMP_NUM_THREADS": "2"}}
    for count in range(len(able)):
        tried[f"numpy without {' '.join(able[count:])}"] = {"NPY_DISABLE_CPU_FEATURES": " ".join(able[count:])}
    tried["torch plain"] = {"ATEN_CPU_CAPABILITY": "default"}
    tried["torch avx2"] = {"ATEN_CPU_CAPABILITY": "avx2"}
    tried["C library plain"] = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-AVX,-ERMS"}
    everything: dict[str, str] = {}
    for variables in tried.values():
        everything |= {} if "OMP_NUM_THREADS" in variables else variables
    tried["all at once"] = {**everything, "NPY_DISABLE_CPU_FEATURES": " ".join(able), "ATEN_CPU_CAPABILITY": "default"}
    return tried


def test_the_bytes_are_those_of_the_table() -> None:
    found, known = digests(), json.loads(TABLE.read_text())
    assert found == known, [name for name in found if found[name] != known.get(name)]


def _compare(level: str) -> None:
    variables = _levels()[level]
    done = subprocess.run(
        [sys.executable, __file__, "--print"],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    asked = variables.get("NPY_DISABLE_CPU_FEATURES", "").split()
    assert not set(asked) & set(said.pop("able")), "numpy was told to do without, and did not"
    assert said == json.loads(TABLE.read_text()), level


@pytest.mark.slow
@pytest.mark.parametrize("level", ["two threads", "all at once"])
def test_the_bytes_do_not_depend_on_threads_or_the_processor(level: str) -> None:
    _compare(level)


@pytest.mark.long
@pytest.mark.parametrize("level", _levels())
def test_the_bytes_are_the_same_at_every_level(level: str) -> None:
    _compare(level)


def test_a_changed_pixel_is_noticed() -> None:
    assert digest(Scenes(), 64) != digest(Scenes(seed=1), 64) != digest(Scenes(style="night"), 64)


if __name__ == "__main__":
    if "--print" in sys.argv:
        from numpy._core import _multiarray_umath as numpy_core

        able = [name for name, there in numpy_core.__cpu_features__.items() if there]
        print(json.dumps({**digests(), "able": able}))
    else:
        TABLE.write_text(json.dumps(digests(), indent=1) + "\n")
