"""What every test stands on: one thread, no screen, no network, seeded weights, and the package from src."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported: its thread pools read these once. Two test workers of one thread each are much faster on two
# cores than two of two, and what is timed or compared must not depend on how many threads a sum was split over.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))

torch.set_num_threads(1)
# A shell starts what it runs in the background with SIGINT ignored, and what is ignored stays so in what we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Weights are drawn from torch's own generator, which the caller seeds; here, the test."""
    torch.manual_seed(0)
    yield
