"""Phases of a run: where they begin, what goes on through them, and what one whole run and a broken one agree on."""

import copy
import json

import pytest
import torch

import mezzotint as mz
from mezzotint import recipes, training
from mezzotint.core.spec import build, spec
from mezzotint.objectives import Denoising
from mezzotint.training import Phase, Rate, Trainer
from mezzotint.training.phase import starts


def tree(then=(), dropout=0.0, **changes):
    """Sixteen steps of 64 digits at a constant rate."""
    made = recipes.of_data(mz.data.Digits(), images=1_024, width=8, steps=2)
    made["training"] |= {"batch": 64, "save": 512, "log": 64, "picture": 1_024} | changes
    made["training"]["objective"] |= {"dropout": dropout}
    made["training"]["rate"] = spec(Rate(1e-3, warmup=0, cooldown=0.0))
    made["training"]["then"] = [
        {**spec(Phase(begins, Denoising())), "objective": {**made["training"]["objective"], "dropout": rate},
         "rate": spec(Rate(peak, warmup=0, cooldown=0.0))}
        for begins, rate, peak in then
    ]  # fmt: skip
    return copy.deepcopy(made)


def weights(run, images=1_024):
    return run.load(images)[0]["model"]


def test_a_phase_that_changes_nothing_changes_no_bit(tmp_path):
    one = training.train(tree(), tmp_path / "one")
    two = training.train(tree([(0.5, 0.0, 1e-3)]), tmp_path / "two")
    assert all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(two).values(), strict=True))


def test_what_is_dropped_and_how_fast_change_at_the_boundary_and_nowhere_else(tmp_path):
    plain = training.train(tree(), tmp_path / "plain")
    run = training.train(tree([(0.5, 0.9, 2e-4)]), tmp_path / "phases")
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    rates = {row["images"]: row["rate"] for row in rows if "rate" in row}
    assert {rates[images] for images in range(64, 513, 64)} == {1e-3}
    assert {rates[images] for images in range(576, 1_025, 64)} == {2e-4}
    first, last = weights(run, 512), weights(run)
    assert all(torch.equal(a, b) for a, b in zip(weights(plain, 512).values(), first.values(), strict=True))
    null = next(name for name in first if name.endswith("null"))
    trained = next(name for name in first if name.endswith("null_trained"))
    assert not first[trained] and torch.equal(first[null], weights(plain)[null])  # never heard in the first phase
    assert last[trained] and not torch.equal(first[null], last[null])
    made = mz.load(str(run.path))
    assert "label" in made.nulls  # the average goes on through the boundary, flags and all


def test_a_run_that_is_stopped_before_the_boundary_goes_on_through_it(tmp_path):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.images >= 576:
            raise Stop

    asked = tree([(0.25, 0.5, 5e-4), (0.75, 0.2, 2e-4)])
    whole = training.train(asked, tmp_path / "whole")
    with pytest.raises(Stop):
        training.train(asked, tmp_path / "run", progress=stop)
    again = training.train(asked, tmp_path / "run", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(again).values(), strict=True))


def test_every_phase_has_a_step_and_the_ends_add_up():
    halves = [Phase(0.5, Denoising()), Phase(0.9, Denoising())]
    assert starts(halves, 10) == (5, 9, 10)
    assert starts((), 7) == (7,)
    for few, phases in ((2, halves), (10, halves[::-1]), (10, [Phase(0.01, Denoising())])):
        with pytest.raises(mz.Refusal, match="every phase needs one at least"):
            starts(phases, few)


def test_a_phase_says_what_it_cannot_be():
    with pytest.raises(mz.Refusal, match="between 0 and 1, not at 1"):
        Phase(1.0, Denoising())
    with pytest.raises(mz.Refusal, match=r"list of training\.Phase"):
        Trainer(Denoising(), then=(Rate(),))
    with pytest.raises(mz.Refusal, match="keeps something of its own"):
        Phase(0.5, _keeping())


def _keeping():
    objective = Denoising()
    objective.register_buffer("seen", torch.zeros(1))
    return objective


def test_phases_are_written_and_read():
    trainer = Trainer(Denoising(), then=(Phase(0.8, Denoising(dropout=0.2), Rate(2e-4, warmup=0)),))
    assert spec(build(spec(trainer))) == spec(trainer)


def test_a_run_that_goes_on_does_not_go_back_to_a_phase_it_has_left(tmp_path):
    training.train(tree([(0.5, 0.5, 2e-4)]), tmp_path / "run")
    longer = tree([(0.5, 0.5, 2e-4)], images=4_096)
    with pytest.raises(mz.Refusal, match=r"would go back to phase 1.*--set training\.then\.0\.begins=0\.125"):
        training.train(longer, tmp_path / "run", resume=True)
    onward = tree([(0.125, 0.5, 2e-4)], images=1_536)
    onward["training"]["then"][0]["begins"] = 1 / 3
    run = training.train(onward, tmp_path / "run", resume=True)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert {row["rate"] for row in rows if "rate" in row and row["images"] > 512} == {2e-4}


def test_a_later_loss_that_does_not_suit_the_model_is_refused_before_the_first_step(tmp_path):
    asked = tree([(0.5, 0.0, 1e-3)])
    asked["training"]["then"][0]["objective"] = spec(mz.objectives.Hybrid(Denoising(), 10))
    with pytest.raises(mz.Refusal, match=r"training\.then\.0\.objective does not suit this model: Hybrid trains"):
        training.train(asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_from_before_things_had_names_goes_on(tmp_path):
    data = mz.data.Scenes(size=16, tells=("layout",), pictures=64, held_out_pictures=8)
    made = recipes.of_data(data, images=64, width=8, steps=2, batch=32)
    run = training.train(made, tmp_path / "run")
    config = run.path / "config.yaml"
    text = config.read_text()
    for line in [line for line in text.splitlines() if line.strip().startswith(("things:", "then:"))]:
        text = text.replace(line + "\n", "")
    names = [f"- {name}\n" for name in data.things]
    kept = [line for line in text.splitlines(keepends=True) if line.strip() + "\n" not in names]
    config.write_text("".join(kept[1:]))  # the first says what was written
    assert "things" not in config.read_text() and "background" not in config.read_text()
    made["training"]["images"] = 128
    assert training.train(made, tmp_path / "run", resume=True).checkpoints()[-1] == 128


def test_a_phase_counts_the_images_of_its_own(tmp_path):
    """Warm-up and cool-down are of the phase and not of the run, of the first one, too."""
    asked = tree([(0.5, 0.0, 2e-4)])
    asked["training"]["rate"] = spec(Rate(1e-3, warmup=256, cooldown=0.5))
    asked["training"]["then"][0]["rate"] = spec(Rate(2e-4, warmup=128, cooldown=1.0))
    run = training.train(asked, tmp_path / "run")
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    rates = {row["images"]: row["rate"] for row in rows if "rate" in row}
    assert rates[64] == pytest.approx(1e-3 / 4) and rates[256] == pytest.approx(1e-3) and rates[512] == 0.0
    assert rates[576] == pytest.approx(1e-4 * (1 - 0.125**0.5))  # half of its warm-up, an eighth of its cool-down
    assert rates[768] == pytest.approx(2e-4 * (1 - 0.5**0.5)) and rates[1024] == 0.0
