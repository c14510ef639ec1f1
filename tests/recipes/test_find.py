"""Recipes of installed packages are found, and one that cannot be imported does not hide the others."""

import importlib
import sys
from pathlib import Path

import pytest

from mezzotint.recipes import find, origins


def test_a_package_that_fails_hides_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("burin_good", "from mezzotint.recipes.pfgmpp import RECIPE as RECIPE"), ("burin_bad", "1 / 0")):
        (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[mezzotint.recipes]\n{name} = {name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.warns(UserWarning, match="recipes of burin_bad cannot be read: ZeroDivisionError"):
        found = origins()
    sys.modules.pop("burin_good", None)
    assert found["burin-good"] == "burin_good" and "core-samplers" in found
    with pytest.warns(UserWarning, match="burin_bad"):
        assert find("burin-good").recipe is find("pfgmpp").recipe
    sys.modules.pop("burin_good", None)
