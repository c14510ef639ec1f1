"""The exact checks of cascades, against sums that know nothing of denoisers, and against numbers that are wrong."""

from __future__ import annotations

import math

import pytest
import torch

from mezzotint.core import Rng
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.verdict import Seen
from mezzotint.recipes import handing_over


@pytest.mark.parametrize("a", [0.95, 0.5, 0.05])
def test_the_law_of_x_by_summing_over_z_as_well(a: float) -> None:
    """Base, noise, Bayes' rule on a grid of z, and x given z: no closed form but the normal density."""

    def density(x: torch.Tensor, mean: torch.Tensor | float, variance: float) -> torch.Tensor:
        return torch.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    z, x = torch.linspace(-5, 5, 401, dtype=torch.float64), handing_over.axis()
    seen = torch.linspace(-7, 7, 561, dtype=torch.float64)
    h, k = float(z[1] - z[0]), float(seen[1] - seen[0])
    told = density(seen[:, None], math.sqrt(a) * z, 1 - a)  # q(z_s | z)
    drawn = 0.7 * density(z, -1.7, 0.09) + 0.3 * density(z, 2.3, 0.09)
    prior = 0.5 * density(z, -2.0, 0.09) + 0.5 * density(z, 2.0, 0.09)
    posterior = told * prior / (told * prior).sum(1, keepdim=True)  # weights on the grid of z
    due = density(x[:, None], z, 0.09) @ (posterior.T @ (told @ drawn * h) * k)
    torch.testing.assert_close(handing_over.pushed(a)[False], due, rtol=0, atol=1e-8)
    right = handing_over.data()
    torch.testing.assert_close(density(x[:, None], z, 0.09) @ prior * h, right, rtol=0, atol=1e-10)
    step = float(x[1] - x[0])
    assert handing_over.apart(due)["variation"] == pytest.approx(float((due - right).abs().sum()) * step / 2, rel=1e-6)
    one, two = (density(x, 0.5, 0.2), density(x, -0.5, 0.2))
    assert float((one * (one / two).log()).sum()) * step == pytest.approx(1 / 0.4, rel=1e-6)  # which way KL is written


def test_a_histogram_tells_laws_apart_and_passes_its_own() -> None:
    """40 sets of draws of a law: a mean of about 0 and a deviation of about 1; of another by 3 %, many errors."""
    law = handing_over.data()
    sets = [Rng([seed]).at("cells").repeat(3000).at(torch.arange(3000)) for seed in range(40)]
    x = [handing_over.read(keys.uniform("place", ()), handing_over.below(law), handing_over.axis()) for keys in sets]
    own = torch.tensor([handing_over.drawn(part, law)["errors"] for part in x])
    assert abs(float(own.mean())) < 4 / math.sqrt(40)
    assert 0.6 < float(own.std()) < 1.5
    assert handing_over.drawn(torch.cat(x[:4]) * 1.03, law)["errors"] > 4


def test_the_verdict_fails_where_a_number_is_wrong() -> None:
    """Numbers of a small run hold but for its histograms' size; each kind of fault is found."""
    setting = Setting({**handing_over.SETTING, "rows": 40, "draws": 300, "steps": 12})
    table = handing_over.measure(setting, 1)
    assert handing_over.verdict(Seen({1: table})).outcome == "holds"
    for row, column, wrong in (
        ("two modes, a = 0.5", "variation", 0.1605),
        ("two modes, a = 0.8", "kl", 0.0960),
        ("two modes, exact base, a = 0.2", "variation", 1e-9),
        ("Gaussian, wrong base, a = 0.5, truncated", "mean errors", 5.0),
        ("drawn, exact base, a = 0.2, truncated", "errors", 5.0),
        ("evaluations, level 0.35", "asked", 14.0),
        ("level 0, both ways", "differ", 1.0),
    ):
        changed = {**table, row: {**table[row], column: wrong}}
        assert handing_over.verdict(Seen({1: changed})).outcome == "does not hold", row
    assert len(handing_over.figures(Seen({1: table}))[0].lines["KL, nats"]) == 7
