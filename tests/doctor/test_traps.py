"""Traps of an environment: set up for real where a machine lets itself be harmed, and by its facts where not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint.doctor import traps
from mezzotint.doctor.machine import FLOORS, Machine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sound() -> Machine:
    """This machine, with what may ail it here put right."""
    torch_version = torch.__version__.partition("+")[0]
    versions = {**dict.fromkeys(FLOORS, "99.0"), "torch": f"{torch_version}+cpu", "torchvision": None}
    return replace(
        Machine.here(1, Path("/nowhere"), {"OMP_NUM_THREADS": "1"}),
        versions=versions, pins={"torch": torch_version}, torchvision_asks=None, torchvision_fails=None,
        cuda=None, hip=None, works=False, cores=4, shared=2**34, disk=2**36, data=True,
    )  # fmt: skip


def found(machine: Machine) -> dict[str, tuple[str, str]]:
    """Severity and fix by name."""
    return {f.name: (f.severity, f.fix) for f in traps.examine(machine).findings}


def test_a_sound_machine_is_healthy(sound: Machine) -> None:
    examined = traps.examine(sound)
    assert examined.healthy and not examined.findings and not examined.unknown
    assert list(examined.checked) == list(traps.CHECKS)


def test_the_floors_are_those_of_the_package() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {tuple(line.split(">=")) for line in asked} >= set(FLOORS.items())


def device(root: Path) -> Path:
    (root / "dev").mkdir(parents=True)
    (root / "dev" / "nvidia0").touch()
    return root


def test_wrong_torch_builds(sound: Machine, tmp_path: Path) -> None:
    seen = Machine.here(root=device(tmp_path)).nvidia
    assert seen == "/dev/nvidia0"
    severity, fix = found(replace(sound, nvidia=seen))["wrong torch build"]
    assert severity == "warning" and "--index-url https://download.pytorch.org/whl/cu" in fix
    severity, fix = found(replace(sound, cuda="12.8"))["wrong torch build"]
    assert severity == "hint" and fix.endswith("whl/cpu")
    blind = replace(sound, cuda="12.8", nvidia=seen, works=False)
    assert found(blind)["device unusable"][0] == "wrong"
    assert not found(replace(blind, works=True))
    assert not found(replace(blind, environ={"CUDA_VISIBLE_DEVICES": ""}))  # it was hidden on purpose
    assert not found(replace(sound, hip="6.2", nvidia=seen))


def test_old_missing_and_moved_packages(sound: Machine) -> None:
    old = replace(sound, versions={**sound.versions, "torch": "2.9.1+cpu", "numpy": None})
    examined = traps.examine(old)
    texts = {f.seen for f in examined.findings if f.name == "too old"}
    assert texts == {
        "torch is 2.9.1+cpu, mezzotint needs 2.11 or newer",
        "numpy is not installed, mezzotint needs 2.0 or newer",
    }
    assert found(old)["versions moved"][0] == "hint" and not examined.healthy
    assert traps.examine(replace(sound, pins={})).unknown.keys() == {"constraints"}


@pytest.mark.parametrize(
    ("environ", "processes", "cores", "fix"),
    [
        ({"OMP_NUM_THREADS": "8", "OMP_WAIT_POLICY": "PASSIVE"}, 1, 4, "export OMP_NUM_THREADS=4"),
        ({"OMP_NUM_THREADS": "2"}, 4, 4, "export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE"),
        ({}, 3, 4, "export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE"),
        ({"OMP_NUM_THREADS": "2"}, 2, 4, None),
        ({}, 1, 1, None),
    ],
)
def test_threads(sound: Machine, environ: dict[str, str], processes: int, cores: int, fix: str | None) -> None:
    machine = replace(sound, environ=environ, processes=processes, cores=cores)
    assert found(machine).get("too many threads", (None, None))[1] == fix


def test_a_container_with_a_quota_has_fewer_cores(tmp_path: Path) -> None:
    """A quota of one core and a half counts as two, none as what the affinity allows; both versions of the files."""
    groups = tmp_path / "sys" / "fs" / "cgroup"
    groups.mkdir(parents=True)
    mine = len(os.sched_getaffinity(0))
    for text, cores in (("max 100000", mine), ("150000 100000", min(2, mine)), ("50000 100000", 1)):
        (groups / "cpu.max").write_text(text)
        assert Machine.here(root=tmp_path).cores == cores
    (groups / "cpu.max").unlink()
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    (groups / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert Machine.here(root=tmp_path).cores == 1


def test_launchers_say_how_many_processes() -> None:
    assert Machine.here(environ={"LOCAL_WORLD_SIZE": "4"}).processes == 4
    assert Machine.here(3, environ={"LOCAL_WORLD_SIZE": "4"}).processes == 3


def test_memory_disk_and_data(sound: Machine, tmp_path: Path) -> None:
    assert "--shm-size" in found(replace(sound, shared=64 * 2**20))["little shared memory"][1]
    assert found(replace(sound, disk=2**20))["little disk"][0] == "warning"
    there, gone = {"MEZZOTINT_DATA": str(tmp_path)}, {"MEZZOTINT_DATA": str(tmp_path / "gone")}
    assert Machine.here(environ=there).data and not Machine.here(environ=gone).data
    assert found(replace(sound, environ=gone, data=False))["no data folder"][0] == "warning"
    assert found(replace(sound, data=False))["no data folder"][0] == "hint"


def installed(folder: Path, name: str, version: str, code: str, asks: str = "") -> None:
    """A package as pip leaves it: its code, and its metadata."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    requires = f"Requires-Dist: {asks}\n" if asks else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")


