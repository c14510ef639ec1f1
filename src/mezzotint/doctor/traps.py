"""The traps of an environment: what the facts of a machine mean.

Each check is a function of a :class:`~mezzotint.doctor.machine.Machine` and names one thing that has cost somebody an
afternoon. None of them needs torch.
"""

from __future__ import annotations

import re

from mezzotint.doctor.finding import Examination, Finding, Unknown
from mezzotint.doctor.machine import FLOORS, VARIABLE, Machine, mismatch

_WHEELS = "https://download.pytorch.org/whl"
_MIB = 2**20
_LITTLE_DISK, _LITTLE_SHARED = 1024 * _MIB, 256 * _MIB


def examine(machine: Machine) -> Examination:
    """Every check of a machine."""
    return Examination.of({name: lambda check=check: check(machine) for name, check in CHECKS.items()})  # type: ignore[misc]


def torch_build(machine: Machine) -> list[Finding]:
    """torch that does not start, is too old, or was built for another kind of device than the one that is here."""
    version = machine.versions["torch"]
    plain = (version or "").partition("+")[0]
    if machine.torch_fails is not None and machine.torch_fails == machine.numpy_fails:
        raise Unknown("numpy cannot be imported, and torch needs it")
    if machine.torch_fails is not None:
        return [Finding("torch broken", "wrong", f"torch {version} cannot be imported: {machine.torch_fails}",
                        "pip install --force-reinstall -c constraints.txt torch")]  # fmt: skip
    found = []
    if machine.nvidia and not (machine.cuda or machine.hip):
        found.append(Finding(
            "wrong torch build", "warning",
            f"torch {version} is a CPU build, but there is an NVIDIA device here ({machine.nvidia}): "
            "it trains on the CPU",
            f"pip install --force-reinstall torch=={plain} --index-url {_WHEELS}/cu128",
        ))  # fmt: skip
    hidden = machine.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if machine.nvidia and machine.cuda and not machine.works and not hidden:
        found.append(Finding(
            "device unusable", "wrong",
            f"torch {version} for CUDA {machine.cuda} cannot use the NVIDIA device that is here ({machine.nvidia})",
            "update the NVIDIA driver, or install a torch for a CUDA no newer than nvidia-smi says",
        ))  # fmt: skip
    if machine.cuda and not machine.nvidia:
        found.append(Finding(
            "wrong torch build", "hint",
            f"torch {version} was built for CUDA {machine.cuda}, but no NVIDIA device is here: it works, and takes "
            "gigabytes more than the CPU build",
            f"pip install --force-reinstall torch=={plain} --index-url {_WHEELS}/cpu",
        ))  # fmt: skip
    return found


def numpy_bridge(machine: Machine) -> list[Finding]:
    """A numpy that torch was not built for: tensors cannot be handed over."""
    if machine.numpy_fails is None and machine.torch_fails is not None:
        raise Unknown("torch cannot be imported")
    if machine.numpy_fails is None:
        return []
    seen = f"torch {machine.versions['torch']} cannot use numpy {machine.versions['numpy']}: {machine.numpy_fails}"
    fix = "pip install --force-reinstall -c constraints.txt numpy torch"
    return [Finding("numpy and torch", "wrong", seen, fix)]


def floors(machine: Machine) -> list[Finding]:
    """Packages that are missing or older than mezzotint needs."""
    found = []
    for name, floor in FLOORS.items():
        version = machine.versions[name]
        if version is None or _numbers(version) < _numbers(floor):
            seen = f"{name} is {version or 'not installed'}, mezzotint needs {floor} or newer"
            found.append(Finding("too old", "wrong", seen, f'pip install "{name}>={floor}" -c constraints.txt'))
    return found


