"""What the doctor found: a list of verdicts, each with the way to mend a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """`SKIP` is neither good nor bad: it could not be tried, and the detail says why."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    verdict: Verdict
    what: str
    detail: str
    fix: str = ""
    """One line; only where something failed."""


@dataclass
class Findings:
    """The table so far.

    Attributes:
        told: called with each finding as it is made, since some take their time.
    """

    told: Callable[[Finding], None] = field(default=lambda _finding: None)
    all: list[Finding] = field(default_factory=list)

    def passed(self, what: str, detail: str) -> None:
        self._add(Finding(Verdict.PASS, what, detail))

    def failed(self, what: str, detail: str, fix: str) -> None:
        self._add(Finding(Verdict.FAIL, what, detail, fix))

    def skipped(self, what: str, why: str) -> None:
        self._add(Finding(Verdict.SKIP, what, why))

    def count(self, verdict: Verdict) -> int:
        return sum(finding.verdict is verdict for finding in self.all)

    def _add(self, finding: Finding) -> None:
        self.all.append(finding)
        self.told(finding)
