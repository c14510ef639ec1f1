"""Everything the house promises of a part: its spec, and the contract of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from mezzotint.core.spec import Part
from mezzotint.testing.autoencoder import check_autoencoder
from mezzotint.testing.condition import check_condition_part
from mezzotint.testing.data import check_data
from mezzotint.testing.denoiser import check_denoiser
from mezzotint.testing.grid import check_grid
from mezzotint.testing.guidance import check_guidance
from mezzotint.testing.levels import check_levels
from mezzotint.testing.network import check_network
from mezzotint.testing.objective import check_objective
from mezzotint.testing.operator import check_operator
from mezzotint.testing.parts import kind_of
from mezzotint.testing.pipeline import check_pipeline
from mezzotint.testing.process import check_process
from mezzotint.testing.reward import check_reward
from mezzotint.testing.sampler import check_sampler
from mezzotint.testing.spec import check_spec

CONTRACTS: Mapping[str, Callable[[Any], None]] = MappingProxyType(
    {
        "process": check_process,
        "denoiser": check_denoiser,
        "guidance": check_guidance,
        "sampler": check_sampler,
        "grid": check_grid,
        "objective": check_objective,
        "levels": check_levels,
        "network": check_network,
        "condition": check_condition_part,
        "reward": check_reward,
        "data": check_data,
        "autoencoder": check_autoencoder,
        "operator": check_operator,
        "pipeline": check_pipeline,
    }
)
"""By name of a kind."""


def check_part(part: Part) -> None:
    """Check a part of any kind: :func:`check_spec`, and the contract of its kind if there is one.

    Arguments:
        part: an instance whose class can be found by name.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    check_spec(part)
    kind = kind_of(type(part))
    if kind is not None:
        CONTRACTS[kind](part)
