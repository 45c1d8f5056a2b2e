"""Erasure of rooms and persons: nothing is left but what the report names; others are unharmed."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest

from bridge.conversation.model import (
    Chatting,
    Conversation,
    CustomerText,
    Ended,
    Held,
    Idle,
    Rating,
)
from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.rooms.engine import Engine
from bridge.rooms.erasure import (
    ENDING,
    BadSubject,
    Report,
    StillChatting,
    Wish,
    erase,
    survey,
)
from bridge.rooms.people import GRACE
from bridge.rooms.record import (
    EraseRoom,
    MatrixEvent,
    Membership,
    OwnLogin,
    Person,
    RoomRecord,
    Undelivered,
    dump_record,
    load_record,
)
from bridge.rooms.store import (
    Change,
    ChatRow,
    Commit,
    Cutoffs,
    NewInput,
    PassedOn,
    SecretRow,
    StoredRoom,
    StoreError,
    Token,
)
from bridge.rooms.surroundings import begun_fact
from bridge.rooms.visit import Came, stored_as
from bridge.storage.erasing import Eraser
from bridge.webchat.frames import (
    AgentText,
    CloseSession,
    MessageReceived,
    RateSession,
    Received,
    Reply,
)
from bridge.webchat.http import RobotAnswer
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World
from tests.fakes.reading import Json, ReadingWorld
from tests.unit.rooms.test_erasing import ENGLISH
from tests.unit.rooms.test_several import two
from tests.unit.rooms.visits import ADA, BOT, RULES

pytestmark = pytest.mark.asyncio
OTHER = RoomId("!other:example.org")
SHARED = RoomId("!shared:example.org")
NEXT = RoomId("!next:example.org")
BEN = UserId("@ben:example.org")
OPERATOR = ("operator", "cli")
TABLES = (
    "rooms", "journal", "chats", "anchors", "accounts", "facts", "secrets", "changes", "ghosts",
)  # fmt: skip
OF_ADA = ("@ada", "Ada", ROOM, NEXT, "elephant", "mx-room", "opening-room")
"""Words, names and ids that belong to Ada."""


def is_ours(user: str) -> bool:
    return user.startswith("@webchat")


def dumped(world: World) -> str:
    """Every value of every table, as text."""
    values = [v for t in TABLES for row in world.store.rows(t) for v in row.values()]
    return "\n".join(v.decode() if isinstance(v, bytes) else str(v) for v in values)


def of_room(world: World, room_id: RoomId) -> list[object]:
    tables = ("rooms", "journal", "chats", "anchors", "accounts")
    return [row for t in tables for row in world.store.rows(t) if row["room_id"] == room_id]


async def full(world: World, room_id: RoomId = ROOM, who: UserId = ADA) -> None:
    """Store a room with a chat and with every kind of row that a room can have."""
    store, now = world.writing, world.clock.now()
    number = room_id[1:].partition(":")[0]
    record = RoomRecord(
        room_id,
        membership=Membership.JOINED,
        host=BOT,
        customer=who,
        displayname=who[1:].partition(":")[0].title(),
        people=(Person(who, who[1:4].title()),),
        login=OwnLogin(f"mx-{number}", b"sealed"),
        place=NEXT if room_id == ROOM else None,
    )
    phase = Chatting(SESSION, now, QueueId(1), (MEI,))
    conversation = msgspec.structs.replace(record.conversation, phase=phase, number=1)
    record = msgspec.structs.replace(record, conversation=conversation)
    chat = ChatRow(1, b'{"is":"Chat","number":1,"queue_id":1,"asked":1}')
    row = StoredRoom(room_id, dump_record(record), True, "Chatting", None, who)
    await flow.step(store, row, chats=[chat], now=now)
    await store.save_token(Token(room_id, f"mx-{number}", f"opening-{number}", now))
    if room_id == ROOM:
        await store.save_fact(
            f"in place {NEXT}", f'{{"room_id":"{NEXT}","record":"{ROOM}","ours":true}}'
        )
    await store.save_fact(begun_fact(who), f'{{"{room_id}":1,"!gone:example.org":2}}')
    await store.record_change(Change(now, who, "command", "queue", "1", "2", room_id=room_id))
    names = [
        f"in/{room_id}/SESSION/{who}",
        f"no/in/{room_id}/SESSION/{who}",
        f"seen/0/in/{room_id}/SESSION/{who}",
        f"in/{room_id}/OURS/{BOT}",
        f"owed/in/{room_id}/OURS/{BOT}/{who}",
        f"room/{room_id}",
        f"olm/{BOT}/{who}/CURVE{number}",
        f"olm/{BOT}/CURVE{number}",
    ]
    await store.save_secrets([SecretRow(name, b"sealed") for name in names])


async def dead_letter(world: World, room_id: RoomId, sender: UserId, key: str) -> None:
    body = f'{{"is":"MatrixEvent","raw":{{"sender":"{sender}","body":"elephant"}}}}'.encode()
    (row,) = await flow.accept(world.writing, [NewInput(room_id, body, key)], world.clock.now())
    why = [(row.seq, "it cannot be read")]
    await world.writing.commit(Commit(room_id, world.clock.now(), buried=why))


async def talk(
    world: World,
    engine: Engine,
    room_id: RoomId = ROOM,
    who: UserId = ADA,
    word: str = "elephant",
) -> None:
    """Send a message both ways."""
    where = NEXT if room_id == ROOM else room_id
    said = world.event(text=f"my word: {word}", room_id=where, sender=who)
    await engine.accept_events([said])
    await quiet()
    push = Received(MessageReceived(SESSION, MEI.id, AgentText(f"{word}, is that right?")))
    await engine.pushed(room_id, f"wc:{room_id}:{word}", push)
    await quiet()


async def erased(world: World, engine: Engine | None, subject: str, **more: bool) -> Report:
    """Erase `subject` while the clock runs."""
    tell = None if engine is None else engine.tell
    wish = Wish(subject=subject, by=OPERATOR, **more)
    work = erase(world.store, wish, is_ours, world.clock, tell)
    task = asyncio.get_running_loop().create_task(work)
    for _ in range(300):
        await world.clock.turn(0.5)
        if task.done():
            break
    return await task


def left(world: World, words: tuple[str, ...] = OF_ADA) -> list[str]:
    there = dumped(world)
    return [one for one in words if one in there]


async def test_erasing_a_person_erases_their_rooms_and_nobody_elses() -> None:
    world = World()
    await full(world)
    await full(world, OTHER, BEN)
    await dead_letter(world, ROOM, ADA, "$dead")
    async with world.running() as engine:
        await talk(world, engine)
        await talk(world, engine, OTHER, BEN, "giraffe")
        others = of_room(world, OTHER)
        assert left(world) == list(OF_ADA)
        report = await erased(world, engine, ADA, force=True)
        assert report.done, report
        assert left(world) == []
        assert of_room(world, OTHER) == others
        closed = [one.room_id for one in world.link.calls if isinstance(one.command, CloseSession)]
        assert closed == [ROOM]
        assert (NEXT, BOT) in world.matrix.reasons
        assert world.matrix.forgotten[0][0] == (ROOM, NEXT)
    assert report.found["ledger lines"] == 4  # a message each way, the history, the dead letter
    assert report.found["dead letters"] == 1
    assert report.left == {}
    kept = [one["key"] for one in world.store.rows("journal") if one["outcome"] == "erased"]
    assert "$dead" in kept
    assert report.accounts == ["mx-room"]
    names = {row["name"] for row in world.store.rows("secrets")}
    assert names == {
        f"in/{OTHER}/SESSION/{BEN}", f"no/in/{OTHER}/SESSION/{BEN}",
        f"seen/0/in/{OTHER}/SESSION/{BEN}", f"in/{OTHER}/OURS/{BOT}", f"room/{OTHER}",
        f"olm/{BOT}/{BEN}/CURVEother", f"olm/{BOT}/CURVEother",
        f"owed/in/{OTHER}/OURS/{BOT}/{BEN}",
    }  # fmt: skip
    (first, _, order) = world.store.rows("changes")
    assert (first["actor"][:7], first["room_id"][:7], first["before"]) == ("erased-", "erased-", "")
    assert (order["actor"], order["key"], order["after"]) == ("operator", "erase", "person")


@pytest.mark.parametrize("name", [ROOM, NEXT])
async def test_a_room_is_erased_by_any_of_its_ids(name: RoomId) -> None:
    world = World()
    await full(world)
    async with world.running() as engine:
        await talk(world, engine)
        report = await erased(world, engine, name, force=True)
    assert report.done, report
    # Data of the person that belongs to no room stays.
    assert left(world, (ROOM, NEXT, "elephant", "mx-room", "opening-room")) == []
    (begun,) = [r for r in world.store.rows("facts") if r["name"] == begun_fact(ADA)]
    assert begun["value"] == '{"!gone:example.org":2}'


async def test_a_running_chat_is_not_erased_without_force() -> None:
    world = World()
    await full(world)
    async with world.running() as engine:
        before = dumped(world)
        assert (await survey(world.store, ADA, is_ours)).chatting == [ROOM]
        with pytest.raises(StillChatting, match=ROOM):
            await erased(world, engine, ADA)
        assert dumped(world) == before
        assert world.link.calls == []


async def test_an_erasure_waits_a_limited_time_for_a_silent_call_centre() -> None:
    world = World()
    await full(world)
    async with world.running() as engine:
        world.link.gate.clear()
        task = asyncio.get_running_loop().create_task(
            erase(
                world.store,
                Wish(subject=ADA, by=OPERATOR, force=True),
                is_ours,
                world.clock,
                engine.tell,
            )
        )
        await world.clock.turn(ENDING / 1000 - 1)
        assert world.store.rows("chats")
        assert ADA not in [row["value"] for row in world.store.rows("facts")], "there may be no end"
        for _ in range(40):
            await world.clock.turn(0.5)
        assert (await task).done
    assert left(world, (ROOM, "mx-room", "opening-room")) == []


async def test_an_erasure_interrupted_by_a_kill_is_finished_after_the_start() -> None:
    world = World()
    await full(world)
    async with world.running() as engine:
        await talk(world, engine)
        await engine.tell(ROOM, EraseRoom(), "erase:1")
        await quiet()
    assert (await world.stored()).gone_at is not None
    # Half of the rows are deleted; the room's own row goes last.
    world.store.write("DELETE FROM journal WHERE seq < 3")
    world.store.write("DELETE FROM chats")
    async with world.running():
        await world.clock.turn(5)
    assert left(world, (ROOM, NEXT, "elephant", "mx-room", "opening-room")) == []


async def test_an_erasure_is_retried_after_the_database_was_away() -> None:
    world = World()
    await full(world)
    async with world.running() as engine:
        await engine.tell(ROOM, EraseRoom(), "erase:1")
        await quiet()
        world.store.down = True
        await world.clock.turn(10)
        world.store.down = False
        await world.clock.turn(10)
    assert of_room(world, ROOM) == []


async def test_a_failed_erasure_forgets_no_id_of_an_upgraded_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, between = World(), RoomId("!between:example.org")
    await full(world)
    fact = f'{{"room_id":"{between}","record":"{ROOM}","ours":true}}'
    await world.store.save_fact(f"in place {between}", fact)
    await world.store.save_secrets([SecretRow(f"room/{between}", b"sealed")])
    erase_room, failures = Eraser.erase_room, [StoreError("away")]

    async def fails_once(*args: Any, **more: Any) -> None:
        if failures:
            raise failures.pop()
        await erase_room(*args, **more)

    monkeypatch.setattr(Eraser, "erase_room", fails_once)
    async with world.running() as engine:
        await engine.tell(ROOM, EraseRoom(), "erase:1")
        await world.clock.turn(10)
        assert not failures
        assert left(world, (ROOM, NEXT, between)) == []
        await engine.accept_events([world.invitation(between)])  # a room of its own, from now on
        await quiet()
    assert left(world, (ROOM, NEXT, between)) == [between]


async def test_in_a_room_of_several_people_only_the_persons_data_is_erased() -> None:
    world = World()
    await full(world, SHARED, BEN)
    stored = (await world.writing.load(SHARED)).room
    assert stored is not None
    record = load_record(stored.record)
    people = (Person(BEN, "Ben"), Person(ADA, "Ada"))
    record = msgspec.structs.replace(
        record, people=people, direct=False, speaker=ADA, turned_away=((ADA, 1),)
    )
    await world.writing.commit(Commit(SHARED, 1, stored_as(record, stored.revision)))
    await dead_letter(world, SHARED, ADA, "$dead")
    async with world.running() as engine:
        await talk(world, engine, SHARED, BEN, "giraffe")
        await talk(world, engine, SHARED, ADA)
        report = await erased(world, engine, ADA)
        assert report.done, report
        assert (report.rooms, report.shared) == ([], [SHARED])
        there = dumped(world)
        assert "my word: elephant" not in there
        assert "giraffe" in there
        assert "elephant, is that right?" in there  # an agent's message is not Ada's
    record = await world.stored(SHARED)
    assert (record.speaker, record.turned_away) == ("", ())
    assert record.people == people
    assert f"room {SHARED}" in [one.where for one in report.kept]
    assert [row["outcome"] for row in world.store.rows("journal") if row["key"] == "$dead"] == [
        "discarded"
    ]


async def in_company(world: World, **more: object) -> None:
    """Store a room of Ada and Ben with a chat; `more`: fields of its record."""
    await full(world, SHARED, BEN)
    stored = (await world.writing.load(SHARED)).room
    assert stored is not None
    people = (Person(BEN, "Ben"), Person(ADA, "Ada"))
    more = {"people": people, "direct": False, **more}
    record = msgspec.structs.replace(load_record(stored.record), **more)
    await world.writing.commit(Commit(SHARED, 1, stored_as(record, stored.revision)))


@pytest.mark.parametrize("running", [True, False])
async def test_a_comment_sent_beside_anothers_is_erased_with_its_author(*, running: bool) -> None:
    """A rating that waits for the call centre takes up the comment of a newer one."""
    world = World()
    rating = Rating(SESSION, 0, "giraffe", EventId("$ben"))
    ended = Conversation(Ended(SESSION, world.clock.now()), last_session=SESSION, rating=rating)
    await in_company(world, conversation=ended)
    world.link.gate.clear()
    async with world.running() as engine:
        said = world.event(text="!wc rate 0 elephant", room_id=SHARED, sender=ADA)
        await engine.accept_events([said])
        await quiet()
        world.link.gate.set()
        await world.clock.turn(5)
        assert world.link.calls[-1].command == RateSession(SESSION, 0, "giraffe\nelephant")
        if running:
            assert (await erased(world, engine, ADA)).done
    if not running:
        assert (await erased(world, None, ADA)).done
    there = dumped(world)
    assert "elephant" not in there
    assert "giraffe" in there


async def test_a_message_under_way_to_the_agent_is_erased_once_its_call_ended() -> None:
    world = World()
    await in_company(world)
    async with world.running() as engine:
        world.link.gate.clear()
        await engine.accept_events(
            [world.event(text="my word: elephant", room_id=SHARED, sender=ADA)]
        )
        await quiet()
        report = await erased(world, engine, ADA)
        assert not report.done
        assert report.left["lines in rooms of several people"] == 1
        world.link.gate.set()
        await world.clock.turn(130)
        assert "elephant" not in dumped(world)
        assert (await erased(world, engine, ADA)).done


@pytest.mark.parametrize("running", [True, False])
async def test_a_persons_question_to_the_robot_is_erased(
    monkeypatch: pytest.MonkeyPatch, *, running: bool
) -> None:
    """It would be passed on to the next agent."""
    world = World(rules=msgspec.structs.replace(RULES, robot=True))
    await in_company(world)

    async def answer(question: str) -> tuple[RobotAnswer, ...]:
        return (RobotAnswer("In the zoo", "zoo"),)

    monkeypatch.setattr(world.link, "ask_robot", answer)
    async with world.running() as engine:
        await engine.accept_events(
            [
                world.event(text="!wc ask where is my elephant?", room_id=SHARED, sender=ADA),
                world.event(text="!wc ask where is my giraffe?", room_id=SHARED, sender=BEN),
            ]
        )
        await quiet()
        if running:
            assert (await erased(world, engine, ADA)).done
    if not running:
        assert (await erased(world, None, ADA)).done
    questions = [one.text for one in (await world.stored(SHARED)).cards]
    assert questions == ["", "where is my giraffe?"]
    assert "elephant" not in dumped(world)


def said(
    world: ReadingWorld, event_id: str, text: str, of: UserId, **more: object
) -> tuple[RoomId, EventId, Json]:
    event = world.message(event_id, msgtype="m.text", body=text, **more)
    return SHARED, event[1], event[2] | {"sender": of}


@pytest.mark.parametrize("running", [True, False])
async def test_a_quotation_of_the_person_in_anothers_message_is_erased(*, running: bool) -> None:
    """In a reply that still waits; the agent has the quoted message already."""
    world = ReadingWorld(ENGLISH)
    await in_company(world)
    reply = {"m.in_reply_to": {"event_id": "$1"}}
    async with world.running() as engine:
        await engine.accept_events([said(world, "$1", "my elephant", ADA)])
        await quiet()
        world.link.gate.clear()
        await engine.accept_events([said(world, "$2", "one moment", BEN)])
        await engine.accept_events([said(world, "$3", "mine, too", BEN, **{"m.relates_to": reply})])
        await quiet()
        assert "elephant" in str((await world.stored(SHARED)).conversation.held)
        if running:
            await erased(world, engine, ADA)
    if not running:
        await erased(world, None, ADA)
    (held,) = (await world.stored(SHARED)).conversation.held
    assert held.content == CustomerText("Ben: mine, too")
    assert "elephant" not in dumped(world)


@pytest.mark.parametrize("running", [True, False])
async def test_a_message_that_mentions_the_person_stays(*, running: bool) -> None:
    """It waits, is delivered, and not redacted; only what is not Ada's can be sent again."""
    world = ReadingWorld(ENGLISH)
    notes = Undelivered(EventId("$pruned")), Undelivered(EventId("$3"))
    await in_company(world, undelivered=notes)
    world.link.answers.append(Reply(110, -77))
    world.matrix.level = 50.0
    mention = {"m.mentions": {"user_ids": [ADA]}}
    async with world.running() as engine:
        await engine.accept_events([said(world, "$1", "my elephant", ADA)])
        await quiet()
        world.link.gate.clear()
        await engine.accept_events([said(world, "$2", "one moment", BEN)])
        await engine.accept_events([said(world, "$3", "my money, please", BEN, **mention)])
        await quiet()
        assert len((await world.stored(SHARED)).undelivered) == 3
        if running:
            await erased(world, engine, ADA, redact=True)
    if not running:
        await erased(world, None, ADA)
    (held,) = (await world.stored(SHARED)).conversation.held
    assert held.content == CustomerText("Ben: my money, please")
    assert [one.event_id for one in (await world.stored(SHARED)).undelivered] == ["$3"]
    assert world.matrix.redacted == (["$1"] if running else [])
    world.link.gate.set()
    async with world.running() as engine:
        await quiet()
        assert world.link.texts(SHARED)[-1] == "Ben: my money, please"
        report = await erased(world, engine, ADA)
    assert report.done, report
    assert "elephant" not in dumped(world)