def pins(machine: Machine) -> list[Finding]:
    """Versions that have moved away from the constraints file."""
    if not machine.pins:
        raise Unknown("no constraints.txt lies beside this installation or in this folder")
    moved = []
    for name, pin in machine.pins.items():
        version = machine.versions.get(name)
        if version is not None and version.partition("+")[0] != pin:
            moved.append(f"{name} {version} (pinned {pin})")
    if not moved:
        return []
    seen = f"{len(moved)} package{'s' if len(moved) > 1 else ''} moved from constraints.txt: {', '.join(moved)}; "
    fix = "pip install -c constraints.txt -e ."
    return [Finding("versions moved", "hint", seen + "records were made with the pinned ones", fix)]


def torchvision(machine: Machine) -> list[Finding]:
    """A torchvision built for another torch: transformers, diffusers and torchmetrics fail when they import it."""
    version, torch = machine.versions["torchvision"], machine.versions["torch"]
    if version is None:
        return []
    wrong = mismatch(machine.torchvision_asks, torch) or machine.torchvision_fails
    if wrong is None and _tag(version) != _tag(torch) and _tag(version) and _tag(torch):
        wrong = f"one is a {_tag(version)} build, the other {_tag(torch)}"
    if wrong is None:
        return []
    seen = f"torchvision {version} does not fit torch {torch} ({wrong}): what imports it breaks"
    return [Finding("torchvision", "warning", seen, "pip uninstall torchvision   (mezzotint never needs it)")]


def threads(machine: Machine) -> list[Finding]:
    """More threads than cores: throughput collapses, ten times and more where idle threads spin."""
    given, many = machine.environ.get("OMP_NUM_THREADS", ""), machine.processes
    each = int(given) if given.isdigit() and int(given) else min(2, machine.cores)
    total, cores = each * many, machine.cores
    if total <= cores:
        return []
    spin = machine.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE"
    by = "OMP_NUM_THREADS" if given else "the command's own"
    seen = (
        f"{many} process{'es' if many > 1 else ''} of {each} threads ({by}) on {cores} core{'s' if cores > 1 else ''}"
    )
    seen += ", and idle threads spin" if spin else ""
    fix = f"export OMP_NUM_THREADS={max(1, cores // many)}"
    fix += " OMP_WAIT_POLICY=PASSIVE" if spin else ""
    return [Finding("too many threads", "warning", seen, fix)]


def shared_memory(machine: Machine) -> list[Finding]:
    """Too little shared memory for processes that read data."""
    if machine.shared is None or machine.shared >= _LITTLE_SHARED:
        return []
    seen = f"/dev/shm has {machine.shared / _MIB:.0f} MiB, and data workers hand their batches over in it: a bus error"
    return [
        Finding("little shared memory", "warning", seen, "docker run --shm-size=2g ..., or --set training.workers=0")
    ]


def disk(machine: Machine) -> list[Finding]:
    """A disk that is about to be full."""
    if machine.disk >= _LITTLE_DISK:
        return []
    seen = f"{machine.disk / _MIB:,.0f} MiB are free on this disk, and a checkpoint has five copies of the weights"
    return [Finding("little disk", "warning", seen, "free some, or write elsewhere with --out DIR")]


def data(machine: Machine) -> list[Finding]:
    """A data root that is not there."""
    if machine.data is None:
        raise Unknown("the library could not be loaded to ask it")
    if machine.data:
        return []
    given = machine.environ.get(VARIABLE)
    seen = f"{VARIABLE} is {given!r}, which is no folder" if given is not None else f"{VARIABLE} is not set"
    seen += ": recipes on data sets that you have to bring are refused"
    return [Finding("no data folder", "hint" if given is None else "warning", seen, f"export {VARIABLE}=/path/to/data")]


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers a version begins with, for comparing."""
    begins = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(map(int, begins[0].split("."))) if begins else ()


def _tag(version: str | None) -> str:
    """The build of a version: ``cu128`` of ``2.13.0+cu128``."""
    return (version or "").partition("+")[2]


CHECKS = {
    "torch": torch_build,
    "numpy": numpy_bridge,
    "versions": floors,
    "constraints": pins,
    "torchvision": torchvision,
    "threads": threads,
    "shared memory": shared_memory,
    "disk": disk,
    "data": data,
}
