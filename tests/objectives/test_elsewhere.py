"""The controls of context prediction: the next picture of the batch and nothing of its own, and the site itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from surroundings import silent

from mezzotint import recipes
from mezzotint.core import NONE, Refusal, Rng
from mezzotint.core.spec import build
from mezzotint.data import Digits
from mezzotint.objectives import ContextPrediction, Denoising, Elsewhere, Hybrid, Itself, OrderedDecoder, SetDecoder
from mezzotint.processes import EDM
from mezzotint.testing.truth import model


def test_a_row_is_asked_about_the_next_ones_neighbours() -> None:
    learner: Any = model(EDM())
    shape, keys = tuple(learner.shape), Rng(range(4))
    x, other = (0.5 * keys.normal(name, shape) for name in ("x", "other"))
    objective = Elsewhere(Denoising(dropout=0.0), sites=1.0)
    objective.meet(learner, x[:1], NONE)
    plain = ContextPrediction(Denoising(dropout=0.0), sites=1.0)
    plain.meet(learner, x[:1], NONE)
    loss = objective(learner, x, NONE, keys)
    beside = plain(learner, x, NONE, keys)
    shot = loss.shot
    assert shot is not None
    # The inner loss, its noise and its times are those without a control; the seed alone makes the decoder.
    assert loss.inner is not None and beside.inner is not None
    assert torch.equal(loss.inner.value, beside.inner.value)
    before = objective.term(learner, shot, keys)
    for row in range(4):
        changed = shot.x0.clone()
        changed[row] = other[row]
        after = objective.term(learner, replace(shot, x0=changed), keys)
        assert (after != before).nonzero().flatten().tolist() == [(row - 1) % 4]
    # Where all pictures are one, the control is the method.
    alike = replace(shot, x0=shot.x0[:1].expand_as(shot.x0))
    assert torch.equal(objective.term(learner, alike, keys), plain.term(learner, alike, keys))


@pytest.mark.parametrize("decoder", [OrderedDecoder, SetDecoder])
def test_the_site_itself_is_asked_for_and_nothing_around_it(decoder: type) -> None:
    """A decoder that says one number is off by the square of what stands at a site, whichever stands around it."""
    learner: Any = model(EDM())
    shape, keys = tuple(learner.shape), Rng(range(3))
    x = 0.5 * keys.normal("x", shape)
    objective = silent(Itself(Denoising(dropout=0.0), decoder(), sites=1.0, by_level=False), learner, x, 0.3)
    loss = objective(learner, x, NONE, keys)
    assert loss.shot is not None and loss.shot.weight is not None
    due = (x.double() - 0.3).square().flatten(1).mean(1) / learner.sigma_data**2
    torch.testing.assert_close(objective.term(learner, loss.shot, keys).double() / loss.shot.weight, due)
    one = replace(loss.shot, x0=x.roll(1, -1))  # other neighbours, as many values
    found = objective.term(learner, one, keys).double() / loss.shot.weight
    torch.testing.assert_close(found, due)
    objective = Itself(Denoising(dropout=0.0), decoder(), sites=1 / 4)
    plain = ContextPrediction(Denoising(dropout=0.0), decoder(), sites=1 / 4)
    mine, theirs = (each(learner, x, NONE, keys) for each in (objective, plain))
    assert mine.inner is not None and theirs.inner is not None
    assert torch.equal(mine.inner.value, theirs.inner.value)


def test_alone_there_is_no_other_picture() -> None:
    learner: Any = model(EDM())
    with pytest.raises(Refusal, match="a batch of one has none"):
        Elsewhere(Denoising())(learner, torch.zeros(1, *learner.shape), NONE, Rng([0]))
    with torch.no_grad():  # a last held-out picture is only looked at
        loss = Elsewhere(Denoising())(learner, torch.zeros(1, *learner.shape), NONE, Rng([0]))
    assert loss.value.isfinite().all() and loss.parts["context"].tolist() == [0.0]


def test_what_stands_around_it_says_that_rows_are_coupled_too() -> None:
    assert Hybrid(Elsewhere(Denoising()), 10).coupled and not Hybrid(Denoising(), 10).coupled
    assert Elsewhere(Denoising()).coupled and not ContextPrediction(Denoising()).coupled


def test_a_batch_in_pieces_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    tree = recipes.of_data(Digits(), images=256, width=8, steps=2)
    trainer = replace(build(tree["training"]), objective=Elsewhere(Denoising()), batch=32, accumulate=2)
    with pytest.raises(Refusal, match="other samples of its batch"):
        trainer.fit(build(tree["model"]), Digits(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
