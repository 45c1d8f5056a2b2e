"""Crashes at random moments, with pushes that get lost: the history brings each of them, once.

The call centre pushes each message once; a third of the pushes find no connection. Its history is
sometimes unavailable. The bridge is killed again and again. In the end each message is in its room
exactly once.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest

from bridge.conversation.model import LinkRestored
from bridge.ids import RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.ports import Account, CallFailure
from bridge.rooms.store import StoreError
from bridge.webchat.codes import FailureReason
from bridge.webchat.http import HistoryEntry
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, said
from tests.fakes.link import FakeLink
from tests.unit.rooms.test_crashes import ROOMS, WORDS, Fate, FatefulWorld, Sender, live_and_die


class Remembering(FakeLink):
    """A call centre with a history.

    Attributes:
        lines: history of each room.
    """

    def __init__(self, fate: Fate) -> None:
        super().__init__(fate.disturb)
        self.lines: dict[RoomId, list[HistoryEntry]] = {room: [] for room in ROOMS}
        self._fate = fate

    async def history(self, account: Account, count: int) -> tuple[HistoryEntry, ...]:
        await self.disturb()
        if not self._fate.over and self._fate.dice.random() < 0.2:
            raise CallFailure(FailureReason.UNREACHABLE, certain=True)
        told = tuple(self.lines[account.room_id][-count:])
        await self.disturb()
        return told


class LossyWorld(FatefulWorld):
    """A world in which pushes may find no connection."""

    def __init__(self, fate: Fate) -> None:
        super().__init__(fate)
        self.centre = Remembering(fate)
        self.link = self.centre
        self.around.link = self.centre
        self._fate = fate

    def agent(self, room: RoomId) -> Sender:
        """The agent who writes in a room."""

        async def say(engine: Engine, number: int) -> None:
            lines = self.centre.lines[room]
            text = self._fate.dice.choice(["ok", f"answer {number}", f"answer {number}"])
            key = f"{len(lines)}"
            lines.append(HistoryEntry(key, MEI.id, "Mei", 2, text, self.clock.now()))
            if self._fate.dice.random() < 0.7:
                with suppress(StoreError, RuntimeError):
                    await engine.pushed(room, f"{room} {key}", said(text))

        return Sender(say)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(30))
async def test_each_missed_message_is_shown_exactly_once(seed: int) -> None:
    fate = Fate(seed)
    world = LossyWorld(fate)
    await live_and_die(world, fate, [world.agent(room) for room in ROOMS])
    async with world.running() as engine:
        for room in ROOMS:
            engine.signal(room, LinkRestored())
        await world.clock.turn(600)
        await quiet()
    for room in ROOMS:
        shown = Counter(text.rpartition("<br>")[2] for text in world.matrix.texts(room))
        assert shown == Counter(line.html for line in world.centre.lines[room])
        assert sum(shown.values()) >= WORDS
