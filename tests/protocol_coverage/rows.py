"""A row of the protocol reference: something that a server does, or that a client must do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Section(StrEnum):
    """The parts of the reference whose rows are counted, by their numbers there."""

    COMMANDS = "1.2"
    REPLIES = "1.3"
    PUSHES = "1.4"
    CONTENT = "1.5"
    NOTICES = "2.2"
    STATUSES = "2.3"
    RESULTS = "2.5"
    TABLE = "4"
    TRAPS = "6"
    TESTS = "7"


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        section: where it stands.
        key: its number or letter there, such as `24`, `29b`, `T23`, `-16`.
        title: what it is about, in our words.
        marks: regular expressions; a test whose source one of them matches covers the row. Only
            for numbers of the wire: the rows of behaviour are cited by their tests.
    """

    section: Section
    key: str
    title: str
    marks: tuple[str, ...] = ()


def numbered(section: Section, titles: Mapping[str, str]) -> Iterable[Row]:
    """Rows of behaviour, which tests cite."""
    for key, title in titles.items():
        yield Row(section, key, title)


def wire(
    section: Section, entries: Iterable[tuple[int, str, str]], also: str = "", members_of: str = ""
) -> Iterable[Row]:
    """Rows that are a number on the wire.

    Args:
        section: where they stand.
        entries: number, the names in our code (joined by `|`), title.
        also: a pattern with `{}` for the number, as it is written in frames.
        members_of: the enumeration whose members the names are, where they are words of others too.
    """
    for number, names, title in entries:
        owner = rf"{members_of}\." if members_of else ""
        marks = (rf"\b{owner}(?:{names})\b",) if names else ()
        written = (also.format(number),) if also else ()
        yield Row(section, str(number), title, (*marks, *written))
