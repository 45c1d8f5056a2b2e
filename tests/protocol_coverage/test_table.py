"""Every row of the protocol has a test or a reason, and the document says what the tests say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocol_coverage.citations import Case, all_tests, cited, coverage
from tests.protocol_coverage.document import DOCUMENT, ROWS, NotCovered, check, found, text
from tests.protocol_coverage.elsewhere import NOT_COVERED
from tests.protocol_coverage.rows import Row, Section


def a_test(name: str, docstring: str = "") -> Case:
    return Case(f"conformance/test_x.py::{name}", f'"""{docstring}"""', docstring)


def test_the_document_is_up_to_date() -> None:
    covered = found()
    check(covered)
    written = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    assert written == text(covered), "run: python -m tests.protocol_coverage"


def test_no_row_is_listed_twice() -> None:
    keys = [(row.section, row.key) for row in ROWS]
    assert len(keys) == len(set(keys))
    assert {row.section for row in ROWS} == set(Section)


@pytest.mark.parametrize(
    ("name", "docstring", "expected"),
    [
        ("test_24_already_routing", "Row 24: …", {(Section.TESTS, "24")}),
        ("test_02b_wrong_sign", "", {(Section.TESTS, "2")}),
        ("test_38_39_people", "Rows 38 and 39", {(Section.TESTS, "38"), (Section.TESTS, "39")}),
        ("test_53_210_html", "", {(Section.TESTS, "53")}),
        ("test_row_29b_closing", "", {(Section.TABLE, "29b")}),
        ("test_row_10_robot", "Rows 10 and 26.", {(Section.TABLE, "10"), (Section.TABLE, "26")}),
        (
            "test_73_restart",
            "Row 73, table rows 30 to 32.",
            {(Section.TESTS, "73"), *((Section.TABLE, key) for key in ("30", "31", "32"))},
        ),
        ("test_words", "Traps T8, T9 and T10.", {(Section.TRAPS, f"T{n}") for n in (8, 9, 10)}),
        ("test_words", "A row 7 of what?", set()),
    ],
)
def test_citations(name: str, docstring: str, expected: set[tuple[Section, str]]) -> None:
    assert cited(a_test(name, docstring)) == expected


def test_a_row_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="7 row 99: unknown"):
        coverage(ROWS, [a_test("test_99_imagined")])


def test_a_number_of_the_wire_is_found_in_code_of_the_protocols_tests_only() -> None:
    row = Row(Section.RESULTS, "-77", "x", (r"(?<![\w.-])-77\b",))
    inside = Case("conformance/test_x.py::test_a", "scene.reply(-77)", "")
    outside = Case("integration/test_x.py::test_a", "scene.reply(-77)", "")
    other = Case("conformance/test_x.py::test_b", "x = 5-77", "")
    assert coverage([row], [inside, outside, other]) == {(Section.RESULTS, "-77"): [inside.name]}


def test_what_is_missing_is_told() -> None:
    covered = {key: [] if key not in NOT_COVERED else names for key, names in found().items()}
    with pytest.raises(NotCovered, match="4 row 1: no test cites it"):
        check(covered)


def test_a_reason_that_is_out_of_date_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.protocol_coverage.document.NOT_COVERED", {(Section.TABLE, "1"): "no time"}
    )
    with pytest.raises(NotCovered, match="4 row 1: has tests now"):
        check({(Section.TABLE, "1"): ["a"]})


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