@pytest.mark.usefixtures("no_other_writer")
@pytest.mark.parametrize("running", [True, False])
async def test_a_waiting_message_already_pruned_from_the_ledger_is_erased(*, running: bool) -> None:
    """Bodies are pruned while a callback is pending."""
    world = ReadingWorld(ENGLISH)
    await in_company(world, conversation=Conversation(Idle(world.clock.now())))
    async with world.running() as engine:
        world.link.answers += [Reply(101, -3)] * 400
        for number, (word, of) in enumerate([("elephant", ADA), ("!wc callback", BEN)]):
            await engine.accept_events([said(world, f"${number}", word, of)])
            await quiet()
        await engine.accept_events([said(world, "$2", "my giraffe", BEN)])
        for _ in range(30):
            await world.clock.turn(3600)
            await quiet()
        now = world.clock.now()
        await world.store.prune(now - 86_400_000, now - 7 * 86_400_000, Cutoffs())
        assert len((await world.stored(SHARED)).conversation.held) == 2
        if running:
            assert (await erased(world, engine, ADA)).done
    if not running:
        assert (await erased(world, None, ADA)).done
    (held,) = (await world.stored(SHARED)).conversation.held
    assert (held.content, held.sender) == (CustomerText("Ben: my giraffe"), BEN)
    assert "elephant" not in dumped(world)


