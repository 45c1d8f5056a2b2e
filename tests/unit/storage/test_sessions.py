"""The view `sessions`: the map of rooms to customer sessions, as an operator asks for it."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.conversation.model import Chatting, Conversation, Ended, Phase, Queued
from bridge.ids import AgentId, QueueId, RequestId, RoomId, SessionId
from bridge.rooms.record import RoomRecord, dump_record
from bridge.rooms.store import StoredRoom
from bridge.storage.query import Query, same
from bridge.storage.sqlstore import engine_for
from bridge.webchat.frames import Agent
from tests.fakes.flow import step
from tests.unit.storage.conftest import FixedClock, SqlOpener
from tests.unit.storage.rows import A, B

pytestmark = pytest.mark.asyncio

MOMENT = 1_700_000_000_000


def stored(
    room_id: RoomId,
    phase: Phase,
    customer: str = "@ann:example.org",
    place: RoomId | None = None,
) -> StoredRoom:
    record = RoomRecord(room_id, conversation=Conversation(phase=phase), place=place)
    name = type(phase).__name__
    return StoredRoom(room_id, dump_record(record), live=True, phase=name, customer=customer)


async def asked(url: str, sql: str) -> list[tuple[Any, ...]]:
    engine = engine_for(url, FixedClock())
    await engine.open()
    try:
        return [tuple(row) for row in await engine.read(Query(same(sql)))]
    finally:
        await engine.close()


async def test_a_session_is_found_by_any_of_its_names(url: str, open_sql: SqlOpener) -> None:
    people = (Agent(AgentId("a1"), 'Mei "M"'), Agent(AgentId("a2")))
    chatting = Chatting(SessionId(2**40), MOMENT, QueueId(3), people, request_id=RequestId(7))
    async with open_sql() as store:
        await step(store, stored(A, chatting), (), (), 1)
        await step(store, stored(B, Queued(QueueId(1), MOMENT, RequestId(8))), (), (), 1)
        upgraded = stored(RoomId("!first:x"), Ended(SessionId(9)), "", RoomId("!c:x"))
        await step(store, upgraded, (), (), 1)
    rows = await asked(
        url,
        "SELECT room_id, customer, phase, queue, request_id, session_id, agents FROM sessions "
        "ORDER BY room_id",
    )
    assert rows == [
        (A, "@ann:example.org", "Chatting", 3, 7, 2**40, 'Mei "M", a2'),
        (B, "@ann:example.org", "Queued", 1, 8, None, None),
        ("!c:x", None, "Ended", None, None, 9, None),
    ]
    ((since,),) = await asked(url, "SELECT since FROM sessions WHERE session_id = 1099511627776")
    assert str(since).startswith("2023-11-14 22:13:20")


async def test_view_names_the_call_centre_of_a_room(url: str, open_sql: SqlOpener) -> None:
    async with open_sql() as store:
        for room_id, enterprise in ((A, "acme"), (B, "")):
            record = RoomRecord(room_id, enterprise=enterprise)
            await step(store, StoredRoom(room_id, dump_record(record), False, "Idle"), (), (), 1)
    found = await asked(url, "SELECT room_id, enterprise FROM sessions ORDER BY room_id")
    assert found == [(A, "acme"), (B, None)]


async def test_a_text_that_databases_refuse_does_not_hide_the_rooms(
    url: str, open_sql: SqlOpener
) -> None:
    """PostgreSQL reads no JSON that contains an escaped NUL."""
    parked: dict[str, object] = {"content": {"body": "a\0b", "other": "\\u0000"}}
    conversation = Conversation(Queued(QueueId(1), MOMENT, RequestId(8)))
    record = RoomRecord(A, parked=(parked,), conversation=conversation)
    async with open_sql() as store:
        await step(store, StoredRoom(A, dump_record(record), True, "Queued"), (), (), 1)
    assert await asked(url, "SELECT room_id, request_id FROM sessions") == [(A, 8)]
