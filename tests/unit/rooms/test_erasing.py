"""No copy of a redacted message stays in the ledger or in a record."""

from __future__ import annotations

import msgspec
import pytest

from bridge.config.model import TellAgents
from bridge.ids import EventId, RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.references import ERASE_EVERY, ERASING_LIMIT, erasing_due
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM
from tests.fakes.memory import MemoryStore
from tests.fakes.reading import ReadingWorld
from tests.unit.rooms.visits import RULES

pytestmark = pytest.mark.asyncio
BUSY = RULES.limits.model_copy(update={"messages_per_minute": 1000})
ENGLISH = msgspec.structs.replace(RULES, language="en", limits=BUSY)
Event = tuple[RoomId, EventId, dict[str, object]]
SECRET = "my long number is 4711 0815"


def word(world: ReadingWorld, text: str, event_id: str) -> Event:
    return world.message(event_id, msgtype="m.text", body=text)


def corrected(world: ReadingWorld, text: str, event_id: str) -> Event:
    new = {"msgtype": "m.text", "body": text}
    relation = {"rel_type": "m.replace", "event_id": "$1"}
    content = {"m.new_content": new, "m.relates_to": relation}
    return world.message(event_id, msgtype="m.text", body=f"* {text}", **content)


def taken_back(world: ReadingWorld, event_id: str = "$1", by: str = "$back") -> Event:
    return world.real("m.room.redaction", by, {}, redacts=event_id)


async def happens(engine: Engine, *events: Event) -> None:
    await engine.accept_events(events)
    await quiet()


async def a_minute(world: ReadingWorld) -> None:
    await world.clock.turn(ERASE_EVERY / 1000)
    await quiet()


def kept(world: ReadingWorld) -> str:
    """All bodies of the ledger, and all records."""
    store: MemoryStore = world.store
    rows = store.rows("journal")
    bodies = [row[column] or b"" for row in rows for column in ("body", "effect")]
    records = [row["record"] for row in store.rows("rooms")]
    return b"\n".join([*bodies, *records]).decode()


async def chat() -> ReadingWorld:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    return world


async def test_every_wording_of_a_redacted_message_is_erased() -> None:
    world = await chat()
    async with world.running() as engine:
        await happens(engine, word(world, SECRET, "$1"))
        await happens(engine, corrected(world, SECRET.replace("4711", "4712"), "$2"))
        await happens(engine, corrected(world, SECRET.replace("4711", "4713"), "$3"))
        await happens(engine, taken_back(world))
        assert "4711" not in kept(world)
        assert "4712" not in kept(world)
        await a_minute(world)
    assert "471" not in kept(world)
    assert world.link.texts(ROOM)[-1].startswith("(took back a message from ")
    assert erasing_due(await world.stored()) is None
    assert (await world.stored()).corrections == ()


async def test_a_message_redacted_while_under_way_is_erased() -> None:
    """It is written to the ledger after its redaction."""
    world = await chat()
    async with world.running() as engine:
        await happens(engine, word(world, SECRET, "$1"), taken_back(world))
        await a_minute(world)
    assert "4711" not in kept(world)


async def test_a_message_waiting_for_its_reply_is_erased_only_after_it() -> None:
    world = await chat()
    world.link.gate.clear()
    async with world.running() as engine:
        await happens(engine, word(world, SECRET, "$1"))
        await happens(engine, taken_back(world))
        await a_minute(world)
        assert "4711" in kept(world)  # a crash now must find what may have to be sent again
        world.link.gate.set()
        await quiet()
        await a_minute(world)
        await a_minute(world)
    assert "4711" not in kept(world)


async def test_a_call_that_has_just_ended_is_erased_too() -> None:
    """Its outcome is written with the next commit: until then it counts as under way."""
    world = ReadingWorld(msgspec.structs.replace(ENGLISH, tell=TellAgents(withdrawals=False)))
    await world.chatting()
    world.link.gate.clear()
    async with world.running() as engine:
        await happens(engine, word(world, SECRET, "$1"))
        await happens(engine, taken_back(world))
        engine._linger = 60
        await world.clock.turn(ERASE_EVERY / 1000 - 0.01)
        world.link.gate.set()
        await a_minute(world)
        await a_minute(world)
    assert "4711" not in kept(world)


async def test_a_restart_forgets_nothing_that_is_to_be_erased() -> None:
    world = await chat()
    world.link.gate.clear()
    async with world.running() as engine:
        await happens(engine, word(world, SECRET, "$1"))
        await happens(engine, taken_back(world))
    assert "4711" in kept(world)  # it was under way
    world.link.gate.set()
    async with world.running():
        await a_minute(world)
        await a_minute(world)
    assert "4711" not in kept(world)


async def test_the_number_of_pending_erasures_is_limited() -> None:
    world = await chat()
    async with world.running() as engine:
        for number in range(ERASING_LIMIT):
            await happens(engine, taken_back(world, f"$a{number}", f"$b{number}"))
        assert len((await world.stored()).erasing) == ERASING_LIMIT
