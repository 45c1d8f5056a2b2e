"""StorePort: what the engine asks of a database, and the rows that pass between them.

The journal has one row for each thing that happened in a room (an event, a push): the input, the
effect that it led to, when that was attempted, and how it ended. So it is inbox, outbox and ledger
in one. An effect of another cause (a deadline, a reply), or a second effect, has its own row.

A call that writes returns only when the write is durable. Cancelling the caller never undoes or
halves a write: the caller only misses the answer.

After a plain StoreError a write may have happened, or may still happen, as a hanging database says
nothing. So every write is safe to retry. Inputs are deduplicated by their keys, an effect is
settled once, and a commit applies only to the revision of the room that it was made from, and only
while its rows are open. A caller that missed an answer reads again and goes on from there. The same
rule keeps two bridges on one database from both handling an input, should they get past the locks:
the one that lets only one bridge start, or those of rooms' owners (`storage.shards`). Only these
locks keep them from both carrying out a call of the journal.
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
    """Slow requests (knowledge base, history) that must not hold up messages."""


class Outcome(StrEnum):
    DELIVERED = "delivered"
    REFUSED = "refused"
    """The peer refused it."""
    FAILED = "failed"
    """Certainly not delivered."""
    UNCERTAIN = "uncertain"
    """Possibly delivered; if it was sent again, that row is marked `repeat`."""
    DEAD = "dead"
    """Given up after retries; `dead-letters` shows it."""
    DISCARDED = "discarded"
    """Discarded by an operator, or made pointless by a newer row."""


class NewInput(msgspec.Struct, frozen=True):
    room_id: RoomId
    body: bytes
    """Tagged JSON of a `rooms.record.RoomInput`."""
    key: str | None = None
    """Unique for ever (event id, receipt id, …): a duplicate is not stored. None: never one."""


class InputRow(msgspec.Struct, frozen=True):
    seq: InputSeq
    """Increasing: the order of a room's inputs."""
    room_id: RoomId
    body: bytes
    received: int
    """ms since the epoch."""
    key: str | None = None


PASSED = 2**32
"""Increment of a room's revision when another process has stored inputs for it."""


class PassedOn(msgspec.Struct, frozen=True):
    """Notice to a room's owner of inputs that another process has stored for the room."""

    room: RoomId
    revision: int
    """Revision of the room since then, `PASSED` more than before."""
    inputs: tuple[InputRow, ...] = ()
    """Oldest first; empty if they are too long for a notice, and have to be read."""


class NewEffect(msgspec.Struct, frozen=True):
    lane: Lane
    effect: bytes
    """Tagged JSON of a `rooms.effects.StoredEffect`."""
    cause: str | None = None
    """The Matrix event that it carries or answers, for `trace`."""
    call_id: int | None = None
    repeat: bool = False
    marked: bool = False
    """True to store it as attempted: the peer may see it from then on (`EffectRow.marked`)."""
    call: object = None
    """The call to WebChat, if it is one: saves the lane the decoding of `effect`."""


class Entry(msgspec.Struct, frozen=True):
    """A new row of the journal: a handled input, an effect, or an input with its effect."""

    came: NewInput | None = None
    effect: NewEffect | None = None


class EffectRow(msgspec.Struct, frozen=True):
    seq: EffectSeq
    room_id: RoomId
    lane: Lane
    effect: bytes
    created: int
    attempted: int | None = None
    """When it was last handed to the peer; None: certainly not yet."""
    attempts: int = 0
    cause: str | None = None
    call_id: int | None = None
    repeat: bool = False
    revived: int | None = None
    """When an operator revived it."""
    marked: bool = False
    """True if it was stored as attempted, but the holder of this copy has not attempted it yet.
    False for every row that was read: its attempt may have been made."""
    call: object = None
    """See `NewEffect.call`; None in every row that was read."""


class StoredRoom(msgspec.Struct, frozen=True):
    room_id: RoomId
    record: bytes
    """Versioned JSON of a `rooms.record.RoomRecord`; empty if none was written yet."""
    live: bool
    """True if a link is wanted: a chat goes on, or is requested."""
    phase: str
    """Name of the phase, for operators."""
    deadline: int | None = None
    """ms since the epoch of the next Tick."""
    customer: str = ""
    """The Matrix user who invited the bridge; empty while the room is not served."""
    revision: int = 0
    """Number of writes of the room by its owner, plus `PASSED` for each time that another process
    stored inputs for it; in a `Commit`, the revision that it was made from."""
    bare: bytes = b""
    """In a `Commit`: the record without message bodies, stored unencrypted while `record` is
    sealed; empty if nothing of the record has to be sealed."""


