"""The rows of the protocol reference and the tests that cover each: docs/protocol-coverage.md.

In the document, the rows, their titles and the reasons for rows without a test (`**none**: why`)
are written by hand, the test column by `python -m tests.protocol_coverage`. A test cites a row by:

- `test_24_…` in its name: row 24 of the conformance tests (reference 7), `test_38_39_…` two rows;
- `test_row_24_…` in its name: row 24 of the table (reference 4);
- `trap T23`, `traps T8 and T12` in its docstring or a comment: a trap (reference 6);
- `Row 24:`, `Rows 10 and 26:` in the docstring: further rows of the list that its name refers to;
- `table row 24` in its code, docstring or comments: a row of the table (reference 4);
- a number of the protocol (reference 1 and 2), or its name in the bridge, in its source: see WIRE;
- its name in ALSO, if no other way applies.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from bridge.webchat.codes import NoticeType, RequestStatus, ResultCode

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "protocol-coverage.md"
SHOWN = 3
"""Maximum number of tests named for a row; the rest are only counted."""
WIRE_FOLDERS = ("conformance", "unit/webchat", "unit/conversation", "unit/link", "unit/matrix")
"""Folders of tests in which such a number in code is one of the protocol."""


class Key(NamedTuple):
    """A row: the section of the reference, and its number or letter there (`24`, `T23`, `-16`)."""

    section: str
    row: str


# --- patterns of protocol numbers in code --------------------------------------------------------


def _numbered(section: str, pattern: str, names: Mapping[str, str]) -> dict[Key, str]:
    """Return a section's patterns: a row's names in the bridge, or its number in frames."""
    return {
        Key(section, row): "|".join(
            filter(None, (name and rf"\b(?:{name})\b", pattern.format(row)))
        )
        for row, name in names.items()
    }


def _members(kind: type[IntEnum], *unknown: str) -> dict[str, str]:
    named = {str(one.value): rf"{kind.__name__}\.{one.name}" for one in kind}
    return named | dict.fromkeys(unknown, "")


WIRE: Mapping[Key, str] = {
    # Small numbers are too ambiguous: search for names only.
    Key("1.2", "1"): r"\bLoginType\.PASSWORD\b",
    Key("1.2", "3"): r"\bLoginType\.REGISTER\b",
    Key("1.2", "4"): r"\bLoginType\.VISITOR\b",
    Key("1.2", "2"): r"\bLogout\b",
    Key("1.2", "10"): r"\bHeartbeat\b",
    **_numbered(
        "1.2",
        r'(?:"type": |commands\(\w+, |\.sent\(){}\b',
        {
            "101": "RequestChat",
            "102": "CancelRequest",
            "103": "CloseSession",
            "104": "RateSession",
            "110": "SendMessage",
            "111": "SendPreMessage",
            "112": "Preview",
            "113": "Typing",
            "120": "Receipt",
            "302": "TransferFromRobot",
        },
    ),
    **_numbered(
        "1.4",
        r'(?:"type": |push\(){}\b',
        {
            "200": "InitConfig",
            "201": "QueueStatus",
            "202": "ChatStarted",
            "203": "RatingPushed",
            "204": "AgentsUpdated",
            "205": "SessionClosed",
            "210": "MessageReceived",
            "301": "RobotMessage",
            "302": "",
        },
    ),
    **_numbered(
        "1.5",
        r'"msg": \{{"type": {}\b',
        {
            "1": "Text|AgentText|TEXT",
            "2": "Image|AgentImage|IMAGE",
            "3": "File|AgentFile|FILE",
            "4": "Location|AgentLocation|LOCATION",
            "5": "Voice|AgentVoice|VOICE",
            "6": "Video|AgentVideo|VIDEO",
            "11": "HQ_VOICE",
            "99": "AgentNotice|SYSTEM_NOTICE",
        },
    ),
    **_numbered(
        "2.2",
        r'(?:"noticeType": |notice_type=|NoticeType\(){}\b',
        _members(NoticeType, "120"),
    ),
    Key("2.2", "none"): "no noticeType",
    **_numbered(
        "2.3",
        r'(?:"requestStatus": |requestStatus=|QueueStatus\([^)]*, ){}\b',
        _members(RequestStatus, "42"),
    ),
    **{
        # A negative number is a result code unless it is an index, as in `cards[-1]`.
        Key("2.5", str(code.value)): rf"\bResultCode\.{code.name}\b"
        + (rf"|(?<![\w.-])(?!(?<=\[){code.value}\]){code.value}\b" if code < 0 else "")
        for code in ResultCode
    },
    Key("2.5", "other"): r"result\.other|-77\b|-99\b",
}

# --- rows tested under another name --------------------------------------------------------------

ALSO = """\
1.3 minimal: test_12_request_id_arrives_by_201 test_reply_minimal_and_full
1.3 queued: test_13_pre_message_is_sent_at_once
1.3 continued: test_a_continued_session_has_the_pre_messages test_37_continued_session
1.3 session: test_row_12_session_in_the_reply_waits_for_202
1.3 robot: test_33_robot_session_starts_with_the_reply
1.3 permanent: test_36_permanent_session_needs_no_202
1.3 refused: test_a_refused_reply_may_have_a_request_id
1.4 302: test_302_without_result_is_a_push
1.5 6 11: test_other_media
2.3 0 1 2 3 4 5 6 7 11 42: test_every_end_of_a_request_has_its_own_sentence
2.5 0 -3 -4 -5 -6 -7 -8 -9 -10 -11 -12 -13 -14 -16 -17 -18: test_a_request_for_an_agent_is_refused
2.5 -19 -20 -21 -22 -23 -30 -31 -32 -33 -34 -35 other: test_a_request_for_an_agent_is_refused
4 2: test_01_login_body test_08_handshake_refused
4 4: test_05_html_error_page_is_not_a_refusal test_05b_unreachable_server
4 5 31: test_70_link_lost_in_chat
4 7: test_12_request_id_arrives_by_201 test_13_pre_message_is_sent_at_once
4 8: test_14_status_arrives_before_the_reply
4 9: test_12_request_id_arrives_by_201 test_20_file_is_uploaded_while_queued
4 11: test_36_permanent_session_needs_no_202
4 13: test_24_already_routing
4 14: test_25_already_chatting_in_the_known_session test_26_already_chatting_in_an_unknown_session
4 15: test_27_text_outside_working_hours_is_kept
4 18: test_18_pre_messages_are_not_sent_again test_20_file_is_uploaded_while_queued
4 19: test_17_unchanged_position_is_not_shown_again
4 23: test_49_session_invalid test_72_unanswered_message_is_sent_again_and_marked
4 23: test_an_answer_to_another_call_changes_nothing
4 29: test_47_ended_session_can_be_rated
4 29b: test_51_close_by_customer test_52_closing_a_lost_session_succeeds
4 34: test_70_link_lost_in_chat test_delays_double_up_to_the_last test_links_cut_under_load
4 37: test_64_receipt_only_after_storing test_65_receipt_for_each_copy
6 T6: test_text test_57_file_as_json_text
6 T7: test_43_text_2016 test_44_text_2019
6 T8: test_data_or_address test_55_jpeg_as_base64
6 T9: test_type test_every_container_becomes_what_either_side_plays
6 T10: test_80_ids_as_strings test_integer
6 T11: test_call_id_fits_into_an_int test_call_ids_stay_below_two_to_the_31
6 T12: test_79_reply_without_id
6 T13: test_result test_only_result_1_is_success
6 T16: test_the_customer_is_removed_from_users
6 T18: test_flag_true test_chat_started
6 T26: test_login_body test_login_body_of_other_dialects
6 T31: test_32_status_11_is_not_an_error
6 T36: test_extensions
7 66: test_bridge_killed_20_times_under_load
7 60: test_notice_types test_typing_pushed_every_second_is_shown_every_three_seconds
7 60: test_typing_ends_with_the_agents_message"""
"""One line each: section, rows, and names of tests."""

# --- reading the tests ---------------------------------------------------------------------------

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
    """Its source code with decorators, docstring and comments."""
    docstring: str = ""


def all_tests(folder: Path = TESTS) -> list[Case]:
    """Return all test functions below a folder, ordered by file."""
    found = []
    for path in sorted(folder.rglob("test_*.py")):
        if path.parent == Path(__file__).parent:
            continue  # its examples are not citations
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
                name = f"{path.relative_to(folder).as_posix()}::{node.name}"
                source = "\n".join(lines[first - 1 : node.end_lineno])
                found.append(Case(name, source, ast.get_docstring(node) or ""))
    return found


def cited(test: Case) -> set[Key]:
    """Return the rows of behaviour that a test cites."""
    name = test.name.partition("::")[2]
    rows: set[Key] = set()
    own = ""
    if numbered := _NUMBERED.match(name):
        own = "7"
        rows |= {Key(own, str(int(part[:2]))) for part in numbered[1].split("_") if part}
    elif in_table := _TABLE_NAME.match(name):
        own = "4"
        rows.add(Key(own, in_table[1]))
    for match in _TABLE_ROWS.finditer(test.source):
        rows |= {Key("4", row) for row in _listed(match[1])}
    if own:
        for match in _ROWS.finditer(_TABLE_ROWS.sub("", test.docstring)):
            rows |= {Key(own, row) for row in _listed(match[1])}
    for match in _TRAPS.finditer(test.source):
        rows |= {Key("6", row.upper()) for row in re.findall(r"T\d+", match[1], re.IGNORECASE)}
    return rows


def _listed(text: str) -> Iterator[str]:
    """Yield the rows of a list: `10 and 26` -> 10, 26; `30 to 34` -> 30 … 34."""
    for part in re.split(r", | and ", text):
        first, _, last = part.partition(" to ")
        if last:
            yield from (str(number) for number in range(int(first), int(last) + 1))
        else:
            yield first


def coverage(rows: Sequence[Key], tests: Sequence[Case]) -> dict[Key, list[str]]:
    """Return the tests that cover each row, those of `conformance` first.

    Raises:
        ValueError: a test cites an unknown row.
    """
    covered: dict[Key, set[str]] = {row: set() for row in rows}
    marks = [(row, re.compile(WIRE[row])) for row in rows if row in WIRE]
    for test in tests:
        for row in cited(test):
            if row not in covered:
                raise ValueError(f"{test.name} cites {row.section} row {row.row}: unknown")
            covered[row].add(test.name)
        if test.name.startswith(WIRE_FOLDERS):
            for row, mark in marks:
                if mark.search(test.source):
                    covered[row].add(test.name)
    return {
        row: sorted(names, key=lambda name: (not name.startswith("conformance"), name))
        for row, names in covered.items()
    }


def with_also(covered: Mapping[Key, list[str]], tests: Sequence[Case]) -> dict[Key, list[str]]:
    """Return the coverage with the tests named in ALSO.

    Raises:
        ValueError: ALSO names an unknown row or test.
    """
    by_name: dict[str, list[str]] = {}
    for test in tests:
        by_name.setdefault(test.name.partition("::")[2], []).append(test.name)
    result = dict(covered)
    for line in ALSO.splitlines():
        left, _, names = line.partition(": ")
        section, *keys = left.split(" ")
        if unknown := set(names.split()) - set(by_name):
            raise ValueError(f"ALSO: there is no test {', '.join(sorted(unknown))}")
        for row in (Key(section, key) for key in keys):
            if row not in covered:
                raise ValueError(f"ALSO: there is no row {row.row} in {section}")
            more = (name for test in names.split() for name in by_name[test])
            result[row] = [*dict.fromkeys((*result[row], *more))]
    return result


# --- the document --------------------------------------------------------------------------------

_HEADING = re.compile(r"## .* \((\d[\d.]*)\)")
_ROW = re.compile(r"\| (-?\w+) \| (.+?) \| (.*) \|")
_NONE = "**none**: "


def document() -> list[tuple[str, Key | None]]:
    """Return the lines of the document, each with its row, None for other lines."""
    section, lines = "", []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if heading := _HEADING.fullmatch(line):
            section = heading[1]
        row = _ROW.fullmatch(line)
        lines.append((line, Key(section, row[1]) if row and section else None))
    return lines


def rows_of(lines: Sequence[tuple[str, Key | None]]) -> list[Key]:
    return [row for _, row in lines if row is not None]


def updated(lines: Sequence[tuple[str, Key | None]], covered: Mapping[Key, list[str]]) -> str:
    """Return the document with an updated test column.

    Raises:
        ValueError: rows, one per line of the message, have neither a test nor a reason.
    """
    done = sum(bool(names) for names in covered.values())
    written, wrong = [], []
    for line, row in lines:
        match = _ROW.fullmatch(line)
        if match is None or row is None:
            written.append(re.sub(r"^\d+ of \d+ rows", f"{done} of {len(covered)} rows", line))
            continue
        names, shown = covered[row], match[3]
        if names:
            shown = "<br>".join(f"`{name}`" for name in names[:SHOWN])
            shown += f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        elif not shown.startswith(_NONE):
            wrong.append(f"{row.section} row {row.row}: no test cites it, and no reason is given")
        written.append(f"| {row.row} | {match[2]} | {shown} |")
    if wrong:
        raise ValueError("\n".join(wrong))
    return "\n".join(written) + "\n"


def up_to_date() -> str:
    """Return the up-to-date document."""
    lines, tests = document(), all_tests()
    return updated(lines, with_also(coverage(rows_of(lines), tests), tests))
