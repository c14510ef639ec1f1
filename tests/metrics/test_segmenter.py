"""The segmenter: learns where things are, and not where they are not said; repeats itself; is what its record says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score
from torch import Tensor

from mezzotint.core import Refusal
from mezzotint.metrics import EncoderDecoder, Extractor, Segmenter, check_apart, load_extractor


def blobs(count: int, size: tuple[int, int] = (12, 10), channels: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A bright and a striped rectangle on a dark ground under noise: things 1 and 2 before 0."""
    g = np.random.default_rng(seed)
    layouts = np.zeros((count, *size), dtype=np.uint8)
    for layout in layouts:
        for thing in (1, 2):
            top, left = g.integers(0, size[0] - 4), g.integers(0, size[1] - 4)
            layout[top : top + g.integers(3, 7), left : left + g.integers(3, 7)] = thing
    stripes = np.where(np.arange(size[0]) % 2, 0.9, -0.9)[None, :, None]
    flat = np.where(layouts == 1, 0.8, np.where(layouts == 2, stripes, -0.6))
    pictures = flat[:, None] + 0.15 * g.standard_normal((count, channels, *size))
    return torch.from_numpy(pictures).float().clamp(-1, 1), torch.from_numpy(layouts)


@pytest.fixture(scope="module")
def made() -> Segmenter:
    return Segmenter.train(*blobs(200), blobs(60, seed=1), seen=2400, width=8)


def test_learns_and_records_what_scikit_learn_says(made: Segmenter) -> None:
    pictures, layouts = blobs(60, seed=1)
    seen, said = made.segment(pictures).ravel(), layouts.numpy().ravel()
    held_out = made.record["held_out"]
    assert held_out["miou"]["value"] == pytest.approx(jaccard_score(said, seen, average="macro"), rel=1e-12)
    assert held_out["pixel_accuracy"]["value"] == pytest.approx(accuracy_score(said, seen), rel=1e-12)
    assert held_out["miou"]["value"] > 0.85 and held_out["miou"]["count"] == 60


def test_real_layouts_teach_and_shuffled_ones_do_not(made: Segmenter) -> None:
    pictures, layouts = blobs(200)
    misled = Segmenter.train(pictures, layouts.roll(1, 0), blobs(60, seed=1), seen=2400, width=8)
    assert misled.record["held_out"]["miou"]["value"] < 0.4 < made.record["held_out"]["miou"]["value"] - 0.4


def test_nothing_is_learnt_where_nothing_is_said() -> None:
    """A lie of thing 1 as 2 under 255 leaves every weight as it is; the same lie said aloud does not."""
    pictures, layouts = blobs(48)
    unsaid = layouts.masked_fill(layouts == 1, 255)
    given: dict[str, Any] = {"seen": 64, "width": 8, "classes": 3}
    honest = Segmenter.train(pictures, unsaid, **given)
    other = Segmenter.train(pictures, layouts.masked_fill(layouts == 1, 7), **given, ignored=7)
    assert honest.sha256 == other.sha256
    assert Segmenter.train(pictures, layouts.masked_fill(layouts == 1, 2), **given).sha256 != honest.sha256
    some = unsaid.clone()
    some[:40] = 255  # whole batches of which nothing is said
    assert all(p.isfinite().all() for p in Segmenter.train(pictures, some, **given).network.parameters())


