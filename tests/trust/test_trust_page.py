"""The table of trust says what was counted."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def tool():  # type: ignore[no-untyped-def]
    found = importlib.util.spec_from_file_location("trust_tool", ROOT / "tools" / "trust.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_page_is_fresh_and_nothing_in_it_went_wrong() -> None:
    assert tool().main(["--check"]) == 0
    paths = {path.stem: path for path in (ROOT / "results" / "trust").glob("*.json")}
    assert paths.keys() == {"kills", "flips", "resumes", "fuzz"}
    kills, flips, resumes, fuzz = (
        json.loads(paths[name].read_text()) for name in ("kills", "flips", "resumes", "fuzz")
    )
    assert kills["survived"] == kills["tried"] >= 50 and not kills["wrong"]
    assert flips["detected"] == flips["tried"] > 0 and not flips["wrong"]
    assert resumes["equal"] == resumes["tried"] > 0 and not resumes["wrong"]
    assert fuzz["targets"].keys() == {"config", "folder", "image"}
    for name, found in fuzz["targets"].items():
        assert found["crashes"] == 0 and found["minutes"] >= 10 and found["executions"] > 10_000, name
    assert fuzz["crashes"] == 0 and fuzz["executions"] == sum(one["executions"] for one in fuzz["targets"].values())


def test_it_counts_what_it_does_and_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tool()
    words = ["--results", str(tmp_path / "trust"), "--page", str(tmp_path / "trust.md")]
    assert module.main([*words, "--check"]) == 1
    assert module.main([*words, "--only", "flips", "--bytes", "8"]) == 0
    found = json.loads((tmp_path / "trust" / "flips.json").read_text())
    assert found["tried"] == found["detected"] == sum(found["where"].values()) > 1_000
    text = (tmp_path / "trust.md").read_text()
    assert f"| bytes flipped / detected | {found['tried']:,} / {found['detected']:,} |" in text
    assert "| kills survived / tried | not run |" in text
    assert module.main([*words, "--check"]) == 0
    (tmp_path / "trust" / "fuzz.json").write_text(json.dumps({"executions": 1200, "crashes": 1}))
    assert module.main([*words, "--check"]) == 1
    assert module.main([*words, "--only"]) == 0
    assert "| inputs fuzzed / crashes | 1,200 / 1 |" in (tmp_path / "trust.md").read_text()
    import flips

    monkeypatch.setattr(flips, "noticed", lambda folder: False)
    monkeypatch.setattr(flips, "detected", lambda *rest: (3, ["model.safetensors at 1 with 0x01"]))
    assert module.main([*words, "--only", "flips"]) == 1
    assert "- wrong: model.safetensors at 1" in (tmp_path / "trust.md").read_text()
