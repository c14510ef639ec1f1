"""What evaluate takes by name: real pictures pass, each flaw moves the number meant to see it, all are records."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import Extractor, Report, compare, coverage, density, evaluate, precision, recall
from mezzotint.metrics.coverage import BALLS, covering
from mezzotint.metrics.measures import ALL, MEASURES, NAMES, USUAL, chosen, needs
from mezzotint.metrics.patches import Patches, between, patch_wasserstein
from mezzotint.metrics.record import origin
from mezzotint.metrics.seen import Held

DRAWN = origin("a" * 64, {"part": "samplers.Heun", "steps": 18}, None, None, 0)


@pytest.fixture(scope="module")
def half(real: SimpleNamespace, extractor: Extractor) -> SimpleNamespace:
    """Half of the held-out digits as samples, the other half as the reference."""
    train = Held(real.x[700:1300], real.y[700:1300])
    return SimpleNamespace(
        eye=extractor, train=train, fresh=Held(real.z[::2], real.w[::2]), z=real.z[1::2], w=real.w[1::2]
    )


def judged(half: SimpleNamespace, x: torch.Tensor, y: Any, weights: str = "a", **settings: Any) -> Report:
    drawn = {**DRAWN, "weights": weights * 64}
    given = {"extractor": half.eye, "draws": 20, "drawn": drawn, **settings}
    return evaluate(x, y, half.train, half.fresh, **given)


@pytest.fixture(scope="module")
def plain(half: SimpleNamespace) -> Report:
    return judged(half, half.z, half.w, measures=ALL)


def clearly(half: SimpleNamespace, plain: Report, x: torch.Tensor, y: Any, names: tuple[str, ...]) -> dict[str, int]:
    """Of each measure, whether samples clearly score more (1) or less (-1) than fresh pictures of the same count."""
    report = judged(half, x, y, "b", measures=names)
    apart = {n: compare(report.record(n), plain.record(n), despite="labels") for n in report.measures}
    return {name: int(d.low > 0) - int(d.high < 0) for name, d in apart.items()}


def test_real_pictures_score_as_real_ones_do(plain: Report) -> None:
    assert set(plain.measures) == {name for name in MEASURES if name != "patches"} | {"patches_8"}
    for name, real in plain.real.items():
        mine = plain[name]
        assert mine.low <= real.high and real.low <= mine.high, name
        assert mine.low <= mine.value <= mine.high, name
    assert plain["neighbour_ratio"].value == pytest.approx(1, abs=0.1) and abs(plain["copying"].value) < 2
    assert plain["density"].value == pytest.approx(1, abs=0.2) and plain["coverage"].value > 0.9
    assert set(plain.plain()["times_real"]) == {"frechet_features", "frechet_pixels", "patches_8", "sliced_pixels"}


def test_noise_moves_what_sees_textures(half: SimpleNamespace, plain: Report) -> None:
    noisy = half.z + 0.5 * Rng([1]).normal("noise", tuple(half.z.shape))[0]
    found = clearly(half, plain, noisy, half.w, ("frechet_pixels", "density", "patches", "neighbour_ratio", "copying"))
    want = {"frechet_pixels": 1, "density": -1, "patches_8": 1, "neighbour_ratio": 1, "copying": 1}
    assert found == want


def test_a_dropped_mode_moves_what_sees_all_over(half: SimpleNamespace, plain: Report) -> None:
    rows = np.resize(np.flatnonzero(half.w.numpy() >= 4), len(half.w))
    found = clearly(half, plain, half.z[rows], half.w[rows], ("kid", "precision", "recall", "coverage", "copying"))
    assert found == {"kid": 1, "precision": 0, "recall": -1, "coverage": -1, "copying": 0}


def test_one_picture_a_class_moves_diversity(half: SimpleNamespace, plain: Report) -> None:
    still = torch.stack([half.z[half.w == label][0] for label in range(10)])[half.w]
    found = clearly(half, plain, still, half.w, ("accuracy", "diversity", "recall", "classification_score"))
    assert found["diversity"] == found["recall"] == found["classification_score"] == -1 and found["accuracy"] >= 0


def test_memorised_pictures_move_the_tests_of_copying(half: SimpleNamespace, plain: Report) -> None:
    x, y = half.train.pictures[:180], half.train.labels[:180]
    found = clearly(half, plain, x, y, ("kid", "precision", "neighbour_ratio", "close_share", "copying"))
    assert found == {"kid": 0, "precision": 0, "neighbour_ratio": -1, "close_share": 1, "copying": -1}
    assert judged(half, x, y, measures="copying")["copying"].value < -3


def test_names_are_known_or_refused(half: SimpleNamespace) -> None:
    assert chosen("kid") == ("kid",) and chosen(["kid", USUAL, "kid"]) == ("kid", USUAL)
    with pytest.raises(Refusal, match="'presision' is no measure: did you mean 'precision'"):
        chosen(["kid", "presision"])
    with pytest.raises(Refusal, match="no measure is named"):
        chosen([])
    assert needs(USUAL, "features") and needs("kid", "features") and not needs(["frechet_pixels"], "features")
    assert not needs("kid", "patches") and "follows" in NAMES
    one = judged(half, half.z, half.w, measures=["coverage", "neighbour_ratio"])
    assert set(one.measures) == {"coverage", "neighbour_ratio"}


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("accuracy", "labels"),
        ("kid", "features: an extractor"),
        ("extractor_score", "a classifier"),
        ("follows", "captions of scenes"),
    ],
)
def test_what_pictures_do_not_allow_is_refused_by_name_and_left_out_of_a_group(
    real: SimpleNamespace, name: str, needed: str
) -> None:
    bare = Held(real.x[:60]), Held(real.z[:60])
    with pytest.raises(Refusal, match=needed):
        evaluate(real.x[60:90], None, *bare, measures=name)
    assert name not in evaluate(real.x[60:90], None, *bare, measures=["frechet_pixels", USUAL], draws=0).measures


def test_few_samples_leave_out_what_needs_many(half: SimpleNamespace) -> None:
    few = judged(half, half.z[:5], half.w[:5])
    assert not {"precision", "copying", "frechet_infinity"} & set(few.measures) and "kid" in few.measures
    with pytest.raises(Refusal, match="'copying' needs 20 samples"):
        judged(half, half.z[:5], half.w[:5], measures="copying")
    with pytest.raises(Refusal, match="'recall' needs 6 samples"):
        judged(half, half.z[:5], half.w[:5], measures="recall")


def test_what_a_measure_was_measured_with_is_in_its_record(plain: Report) -> None:
    how = {name: plain.record(name).how for name in plain.measures}
    held, train = plain.counts["held_out_sha256"], plain.counts["train_sha256"]
    for name in ("kid", "precision", "recall", "density", "coverage", "frechet_infinity"):
        assert how[name]["extractor"] == plain.extractor["sha256"] and how[name]["reference"] == held
    assert how["kid"]["subsets"] == 100 and how["precision"]["k"] == 3 and how["density"]["k"] == 5
    assert how["patches_8"]["resize"] is None and how["patches_8"]["extractor"] is None
    assert how["copying"]["reference"] == [train, held]


def test_it_says_how_far_it_is(half: SimpleNamespace) -> None:
    said: list[tuple[str, int, int, str]] = []
    names = ["frechet_pixels", "coverage", "precision"]
    judged(half, half.z[:40], half.w[:40], measures=names, tell=lambda *what: said.append(what))
    assert said == [("judging", 0, 2, "frechet_pixels"), ("judging", 1, 2, "precision"), ("judging", 2, 2, "")]


def test_all_four_at_once_are_each_by_itself() -> None:
    rng = np.random.default_rng(0)
    real, one, other = rng.normal(size=(150, 5)), rng.normal(size=(90, 5)) + 0.5, rng.normal(size=(40, 5))
    for samples, found in zip((one, other), covering(real, one, other), strict=True):
        for name, ask in {"precision": precision, "recall": recall, "density": density, "coverage": coverage}.items():
            assert found[name] == ask(samples, real, BALLS[name]), name


def test_patches_in_pieces_are_those_of_all_at_once() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(30, 3, 34, 40, generator=g) * 2 - 1, torch.rand(20, 3, 34, 40, generator=g) * 2 - 1
    none, rng = Patches.begin(5, Rng([3])), Rng([3])
    pieces = none.add(x[:1]).add(x[1:18]).add(x[18:])
    want = patch_wasserstein(x, y, 5, 16, rng)
    assert set(want) == {"patches_34", "patches_17"}
    for name, found in between(pieces, none.add(y), 16, rng).items():
        assert found.value == pytest.approx(want[name].value, rel=1e-6)
        assert (found.count, found.against) == (30, 20)