async def test_the_report_names_waiting_messages_of_unknown_senders() -> None:
    """From a customer alone with the bot, or stored by an earlier version."""
    world = ReadingWorld(ENGLISH)
    waiting = Held(EventId("$1"), CustomerText("elephant"), 1)
    await in_company(world, conversation=Conversation(held=(waiting,)))
    report = await survey(world.store, ADA, is_ours)
    assert [one.where for one in report.kept if one.what.startswith("waiting messages")] == [
        f"room {SHARED}"
    ]


async def test_an_erased_room_may_be_served_on_as_a_new_room() -> None:
    world = World()
    await full(world)
    async with world.running() as engine:
        await talk(world, engine)
        report = await erased(world, engine, ROOM, force=True, stay=True)
        assert report.done, report
        assert left(world, ("elephant", "mx-room", "opening-room")) == []
        record = await world.stored()
        assert (record.membership, record.host, record.customer) == (Membership.JOINED, BOT, ADA)
        assert (record.gone_at, record.conversation.number, record.chats) == (None, 0, ())
        assert (NEXT, BOT) not in world.matrix.reasons
        await engine.accept_events([world.event(text="hello again", room_id=NEXT)])
        await quiet()
        assert type((await world.stored()).conversation.phase).__name__ in {"Requesting", "Queued"}