def doctor(folder: Path) -> tuple[int, dict[str, Any]]:
    """The verb in a fresh interpreter that finds ``folder`` first."""
    path = os.pathsep.join([str(folder), str(ROOT / "src")])
    environ = {**os.environ, "PYTHONPATH": path, "MEZZOTINT_DATA": str(folder)}
    words = [sys.executable, "-m", "mezzotint", "doctor", "--json"]
    said = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    report = json.loads(said.stdout)
    return said.returncode, {f["name"]: f for f in report["findings"]} | {"unknown": report["unknown"]}


def test_a_torchvision_of_another_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says so itself is not even imported; one that does not is, in a process of its own."""
    installed(tmp_path / "asks", "torchvision", "0.17.0", "raise SystemExit('never imported')", "torch==2.2.0")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path / "asks"))
        asks = next(f for f in traps.examine(Machine.here()).findings if f.name == "torchvision")
    assert "asks for torch 2.2.0" in asks.seen and asks.fix.startswith("pip uninstall torchvision")
    fails = "raise RuntimeError('operator torchvision::nms does not exist')"
    torch_version = torch.__version__.partition("+")[0]
    installed(tmp_path / "fails", "torchvision", "0.99.0", fails, f"torch=={torch_version}")
    code, report = doctor(tmp_path / "fails")
    assert code == 4 and "operator torchvision::nms does not exist" in report["torchvision"]["seen"]


def test_a_torch_that_cannot_be_imported(tmp_path: Path) -> None:
    """The doctor still speaks where nothing else of the package could be imported."""
    installed(tmp_path, "torch", "2.2.0", "raise OSError('libcudart.so.12: cannot open shared object file')")
    code, report = doctor(tmp_path)
    assert code == 4 and "libcudart.so.12" in report["torch broken"]["seen"]
    assert report["torch broken"]["severity"] == "wrong" and "numpy" in report["unknown"]
    assert "2.2.0" in report["too old"]["seen"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise ImportError('numpy.core.multiarray failed to import')", "multiarray failed to import"),
        # One without the binary interface that torch was built for.
        ("def __getattr__(name):\n    if name[:2] == '__': raise AttributeError\n    return type(name, (), {})",
         "numpy is not available"),
    ],
    ids=["broken", "of another kind"],
)  # fmt: skip
def test_a_numpy_that_torch_cannot_use(tmp_path: Path, code: str, says: str) -> None:
    installed(tmp_path, "numpy", "2.0", code)
    exit_code, report = doctor(tmp_path)
    assert exit_code == 4 and says in report["numpy and torch"]["seen"].lower() and "torch broken" not in report
