"""Pictures from layouts, compared: what the verdict says of wrong numbers, and the measures of real pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mezzotint.core import Refusal
from mezzotint.denoiser import Counted
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.verdict import Seen
from mezzotint.evidence.work import sample_keys, untrained
from mezzotint.recipes import laid_out
from mezzotint.recipes.laid_out import CONCAT, GUIDED, REAL, SHARES, SPADE, WITHOUT, early

GUIDE = GUIDED.format(SPADE)
SMALL = Setting({**laid_out.SETTING, "samples": 64, "again": 8, "several": 3, "judged_by": 2_400, "read": 4})


def table(**changed: float) -> dict[str, dict[str, float]]:
    """Numbers of a seed at which everything holds; SPADE reaches 80 % of the ceiling at the second share."""
    found = {REAL: {"mIoU": 0.95, "frechet": 0.1}}
    for name, gain in ((SPADE, 0.1), (CONCAT, 0.0)):
        for share, value in zip(SHARES, (0.6, 0.7, 0.75, 0.76, 0.77), strict=True):
            found[early(name, share)] = {"mIoU": value + gain, "frechet": 1.0 - gain}
        found[name] = {"mIoU": 0.88, "frechet": 0.5, "diversity": 1.0, "M parameters": 0.5}
    found[GUIDE] = {"mIoU": 0.92, "frechet": 0.45, "diversity": 0.8}
    for place, value in changed.items():
        row, _, column = place.rpartition("/")
        found[row][column] = value
    return found


def said(**changed: float) -> dict[str, str]:
    tables = {seed: table(**{k: v + 1e-4 * seed for k, v in changed.items()}) for seed in range(3)}
    tables[1][early(SPADE, SHARES[1])]["mIoU"] += 1e-3  # seeds differ
    return {c.name: c.outcome for c in laid_out.verdict(Seen(tables)).criteria}


def test_every_criterion_can_fail_and_by_what_it_is_about() -> None:
    assert set(said().values()) == {"holds"}
    second = SHARES[1]
    for place, value, name in (
        (f"{early(CONCAT, second)}/mIoU", 0.85, "mIoU, SPADE less concatenation, at 25 % of the training"),
        (f"{early(CONCAT, second)}/frechet", 0.8, "distance, SPADE over concatenation, at 25 % of the training"),
        (f"{GUIDE}/mIoU", 0.885, "mIoU with guidance over 0.01 more than without, or 0.01 below real"),
        (f"{GUIDE}/frechet", 0.6, "distance with guidance over without"),
        (f"{GUIDE}/diversity", 0.5, "diversity with guidance over without"),
        (f"{GUIDE}/diversity", 1.1, "diversity with guidance over without"),
        (f"{CONCAT}/M parameters", 0.6, "parameters, off from equal"),
    ):
        found = said(**{place: value})
        assert [n for n, outcome in found.items() if outcome == "does not hold"] == [name], (place, value, found)


def seen(**changed: float) -> Seen:
    return Seen({seed: table(**changed) for seed in range(3)})


def test_arms_are_compared_where_the_better_one_first_follows_by_the_means_of_all_seeds() -> None:
    assert laid_out.common(seen()) == SHARES[1]
    assert laid_out.common(seen(**{f"{early(CONCAT, SHARES[0])}/mIoU": 0.77})) == SHARES[0]  # whichever it is
    tables = {seed: table(**{f"{early(SPADE, SHARES[0])}/mIoU": 0.77 if seed else 0.70}) for seed in range(3)}
    assert laid_out.common(Seen(tables)) == SHARES[1]  # two seeds of three are not enough
    assert laid_out.common(seen(**{f"{REAL}/mIoU": 1.2})) is None  # nobody ever does
    lost = {c.name: c.outcome for c in laid_out.verdict(seen(**{f"{REAL}/mIoU": 1.2})).criteria}
    assert lost["mIoU, SPADE less concatenation, where one of them first follows"] == "undecided"


def test_distances_as_small_as_those_of_real_pictures_decide_nothing() -> None:
    name = "distance, SPADE over concatenation, at 25 % of the training"
    assert said(**{f"{REAL}/frechet": 0.49})[name] == "holds"
    assert said(**{f"{REAL}/frechet": 0.51})[name] == "undecided"


def test_guidance_need_not_add_where_hardly_anything_is_missing() -> None:
    near = {f"{SPADE}/mIoU": 0.945, f"{GUIDE}/mIoU": 0.9401}
    assert laid_out.follows(table(**near)) == pytest.approx(1e-4)
    assert laid_out.follows(table(**{**near, f"{GUIDE}/mIoU": 0.9399})) < 0


def test_edges_of_one_thing_are_asked_for_where_instances_touch() -> None:
    tables = {seed: table() for seed in range(3)}
    for seed, rows in tables.items():
        rows[SPADE]["hidden edges"] = 0.5 + 1e-3 * seed
        rows[WITHOUT] = {"hidden edges": 0.6}
    *_, last = laid_out.verdict(Seen(tables)).criteria
    assert last.outcome == "does not hold" and last.name.startswith("hidden edges")


@pytest.fixture(scope="module")
def judged() -> tuple[Any, Any]:
    return laid_out.asked(SMALL), laid_out.judge(SMALL)


def test_real_pictures_are_the_ceiling_and_those_of_other_layouts_are_not(judged: Any) -> None:
    cond, judge = judged
    x = cond["real"]
    own, others = laid_out.measure(SMALL, x, cond, judge), laid_out.measure(SMALL, x.roll(1, 0), cond, judge)
    assert own["mIoU"] > 0.5 > 0.25 > others["mIoU"]
    assert own["mIoU, read"] > 0.8 > 0.5 > others["mIoU, read"]
    assert own["chroma"] > 2 * others["chroma"]  # things are coloured, what is behind them is not
    assert own["diversity"] == 0.0 < others["diversity"]  # each layout's picture again and again
    assert laid_out.measure(SMALL, torch.randn_like(x), cond, judge)["frechet"] > 10 * own["frechet"]


def test_layouts_are_painted_once_and_the_first_ones_again(judged: Any) -> None:
    cond, _ = judged
    layouts = cond["layout"]
    assert len(layouts) == 64 and laid_out.once(SMALL) == 48
    for again in (1, 2):
        assert torch.equal(layouts[48 + 8 * (again - 1) : 48 + 8 * again], layouts[:8])
    with pytest.raises(Refusal, match="too few"):
        laid_out.once(Setting({**SMALL, "samples": 20}))


def test_costs_are_those_of_the_evaluations_made(judged: Any) -> None:
    cond, _ = judged
    for scale, times in ((1.0, 1), (1.5, 2), (0.0, 1)):
        arm = laid_out.arm(SMALL, SPADE, scale)
        model = untrained(arm.trainings["model"])
        model.encoder["layout"].null_trained.fill_(True)
        meter = Counted(model)
        x = arm.pipeline({"model": meter})(cond[:2], sample_keys(0, 2))
        assert x.shape == (2, 3, 16, 16) and meter.rows == 2 * 15 * times
        facts = arm.facts({"model": model})
        assert facts["M MACs a sample"] == pytest.approx(facts["M MACs"] * 15 * times)


def test_hidden_edges_are_those_that_the_layout_does_not_tell() -> None:
    layout = torch.tensor([[[1, 1, 1, 1], [0, 0, 0, 0]]])
    instances = torch.tensor([[[1, 1, 2, 2], [0, 0, 0, 0]]])
    seen = torch.tensor([[[1, 1, 0, 1], [0, 0, 0, 0]]])
    assert torch.isnan(torch.tensor(laid_out.hidden(seen, layout, instances)))  # all on an edge of things, too
    layout, instances = (torch.cat([m[:, :1]] * 3, 1) for m in (layout, instances))
    assert laid_out.hidden(torch.cat([seen[:, :1]] * 3, 1), layout, instances) == 0.5
