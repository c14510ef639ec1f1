"""Help comes at once and importing the package costs nothing: heavy libraries are imported where they are used."""

from __future__ import annotations

import json
import subprocess
import sys
import time

HEAVY = {"torch", "matplotlib", "sklearn", "scipy", "accelerate", "numpy", "PIL"}
# What the installed script does.
MAIN = "import sys; sys.argv[0] = 'mezzotint'; from mezzotint.cli import main; sys.exit(main())"


def loaded_after(code: str) -> set[str]:
    """The top-level modules a fresh interpreter has loaded after running `code`."""
    report = "\nimport json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    output = subprocess.run([sys.executable, "-c", code + report], check=True, capture_output=True, text=True).stdout
    return set(json.loads(output.splitlines()[-1]))


def test_help_is_quick() -> None:
    """At most 0.3 s, the best of five: what the machine does beside it is not the command's doing."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        result = subprocess.run([sys.executable, "-c", MAIN, "--help"], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        assert result.returncode == 0, result.stderr
        assert "demo" in result.stdout and "train" in result.stdout
    assert min(seconds) <= 0.3, seconds


def test_help_loads_nothing_heavy() -> None:
    code = MAIN.replace("sys.exit(main())", "sys.argv[1:] = ['--help']\ntry:\n    main()\nexcept SystemExit:\n    pass")
    assert not HEAVY & loaded_after(code)


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_after("import mezzotint")


def test_nothing_reaches_for_torchvision() -> None:
    """Every module imports in an interpreter that has no torchvision, even where one is installed."""
    code = """
import importlib, pkgutil, sys
sys.modules["torchvision"] = None
import mezzotint
for module in pkgutil.walk_packages(mezzotint.__path__, "mezzotint."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    assert "torch" in loaded_after(code)
