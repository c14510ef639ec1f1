"""The small world, and a run in it that nothing is wrong with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_world import pictures, recipe

from mezzotint.training import Run, train


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a folder for what is made of them."""
    return pictures(tmp_path_factory.mktemp("doctor") / "pictures.npz", 600)


@pytest.fixture(scope="session")
def healthy(world: Path) -> Run:
    """A run that nothing is wrong with; it stays as it is."""
    return train(recipe(world), world.parent / "healthy")


@pytest.fixture
def ill(healthy: Run, tmp_path: Path) -> Run:
    """A copy of the healthy run, to be harmed."""
    shutil.copytree(healthy.path, tmp_path / "run")
    return Run.open(tmp_path / "run")
