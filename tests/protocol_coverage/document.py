"""docs/protocol-coverage.md: the rows and their tests, as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.protocol_coverage import rows_table, rows_tests, rows_traps, rows_wire
from tests.protocol_coverage.citations import Citation, all_tests, coverage
from tests.protocol_coverage.elsewhere import NOT_COVERED, TESTED_BY
from tests.protocol_coverage.rows import Row, Section

ROWS: Sequence[Row] = (*rows_wire.ROWS, *rows_table.ROWS, *rows_traps.ROWS, *rows_tests.ROWS)
DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol-coverage.md"
SHOWN = 3
"""So many tests of a row are named; the rest are counted."""

_HEADINGS = {
    Section.COMMANDS: "Frames that the bridge sends",
    Section.REPLIES: "Replies to a request for an agent",
    Section.PUSHES: "Frames that the server pushes",
    Section.CONTENT: "Kinds of content",
    Section.NOTICES: "Kinds of notices",
    Section.STATUSES: "How a request ends",
    Section.RESULTS: "Result codes",
    Section.TABLE: "States, events and answers",
    Section.TRAPS: "Where the guide misleads",
    Section.TESTS: "Conformance tests",
}


_INTRODUCTION = """\
Every row of the protocol, and the tests that cover it. Written by
`python -m tests.protocol_coverage`; `make test` fails when a row has neither a test nor a reason,
or when this file is not what the tests say. How a test cites a row is told in
`tests/protocol_coverage/citations.py`.
"""


class NotCovered(Exception):
    """Rows without a test and without a reason, or with a reason although there are tests."""


def found() -> dict[Citation, list[str]]:
    """The tests of each row, those named in `elsewhere` among them.

    Raises:
        ValueError: a test, or `elsewhere`, names what there is not.
    """
    tests = all_tests()
    names = {test.name for test in tests}
    covered = coverage(ROWS, tests)
    for row, more in TESTED_BY.items():
        if row not in covered:
            raise ValueError(f"elsewhere.py: there is no row {row}")
        if strays := set(more) - names:
            raise ValueError(f"elsewhere.py: there is no test {', '.join(sorted(strays))}")
        covered[row] = [*covered[row], *(name for name in more if name not in covered[row])]
    return covered


def check(covered: Mapping[Citation, list[str]]) -> None:
    """Every row has a test or a reason, and no reason is out of date.

    Raises:
        NotCovered: which rows, one a line.
    """
    wrong = [
        f"{section} row {key}: no test cites it, and elsewhere.py gives no reason"
        for (section, key), names in covered.items()
        if not names and (section, key) not in NOT_COVERED
    ]
    wrong += [
        f"{section} row {key}: has tests now; take its reason out of elsewhere.py"
        for section, key in NOT_COVERED
        if covered.get((section, key))
    ]
    if wrong:
        raise NotCovered("\n".join(wrong))


def text(covered: Mapping[Citation, list[str]]) -> str:
    """The document."""
    done = sum(bool(names) for names in covered.values())
    parts = [
        "# Protocol coverage\n",
        _INTRODUCTION,
        f"{done} of {len(covered)} rows are covered.\n",
    ]
    for section, heading in _HEADINGS.items():
        rows = [row for row in ROWS if row.section is section]
        parts.append(f"## {heading} ({section})\n")
        parts.append("| # | what | tests |\n| --- | --- | --- |")
        parts += [_line(row, covered[section, row.key]) for row in rows]
        parts.append("")
    return "\n".join(parts)


def _line(row: Row, names: Sequence[str]) -> str:
    if not names:
        return f"| {row.key} | {row.title} | **none**: {NOT_COVERED[row.section, row.key]} |"
    shown = "<br>".join(f"`{name}`" for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"| {row.key} | {row.title} | {shown}{more} |"
