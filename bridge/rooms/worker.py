"""One room at work: its actor and its two lanes.

Theory of operation
-------------------
A `Worker` lives while its room has something to do, and a little longer. Three loops belong to it,
each of which is a task only while it has work:

- the actor takes the oldest inputs, lets the reception and the machine decide, and commits the new
  record, the done-marks and the outbox rows as one; only then does anything happen outside;
- the WebChat lane carries out one row at a time and brings each outcome back as an input;
- the Matrix lane does the same towards the homeserver.

The memory copies (`inputs`, `lanes`) mirror rows that are already durable. If the process dies at
any point, `recover` reads them again: an unhandled input is handled again (the step is pure), a row
that was never attempted is carried out, and one that was attempted is settled as uncertain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import structlog

from bridge.conversation.deadlines import deadline
from bridge.conversation.inputs import LinkRestored, Tick
from bridge.conversation.machine import wants_link
from bridge.conversation.model import Chatting, Queued, Requesting
from bridge.ids import RoomId
from bridge.rooms import sealed
from bridge.rooms.actor import Actor
from bridge.rooms.ports import Account
from bridge.rooms.record import RoomRecord, dump_record, load_record
from bridge.rooms.serial import outbox_row
from bridge.rooms.store import InputRow, Lane, OutboxRow, Step, StoredRoom, StoreError
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit

BATCH = 32
"""Inputs that one commit may settle."""
STORE_RETRY = 1.0
"""Seconds between attempts while the database does not answer."""


class LaneRunner(Protocol):
    """Carries out the rows of one lane."""

    async def run(self, worker: Worker, row: OutboxRow) -> list[InputRow]:
        """Carry out one row to its end; returns the inputs that its settlement stored."""
        ...


class Engine(Protocol):
    """What a worker asks of its engine."""

    def spawn(self, loop: Coroutine[Any, Any, None]) -> None:
        """Own a task."""
        ...

    def rested(self, worker: Worker) -> None:
        """The worker has nothing left to do."""
        ...

    def due(self, room_id: RoomId, moment: int) -> None:
        """Signal a Tick to the room at that moment, ms since the epoch."""
        ...


class Worker:
    """See the module. One per busy room; the engine makes and drops them."""

    def __init__(
        self,
        room_id: RoomId,
        around: Surroundings,
        runners: Mapping[Lane, LaneRunner],
        engine: Engine,
    ) -> None:
        self.room_id = room_id
        self.record = RoomRecord(room_id)
        self.stopping = False
        self._revision = 0
        self._around = around
        self._runners = runners
        self._engine = engine
        self._inputs: deque[InputRow] = deque()
        self._rows: dict[Lane, deque[OutboxRow]] = {lane: deque() for lane in Lane}
        self._signals: deque[Tick | LinkRestored] = deque()
        self._running: set[str] = set()
        self._actor = Actor(room_id, around)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=room_id
        )

    # --- what others do to it ---------------------------------------------------------------

    async def load(self) -> None:
        """Read the record; must come before anything else."""
        stored = await self._around.store.room(self.room_id)
        if stored is not None:
            self.record = load_record(stored.record)
            self._revision = stored.revision

    async def recover(self) -> None:
        """Read what was left undone by an earlier process, and go on with it."""
        self._inputs.extend(await self._around.store.open_inputs(self.room_id))
        for row in await self._around.store.open_outbox(self.room_id):
            self._rows[row.lane].append(row)
        self._kick()

    def take(self, rows: Iterable[InputRow]) -> None:
        """Inputs that have just been stored."""
        self._inputs.extend(rows)
        self._kick()

    def signal(self, happened: Tick | LinkRestored) -> None:
        """Something that need not be stored: it would be noticed again after a restart."""
        if happened not in self._signals:
            self._signals.append(happened)
        self._kick()

    def key_came(self) -> None:
        """An event that could not be read may be readable now."""
        if self.record.sealed:
            self.signal(Tick())

    @property
    def idle(self) -> bool:
        """True if there is nothing to do and nothing being done."""
        return not (self._running or self._inputs or self._signals or any(self._rows.values()))

    @property
    def running(self) -> bool:
        """True while one of the loops is a task."""
        return bool(self._running)

    @property
    def account(self) -> Account:
        """Who this room is at the call centre."""
        record = self.record
        return Account(self.room_id, record.customer, record.displayname or record.customer)

    def later_rows(self, row: OutboxRow) -> list[OutboxRow]:
        """The rows that wait behind this one in its lane."""
        return [other for other in self._rows[row.lane] if other.seq > row.seq]

    # --- the loops --------------------------------------------------------------------------

    def _kick(self) -> None:
        """Start every loop that has work and does not run."""
        if self.stopping:
            return
        if (self._inputs or self._signals) and "actor" not in self._running:
            self._running.add("actor")
            self._engine.spawn(self._loop("actor", self._act_once))
        for lane, rows in self._rows.items():
            if rows and lane not in self._running:
                self._running.add(lane)
                self._engine.spawn(self._loop(lane, partial(self._run_row, lane)))

    async def _loop(self, name: str, once: Callable[[], Awaitable[bool]]) -> None:
        """Repeat until there is nothing left. No error ends the loop: work must not be stranded."""
        try:
            while not self.stopping:
                try:
                    if not await once():
                        break
                except StoreError as error:
                    self._log.warning("the database did not answer, trying again", why=str(error))
                    await self._around.clock.sleep(STORE_RETRY)
                except Exception:  # noqa: BLE001 - logged whole; see the docstring
                    self._log.exception("unexpected error, trying again", loop=name)
                    await self._around.clock.sleep(STORE_RETRY)
        finally:
            self._running.discard(name)
        self._kick()
        if self.idle:
            self._engine.rested(self)

    async def _run_row(self, lane: Lane) -> bool:
        rows = self._rows[lane]
        if not rows:
            return False
        inputs = await self._runners[lane].run(self, rows[0])
        rows.popleft()
        self.take(inputs)
        return True

    async def _act_once(self) -> bool:
        """Handle what waits, up to BATCH inputs, and commit it as one."""
        if not (self._inputs or self._signals):
            return False
        visit = Visit(self.record, self._around.rules, self._around.clock.now())
        signals = list(self._signals)
        done: list[InputRow] = []
        for signal in signals:
            visit.step(signal)
        if signals and self.record.sealed:
            await self._actor.try_again(visit)
        for row in list(self._inputs)[:BATCH]:
            alone = not (done or signals)
            if not await self._actor.handle(visit, row, may_wait=alone):
                break
            done.append(row)
        await self._commit(visit, done)
        for _ in done:
            self._inputs.popleft()
        for _ in signals:
            self._signals.popleft()
        return True

    async def _commit(self, visit: Visit, done: list[InputRow]) -> None:
        record = visit.record
        moments = (
            deadline(record.conversation, self._around.rules.policy_for(record)),
            sealed.due(record),
        )
        due = min((moment for moment in moments if moment is not None), default=None)
        outbox = [row for row in map(outbox_row, visit.effects) if row is not None]
        live = wants_link(record.conversation)
        room = StoredRoom(
            self.room_id,
            dump_record(record),
            live=live,
            phase=type(record.conversation.phase).__name__,
            deadline=due,
            customer=record.customer,
            revision=self._revision,
        )
        rows = await self._around.store.commit_step(
            Step(room, [row.seq for row in done], outbox, visit.now)
        )
        self._revision += 1
        self._note_phase(record, visit.now)
        for row in done:
            self._around.measures.handled(visit.now - row.received)
        self.record = record
        for new in rows:
            self._rows[new.lane].append(new)
        if live:
            self._around.link.keep(self.account)
        else:
            self._around.link.release(self.room_id)
        if due is not None:
            self._engine.due(self.room_id, due)
        self._kick()

    def _note_phase(self, new: RoomRecord, now: int) -> None:
        old = self.record.conversation.phase
        phase = new.conversation.phase
        if type(old) is type(phase):
            return
        name = type(phase).__name__
        self._log.info("phase", before=type(old).__name__, after=name, chat=new.conversation.number)
        waited = None
        if isinstance(old, Requesting | Queued) and isinstance(phase, Chatting):
            waited = now - old.since
        self._around.measures.phase_entered(name, waited)
