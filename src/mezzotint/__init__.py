"""mezzotint: conditional diffusion image synthesis from small parts over one core.

``import mezzotint as mz`` is cheap: rooms are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mezzotint.core import NONE, Condition, Refusal, Rng
    from mezzotint.core.spec import build, spec
    from mezzotint.core.store import load_model as load

__version__ = "0.1.0"

_ROOMS = (
    "autoencoders",
    "cascades",
    "conditions",
    "core",
    "data",
    "denoiser",
    "doctor",
    "evidence",
    "guidance",
    "metrics",
    "networks",
    "objectives",
    "operators",
    "processes",
    "recipes",
    "rewards",
    "samplers",
    "testing",
    "training",
)
_NAMES = {
    "NONE": ("core", "NONE"),
    "Condition": ("core", "Condition"),
    "Refusal": ("core", "Refusal"),
    "Rng": ("core", "Rng"),
    "build": ("core", "build"),
    "spec": ("core", "spec"),
    "load": ("core.store", "load_model"),
}

__all__ = ["NONE", "Condition", "Refusal", "Rng", "build", "load", "spec"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        module, attribute = _NAMES[name]
        return getattr(importlib.import_module(f"mezzotint.{module}"), attribute)
    if name in _ROOMS:
        return importlib.import_module(f"mezzotint.{name}")
    raise AttributeError(f"module 'mezzotint' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS, *_NAMES])
