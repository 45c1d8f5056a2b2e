"""Encrypted events without a key: waiting, reporting, late delivery, giving up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from bridge.conversation.model import CustomerText, Ended, Reported
from bridge.ids import EventId, InputSeq, RoomId, SessionId, UserId
from bridge.rooms import references
from bridge.rooms.ports import Corrected, MatrixPort, Meaning, Spoke, Undecryptable, Unreadable
from bridge.rooms.reader import Reader
from bridge.rooms.record import MatrixEvent, SealedEvent, dump_input, dump_record, load_record
from bridge.rooms.room import next_moment
from bridge.rooms.store import InputRow
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit
from tests.fakes.memory import MemoryStore
from tests.unit.rooms.visits import ADA, RULES, STRANGER, House

NO_KEY = Undecryptable("unreadable.no_key", later=True)
Json = dict[str, object]


class Locks:
    """The part of a MatrixPort that opens events; keys are put in by hand."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.keys: set[str] = set()
        self.comes_while_waiting: set[str] = set()
        self.why = NO_KEY
        self.patience: list[float] = []
        self.asked = 0
        """Number of calls that may ask a homeserver, which other rooms must not wait for."""

    async def open(
        self, raw: Json, patience: float | None = None, *, ask: bool = True
    ) -> Json | Undecryptable:
        event_id = str(raw["event_id"])
        self.asked += ask
        if patience is not None:
            self.patience.append(patience)
            self.house.now += round(patience * 1000)
            self.keys |= self.comes_while_waiting
        return raw | {"open": True} if event_id in self.keys or "open" in raw else self.why

    def serves(self, user: UserId) -> bool:
        return bool(user)

    async def host_in(self, room_id: RoomId) -> UserId | None:
        del room_id
        return None

    def interpret(self, raw: Json) -> Meaning:
        event_id = EventId(str(raw["event_id"]))
        if "open" not in raw:
            return Unreadable(event_id, ADA, "unreadable.encrypted")
        return Spoke(event_id, ADA, CustomerText("hello"), plain="hello")


class Room:
    """A served room and its reader."""

    def __init__(self) -> None:
        self.house = House().served()
        self.locks = Locks(self.house)
        clock: Any = self
        around = Surroundings(
            MemoryStore(),
            cast(MatrixPort, self.locks),
            cast(Any, None),
            clock,
            RULES,
            cast(Any, None),
            cast(Any, None),
        )
        self.actor = Reader(self.house.visit.record.room_id, around)

    def now(self) -> int:
        return self.house.now

    @property
    def visit(self) -> Visit:
        return self.house.visit

    async def gets(self, event_id: str) -> None:
        body = dump_input(MatrixEvent({"event_id": event_id, "sender": ADA}))
        row = InputRow(InputSeq(1), self.visit.record.room_id, body, self.now(), event_id)
        await self.actor.handle(self.visit, row)

    async def looks_again(self) -> None:
        self.visit.now = self.now()
        await self.actor.try_again(self.visit)

    def reported(self) -> list[tuple[str, str]]:
        return [(e.event_id, e.key) for e in self.visit.effects if isinstance(e, Reported)]

    def said(self) -> list[str]:
        held = self.visit.record.conversation.held
        return [piece.event_id for piece in held if isinstance(piece.content, CustomerText)]

    def kept(self) -> list[object]:
        return [event.raw["event_id"] for event in self.visit.record.sealed]


@pytest.mark.asyncio
async def test_an_event_whose_key_comes_in_time_is_read() -> None:
    room = Room()
    room.locks.comes_while_waiting = {"$1"}
    await room.gets("$1")
    assert (room.said(), room.reported(), room.kept()) == (["$1"], [], [])
    assert room.locks.patience == [10.0]
    assert room.visit.now == room.now()


@pytest.mark.asyncio
async def test_without_may_wait_no_key_is_waited_or_asked_for() -> None:
    room = Room()
    room.locks.keys = {"$2"}
    await room.gets("$2")
    assert (room.said(), room.locks.asked) == (["$2"], 0)


@pytest.mark.asyncio
async def test_a_key_that_comes_late_delivers_once() -> None:
    room = Room()
    await room.gets("$1")
    assert (room.said(), room.reported(), room.kept()) == (
        [],
        [("$1", "unreadable.no_key")],
        ["$1"],
    )
    await room.looks_again()
    assert room.kept() == ["$1"]
    room.locks.keys = {"$1"}
    await room.looks_again()
    await room.looks_again()
    assert (room.said(), room.kept()) == (["$1"], [])
    assert len(room.reported()) == 1


@pytest.mark.asyncio
async def test_a_key_that_comes_after_its_chat_begins_no_other() -> None:
    """Nor does its message reach the agent of the next chat; it can be sent again."""
    for again in (False, True):
        room = Room()
        room.house.chat()
        chat = replace(room.visit.record.conversation, number=1)
        room.visit.set(conversation=chat)
        await room.gets("$1")
        now = replace(chat, number=2) if again else replace(chat, phase=Ended(SessionId(5150)))
        room.visit.set(conversation=now)
        await room.looks_again()
        room.locks.keys = {"$1"}
        await room.looks_again()
        assert room.visit.record.conversation == now
        told = [("$1", "unreadable.no_key"), ("$1", "undelivered.closed")]
        assert (room.reported()[-2:], room.kept()) == (told, [])


