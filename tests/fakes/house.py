"""A whole engine with a homeserver, a call centre and a database in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from bridge.conversation.model import Chatting, Conversation, Phase
from bridge.ids import AgentId, EventId, QueueId, RoomId, SessionId, UserId
from bridge.rooms.aside import AsideLane
from bridge.rooms.effects import Effect
from bridge.rooms.engine import Engine
from bridge.rooms.ports import TOMBSTONE, Others
from bridge.rooms.record import Chat, Membership, RoomRecord, dump_record, load_record
from bridge.rooms.room import LaneRunner
from bridge.rooms.rules import Rules
from bridge.rooms.store import EffectRow, Lane, NewEffect, StoredRoom
from bridge.rooms.surroundings import Surroundings, Upgrades
from bridge.rooms.to_matrix import MatrixLane
from bridge.rooms.to_webchat import WebChatLane
from bridge.rooms.visit import new_effect, recovered
from bridge.texts import CATALOGUE, LANGUAGES, Texts
from bridge.webchat.frames import Agent, AgentText, MessageReceived, Received
from tests.fakes import flow
from tests.fakes.clock import ManualClock, quiet
from tests.fakes.link import FakeLink
from tests.fakes.matrix import FakeMatrix
from tests.fakes.memory import MemoryStore
from tests.fakes.threads import AtOnce
from tests.unit.rooms.visits import ADA, BOT, RULES

ROOM = RoomId("!room:example.org")
MEI = Agent(AgentId("K00017"), "Mei")
SESSION = SessionId(5150)
LANES: dict[Lane, LaneRunner] = {
    Lane.WEBCHAT: WebChatLane(),
    Lane.MATRIX: MatrixLane(),
    Lane.ASIDE: AsideLane(),
}


WHOLE = ("agent.", "outage.late", "rating.")
"""Key prefixes of sentences kept in full: agents read them, or tests check their wording."""
KEYS = Texts(
    catalogue={
        key: whole if key.startswith(WHOLE) else dict.fromkeys(LANGUAGES, key)
        for key, whole in CATALOGUE.items()
    }
)
"""Texts in which every other sentence is replaced by its key."""


class Settled:
    """A labelled child of a histogram."""

    def __init__(self, counts: Counts, labels: tuple[str, ...]) -> None:
        self._counts = counts
        self._labels = labels

    def observe(self, amount: float) -> None:
        assert amount >= 0
        self._counts.settled(self._labels)


class Counts:
    """Implements `surroundings.Measures`.

    Attributes:
        settled_rows: labels (lane, outcome) of each settled row.
        phases: phases entered.
        chats: each change of a chat, before and after.
    """

    def __init__(self) -> None:
        self.settled_rows: list[tuple[str, ...]] = []
        self.phases: list[str] = []
        self.chats: list[tuple[Chat | None, Chat]] = []
        self.inputs = 0

    @property
    def handling(self) -> Counts:
        self.inputs += 1
        return self

    def delivery(self, *labels: str) -> Settled:
        return Settled(self, labels)

    def settled(self, labels: tuple[str, ...]) -> None:
        self.settled_rows.append(labels)

    def observe(self, amount: float) -> None:
        assert amount >= 0

    def phase_entered(self, phase: str) -> None:
        self.phases.append(phase)

    def chat_went_on(self, before: Chat | None, after: Chat) -> None:
        self.chats.append((before, after))


class World:
    """Everything that outlives an engine: peers, database, time."""

    def __init__(self, store: MemoryStore | None = None, rules: Rules = RULES) -> None:
        self.store = store or MemoryStore()
        self.writing = self.store.plain
        """The same database without injected faults."""
        self.matrix = FakeMatrix()
        self.link = FakeLink()
        self.clock = ManualClock()
        self.counts = Counts()
        self.rules = rules
        self.around = Surroundings(
            self.store,
            self.matrix,
            self.link,
            self.clock,
            msgspec.structs.replace(rules, texts=KEYS),
            self.counts,
            AtOnce(),
            instance="test",
        )
        self._events = 0

    def speak(self, texts: Texts) -> None:
        """Use real sentences instead of their keys."""
        self.around.rules = msgspec.structs.replace(self.around.rules, texts=texts)

    def engine(self, others: Others | None = None) -> Engine:
        """Return a new engine, as a start of the process creates it."""
        self.around.upgrades = Upgrades()
        return Engine({"": self.around}, LANES, linger=0, others=others)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        """Run an engine without threads, whose work virtual time would not wait for.

        Yield it once it is idle.
        """
        asyncio.get_running_loop().set_default_executor(AtOnce())
        engine = self.engine()
        undone, ready = await engine.undone(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(engine.run(undone, ready))
            await ready.wait()
            await quiet()
            try:
                yield engine
            finally:
                running.cancel()

    # --- stored rooms ------------------------------------------------------------------------

    async def chatting(self, room_id: RoomId = ROOM, **more: object) -> None:
        """Store a room with a chat in progress; `more`: fields of the phase `Chatting`."""
        phase = Chatting(SESSION, self.clock.now(), QueueId(1), (MEI,))
        phase = msgspec.structs.replace(phase, **more)
        await self.record(room_id, phase)

    async def record(self, room_id: RoomId, phase: Phase, deadline: int | None = None) -> None:
        """Store a served room in this phase, in which somebody has just written."""
        now = self.clock.now()
        conversation = Conversation(phase=phase, number=1, last_session=SESSION, watched_at=now)
        record = RoomRecord(
            room_id,
            membership=Membership.JOINED,
            host=BOT,
            customer=ADA,
            conversation=conversation,
        )
        live = isinstance(phase, Chatting)
        name = type(phase).__name__
        stored = StoredRoom(room_id, dump_record(record), live, name, deadline, ADA)
        await flow.step(self.writing, stored)

    async def owe(self, *effects: Effect | NewEffect) -> None:
        """Store effects of the room, as a step that was not carried out leaves them."""
        stored = (await self.writing.load(ROOM)).room
        assert stored is not None
        rows = [one if isinstance(one, NewEffect) else new_effect(one) for one in effects]
        await flow.step(self.writing, stored, effects=[row for row in rows if row is not None])

    async def stored(self, room_id: RoomId = ROOM) -> RoomRecord:
        """Return the room as recovered from the database."""
        found = await self.writing.load(room_id)
        assert found.room is not None
        return recovered(load_record(found.room.record), found)

    async def nothing_left(self) -> bool:
        """Whether the database has no open work."""
        return await self.writing.busy_rooms() == []

    async def open_rows(self, room_id: RoomId = ROOM) -> list[EffectRow]:
        return await flow.open_effects(self.writing, room_id)

    # --- inputs -----------------------------------------------------------------------------

    def event(
        self, kind: str = "say", text: str = "hello", room_id: RoomId = ROOM, **fields: object
    ) -> tuple[RoomId, EventId, dict[str, object]]:
        """Return an event of the customer for `Engine.accept_events`."""
        self._events += 1
        event_id = EventId(f"$e{self._events}")
        raw: dict[str, object] = {"event_id": event_id, "kind": kind, "sender": ADA, "text": text}
        if kind == "upgraded":
            raw["type"] = TOMBSTONE
        return room_id, event_id, raw | {"room_id": room_id} | fields

    def invitation(
        self, room_id: RoomId = ROOM, whom: UserId = BOT
    ) -> tuple[RoomId, EventId, dict[str, object]]:
        return self.event("invite", room_id=room_id, whom=whom)


def said(text: str) -> Received:
    """Return the push of an agent's text."""
    return Received(MessageReceived(SESSION, MEI.id, AgentText(text)))
