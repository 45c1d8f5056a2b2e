"""What a room has to write: the draft of its next commit, and who waits for that.

A draft gathers all that has happened in a room since its last commit. It is written as one, with
the drafts of other rooms (`engine`). Whoever has to acknowledge something holds a ticket for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from bridge.conversation.machine import deadline, wants_link
from bridge.conversation.model import (
    Chatting,
    LinkLost,
    LinkRestored,
    Queued,
    Requesting,
    Resumed,
    Tick,
    TurnAwaited,
)
from bridge.ids import EventId, InputSeq, RoomId
from bridge.rooms import people, recalling, references
from bridge.rooms.effects import Effect, new_effect
from bridge.rooms.reader import Came
from bridge.rooms.record import Membership, RoomRecord, dump_record
from bridge.rooms.rules import Rules
from bridge.rooms.store import (
    ChatRow,
    Commit,
    Committed,
    EffectRow,
    Entry,
    InputRow,
    Lane,
    NewInput,
    Outcome,
    Settlement,
    Stale,
    StoredRoom,
    StoreError,
    Unstorable,
)
from bridge.rooms.surroundings import Surroundings

Signal = Tick | LinkLost | LinkRestored | TurnAwaited | Resumed
"""What need not be stored: it would be noticed again after a restart."""


class Done(msgspec.Struct):
    """What carrying out an effect brought."""

    event_id: EventId | None = None
    """The Matrix event that it became."""
    anchor: str | None = None
    """A name to remember that event by."""
    came: tuple[Came, ...] = ()
    """What has to be told to the room."""
    outcome: Outcome = Outcome.DELIVERED
    detail: str = ""
    """For the ledger: code or reason, never content."""


class Ticket:
    """Waits for the commits of several rooms; made for whoever has to acknowledge something.

    Attributes:
        failed: rooms whose commit failed, and why.
        known: inputs that were not new.
    """

    __slots__ = ("_done", "_left", "failed", "known")

    def __init__(self) -> None:
        self.failed: dict[RoomId, StoreError] = {}
        self.known = 0
        self._left = 0
        self._done: asyncio.Future[None] | None = None

    def expect(self) -> None:
        """One more commit is waited for."""
        self._left += 1

    def ended(self, room_id: RoomId, error: StoreError | None = None) -> None:
        """A commit is durable, or has failed."""
        self._left -= 1
        if error is not None:
            self.failed[room_id] = error
        if not self._left and self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def wait(self) -> None:
        """Return once all commits have ended; see `failed`."""
        if self._left:
            self._done = asyncio.get_running_loop().create_future()
            await self._done


class Ended(msgspec.Struct, frozen=True):
    """An outcome that the store may not have yet."""

    row: EffectRow
    settlement: Settlement
    came: tuple[Came, ...]
    unstorable: bool = False
    """A commit with it could not be stored: it goes alone, and leads to no step."""


class Draft(msgspec.Struct):
    """What the next commit of a room writes."""

    record: RoomRecord | None = None
    """The newest; None while no step has been made."""
    entries: tuple[Entry, ...] = ()
    waiting: tuple[NewInput, ...] = ()
    handled: tuple[InputRow, ...] = ()
    buried: tuple[tuple[InputSeq, str], ...] = ()
    ended: tuple[Ended, ...] = ()
    chats: tuple[ChatRow, ...] = ()
    """Of each chat, only the newest is written."""
    signals: tuple[Signal, ...] = ()
    """Those that happened: to be repeated if the commit fails."""
    phases: tuple[tuple[RoomRecord, RoomRecord, int], ...] = ()
    """Before, after, and when, wherever a phase has changed."""
    tickets: tuple[Ticket, ...] = ()

    @property
    def empty(self) -> bool:
        return self.record is None and not (self.waiting or self.ended or self.tickets)


def bare(settlement: Settlement) -> Settlement:
    """What of an outcome any database can hold: no word of a peer's."""
    return Settlement(settlement.seq, Outcome.DEAD, settlement.now, Unstorable.__name__)


