"""Layouts: what a segmenter and readers see in samples, thing by thing, and the variety under one layout."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import Tensor

from mezzotint.core import Condition, Refusal
from mezzotint.data import Scenes
from mezzotint.metrics import Segmenter, evaluate
from mezzotint.metrics.layouts import layout_diversity, learnt

THINGS = ("ground", "left", "right", "sky")


class Halves:
    """Pictures of two halves, thing 1 dark and 2 bright, at a border that moves; a strip of 0 above."""

    things = THINGS

    def __init__(self, count: int, seed: int, layouts: bool = True) -> None:
        g = np.random.default_rng(seed)
        self.maps, self.told = torch.zeros(count, 8, 12, dtype=torch.uint8), layouts
        for map_ in self.maps:
            map_[2:, : g.integers(3, 9)] = 1
            map_[2:][map_[2:] == 0] = 2
        light = torch.tensor([-0.9, 0.0, 0.9])[self.maps.long()]
        self.x = (light + 0.1 * torch.from_numpy(g.standard_normal(light.shape)).float())[:, None].clamp(-1, 1)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> tuple[Tensor, Condition]:
        at = torch.as_tensor(rows)
        return self.x[at], Condition(layout=self.maps[at]) if self.told else Condition(count=torch.ones(len(at)))


@pytest.fixture(scope="module")
def eye() -> Segmenter:
    return learnt(Halves(80, 0), Halves(30, 1), things=THINGS, seen=800, width=8)


def judged(eye: Segmenter, samples: Tensor, maps: Tensor, **given: Any) -> Any:
    given = {"measures": "usual", "things": THINGS, "draws": 5, "segmenter": eye, **given}
    return evaluate(samples, None, Halves(80, 0), Halves(30, 1), layouts=maps, **given)


def test_samples_of_other_layouts_score_below_those_of_their_own(eye: Segmenter) -> None:
    data = Halves(40, 2)
    report = judged(eye, data.x, data.maps)
    seen, said = eye.segment(data.x).ravel(), data.maps.numpy().ravel()
    assert report["miou"].value == pytest.approx(jaccard_score(said, seen, average="macro"), rel=1e-12)
    each = jaccard_score(said, seen, average=None)
    assert [report[f"iou_{name}"].value for name in THINGS[:3]] == pytest.approx(each)
    assert report.missing == ("sky",) and "iou_sky" not in report.measures
    assert abs(report["miou"].value - report.real["miou"].value) < 0.05 and report["miou"].value > 0.9
    other = judged(eye, data.x, data.maps.roll(1, 0), measures=["miou", "iou"])
    assert other["miou"].value < report["miou"].value - 0.1 and other["iou_ground"].value > 0.9
    assert other["iou_left"].high < report["iou_left"].low
    plain = json.loads(json.dumps(report.plain(), allow_nan=False))
    assert plain["measures"]["iou_left"]["real"]["value"] == report.real["iou_left"].value
    assert plain["segmenter"]["sha256"] == eye.sha256 and plain["missing"] == ["sky"]
    # There are no labels, so features are the segmenter's.
    assert report.extractor == eye.record and report.record("kid").how["extractor"] == eye.sha256
    assert report.record("miou").how["extractor"] == eye.sha256 and report.record("miou").how["reference"] is None


def test_pixels_of_which_nothing_is_said_do_not_count(eye: Segmenter) -> None:
    data = Halves(20, 3)
    maps = data.maps.clone()
    maps[:, 2:] = 255
    report = judged(eye, data.x, maps, measures=["miou", "iou", "pixel_accuracy"])
    assert report.missing == ("left", "right", "sky")
    seen = eye.segment(data.x)[:, :2]
    assert report["pixel_accuracy"].value == pytest.approx((seen == 0).mean()) == report["miou"].value


def test_variety_is_brute_forces_and_none_where_all_are_one(eye: Segmenter) -> None:
    data = Halves(12, 4)
    alike = data.x.reshape(3, 4, *data.x.shape[1:])
    features, pairs = eye.features(data.x).reshape(3, 4, -1), [(i, j) for i in range(4) for j in range(4) if i != j]
    each = [np.mean([np.linalg.norm(group[i] - group[j]) for i, j in pairs]) for group in features]
    found = layout_diversity(alike, eye)
    assert found.value == pytest.approx(np.mean(each), rel=1e-6) and found.count == 3
    half = 4.302653 * np.std(each, ddof=1) / 3**0.5  # Student's 0.975 with two degrees of freedom
    assert found.high - found.value == pytest.approx(half, rel=1e-5)
    pixels = data.x.double().flatten(1).reshape(3, 4, -1).numpy()
    want = np.mean([[np.linalg.norm(group[i] - group[j]) for i, j in pairs] for group in pixels])
    assert layout_diversity(alike).value == pytest.approx(want, rel=1e-6)
    assert layout_diversity(alike[:, :1].expand(-1, 4, -1, -1, -1), eye).value == pytest.approx(0, abs=1e-5)
    report = judged(eye, data.x, data.maps, alike=alike, measures="layout_diversity")
    assert report["layout_diversity"].value == found.value and "layout_diversity" not in report.real
    with pytest.raises(Refusal, match="two of each layout at least"):
        layout_diversity(alike[:, :1])


def test_readers_see_the_colours_and_unsure_is_wrong() -> None:
    held = Scenes("held_out", 32, ("layout",), objects=(2, 3), pictures=60, held_out_pictures=40)
    (x, cond), train = held[np.arange(6)], held.sibling("train")
    maps = cond["layout"]
    spoilt = x.clone()
    spoilt[3:] = (
        torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    )  # of which nothing is said
    given = {"measures": "miou_read", "draws": 5, "layouts": maps}
    whole, half = (evaluate(some, None, train, held, **given) for some in (x, spoilt))
    assert whole["miou_read"].value > 0.97 and whole.real["miou_read"].value > 0.97
    # Of each thing, at most the share that stands in the first three pictures can be met.
    there = torch.stack([torch.bincount(part.flatten().long(), minlength=7) for part in (maps[:3], maps)]).double()
    most = (there[0] / there[1])[there[1] > 0].mean()
    assert half["miou_read"].value <= most < 0.9
    form = Scenes("held_out", 32, ("layout",), layout="form", pictures=60, held_out_pictures=40)
    with pytest.raises(Refusal, match="'miou_read' needs scenes"):
        evaluate(x, None, form.sibling("train"), form, **given)


def test_what_is_lacking_is_said(eye: Segmenter) -> None:
    data, blind = Halves(10, 5), Halves(10, 6, layouts=False)
    report = judged(eye, data.x, None)  # type: ignore[arg-type]
    assert not {"miou", "pixel_accuracy", "layout_diversity"} & set(report.measures)
    with pytest.raises(Refusal, match="'miou' needs layouts of the samples"):
        judged(eye, data.x, None, measures="miou")  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="'layout_diversity' needs several samples of one layout"):
        judged(eye, data.x, data.maps, measures="layout_diversity")
    with pytest.raises(Refusal, match="10 samples have layouts of whole numbers"):
        judged(eye, data.x, data.maps[:4])
    with pytest.raises(Refusal, match="tell none"):
        learnt(blind, blind)


def test_layouts_of_another_shape_than_the_pictures_are_refused(eye: Segmenter) -> None:
    """Stretched, they would say something else of every place; at another size of the same aspect they say the same."""
    data, bent = Halves(10, 7), Halves(10, 7)
    bent.maps = bent.maps[:, :, :6]
    with pytest.raises(Refusal, match="a layout is 6 x 8 pixels and its sample 12 x 8"):
        judged(eye, data.x, bent.maps, measures="miou")
    with pytest.raises(Refusal, match="a layout is 6 x 8 pixels and its picture 12 x 8"):
        learnt(bent, data, seen=8, width=8)
    with pytest.raises(Refusal, match="a layout is 6 x 8 pixels and its picture 12 x 8"):
        evaluate(data.x, None, data, bent, layouts=data.maps, measures="miou", segmenter=eye, draws=5)
    twice = data.maps.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert judged(eye, data.x, twice, measures="miou")["miou"].value == judged(eye, data.x, data.maps)["miou"].value
