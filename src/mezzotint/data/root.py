"""Where data sets lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from mezzotint.core.errors import Refusal

VARIABLE = "MEZZOTINT_DATA"


def find(name: str) -> Path:
    """The path of a data file or folder by its name inside the data root, such as ``"fashion_mnist/train.npz"``.

    The root is the environment variable ``MEZZOTINT_DATA``; where it is not set, ``../shared/data`` beside the
    repository. For recipes and tests: what is absent raises a :class:`Refusal` that says what to set.
    """
    given = os.environ.get(VARIABLE)
    root = Path(given) if given else Path(__file__).resolve().parents[4] / "shared" / "data"
    path = root / name
    if not path.exists():
        raise Refusal(f"the data {name!r} is not in {str(root)!r}; set {VARIABLE} to the folder that holds it")
    return path
