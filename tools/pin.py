"""Write constraints.txt: one exact version for everything mezzotint and its extras install, directly or not.

Run it in any Python 3.11 environment, from the root of the repository, after a change to the dependencies in
pyproject.toml or to take newer releases:

    python tools/pin.py

pip resolves the package with all its extras as if nothing were installed (nothing is installed, either), and every
version it settled on is written down. torch is pinned first, without its build tag, so that one file serves the CPU
build and the CUDA builds; the packages that only a CUDA build brings follow torch's own metadata and are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

TORCH = "2.13.0"
PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
FOLLOWS_TORCH = re.compile(r"^(nvidia-|cuda-|triton$|pytorch-triton)")
FORBIDDEN = {"torchvision", "torchaudio"}  # a build that does not match torch breaks others at import
HEADER = f"""\
# Exact versions of everything mezzotint and its extras install, for Python {PYTHON[0]}.{PYTHON[1]}.
# Use: pip install -c constraints.txt .
# Written by tools/pin.py; do not edit. torch stands without its build tag: the CPU build and the CUDA builds both fit.
"""


def resolve() -> dict[str, str]:
    """The versions pip settles on for mezzotint with all its extras, by name."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = sorted(tomllib.load(file)["project"]["optional-dependencies"])
    with tempfile.TemporaryDirectory() as folder:
        constraint, report = Path(folder, "torch.txt"), Path(folder, "report.json")
        constraint.write_text(f"torch=={TORCH}\n")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "-c", str(constraint), f"{ROOT}[{','.join(extras)}]"]
        subprocess.run(command, check=True)
        found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"] for item in found}


def main() -> None:
    if sys.version_info[:2] != PYTHON:
        raise SystemExit(f"pin.py runs on Python {PYTHON[0]}.{PYTHON[1]}, the version the constraints are for")
    versions = resolve()
    if wrong := FORBIDDEN & versions.keys():
        raise SystemExit(f"{', '.join(sorted(wrong))} must never be required: find the dependency that asks for it")
    versions.pop("mezzotint")
    kept = {name: version.split("+")[0] for name, version in versions.items() if not FOLLOWS_TORCH.match(name)}
    lines = [f"{name}=={version}\n" for name, version in sorted(kept.items())]
    (ROOT / "constraints.txt").write_text(HEADER + "".join(lines))
    print(f"constraints.txt: {len(lines)} versions pinned")


if __name__ == "__main__":
    main()
