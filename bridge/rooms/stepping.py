"""The steps of one room: some inputs, what they come to, and one commit for all of it.

Only after the commit does anything happen outside. If its answer is lost the room is read again
before the next step, so that a commit that did happen is gone on from and one that did not is made
again.

A room that is at rest takes what comes *at once*: the input is stored together with what it led to,
not before it and then ended by it. That saves a commit for every message in either direction.
Whatever that way cannot take (the room is busy, something has to be waited for, our own code fails)
is stored first and handled afterwards, as if nothing had been tried.

A value that the database can never hold is traced to its input, which becomes a dead letter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import structlog

from bridge.conversation.events import (
    CallWebChat,
    LinkLost,
    LinkRestored,
    Resumed,
    Tick,
    TurnAwaited,
)
from bridge.conversation.machine import deadline, wants_link
from bridge.conversation.model import Chatting, Queued, Requesting
from bridge.ids import InputSeq
from bridge.rooms import chats, erasing, people, reception, sealed
from bridge.rooms.actor import Actor
from bridge.rooms.mirror import Mirror
from bridge.rooms.record import Membership, RoomRecord, dump_record
from bridge.rooms.rules import Rules
from bridge.rooms.serial import outbox_row
from bridge.rooms.store import (
    ChatRow,
    InputRow,
    Lane,
    NewInput,
    NewOutbox,
    Settlement,
    Step,
    StoredRoom,
    StoreError,
    Unstorable,
)
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit

BATCH = 32
"""Inputs that one commit may settle."""
AGAIN = 1_000
"""ms until a Tick that changed nothing is repeated, if its moment has come all the same."""

ANSWERED_LATELY = 30_000
"""ms since the call centre's last answer in which a call is taken to go out at once."""
UNNUMBERED = InputSeq(0)
"""Of an input that is not stored yet."""

Signal = Tick | LinkLost | LinkRestored | TurnAwaited | Resumed


