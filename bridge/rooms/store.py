"""StorePort: what the engine asks of a database, and the rows that it gives and takes.

The journal has one row for each thing that happened in a room (an event, a push): what came, the
effect that it led to, when that was attempted, and how it ended. So it is inbox, outbox and ledger
in one. An effect of something else (a deadline, a reply), or a second one, has a row of its own.

A call that writes is answered only when the write is durable. A caller that is cancelled never
undoes or half-does it: it may only miss the answer.

A call that fails with a plain StoreError may have happened, or may still happen: a database that
hangs tells nobody. So every write can be tried again without harm. Inputs are told apart by their
keys, an effect is settled once, and a commit applies only to the revision of the room that it was
made from, and only while its rows are open. Whoever lost an answer reads again and goes on from
there. The same rule keeps two bridges on one database from both handling an input, should they ever
get past the lock that lets only one of them start, or owns each room (`storage.shards`); nothing
but those locks keeps them from both making a call of the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from bridge.ids import EffectSeq, EventId, InputSeq, RoomId, UserId


class Lane(StrEnum):
    WEBCHAT = "webchat"
    MATRIX = "matrix"
    ASIDE = "aside"
    """Slow questions (knowledge base, history) that must hold up nobody's messages."""


class Outcome(StrEnum):
    DELIVERED = "delivered"
    REFUSED = "refused"
    """The peer said no, for certain."""
    FAILED = "failed"
    """It surely did not arrive."""
    UNCERTAIN = "uncertain"
    """It may have arrived; if it was sent again, that row is marked `repeat`."""
    DEAD = "dead"
    """Given up after retries; `dead-letters` shows it."""
    DISCARDED = "discarded"
    """An operator threw it away, or a newer row made it pointless."""


class NewInput(msgspec.Struct, frozen=True):
    room_id: RoomId
    body: bytes
    """Tagged JSON of a `rooms.record.Stored`."""
    key: str | None = None
    """Unique for ever (event id, receipt id, …): a second one is not stored. None: no duplicate."""


class InputRow(msgspec.Struct, frozen=True):
    seq: InputSeq
    """Grows; the order of a room's inputs."""
    room_id: RoomId
    body: bytes
    received: int
    """ms since the epoch."""
    key: str | None = None


class PassedOn(msgspec.Struct, frozen=True):
    """What another process has stored for a room, as its owner is told."""

    room: RoomId
    revision: int
    """Of the room since then: one more than before."""
    inputs: tuple[InputRow, ...] = ()
    """Oldest first; none: they are too long for a notice, and have to be read."""


class NewEffect(msgspec.Struct, frozen=True):
    lane: Lane
    effect: bytes
    """Tagged JSON of a `rooms.visit.StoredEffect`."""
    cause: str | None = None
    """The Matrix event that it carries or answers, for `trace`."""
    call_id: int | None = None
    repeat: bool = False
    attempted: bool = False
    """The peer may see it as soon as it is stored: see `EffectRow.marked`."""


class Entry(msgspec.Struct, frozen=True):
    """A new row of the journal: something that came and has been handled, its effect, or both."""

    came: NewInput | None = None
    effect: NewEffect | None = None


class EffectRow(msgspec.Struct, frozen=True):
    seq: EffectSeq
    room_id: RoomId
    lane: Lane
    effect: bytes
    created: int
    attempted: int | None = None
    """When it was last handed to the peer; None: surely not yet."""
    attempts: int = 0
    cause: str | None = None
    call_id: int | None = None
    repeat: bool = False
    revived: int | None = None
    """When an operator put it back to work."""
    marked: bool = False
    """It was stored as attempted, and whoever holds this very copy has not attempted it yet. Never
    so of a row that was read: its attempt may have been made."""


class StoredRoom(msgspec.Struct, frozen=True):
    room_id: RoomId
    record: bytes
    """Versioned JSON of a `rooms.record.RoomRecord`; empty if none was written yet."""
    live: bool
    """A link is wanted: there is a chat, or one is asked for."""
    phase: str
    """For operators' eyes: name of the phase."""
    deadline: int | None = None
    """ms since the epoch of the next Tick."""
    customer: str = ""
    """The Matrix user who invited us, while the room is served; empty once it is not."""
    revision: int = 0
    """How often the room was written. In a step: the revision that it was made from."""
    bare: bytes = b""
    """The record without what was said, which may lie in clear while the whole is sealed. In a
    step; empty: all of it may."""


class ChatRow(msgspec.Struct, frozen=True):
    """A chat of a room, small, and kept until `retention.chats`."""

    number: int
    chat: bytes
    """Tagged JSON of a `rooms.record.Chat`."""
    ended: int | None = None
    """ms since the epoch; None: it goes on."""


