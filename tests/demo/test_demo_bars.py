"""The demo's bars: new real pictures pass them, what only looks like a good model does not."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mezzotint import recipes
from mezzotint.cli.demo import BARS, bars
from mezzotint.core import Condition, Rng, build, config
from mezzotint.core.store import load_model, model_config
from mezzotint.metrics import Extractor, evaluate
from mezzotint.training import train


def test_new_real_pictures_pass(digits: SimpleNamespace) -> None:
    """The digits in three parts: to learn from, to stand in for samples (also as a bootstrap of them), to judge by."""
    x, y = digits.x, digits.y
    train_set, held = digits.table(x[:718], y[:718]), digits.table(digits.z, digits.w)
    rows = 718 + (719 * Rng([0]).uniform("bootstrap", (719,))[0]).long()
    eye = Extractor.train(x[:718], y[:718])
    met = bars(evaluate(x[718:], y[718:], train_set, held, extractor=eye, draws=0))
    assert met == dict.fromkeys(BARS, True)
    again = bars(evaluate(x[rows], y[rows], train_set, held, extractor=eye, draws=0))
    assert all(again[name] for name in again if name != "classification_score"), again


def test_the_training_set_fails_as_a_copy_and_only_as_one(digits: SimpleNamespace, eye: Extractor) -> None:
    met = bars(evaluate(digits.x, digits.y, digits.data, digits.data.held_out(), extractor=eye, draws=0))
    assert [name for name, holds in met.items() if not holds] == ["neighbour_ratio"]


@pytest.mark.parametrize("level", [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_noised_copies_fail(digits: SimpleNamespace, eye: Extractor, level: float) -> None:
    """Copies of the training set under noise of ``level`` times the spread of the data."""
    noise = Rng([round(100 * level)]).normal("noise", digits.x.shape)[0]
    copies = digits.x + level * digits.data.std * noise
    report = evaluate(copies, digits.y, digits.data, digits.data.held_out(), extractor=eye, draws=0)
    met = bars(report)
    reached = {name: bar.reached(report) for name, bar in BARS.items()}
    assert not met["neighbour_ratio"] or not met["frechet_pixels"], reached


@pytest.mark.slow
def test_a_model_of_200_steps_fails(digits: SimpleNamespace, eye: Extractor, tmp_path: Path) -> None:
    """The demo's own recipe, stopped for good after 200 batches of 128; its whole schedule fits into them."""
    tree = recipes.of_data(digits.data, **{**recipes.DEMO, "images": 25_600})
    tree = config.edit(tree, ["training.save=25600", "training.picture=25600"])  # nothing on the way is looked at
    run = train(tree, tmp_path / "run")
    model, sampler = load_model(run.path), build(model_config(run.path)["sampler"])
    rows = range(720)
    labels = Condition(label=digits.y[: len(rows)])
    x = torch.cat([sampler(model, labels[k : k + 240], rng=Rng(rows[k : k + 240])) for k in rows[::240]])
    report = evaluate(x, labels["label"], digits.data, digits.data.held_out(), extractor=eye, draws=0)
    met = bars(report)
    reached = {name: bar.reached(report) for name, bar in BARS.items()}
    assert not all(met.values()), reached
    assert report["accuracy"].value > 0.5, reached  # it is a model, and it has learnt something: not a straw man


def test_a_bar_fails_where_its_measure_is_missing(digits: SimpleNamespace) -> None:
    class Unlabelled:
        def __init__(self, x: torch.Tensor) -> None:
            self.x = x

        def __len__(self) -> int:
            return len(self.x)

        def __getitem__(self, rows: object) -> tuple[torch.Tensor, Condition]:
            return self.x[torch.as_tensor(rows)], Condition()

    report = evaluate(digits.x[:40], None, Unlabelled(digits.x[40:200]), Unlabelled(digits.z), draws=0)
    met = bars(report)
    assert set(met) == set(BARS) and not met["accuracy"] and not met["frechet_features"] and met["neighbour_ratio"]
