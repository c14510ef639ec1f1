"""Where a sampler arrives: at the exact end of its path, or at the exact law, and closer with more steps.

On independent normals the probability flow has a closed form, so a sampler that draws nothing must come to that end;
one that draws must come to the law, whose standardised samples have mean 0 and variance 1. What is checked is a floor
under every method, not the order of one: six times the steps leave at most a third of the error, twelve times the steps
at most half of it where there is noise, and little is left.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from mezzotint.core.rng import Rng
from mezzotint.processes.base import Process
from mezzotint.samplers.base import Sampler
from mezzotint.testing.expect import expect
from mezzotint.testing.truth import Normals

_FEW, _MANY = 4, 24
_FLOOR = 0.06
"""About two standard errors of the moments below."""


def converges(make: Callable[[int], Sampler], process: Process, who: str) -> None:
    """Check one sampler on one process.

    Arguments:
        make: the sampler with so many steps.
        process: what corrupts the normals.
        who: the sampler's name in a sentence.
    """
    truth = Normals(process, (6,))  # type: ignore[arg-type]
    one, zero = torch.ones(8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    start = process.prior((6,)).repeat(4).sample(Rng(range(4)).at("start")).double().repeat(2, 1)
    exact = truth.flow(start, one, zero)
    errors = {}
    for steps in (_FEW, _MANY):
        x = make(steps)(truth, rng=Rng(range(8)), start=start)
        if not torch.equal(x[:4], x[4:]):  # other keys from the same start led elsewhere
            return _in_law(make, process, who)
        errors[steps] = float(((x - exact) / truth.stds).square().mean().sqrt())
    few, many = errors[_FEW], errors[_MANY]
    why = "more steps must come closer to the model's own law"
    expect(
        many <= 0.2, f"{who} with {_MANY} steps should end near the exact end but is {many:.3g} of a spread off; {why}"
    )
    expect(
        3 * many <= few,
        f"{who} should have at most a third of its error with {_FEW} steps ({few:.3g}) left with {_MANY} but has "
        f"{many:.3g}; {why}",
    )
    return None


def _in_law(make: Callable[[int], Sampler], process: Process, who: str) -> None:
    truth = Normals(process, (600,))  # type: ignore[arg-type]
    start, errors = None, {}
    if not process.gaussian:  # type: ignore[attr-defined]
        # The normals' own law at t = 1, not the prior: their answer is exact for normal noise, their flow for any.
        alpha, sigma = process.scales(torch.ones(8, dtype=torch.float64), truth.means)  # type: ignore[attr-defined]
        noise = Rng(range(8)).normal("start", (600,)).double()
        start = alpha * truth.means + (alpha**2 * truth.stds**2 + sigma**2).sqrt() * noise
    for steps in (_FEW, 2 * _MANY):
        x = make(steps)(truth, rng=Rng(range(8)), start=start)
        # Three groups of neighbouring means and spreads, 1600 numbers each.
        z = ((x - truth.means) / truth.stds).reshape(8, 3, 200).transpose(0, 1).flatten(1)
        errors[steps] = max(float(z.mean(1).abs().max()), float((z.std(1) - 1).abs().max()))
    few, many = errors[_FEW], errors[2 * _MANY]
    why = "more steps must come closer to the model's own law"
    expect(
        many <= 0.2,
        f"{who} with {2 * _MANY} steps should have the model's moments but is {many:.3g} of a spread off; {why}",
    )
    expect(
        many <= max(0.5 * few, _FLOOR),
        f"{who} should be at most half as far from the model's mean and spread with {2 * _MANY} steps as with {_FEW} "
        f"({few:.3g} of a spread) but is {many:.3g}; {why}",
    )