class Change(msgspec.Struct, frozen=True):
    """A row of the audit: somebody changed something."""

    at: int
    """ms since the epoch."""
    actor: str
    """A Matrix user, or a name such as `operator`."""
    way: str
    """`command`, `state`, `console`, `api`, `cli` or `widget`."""
    key: str
    """A setting of the room, or what was done: `erase`, `dead-letters retry`, …"""
    before: str = ""
    """Empty: it was not set, or there is nothing of the kind."""
    after: str = ""
    room_id: str = ""
    """The room's key in the store; empty: it is about none."""
    enterprise: str = ""
    number: int = 0
    """Given by the store; grows."""


class Settlement(msgspec.Struct, frozen=True):
    seq: EffectSeq
    outcome: Outcome
    now: int
    detail: str = ""
    """Code or reason, never content."""
    event_id: EventId | None = None
    """The Matrix event that it became."""
    anchor: str | None = None
    """Remember `event_id` under this name of the room (the queue card's)."""


class Commit(msgspec.Struct, frozen=True):
    """All that one room has to write at a moment; it takes effect as one."""

    room_id: RoomId
    now: int
    room: StoredRoom | None = None
    """The new record, with the revision that it was made from; None: it stays as it is."""
    entries: Sequence[Entry] = ()
    """What is new in the journal, in order."""
    waiting: Sequence[NewInput] = ()
    """Inputs that are to be handled later; those with a key that is known are left out."""
    handled: Sequence[InputSeq] = ()
    """Inputs that waited, and have been handled."""
    buried: Sequence[tuple[InputSeq, str]] = ()
    """Inputs that cannot be handled, and why: they become dead letters."""
    settled: Sequence[Settlement] = ()
    chats: Sequence[ChatRow] = ()
    """Chats of the room that are new or have changed, each at most once."""
    changes: Sequence[Change] = ()
    """For the audit."""
    clear: bool = False
    """The room is known not to be encrypted: what is said there need not be sealed."""


class Committed(msgspec.Struct, frozen=True):
    effects: Sequence[EffectRow] = ()
    """The rows of the entries that have an effect, in order."""
    waiting: Sequence[InputRow] = ()
    """The rows of those inputs that were new, in order."""


class Loaded(msgspec.Struct, frozen=True):
    """A room as it stands in the store, with the rows that are open."""

    room: StoredRoom | None
    inputs: Sequence[InputRow]
    """Those that wait to be handled, oldest first."""
    effects: Sequence[EffectRow]
    """Those to be carried out, of all lanes, oldest first."""


class GhostRow(msgspec.Struct, frozen=True):
    """The profile that we last wrote for a ghost (or the bot, or a queue user)."""

    user_id: str
    displayname: str = ""
    avatar_source: str = ""
    avatar_mxc: str = ""
    device: bool = False
    avatar_hash: str = ""
    """SHA-256 of the picture that `avatar_source` was, in hex."""
    avatar_at: int = 0
    """When it was fetched from there, ms since the epoch."""
    seen: int = 0
    """When it was last needed, to the day, ms since the epoch."""


class Token(msgspec.Struct, frozen=True):
    """A room's WebChat token, with what the login told beside it."""

    room_id: RoomId
    login_name: str
    value: str
    """A secret; empty once the server has refused it."""
    issued: int
    """ms since the epoch."""
    client_id: str = ""
    """What the server calls the customer in people lists, where it says so."""
    cookies: str = ""
    """The `Cookie` header that goes wherever the token goes, a secret too; "": none was set."""

    def __repr__(self) -> str:  # without the secrets
        return f"Token({self.room_id!r}, {self.login_name!r})"


class SecretRow(msgspec.Struct, frozen=True):
    """A secret of encryption, sealed by its owner before it comes to the store."""

    name: str
    value: bytes | None
    """None removes the row."""
    keep_until: int | None = None
    """ms since the epoch; after that `prune` may take it. None: for ever."""
    was: bytes | msgspec.UnsetType | None = msgspec.UNSET
    """The stored value that this one was made from (None: there was no row), and whose place alone
    it may take. A value is sealed with a random number, so no two are alike."""


class TraceRow(msgspec.Struct, frozen=True):
    """One line of the ledger. Times are ms since the epoch."""

    what: str
    """`received`, `handled`, `stored`, `attempted`, or the outcome of an effect."""
    at: int
    room_id: RoomId
    detail: str = ""
    repeat: bool = False