@pytest.mark.parametrize("running", [True, False])
async def test_an_erased_room_without_a_customer_is_left_at_its_former_deadline(
    *, running: bool
) -> None:
    world = World()
    emptied = world.clock.now() - 1000
    await in_company(world, people=(), empty_since=emptied)
    if not running:
        assert (await erased(world, None, SHARED, force=True, stay=True)).done
    async with world.running() as engine:
        if running:
            assert (await erased(world, engine, SHARED, force=True, stay=True)).done
        record = await world.stored(SHARED)
        assert (record.membership, record.empty_since) == (Membership.JOINED, emptied)
        assert (SHARED, emptied + GRACE) in await world.writing.deadlines(), "also after a crash"
        await world.clock.turn(GRACE / 1000)
    assert (await world.stored(SHARED)).membership is Membership.LEFT


async def test_the_room_is_told_before_it_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await full(world)
    heard: list[str] = []
    leave = world.matrix.leave

    async def leaving(room_id: RoomId, user: UserId, reason: str = "") -> None:
        if user == BOT:
            heard.extend(world.matrix.texts(room_id))
        await leave(room_id, user, reason)

    monkeypatch.setattr(world.matrix, "leave", leaving)
    async with world.running() as engine:
        await erased(world, engine, ROOM, force=True)
    assert heard == ["room.erased"]


