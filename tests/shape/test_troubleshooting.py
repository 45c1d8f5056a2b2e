"""docs/troubleshooting.md agrees with the code: quoted messages exist, and every error has a row.

Its first column quotes messages as code or in "quotation marks"; `…` stands for variable parts, and
`name=value` for a field of a log line, whose name has to exist.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from bridge.texts import shipped

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
CELLS = [
    re.split(r"(?<!\\)\|", line)[1]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| you see", "| ---"))
]
OTHERS = {
    "M_CONNECTION_FAILED": "the homeserver's",
    "M_UNKNOWN_TOKEN": "the homeserver's",
    "M_EXCLUSIVE": "the homeserver's",
    "Address already in use": "the system's",
    "Name or service not known": "the system's",
    "Cannot assign requested address": "the system's",
    "insufficient privilege (42501": "asyncpg's and PostgreSQL's",
    "unique violation (23505": "asyncpg's and PostgreSQL's",
    "lock not available (55P03": "asyncpg's and PostgreSQL's",
    "program limit exceeded (54000": "asyncpg's and PostgreSQL's",
    "disk full (53100": "PostgreSQL's",
    "SQLite: file is not a database": "SQLite's",
    "database disk image is malformed": "SQLite's",
    "No such file or directory": "the system's",
    '{"content":': "a desk's",
}
"""Quoted messages of other programs, and whose they are."""

TOLD: dict[str, str] = {
    "ConfigUnreadable": "No such file",
    "ConfigInvalid": "unknown key",
    "RegistrationError": "cannot read",
    "RegistrationMissing": "cannot read",
    "HomeserverRefused": "refused the bridge",
    "Unauthorized": "the homeserver refuses the bridge …",
    "CannotListen": "cannot listen",
    "Unreachable": "cannot be reached",
    "AlreadyInUse": "another bridge is using this database",
    "CorruptDatabaseError": "is not a database",
    "NewerSchemaError": "the database has schema",
    "ForeignSchemaError": "the schema of another program",
    "Unsealable": "sealed with another",
    "StoreError": "transaction not stored",
    "Unstorable": "cannot be stored",
    "AddressRefused": "not in allowed_media_hosts",
    "NoSpace": "no temporary file can be written",
    "TokenRefused": "webchat token refused",
    "TakesNothing": "transaction not stored",
    "DiskFull": "disk full (53100)",
    "MovedError": "the database was moved to",
    "UnfinishedError": "the database is incomplete",
    "PartialError": "the database has a table",
    "DamagedBackup": "is not a backup of this program",
}
"""Error classes that operators see, and a part of their row."""
WITHIN = {
    "caught where it is raised for; nobody sees it": (
        "Stale NotOwned Shut Stopping NotJson NoSound _Absurd Unwanted LocalProtocolError"
    ),
    "what became of one message, which its room is told": (
        "CallFailure OpenFailure Unavailable NotStored BrokenOff Refused TooBig BadSetting BadOrder"
    ),
    "a key of the configuration, which `check` names like any other": (
        "NameTaken HoursError ZoneError"
    ),
    "the answer to whoever called the API or opened a page": "ApiError NotLetIn",
    "the answer to whoever typed that command": "BadSubject StillChatting",
    "a row of `doctor`, with its own fix": "Failed",
    "the simulator's answer to a script": "SoundError BadOpError Refusal",
    "of the demo, which prints it": "ServerError StepFailedError RefusedError",
}
"""Why the other error classes have no row."""


@cache
def nodes() -> list[ast.AST]:
    """Return all nodes of the code's syntax trees."""
    paths = sorted((ROOT / "bridge").rglob("*.py"))
    return [node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))]


@cache
def said() -> tuple[str, list[re.Pattern[str]]]:
    """Return all string literals of the code as one text, and its f-strings as patterns."""
    plain, patterns = [*shipped("en").values()], []
    comments = {id(node.value) for node in nodes() if isinstance(node, ast.Expr)}
    for node in nodes():
        if id(node) in comments:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            plain.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            patterns.append(_pattern([getattr(one, "value", "") for one in node.values]))
    return "\n".join(plain), [re.compile(one) for one in patterns if one]


