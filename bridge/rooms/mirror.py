"""What of a room is in memory: record, open inputs, open rows; all of them copies of the store's.

The answer of every write keeps the copies up to date. Once an answer is lost, or something may have
been stored that nobody was told of, the copies are *behind*: they are read again before anything
else is decided. Only the room's actor reads (`catch_up`) and commits, one after the other; inputs
may be taken and rows may end at any moment in between, and the merge minds both.

What is in memory too much does no harm: a step whose inputs have ended is refused by the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bridge.conversation.model import Chatting, Queued
from bridge.ids import InputSeq, EffectSeq, RoomId
from bridge.rooms.ports import Account
from bridge.rooms.record import RoomRecord, load_record
from bridge.rooms.store import InputRow, Lane, EffectRow, StorePort


class Mirror:
    """The copies.

    Attributes:
        room_id: whose they are.
        record: the room as it was last read or committed.
        revision: of that record.
        behind: the store may hold what is not here.
        answered: when the call centre last answered a call, ms since the epoch.
    """

    def __init__(self, room_id: RoomId) -> None:
        self.record = RoomRecord(room_id)
        self.revision = 0
        self.behind = True
        self.answered = 0
        self.room_id = room_id
        self._inputs: dict[InputSeq, InputRow] = {}
        self._rows: dict[Lane, dict[EffectSeq, EffectRow]] = {lane: {} for lane in Lane}
        self._ended: set[EffectSeq] | None = None
        """Rows that ended while the store was read; None while it is not."""

    @property
    def has_inputs(self) -> bool:
        return bool(self._inputs)

    @property
    def has_rows(self) -> bool:
        return any(self._rows.values())

    @property
    def busy(self) -> set[str]:
        """The Matrix events that an open row carries or answers."""
        rows = (row for lane in self._rows.values() for row in lane.values())
        return {row.cause for row in rows if row.cause is not None}

    @property
    def account(self) -> Account:
        """Who this room is at the call centre."""
        record = self.record
        name = record.displayname or record.customer
        running = isinstance(record.conversation.phase, Queued | Chatting)
        return Account(self.room_id, record.customer, name, record.login, record.key, running)

    def inputs(self, limit: int) -> list[InputRow]:
        """The oldest inputs."""
        return [row for row, _ in zip(self._inputs.values(), range(limit), strict=False)]

    def first(self, lane: Lane) -> EffectRow | None:
        """The row that is to be carried out, or is being carried out, in a lane."""
        return next(iter(self._rows[lane].values()), None)

    def later_rows(self, row: EffectRow) -> list[EffectRow]:
        """The rows that wait behind this one in its lane."""
        return [other for other in self._rows[row.lane].values() if other.seq > row.seq]

    # --- the answers of writes ----------------------------------------------------------------

    def take(self, rows: Iterable[InputRow]) -> None:
        """Inputs that have just been stored."""
        self._inputs.update((row.seq, row) for row in rows)

    def committed(
        self, record: RoomRecord, done: Iterable[InputRow], rows: Iterable[EffectRow]
    ) -> None:
        """A step was made: the record, the inputs that ended with it, and its effects."""
        self.record = record
        self.revision += 1
        for row in done:
            self._inputs.pop(row.seq, None)
        for new in rows:
            self._rows[new.lane][new.seq] = new

    def ended(self, row: EffectRow) -> None:
        """A row was settled."""
        self._rows[row.lane].pop(row.seq, None)
        if self._ended is not None:
            self._ended.add(row.seq)

    # --- when an answer was lost --------------------------------------------------------------

    async def catch_up(self, store: StorePort) -> None:
        """Read everything again.

        A commit that was given up for lost may still come through while we read. Then the revision
        moves, and what was read is read once more.

        Raises:
            StoreError: the copies are still behind.
            ValueError: the record cannot be read; they are still behind.
        """
        self.behind = False
        self._inputs = {}  # from now on: what is taken while we read
        self._ended = ended = set[EffectSeq]()
        try:
            stored = await store.room(self.room_id)
            while True:
                inputs = await store.open_inputs(self.room_id)
                rows = await store.open_outbox(self.room_id)
                before, stored = stored, await store.room(self.room_id)
                if before == stored:
                    break
            if stored is not None:
                self.record, self.revision = load_record(stored.record), stored.revision
        except BaseException:
            self.behind = True
            raise
        finally:
            self._ended = None
        self._merge(inputs, [row for row in rows if row.seq not in ended])

    def _merge(self, inputs: Sequence[InputRow], rows: Sequence[EffectRow]) -> None:
        found = {row.seq: row for row in inputs} | self._inputs
        self._inputs = dict(sorted(found.items()))
        self._rows = {lane: {row.seq: row for row in rows if row.lane is lane} for lane in Lane}
