"""A finding: what was seen, how bad it is, and the one thing to do about it.

A check is a function that returns its findings, none where all is well, and raises :class:`Unknown` where it cannot
tell: what was not looked at is said, never counted as healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

SEVERITIES = ("wrong", "warning", "hint")
"""``wrong``: results are spoilt or work is lost; ``warning``: time or quality is; ``hint``: nothing is, but know it."""


class Unknown(Exception):
    """A check cannot tell, for the reason given."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Arguments:
        name: of what was found, two or three words that stay the same.
        severity: ``wrong``, ``warning`` or ``hint``.
        seen: one sentence with the numbers.
        fix: a command to run or a setting to change.
    """

    name: str
    severity: str
    seen: str
    fix: str

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"a finding is one of {', '.join(SEVERITIES)}, not {self.severity!r}")


Check = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Examination:
    """What the checks of one machine or run said.

    Arguments:
        findings: the worst first.
        checked: the checks that could tell, in their order.
        unknown: why the others could not, by check.
    """

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    unknown: Mapping[str, str]

    @classmethod
    def of(
        cls, checks: Mapping[str, Callable[[], Iterable[Finding]]], cannot: type[Exception] = Unknown
    ) -> Examination:
        """Make every check.

        Arguments:
            checks: by name.
            cannot: an exception beside :class:`Unknown` whose sentence is reason enough; of any other, its kind is
                told, too.
        """
        found: list[Finding] = []
        checked: list[str] = []
        unknown: dict[str, str] = {}
        for name, check in checks.items():
            try:
                found += check()
                checked.append(name)
            except (Unknown, cannot) as reason:
                unknown[name] = str(reason)
            except Exception as error:  # what is examined may be broken in ways that nobody thought of
                why = str(error).partition("\n")[0][:200]
                unknown[name] = f"{type(error).__name__}: {why}" if why else type(error).__name__
        found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
        return cls(tuple(found), tuple(checked), unknown)

    @property
    def healthy(self) -> bool:
        """Whether nothing worse than a hint was found."""
        return all(finding.severity == "hint" for finding in self.findings)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "healthy": self.healthy,
            "findings": [asdict(finding) for finding in self.findings],
            "checked": list(self.checked),
            "unknown": dict(self.unknown),
        }
