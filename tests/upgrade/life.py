"""The bridge's engine over a real database, with a fake homeserver and call centre.

Only `Life` knows how an engine is created over a store, and when it is idle.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from bridge.ids import AgentId, EventId, RequestId, RoomId, SessionId
from bridge.rooms.engine import Engine
from bridge.rooms.ports import Meaning, Undecryptable
from bridge.rooms.receipts import PAUSE
from bridge.rooms.store import Outcome
from bridge.webchat.frames import (
    Agent,
    AgentText,
    ChatStarted,
    MessageReceived,
    Push,
    QueueStatus,
    Received,
    SendMessage,
    SendPreMessage,
    Text,
)
from bridge.webchat.http import RobotAnswer
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, SESSION
from tests.fakes.link import FakeLink
from tests.fakes.matrix import Posted
from tests.fakes.reading import Json, ReadingMatrix, ReadingWorld
from tests.unit.rooms.visits import ADA, BOT, RULES

REQUEST = RequestId(9001)
MEI = Agent(AgentId("K00017"), "Mei")
BUSY = RULES.limits.model_copy(update={"messages_per_minute": 1000})
RULES_HERE = msgspec.structs.replace(RULES, limits=BUSY, robot=True, language="en")
RECEIPT = int(PAUSE) + 1
"""Seconds until the newest read receipt is sent."""
PATIENCE = 60.0
"""Maximum seconds until the engine is idle."""


class LockedMatrix(ReadingMatrix):
    """A homeserver with encrypted events.

    Attributes:
        keys: decrypted events by event id; others have no key.
        stuck: if True, sends are carried out but never answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Json] = {}
        self.stuck = False

    async def open(
        self, raw: Json, patience: float | None = None, *, ask: bool = True
    ) -> Json | Undecryptable:
        if raw["type"] != "m.room.encrypted":
            return raw
        found = self.keys.get(str(raw["event_id"]))
        return found or Undecryptable("unreadable.no_key", later=True)

    def interpret(self, raw: Json) -> Meaning:
        if raw["event_id"] in self.poison:
            raise KeyError(raw["event_id"])
        return super().interpret(raw)

    async def _post(self, *args: Any) -> EventId:
        posted = await super()._post(*args)
        if self.stuck:
            await asyncio.Event().wait()
        return posted


class RobotLink(FakeLink):
    """A call centre with a robot.

    Attributes:
        questions: questions asked.
        robot: answers wait until it is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[str] = []
        self.robot = asyncio.Event()
        self.robot.set()

    async def ask_robot(self, question: str) -> tuple[RobotAnswer, ...]:
        self.questions.append(question)
        await self.robot.wait()
        return (RobotAnswer(question, "It is in the box."),)


class Memory(msgspec.Struct, frozen=True):
    """The state that outlives an engine beside the database: time, and the homeserver's events."""

    now: int
    """ms since the epoch."""
    posted: tuple[tuple[str, Posted], ...] = ()
    """Events of the bridge, each with its transaction id."""


