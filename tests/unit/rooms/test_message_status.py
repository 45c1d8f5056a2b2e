"""Reports of events that are not delivered; status events, if the operator enables them."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest

from bridge.ids import EventId
from bridge.rooms.ports import Status, Unavailable
from bridge.rooms.record import dump_record, load_record
from bridge.webchat.frames import Reply
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World
from tests.unit.rooms.visits import BOT, RULES

pytestmark = pytest.mark.asyncio
TELLING = msgspec.structs.replace(RULES, status_events=True)


async def test_a_report_is_a_reply_unless_clients_show_none() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event("unreadable")])
        await quiet()
        await engine.accept_events([world.event("unreadable", key="unreadable.call")])
        await quiet()
    notice, call = world.matrix.posted
    assert (notice.text, notice.reply_to) == ("unreadable.kind", EventId("$e1"))
    assert notice.sender == BOT
    assert (call.text, call.reply_to) == ("unreadable.call", None), "Element shows no reply to one"


async def test_a_verification_is_answered_and_cancelled() -> None:
    """By the user who was asked, or the customer's app shows it as pending for ever."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event("unreadable", key="unreadable.verification")])
        await quiet()
    told, cancelled = world.matrix.posted
    assert (told.text, told.reply_to) == ("unreadable.verification", "$e1")
    assert (cancelled.text, cancelled.sender, cancelled.reply_to) == ("cancel", BOT, "$e1")


@pytest.mark.parametrize("direct", [True, False])
async def test_a_call_is_declined_where_nobody_else_can_take_it(direct: bool) -> None:
    """Else it rings for a minute, and Element's call hides the answer. It is announced twice."""
    world = World()
    await world.chatting()
    found = (await world.store.load(ROOM)).room
    assert found is not None
    record = msgspec.structs.replace(load_record(found.record), direct=direct)
    await flow.step(world.store, msgspec.structs.replace(found, record=dump_record(record)))
    async with world.running() as engine:
        call = partial(world.event, "unreadable", key="unreadable.call", rings=True)
        await engine.accept_events([call()])
        await quiet()
        await engine.accept_events([call()])
        await quiet()
    declined = [("cancel", "$e1"), ("cancel", "$e2")] if direct else []
    posted = [(one.text, one.reply_to) for one in world.matrix.posted]
    assert posted == [("unreadable.call", None), *declined]


async def test_each_message_gets_one_status_event() -> None:
    world = World(rules=TELLING)
    await world.chatting()
    async with world.running() as engine:
        world.link.answers += [Reply(110, 1), Reply(110, -16), Reply(110, 0)]
        events = [world.event(text=text) for text in ("one", "two", "three")]
        await engine.accept_events(events)
        await quiet()
    assert world.link.texts(ROOM) == ["one", "two", "three"]
    network = f"org.matrix_webchat://webchat/{RULES.bot}"
    assert [status for _, status, _ in world.matrix.statuses] == [
        Status(EventId("$e1"), network),
        Status(EventId("$e2"), network, "result.-16"),
        Status(EventId("$e3"), network, "undelivered.server_failed", again=True),
    ]
    assert len({txn_id for _, _, txn_id in world.matrix.statuses}) == 3
    assert await world.nothing_left()


async def test_no_status_events_unless_enabled() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await quiet()
    assert world.link.texts(ROOM) == ["one"]
    assert world.matrix.statuses == []


async def test_status_events_are_known_as_events_of_the_bridge() -> None:
    """To `trace`, and to an erasure that redacts the bridge's events."""
    world = World(rules=TELLING)
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await quiet()
    assert await world.store.eraser.events_of(ROOM) == ["$e1", "$status1"]


async def test_status_events_wait_for_a_restarting_homeserver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(rules=TELLING)
    await world.chatting()
    tell, back = world.matrix.tell_status, world.clock.now() + 45_000

    async def away(*args: Any) -> EventId:
        if world.clock.now() < back:
            raise Unavailable("it starts")
        return await tell(*args)

    monkeypatch.setattr(world.matrix, "tell_status", away)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one"), world.event(text="two")])
        for _ in range(20):
            await world.clock.turn(5)
    assert [one.event_id for _, one, _ in world.matrix.statuses] == ["$e1", "$e2"]


async def test_a_long_message_gets_one_status_event() -> None:
    world = World(rules=TELLING)
    await world.chatting()
    async with world.running() as engine:
        world.link.answers += [Reply(110, 1), Reply(110, -77)]
        await engine.accept_events([world.event(text="word " * 3_000)])
        await quiet()
        assert len(world.link.texts(ROOM)) > 1
    ((_, status, _),) = world.matrix.statuses
    assert (status.event_id, status.why) == ("$e1", "undelivered.refused")