def _pattern(parts: Sequence[object]) -> str:
    """Return a pattern from an f-string's parts, "" if fewer than 10 characters are constant."""
    words = [part if isinstance(part, str) else "" for part in parts]
    while words and not words[-1]:
        words.pop()
    if sum(map(len, words)) < 10:
        return ""
    return "".join(re.escape(word) or ".+?" for word in words).rstrip("\\ ")


@cache
def fields() -> set[str]:
    """Return the names of all keyword arguments, among them all fields of log lines."""
    return {node.arg for node in nodes() if isinstance(node, ast.keyword) and node.arg}


def quotations(cell: str) -> Iterator[str]:
    """Yield the constant parts of a cell's quotations."""
    pieces = cell.split("`")  # every second piece is code
    for quoted in (*pieces[1::2], *re.findall(r'"([^"]+)"', " ".join(pieces[::2]))):
        for part in re.split(r"…|\bwhy='(?:[a-z]+: )?", quoted):
            # Config errors begin with their key.
            yield re.sub(r"^[\w.]+: ", "", part.strip(" '():;,"))


def unsaid(part: str) -> bool:
    """Whether no message of the bridge has this part and no log field has its name."""
    if part in OTHERS or len(part) < 4:
        return False
    plain, patterns = said()
    words = re.sub(r"\s?\b(\w+)=(\S*)", "", part).strip()
    named = {found[1] for found in re.finditer(r"\b(\w+)=", part)}
    if named - fields():
        return True
    return len(words) >= 4 and words not in plain and not any(p.search(words) for p in patterns)


@pytest.mark.parametrize("cell", CELLS)
def test_quoted_messages_exist_in_the_code(cell: str) -> None:
    assert [part for part in quotations(cell) if unsaid(part)] == []


def test_the_check_detects_unknown_messages() -> None:
    assert list(quotations('log: `peer unreachable … part=x`, and `it is` "so"')) == [
        *("peer unreachable", "part=x", "it is", "so")
    ]
    assert unsaid("the moon is down")
    assert unsaid("nowhere_a_field=3")
    assert not unsaid("peer unreachable")


def errors_in_the_log() -> Iterator[str]:
    for node in nodes():
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        asked = ast.unparse(node.func.value).rpartition(".")[2].lstrip("_").lower()
        if node.func.attr in {"error", "exception", "critical"} and asked == "log":
            (text, *_) = node.args
            yield str(text.value) if isinstance(text, ast.Constant) else ast.unparse(text)


def test_every_logged_error_has_a_row() -> None:
    """Messages are found by their beginning; those that are no literals are listed here."""
    named = {
        "event": "somebody else has registered",
        "NOT_LOADED": "does not assign this user",
        "str(error)": "refused the bridge",  # HomeserverRefused
    }
    events = {named.get(event, event) for event in errors_in_the_log()}
    assert len(events) > 30
    rows = " ".join(CELLS)
    assert {event for event in events if event.split(";")[0].split(",")[0] not in rows} == set()


def test_every_error_class_has_a_row_or_a_reason() -> None:
    known: set[str] = {"Exception", "OSError", "ValueError"}
    classes = [node for node in nodes() if isinstance(node, ast.ClassDef)]
    for _ in range(4):  # subclasses of subclasses
        known |= {one.name for one in classes if {ast.unparse(base) for base in one.bases} & known}
    ours = known - {"Exception", "OSError", "ValueError"}
    reasons = {name for names in WITHIN.values() for name in names.split()}
    assert ours - TOLD.keys() - reasons == set()
    rows = " ".join(CELLS)
    assert {name for name in ours & TOLD.keys() if TOLD[name] not in rows} == set()