class ChatRow(msgspec.Struct, frozen=True):
    """A chat of a room, kept until `retention.chats`."""

    number: int
    chat: bytes
    """Tagged JSON of a `rooms.record.Chat`."""
    ended: int | None = None
    """ms since the epoch; None while it goes on."""


class Change(msgspec.Struct, frozen=True):
    """A row of the audit: who changed what."""

    at: int
    """ms since the epoch."""
    actor: str
    """A Matrix user, or a name such as `operator`."""
    way: str
    """`command`, `state`, `console`, `api`, `cli` or `widget`."""
    key: str
    """A setting of the room, or an action: `erase`, `dead-letters retry`, …"""
    before: str = ""
    """Empty if it was not set, or an action has no such value."""
    after: str = ""
    room_id: str = ""
    """The room's key in the store; empty if it is about no room."""
    enterprise: str = ""
    number: int = 0
    """Assigned by the store, increasing."""


class Settlement(msgspec.Struct, frozen=True):
    seq: EffectSeq
    outcome: Outcome
    now: int
    detail: str = ""
    """Code or reason, never content."""
    event_id: EventId | None = None
    """The resulting Matrix event."""
    anchor: str | None = None
    """Name under which the room stores `event_id` (such as the queue card's)."""


class Commit(msgspec.Struct, frozen=True):
    """All that one room has to write at a time: one atomic write."""

    room_id: RoomId
    now: int
    room: StoredRoom | None = None
    """The new record, with the revision that it was made from; None if unchanged. It is refused if
    the owner has written the room since then."""
    entries: Sequence[Entry] = ()
    """New rows of the journal, in order."""
    waiting: Sequence[NewInput] = ()
    """Inputs to be handled later; those with a known key are skipped."""
    handled: Sequence[InputSeq] = ()
    """Waiting inputs that have been handled."""
    buried: Sequence[tuple[InputSeq, str]] = ()
    """Inputs that cannot be handled, and why: they become dead letters."""
    settled: Sequence[Settlement] = ()
    chats: Sequence[ChatRow] = ()
    """Chats of the room that are new or have changed, each at most once."""
    changes: Sequence[Change] = ()
    """Rows of the audit."""
    clear: bool = False
    """True if the room is known to be unencrypted, so that its journal rows need no sealing."""
    exact: bool = False
    """True if the room is also refused if another process has stored inputs for it since then: the
    commit holds events that arrived here, and those may have come before them."""


class Committed(msgspec.Struct, frozen=True):
    effects: Sequence[EffectRow] = ()
    """The rows of the entries that have an effect, in order."""
    waiting: Sequence[InputRow] = ()
    """The rows of the new waiting inputs, in order."""


class Loaded(msgspec.Struct, frozen=True):
    """A room as stored, with its open rows."""

    room: StoredRoom | None
    inputs: Sequence[InputRow]
    """Waiting inputs, oldest first."""
    effects: Sequence[EffectRow]
    """Unfinished effects of all lanes, oldest first."""


class GhostRow(msgspec.Struct, frozen=True):
    """The profile last written for a ghost (or the bot, or a queue user)."""

    user_id: str
    displayname: str = ""
    avatar_source: str = ""
    avatar_mxc: str = ""
    device: bool = False
    avatar_hash: str = ""
    """SHA-256 of the picture at `avatar_source`, in hex."""
    avatar_at: int = 0
    """When the picture was fetched, ms since the epoch."""
    seen: int = 0
    """When the user was last needed, to the day, ms since the epoch."""


class Token(msgspec.Struct, frozen=True):
    """A room's WebChat token, with other data of the login's reply."""

    room_id: RoomId
    login_name: str
    value: str
    """A secret; empty once the server has refused it."""
    issued: int
    """ms since the epoch."""
    client_id: str = ""
    """The customer's id in the server's people lists; empty if the server does not tell it."""
    cookies: str = ""
    """The `Cookie` header sent along with the token, a secret too; empty if none was set."""

    def __repr__(self) -> str:  # without the secrets
        return f"Token({self.room_id!r}, {self.login_name!r})"


class SecretRow(msgspec.Struct, frozen=True):
    """A secret of encryption, sealed by its owner before it is stored."""

    name: str
    value: bytes | None
    """None removes the row."""
    keep_until: int | None = None
    """Expiry, ms since the epoch; `prune` deletes the row after it. None keeps the row for ever."""
    was: bytes | msgspec.UnsetType | None = msgspec.UNSET
    """Compare and swap: the only stored value that this one may replace (None: no row). A value is
    sealed with a random number, so no two are equal."""


