"""The extractor: learns, repeats itself, and is what its record says."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mezzotint.core import Refusal
from mezzotint.metrics import Extractor


def test_learns_digits(extractor: Extractor, real: SimpleNamespace) -> None:
    held_out = extractor.record["held_out"]
    assert held_out["value"] >= 0.97 and held_out["count"] == 360
    assert extractor.features(real.z).shape == (360, 64)
    # The features carry the classes: nearest class mean finds them.
    fx, fz = extractor.features(real.x), extractor.features(real.z)
    means = np.stack([fx[real.y.numpy() == c].mean(0) for c in range(10)])
    assert (((fz[:, None] - means) ** 2).sum(-1).argmin(1) == real.w.numpy()).mean() > 0.95


def test_same_seed_same_weights_and_nobody_elses_draws_move(
    real: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = real.x[:200], real.y[:200]
    torch.manual_seed(3)
    devices: list[int] = []
    monkeypatch.setattr("torch.cuda.manual_seed_all", devices.append)  # which torch calls with or without a device
    before = torch.random.get_rng_state()
    first = Extractor.train(x, y, seen=640, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before) and not devices
    torch.manual_seed(4)
    with torch.no_grad():
        again = Extractor.train(x, y, seen=640, seed=1)
    assert first.record == again.record and len(first.sha256) == 64
    assert Extractor.train(x, y, seen=640, seed=2).sha256 != first.sha256
    other = Extractor.train(x, y.flip(0), seen=64, seed=1).record
    assert other["train"]["sha256"] != first.record["train"]["sha256"]


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 5, 7), (2, 3, 20), (1, 72, 66)])
def test_any_channels_and_size(shape: tuple[int, int, int]) -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(240) % 2
    x = 0.3 * torch.randn(240, *shape, generator=g)
    x[..., : shape[2] // 2] += (y[:, None, None, None] - 0.5) * 1.2  # the class is which half is brighter
    made = Extractor.train(x[:160], y[:160], (x[160:], y[160:]), seen=480, width=8)
    assert made.record["held_out"]["value"] > 0.95


def test_saved_and_loaded_it_is_the_same(extractor: Extractor, real: SimpleNamespace, tmp_path: Path) -> None:
    path = extractor.save(tmp_path / "extractor")
    back = Extractor.load(path)
    assert back.record == extractor.record and back.sha256 == extractor.record["sha256"]
    assert np.array_equal(back.features(real.z), extractor.features(real.z))
    weights = path / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-3] ^= 64
    weights.write_bytes(raw)
    with pytest.raises(Refusal, match="damaged"):
        Extractor.load(path)
    with pytest.raises(Refusal):
        Extractor.load(tmp_path / "nowhere")


def test_weights_that_are_not_the_records_are_refused(extractor: Extractor, tmp_path: Path) -> None:
    record = {**extractor.record, "sha256": "0" * 64}
    path = Extractor(extractor.classifier, json.loads(json.dumps(record))).save(tmp_path / "extractor")
    with pytest.raises(Refusal, match="not those its record names"):
        Extractor.load(path)
