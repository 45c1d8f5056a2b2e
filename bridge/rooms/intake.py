"""What comes into the engine: the homeserver's events, the call centre's pushes, and signs of life.

Events and pushes are stored before anything else is done with them, once each. Who is typing is
not: it is over before it could be read from a database, and nothing is lost with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from hashlib import sha256
from math import ceil

import structlog

from bridge.conversation.inputs import LinkLost, LinkRestored, Pushed, TurnAwaited
from bridge.ids import EventId, RoomId, UserId
from bridge.rooms.inputs import MatrixEvent
from bridge.rooms.serial import dump_input
from bridge.rooms.store import InputRow, NewInput, Unstorable
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.worker import Worker
from bridge.webchat.codes import NoticeType
from bridge.webchat.frames import AgentNotice, MessageReceived, Received


class Intake:
    """The engine's entrance. Implements `ports.LinkEvents`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms")

    # --- the homeserver -----------------------------------------------------------------------

    async def accept_events(
        self, events: Sequence[tuple[RoomId, EventId, dict[str, object]]]
    ) -> int:
        """Store events, once each; returns how many were new, when they are durable.

        An event that the database can never hold is logged and dropped, for the homeserver would
        send it for ever, and nothing after it.

        Raises:
            StoreError: not all was stored; the homeserver has to keep the transaction.
        """
        inputs = [
            NewInput(room_id, dump_input(MatrixEvent(raw)), key=event_id)
            for room_id, event_id, raw in events
        ]
        left = await self._at_once(inputs)
        taken = len(inputs) - len(left)
        if not left:
            return taken
        now = self._around.clock.now()
        try:
            rows = await self._around.store.accept(left, now)
        except Unstorable:
            rows = await self._accept_possible(left, now)
        self._wake(left, rows)
        return taken + len(rows)

    async def _at_once(self, inputs: Sequence[NewInput]) -> list[NewInput]:
        """Have rooms at rest handle their inputs at once; returns those that are to be stored.

        All rooms step side by side, so that the store commits them together.
        """
        by_room: dict[RoomId, list[NewInput]] = {}
        for one in inputs:
            by_room.setdefault(one.room_id, []).append(one)
        taken = await asyncio.gather(
            *(self._worker(room_id).at_once(found) for room_id, found in by_room.items())
        )
        left = {room_id for room_id, took in zip(by_room, taken, strict=True) if not took}
        return [one for one in inputs if one.room_id in left]

    async def _accept_possible(self, inputs: Sequence[NewInput], now: int) -> list[InputRow]:
        rows = []
        for one in inputs:
            try:
                rows += await self._around.store.accept([one], now)
            except Unstorable as error:
                self._log.error(
                    "an event cannot be stored and is dropped",
                    event_id=one.key,
                    room=one.room_id,
                    why=str(error),
                )
        return rows

    def typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        """Who is typing in a room now; of rooms without a worker nobody needs to know."""
        worker = self._at_work(room_id)
        if worker is not None:
            worker.typist.people_type(users)

    async def key_came(self, room_id: RoomId) -> None:
        """A key for the room's messages is there."""
        self._worker(room_id).key_came()

    # --- the call centre ----------------------------------------------------------------------

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        """Store a push of WebChat's, once; returns when it is durable."""
        if (sign := _sign_of_typing(received)) is not None:
            self._worker(room_id).agent_types(sign.session_id, sign.agent_id)
            return
        now = self._around.clock.now()
        push = Pushed(received.push, now, numbered=bool(received.rs_id))
        new = NewInput(room_id, dump_input(push), key=key)
        if await self._worker(room_id).at_once([new]):
            return
        try:
            rows = await self._around.store.accept([new], now)
        except Unstorable:  # the server's own id in the key; any text that is as unique will do
            digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
            new = NewInput(room_id, new.body, key=f"wc:{digest}")
            rows = await self._around.store.accept([new], now)
        self._wake([new], rows)

    async def restored(self, room_id: RoomId) -> None:
        """The room's link was lost and stands again."""
        self._worker(room_id).signal(LinkRestored(self._around.clock.now()))

    async def lost(self, room_id: RoomId) -> None:
        """The room's link has been away for long."""
        self._worker(room_id).signal(LinkLost())

    async def queued(self, room_id: RoomId, seconds: float) -> None:
        """The room's link waits for its login's turn."""
        self._worker(room_id).signal(TurnAwaited(ceil(seconds)))

    # --- waking ---------------------------------------------------------------------------------

    def _wake(self, inputs: Sequence[NewInput], rows: Sequence[InputRow]) -> None:
        """Hand new rows to their rooms, in the order in which the store numbered them.

        What was there before has been handed over, unless the answer to an earlier attempt was
        lost: then only the store knows of it.
        """
        by_room: dict[RoomId, list[InputRow]] = {}
        for row in rows:
            by_room.setdefault(row.room_id, []).append(row)
        for room_id, found in by_room.items():
            self._worker(room_id).take(found)
        if len(rows) < len(inputs):
            new = {row.key for row in rows}
            for room_id in {one.room_id for one in inputs if one.key not in new}:
                self._worker(room_id).look()

    def _worker(self, room_id: RoomId) -> Worker:
        """The room's one worker, made if there is none."""
        raise NotImplementedError

    def _at_work(self, room_id: RoomId) -> Worker | None:
        """The room's worker, if there is one."""
        raise NotImplementedError


def _sign_of_typing(received: Received) -> MessageReceived | None:
    """The push, if all it says is that an agent is typing: system notice 5 (reference 2.2)."""
    push = received.push
    if not isinstance(push, MessageReceived) or not isinstance(push.content, AgentNotice):
        return None
    return push if push.content.notice_type == NoticeType.TYPING else None
