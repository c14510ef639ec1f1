"""Records: what must agree, what may be compared, and the interval of a difference."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from mezzotint.core import Refusal
from mezzotint.metrics import Record, compare, unlike
from mezzotint.metrics.estimate import Estimate, share
from mezzotint.metrics.record import NEEDED, OF, hindered, origin

HEUN = {"part": "samplers.Heun", "steps": 18, "grid": {"part": "samplers.Rho"}}


def record(value: float = 2.0, half: float = 0.5, count: int = 100, **how: object) -> Record:
    made = origin("a" * 64, HEUN, {"part": "guidance.CFG", "scale": 2.0}, None, 0, "d" * 64)
    with_ = {"reference": "b" * 64, "extractor": "c" * 64, "resize": "area, 64", "clamping": "[-1, 1]"}
    return Record(Estimate("frechet", value, value - half, value + half, count, 360), {**with_, **made, **how})


def test_like_records_are_compared() -> None:
    found = compare(record(3.0, 0.3), record(2.0, 0.4))
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 0.5, 1.5)) and found.between == ()
    assert found.clear and not compare(record(3.0, 0.8), record(2.0, 0.8)).clear
    assert compare(record(2.0, 0.3), record(3.0, 0.4)).clear


def test_the_interval_of_two_shares_is_newcombes() -> None:
    # Newcombe 1998, table II, method 10, printed to four digits.
    table = [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
    ]
    for (x, n), (y, m), want in table:
        found = compare(Record(share("s", x, n)), Record(share("s", y, m)), despite=(*NEEDED, "count"))
        assert (found.low, found.high) == pytest.approx(want, abs=6e-5)


@pytest.mark.parametrize("key", NEEDED)
def test_other_rulers_are_refused_unless_told(key: str) -> None:
    a, b = record(), record(**{key: "another"})
    assert list(unlike(a, b)) == [key] and unlike(a, b)[key][1] == "another"
    with pytest.raises(Refusal, match=f"not measured alike: {key} is .*despite=\\('{key}',\\)"):
        compare(a, b)
    assert compare(a, b, despite=(key,)).between == (key,)
    # What neither says cannot be vouched for.
    quiet = [Record(r.estimate, {k: v for k, v in r.how.items() if k != key}) for r in (a, a)]
    with pytest.raises(Refusal, match=rf"{key} is \(unsaid\)"):
        compare(*quiet)


def test_counts_and_whatever_a_measure_adds_must_agree() -> None:
    with pytest.raises(Refusal, match="count is 100 and 50"):
        compare(record(), record(count=50))
    with pytest.raises(Refusal, match="k is 3 and 5"):
        compare(record(k=3), record(k=5))
    with pytest.raises(Refusal, match=r"k is 3 and \(unsaid\)"):
        compare(record(k=3), record())
    with pytest.raises(Refusal, match="two measures"):
        compare(record(), Record(replace(record().estimate, name="recall"), record().how), despite="count")


@pytest.mark.parametrize("key", OF)
def test_one_thing_drawn_with_may_differ(key: str) -> None:
    assert compare(record(), record(**{key: "another"})).between == (key,)


def test_two_things_do_not_explain_a_difference() -> None:
    a, b = record(), record(seeds=1, guidance=None, weights="e" * 64)
    with pytest.raises(Refusal, match="weights, guidance and seeds differ, so neither"):
        compare(a, b)
    with pytest.raises(Refusal, match="weights and guidance differ"):
        compare(a, b, despite="seeds")
    assert compare(a, b, despite=("seeds", "guidance")).between == ("weights", "guidance", "seeds")
    with pytest.raises(Refusal, match="did you mean 'guidance'"):
        compare(a, b, despite=("guidence",))


def test_a_refusal_names_every_key_at_once() -> None:
    a, b = record(), record(count=50, weights="e" * 64, guidance=None, labels="f" * 64)
    assert hindered(a, b) == (["count"], ["weights", "guidance"])  # of another count, labels are others of necessity
    with pytest.raises(
        Refusal, match=r"count is 100 and 50; besides, weights and guidance differ.*\('count', 'guidance'\)"
    ):
        compare(a, b)
    assert set(compare(a, b, despite=("count", "guidance")).between) == {"count", "weights", "guidance", "labels"}
    assert hindered(record(), record(weights="e" * 64, labels="f" * 64)) == ([], ["weights", "labels"])


def test_real_pictures_stand_beside_drawn_ones() -> None:
    real = record(1.0, 0.1, **origin(None))
    assert compare(record(), real).clear
    with pytest.raises(Refusal, match="resize"):
        compare(record(resize="none"), real)


def test_json_keeps_a_record_whole() -> None:
    for one in (record(), record(k=3, average=0.1), Record(Estimate("x", 1.0, math.nan, math.nan, 5), {})):
        text = json.dumps(one.plain(), allow_nan=False)
        back = Record.read(json.loads(text))
        assert json.dumps(back.plain(), allow_nan=False) == text and back.how == one.how
    with pytest.raises(Refusal, match="an estimate has"):
        Record.read({"value": 3})


def test_the_interval_covers_a_true_difference() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for x, y in zip(rng.binomial(40, 0.95, 400), rng.binomial(60, 0.8, 400), strict=True):
        found = compare(Record(share("s", int(x), 40)), Record(share("s", int(y), 60)), despite=(*NEEDED, "count"))
        hits += found.low <= 0.15 <= found.high
    assert 0.92 <= hits / 400 <= 0.99


def test_a_record_is_like_itself_after_json():
    record = Record(Estimate("psnr", math.inf, math.nan, math.inf, 5, 5), {"sizes": (3, (4, 5)), "by": {"a": (1,)}})
    text = json.dumps(record.plain(), allow_nan=False)
    again = Record.read(json.loads(text))
    assert again.how == record.how and again.estimate.value == math.inf and again.estimate.high == math.inf
    assert math.isnan(again.estimate.low)
    assert "sizes" not in unlike(record, again) and "by" not in unlike(record, again)