class DeadLetter(msgspec.Struct, frozen=True):
    """An input or an effect that was given up."""

    id: str
    """`i<seq>` for an input that was not handled, `o<seq>` for an effect."""
    room_id: RoomId
    at: int
    why: str
    body: str = ""
    """Empty once erased."""


class LedgerRow(msgspec.Struct, frozen=True):
    """A row of the journal without contents, for people. Times are ms since the epoch."""

    seq: int
    key: str | None
    cause: str | None
    received: int
    handled: int | None
    lane: Lane | None
    attempted: int | None
    attempts: int
    repeat: bool
    outcome: str | None
    settled: int | None
    detail: str
    event_id: str | None


class AccountRow(msgspec.Struct, frozen=True):
    """The account of a room, for people: without its token."""

    room_id: RoomId
    login_name: str
    has_token: bool
    issued: int
    room: StoredRoom | None = None


class Member(msgspec.Struct, frozen=True):
    """One of the replicas, as the database has it."""

    id: str
    name: str
    pid: int
    """Process of the server that is its session."""
    started: int
    """ms since the epoch, by the server's clock."""
    age: float
    """Seconds since its last sign of life."""
    leaving: bool
    present: bool
    """Its session stands."""
    shards: Sequence[int]


class Depth(msgspec.Struct, frozen=True):
    """Length and age of a backlog."""

    count: int = 0
    oldest: int | None = None
    """ms since the epoch."""

    def __add__(self, other: Depth) -> Depth:
        times = [one.oldest for one in (self, other) if one.oldest is not None]
        return Depth(self.count + other.count, min(times, default=None))


INBOX = "inbox"
Backlog = Mapping[tuple[str, str], Depth]
"""By enterprise as the records name it, and `INBOX`, a lane's value or that of `Outcome.DEAD`: what
there is of it."""


class StoreError(Exception):
    """The database did not take or give it. A write may or may not have happened."""


class Stale(StoreError):
    """The commit was made from what is not (any more) so in the store; nothing was changed.

    The room has another revision, an input or an effect has ended already, or an input among
    `entries` is known; or a secret is not what it `was`.
    """


class NotOwned(StoreError):
    """The room is (by now) another process's, which alone may write it; nothing was changed."""


class Unstorable(StoreError):
    """The request holds a value that can never be stored; nothing was changed."""


Answer = Committed | StoreError
"""To a commit; an error is for its room alone. After a plain StoreError nothing was written, as far
as anybody knows."""


class Seal(Protocol):
    """The operator's key. Implemented by `matrix.crypto.vault.Sealer`."""

    def seal(self, name: str, data: bytes) -> bytes: ...

    def open(self, name: str, sealed: bytes) -> bytes:
        """StoreError: it was sealed with another key, or under another name."""


class Cutoffs(msgspec.Struct, frozen=True):
    """Moments, ms since the epoch, before which `prune` lets something go; None: it stays."""

    chats: int | None = None
    accounts: int | None = None
    ghosts: int | None = None
    audit: int | None = None


FOR_EVER = Cutoffs()


class EraserPort(Protocol):
    """All that is stored of a room or a person: found, counted, deleted (`rooms.erasure`).

    What each method does `storage.erasing.Eraser` says; each raises StoreError, and can be called
    again after it has failed half-way.
    """

    async def count_room(self, room_id: RoomId, places: Collection[RoomId]) -> Counter[str]: ...
    async def erase_room(
        self,
        room_id: RoomId,
        places: Collection[RoomId],
        now: int,
        *,
        record: bool = True,
        known: int | None = None,
    ) -> None: ...
    async def login_of(self, room_id: RoomId) -> str: ...
    async def rooms_naming(self, person: UserId) -> list[RoomId]: ...
    async def events_of(self, room_id: RoomId) -> tuple[list[EventId], list[EventId]]: ...
    async def lines_of(
        self, room_id: RoomId, person: UserId
    ) -> tuple[list[int], list[EventId]]: ...
    async def empty_lines(self, lines: Sequence[int]) -> None: ...
    async def keys_of(self, person: UserId) -> list[str]: ...
    async def facts_of(self, person: UserId, hashed: str) -> list[str]: ...
    async def erase_person(self, person: UserId, hashed: str) -> None: ...
    async def overwrite(self, *, at_all_cost: bool) -> bool: ...


class Facts(Protocol):
    """Things learnt about a server, kept over a restart. Raises StoreError."""

    async def fact(self, name: str) -> str | None: ...
    async def save_fact(self, name: str, value: str) -> None: ...