async def test_a_message_during_an_erasure_is_answered() -> None:
    """It begins no chat, which the erasure would delete a minute later."""
    world = World()
    await full(world)
    async with world.running() as engine:
        await engine.tell(ROOM, EraseRoom(stay=True), "erase:1")
        await quiet()
        events = [world.event(text=words, room_id=NEXT) for words in ("hello?", "!wc start")]
        await engine.accept_events(events)
        await quiet()
        assert world.matrix.texts(NEXT).count("room.erasing") == 2
        await world.clock.turn(5)
        record = await world.stored()
    assert (record.gone_at, record.conversation.number) == (None, 0)
    assert left(world, ("elephant", "mx-room", "opening-room")) == []


@pytest.mark.parametrize("woken", [False, True])
async def test_a_message_while_rows_are_deleted_is_the_new_rooms_first(
    monkeypatch: pytest.MonkeyPatch, *, woken: bool
) -> None:
    """Nothing wakes the room meanwhile: its answer would be deleted before it is sent."""
    world = World()
    await full(world)
    erase_room = world.store.eraser.erase_room
    async with world.running() as engine:

        async def slow(*args: Any, **more: Any) -> None:
            await engine.accept_events([world.event(text="hello again", room_id=NEXT)])
            await quiet()
            if woken:
                engine.stored_elsewhere(PassedOn(ROOM, 2**62))
                engine.timetable.add(ROOM, world.clock.now())
                await world.clock.turn(40)  # and a sweep finds it
            await erase_room(*args, **more)

        monkeypatch.setattr(world.store.eraser, "erase_room", slow)
        assert (await erased(world, engine, ROOM, force=True, stay=True)).done
        record = await world.stored()
    assert (record.gone_at, record.conversation.number) == (None, 1)
    assert type(record.conversation.phase).__name__ in {"Requesting", "Queued"}
    assert left(world, ("mx-room", "opening-room")) == []
    assert "room.erasing" not in world.matrix.texts(NEXT)


