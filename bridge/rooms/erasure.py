"""Erasure of all data about a room or a person (GDPR article 17, PIPL article 47).

`survey` counts the data, and lists what is kept elsewhere; `erase` deletes it. A room in which a
person is alone with the bridge is erased completely; in a room of several people only that person's
data is erased.

A room belongs to the process that serves it, so while a bridge runs each room gets an *order*, an
input like any other (`record.EraseRoom`, `record.ErasePerson`): it is stored, survives a crash, and
is carried out by the room's owner, which first ends the chat at the call centre and leaves the
room. The room's own row holds the time of erasure (`RoomRecord.gone_at`) and is deleted last, so
that the next start resumes after a crash. If no bridge runs, everything is done here.

Data of no particular room (keys of a person's devices, facts) is erased at the end. `erase` may be
called again for the same subject at any time, and continues.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from bridge.conversation import model
from bridge.conversation.customer import unsaid
from bridge.conversation.turn import all_pieces, unique_events
from bridge.ids import EventId, RoomId, UserId
from bridge.rooms import cards, people
from bridge.rooms.effects import RedactAll
from bridge.rooms.ports import Clock, Refused
from bridge.rooms.record import STAYING, ErasePerson, EraseRoom, Membership, RoomInput, RoomRecord
from bridge.rooms.references import note_erasing
from bridge.rooms.store import Change, Commit, StoredRoom, StorePort
from bridge.rooms.surroundings import Surroundings, Upgrades
from bridge.rooms.visit import Visit, forgotten, readable_record, record_in, stored_as

_IN_COMPANY = "lines in rooms of several people"
_NOTED = "rooms of several people whose records name them"
PATIENCE = 90.0
"""Usual patience: a chat has a minute to end, and the order may be found late."""
LOOK = 0.5
"""Seconds between checks whether the rooms' owners have carried out their orders."""

_NO_ID = re.compile(r"\s\Z|[\x00-\x1f\x7f\ud800-\udfff]")
ENDING, LEAVING = 60_000, 15 * 60_000
"""ms that a room to be erased gets for ending its chat; and for what waits for the homeserver, such
as redactions, of which each takes Synapse 20 ms."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A request to erase a room or a person."""

    subject: str
    by: tuple[str, str]
    """Author of the request, and its way, for the audit (`store.Change`)."""
    force: bool = False
    """True to end running chats."""
    stay: bool = False
    """True to go on serving the erased rooms, as new ones."""
    redact: bool = False
    """True to have the homeserver redact the events in the ledger: this takes a running bridge."""


class BadSubject(ValueError):
    """The message says why: the subject is not the id of a room or a person outside the bridge, or
    it is a room that the bridge cannot erase while it runs.
    """


class StillChatting(Exception):
    """Chats go on in rooms to be erased, and `force` was not given."""

    def __init__(self, rooms: Collection[RoomId]) -> None:
        super().__init__(f"a chat or a request goes on in {', '.join(rooms)}")


class Kept(msgspec.Struct, frozen=True):
    """Data that is not erased, its place, and the reason, or what to do about it."""

    what: str
    where: str
    why: str


class Report(msgspec.Struct):
    subject: str
    rooms: list[RoomId] = []
    """Rooms that are erased completely."""
    shared: list[RoomId] = []
    """Rooms of several people, in which only this person's data is erased."""
    chatting: list[RoomId] = []
    """Rooms, out of `rooms`, with a chat or queue request under way; after an erasure, still."""
    found: dict[str, int] = {}
    """Number of items by kind, before the erasure."""
    left: dict[str, int] = {}
    """Number of items by kind, afterwards."""
    kept: list[Kept] = []
    accounts: list[str] = []
    """Login names of the rooms' accounts at the call centre; a name may suffice to log in."""
    done: bool = False