class Stepper:
    """Makes the steps of one room; `once` must not run twice at a time.

    Args:
        mirror: what of the room is in memory.
        around: the store and whatever a step may ask.
        reading: held while the room is read.
        due: told the moment, ms since the epoch, at which the room wants a Tick.

    Attributes:
        stopping: a call that a step leads to will not go out, so it is not marked as attempted.
    """

    def __init__(
        self,
        mirror: Mirror,
        around: Surroundings,
        reading: asyncio.Semaphore,
        due: Callable[[int], None],
    ) -> None:
        self.stopping = False
        self._mirror = mirror
        self._around = around
        self._reading = reading
        self._due = due
        self._actor = Actor(mirror.room_id, around)
        self._signals: deque[Signal] = deque()
        self._step = asyncio.Lock()
        """Held while the room is read or steps."""
        self._singly = False
        """One of the inputs holds what cannot be stored: find out which."""
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=mirror.room_id
        )

    def signal(self, happened: Signal) -> None:
        """Something that need not be stored: it would be noticed again after a restart."""
        if happened in self._signals:
            return
        if isinstance(happened, LinkRestored | TurnAwaited) and not self._step.locked():
            # Only the newest counts: while the database is away, they would gather.
            former = [one for one in self._signals if not isinstance(one, type(happened))]
            self._signals = deque(former)
        self._signals.append(happened)

    @property
    def at_rest(self) -> bool:
        """True if nothing happens in the room, and nothing waits to."""
        return not (self._step.locked() or self.has_work)

    @property
    def has_work(self) -> bool:
        """True if `once` has something to do."""
        return self._mirror.behind or self._mirror.has_inputs or bool(self._signals)

    async def once(self) -> bool:
        """Read the room if that is needed, else make one step; False if there is nothing to do.

        Raises:
            StoreError: nothing was done, as far as anybody knows; call again.
        """
        async with self._step, self._actor.turn:
            return await self._once()

    async def _once(self) -> bool:
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

    async def at_once(self, inputs: Sequence[NewInput], settled: Settlement | None = None) -> bool:
        """Make one step of inputs that are not stored yet, if the room is at rest.

        Args:
            inputs: of this room, in order.
            settled: the row from which they come; it ends with the step.

        Returns:
            True once the step is durable. False: store the inputs, for nothing happened (as far as
            anybody knows: if the answer of the database was lost, their keys tell).
        """
        if not self.at_rest or (settled is not None and any(new.key for new in inputs)):
            return False
        async with self._step, self._actor.turn:
            visit = self._visit()
            for new in inputs:
                row = InputRow(UNNUMBERED, new.room_id, new.body, visit.now, new.key)
                if not await self._actor.handle(visit, row, may_wait=False) or visit.buried:
                    return False
            try:
                await self._commit(visit, (), () if settled is not None else inputs, settled)
            except StoreError as error:
                self._log.debug("not at once", why=str(error))
                return False
            for _ in inputs:
                self._around.measures.handled(0)
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
        if signals:
            await erasing.go_on(self._around, visit, self._mirror.busy)
        done: list[InputRow] = []
        for row in rows:
            alone = not (done or signals)
            if not await self._actor.handle(visit, row, may_wait=alone):
                break
            done.append(row)
            if self._actor.turn.taken:
                break
        return done

    # --- committing -------------------------------------------------------------------------

    async def _commit(
        self,
        visit: Visit,
        done: Sequence[InputRow],
        fresh: Sequence[NewInput] = (),
        settled: Settlement | None = None,
    ) -> None:
        """Store what the visit came to, and let it take effect.

        Raises:
            StoreError: the mirror is behind now.
        """
        old = self._mirror.record
        came = done or fresh or settled is not None
        if not came and not visit.effects and visit.record == old:
            self._announce(visit.now + AGAIN)
            return
        buried = {seq for seq, _ in visit.buried}
        new_chats = chats.changed(old.chats, visit.record.chats)
        visit.set(chats=chats.kept(visit.record.chats))
        step = Step(
            _stored(visit.record, self._mirror.revision, self._around.rules),
            [row.seq for row in done if row.seq not in buried],
            self._outbox(visit, settled),
            visit.now,
            visit.buried,
            [ChatRow(chat.number, chats.dump_chat(chat)) for chat in new_chats],
            fresh,
            settled,
        )
        try:
            rows = await self._around.store.commit_step(step)
        except BaseException:
            self._mirror.behind = True
            raise
        self._mirror.committed(visit.record, done, rows)
        self._note_phase(old, visit.record, visit.now)
        for row in done:
            self._around.measures.handled(visit.now - row.received)
        self._announce()

    def _outbox(self, visit: Visit, settled: Settlement | None) -> list[NewOutbox]:
        """The effects as rows; a call that goes out at once is marked as attempted from the start.

        Should we die before it is written it passes for uncertain, which it is not: so that is done
        only where nothing is ahead of it and the call centre has answered a moment ago.
        """
        ahead = self._mirror.first(Lane.WEBCHAT)
        free = ahead is None or (settled is not None and ahead.seq == settled.seq)
        answers = visit.now - self._mirror.answered <= ANSWERED_LATELY
        now = free and answers and not self.stopping
        rows: list[NewOutbox] = []
        for effect in visit.effects:
            row = outbox_row(effect)
            if row is None:
                continue
            if row.lane is Lane.WEBCHAT:
                if now and isinstance(effect, CallWebChat):
                    row = msgspec.structs.replace(row, attempted=True)
                now = False
            rows.append(row)
        return rows

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

    def _announce(self, not_before: int = 0) -> None:
        """Have the link kept up or let go, and the next deadline heeded."""
        record = self._mirror.record
        if wants_link(record.conversation):
            self._around.link.keep(self._mirror.account)
        else:
            self._around.link.release(record.room_id)
        due = next_moment(record, self._around.rules)
        if due is not None:
            self._due(max(due, not_before))

    def _note_phase(self, old_record: RoomRecord, record: RoomRecord, now: int) -> None:
        old, new = old_record.conversation.phase, record.conversation.phase
        if type(old) is type(new):
            return
        self._around.waits.note(old_record.conversation, record.conversation, now)
        name = type(new).__name__
        number = record.conversation.number
        self._log.info("phase", before=type(old).__name__, after=name, chat=number)
        waited = None
        if isinstance(old, Requesting | Queued) and isinstance(new, Chatting):
            waited = now - old.since
        self._around.measures.phase_entered(name, waited)


def _stored(record: RoomRecord, revision: int, rules: Rules) -> StoredRoom:
    """The room as it is written; `revision`: the one that it was made from."""
    served = record.membership in {Membership.ENTERING, Membership.JOINED}
    return StoredRoom(
        record.room_id,
        dump_record(record),
        live=wants_link(record.conversation),
        phase=type(record.conversation.phase).__name__,
        deadline=next_moment(record, rules),
        customer=record.customer if served else "",
        revision=revision,
    )


def next_moment(record: RoomRecord, rules: Rules) -> int | None:
    """When the room wants a Tick, whatever happens until then; ms since the epoch."""
    moments = (
        deadline(record.conversation, rules.policy_for(record)),
        sealed.due(record),
        people.empty_by(record),
        erasing.due(record),
    )
    return min((moment for moment in moments if moment is not None), default=None)
