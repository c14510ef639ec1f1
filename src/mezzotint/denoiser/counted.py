"""One meter for evaluations: what a sampler, a guidance or a search really cost.

Counting happens at the denoiser, below guidance: ``CFG(Counted(model), 3.0)`` counts two rows where it asks twice and
one where it does not, and rows that a sampler leaves alone count nothing. Put above a guidance it counts what is asked
of the guidance.

Calls and rows are counted always, multiply-accumulates where there is a network: once per shape of what it was asked,
from shapes alone and only when somebody looks (:func:`mezzotint.networks.cost`). A network that may stop early says
what each row has cost in ``aux["cost"]``, (B,), and is taken at its word.
"""

from __future__ import annotations

from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.denoiser.base import Denoiser, Want, Wrapper

_Shapes = tuple[tuple[int, ...], tuple[tuple[str, tuple[int, ...]], ...]]


class Counted(Wrapper):
    """Passes everything on and counts calls, rows and multiply-accumulates.

    Arguments:
        denoiser: what is counted.

    Attributes:
        calls: how often it was asked.
        rows: for how many samples altogether; divided by the batch, the number of function evaluations (NFE).
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser)
        self._each: dict[_Shapes, int | None] = {}  # multiply-accumulates of one row
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        self.calls = self.rows = 0
        self._said = 0.0  # multiply-accumulates as the network itself said
        self._asked: dict[_Shapes, int] = {}  # rows that look alike
        self._told: dict[_Shapes, Condition] = {}  # and what one of them was told

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        answer = self.denoiser(x, t, cond, want)
        self.calls += 1
        self.rows += len(x)
        if "cost" in answer.aux:
            self._said += float(answer.aux["cost"].detach().double().sum())
        else:
            shapes = tuple(x.shape[1:]), tuple((name, tuple(v.shape[1:])) for name, v in cond.values.items())
            self._asked[shapes] = self._asked.get(shapes, 0) + len(x)
            if shapes not in self._told:
                self._told[shapes] = cond[:1] if cond else cond
        return answer

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates altogether; None if no network was asked, or one that does not know."""
        for shapes in self._asked.keys() - self._each.keys():
            self._each[shapes] = self.denoiser.cost(shapes[0], self._told[shapes])
        total = self._said
        for shapes, rows in self._asked.items():
            each = self._each[shapes]
            if each is None:
                return None
            total += rows * each
        return round(total)

    def report(self, samples: int) -> dict[str, int | float | None]:
        """What ``samples`` samples have cost: calls, and evaluations (NFE) and multiply-accumulates a sample."""
        macs = self.macs
        return {
            "calls": self.calls,
            "evaluations": self.rows / samples,
            "macs": None if macs is None else macs / samples,
        }
