"""The steps of one room: some inputs, what they come to, and one commit for all of it.

Only after the commit does anything happen outside. If its answer is lost the room is read again
before the next step, so that a commit that did happen is gone on from and one that did not is made
again. A value that the database can never hold is traced to its input, which becomes a dead letter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from bridge.conversation.deadlines import deadline
from bridge.conversation.inputs import LinkRestored, Tick
from bridge.conversation.machine import wants_link
from bridge.conversation.model import Chatting, Queued, Requesting
from bridge.rooms import people, reception, sealed
from bridge.rooms.actor import Actor
from bridge.rooms.mirror import Mirror
from bridge.rooms.record import Membership, RoomRecord, dump_record
from bridge.rooms.serial import outbox_row
from bridge.rooms.store import InputRow, Step, StoredRoom, StoreError, Unstorable
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit

BATCH = 32
"""Inputs that one commit may settle."""
AGAIN = 1_000
"""ms until a Tick that changed nothing is repeated, if its moment has come all the same."""

Signal = Tick | LinkRestored


class Stepper:
    """Makes the steps of one room; `once` must not run twice at a time.

    Args:
        mirror: what of the room is in memory.
        around: the store and whatever a step may ask.
        reading: held while the room is read.
        due: told the moment, ms since the epoch, at which the room wants a Tick.
    """

    def __init__(
        self,
        mirror: Mirror,
        around: Surroundings,
        reading: asyncio.Semaphore,
        due: Callable[[int], None],
    ) -> None:
        self._mirror = mirror
        self._around = around
        self._reading = reading
        self._due = due
        self._actor = Actor(mirror.room_id, around)
        self._signals: deque[Signal] = deque()
        self._singly = False
        """One of the inputs holds what cannot be stored: find out which."""
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=mirror.room_id
        )

    def signal(self, happened: Signal) -> None:
        """Something that need not be stored: it would be noticed again after a restart."""
        if happened not in self._signals:
            self._signals.append(happened)

    @property
    def has_work(self) -> bool:
        """True if `once` has something to do."""
        return self._mirror.behind or self._mirror.has_inputs or bool(self._signals)

    async def once(self) -> bool:
        """Read the room if that is needed, else make one step; False if there is nothing to do.

        Raises:
            StoreError: nothing was done, as far as anybody knows; call again.
        """
        if self._mirror.behind:
            async with self._reading:
                await self._mirror.catch_up(self._around.store)
            self._announce()
            return True
        if not self.has_work:
            return False
        signals, rows = self._choose()
        visit = self._visit()
        done = await self._handle(visit, signals, rows)
        try:
            await self._commit(visit, done)
        except Unstorable:
            await self._unstorable(signals, done)
        else:
            for _ in signals:
                self._signals.popleft()
            self._singly = self._singly and not done
        return True

    def _choose(self) -> tuple[list[Signal], list[InputRow]]:
        signals = list(self._signals)
        if not self._singly:
            return signals, self._mirror.inputs(BATCH)
        return signals, [] if signals else self._mirror.inputs(1)

    def _visit(self) -> Visit:
        return Visit(self._mirror.record, self._around.rules, self._around.clock.now())

    async def _handle(
        self, visit: Visit, signals: Sequence[Signal], rows: Sequence[InputRow]
    ) -> list[InputRow]:
        """Let it all happen to the visit; returns the inputs that did."""
        for signal in signals:
            visit.step(signal)
        if signals:
            reception.passed(visit)
        if signals and self._mirror.record.sealed:
            await self._actor.try_again(visit)
        done: list[InputRow] = []
        for row in rows:
            alone = not (done or signals)
            if not await self._actor.handle(visit, row, may_wait=alone):
                break
            done.append(row)
        return done

    # --- committing -------------------------------------------------------------------------

    async def _commit(self, visit: Visit, done: Sequence[InputRow]) -> None:
        """Store what the visit came to, and let it take effect.

        Raises:
            StoreError: the mirror is behind now.
        """
        old = self._mirror.record
        if not done and not visit.effects and visit.record == old:
            self._announce(visit.now + AGAIN)
            return
        buried = {seq for seq, _ in visit.buried}
        step = Step(
            self._stored(visit.record),
            [row.seq for row in done if row.seq not in buried],
            [row for row in map(outbox_row, visit.effects) if row is not None],
            visit.now,
            visit.buried,
        )
        try:
            rows = await self._around.store.commit_step(step)
        except StoreError:
            self._mirror.behind = True
            raise
        self._mirror.committed(visit.record, done, rows)
        self._note_phase(old, visit.record, visit.now)
        for row in done:
            self._around.measures.handled(visit.now - row.received)
        self._announce()

    def _stored(self, record: RoomRecord) -> StoredRoom:
        served = record.membership in {Membership.ENTERING, Membership.JOINED}
        return StoredRoom(
            record.room_id,
            dump_record(record),
            live=wants_link(record.conversation),
            phase=type(record.conversation.phase).__name__,
            deadline=self._deadline(record),
            customer=record.customer if served else "",
            revision=self._mirror.revision,
        )

    async def _unstorable(self, signals: Sequence[Signal], done: Sequence[InputRow]) -> None:
        """Come nearer to the input that is at fault, or bury it."""
        if len(signals) + len(done) > 1:
            self._singly = True
            return
        if signals:
            self._log.error("a deadline leads to what cannot be stored; it is let pass")
            self._signals.clear()
            return
        (row,) = done
        self._log.error("an input leads to what cannot be stored", seq=row.seq)
        visit = self._visit()
        self._actor.bury(visit, row, Unstorable.__name__)
        await self._commit(visit, done)

    # --- what follows from a record -----------------------------------------------------------

    def _deadline(self, record: RoomRecord) -> int | None:
        """When the room wants a Tick, whatever happens until then."""
        moments = (
            deadline(record.conversation, self._around.rules.policy_for(record)),
            sealed.due(record),
            people.empty_by(record),
        )
        return min((moment for moment in moments if moment is not None), default=None)

    def _announce(self, not_before: int = 0) -> None:
        """Have the link kept up or let go, and the next deadline heeded."""
        record = self._mirror.record
        if wants_link(record.conversation):
            self._around.link.keep(self._mirror.account)
        else:
            self._around.link.release(record.room_id)
        due = self._deadline(record)
        if due is not None:
            self._due(max(due, not_before))

    def _note_phase(self, old_record: RoomRecord, record: RoomRecord, now: int) -> None:
        old, new = old_record.conversation.phase, record.conversation.phase
        if type(old) is type(new):
            return
        name = type(new).__name__
        number = record.conversation.number
        self._log.info("phase", before=type(old).__name__, after=name, chat=number)
        waited = None
        if isinstance(old, Requesting | Queued) and isinstance(new, Chatting):
            waited = now - old.since
        self._around.measures.phase_entered(name, waited)