def entries_of(effects: Sequence[Effect], came: NewInput | None = None) -> tuple[Entry, ...]:
    """Rows for what came and its effects: the first effect stands in the row of what came."""
    made: list[Entry] = []
    for effect in effects:
        wanted = new_effect(effect)
        if wanted is not None:
            made.append(Entry(came, wanted))
            came = None
    return (*made, Entry(came)) if came is not None else tuple(made)


def next_moment(record: RoomRecord, rules: Rules) -> int | None:
    """When the room wants a Tick, whatever happens until then; ms since the epoch."""
    first = deadline(record.conversation, rules.policy_for(record))
    if not record.sealed and not record.erasing and record.empty_since is None:
        return first
    moments = (
        first,
        references.sealed_due(record),
        people.empty_by(record),
        recalling.erasing_due(record),
    )
    return min((moment for moment in moments if moment is not None), default=None)


def stored_room(record: RoomRecord, revision: int, rules: Rules) -> StoredRoom:
    """The room as it is written; `revision`: the one that it was made from."""
    served = record.membership is Membership.JOINED or record.membership is Membership.ENTERING
    return StoredRoom(
        record.room_id,
        dump_record(record),
        live=wants_link(record.conversation),
        phase=type(record.conversation.phase).__name__,
        deadline=next_moment(record, rules),
        customer=record.customer if served else "",
        revision=revision,
    )


def mark_first_call(entries: tuple[Entry, ...], *, at_once: bool) -> tuple[Entry, ...]:
    """Leave a call marked as attempted only if it is the first, and goes out at once.

    Should we die before it is written it passes for uncertain, which it is not: so that is done
    only where nothing is ahead of it and the call centre has answered a moment ago.
    """
    marked: list[Entry] = []
    for entry in entries:
        effect = entry.effect
        if effect is not None and effect.lane is Lane.WEBCHAT:
            if effect.attempted and not at_once:
                unmarked = msgspec.structs.replace(effect, attempted=False)
                entry = Entry(entry.came, unmarked)  # noqa: PLW2901 - the same one, changed
            at_once = False
        marked.append(entry)
    return tuple(marked)


def link_wanted(record: RoomRecord) -> tuple[object, ...]:
    """Whether a record wants a link, and what makes its account (`Room.account`)."""
    state = record.conversation
    who = record.customer, record.displayname, record.login, record.key
    return wants_link(state), type(state.phase), *who


def note_phase(
    around: Surroundings,
    log: structlog.stdlib.BoundLogger,
    before: RoomRecord,
    after: RoomRecord,
    now: int,
) -> None:
    """Tell log, metrics and waiting times of a conversation's new phase."""
    old, new = before.conversation.phase, after.conversation.phase
    around.waits.note(before.conversation, after.conversation, now)
    name, number = type(new).__name__, after.conversation.number
    log.info("phase", before=type(old).__name__, after=name, chat=number)
    waited = None
    if isinstance(old, Requesting | Queued) and isinstance(new, Chatting):
        waited = now - old.since
    around.measures.phase_entered(name, waited)


async def settle_alone(
    around: Surroundings, ended: Ended, log: structlog.stdlib.BoundLogger
) -> Committed | None:
    """Store an outcome with what it brings as inputs, and without a step.

    What no database can hold of it is left out: then the effect is a dead letter.

    Returns:
        None if the outcome is stored already, or not all of what it brings is new.

    Raises:
        StoreError: the database does not answer.
    """
    room_id, now = ended.row.room_id, around.clock.now()
    came = [one.new_input(room_id) for one in ended.came]
    commit = Commit(room_id, now, waiting=came, settled=[ended.settlement])
    (answer,) = await around.store.commit([commit])
    if isinstance(answer, Unstorable):
        log.error("an outcome cannot be stored as it is", seq=ended.row.seq)
        came = [one for one in came if one.key is None]
        commit = Commit(room_id, now, waiting=came, settled=[bare(ended.settlement)])
        (answer,) = await around.store.commit([commit])
    if isinstance(answer, Stale):
        return None
    if isinstance(answer, StoreError):
        raise answer
    return answer if len(answer.waiting) == len(came) else None