async def survey(store: StorePort, subject: str, is_ours: Callable[[str], bool]) -> Report:
    """Count the data about a room (`!…`) or a person (`@…:…`), without changing anything.

    Raises:
        BadSubject: it is neither, or a bridge user.
    """
    if _NO_ID.search(subject):
        raise BadSubject(
            f"{subject!a} is not a valid id: it ends with a space or has invalid characters"
        )
    report, found, upgrades = Report(subject), Counter[str](), Upgrades()
    await upgrades.load(store)
    if subject.startswith("!"):
        report.rooms.append(upgrades.stored_id(RoomId(subject)))
    elif not subject.startswith("@") or ":" not in subject:
        raise BadSubject(f"{subject} is neither a room (!…) nor a person (@name:server)")
    elif is_ours(subject):
        raise BadSubject(f"{subject} is one of the bridge's own users, not a person")
    else:
        person = UserId(subject)
        for room_id in await store.eraser.rooms_naming(person):
            found.update(await _add_room(store, report, room_id, person))
        facts = await store.eraser.facts_of(person)
        keys = await store.eraser.keys_of(person)
        found |= {"encryption keys": len(keys), "other notes": len(facts)}
    for room_id in [*report.rooms]:
        record = await record_of(store, room_id)
        counts = await store.eraser.count_room(room_id, places_of(record, upgrades))
        if not counts:
            report.rooms.remove(room_id)
        found.update(counts)
        if not isinstance(record.conversation.phase, model.NoChat):
            report.chatting.append(room_id)
        token, login = await store.token(room_id), record.login
        if name := (token and token.login_name) or (login and login.name):
            report.accounts.append(name)
    report.found = report.left = dict(+found)
    report.kept += KEPT
    return report


async def erase(
    store: StorePort,
    wish: Wish,
    is_ours: Callable[[str], bool],
    clock: Clock,
    tell: Callable[[RoomId, RoomInput, str], Awaitable[None]] | None = None,
    *,
    patience: float = PATIENCE,
) -> Report:
    """Erase all data about a room or a person, and report what was erased and what is kept.

    `tell`: sends an input, with its key, to the process that serves a room; None if no bridge runs
    on this database, nor may start meanwhile. `patience`: seconds to wait for the rooms' owners.

    Raises:
        BadSubject: see `survey`; or the room's record cannot be read, and a bridge runs.
        StillChatting: nothing was changed.
        StoreError: the database did not answer; call again.
    """
    report = await survey(store, wish.subject, is_ours)
    if report.chatting and not wish.force:
        raise StillChatting(report.chatting)
    for room_id in report.rooms:
        if tell is not None and _is_unreadable((await store.load(room_id)).room):
            why = "its record cannot be read (it is damaged, or of a later version)"
            raise BadSubject(f"{room_id}: {why}: stop the bridge, then erase the room")
    person = None if wish.subject.startswith("!") else UserId(wish.subject)
    now, fact = clock.now(), f"erase {secrets.token_hex(8)}"
    rooms = [room for room in report.rooms if not (wish.stay and await _is_new(store, room))]
    going = {room for room in rooms if (await record_of(store, room)).gone_at is not None}
    begins = {*rooms} - going if report.rooms else report.found
    if begins:  # otherwise the call only checks the progress of an earlier one
        kind = "room" if person is None else "person"
        await store.record_change(Change(now, *wish.by, "erase", after=kind))
    if tell is None:
        await _erase_here(store, wish, rooms, report.shared, clock)
        ended = True
    else:
        if report.shared:  # their owners look up there whom to erase
            await store.save_fact(fact, wish.subject)
        orders = await _orders_of(store, wish, rooms, report.shared, fact=fact, now=now)
        keys = {room_id: f"{fact}.{number}" for number, room_id in enumerate(orders)}
        for room_id, order in orders.items():
            if room_id not in going:
                await tell(room_id, order, keys[room_id])
        ended = await _all_carried_out(store, keys, clock, patience)
    if person is not None and ended:
        await store.eraser.erase_person(person)
    if ended and not await store.eraser.overwrite(at_all_cost=tell is None):
        report.kept.append(_IN_FILE)
    after = await survey(store, wish.subject, is_ours)
    report.left, report.chatting = after.found, after.chatting
    report.done = ended and (wish.stay or not after.found)
    if tell is None and report.rooms and not wish.stay:
        report.kept.append(_STILL_MEMBERS)
    return report


