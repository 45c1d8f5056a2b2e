"""The actor of a room: one stored input after the other, read and let happen.

A poisonous input (one that makes our own code fail) goes to the dead letters, its sender is told,
and the rest goes on: it never blocks what comes after it.
"""

from __future__ import annotations

import structlog

from bridge.ids import EventId, RoomId, UserId
from bridge.rooms import cards, robot, sealed
from bridge.rooms.inputs import (
    CardPosted,
    Entered,
    EntryFailed,
    Invited,
    MatrixEvent,
    RobotAnswered,
    Unreadable,
    Withdrew,
)
from bridge.rooms.ports import Refused, Unavailable, Undecryptable
from bridge.rooms.recalling import recall
from bridge.rooms.reception import (
    Facts,
    Standing,
    entered,
    entry_failed,
    needs_standing,
    receive,
)
from bridge.rooms.record import Membership
from bridge.rooms.references import newest, refers_to
from bridge.rooms.rules import Permission
from bridge.rooms.serial import load_input
from bridge.rooms.store import InputRow, StoreError
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit

ADMIN_LEVEL = 50
STANDING_TRIES = 3


class Actor:
    """Lets inputs happen to a visit; whoever made the visit commits it."""

    def __init__(self, room_id: RoomId, around: Surroundings) -> None:
        self._room_id = room_id
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=room_id
        )

    async def handle(self, visit: Visit, row: InputRow, *, may_wait: bool = True) -> bool:
        """Let one input happen.

        Args:
            visit: what happened so far, and what this adds.
            row: the input.
            may_wait: False if what happened so far must not wait for this.

        Returns:
            False if it would have to wait and may not: nothing happened.

        Raises:
            StoreError: the database did not answer; the visit is worth nothing then.
        """
        before, effects = visit.record, len(visit.effects)
        try:
            stored = load_input(row.body)
            if isinstance(stored, MatrixEvent):
                return await self._event(visit, stored.raw, row.received, may_wait=may_wait)
            if isinstance(stored, Entered):
                await self._entered(visit, stored, row)
            elif isinstance(stored, EntryFailed):
                entry_failed(visit, stored)
            elif isinstance(stored, CardPosted):
                cards.remember(visit, stored.card)
            elif isinstance(stored, RobotAnswered):
                robot.answered(visit, stored)
            else:
                visit.step(stored)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - logged whole and kept as a dead letter
            self._log.exception("an input could not be handled", seq=row.seq)
            visit.record = before
            del visit.effects[effects:]
            self.bury(visit, row, type(error).__name__)
        return True

    def bury(self, visit: Visit, row: InputRow, why: str) -> None:
        """Make a dead letter of an input, and tell its sender."""
        visit.buried.append((row.seq, why))
        self._tell(visit, row.key)

    async def try_again(self, visit: Visit) -> None:
        """Look whether events that could not be read can be now.

        Raises:
            StoreError: the database did not answer.
        """
        opened = []
        for event in visit.record.sealed:
            raw = await self._around.matrix.open(event.raw)
            if not isinstance(raw, Undecryptable):
                opened.append(event)
                await self._contained(visit, raw, visit.now)
        sealed.sorted_out(visit, opened)

    async def _entered(self, visit: Visit, entry: Entered, row: InputRow) -> None:
        """What was said before we came in is handled now, each event by itself."""
        for raw in entered(visit, entry):
            await self._contained(visit, raw, row.received)

    async def _contained(self, visit: Visit, raw: dict[str, object], received: int) -> None:
        """Let an event happen that is no row of its own."""
        before, effects = visit.record, len(visit.effects)
        try:
            await self._event(visit, raw, received, may_wait=True)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - logged whole, and its sender is told
            event_id = raw.get("event_id")
            self._log.exception("an event could not be handled", event_id=event_id)
            visit.record = before
            del visit.effects[effects:]
            self._tell(visit, event_id if isinstance(event_id, str) else None)

    @staticmethod
    def _tell(visit: Visit, key: str | None) -> None:
        if key is not None and key.startswith("$"):
            visit.report(EventId(key), "undelivered.internal")

    async def _event(
        self, visit: Visit, raw: dict[str, object], received: int, *, may_wait: bool
    ) -> bool:
        """Open an event and let it happen; False if its key is missing and it may not wait."""
        opened = await self._around.matrix.open(raw)
        if visit.record.membership is not Membership.JOINED:
            # As it came: it is parked if we are entering, and else none of our business.
            opened = raw
        elif isinstance(opened, Undecryptable) and opened.later:
            if not may_wait:
                return False
            patience = sealed.patience(received, self._around.clock.now())
            opened = await self._around.matrix.open(raw, patience)
            visit.now = self._around.clock.now()
        if isinstance(opened, Undecryptable):
            self._sealed(visit, raw, opened, received)
        else:
            await self._readable(visit, opened, received)
        return True

    def _sealed(
        self, visit: Visit, raw: dict[str, object], why: Undecryptable, received: int
    ) -> None:
        """Tell its sender that an event cannot be read, and keep it if its key may still come."""
        meaning = self._around.matrix.interpret(raw)
        if not isinstance(meaning, Unreadable):
            return
        meaning = Unreadable(meaning.event_id, meaning.sender, why.key)
        receive(visit, meaning, raw, received, Facts())
        if why.later:
            sealed.keep(visit, raw)

    async def _readable(self, visit: Visit, raw: dict[str, object], received: int) -> None:
        meaning = self._around.matrix.interpret(raw)
        standing, rooms = Standing.ORDINARY, 0
        person = needs_standing(visit, meaning)
        if person is not None:
            standing = await self._standing(visit, person)
        if isinstance(meaning, Invited):
            rooms = await self._around.store.rooms_of(meaning.by)
        about, earlier = refers_to(visit.record, meaning), None
        if about is not None:
            earlier = await recall(self._around, self._room_id, about)
        receive(visit, meaning, raw, received, Facts(standing, rooms, earlier))
        if isinstance(meaning, Withdrew):
            sealed.withdraw(visit, meaning.target)
            for event_id in (meaning.target, newest(visit.record, meaning.target)):
                await self._around.store.forget_body(self._room_id, event_id)

    async def _standing(self, visit: Visit, person: UserId) -> Standing:
        """May this person configure the room? Asked anew each time: it is rare, and may change."""
        if self._around.rules.permission(person) >= Permission.ADMIN:
            return Standing.ADMIN
        for attempt in range(STANDING_TRIES):
            try:
                level = await self._around.matrix.power_level(
                    self._room_id, visit.record.host, person
                )
            except Unavailable:
                await self._around.clock.sleep(attempt + 1)
            except Refused:
                return Standing.UNKNOWN
            else:
                return Standing.ADMIN if level >= ADMIN_LEVEL else Standing.ORDINARY
        return Standing.UNKNOWN
