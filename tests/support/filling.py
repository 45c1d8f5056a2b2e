"""Fill a database with rooms, to test the bridge after years of service."""

from __future__ import annotations

from bridge.conversation.machine import deadline, wants_link
from bridge.conversation.model import Chatting, Conversation, Ended
from bridge.conversation.turn import Policy
from bridge.ids import AgentId, QueueId, RoomId, SessionId, UserId
from bridge.rooms.record import Membership, RoomRecord, dump_record
from bridge.rooms.store import Commit, StoredRoom
from bridge.rooms.surroundings import SystemClock
from bridge.storage.sqlstore import open_store
from bridge.webchat.frames import Agent
from tests.fakes.flow import every

_AT_ONCE = 500
"""Rooms per commit."""


async def fill(url: str, rooms: int, *, chatting: int) -> None:
    """Store `rooms` rooms, the last `chatting` of them with a chat in progress."""
    clock = SystemClock()
    async with open_store(url, clock) as store:
        numbers = range(rooms)
        for start in range(0, rooms, _AT_ONCE):
            stored = [
                _stored(number, clock.now(), live=number >= rooms - chatting)
                for number in numbers[start : start + _AT_ONCE]
            ]
            await every(store, [Commit(room.room_id, clock.now(), room) for room in stored])


def _stored(number: int, now: int, *, live: bool) -> StoredRoom:
    room_id = RoomId(f"!room-{number}:localhost")
    session = SessionId(1_000_000 + number)
    phase: Chatting | Ended = Ended(session)
    if live:
        phase = Chatting(
            session, since=now, queue_id=QueueId(1), agents=(Agent(AgentId("A00001"), "Mei"),)
        )
    conversation = Conversation(
        phase=phase, number=1, next_call=10, last_session=session, last_closed=not live
    )
    record = RoomRecord(
        room_id,
        membership=Membership.JOINED,
        host=UserId("@webchatbot:localhost"),
        customer=UserId(f"@customer-{number}:localhost"),
        displayname=f"Customer {number}",
        conversation=conversation,
    )
    return StoredRoom(
        room_id,
        dump_record(record),
        live=wants_link(conversation),
        phase=type(phase).__name__,
        deadline=deadline(conversation, Policy()),
        customer=record.customer,
    )
