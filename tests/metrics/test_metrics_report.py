"""The report: real pictures score as real, and noised copies of the training set fail at every level of noise."""

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.core import NONE, Condition, Refusal
from mezzotint.metrics import Extractor, Report, compare, evaluate, records, unlike
from mezzotint.metrics.record import origin

FIVE = ("accuracy", "classification_score", "frechet_features", "frechet_pixels", "neighbour_ratio")


def bars(report: Report) -> dict[str, bool]:
    """The bars that a model of the digits has to meet, all at once."""
    return {
        "accuracy": report["accuracy"].value >= 0.96,
        "classification_score": report["classification_score"].value >= 0.95,
        "frechet_features": report.times_real("frechet_features") <= 1.5,
        "frechet_pixels": report.times_real("frechet_pixels") <= 1.5,
        "neighbour_ratio": report["neighbour_ratio"].value >= 0.9,
    }


class Table:
    """A data set from two tensors."""

    def __init__(self, x: Tensor, y: Tensor | None) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: object) -> tuple[Tensor, Condition]:
        rows = torch.as_tensor(rows)
        return self.x[rows], NONE if self.y is None else Condition(label=self.y[rows])


def noised(real: SimpleNamespace, level: float) -> Tensor:
    noise = torch.randn(real.x.shape, generator=torch.Generator().manual_seed(int(1000 * level)))
    return real.x + level * real.data.std * noise


@pytest.mark.parametrize("level", [0.0, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 1.0])
def test_noised_copies_of_the_training_set_fail(real: SimpleNamespace, extractor: Extractor, level: float) -> None:
    held = real.data.held_out()
    report = evaluate(noised(real, level), real.y, real.data, held, measures=FIVE, extractor=extractor, draws=0)
    met = bars(report)
    assert not all(met.values())
    # Which bars catch them, with room to spare: neighbours below 0.35 of the data's spread, pixels from 0.25 on.
    if level <= 0.3:
        assert report["neighbour_ratio"].value < 0.75
    if level >= 0.25:
        assert report.times_real("frechet_pixels") > 1.8
    if level <= 0.5:
        assert met["accuracy"] and met["classification_score"]


def test_fresh_real_pictures_meet_every_bar(real: SimpleNamespace) -> None:
    # Half of the held-out digits as samples against the other half: what a perfect model would be told.
    z, w, other = real.z[::2], real.w[::2], Table(real.z[1::2], real.w[1::2])
    report = evaluate(z, w, real.data, other, measures=FIVE, draws=20)
    met = bars(report)
    # 180 pictures are too few to train a classifier of ten classes to the bar, whoever drew them.
    assert all(met[name] for name in met if name != "classification_score")
    assert report["classification_score"].high >= report.real["classification_score"].low
    for name in ("frechet_features", "frechet_pixels"):
        assert (report[name].count, report[name].against) == (report.real[name].count, report.real[name].against)
        assert report[name].low <= report.real[name].value <= report[name].high


def test_training_pictures_are_as_good_as_real_but_for_copying(real: SimpleNamespace, extractor: Extractor) -> None:
    order = torch.randperm(len(real.x), generator=torch.Generator().manual_seed(0))
    start = time.process_time()
    held, names = real.data.held_out(), (*FIVE, "close_share")
    report = evaluate(real.x[order], real.y[order], real.data, held, measures=names, extractor=extractor, draws=40)
    assert time.process_time() - start < 8
    for name in ("frechet_features", "frechet_pixels"):
        assert report.times_real(name) == pytest.approx(1, abs=1e-6)
    assert report["neighbour_ratio"].value < 1e-6 and report["close_share"].value == 1
    assert report["classification_score"].value == pytest.approx(report.real["classification_score"].value)
    plain = json.loads(json.dumps(report.plain(), allow_nan=False))
    assert plain["measures"]["frechet_pixels"]["real"]["value"] == report.real["frechet_pixels"].value
    assert plain["extractor"]["sha256"] == extractor.sha256 and plain["counts"]["compared"] == 1437


