"""What the guidance recipes compute for themselves: a ladder read at a height, an interval in other units, a judge."""

import pytest
import torch

from mezzotint.core.spec import spec
from mezzotint.data import Digits
from mezzotint.data import Fractal as Points
from mezzotint.evidence import Seen, Setting
from mezzotint.recipes import digits, guidance_basics, guidance_interval, trees


def test_a_ladder_is_read_where_it_first_comes_down_to_a_height() -> None:
    rungs = [(0.08, 1.0), (0.05, 2.0), (0.02, 5.0), (0.04, 9.0)]
    for height, due in ((0.079, 1.0), (0.05, 2.0), (0.033, 2.0), (0.02, 5.0)):  # between two rungs: the better one
        assert trees.level(rungs, height) == due
    assert trees.level(rungs, 0.01) == 5.0  # never so low: where it is least
    assert trees.level([(0.08, 3.0), (0.04, 1.0)], 0.06) == 1.0  # the better one may be the later one


def test_the_verdict_on_numbers_whose_answer_is_plain() -> None:
    def table(auto: tuple[float, float], shift: float) -> dict[str, dict[str, float]]:
        ladder = {name: (0.10 - 0.02 * k, 0.01 * k) for k, name in enumerate(guidance_basics.LADDER, start=1)}
        rows = {"unguided": (0.10 + shift, 0.001), "autoguidance": auto, **ladder}
        return {name: {"outliers": a, "energy distance": b} for name, (a, b) in rows.items()}

    def said(*auto: float) -> str:
        return guidance_basics.verdict(Seen({k: table(auto, 1e-3 * k) for k in range(3)})).outcome

    # At 4 % of outliers CFG stands at its third rung, 0.03 away.
    assert said(0.04, 0.02) == "holds"
    assert said(0.04, 0.031) == "does not hold" and said(0.07, 0.001) == "does not hold"


def test_the_interval_in_units_of_the_digits() -> None:
    low, high = guidance_interval.ends()
    for u, sigma in ((low, 0.19), (high, 1.61)):
        assert u / (1 - u) / Digits().std == pytest.approx(sigma / 0.5, rel=1e-9)


def test_true_points_have_one_outlier_in_a_hundred_and_another_class_is_all_outliers() -> None:
    s = Setting({**trees.SETTING, "samples": 4_000})
    x, cond = Points("held_out")[:]
    cond_a = trees.class_a(s)
    a, b = (x[cond["label"] == label][:4_000] for label in (0, 1))
    true, other = trees.measure(s, a, cond_a, None), trees.measure(s, b, cond_a, None)
    assert true["outliers"] == pytest.approx(0.01, abs=0.005) and abs(true["energy distance"]) < 2e-3
    assert other["outliers"] > 0.9 and other["energy distance"] > 0.5


def test_the_arms_share_what_they_can() -> None:
    """One main model for all; the two guides are one network, told and untold."""
    s = Setting(trees.SETTING)
    made = guidance_basics.arms(s)
    mains = {repr(spec(arm.trainings["main"].model)) for arm in made.values() if arm.trainings}
    assert len(mains) == 1
    auto, cfg = made["autoguidance"].trainings["weak"], made["CFG, w = 2"].trainings["weak"]
    assert spec(auto.model) == spec(cfg.model)
    assert (auto.training.objective.dropout, cfg.training.objective.dropout) == (0.0, 1.0)
    rate = made["unguided"].trainings["main"].training.rate
    for it in (1, 512, 4_096):
        assert rate(it * 1_024, s.images) == pytest.approx(1e-2 / max(it / 512, 1) ** 0.5)
    assert 4_096 * s.train_batch == s.images and 512 * s.train_batch == s.guide_images


def test_the_judge_of_digits_knows_digits() -> None:
    s = Setting(digits.SETTING)
    judge = digits.judge(s)
    x, cond = Digits()[:360]
    real = digits.measure(s, x, cond, judge)
    assert real["accuracy"] > 0.97 and real["recall"] > 0.8
    twos = torch.nonzero(cond["label"] == 2)[:, 0].repeat(20)[:360]
    few = digits.measure(s, x[twos], cond[twos], judge)
    assert few["recall"] < 0.3 and few["frechet"] > 5 * real["frechet"]
