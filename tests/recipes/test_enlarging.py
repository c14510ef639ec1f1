"""Cascades of clothes: what the verdict says of wrong numbers, and that costs are those of the evaluations made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mezzotint.core import Refusal, Rng
from mezzotint.data.root import find
from mezzotint.denoiser import Counted
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.verdict import Seen
from mezzotint.recipes import enlarging

LEVELS = (0.0, 0.2, 0.5)


def table(**changed: float) -> dict[str, dict[str, float]]:
    """Numbers of a seed at which everything holds, the level 0.2 chosen by ``validation``, not by ``frechet``."""
    rows = {
        "single model": (0.8, 0.8, 0.7),
        "no augmentation": (1.2, 1.2, 0.7),
        "no augmentation, true small pictures": (0.1, 0.1, 0.8),
    }
    for level, frechet, chosen in ((0.0, 1.0, 1.0), (0.2, 0.7, 0.7), (0.5, 0.65, 0.75)):
        rows[f"noise {level:g}"] = (frechet, chosen, 0.75)
        rows[f"noise {level:g}, true small pictures"] = (frechet - 0.3, 0.0, 0.75)
        if level:
            rows[f"truncated {level:g}"] = (frechet * 1.02, 0.0, 0.75)
    found = {name: dict(zip(("frechet", "validation", "CAS"), values, strict=True)) for name, values in rows.items()}
    for place, value in changed.items():
        row, _, column = place.rpartition("/")
        found[row][column] = value
    return found


def said(**changed: float) -> dict[str, str]:
    tables = {seed: table(**{k: v + 1e-4 * seed for k, v in changed.items()}) for seed in range(3)}
    return {c.name: c.outcome for c in enlarging.verdict(Seen(tables)).criteria}


def test_every_criterion_can_fail_and_by_what_it_is_about() -> None:
    assert set(said().values()) == {"holds"}
    for place, value, name in (
        ("noise 0.2/frechet", 1.15, "distance with noise over that without"),
        ("no augmentation/CAS", 0.76, "CAS with noise less that without"),
        ("truncated 0.2/frechet", 0.85, "truncated over not truncated"),
        ("truncated 0.2/frechet", 0.55, "truncated over not truncated"),
        ("no augmentation, true small pictures/frechet", 1.1, "what is lost to the base, with noise less without"),
        ("noise 0/validation", 0.1, "less than 0 by the level that is chosen"),
        ("single model/frechet", 0.6, "distance with noise over the single model's"),
        ("single model/frechet", 1.3, "distance without over the single model's"),
    ):
        found = said(**{place: value})
        assert found[name] == "does not hold", (place, value, found)


def test_what_is_reported_does_not_choose() -> None:
    assert enlarging.best(table()) == 0.2  # by frechet it would be 0.5
    assert enlarging.best(table(**{"noise 0.5/validation": 0.6})) == 0.5
    assert enlarging.best(table(**{"noise 0/validation": 0.1}), 1e-9) == 0.2


def test_costs_are_those_of_the_evaluations_made() -> None:
    """Counted while samples are drawn, truncated and not, and for the single model that costs as much to train."""
    try:
        find("fashion_mnist")
    except Refusal as refusal:
        pytest.skip(str(refusal))
    s = Setting({**enlarging.SETTING, "samples": 10, "levels": LEVELS, "steps": 5})
    arms, cond = enlarging.arms(s), enlarging.asked(s)
    assert torch.bincount(cond["label"]).tolist() == [1] * 10
    training = set()
    for name in ("no augmentation", "noise 0.5", "truncated 0.5", "single model"):
        models: Any = {key: one.model for key, one in arms[name].trainings.items()}
        cascade: Any = arms[name].pipeline(models)
        told = arms[name].facts(models)
        meters = [Counted(stage.pipeline.denoiser) for stage in cascade.stages]
        stages = [
            replace(stage, pipeline=replace(stage.pipeline, denoiser=meter))
            for stage, meter in zip(cascade.stages, meters, strict=True)
        ]
        with torch.no_grad():
            x = replace(cascade, stages=tuple(stages))(cond[:2], Rng([0, 1]))
        assert x.shape == (2, 1, 14, 14)
        assert told["M MACs a sample"] == pytest.approx(sum(meter.macs for meter in meters) / 2e6, rel=1e-3)
        training.add(round(told["T MACs"], 3))
    assert max(training) / min(training) < 1.002
