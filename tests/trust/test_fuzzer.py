"""The fuzzer finds a bug that was put there for it, and nothing where there is none."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"

READER = """
def read(data):
    if data[:1] == b"m":
        if data[1:2] == b"z":
            if len(data) > 6:
                if data[2] > 0x7f:
                    {bug}
"""

SCRIPT = """
import sys
sys.path.insert(0, {tools!r})
import fuzz

def reader(home):
    import reader_of_bytes
    return reader_of_bytes.read

fuzz.PACKAGES.append("reader_of_bytes")
fuzz.TARGETS["planted"] = fuzz.Target(reader, lambda home: iter([b"hello"]), longest=16)
{early}
if __name__ == "__main__":
    fuzz.main()
"""


def run(home: Path, bug: str, early: str = "") -> subprocess.CompletedProcess[str]:
    """The fuzzer for some seconds, on one more target that a script of its own registers."""
    (home / "reader_of_bytes.py").write_text(READER.format(bug=bug))
    (home / "script.py").write_text(SCRIPT.format(tools=str(TOOLS), early=early))
    words = [sys.executable, "script.py", "planted", "--minutes", "0.2", "--out", "fuzz.json", "--crashes", "crashes"]
    return subprocess.run(words, cwd=home, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris, of the extra 'fuzz'")
def test_a_planted_bug_is_found_and_kept(tmp_path: Path) -> None:
    """Three bytes and a length that blind bytes would meet once in seventeen million: coverage leads there."""
    for name, bug in {"bad": "raise KeyError(data)", "good": "return 1"}.items():
        home = tmp_path / name
        home.mkdir()
        said = run(home, bug)
        assert said.returncode == 0, said.stderr
        found = json.loads((home / "fuzz.json").read_text())["targets"]["planted"]
        kept = [path.read_bytes() for path in (home / "crashes").glob("planted-*")]
        assert found["executions"] > 1_000
        if name == "good":
            assert found["crashes"] == 0 and not kept
        else:
            assert found["crashes"] > 0 and len(kept) == 1  # one place in the code, however often it was met
            assert kept[0][:2] == b"mz" and len(kept[0]) > 6 and kept[0][2] > 0x7F


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris, of the extra 'fuzz'")
def test_a_module_that_coverage_cannot_see_stops_the_fuzzer(tmp_path: Path) -> None:
    said = run(tmp_path, "return 1", early="import reader_of_bytes")
    assert said.returncode != 0 and "imported before coverage could see it: reader_of_bytes" in said.stderr
    assert not (tmp_path / "fuzz.json").exists()
