"""Context prediction put to the test: what the verdict says of wrong numbers, and what the measures measure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mezzotint.core import NONE, Refusal, Rng
from mezzotint.core.spec import spec
from mezzotint.core.store import load_model
from mezzotint.data.root import find
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.verdict import Seen
from mezzotint.evidence.work import sample_keys, untrained
from mezzotint.metrics.extractor import Extractor
from mezzotint.metrics.perceptual import feature_distances
from mezzotint.recipes import context, context_read
from mezzotint.recipes.conprediff import RECIPE
from mezzotint.recipes.context import BASE, CONTROL, ITSELF, NULL, ORDERED, SET, WIDE
from mezzotint.training import train

SMALL = Setting(
    {
        **context.SETTING, "width": 8, "images": 640, "samples": 20, "completed": 4, "several": 3, "probed": 60,
        "steps": 4,
    }
)  # fmt: skip


CHOSEN = Path(__file__).parents[2] / "results" / "chosen"
Changes = Mapping[str, float]
"""Numbers by ``arm/column``."""


def table(seed: int, changed: Changes = MappingProxyType({})) -> dict[str, dict[str, float]]:
    """Numbers of a seed at which everything holds, whatever is reported, too."""
    found: dict[str, dict[str, float]] = {}
    sizes = {BASE: 1.0, SET: 0.8, CONTROL: 1.1, WIDE: 0.81, ORDERED: 0.79, ITSELF: 0.9, NULL: 1.01}
    for kind, size in sizes.items():
        row = dict.fromkeys(("frechet", "validation", "patches", "hole"), size + 1e-3 * seed)
        found[kind] = row | {"R2": 1.5 - size, "R2, after the norm": 1.4 - size}
    for place, value in changed.items():
        arm, _, column = place.partition("/")
        found[arm][column] = value
    return found


def said(
    changed: Changes = MappingProxyType({}), seeds: int = 5, rows: tuple[str, ...] = context.KINDS, at: int = 3
) -> dict[str, str]:
    """Outcomes by name of tables with something changed at one seed only; the whole verdict's as ``""``."""
    tables = {seed: table(seed, changed if seed == at else {}) for seed in range(seeds)}
    verdict = context.verdict(Seen({seed: {row: one[row] for row in rows} for seed, one in tables.items()}))
    return {"": verdict.outcome, **{c.name: c.outcome for c in verdict.criteria}}


def test_every_criterion_fails_by_one_seed_and_by_what_it_is_about() -> None:
    assert set(said().values()) == {"holds"}
    for place, value, name in (
        (f"{SET}/frechet", 1.04, "distance, set over base"),
        (f"{SET}/frechet", 1.003, "distance, set over base"),  # as the base is at this seed: no better
        (f"{CONTROL}/frechet", 0.7, "distance, set over control"),
        (f"{BASE}/R2", 0.75, "R2 of neighbours, base less set"),
    ):
        found = said({place: value})
        failed = [one for one, outcome in found.items() if outcome == "does not hold" and "reported" not in one]
        assert failed == ["", name], (place, value, found)


def test_a_miss_by_a_thousandth_reads_as_a_miss() -> None:
    tables = {seed: table(seed) for seed in range(5)}
    tables[3][SET]["frechet"] = tables[3][BASE]["frechet"] * 1.0003
    verdict = context.verdict(Seen(tables))
    assert verdict.outcome == "does not hold"
    assert verdict.reason == "distance, set over base is below 1 at 4 of 5 seeds, at most 1.0003"


def test_what_is_reported_is_judged_and_decides_nothing() -> None:
    for row, column, value, name in (
        (SET, "patches", 2.0, "reported: patches, set over base"),
        (SET, "hole", 2.0, "reported: hole, set over control"),
        (SET, "validation", 2.0, "reported: validation, set over base"),
        (WIDE, "frechet", 2.0, "reported: frechet, wide over set"),
        (ORDERED, "frechet", 0.2, "reported: frechet, set over ordered"),
    ):
        tables = {seed: table(seed, {f"{row}/{column}": value + 1e-3 * seed}) for seed in range(5)}
        verdict = context.verdict(Seen(tables))
        found = {c.name: c.outcome for c in verdict.criteria}
        assert found[name] == "does not hold", name
        assert verdict.outcome == "holds"


