"""One process that has imported everything, for all tests that kill children of it."""

from __future__ import annotations

from collections.abc import Iterator

import kills
import pytest


@pytest.fixture(scope="session")
def server() -> Iterator[kills.Server]:
    with kills.server() as made:
        yield made