@pytest.mark.parametrize("behind", [0, 60_000])
async def test_a_message_from_another_process_meanwhile_is_the_new_rooms_first(
    monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    """Whatever the clock of that process shows."""
    world = World()
    await full(world)
    erase_room, times = world.store.eraser.erase_room, 0
    async with two(world) as (owner, _, post):

        async def slow(*args: Any, **more: Any) -> None:
            nonlocal times
            times += 1
            event = world.event(text="hello again", room_id=NEXT)
            came = Came(MatrixEvent(event[2]), event[1])
            await post.pass_on([came.new_input(ROOM)], world.clock.now() - behind)
            await post.deliver()
            await erase_room(*args, **more)

        monkeypatch.setattr(world.store.eraser, "erase_room", slow)
        assert (await erased(world, owner, ROOM, force=True, stay=True)).done
        record = await world.stored()
    assert (record.gone_at, record.conversation.number, times) == (None, 1, 1)


async def test_an_input_whose_notice_to_the_owner_was_lost_is_answered() -> None:
    world = World()
    await full(world)
    async with two(world) as (owner, other, _):
        await owner.tell(ROOM, EraseRoom(stay=True), "erase:1")
        await quiet()
        await other.accept_events([world.event(text="hello?", room_id=NEXT)])
        for _ in range(60):
            await world.clock.turn(0.1)  # its notice is lost
        record = await world.stored()
    assert record.gone_at is None
    assert world.matrix.texts(NEXT).count("room.erasing") == 1


async def test_without_a_running_bridge_data_is_erased_at_once() -> None:
    world = World()
    await full(world)
    await full(world, OTHER, BEN)
    async with world.running() as engine:
        await talk(world, engine)
        await talk(world, engine, OTHER, ADA, "giraffe")
    report = await erased(world, None, ADA, force=True)
    assert report.done, report
    assert (
        left(world, (ROOM, NEXT, "elephant", "mx-room", "opening-room", "my word: giraffe")) == []
    )
    assert any("kick" in one.why for one in report.kept)
    assert of_room(world, OTHER)


async def test_an_invitation_during_an_erasure_is_declined() -> None:
    """The room's record is about to be deleted."""
    world = World()
    await full(world)
    async with world.running() as engine:
        await engine.tell(ROOM, EraseRoom(), "erase:1")
        await quiet()
        await engine.accept_events([world.invitation(NEXT)])
        await quiet()
        assert not [one for one in world.matrix.requests if one.startswith("enter")]
        assert world.matrix.requests.count(f"leave {NEXT} {BOT}") == 2  # it is declined
        await world.clock.turn(5)
    assert of_room(world, ROOM) == []


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        ("#alias:example.org", "neither"),
        ("anna", "neither"),
        (BOT, "bridge's own"),
        *((f"{ADA}{end}", "ends with a space") for end in ("\n", " ", "\x00", "\udcff")),
        (f" {ROOM}", "neither"),
    ],
)
async def test_only_rooms_and_persons_are_erased(subject: str, why: str) -> None:
    with pytest.raises(BadSubject, match=why):
        await survey(World().store, subject, is_ours)