class StorePort(Facts, Protocol):
    """What rooms, and who serves them, ask of `storage.sqlstore`.

    Every method raises StoreError when the database cannot be reached or refuses, and every one
    that writes raises Unstorable for a value that no other try can bring in.
    """

    @property
    def eraser(self) -> EraserPort: ...

    def submit(self, commits: Sequence[Commit], done: Callable[[list[Answer]], None]) -> None:
        """Write commits, each all or nothing, none for a room twice; `done` gets their answers."""

    async def commit(self, commits: Sequence[Commit]) -> list[Answer]:
        """The same for who waits; raises the error if the database did not take it."""

    async def mark_attempted(self, row: EffectRow, now: int) -> None:
        """Say that the peer may see this effect from now on; counts the attempt."""

    async def load(self, room_id: RoomId) -> Loaded:
        """The room and its open rows, all as of one moment."""

    async def busy_rooms(self) -> list[RoomId]:
        """Rooms with open rows, oldest work first."""

    async def written_beside(self) -> bool:
        """True if another connection has written since this was asked last. PostgreSQL: False."""

    async def live_rooms(self) -> list[RoomId]: ...

    async def deadlines(self) -> list[tuple[RoomId, int]]:
        """Rooms that have a deadline, with it, soonest first."""

    async def rooms_of(self, customer: str) -> list[RoomId]:
        """Rooms that this Matrix user has made us serve and not left, those with a chat first."""

    async def chats(self, room_id: RoomId, limit: int, upto: int | None = None) -> list[ChatRow]:
        """The room's chats, the newest first, at most `limit`; with `upto`, none above it."""

    async def record_changes(self, changes: Sequence[Change]) -> None:
        """Write rows of the audit; a room's own settings are audited by its `Commit`."""

    async def changes(
        self, room_id: RoomId | None = None, before: int | None = None, limit: int = 100
    ) -> list[Change]:
        """The audit, of one room or of all, the newest first; with `before`, numbers below it."""

    async def anchor(self, room_id: RoomId, name: str) -> EventId | None: ...
    async def ghost(self, user_id: str) -> GhostRow | None: ...
    async def save_ghost(self, ghost: GhostRow) -> None: ...

    async def facts(self, prefix: str) -> list[str]:
        """The values of all facts whose names begin so."""

    async def secret(self, name: str) -> bytes | None: ...

    async def secret_names(self, prefix: str) -> list[str]:
        """The names that begin so, sorted; for a rare look at all of them."""

    async def save_secrets(self, rows: Sequence[SecretRow]) -> None:
        """Write or remove rows, all or none; Stale: not in the place of what one was made from."""

    async def trace(self, event_id: EventId) -> list[TraceRow]:
        """All that happened to a Matrix event, in order of time."""

    async def body_of(self, room_id: RoomId, event_id: EventId) -> bytes | None:
        """The input that an event of this room came as, else the effect that became it, if kept."""

    async def posted(
        self, room_id: RoomId, before: EffectSeq, since: int
    ) -> list[tuple[EventId, bytes, int]]:
        """Events of the room, the newest first: the effect or input of each, and when it came.

        Of effects only those `before` that one; all only since a moment (ms), and among the rows of
        all rooms around it: for rare questions.
        """

    async def forget_body(self, room_id: RoomId, event_id: EventId) -> None:
        """Erase the body of this event's input, and the effects that carried it, where settled."""

    async def revive(self, letter_id: str, now: int) -> bool:
        """Put a dead letter back to work; False if there is none of that id."""

    async def discard(self, letter_id: str, now: int) -> bool: ...

    # --- looks at all rooms, for people: each call reads at most so many rows -----------------

    async def rooms(self, after: str, limit: int, *, live: bool) -> list[StoredRoom]:
        """Rooms by their ids, those behind `after`; `live`: only those whose link is wanted."""

    async def room(self, room_id: RoomId) -> StoredRoom | None: ...
    async def accounts(self, after: str, limit: int) -> list[AccountRow]: ...

    async def forget_account(self, room_id: RoomId) -> bool:
        """Forget the room's account, whoever serves the room; False if there is none."""

    async def deliveries(
        self, room_id: RoomId, before: int | None, limit: int
    ) -> tuple[list[LedgerRow], int | None]:
        """Rows of the room below that number, the newest first; and where to go on, if there."""

    async def input(self, room_id: RoomId, key: str) -> LedgerRow | None: ...

    async def letters(self, after: tuple[int, int], limit: int) -> list[DeadLetter]:
        """Dead letters behind a moment and number, the oldest first; without their bodies."""

    async def letter(self, letter_id: str) -> DeadLetter | None: ...
    async def members(self) -> list[Member]: ...

    async def reports(self) -> list[tuple[float, str]]:
        """What the other processes have told of themselves, and how many seconds ago."""