class TraceRow(msgspec.Struct, frozen=True):
    """One line of the ledger. Times are ms since the epoch."""

    what: str
    """`received`, `handled`, `stored`, `attempted`, `revived`, or an outcome."""
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
    enterprise: str = ""
    """As in the room's record."""


class LedgerRow(msgspec.Struct, frozen=True):
    """A row of the journal without contents, for operators. Times are ms since the epoch."""

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
    """The account of a room without its token, for operators."""

    room_id: RoomId
    login_name: str
    has_token: bool
    issued: int
    room: StoredRoom | None = None


class Member(msgspec.Struct, frozen=True):
    """One of the replicas, as known to the database."""

    id: str
    name: str
    pid: int
    """PID of the PostgreSQL backend of its session."""
    started: int
    """ms since the epoch, by the server's clock."""
    seen: int
    """Last sign of life, likewise; it changes with each."""
    age: float
    """Seconds since then, by the server's clock."""
    leaving: bool
    present: bool
    """True while its session exists."""
    shards: Sequence[int]


class Depth(msgspec.Struct, frozen=True):
    """Length and age of a backlog."""

    count: int = 0
    oldest: int | None = None
    """ms since the epoch."""

    def __add__(self, other: Depth) -> Depth:
        times = [backlog.oldest for backlog in (self, other) if backlog.oldest is not None]
        return Depth(self.count + other.count, min(times, default=None))


INBOX = "inbox"
Backlog = Mapping[tuple[str, str], Depth]
"""Backlogs by (enterprise as in the record, kind); kind: `INBOX`, a lane, or `Outcome.DEAD`."""


class StoreError(Exception):
    """A database request failed. A write may or may not have happened."""


class Stale(StoreError):
    """The write was based on outdated data; nothing was changed.

    The room has another revision, an input or an effect has ended already, an input among `entries`
    is known, or a secret's stored value is not `SecretRow.was`.
    """


class NotOwned(StoreError):
    """Another process owns the room, and alone may write it; nothing was changed."""


class Unstorable(StoreError):
    """The request holds a value that can never be stored; nothing was changed."""


Answer = Committed | StoreError
"""Answer to a commit; an error is for its room alone. After a plain StoreError nothing was written,
as far as is known."""


class Seal(Protocol):
    """The operator's key. Implemented by `matrix.crypto.vault.Sealer`."""

    def seal(self, name: str, data: bytes) -> bytes: ...

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises StoreError if it was sealed with another key, or under another name."""


class Cutoffs(msgspec.Struct, frozen=True):
    """Times, ms since the epoch, before which `prune` deletes rows of a kind; None keeps them."""

    chats: int | None = None
    accounts: int | None = None
    ghosts: int | None = None
    audit: int | None = None


class EraserPort(Protocol):
    """Find, count and delete all that is stored of a room or a person (`rooms.erasure`).

    See `storage.erasing.Eraser` for each method. Each raises StoreError, and can be called again
    after it has failed half-way.
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
    async def rooms_naming(self, person: UserId) -> list[RoomId]: ...
    async def events_of(self, room_id: RoomId) -> list[EventId]: ...
    async def lines_of(
        self, room_id: RoomId, person: UserId
    ) -> tuple[list[int], list[EventId]]: ...
    async def empty_lines(self, lines: Sequence[int]) -> None: ...
    async def keys_of(self, person: UserId) -> list[str]: ...
    async def facts_of(self, person: UserId) -> list[str]: ...
    async def erase_person(self, person: UserId) -> None: ...
    async def overwrite(self, *, at_all_cost: bool) -> bool: ...


class Facts(Protocol):
    """Values kept over a restart, such as what was learnt about a server. Raises StoreError."""

    async def fact(self, name: str) -> str | None: ...
    async def save_fact(self, name: str, value: str) -> None: ...