def test_few_seeds_and_missing_arms_decide_nothing() -> None:
    assert said(seeds=4)[""] == said(seeds=4)["distance, set over base"] == "undecided"
    assert said({f"{SET}/frechet": 1.2}, seeds=1, at=0)[""] == "does not hold"  # but one seed refutes "at every seed"
    for missing, name in ((BASE, "distance, set over base"), (CONTROL, "distance, set over control")):
        found = said(rows=tuple(kind for kind in context.KINDS if kind != missing))
        assert found[""] == found[name] == "undecided"
    assert said(rows=(BASE, SET, CONTROL))[""] == "holds"  # the recipe's own arms


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(Refusal, match="no arm 'sett': did you mean 'set'"):
        context.arms(Setting({**SMALL, "arms": ("sett",)}))
    with pytest.raises(Refusal, match="too few"):
        context.drawn(Setting({**SMALL, "samples": 12}))
    with pytest.raises(Refusal, match="clothes or scenes"):
        context.pictures(Setting({**SMALL, "pictures": "cats"}))


def test_patches_of_a_shifted_picture_lie_its_square_apart() -> None:
    """Any direction u sees a shift of v in each of 9 entries as v (u . 1), and E (u . 1)^2 = 1."""
    x = 0.1 * Rng(range(300)).normal("x", (1, 14, 12))
    assert context.patches(x, x) == 0.0
    assert context.patches(x + 0.5, x) == pytest.approx(0.25, rel=0.3)
    three = x.expand(-1, 3, -1, -1)
    assert context.patches(three + 0.5, three) == pytest.approx(0.25, rel=0.3)


@pytest.fixture(scope="module")
def clothes() -> Tensor:
    try:
        find("fashion_mnist")
    except Refusal as refusal:
        pytest.skip(str(refusal))
    return context.real(SMALL, "held_out")


@pytest.fixture(scope="module")
def judge(clothes: Tensor) -> Extractor:
    labels = context._real("clothes", 14, "held_out")[1]
    return Extractor.train(clothes[:1_000], labels[:1_000], seen=1_500, width=8)


def alive(kind: str = BASE) -> Any:
    """A model whose weights are none of them zero."""
    model: Any = untrained(context.training(SMALL, kind))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(0.05 * Rng([1]).at(name).normal("weight", tuple(weight.shape))[0])
    return model


def test_one_pipeline_draws_and_completes(clothes: Tensor) -> None:
    """Rows that know nothing are those of a model alone; the others end at what they know, one apart from the other."""
    from mezzotint.samplers import Heun, Sampling

    model, cond, keys = alive(), context.asked(SMALL), sample_keys(0, SMALL.samples)
    many = context.drawn(SMALL)
    plain = Setting({**SMALL, "precision": "fp32"})
    with torch.no_grad():
        alone = Sampling(Heun(SMALL.steps), model)(NONE, keys[:many])
        x = context.arm(plain, BASE).pipeline({"model": model})(cond, keys)
    assert torch.allclose(x[:many], alone, atol=1e-5)
    truth, left = cond["known.x"][many:], slice(0, 7)
    assert torch.allclose(x[many:, ..., left], truth[..., left], atol=1e-5)
    assert (x[many:, ..., 7:] - truth[..., 7:]).abs().mean() > 0.05
    first, second = many + 3 * torch.arange(4), many + 1 + 3 * torch.arange(4)  # of one picture
    assert torch.equal(cond["known.x"][first], cond["known.x"][second])
    assert (x[first] - x[second]).abs().amax((1, 2, 3)).min() > 0.05