# --- while a bridge runs --------------------------------------------------------------------------


async def _orders_of(
    store: StorePort, wish: Wish, rooms: list[RoomId], shared: list[RoomId], *, fact: str, now: int
) -> dict[RoomId, RoomInput]:
    """Return the orders to the rooms' owners; in a room that has none, the person is erased here.

    `fact` names the stored fact with the person's id.
    """
    orders: dict[RoomId, RoomInput] = {room: EraseRoom(wish.stay, wish.redact) for room in rooms}
    for room_id in shared:
        row = (await store.load(room_id)).room
        # A room that was never served, or cannot be read, has no state in memory.
        if row is None or _is_unreadable(row):
            await _erase_person_here(store, room_id, UserId(wish.subject), now)
        else:
            orders[room_id] = ErasePerson(fact, wish.redact)
    return orders


async def _all_carried_out(
    store: StorePort, keys: Mapping[RoomId, str], clock: Clock, patience: float
) -> bool:
    """Wait until the orders with these keys are carried out; False if that takes too long."""
    end = clock.now() + patience * 1000
    while True:
        keys = {room: key for room, key in keys.items() if await _is_pending(store, room, key)}
        if not keys or clock.now() >= end:
            return not keys
        await clock.sleep(LOOK)


async def _is_pending(store: StorePort, room_id: RoomId, key: str) -> bool:
    found = await store.load(room_id)
    if any(row.key == key for row in found.inputs):
        return True
    return readable_record(found.room, room_id).gone_at is not None


async def erase_person(around: Surroundings, visit: Visit, order: ErasePerson) -> None:
    """Erase a person's settled rows at once, and open ones by repeated attempts (`erase_at`)."""
    store, room_id = around.store, visit.record.room_id
    known_as = await store.fact(order.fact)
    if known_as is None:
        return  # the erasure was completed without this order
    person = UserId(known_as)
    lines, known = await store.eraser.lines_of(room_id, person)
    events = _with_waiting(known, visit.record, person)
    record = await _forgetting(store, visit.record, events)
    visit.record = cards.unasked(without_person(record, person), events)
    if events:  # quotations of them are dropped, too
        visit.step(model.Withdrawn(events[0], events[1:]))
        note_erasing(visit, events)
        if order.redact:
            visit.ask(RedactAll(events))
    around.matrix.forget((), person)
    await store.eraser.empty_lines(lines)


async def redact_all(
    around: Surroundings,
    record: RoomRecord,
    theirs: Collection[EventId],
    redact: Callable[[UserId, EventId], Awaitable[None]],
    written: Callable[[], Awaitable[None]],
) -> str:
    """Redact these events; if none are given, all in the journal, also those that come meanwhile.

    Done where allowed: as the host, or as the bridge's user that sent them. Returns how many of how
    many. `written` returns once the journal has what was just being sent.
    """
    matrix, done, known = around.matrix, 0, set[EventId]()
    while True:
        if not theirs:
            await written()
        events = theirs or await around.store.eraser.events_of(record.room_id)
        if known.issuperset(events):
            return f"{done} of {len(known)}"
        for event_id in dict.fromkeys(event_id for event_id in events if event_id not in known):
            known.add(event_id)
            with suppress(Refused):
                try:
                    await redact(record.host, event_id)
                except Refused:
                    event = await matrix.event(record.matrix_id, record.host, event_id) or {}
                    if not matrix.is_ours(sender := str(event.get("sender"))):
                        continue
                    await redact(UserId(sender), event_id)
                done += 1


