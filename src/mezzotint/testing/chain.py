"""What a sampler that walks learnt chains promises on them: the model's law exactly, whatever the number of stages.

A chain's stages leave nothing out, so texts drawn from the exact chain of a table have the table's own law; rows are
their own to the last symbol, may be in stages of their own, and entries that stand are known to the others.
"""

from __future__ import annotations

import torch

from mezzotint.core.batched import cat
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.enumerated_chain import EnumeratedChain
from mezzotint.processes.multinomial import Multinomial
from mezzotint.samplers.base import Sampler, State
from mezzotint.testing.expect import expect, same, shaped, works
from mezzotint.testing.truth import table

_DRAWS = 4000
_MOST = 54.1  # chi-square of 26 degrees of freedom, 1 in 1,000


def check_chain(sampler: Sampler) -> bool:
    """Check a sampler on exact chains.

    Arguments:
        sampler: an instance; it takes its times from the model.

    Returns:
        Whether it serves any.
    """
    truth, who = chain((1.0, 0.5, 0.25)), f"{type(sampler).__name__} on a learnt chain"
    try:
        with torch.no_grad():
            list(sampler.trajectory(truth, NONE, rng=Rng([0])))
    except (Refusal, TypeError, AttributeError):  # it looks for a mean or a scale, which a law of whole samples lacks
        return False
    with works(f"a run of {who}", "a sampler that cannot walk chains says so with a Refusal at its first step"):
        _ends(sampler, who)
        _is_its_own(sampler, truth, who)
        _rests(sampler, truth, who)
    return True


def chain(times: tuple[float, ...], skew: float = 0.0) -> EnumeratedChain:
    """The exact chain of two classes of texts in which everything hangs together; ``skew`` tilts its table."""
    exact = table(Multinomial(3), skew)
    return EnumeratedChain(exact.process, exact.table, exact.shape, times)


def _ends(sampler: Sampler, who: str) -> None:
    """Clean symbols with the table's law, at one stage and at three."""
    for times in ((1.0,), (1.0, 0.5, 0.25)):
        truth = chain(times)
        law = truth.table.table.logsumexp(0).softmax(0)
        with torch.no_grad():
            x = sampler(truth, NONE, rng=Rng(range(_DRAWS)))
        shaped(f"samples of {who}", x, (_DRAWS, *truth.shape), "samples have the model's shape")
        expect(x.dtype == torch.int64, f"{who} should keep symbols int64 but ends in {x.dtype}")
        seen = torch.bincount(truth.table.number(x), minlength=len(law)).double()
        away = float(((seen - _DRAWS * law) ** 2 / (_DRAWS * law)).sum())
        expect(
            away < _MOST,
            f"texts by {who} of {len(times)} stages should have the table's law but are {away:.3g} away in chi-square; "
            "the exact chain leaves nothing out",
        )


def _is_its_own(sampler: Sampler, truth: EnumeratedChain, who: str) -> None:
    """The same symbols alone, in a crowd, and from the middle of a run."""
    cond = Condition(label=torch.arange(17) % 2)
    with torch.no_grad():
        crowd = list(sampler.trajectory(truth, cond, rng=Rng(range(17))))
        few = sampler(truth, cond[[16, 3, 1]], rng=Rng([16, 3, 1]))
        same(f"samples of {who} in a batch of their own", few, crowd[-1].x[[16, 3, 1]], "sample k is its own")
        state, told = cat([crowd[1][4], crowd[1][0]]), cond[[4, 0]]
        for later in crowd[2:]:
            state = sampler.step(truth, state, later.t[0], told)
    same(f"{who} cut in two, with rows taken out", state.x, crowd[-1].x[[4, 0]], "searches branch and stack runs")


def _rests(sampler: Sampler, truth: EnumeratedChain, who: str) -> None:
    """Rows in stages of their own, one that is done, and entries that stand among others."""
    x = torch.tensor([[0, 1, 2], [2, 1, 0], [1, 1, 0], [2, 0, 0]])
    t, s = torch.tensor([1.0, 0.5, 0.25, 0.0]).double(), torch.tensor([0.5, 0.25, 0.0, 0.0]).double()
    with torch.no_grad():
        after = sampler.step(truth, State(x, t, Rng(range(4))), s)
        same(f"a row of {who} that is done", after.x[3], x[3], "rows with t == s pass untouched")
        for row in range(3):
            alone = sampler.step(truth, State(x[row : row + 1], t[row : row + 1], Rng([row])), s[row : row + 1])
            same(f"row {row} of {who} at a stage of its own", after.x[row], alone.x[0], "a row's fate is its own")
        held, times = x[:2].clone(), torch.tensor([0.0, 1.0, 1.0]).double().expand(2, 3)
        for k, end in enumerate((0.5, 0.25, 0.0)):
            ends = torch.tensor([0.0, end, end]).double().expand(2, 3)
            state = sampler.step(truth, State(held, times, Rng(range(2)).at(k)), ends)
            same(f"entries with t == s beside others in {who}", state.x[:, 0], x[:2, 0], "given entries stand")
            held, times = state.x, ends
