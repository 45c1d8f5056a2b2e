"""Settings changed in every way at once stay consistent while the bridge crashes at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from bridge.ids import EventId, RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.record import Order
from bridge.rooms.rules import as_strings, settings_of_event
from tests.unit.rooms.test_crashes import (
    PATIENT_RULES,
    ROOMS,
    WORDS,
    Fate,
    FatefulWorld,
    Sender,
    live_and_die,
)


def senders(world: FatefulWorld, values: dict[EventId, str]) -> list[Sender]:
    """Senders of commands, state events and orders per room; each has a setting of its own.

    `values`: gets what each event sets.
    """

    def commands(room: RoomId) -> Callable[[Engine, int], Awaitable[object]]:
        typed = [
            world.event(text=f"!wc config set text.greeting c{number}", room_id=room)
            for number in range(WORDS)
        ]
        values.update({event_id: f"c{number}" for number, (_, event_id, _) in enumerate(typed)})
        return lambda engine, number: engine.accept_events([typed[number]])

    def states(room: RoomId) -> Callable[[Engine, int], Awaitable[object]]:
        contents: list[dict[str, object]] = [
            {"texts": {"closed": f"s{number}"}} for number in range(WORDS)
        ]
        sent = [world.event("configure", content=one, room_id=room) for one in contents]
        values.update({event_id: f"s{number}" for number, (_, event_id, _) in enumerate(sent)})

        def deliver(engine: Engine, number: int) -> Awaitable[object]:
            if contents[number]:  # set in the room when it is sent
                world.matrix.configured[room] = contents[number]
                contents[number] = {}
            return engine.accept_events([sent[number]])

        return deliver

    def orders(room: RoomId) -> Callable[[Engine, int], Awaitable[object]]:
        return lambda engine, number: engine.order(
            room, Order("operator", "api", f"config set text.ended o{number}")
        )

    return [Sender(make(room)) for room in ROOMS for make in (commands, states, orders)]


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(10))
async def test_settings_audit_and_state_event_agree(seed: int) -> None:
    fate = Fate(seed)
    world = FatefulWorld(fate, PATIENT_RULES)
    world.matrix.level = 50
    values: dict[EventId, str] = {}
    await live_and_die(world, fate, senders(world, values))
    for room in ROOMS:
        settings = (await world.stored(room)).settings
        told = (await world.writing.changes(room, limit=10_000))[::-1]
        replayed: dict[str, str] = {}
        for one in told:
            assert replayed.pop(one.key, "") == one.before
            if one.after:
                replayed[one.key] = one.after
        assert replayed == as_strings(settings)
        assert settings_of_event(world.matrix.configured[room], PATIENT_RULES) == settings
        times = Counter((one.way, one.after) for one in told if one.after)
        # A change is refused if the homeserver did not tell in time who may configure the room.
        refused = Counter(
            values[one.reply_to]
            for one in world.matrix.posted
            if one.room_id == room and one.text == "refused.standing_unknown"
            if one.reply_to in values
        )
        for way, kind in (("command", "c"), ("state", "s")):
            ends = [f"{kind}{number}" for number in range(WORDS)]
            assert [times[way, one] + refused[one] for one in ends] == [1] * WORDS
        # An order is repeated after a StoreError, though it may have been stored.
        assert all(times["api", f"o{number}"] for number in range(WORDS))
