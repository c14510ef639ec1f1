"""Series, signals and texts as windows: the facts printed beside them, and windows cut here once more from the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.core import Refusal, build, spec
from mezzotint.data import ECG5000, MITBIH, Corpus, Data, EyeState, TimeSeries, find
from mezzotint.data.root import VARIABLE
from mezzotint.data.windows import standardised, starts, stretches
from mezzotint.testing import check_data

SETS = (
    *(TimeSeries(name, stride=24) for name in ("exchange_rate", "etth1", "m4_hourly")),
    ECG5000(),
    MITBIH(),
    EyeState(),
    *(Corpus(name) for name in ("tiny_shakespeare", "war_and_peace", "war_and_peace_27", "wikitext2_valid")),
)


def path(name: str) -> Path:
    try:
        return find(name)
    except Refusal as absent:
        pytest.skip(str(absent))


def held(name: str) -> np.lib.npyio.NpzFile:
    return np.load(path(name))


def named(data: Data) -> str:
    return getattr(data, "name", type(data).__name__)


@pytest.mark.parametrize("data", SETS, ids=named)
def test_what_is_absent_is_said_in_a_sentence(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(Refusal, match=f"set {VARIABLE} to the folder that holds it"):
        build(spec(data))[0]


@pytest.mark.parametrize("data", SETS, ids=named)
def test_every_set_is_one(data: Data) -> None:
    """The contract, on the part that is held out; nothing of it is in what is trained on."""
    try:
        assert data._file.is_file()
    except Refusal as absent:
        pytest.skip(str(absent))
    check_data(data.held_out())
    assert len({data.mark, data.held_out().mark, data.sibling("all").mark}) == 3


@pytest.mark.parametrize(("name", "shape"), [("exchange_rate", (7_588, 8)), ("etth1", (17_420, 7))])
def test_windows_are_stretches_of_the_file(name: str, shape: tuple[int, int]) -> None:
    values = held(f"timeseries/{name}.npz")["values"]
    assert values.shape == shape
    known = int(len(values) * 0.8)
    data = TimeSeries(name, length=24, future=6, stride=7)
    kept = data.held_out()
    assert len(data) == (known - 30) // 7 + 1 and len(kept) == (len(values) - known - 30) // 7 + 1
    mean, std = values[:known].mean(0), values[:known].std(0)
    for one, first in ((data, 0), (kept, known)):
        rows = np.array([0, 5, len(one) - 1])
        x, told = one[rows]
        want = np.stack([values[first + 7 * row : first + 7 * row + 30].T for row in rows])
        assert x.dtype == torch.float32 and x.shape == (3, shape[1], 24)
        assert np.allclose(x, ((want - mean[:, None]) / std[:, None])[..., :24], atol=1e-5)
        assert np.allclose(told["future"], ((want - mean[:, None]) / std[:, None])[..., 24:], atol=1e-5)
        assert np.allclose(one.units(x, rows), want[..., :24], rtol=1e-6, atol=1e-6 * std.max())
    whole = TimeSeries(name, length=1, stride=1)
    assert abs(whole.mean) < 1e-6 and abs(whole.std - 1) < 1e-6
    assert not TimeSeries(name)[0][1].families


def test_forecasts_of_m4_are_judged_on_what_the_file_holds_out() -> None:
    z = held("timeseries/m4_hourly.npz")
    values, offsets, future = z["values"], z["offsets"], z["future"]
    lengths = np.diff(offsets)
    assert np.unique(lengths).tolist() == [700, 960] and future.shape == (414, 48)
    data = TimeSeries("m4_hourly", length=72, future=48, stride=24)
    kept = data.held_out()
    assert len(kept) == 414 and len(data) == sum((many - 120) // 24 + 1 for many in lengths)
    rows = np.array([0, 7, 413])
    x, told = kept[rows]
    assert np.allclose(kept.units(told["future"], rows), future[rows][:, None], rtol=1e-5)
    past = np.stack([values[offsets[row + 1] - 72 : offsets[row + 1]] for row in rows])
    assert np.allclose(kept.units(x, rows), past[:, None], rtol=1e-5)
    history = values[: offsets[1]]
    assert np.allclose(x[0, 0], (past[0] - history.mean()) / history.std(), atol=1e-5)
    # The last window of the first series ends before, or at, the end of what is known of it.
    last = (lengths[0] - 120) // 24
    end = 24 * last + 120
    at = np.array([last])
    assert np.allclose(data.units(data[at][1]["future"], at)[0, 0], history[end - 48 : end], rtol=1e-5)
    assert np.allclose(data.units(data[at + 1][0], at + 1)[0, 0], values[offsets[1] :][:72], rtol=1e-5)


def test_heartbeats_are_those_of_the_archive() -> None:
    z = held("biosignal/ecg5000_train.npz")
    whole = ECG5000("all")
    assert len(whole) == 500 and np.bincount(whole.labels).tolist() == [292, 177, 10, 19, 2]
    assert np.array_equal(whole[:][0][:, 0], z["signals"]) and whole.classes == tuple(z["classes"].tolist())
    assert whole.shape == (1, 140) and np.array_equal(whole.labels, z["labels"])
    x = whole[:][0]
    assert x.mean(-1).abs().max() < 1e-4 and (x.std(-1) - 1).abs().max() < 1e-3
    assert 70 < len(ECG5000("held_out")) < 130


def test_beats_lie_in_the_middle_of_their_windows() -> None:
    """Windows by the formula printed beside the file, in millivolts; where one crosses the split it is left out."""
    z = held("biosignal/mitbih_100.npz")
    signal, beats, types = z["signal"], z["beats"], z["beat_types"]
    assert signal.shape == (650_000, 2) and len(beats) == 2_273
    want = np.stack([signal[b - 128 : b + 128] for b in beats[1:-1]])
    known = 520_000
    crosses = (beats[1:-1] - 128 < known) & (beats[1:-1] + 128 > known)
    data = MITBIH(split="all")
    rows = np.arange(len(data))
    assert len(data) == 2_271 - crosses.sum() and data.shape == (2, 256)
    millivolts = (want[~crosses].transpose(0, 2, 1).astype(float) - 1024) / 200
    assert np.allclose(data.units(data[:][0], rows), millivolts, atol=1e-5)
    assert [data.classes[label] for label in data.labels] == types[1:-1][~crosses].tolist()
    assert np.bincount(data.labels, minlength=3)[1:].tolist() == [33, 1]
    train = (signal[:known] - 1024) / 200
    assert np.allclose(data[0][0][0, 1], (millivolts[0, 1] - train[:, 1].mean()) / train[:, 1].std(), atol=1e-4)
    # The R wave is the largest of a normal beat on lead II, and near the place that is called the beat.
    tops = data[:][0][:, 0].argmax(-1)[torch.from_numpy(data.labels == 0)]
    assert float(((tops - 128).abs() <= 5).float().mean()) > 0.99


def test_windows_of_brain_waves_lie_in_one_state() -> None:
    z = held("biosignal/eeg_eye_state.npz")
    signal, closed = z["signal"], z["eyes_closed"]
    known = int(len(signal) * 0.8)
    clipped = np.clip(signal - np.median(signal[:known], 0), -200, 200)
    first = [
        start
        for begin, end in ((0, known), (known, len(signal)))
        for start in range(begin, end - 127, 16)
        if len(set(closed[start : start + 128].tolist())) == 1
    ]
    data = EyeState(split="all")
    assert len(data) == len(first) and data.labels.tolist() == [int(closed[start]) for start in first]
    rows = np.array([0, 50, len(data) - 1])
    want = np.stack([clipped[first[row] : first[row] + 128].T for row in rows])
    assert np.allclose(data.units(data[rows][0], rows), want, atol=1e-3)
    assert set(data.sibling("train").labels.tolist()) == {0, 1}
    assert data.shape == (14, 128) and float(data[:][0].abs().max()) < 30


def test_letters_are_numbers_as_in_text8() -> None:
    raw = np.fromfile(path("text/war_and_peace_27.txt"), np.uint8)
    tokens = np.where(raw == 32, 0, raw.astype(np.int64) - 96)
    assert len(raw) == 3_078_842
    data = Corpus(length=100)
    kept = data.held_out()
    cut = int(0.9 * len(raw))
    assert data.vocab == 27 and data.alphabet == b" abcdefghijklmnopqrstuvwxyz"
    assert len(data) == cut // 100 and len(kept) == (len(raw) - cut) // 100
    x, cond = data[[0, 7]]
    assert x.dtype == torch.int64 and x.shape == (2, 100) and not cond.families
    assert np.array_equal(x, [tokens[:100], tokens[700:800]])
    assert np.array_equal(kept[3][0][0], tokens[cut + 300 : cut + 400])
    assert data.spelt(x) == [raw[:100].tobytes().decode(), raw[700:800].tobytes().decode()]
    assert np.array_equal(Corpus(length=100, stride=1)[701][0][0], tokens[701:801])


def test_texts_have_as_many_symbols_as_is_said() -> None:
    raw = path("text/tiny_shakespeare.txt").read_bytes()
    data = Corpus("tiny_shakespeare", split="all", length=64)
    assert len(raw) == 1_115_394 and data.vocab == 65 and data.spelt(data[0][0]) == [raw[:64].decode()]
    for name in ("war_and_peace", "wikitext2_valid"):
        raw = path(f"text/{name}.txt").read_bytes()
        told, own = Corpus(name, symbols="bytes"), Corpus(name)
        assert told.vocab == 256 and bytes(told[4][0][0].tolist()) == raw[1024:1280]
        assert own.vocab == len(set(raw)) < 256 and own.spelt(own[4][0]) == told.spelt(told[4][0])
        assert int(own[:][0].max()) <= own.vocab - 1 and own.mark != told.mark


def test_windows_stay_in_their_stretch() -> None:
    """By going through all of them."""
    for split, length, stride in (("train", 5, 1), ("held_out", 5, 2), ("all", 4, 3), ("all", 9, 1)):
        inside = stretches(split, 13, 20)
        want = [
            start
            for first, end in inside
            for start in range(first, end)
            if (start - first) % stride == 0 and start + length <= end
        ]
        assert starts(inside, length, stride).tolist() == want


def test_a_channel_that_never_changes_is_nought() -> None:
    values = np.stack([np.full(10, 3.0), np.arange(10.0)], 1)
    found, mean, std = standardised(values, 5)
    assert (found[:, 0] == 0).all() and np.allclose(found[:, 1] * np.sqrt(2) + 2, np.arange(10), atol=1e-6)
    assert mean.tolist() == [3, 2] and std.tolist() == [1, np.sqrt(2)]


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (TimeSeries, {"name": "etth2"}, "did you mean 'etth1'"),
        (TimeSeries, {"length": 0}, "from 1 on"),
        (TimeSeries, {"future": -1}, "from 1 on"),
        (TimeSeries, {"stride": True}, "from 1 on"),
        (Corpus, {"name": "war"}, "there is no text"),
        (Corpus, {"symbols": "words"}, "'own' or 'bytes'"),
        (Corpus, {"length": 2.5}, "from 1 on"),
        (MITBIH, {"split": "test"}, "there is no split"),
        (ECG5000, {"split": "test"}, "there is no split"),
        (EyeState, {"stride": 0}, "from 1 on"),
    ],
)
def test_what_there_is_not_is_refused(kind: type, wrong: dict, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        kind(**wrong)


def test_windows_longer_than_the_record_are_refused() -> None:
    path("timeseries/m4_hourly.npz")
    with pytest.raises(Refusal, match="choose a shorter length"):
        TimeSeries("m4_hourly", length=961)[0]