def test_same_seed_same_weights_and_nobody_elses_draws_move(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, layouts = blobs(40)
    torch.manual_seed(3)
    devices: list[int] = []
    monkeypatch.setattr("torch.cuda.manual_seed_all", devices.append)  # which torch calls with or without a device
    before = torch.random.get_rng_state()
    first = Segmenter.train(pictures, layouts, seen=96, width=8, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before) and not devices
    with torch.no_grad():
        again = Segmenter.train(pictures, layouts, seen=96, width=8, seed=1)
    assert first.record == again.record
    assert Segmenter.train(pictures, layouts, seen=96, width=8, seed=2).sha256 != first.sha256
    moved = Segmenter.train(pictures, layouts.flip(0), seen=32, width=8).record
    assert moved["train"]["sha256"] != first.record["train"]["sha256"]


def test_large_pictures_are_answered_at_their_own_size() -> None:
    """Pictures of 90 x 72 are looked at as 64 x 51: the boundary of two halves comes out where it is."""
    pictures, layouts = torch.full((40, 3, 90, 72), -0.7), torch.zeros(40, 90, 72, dtype=torch.int64)
    edges = torch.randint(10, 62, (40,), generator=torch.Generator().manual_seed(0))
    for picture, layout, edge in zip(pictures, layouts, edges, strict=True):
        picture[..., edge:], layout[..., edge:] = 0.7, 1
    pictures += 0.1 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    made = Segmenter.train(pictures[:32], layouts[:32], seen=320, width=8)
    seen = made.segment(pictures[32:])
    assert seen.shape == (8, 90, 72) and seen.dtype == np.uint8
    found = (seen == 0).sum(2)  # columns of the first half, row by row
    off = found - edges[32:, None].numpy()
    assert np.median(np.abs(off)) <= 1 and (seen == layouts[32:].numpy()).mean() > 0.97
    # One picture is seen as it is among others, but for rounding where products are summed in another order.
    assert (made.segment(pictures[35:36])[0] != seen[3]).mean() < 0.001


def test_features_are_the_mean_of_the_coarsest_maps(made: Segmenter) -> None:
    pictures, _ = blobs(20, seed=2)
    seen: list[Tensor] = []
    hook = made.network.down[-1].register_forward_hook(lambda module, given, out: seen.append(out))
    made.segment(pictures)
    hook.remove()
    features = made.features(pictures)
    assert features.dtype == np.float64 and features.shape == (20, 32)
    assert features == pytest.approx(seen[0].double().mean((2, 3)).numpy(), abs=1e-6)


def test_saved_and_loaded_it_is_the_same(made: Segmenter, tmp_path: Path) -> None:
    path = made.save(tmp_path / "eye")
    back, (pictures, _) = load_extractor(path), blobs(9, seed=3)
    assert isinstance(back, Segmenter) and back.record == made.record
    assert np.array_equal(back.segment(pictures), made.segment(pictures))
    assert np.array_equal(back.features(pictures), made.features(pictures))
    with pytest.raises(Refusal, match="very network that drew"):
        check_apart(back, made.network)
    with pytest.raises(Refusal, match="does not describe a classifier"):
        Extractor.load(path)
    other = Segmenter(made.network, json.loads(json.dumps({**made.record, "sha256": "0" * 64})))
    with pytest.raises(Refusal, match="not those its record names"):
        Segmenter.load(other.save(tmp_path / "other"))
    raw = bytearray((path / "model.safetensors").read_bytes())
    raw[-3] ^= 64
    (path / "model.safetensors").write_bytes(raw)
    with pytest.raises(Refusal, match="damaged"):
        load_extractor(path)


def test_unfit_layouts_are_refused(made: Segmenter) -> None:
    pictures, layouts = blobs(8)
    for wrong, said in (
        (layouts[:5], "need layouts of whole numbers"),
        (layouts[:, :5], "need layouts of whole numbers"),
        (layouts.float(), "need layouts of whole numbers"),
        (torch.full_like(layouts, 255), "nothing to learn"),
        (layouts.int() - 1, "hold -1 to 1"),
    ):
        with pytest.raises(Refusal, match=said):
            Segmenter.train(pictures, wrong, seen=8, width=8)
    with pytest.raises(Refusal, match="with 2 classes they must hold 0 to 1"):
        Segmenter.train(pictures, layouts, classes=2, seen=8, width=8)
    with pytest.raises(Refusal, match="multiple of 8"):
        EncoderDecoder(1, 3, width=12)


@pytest.mark.parametrize("size", [(12, 10), (100, 70)])
def test_of_no_pictures_there_are_no_answers(made: Segmenter, size: tuple[int, int]) -> None:
    none = torch.empty(0, 1, *size)
    assert made.segment(none).shape == (0, *size) and made.segment(none).dtype == np.uint8
    assert made.features(none).shape == (0, 32) and made.features(none).dtype == np.float64


def test_pictures_of_other_channels_are_refused(made: Segmenter) -> None:
    for wrong in (torch.zeros(2, 3, 12, 10), torch.zeros(0, 3, 12, 10), torch.zeros(1, 12, 10)):
        for look in (made.segment, made.features):
            with pytest.raises(Refusal, match=r"learnt from pictures \(N, 1, H, W\)"):
                look(wrong)
