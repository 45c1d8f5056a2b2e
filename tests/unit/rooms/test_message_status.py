"""What clients are told of each message's fate by an event, where the operator wants that."""

from __future__ import annotations

import msgspec
import pytest

from bridge.webchat.frames import Reply
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World
from tests.unit.rooms.visits import RULES

pytestmark = pytest.mark.asyncio
TELLING = msgspec.structs.replace(RULES, status_events=True)


async def test_each_message_once_at_its_end() -> None:
    world = World(rules=TELLING)
    await world.chatting()
    async with world.running() as engine:
        world.link.answers += [Reply(110, 1), Reply(110, -16)]
        await engine.accept_events([world.event(text="one"), world.event(text="two")])
        await quiet()
    assert world.link.texts(ROOM) == ["one", "two"]
    first, second = (content for _, content, _ in world.matrix.statuses)
    assert first == {
        "m.relates_to": {"rel_type": "m.reference", "event_id": "$e1"},
        "network": f"org.matrix_webchat://webchat/{RULES.bot}",
        "status": "SUCCESS",
    }
    assert second["m.relates_to"] == {"rel_type": "m.reference", "event_id": "$e2"}
    assert (second["status"], second["error"]) == ("FAIL_PERMANENT", "result.-16")
    assert len({txn_id for _, _, txn_id in world.matrix.statuses}) == 2
    assert await world.nothing_left()


async def test_nothing_is_told_unasked() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await quiet()
    assert world.link.texts(ROOM) == ["one"]
    assert world.matrix.statuses == []
