"""Extractors out of networks: the layer that was asked for, saved and loaded, and never the one that guided."""

from pathlib import Path

import numpy as np
import pytest
import torch

import mezzotint as mz
from mezzotint.core import Refusal
from mezzotint.core.store import save_model
from mezzotint.guidance import AtEstimate
from mezzotint.metrics import (
    Classifier,
    Estimate,
    Extractor,
    NetworkExtractor,
    Record,
    check_apart,
    compare,
    load_extractor,
)
from mezzotint.metrics.report import measured_with
from mezzotint.networks import DiT, UNet
from mezzotint.rewards import Classifier as Rewarding
from mezzotint.rewards import NoiseAwareClassifier

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(70, *SHAPE, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def lively(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights none of which are zero, so that every layer says something."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(0.2 * torch.randn(value.shape, generator=g))
    return module.eval()


def dit() -> mz.denoiser.Preconditioned:
    return lively(mz.denoiser.Preconditioned(DiT(SHAPE, width=16, depth=3, heads=2, vector=None), mz.processes.EDM()))


def test_a_layer_of_a_transformer_is_what_a_hook_sees(x: torch.Tensor) -> None:
    model, seen = dit(), []
    made = NetworkExtractor.of(model, "block.1", 0.3)
    model.network.blocks[1].register_forward_hook(lambda _, __, out: seen.append(out))
    got = made.features(x)
    assert got.dtype == np.float64 and got.shape == (70, 16)
    want = torch.cat([out.mean(1) for out in seen])[:70].numpy()
    assert np.allclose(got, want, atol=1e-6)
    # At level u of EDM alpha is 1, so what goes in is the picture itself, over the deviation a noisy one would have.
    sigma = float(model.process.sigma(model.process.time(torch.tensor(0.3, dtype=torch.float64))))
    assert sigma / (1 + sigma) == pytest.approx(0.3)
    assert not np.allclose(got, NetworkExtractor.of(model, "block.1", 0.6).features(x))
    assert NetworkExtractor.of(model).record["want"] == "block.2"


def test_features_do_not_feel_the_batch(x: torch.Tensor) -> None:
    made = NetworkExtractor.of(dit(), "block.0", 0.1)
    assert np.array_equal(made.features(x)[3:5], made.features(x[3:5]))


@pytest.mark.parametrize("want", ["mid", "logs"])
def test_a_noise_aware_classifier(x: torch.Tensor, want: str, tmp_path: Path) -> None:
    network = UNet(SHAPE, outputs=5, width=8, multipliers=(1, 2), blocks=1)
    model = lively(NoiseAwareClassifier(network, mz.processes.EDM(), 0.5))
    made = NetworkExtractor.of(model, want, 0.2)
    got = made.features(x)
    if want == "logs":
        assert np.allclose(np.exp(got).sum(1), 1, atol=1e-6)
        t = model.process.time(torch.full((70,), 0.2, dtype=torch.float64))
        assert np.allclose(got, model.logs(x, t).numpy(), atol=1e-5)
    folder = save_model(tmp_path / "model", model)
    assert np.array_equal(NetworkExtractor.of(folder, want, 0.2).features(x), got)
    back = load_extractor(made.save(tmp_path / "extractor"))
    assert back.record == made.record and np.array_equal(back.features(x), got)


def test_a_classifier_of_clean_pictures(x: torch.Tensor, tmp_path: Path) -> None:
    plain = lively(Classifier(SHAPE, 4, width=8))
    made = NetworkExtractor.of(save_model(tmp_path / "m", Rewarding(plain)))
    with torch.no_grad():
        assert np.allclose(made.features(x), plain.features(x).numpy(), atol=1e-6)
    assert made.record["level"] is None and made.record["want"] == "features"
    with pytest.raises(Refusal, match="told no noise level"):
        NetworkExtractor.of(plain, level=0.5)
    assert load_extractor(made.save(tmp_path / "e")).record == made.record


def test_what_is_not_the_record_is_refused(x: torch.Tensor, tmp_path: Path) -> None:
    made = NetworkExtractor.of(dit(), "block.1")
    wrong = NetworkExtractor(made.model, {**made.record, "sha256": "0" * 64})
    with pytest.raises(Refusal, match="not those its record names"):
        load_extractor(wrong.save(tmp_path / "e"))
    strange = NetworkExtractor(made.model, {**made.record, "kind": "crystal ball"})
    with pytest.raises(Refusal, match="crystal ball"):
        load_extractor(strange.save(tmp_path / "e"))
    with pytest.raises(Refusal, match="holds no extractor"):
        load_extractor(tmp_path)
    with pytest.raises(Refusal, match="did you mean 'block.1'"):
        NetworkExtractor.of(dit(), "blok.1")
    with pytest.raises(Refusal, match="below 1"):
        NetworkExtractor.of(dit(), level=1.0)
    with pytest.raises(Refusal, match="no layers to ask"):
        NetworkExtractor.of(torch.nn.Linear(2, 2))
    with pytest.raises(Refusal, match="of shape"):
        made.features(torch.zeros(2, 1, 8, 6))
    assert made.features(torch.zeros(2, 1, 16, 16)).shape == (2, 16)  # larger ones are shrunk


def test_who_guided_does_not_judge() -> None:
    judge, other = (lively(Classifier(SHAPE, 4, width=8), seed) for seed in (0, 1))
    judge, other = (Extractor(one, {"sha256": Extractor(one, {}).sha256}) for one in (judge, other))
    model = dit()
    guided = AtEstimate(model, Rewarding(judge.classifier), 1.0)
    with pytest.raises(Refusal, match=f"{judge.record['sha256'][:12]} is the very network .*reward"):
        check_apart(judge, guided)
    check_apart(other, guided)
    check_apart(judge, model)
    with pytest.raises(Refusal, match="the very network"):
        check_apart(NetworkExtractor.of(model, "block.0"), guided)  # nor does who drew
    copy = dit()  # the same weights somewhere else
    with pytest.raises(Refusal, match="the very network"):
        check_apart(NetworkExtractor.of(copy, "block.0"), guided.double())
    check_apart(NetworkExtractor.of(lively(copy, 1), "block.0"), guided)


def test_two_layers_of_one_network_are_two_rulers(x: torch.Tensor) -> None:
    model = dit()
    eyes = [
        NetworkExtractor.of(model, want, level)
        for want, level in (("block.0", 0.1), ("block.1", 0.1), ("block.0", 0.2))
    ]
    assert len({eye.record["sha256"] for eye in eyes}) == 1
    said = [
        Record(Estimate("frechet_features", 1.0, 0.9, 1.1, 70, 70), measured_with("frechet_features", {}, eye.record))
        for eye in eyes
    ]
    assert compare(said[0], said[0]).value == 0
    for other in said[1:]:
        with pytest.raises(Refusal, match="not measured alike: features is"):
            compare(said[0], other)