class Life:
    """A process of the bridge: an engine over a store."""

    def __init__(self, store: Any, memory: Memory | None = None) -> None:
        self.store = store
        self.matrix = LockedMatrix()
        self.link = RobotLink()
        self.world = world = ReadingWorld(RULES_HERE)
        world.store, world.matrix, world.link = store, self.matrix, self.link
        world.reading = self.matrix
        around = world.around
        around.store, around.matrix, around.link = store, self.matrix, self.link
        self._engine: Engine | None = None
        self._known = self._reads = 0
        self._rounds = itertools.count()
        read = store._read

        async def counted(*query: Any) -> Any:
            self._reads += 1
            try:
                return await read(*query)
            finally:
                self._reads -= 1

        store._read = counted
        if memory is not None:
            world.clock._now = memory.now
            posted = {(one.room_id, txn_id): one for txn_id, one in memory.posted}
            self.matrix._by_transaction = posted
            self.matrix.posted = [posted for _, posted in memory.posted]
            self._known = len(memory.posted)

    @property
    def new(self) -> list[Posted]:
        """Events that the bridge posted since the start."""
        return self.matrix.posted[self._known :]

    def memory(self) -> Memory:
        """Return the state for the next process."""
        known = self.matrix._by_transaction.items()
        return Memory(self.world.clock.now(), tuple((txn_id, one) for (_, txn_id), one in known))

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Engine]:
        """Run the engine; cancel it at the end, like a kill."""
        self._engine = engine = self.world.engine()
        undone, ready = await engine.undone(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(engine.run(undone, ready))
            await ready.wait()
            try:
                yield engine
            finally:
                running.cancel()

    async def rest(self) -> None:
        """Wait until the engine is idle."""
        async with asyncio.timeout(PATIENCE):
            calm = 0
            while calm < 3:
                before = self._seen()
                waiting = await self._round()
                calm = calm + 1 if not waiting and before == self._seen() else 0

    async def _round(self) -> int:
        """Run until all pending reads and writes are done; return the open rows in the database.

        The virtual time does not advance, however long the database takes.
        """
        reading = True
        while reading:
            await quiet()
            await self.store.save_fact("test", str(next(self._rounds)))
            await quiet()
            reading = self._reads > 0
        backlog = await self.store.backlog()
        await quiet()
        return sum(
            depth.count for (_, what), depth in backlog.items() if what != Outcome.DEAD.value
        )

    async def passes(self, seconds: int) -> None:
        """Advance the time second by second, running everything that is due."""
        for _ in range(seconds):
            await self.world.clock.turn(1)
            await self._round()
        await self.rest()

    def _seen(self) -> tuple[int, ...]:
        matrix = self.matrix
        return (len(self.link.calls), len(matrix.requests), len(matrix.signs))

    # --- inputs -----------------------------------------------------------------------------

    async def take(self, *events: tuple[RoomId, EventId, Json]) -> None:
        """Process a transaction of the homeserver until the engine is idle."""
        await self.engine.accept_events(events)
        await self.rest()

    async def push(self, key: str, push: Push, room: RoomId = ROOM) -> None:
        """Process a push of the call centre until the engine is idle."""
        await self.engine.pushed(room, key, Received(push, rs_id=key))
        await self.rest()

    # --- results ----------------------------------------------------------------------------

    def heard(self, room: RoomId = ROOM) -> list[tuple[int, str]]:
        """Return call id and text of all messages that reached the call centre."""
        found = []
        for call in self.link.calls:
            if call.room_id != room:
                continue
            if isinstance(call.command, SendPreMessage):
                found.append((int(call.call_id), call.command.text))
            if isinstance(call.command, SendMessage):
                content = call.command.content
                words = content.text if isinstance(content, Text) else type(content).__name__
                found.append((int(call.call_id), words))
        return found

    def commands(self, room: RoomId = ROOM) -> list[tuple[int, str]]:
        """Return call id and type of all commands that reached the call centre."""
        calls = [call for call in self.link.calls if call.room_id == room]
        return [(int(call.call_id), type(call.command).__name__) for call in calls]

    def shown(self, room: RoomId = ROOM) -> list[str]:
        """Return the agents' texts posted to the room since the start, in order."""
        return [
            one.text
            for one in self.new
            if one.room_id == room and one.sender.startswith("@webchat_")
        ]

    def read_by_mei(self, room: RoomId = ROOM) -> str | float:
        """Return the event id of the agent's last read receipt (or a typing time)."""
        ghost = self.matrix.ghost_of(MEI)
        return [sign for where, who, sign in self.matrix.signs if (where, who) == (room, ghost)][-1]

    def told(self, room: RoomId = ROOM) -> list[tuple[str, str | None]]:
        """Return the bot's texts since the start, each with the event that it edits or answers."""
        return [
            (one.text, one.edits or one.reply_to)
            for one in self.new
            if one.room_id == room and one.sender == BOT
        ]


def message(
    event_id: str, text: str, room: RoomId = ROOM, more: Json | None = None
) -> tuple[RoomId, EventId, Json]:
    """Return a customer's text; `more`: further fields of its content."""
    content: Json = {"msgtype": "m.text", "body": text, **(more or {})}
    return event("m.room.message", event_id, content, room)


def event(
    kind: str, event_id: str, content: Json, room: RoomId = ROOM, **more: object
) -> tuple[RoomId, EventId, Json]:
    """Return an event of the customer for `Engine.accept_events`."""
    raw: Json = {
        "type": kind,
        "event_id": event_id,
        "room_id": room,
        "sender": ADA,
        "origin_server_ts": 1_733_011_200_000,
        "content": content,
        **more,
    }
    return room, EventId(event_id), raw


def invitation(event_id: str, room: RoomId = ROOM) -> tuple[RoomId, EventId, Json]:
    content: Json = {"membership": "invite", "is_direct": True}
    return event("m.room.member", event_id, content, room, state_key=BOT)


def started(session: int = SESSION) -> ChatStarted:
    return ChatStarted(SessionId(session), (MEI,))


def said(text: str, session: int = SESSION) -> MessageReceived:
    return MessageReceived(SessionId(session), MEI.id, AgentText(text))


def place(position: int) -> QueueStatus:
    return QueueStatus(REQUEST, 0, position)