def has_ended(
    record: RoomRecord, now: int, *, idle: bool, leaving: bool = False, since: int = 0
) -> bool:
    """True once a room to be erased is idle after `gone_at`, or that takes too long.

    `leaving`: effects still wait for the homeserver. `since`: when this process began to serve it.
    """
    if record.gone_at is None or now < record.gone_at:
        return False
    return idle or now >= max(record.gone_at, since) + (LEAVING if leaving else ENDING)


def emptied_record(record: RoomRecord) -> RoomRecord | None:
    """Return an emptied record for a room that stays in service; None if it does not."""
    if not record.stays or record.membership is not Membership.JOINED:
        return None
    return RoomRecord(**{field: getattr(record, field) for field in STAYING})


async def erase_room(
    store: StorePort, record: RoomRecord, places: list[RoomId], now: int, known: int | None = None
) -> bool:
    """Erase a room; True if it stays in service, with an emptied record (see `storage.erasing`)."""
    room_id, left = record.room_id, emptied_record(record)
    await store.eraser.erase_room(room_id, places, now, record=left is None, known=known)
    if left is not None:
        stored = (await store.load(room_id)).room  # other processes may have made its row
        row = stored_as(left, stored.revision if stored else 0, people.due(left))
        await store.commit(Commit(room_id, now, row))
    return left is not None


# --- while no bridge runs -------------------------------------------------------------------------


async def _erase_here(
    store: StorePort, wish: Wish, rooms: list[RoomId], shared: list[RoomId], clock: Clock
) -> None:
    for room_id in shared:
        await _erase_person_here(store, room_id, UserId(wish.subject), clock.now())
    upgrades = Upgrades()
    await upgrades.load(store)
    for room_id in rooms:
        record = replace(await record_of(store, room_id), stays=wish.stay)
        await erase_room(store, record, places_of(record, upgrades), clock.now())


async def _is_new(store: StorePort, room_id: RoomId) -> bool:
    """True if a room holds no more data than one that was erased and stays in service."""
    record = await record_of(store, room_id)
    found = await store.eraser.count_room(room_id, [room_id])
    empty = found.keys() <= {"rooms", "other notes"}
    return empty and record == emptied_record(replace(record, stays=True))


async def _erase_person_here(store: StorePort, room_id: RoomId, person: UserId, now: int) -> None:
    lines, known = await store.eraser.lines_of(room_id, person)
    stored = (await store.load(room_id)).room
    if stored is not None and stored.record and not _is_unreadable(stored):
        record = record_in(stored, room_id)
        events = _with_waiting(known, record, person)
        record = await _forgetting(store, record, events)
        record = cards.unasked(without_person(record, person), events)
        if events:
            record = replace(record, conversation=unsaid(record.conversation, events))
        row = stored_as(record, stored.revision, stored.deadline)
        await store.commit(Commit(room_id, now, row))
    await store.eraser.empty_lines(lines)


def _with_waiting(
    known: Iterable[EventId], record: RoomRecord, person: UserId
) -> tuple[EventId, ...]:
    """Return a person's events: those in the journal, and undelivered ones, which may be older."""
    theirs = (piece for piece in all_pieces(record.conversation) if piece.sender == person)
    return tuple(dict.fromkeys((*known, *unique_events(theirs))))


async def _forgetting(
    store: StorePort, record: RoomRecord, events: Collection[EventId]
) -> RoomRecord:
    """Return the record without notes of undelivered messages that are, or may be, a person's.

    Whose an older one is, `retention` has erased; 🔁 would read it from the homeserver again.
    """
    gone = [
        note.event_id
        for note in record.undelivered
        if note.event_id in events or await store.body_of(record.room_id, note.event_id) is None
    ]
    return forgotten(record, *gone)


def without_person(record: RoomRecord, person: UserId) -> RoomRecord:
    """Return the record without a person's data, for a room of several people.

    Membership, and having invited the bridge, stay in it.
    """
    return replace(
        record,
        speaker=UserId("") if record.speaker == person else record.speaker,
        turned_away=tuple(guest for guest in record.turned_away if guest[0] != person),
        parked=tuple(raw for raw in record.parked if raw.get("sender") != person),
        sealed=tuple(event for event in record.sealed if event.raw.get("sender") != person),
    )


