"""The facts of a machine that decide whether mezzotint runs well on it, gathered once.

Nothing else looks at the machine, so each check (:mod:`mezzotint.doctor.traps`) is a function of facts. torchvision is
never imported here: one that does not match torch fails at its first operator, so it is compared by what its own
metadata ask for, and then imported in a process of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

FLOORS = {"torch": "2.11", "numpy": "2.0", "pillow": "12.3", "safetensors": "0.5", "accelerate": "1.10"}
"""The oldest versions mezzotint runs with, as in ``pyproject.toml``."""
PINNED = (*FLOORS, "pyyaml", "tyro", "rich", "matplotlib", "scikit-learn")
VARIABLE = "MEZZOTINT_DATA"
_PINS = "constraints.txt"
_PATIENCE = 60.0


@dataclass(frozen=True)
class Machine:
    """What the checks look at.

    Arguments:
        cores: that this process may use, by its affinity and the quota of its container.
        processes: that are meant to run on this machine at once.
        environ: the environment variables.
        versions: of packages by name, None where one is not installed.
        pins: versions by ``constraints.txt``, empty where there is no such file.
        torchvision_asks: the requirement on torch in torchvision's metadata, such as ``torch==2.13.0``.
        torchvision_fails: what importing it said in a process of its own, None where it went well or was not tried.
        torch_fails: what importing torch said, None where it went well.
        numpy_fails: what importing numpy or handing it a tensor said, None where it went well.
        cuda: the CUDA version torch was built for, None for other builds.
        hip: the same for ROCm.
        nvidia: what shows that there is an NVIDIA device, None where nothing does.
        works: whether torch can use it.
        shared: bytes of shared memory, None where there is no /dev/shm.
        disk: bytes free here.
        data: whether there is a folder of data sets; None where the library could not be asked.
    """

    cores: int
    processes: int
    environ: Mapping[str, str]
    versions: Mapping[str, str | None]
    pins: Mapping[str, str]
    torchvision_asks: str | None
    torchvision_fails: str | None
    torch_fails: str | None
    numpy_fails: str | None
    cuda: str | None
    hip: str | None
    nvidia: str | None
    works: bool
    shared: int | None
    disk: int
    data: bool | None

    @classmethod
    def here(
        cls, processes: int | None = None, root: Path = Path("/"), environ: Mapping[str, str] = os.environ
    ) -> Machine:
        """This machine.

        Arguments:
            processes: that are meant to run at once; None: ``LOCAL_WORLD_SIZE``, which launchers set, or one.
            root: of the file system in which devices and quotas are looked for.
            environ: the environment variables.
        """
        versions = {name: _version(name) for name in (*PINNED, "torchvision")}
        asks = _requirement("torchvision", "torch")
        fails = _import("torchvision") if versions["torchvision"] and not mismatch(asks, versions["torch"]) else None
        torch_fails, numpy_fails, cuda, hip, works = _torch()
        given = environ.get("LOCAL_WORLD_SIZE", "")
        shared = root / "dev" / "shm"
        return cls(
            cores=_cores(root),
            processes=processes or (int(given) if given.isdigit() and int(given) else 1),
            environ=environ,
            versions=versions,
            pins=_pins(),
            torchvision_asks=asks,
            torchvision_fails=fails,
            torch_fails=torch_fails,
            numpy_fails=numpy_fails,
            cuda=cuda,
            hip=hip,
            nvidia=_nvidia(root),
            works=works,
            shared=shutil.disk_usage(shared).total if shared.is_dir() else None,
            disk=shutil.disk_usage(Path.cwd()).free,
            data=_data(environ),
        )


def mismatch(asked: str | None, torch: str | None) -> str | None:
    """What torchvision asks for, where it is one version of torch and another is installed."""
    found = re.search(r"==\s*([0-9.]+)", asked or "")
    if found is None or torch is None or found[1] == torch.partition("+")[0]:
        return None
    return f"it asks for torch {found[1]}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _requirement(package: str, name: str) -> str | None:
    """What a package's metadata say about another one."""
    try:
        asked = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return None
    return next((line for line in asked if re.match(rf"{name}\b", line)), None)


def _import(name: str) -> str | None:
    """What importing a package says in a process of its own: its last line, or None where it goes well."""
    try:
        words = [sys.executable, "-c", f"import {name}"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"importing it failed: {error}"
    lines = said.stderr.strip().splitlines() or [f"exit code {said.returncode}"]
    return None if said.returncode == 0 else lines[-1]


def _torch() -> tuple[str | None, str | None, str | None, str | None, bool]:
    """What torch, numpy and the bridge between them say: (torch fails, numpy fails, CUDA, ROCm, a device works)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import numpy  # noqa: F401

            numpy_fails = None
        except Exception as error:  # a broken library raises whatever it likes
            numpy_fails = str(error) or type(error).__name__
        try:
            import torch
        except Exception as error:
            return str(error) or type(error).__name__, numpy_fails, None, None, False
        try:
            torch.zeros(1).numpy()
        except Exception as error:
            numpy_fails = str(error) or type(error).__name__
        return None, numpy_fails, torch.version.cuda, torch.version.hip, torch.cuda.is_available()


def _cores(root: Path) -> int:
    """Cores by the affinity of this process and the quota of its container, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    groups = root / "sys" / "fs" / "cgroup"
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((groups / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdigit() and period.isdigit() and int(period):
            cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)


def _nvidia(root: Path) -> str | None:
    """What shows that there is an NVIDIA device: its file, its driver's entry, or what nvidia-smi lists."""
    for pattern in ("dev/nvidia[0-9]*", "proc/driver/nvidia/gpus/*"):
        for path in sorted(root.glob(pattern)):
            return f"/{path.relative_to(root)}"
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        said = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    first = said.stdout.strip().splitlines()[:1]
    return first[0].partition(" (UUID")[0] if said.returncode == 0 and first else None


def _pins() -> dict[str, str]:
    """The constraints file of this folder, else the one beside the package's sources."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[3]):
        if (folder / _PINS).is_file():
            lines = (folder / _PINS).read_text(encoding="utf-8").splitlines()
            pinned = (line.partition("==") for line in lines if "==" in line and not line.startswith("#"))
            found = {name.strip().lower(): version.strip() for name, _, version in pinned}
            return {name: found[name] for name in PINNED if name in found}
    return {}


def _data(environ: Mapping[str, str]) -> bool | None:
    """Whether the data root is there, as the environment names it or else as the library finds it."""
    if VARIABLE in environ:
        return Path(environ[VARIABLE]).is_dir()
    try:
        from mezzotint.core.errors import Refusal
        from mezzotint.data.root import find
    except Exception:  # whatever a broken torch or numpy raises
        return None
    try:
        return find("").is_dir()
    except Refusal:
        return False
