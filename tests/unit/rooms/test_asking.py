"""How customers are asked for a rating."""

from __future__ import annotations

from typing import cast

import pytest

from bridge.conversation.effects import AskRating
from bridge.ids import EventId, SessionId
from bridge.rooms.asking import Asking
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import CardKind, RoomRecord, RoomSettings
from bridge.rooms.worker import Worker
from tests.fakes.house import ROOM, World
from tests.unit.rooms.visits import BOT

ASK = AskRating(SessionId(5150), ((1, "good"), (0, "bad")))


class Room:
    """As much of a worker as asking needs."""

    room_id = ROOM
    record = RoomRecord(ROOM, host=BOT, settings=RoomSettings(language="en"))


WORKER = cast("Worker", Room())


@pytest.mark.asyncio
async def test_a_rating_is_asked_in_words_and_as_a_poll() -> None:
    world = World()
    event_id, posted = await Asking(world.around).rating(WORKER, ASK, "t")
    sentence, question = world.matrix.texts(ROOM)
    assert "1 — good\n0 — bad" in sentence
    assert "!wc rate 1" in sentence
    assert question == "How satisfied are you with this chat?"
    assert [one.card.event_id for one in posted] == [one.event_id for one in world.matrix.posted]
    assert posted[0].card.event_id == event_id
    assert {one.card.choices for one in posted} == {(1, 0)}
    assert {one.card.kind for one in posted} == {CardKind.RATING}


@pytest.mark.asyncio
async def test_a_repeat_asks_once() -> None:
    world = World()
    asking = Asking(world.around)
    first = await asking.rating(WORKER, ASK, "t")
    assert await asking.rating(WORKER, ASK, "t") == first
    assert len(world.matrix.texts(ROOM)) == 2


@pytest.mark.asyncio
async def test_without_polls_the_words_do(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def refuse(*_: object) -> EventId:
        raise Refused("M_FORBIDDEN")

    monkeypatch.setattr(world.matrix, "poll", refuse)
    _, posted = await Asking(world.around).rating(WORKER, ASK, "t")
    assert len(posted) == 1


@pytest.mark.asyncio
async def test_a_homeserver_that_is_away_is_asked_again() -> None:
    world = World()
    world.matrix.trouble.append(Unavailable("away"))
    with pytest.raises(Unavailable):
        await Asking(world.around).rating(WORKER, ASK, "t")