# --- survey ---------------------------------------------------------------------------------------


def places_of(record: RoomRecord, upgrades: Upgrades) -> list[RoomId]:
    """Return all known Matrix room ids of a room, before and after upgrades."""
    known = (record.room_id, record.matrix_id, record.came_from, *upgrades.places(record.room_id))
    return list(dict.fromkeys(place for place in known if place is not None))


async def record_of(store: StorePort, room_id: RoomId) -> RoomRecord:
    """Return a room's stored record; an empty one if this version cannot read it."""
    return readable_record((await store.load(room_id)).room, room_id)


def _is_unreadable(stored: StoredRoom | None) -> bool:
    """True if a room has a record that cannot be decoded, and so cannot be served."""
    try:
        record_in(stored, RoomId(""))
    except ValueError:
        return True
    return False


async def _add_room(
    store: StorePort, report: Report, room_id: RoomId, person: UserId
) -> dict[str, int]:
    """Add a room that names a person to `report.rooms` or `report.shared`.

    Returns the number of items to erase, for a shared room.
    """
    row = (await store.load(room_id)).room
    record, where = readable_record(row, room_id), f"room {room_id}"
    if record.customer == person and all(member.user == person for member in record.people):
        report.rooms.append(room_id)
        return {}
    if _is_unreadable(row):
        why = "it cannot be read: stop the bridge, then erase the whole room"
        report.kept.append(Kept("record of the room", where, why))
    lines, known = await store.eraser.lines_of(room_id, person)
    noted = without_person(record, person) != record or bool(_with_waiting((), record, person))
    if lines or noted:
        report.shared.append(room_id)
    if _has_unknown_senders(record, known):
        why = (
            "the ledger no longer has their sender; they go to the agent unless you erase the room"
        )
        report.kept.append(Kept("waiting messages that may be theirs", where, why))
    if people.was_member(record, person):
        what = "user id and name, as a member of the room or as the bridge's inviter"
        why = "a member's go when the bridge leaves the room, the inviter's if erased again then"
        report.kept.append(Kept(what, where, why))
    return {_IN_COMPANY: len(lines), _NOTED: int(noted)}


def _has_unknown_senders(record: RoomRecord, known: Collection[EventId]) -> bool:
    """True if messages of unknown senders wait, besides the person's `known` events."""
    state = record.conversation
    events = [piece.event_id for piece in all_pieces(state) if not (piece.sender or piece.is_note)]
    events += [card.asked for card in record.cards if card.text and card.asked is not None]
    if (given := state.rating) is not None:
        by = (given.event_id, given.said_by, given.besides_by)
        events += [event for event in by if event is not None]
    return not {*events} <= {*known}


# --- what is kept ---------------------------------------------------------------------------------

KEPT = [
    Kept(
        "messages, files, times and ratings of chats",
        "the call centre, under the rooms' accounts",
        "these are its own records: ask its operator to erase that customer",
    ),
    Kept(
        "event ids, without content",
        "the bridge's ledger",
        "until retention.rows, so that an event that arrives again is not delivered twice",
    ),
    Kept(
        "events, membership, profiles, files",
        "the homeserver, and those of the other members",
        "the homeserver keeps them: redact the events, erase the account or purge the room there",
    ),
    Kept(
        "deleted rows",
        "dead rows and WAL of PostgreSQL, its standbys, backups of either database, logs",
        "run VACUUM, and delete old backups and logs; a restored backup contains them again",
    ),
]
"""Kept of everybody, whether the bridge still knows it or not."""
_IN_FILE = Kept(
    "copies of erased rows",
    "free space of the SQLite file",
    "it is too large to be rewritten while the bridge runs: stop the bridge and run this again",
)
_STILL_MEMBERS = Kept(
    "membership of the bridge's users",
    "the erased rooms",
    "no bridge was running to leave them: kick its users, or keep the rooms closed",
)
