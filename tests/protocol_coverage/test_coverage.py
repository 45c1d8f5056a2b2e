"""Every row of the protocol has a test or a reason, and the document is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.webchat.codes import ResultCode
from tests.protocol_coverage.coverage import (
    DOCUMENT,
    WIRE,
    Case,
    Key,
    all_tests,
    cited,
    coverage,
    document,
    rows_of,
    up_to_date,
    updated,
)


def a_test(name: str, docstring: str = "") -> Case:
    return Case(f"conformance/test_x.py::{name}", f'"""{docstring}"""', docstring)


def test_the_document_is_up_to_date() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == up_to_date(), "run: python -m tests.protocol_coverage"


def test_rows_are_complete_and_unique() -> None:
    rows = rows_of(document())
    assert len(rows) == len(set(rows))
    assert set(WIRE) <= set(rows)
    counts = {"1.3": 7, "4": 41, "6": 39, "7": 87, "2.5": len(ResultCode) + 1}
    assert {section: sum(row.section == section for row in rows) for section in counts} == counts
    assert {row.section for row in rows} == {row.section for row in WIRE} | set(counts)


@pytest.mark.parametrize(
    ("name", "docstring", "expected"),
    [
        ("test_24_already_routing", "Row 24: …", "7 24"),
        ("test_02b_wrong_sign", "", "7 2"),
        ("test_38_39_people", "Rows 38 and 39", "7 38 39"),
        ("test_53_html_is_passed_on_unchanged", "", "7 53"),
        ("test_row_29b_closing", "", "4 29b"),
        ("test_row_10_robot", "Rows 10 and 26.", "4 10 26"),
        ("test_73_restart", "Row 73, table rows 30 to 32.", "7 73, 4 30 31 32"),
        ("test_words", "Traps T8, T9 and T10.", "6 T8 T9 T10"),
        ("test_words", "A row 7 of what?", ""),
    ],
)
def test_citations(name: str, docstring: str, expected: str) -> None:
    parts = [part.split() for part in expected.split(", ") if part]
    assert cited(a_test(name, docstring)) == {
        Key(section, row) for section, *rows in parts for row in rows
    }


def test_citing_an_unknown_row_is_an_error() -> None:
    with pytest.raises(ValueError, match="7 row 99: unknown"):
        coverage([Key("7", "24")], [a_test("test_99_imagined")])


def test_protocol_numbers_are_searched_in_protocol_tests_only() -> None:
    row = Key("2.5", "-16")
    inside = Case("conformance/test_x.py::test_a", "scene.reply(-16)")
    outside = Case("integration/test_x.py::test_a", "scene.reply(-16)")
    other = Case("conformance/test_x.py::test_b", "x = 5-16")
    assert coverage([row], [inside, outside, other]) == {row: [inside.name]}


def test_a_row_without_test_or_reason_is_an_error() -> None:
    row = Key("4", "1")
    with pytest.raises(ValueError, match="4 row 1: no test cites it"):
        updated([("| 1 | a text | `a` |", row)], {row: []})
    reason = "| 1 | a text | **none**: no time |"
    assert updated([(reason, row)], {row: []}) == f"{reason}\n"
    assert updated([(reason, row)], {row: ["a"]}) == "| 1 | a text | `a` |\n"


def test_decorators_docstring_and_comments_belong_to_a_test(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        '@mark\ndef test_a():\n    """Doc."""\n    x = 1  # trap T1\n\n\ndef b(): ...\n',
        encoding="utf-8",
    )
    (one,) = all_tests(tmp_path)
    assert one.name == "test_one.py::test_a"
    assert one.source.startswith("@mark")
    assert one.source.endswith("# trap T1")
    assert one.docstring == "Doc."