@pytest.mark.asyncio
async def test_a_key_that_never_comes_is_given_up() -> None:
    room = Room()
    await room.gets("$1")
    due = next_moment(room.visit.record, RULES)
    assert due == room.visit.now + references.SEALED_RETRY
    for _ in range(references.SEALED_KEPT // references.SEALED_RETRY):
        room.house.now = due or 0
        await room.looks_again()
        due = next_moment(room.visit.record, RULES)
    assert (room.kept(), due) == ([], None)


@pytest.mark.asyncio
async def test_an_event_that_can_never_be_decrypted_is_reported_at_once() -> None:
    room = Room()
    room.locks.why = Undecryptable("unreadable.undecryptable", later=False)
    await room.gets("$1")
    assert (room.reported(), room.kept()) == ([("$1", "unreadable.undecryptable")], [])
    assert room.locks.patience == []


@pytest.mark.asyncio
async def test_an_encrypted_event_during_the_join_is_parked() -> None:
    room = Room()
    room.house = House()
    room.house.invite()
    await room.gets("$1")
    assert [raw["event_id"] for raw in room.visit.record.parked] == ["$1"]
    assert (room.locks.patience, room.kept()) == ([], [])


@pytest.mark.asyncio
async def test_an_encrypted_event_in_a_room_not_served_is_not_waited_for() -> None:
    room = Room()
    room.house = House()
    await room.gets("$1")
    assert (room.reported(), room.kept()) == ([], [])


def test_a_key_is_waited_for_ten_seconds_at_most() -> None:
    """Else a clock set back an hour would delay the room's later messages by an hour."""
    waits = [
        references.key_patience(received, 20_000) for received in (0, 12_000, 20_000, 3_620_000)
    ]
    assert waits == [0, 2, 10, 10]


def keep_all(visit: Visit, raws: Iterable[Json], found: Undecryptable = NO_KEY) -> list[str]:
    """Keep events one after the other; return the text keys of their answers."""
    return [references.keep_sealed(visit, raw, found) for raw in raws]


def test_the_number_of_sealed_events_is_limited_and_they_survive_a_restart() -> None:
    """One more is not kept, and its sender not told to wait for the key."""
    visit, limit = House().served().visit, references.SEALED_LIMIT
    raws: list[Json] = [{"event_id": f"${number}", "sender": ADA} for number in range(limit + 5)]
    answers = keep_all(visit, raws)
    assert answers == [NO_KEY.key] * limit + ["unreadable.undecryptable"] * 5
    kept = [event.raw["event_id"] for event in visit.record.sealed]
    assert kept == [f"${number}" for number in range(limit)]
    withheld = Undecryptable("unreadable.withheld.blocked", later=True)
    assert keep_all(visit, raws[:1], withheld) == [withheld.key]
    assert load_record(dump_record(visit.record)).sealed == visit.record.sealed
    older = msgspec.structs.replace(visit.record, sealed=())
    assert load_record(dump_record(older)).sealed == ()
    assert isinstance(visit.record.sealed[0], SealedEvent)


def test_sealed_events_take_256_kilobytes_of_the_record_at_most() -> None:
    """50 events of 64 KB would be written with each step for an hour."""
    visit = House().served().visit
    for number in range(40):
        raw: Json = {"event_id": f"${number}", "sender": ADA, "content": "x" * 60_000}
        keep_all(visit, [raw])
    kept = [event.raw["event_id"] for event in visit.record.sealed]
    assert kept == [f"${number}" for number in range(4)]
    assert len(dump_record(visit.record)) < references.SEALED_BYTES + 4_096


def test_strangers_events_do_not_take_the_place_of_a_customers() -> None:
    """Whoever is in the room can send events without a key, as long or as many as they like."""
    visit = House().served().visit
    keep_all(visit, [{"event_id": "$ada", "sender": ADA}])
    for number in range(references.SEALED_LIMIT + 5):
        keep_all(visit, [{"event_id": f"${number}", "sender": STRANGER}])
    for number in range(9):
        raw: Json = {"event_id": f"$long{number}", "sender": STRANGER, "content": "x" * 60_000}
        keep_all(visit, [raw])
    kept = [event.raw["event_id"] for event in visit.record.sealed]
    assert kept == ["$ada", *(f"$long{number}" for number in range(5, 9))]


def test_a_redacted_sealed_event_is_dropped() -> None:
    visit = House().served().visit
    keep_all(visit, [{"event_id": "$1"}, {"event_id": "$2"}])
    references.drop_sealed(visit, "$1")
    references.drop_sealed(visit, "$3")
    assert [event.raw["event_id"] for event in visit.record.sealed] == ["$2"]


def test_a_correction_takes_the_place_of_the_sealed_wordings_before_it() -> None:
    visit = House().served().visit

    def keep(event_id: str, of: str = "", sender: str = ADA) -> None:
        content = {"m.relates_to": {"rel_type": "m.replace", "event_id": of}} if of else {}
        keep_all(visit, [{"event_id": event_id, "sender": sender, "content": content}])

    keep("$1")
    keep("$other")
    keep("$first", of="$1")
    keep("$stranger", of="$1", sender=STRANGER)
    keep("$second", of="$1")
    keep("$third", of="$1")
    words = CustomerText("new")
    references.corrected(visit, Corrected(EventId("$second"), ADA, EventId("$1"), words), None)
    kept = [event.raw["event_id"] for event in visit.record.sealed]
    assert kept == ["$other", "$stranger", "$second", "$third"]


def test_patience_is_counted_from_the_arrival() -> None:
    assert [references.key_patience(1_000, now) for now in (1_000, 6_000, 11_000, 99_000)] == [
        10,
        5,
        0,
        0,
    ]