def test_models_draw_as_they_were_trained_and_are_read_in_float32(clothes: Tensor) -> None:
    """What bf16 rounds differs from float32 in the third digit; a reading does not ask how was drawn before it."""
    cond, keys = context.asked(SMALL), sample_keys(0, SMALL.samples)
    drawn = {}
    for precision in ("fp32", "bf16"):
        model, arm = alive(), context.arm(Setting({**SMALL, "precision": precision}), BASE)
        read = context.read(SMALL, model)
        with torch.no_grad():
            drawn[precision] = arm.pipeline({"model": model})(cond, keys)
        assert arm.facts is not None
        facts = arm.facts({"model": model})
        assert (facts["R2"], facts["R2, after the norm"]) == read
    many = context.drawn(SMALL)
    off = (drawn["bf16"][:many] - drawn["fp32"][:many]).abs()
    assert 1e-4 < off.mean() < 0.1


@pytest.mark.parametrize("size", ["small", "full"])
def test_the_criterion_says_what_is_run(size: str) -> None:
    experiment = RECIPE.sizes[size]
    s = Setting(experiment.setting)
    assert f"{context.drawn(s):,} samples at {2 * s.steps - 1} evaluations" in experiment.criterion


def test_the_weight_is_the_one_that_its_rule_chose() -> None:
    """Of the records of the choice, all at the seeds and with the setting that they should have."""
    means = {}
    for path in sorted(CHOSEN.glob("conprediff-weight-*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        setting = dict(record["setting"])
        weight = setting.pop("weight")
        assert record["seeds"] == [0, 1, 2] and path.stem == f"conprediff-weight-{weight:g}"
        assert setting == {k: v for k, v in context.SETTING.items() if k != "weight"} | {"arms": [BASE, SET]}
        rows = record["numbers"].values()
        means[weight] = sum(row[SET]["validation"] / row[BASE]["validation"] for row in rows) / 3
    assert set(means) == {0.01, 0.1, 1.0} and context.SETTING["weight"] == min(means, key=lambda k: means[k])


def test_distance_in_the_hole_is_of_the_hole(clothes: Tensor, judge: Extractor) -> None:
    x, hole = clothes[:200], context.Right(judge)
    other = clothes[200:400]
    right, left = (torch.where(mask, other, x) for mask in (torch.arange(14) >= 7, torch.arange(14) < 7))
    inside, outside = (feature_distances(hole, x, each).mean() for each in (right, left))
    assert inside > 2 * outside
    assert feature_distances(hole, x, x).max() == 0


def test_measures_know_real_pictures_and_halves_of_others(clothes: Tensor, judge: Extractor) -> None:
    """The true picture as its completion lies at 0 without diversity; other pictures' halves lie far."""
    s = Setting({**SMALL, "samples": 900, "completed": 100, "several": 3})
    cond, train = context.asked(s), context.real(s, "train")
    floor = context.measure(s, torch.cat([train[:600], cond["known.x"][600:]]), cond, judge)
    blurred = torch.nn.functional.avg_pool2d(train[:600], 3, 1, 1)
    far = context.measure(s, torch.cat([blurred, train[600:900]]), cond, judge)
    assert floor["hole"] == 0 and floor["diversity"] == pytest.approx(0, abs=1e-6)
    assert far["hole"] > 0.5 and far["diversity"] > 0.5
    for column in ("frechet", "validation", "patches"):
        assert far[column] > 5 * floor[column], column


def test_linear_reading_is_ridge_regression_of_the_neighbours(clothes: Tensor) -> None:
    """Against least squares on rows for the penalty, neighbours visited one by one."""
    model = alive()
    found, after = context.read(SMALL, model)
    parts = []
    for k in (0, 1):
        x = clothes[60 * k : 60 * (k + 1)]
        t = model.process.time(torch.full((60,), 0.5, dtype=torch.float64))
        assert torch.allclose(model.process.sigma(t), model.process.alpha(t))
        noisy = model.process.corrupt(x, t).sample(Rng([k]).at("read").repeat(60).at(torch.arange(60)))
        with torch.no_grad():
            h = model(noisy, t, NONE, want=("up.0",)).aux["up.0"].double().numpy()
        rows, values = [], []
        for row in range(60):
            for i in range(1, 13):
                for j in range(1, 13):
                    rows.append(h[row, :, i, j])
                    values.append([float(x[row, 0, i + di, j + dj]) for di in (-1, 0, 1) for dj in (-1, 0, 1)])
        parts.append((np.array(rows), np.array(values)))
    (a, y), (b, z) = parts
    C = a.shape[1]
    penalty = context_read.RIDGE * ((a**2).sum(0) - a.sum(0) ** 2 / len(a)).mean()
    padded = np.concatenate([a - a.mean(0), np.sqrt(penalty) * np.eye(C)])
    beta = np.linalg.lstsq(padded, np.concatenate([y - y.mean(0), np.zeros((C, 9))]), rcond=None)[0]
    left = ((z - y.mean(0) - (b - a.mean(0)) @ beta) ** 2).sum(0)
    spread = ((z - z.mean(0)) ** 2).sum(0)
    around = [k for k in range(9) if k != 4]
    assert found == pytest.approx(1 - left[around].sum() / spread[around].sum(), abs=1e-6)
    assert 0.1 < found < 1 and 0.1 < after < 1 and abs(found - after) > 1e-3


def test_after_the_norm_is_what_the_last_layer_reads(clothes: Tensor) -> None:
    """With the last layer's input as the features, and nothing behind them, both readings are the same."""
    model = alive()
    _, after = context.read(SMALL, model)
    seen = {}
    model.network.leave.register_forward_pre_hook(lambda _, given: seen.update(h=given[0]))
    x = clothes[:4]
    t = model.process.time(torch.full((4,), 0.5, dtype=torch.float64))
    with torch.no_grad():
        raw = model(x, t, NONE, want=("up.0",)).aux["up.0"]
    assert torch.allclose(torch.nn.functional.silu(model.network.norm(raw)), seen["h"], atol=1e-6)
    assert after < 1


def trained(folder: Path, kind: str) -> dict[str, Tensor]:
    """What three steps at seed 3 leave where the decoder's loss weighs nothing."""
    s = Setting({**SMALL, "images": 48, "train_batch": 16, "weight": 0.0, "steps": 2})
    train(context.training(s, kind).tree(3), folder)
    found: dict[str, Tensor] = load_model(folder).state_dict()
    return found


def test_arms_share_weights_order_and_noise(clothes: Tensor, tmp_path: Path) -> None:
    """With a weight of 0 every arm is the base to the bit, though its decoder is trained beside it."""
    base, *others = (trained(tmp_path / kind, kind) for kind in (BASE, SET, CONTROL))
    for other in others:
        assert list(other) == list(base)
        assert all(torch.equal(weight, base[name]) for name, weight in other.items())


def test_other_arms_are_what_they_are_called() -> None:
    s = Setting({**SMALL, "weight": 0.3, "sites": 0.25, "source": "prediction"})
    found: dict[str, Any] = {kind: context.training(s, kind).training.objective for kind in context.KINDS}
    assert [type(found[kind]).__name__ for kind in context.KINDS] == [
        "Denoising", "ContextPrediction", "Elsewhere", *["ContextPrediction"] * 2, "Itself", "ContextPrediction"
    ]  # fmt: skip
    assert [type(found[kind].decoder).__name__ for kind in (SET, CONTROL, WIDE, ORDERED)] == [
        "SetDecoder", "SetDecoder", "SetDecoder", "OrderedDecoder"
    ]  # fmt: skip
    assert [found[kind].strides for kind in (SET, CONTROL, WIDE, ORDERED)] == [(1,), (1,), (2,), (1,)]
    for kind in (SET, CONTROL, WIDE, ORDERED, ITSELF):
        assert (found[kind].weight, found[kind].sites, found[kind].source) == (0.3, 0.25, "prediction")
        assert spec(found[kind].inner) == spec(found[BASE])
    assert found[NULL].weight == context.NOTHING
    settings = [context.training(s, kind).tree(5) for kind in context.KINDS]
    for tree in settings:
        del tree["training"]["objective"]
    assert all(tree == settings[0] for tree in settings)