async def test_the_room_of_another_process_is_erased_by_that_process() -> None:
    world = World()
    await full(world)
    async with two(world) as (owner, other, post):
        await talk(world, owner)
        wish = Wish(subject=ADA, by=OPERATOR, force=True)
        work = erase(world.store, wish, is_ours, world.clock, other.tell)
        task = asyncio.get_running_loop().create_task(work)
        await quiet()
        assert world.store.rows("chats")
        await post.deliver()
        for _ in range(20):
            await world.clock.turn(0.5)
        assert (await task).done
    assert left(world) == []


async def spoiled(world: World) -> bytes:
    """Store a room whose record is cut short, and names its customer all the same."""
    await full(world)
    cut = dump_record(await world.stored())[:-1]
    world.store.write("UPDATE rooms SET record = ?", cut)
    return cut


async def test_a_running_bridge_cannot_erase_a_room_whose_record_cannot_be_read() -> None:
    world = World()
    await spoiled(world)
    async with world.running() as engine:
        with pytest.raises(BadSubject, match="stop the bridge"):
            await erased(world, engine, ROOM)
    report = await erased(world, None, ROOM)
    assert (report.done, report.left) == (True, {})
    assert of_room(world, ROOM) == []


@pytest.mark.parametrize("running", [False, True])
async def test_a_record_that_cannot_be_read_may_be_a_persons(*, running: bool) -> None:
    world = World()
    cut = await spoiled(world)
    async with world.running() if running else nullcontext() as engine:
        report = await erased(world, engine, ADA)
    assert [one.where for one in report.kept if "cannot be read" in one.why] == [f"room {ROOM}"]
    assert [row["record"] for row in world.store.rows("rooms")] == [cut]
