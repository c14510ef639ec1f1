"""A bar: what a measure must reach, alone or beside what real pictures score in the samples' place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mezzotint.metrics.report import Report


@dataclass(frozen=True)
class Bar:
    """A limit on one measure of a report.

    Arguments:
        measure: its name in the report.
        limit: the value at which the bar just holds.
        of_real: whether the limit is a multiple of what real pictures score, and then a largest one.
    """

    measure: str
    limit: float
    of_real: bool = False

    def holds(self, report: Report) -> bool:
        """Whether a report meets it; a measure that is missing, or not a number, does not."""
        if self.measure not in report.measures:
            return False
        return self.reached(report) <= self.limit if self.of_real else self.reached(report) >= self.limit

    def reached(self, report: Report) -> float:
        """The number that is compared with the limit."""
        return report.times_real(self.measure) if self.of_real else report[self.measure].value