class StorePort(Facts, Protocol):
    """Store of the rooms and of the code that serves them, implemented by `storage.sqlstore`.

    Every method raises StoreError if the database cannot be reached or refuses, and every one that
    writes raises Unstorable for a value that no retry can store.
    """

    @property
    def eraser(self) -> EraserPort: ...

    def submit(self, commits: Sequence[Commit], done: Callable[[list[Answer]], None]) -> None:
        """Write commits, each all or nothing, at most one a room; `done` gets their answers."""

    async def commit(self, commit: Commit) -> Committed:
        """Like `submit` for one room, but wait for the answer; raises the error if it is one."""

    async def mark_attempted(self, row: EffectRow, now: int) -> None:
        """Record that the peer may see this effect from now on, and count the attempt."""

    async def load(self, room_id: RoomId) -> Loaded:
        """Read a room and its open rows, in one snapshot."""

    async def busy_rooms(self) -> list[RoomId]:
        """Return the rooms with open rows, oldest work first."""

    async def written_beside(self) -> bool:
        """True if another connection has written since the last call. PostgreSQL: always False."""

    async def live_rooms(self) -> list[RoomId]: ...

    async def deadlines(self) -> list[tuple[RoomId, int]]:
        """Return the rooms that have a deadline, with it, soonest first."""

    async def rooms_of(self, customer: str) -> list[RoomId]:
        """Return the served rooms of the user who invited the bridge, those with a chat first."""

    async def chats(self, room_id: RoomId, limit: int, upto: int | None = None) -> list[ChatRow]:
        """Return a room's newest chats first, at most `limit`; with `upto`, none above it."""

    async def record_change(self, change: Change) -> None:
        """Write a row of the audit; those about a room's settings are part of its `Commit`."""

    async def changes(
        self, room_id: RoomId | None = None, before: int | None = None, limit: int = 100
    ) -> list[Change]:
        """Return the audit of one room or of all, newest first; only numbers below `before`."""

    async def anchor(self, room_id: RoomId, name: str) -> EventId | None: ...
    async def ghost(self, user_id: str) -> GhostRow | None: ...
    async def save_ghost(self, ghost: GhostRow) -> None: ...

    async def facts(self, prefix: str) -> list[str]:
        """Return the values of all facts whose names begin with the prefix."""

    async def secret(self, name: str) -> bytes | None: ...

    async def secret_names(self, prefix: str) -> list[str]:
        """Return the secrets' names that begin with the prefix, sorted; for rare use."""

    async def save_secrets(self, rows: Sequence[SecretRow]) -> None:
        """Write or remove rows, all or none; raises Stale if one fails its comparison (`was`)."""

    async def trace(self, event_id: EventId) -> list[TraceRow]:
        """Return all that happened to a Matrix event, in order of time."""

    async def known(self, events: Collection[EventId]) -> dict[EventId, int]:
        """Return those of the events that are stored as inputs, or that the bridge has sent, and
        the row of each in the journal.
        """

    async def newest(self) -> int:
        """Return the journal's newest row, 0 if it has none."""

    async def body_of(self, room_id: RoomId, event_id: EventId) -> bytes | None:
        """Return an event's body: its input, or the effect that created it; None if not kept."""

    async def posted(
        self, room_id: RoomId, before: EffectSeq, since: int
    ) -> list[tuple[EventId, bytes, int]]:
        """Return the room's events, newest first: (id, effect or input, when its row was stored).

        Effects only `before` that one. Only rows since a moment (ms), within a limited distance of
        `before` in the journal of all rooms: for rare use.
        """

    async def forget_body(self, room_id: RoomId, event_id: EventId) -> None:
        """Erase the body of this event's handled input, and the settled effects caused by it."""

    async def revive(self, letter_id: str, now: int) -> bool:
        """Put a dead letter back to work; False if there is none of that id."""

    async def discard(self, letter_id: str, now: int) -> bool: ...

    async def notify_owner(self, room_id: RoomId) -> None:
        """Make the other process that serves a room look at once for work stored by this one."""

    # --- queries over all rooms, for operators: each reads a limited number of rows -----------

    async def rooms(
        self, after: str, limit: int, *, live: bool, phase: str = ""
    ) -> list[StoredRoom]:
        """Return rooms by id, those after `after`; `live`: only those whose link is wanted, and
        of these, if it is given, only those in `phase`.
        """

    async def room(self, room_id: RoomId) -> StoredRoom | None: ...
    async def accounts(self, after: str, limit: int) -> list[AccountRow]: ...
    async def token(self, room_id: RoomId) -> Token | None: ...

    async def forget_account(self, room_id: RoomId) -> bool:
        """Delete the room's account, whichever process serves it; False if there is none."""

    async def deliveries(
        self, room_id: RoomId, before: int | None, limit: int
    ) -> tuple[list[LedgerRow], int | None]:
        """Return the room's newest rows below `before`, and the next `before`; None at the end."""

    async def input(self, room_id: RoomId, key: str) -> LedgerRow | None: ...

    async def letters(self, after: tuple[int, int], limit: int) -> list[DeadLetter]:
        """Return dead letters after a moment and number, the oldest first, without bodies."""

    async def letter(self, letter_id: str) -> DeadLetter | None: ...
    async def members(self) -> list[Member]: ...

    async def reports(self) -> list[tuple[float, str]]:
        """Return the reports of the other processes: (age in seconds, report)."""
