"""The queue card: its two lines, of which the second tells the wait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, cast

import pytest

from bridge.config.hours import parse_hours
from bridge.conversation.model import Card, Queued, TurnAwaited
from bridge.conversation.turn import Policy
from bridge.ids import EffectSeq, QueueId
from bridge.rooms.cards import second_line
from bridge.rooms.record import RoomRecord, RoomSettings
from bridge.rooms.store import EffectRow, Lane
from bridge.rooms.surroundings import Surroundings, Waits
from bridge.rooms.to_matrix import MatrixLane
from bridge.rooms.visit import new_effect
from bridge.texts import LANGUAGES, Texts
from bridge.webchat.codes import FailureReason, RequestStatus
from tests.fakes.house import ROOM, World
from tests.support.scene import REQUEST, Scene
from tests.unit.rooms.test_waits import QUEUE, T0, waited
from tests.unit.rooms.visits import BOT

if TYPE_CHECKING:
    from bridge.rooms.room import Room

MINUTE = 60_000


def place(position: int | None, *, moved: int = 0, since: int = 0) -> Queued:
    """Times are minutes ago."""
    return Queued(QUEUE, T0 - since * MINUTE, position=position, moved_at=T0 - moved * MINUTE)


def experienced() -> Waits:
    """Waits of about two minutes per position."""
    waits = Waits()
    for seconds in (90, 120, 150, 120, 100, 140):
        waited(waits, seconds, 1)
    return waits


def line(where: Queued, waits: Waits | None = None, language: str = "en") -> str:
    return second_line(Texts(), language, where, waits or Waits(), T0)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (place(3), ""),
        (place(3, moved=4, since=4), "waiting for 4 minutes"),
        (place(None, since=2), "waiting for 2 minutes"),
        (place(0, since=2), "waiting for 2 minutes"),
    ],
)
def test_the_second_line_tells_the_wait_so_far(where: Queued, says: str) -> None:
    assert line(where) == says


def test_the_second_line_tells_the_expected_wait() -> None:
    assert line(place(1), experienced()) == "expected from here: 1–3 minutes (an estimate)"
    assert line(place(5), experienced()) == "expected from here: 5–15 minutes (an estimate)"
    late = line(place(1, moved=9, since=9), experienced())
    assert "it takes longer than usual" in late
    assert "0" not in line(place(1, moved=2, since=2), experienced()).split("·")[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_second_line_exists_in_every_language(language: str) -> None:
    where = place(2, moved=1, since=8)
    shown = line(where, experienced(), language)
    assert shown.count(" · ") == 1
    assert "{" not in shown


def test_waits_of_one_queue_say_nothing_of_another() -> None:
    other = Queued(QueueId(2), T0, position=1, moved_at=T0)
    assert line(other, experienced()) == ""


# --- the whole card -----------------------------------------------------------------------------

OPEN = "daily 09:00-10:00 Asia/Shanghai"
ENDS = (
    *(-3, -5, 0, -4, -7, -30, -77, "login_refused"),
    *(RequestStatus(status) for status in (2, 3, 4, 5, 6)),
)


class SomeRoom:
    """The attributes of a room that the lane uses for a card."""

    room_id, served_since = ROOM, 0

    def __init__(self, around: Surroundings, language: str) -> None:
        self.around = around
        self.record = RoomRecord(ROOM, host=BOT, settings=RoomSettings(language=language))

    def rows(self, lane: Lane) -> tuple[EffectRow, ...]:
        del lane
        return ()

    async def anchor(self, name: str) -> None:
        del name


def every_card(*, hours: bool, callback: bool, start_on_message: bool) -> Iterator[Card]:
    """Every card of a request, for each way in which it can end."""
    opening = {QueueId(1): parse_hours(OPEN)} if hours else {}
    policy = Policy(hours=opening, callback=callback, start_on_message=start_on_message)
    for end in ENDS:
        scene = Scene(policy)
        scene.start()
        scene.happen(TurnAwaited(30))
        scene.text("hello")
        if isinstance(end, RequestStatus):
            scene.reply(requestId=REQUEST, queueLength=3)
            scene.reply()
            scene.later(120)
            scene.push(201, requestId=REQUEST, requestStatus=end)
        elif isinstance(end, str):
            scene.fail(FailureReason(end))
        else:
            scene.reply(end, message="本店春节放假，2月10日恢复\n谢谢 " * 20)
        scene.call_back()
        scene.cancel()
        scene.begin()
        yield from (one for one in scene.effects if isinstance(one, Card))
    scene = Scene(policy)
    scene.start()
    scene.text("hello")
    scene.reply(requestId=REQUEST, queueLength=3)
    scene.text("two")
    scene.cancel()
    scene.reply()
    scene.reply()
    yield from (one for one in scene.effects if isinstance(one, Card))


@pytest.mark.asyncio
@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_card_has_two_lines_at_most_whatever_it_says(language: str) -> None:
    """In all states and languages; and no sentence twice."""
    cards = [
        card
        for hours, callback, on_message in product((True, False), repeat=3)
        for card in every_card(hours=hours, callback=callback, start_on_message=on_message)
    ]
    told = {card.key for card in cards}
    assert {"queue.turn", "queue.position", "queue.closed", "queue.cancelled", "status.2"} <= told
    assert {"callback.offer", "callback.promised", "queue.later"} <= {
        key for card in cards for key in card.below
    }
    world = World()
    world.speak(Texts())
    for _ in range(6):
        waited(world.around.waits, 120, 1)
    room = cast("Room", SomeRoom(world.around, language))
    for number, card in enumerate(cards):
        new = new_effect(card)
        assert new is not None
        row = EffectRow(EffectSeq(number), ROOM, Lane.MATRIX, new.effect, world.clock.now())
        await MatrixLane().run(room, row)
    shown = [one.text for one in world.matrix.posted]
    assert len(shown) == len(cards)
    for text in shown:
        lines = text.split("\n")
        assert len(lines) <= 2, text
        assert all(line.strip() for line in lines), text
        sentences = [one for one in re.split(r"[.。!！]\s*", text) if one.strip()]
        assert len(sentences) == len(set(sentences)), text
