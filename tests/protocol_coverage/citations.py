"""Reads the tests' source and finds which rows each of them cites.

How a test cites:

- `test_24_…` in its name: row 24 of the conformance tests (reference 7), `test_38_39_…` two rows;
- `test_row_24_…` in its name: row 24 of the table (reference 4);
- `trap T23`, `traps T8 and T12` in its docstring or a comment: a trap (reference 6);
- `Row 24:`, `Rows 10 and 26:` in the docstring: more rows of the list that its name speaks of,
  and `table row 24` a row of the table in any test;
- a number of the wire (reference 1 and 2): its name or itself in the test's code, see `rows`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.protocol_coverage.rows import Row, Section

TESTS = Path(__file__).parents[1]
WIRE_FOLDERS = ("conformance", "unit/webchat", "unit/conversation", "unit/link", "unit/matrix")
"""Where a number of the wire in the code means that number and not something else."""

_LIST = r"(\d+b?(?:(?:, | and | to )\d+b?)*)"
_NUMBERED = re.compile(r"test_((?:\d\d[a-z]?_)+)")
_TABLE_NAME = re.compile(r"test_row_(\d+b?)_")
_TABLE_ROWS = re.compile(rf"\btable rows? {_LIST}", re.IGNORECASE)
_ROWS = re.compile(rf"\brows? {_LIST}", re.IGNORECASE)
_TRAPS = re.compile(r"\btraps? (T\d+(?:(?:, | and )T\d+)*)", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """One test function."""

    name: str
    """`folder/test_file.py::test_name`, from the folder `tests` on."""
    source: str
    """With its decorators, docstring and comments."""
    docstring: str


Citation = tuple[Section, str]


def all_tests(folder: Path = TESTS) -> list[Case]:
    """Every test function below a folder, in the order of their names."""
    found = []
    for path in sorted(folder.rglob("test_*.py")):
        if path.parent == Path(__file__).parent:
            continue  # its examples are no citations
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("test_"):
                continue
            first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
            found.append(
                Case(
                    f"{path.relative_to(folder).as_posix()}::{node.name}",
                    "\n".join(lines[first - 1 : node.end_lineno]),
                    ast.get_docstring(node) or "",
                )
            )
    return found


def cited(test: Case) -> set[Citation]:
    """The rows of behaviour that a test names."""
    name = test.name.partition("::")[2]
    rows: set[Citation] = set()
    own: Section | None = None
    if numbered := _NUMBERED.match(name):
        own = Section.TESTS
        rows |= {(own, str(int(part[:2]))) for part in numbered[1].split("_") if part}
    elif in_table := _TABLE_NAME.match(name):
        own = Section.TABLE
        rows.add((own, in_table[1]))
    for match in _TABLE_ROWS.finditer(test.source):
        rows |= {(Section.TABLE, key) for key in _keys(match[1])}
    if own is not None:
        rest = _TABLE_ROWS.sub("", test.docstring)
        for match in _ROWS.finditer(rest):
            rows |= {(own, key) for key in _keys(match[1])}
    for match in _TRAPS.finditer(test.source):
        rows |= {
            (Section.TRAPS, key.upper()) for key in re.findall(r"T\d+", match[1], re.IGNORECASE)
        }
    return rows


def _keys(text: str) -> Iterator[str]:
    """`10 and 26` -> 10, 26; `30 to 34` -> 30 … 34."""
    for part in re.split(r", | and ", text):
        first, _, last = part.partition(" to ")
        if last:
            yield from (str(number) for number in range(int(first), int(last) + 1))
        else:
            yield first


def on_the_wire(test: Case, row: Row) -> bool:
    """A test of the protocol writes or reads this number."""
    return test.name.startswith(WIRE_FOLDERS) and any(
        re.search(mark, test.source) for mark in row.marks
    )


def coverage(rows: Sequence[Row], tests: Sequence[Case]) -> dict[Citation, list[str]]:
    """For each row the tests that cover it; those of `conformance` first.

    Raises:
        ValueError: a test cites a row that there is not.
    """
    covered: dict[Citation, list[str]] = {(row.section, row.key): [] for row in rows}
    for test in tests:
        for citation in cited(test):
            if citation not in covered:
                raise ValueError(f"{test.name} cites {citation[0]} row {citation[1]}: unknown")
            covered[citation].append(test.name)
        for row in rows:
            if row.marks and on_the_wire(test, row):
                covered[row.section, row.key].append(test.name)
    return {
        key: sorted(set(names), key=lambda name: (not name.startswith("conformance"), name))
        for key, names in covered.items()
    }
