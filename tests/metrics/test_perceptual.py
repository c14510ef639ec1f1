"""Feature distance: places by hand, what it forgives, and what the maps of our classifier say of damage."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import Classifier, Extractor, feature_distance, feature_distances


class Twice:
    """Two layers that are simple to follow: the picture, and its halves."""

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, F.avg_pool2d(x, 2)]


def by_hand(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for f, g in ((a, b), (*(x.reshape(3, 4, 2, 6, 2).mean((2, 4)) for x in (a, b)),)):
        places = [
            sum((f[:, i, j] / np.linalg.norm(f[:, i, j]) - g[:, i, j] / np.linalg.norm(g[:, i, j])) ** 2)
            for i in range(f.shape[1])
            for j in range(f.shape[2])
        ]
        total += float(np.mean(places))
    return total


def test_every_place_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (Rng(range(5)).uniform(name, (3, 8, 12)).float() * 2 - 1 for name in "ab")
    want = [by_hand(p.double().numpy(), q.double().numpy()) for p, q in zip(a, b, strict=True)]
    monkeypatch.setattr("mezzotint.metrics.perceptual._CHUNK", 600)
    assert np.allclose(feature_distances(Twice(), a, b), want, rtol=1e-6)
    found = feature_distance(Twice(), a, b)
    assert found.value == pytest.approx(np.mean(want), rel=1e-6) and found.low < found.value < found.high
    assert found.count == 5 and found.name == "feature distance"


def test_limits_in_closed_form() -> None:
    """Equal is 0, strength is forgiven, other channels are 2 a layer, opposite ones 4, and nothing seen is 1."""
    red, green = (torch.zeros(2, 3, 8, 12) for _ in range(2))
    red[:, 0], green[:, 1] = 0.3, 0.9
    for a, b, want in ((red, red, 0), (red, 2.5 * red, 0), (red, green, 4), (red, -red, 8), (red, 0 * red, 2)):
        assert feature_distance(Twice(), a, b).value == pytest.approx(want, abs=1e-6)


def test_maps_are_those_the_features_are_made_of(extractor: Extractor, real: SimpleNamespace) -> None:
    network, x = extractor.classifier, real.z[:20]
    maps = network.maps(x)
    assert [tuple(f.shape[1:]) for f in maps] == [(16, 8, 8), (32, 4, 4), (32, 4, 4)]
    assert torch.equal(maps[-1], network.body(x)) and all(f.min() >= 0 for f in maps)
    assert torch.equal(F.relu(network.neck(F.adaptive_avg_pool2d(maps[-1], 2).flatten(1))), network.features(x))
    wide = Classifier((1, 8, 8), 3).maps(torch.zeros(1, 1, 21, 30))  # convolutions take other sizes too
    assert wide[0].shape[-2:] == (21, 30)


def test_more_damage_lies_further_and_the_same_digit_nearer(extractor: Extractor, real: SimpleNamespace) -> None:
    x, noise = real.z, Rng([0]).normal("noise", tuple(real.z.shape))[0]
    network = extractor.classifier

    def far(others: torch.Tensor) -> float:
        return feature_distance(network, x, others).value

    assert far(x) == 0
    assert far(x + 0.1 * noise) < far(x + 0.3 * noise) < far(x + noise)
    blurred = [torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, s, s))) for s in (0.5, 1.0, 2.0)]
    assert far(blurred[0]) < far(blurred[1]) < far(blurred[2])
    # Pairs of one class against pairs of two.
    order = real.w.argsort(stable=True)
    x = x[order]
    assert far(x.roll(1, 0)) < 0.8 * far(x.roll(len(x) // 2, 0))


def test_unfit_pictures_are_refused() -> None:
    x = torch.zeros(2, 3, 8, 8)
    with pytest.raises(Refusal, match="one shape"):
        feature_distance(Twice(), x, x[:1])
    with pytest.raises(Refusal, match="finite"):
        feature_distance(Twice(), x, x.log() * 0)