def test_pixels_beyond_what_is_shown_do_not_count(real: SimpleNamespace) -> None:
    loud = torch.where(real.x.abs() == 1, real.x * 5, real.x)
    report = evaluate(loud, None, real.data, real.data.held_out(), measures="frechet_pixels", draws=0)
    assert report.times_real("frechet_pixels") == pytest.approx(1, abs=1e-9)


def test_without_labels_what_needs_none_remains(real: SimpleNamespace) -> None:
    report = evaluate(real.x[:100], None, Table(real.x, None), Table(real.z, None), draws=5)
    copies = {"neighbour_ratio", "close_share", "copying"}
    assert set(report.measures) == {"frechet_pixels", "diversity", "patches_8"} | copies and report.extractor is None
    assert report.record("diversity").how["extractor"] is None and "16" in report.record("diversity").how["resize"]
    assert report["frechet_pixels"].count == report.real["frechet_pixels"].count == 100


def test_unfit_samples_are_refused(real: SimpleNamespace) -> None:
    held = real.data.held_out()
    with pytest.raises(Refusal, match="NaN"):
        evaluate(real.x * torch.nan, real.y, real.data, held)
    with pytest.raises(Refusal, match="one shape"):
        evaluate(real.x[..., :7], real.y, real.data, held)
    with pytest.raises(Refusal, match="labels are of shape"):
        evaluate(real.x, real.y[:5], real.data, held)


def test_every_measure_is_a_record(real: SimpleNamespace, extractor: Extractor) -> None:
    held = real.data.held_out()
    drawn = origin("a" * 64, {"part": "samplers.Heun", "steps": 18, "grid": {"part": "samplers.Rho"}}, None, None, 0)

    def judged(x: Tensor, weights: str, measures: Any = "usual", **of: Any) -> Report:
        said = {**drawn, "weights": weights, **of}
        return evaluate(x, real.y[:100], real.data, held, measures=measures, extractor=extractor, draws=5, drawn=said)

    mine, other = judged(real.x[:100], "a" * 64), judged(noised(real, 0.5)[:100], "b" * 64)
    for name in mine.measures:
        found = compare(mine.record(name), other.record(name))
        assert found.between == ("weights",) and found.value == mine[name].value - other[name].value
    with pytest.raises(Refusal, match="weights and seeds differ"):
        compare(mine.record("accuracy"), judged(real.x[:100], "b" * 64, "accuracy", seeds=1).record("accuracy"))
    few = evaluate(real.x[:90], real.y[:90], real.data, held, extractor=extractor, draws=5, drawn=drawn)
    for name in few.measures:
        with pytest.raises(Refusal, match=r"count is (100|90) and|against is 100 and 90"):
            compare(mine.record(name), few.record(name), despite="labels")
    own = Extractor.train(real.x[:200], real.y[:200], seen=64)
    elsewhere = evaluate(real.x[:100], real.y[:100], real.data, held, extractor=own, draws=5, drawn=drawn)
    learnt = ("frechet_features", "kid", "precision", "recall", "density", "coverage", "diversity", "copying")
    for name in learnt:
        with pytest.raises(Refusal, match=f"extractor is {extractor.sha256[:12]} and {own.sha256[:12]}"):
            compare(mine.record(name), elsewhere.record(name), despite="weights")
    for name in set(mine.measures) - set(learnt):
        assert compare(mine.record(name), elsewhere.record(name), despite="weights").value == 0
    assert compare(mine.record("frechet_pixels"), elsewhere.record("frechet_pixels")).value == 0
    assert compare(other.record("frechet_pixels"), mine.record("frechet_pixels", real=True)).clear
    # JSON, and back; a report of before has no records, and nearly the same ones.
    document = json.loads(json.dumps(mine.plain()))
    assert {n: r.how for n, r in records(document).items()} == {n: mine.record(n).how for n in mine.measures}
    for said in document["measures"].values():
        del said["how"]
    document |= {"model": {"sha256": "a" * 64, "average": None}, "seed": 0, "guidance": 1.0}
    document["sampler"] = {"part": "samplers.Heun", "steps": 18, "grid": {"part": "samplers.Rho"}}
    for name, old in records(document).items():
        assert set(unlike(old, mine.record(name))) == {"labels"}
        assert compare(old, mine.record(name)).value == 0
    with pytest.raises(Refusal, match="no report"):
        records({"measures": 3})
