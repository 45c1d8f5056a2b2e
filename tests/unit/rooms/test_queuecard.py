"""The second line of the queue card."""

from __future__ import annotations

import pytest

from bridge.conversation.model import QueuePlace
from bridge.ids import QueueId
from bridge.rooms.cards import second_line
from bridge.rooms.surroundings import Waits
from bridge.texts import LANGUAGES, Texts
from tests.unit.rooms.test_waits import QUEUE, T0, waited

MINUTE = 60_000


def place(
    position: int | None, first: int | None, *, moved: int = 0, known: int = 0, since: int = 0
) -> QueuePlace:
    """Times are minutes ago."""
    ago = {"first_at": T0 - known * MINUTE, "moved_at": T0 - moved * MINUTE}
    return QueuePlace(QUEUE, T0, T0 - since * MINUTE, position, first, **ago)


def experienced() -> Waits:
    """Two minutes a place, more or less."""
    waits = Waits()
    for seconds in (90, 120, 150, 120, 100, 140):
        waited(waits, seconds, 1)
    return waits


def line(where: QueuePlace, waits: Waits | None = None, language: str = "en") -> str:
    return second_line(Texts(), language, where, waits or Waits())


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (place(3, 3), ""),
        (place(3, 3, moved=4, known=4, since=4), "waiting for 4 minutes"),
        (QueuePlace(QUEUE, T0, T0, 1, 2, T0 - 5, T0), ""),
        (place(None, None, since=2), "waiting for 2 minutes"),
        (place(0, None, since=2), "waiting for 2 minutes"),
    ],
)
def test_the_way_so_far(where: QueuePlace, says: str) -> None:
    assert line(where) == says


def test_what_is_to_be_expected() -> None:
    assert line(place(1, 1), experienced()) == "expected from here: 1–3 minutes (an estimate)"
    assert line(place(5, 5), experienced()) == "expected from here: 5–15 minutes (an estimate)"
    late = line(place(1, 1, moved=9, known=9, since=9), experienced())
    assert "it takes longer than usual" in late
    assert "0" not in line(place(1, 1, moved=2, known=2, since=2), experienced()).split("·")[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_every_language(language: str) -> None:
    where = place(2, 4, moved=1, known=6, since=8)
    shown = line(where, experienced(), language)
    assert shown.count(" · ") == 1
    assert "{" not in shown


def test_another_queue_is_another_matter() -> None:
    other = QueuePlace(QueueId(2), T0, T0, 1, 1, T0, T0)
    assert line(other, experienced()) == ""
