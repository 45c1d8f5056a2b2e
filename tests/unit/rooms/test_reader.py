"""Single inputs on their way through the actor, poison among them."""

from __future__ import annotations

import pytest

from bridge.conversation.model import Idle, Reported, Say
from bridge.ids import EventId, InputSeq, UserId
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.reader import STANDING_TRIES, Reader
from bridge.rooms.record import (
    Entered,
    EntryFailed,
    MatrixEvent,
    Membership,
    Person,
    RoomRecord,
    dump_input,
)
from bridge.rooms.store import InputRow, StoreError
from bridge.rooms.visit import Visit
from bridge.webchat.frames import CloseSession
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, SESSION, World
from tests.unit.rooms.visits import ADA, BOT, SALES_USER, STRANGER


def row(stored: MatrixEvent | Entered | EntryFailed, key: str | None = None) -> InputRow:
    return InputRow(InputSeq(7), ROOM, dump_input(stored), 1, key)


def visit(world: World, membership: Membership = Membership.JOINED) -> Visit:
    record = RoomRecord(ROOM, membership=membership, host=BOT, customer=ADA)
    return Visit(record, world.rules, world.clock.now())


def reported(one: Visit) -> list[EventId]:
    return [effect.event_id for effect in one.effects if isinstance(effect, Reported)]


@pytest.mark.asyncio
async def test_poison_leaves_the_room_as_it_was_and_is_told() -> None:
    world = World()
    world.matrix.poison.add("$bad")
    one = visit(world)
    before = one.record
    raw: dict[str, object] = {"event_id": "$bad", "kind": "say", "sender": ADA, "text": "x"}
    assert await Reader(ROOM, world.around).handle(one, row(MatrixEvent(raw), "$bad"))
    assert one.record == before
    assert one.buried == [(7, "KeyError")]
    assert reported(one) == ["$bad"]


@pytest.mark.asyncio
async def test_an_unreadable_row_without_a_sender_is_buried_in_silence() -> None:
    world = World()
    one = visit(world)
    bad = InputRow(InputSeq(8), ROOM, b"of a newer version", 1)
    assert await Reader(ROOM, world.around).handle(one, bad)
    assert [seq for seq, _ in one.buried] == [8]
    assert one.effects == []


@pytest.mark.asyncio
async def test_a_database_that_is_away_is_no_poison() -> None:
    world = World()
    world.store.down = True
    one = visit(world, Membership.NONE)
    _, key, raw = world.invitation()
    with pytest.raises(StoreError):
        await Reader(ROOM, world.around).handle(one, row(MatrixEvent(raw), key))
    assert one.buried == []


@pytest.mark.asyncio
async def test_poison_among_what_was_said_before_we_came_in() -> None:
    """Each is handled by itself; its sender is told once we are in."""
    world = World()
    world.matrix.poison.add("$e2")
    world.matrix.earlier = [world.event(text=f"early {n}")[2] for n in range(3)]
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
    said = [getattr(call.command, "text", "") for call in world.link.calls]
    assert said == ["", "early 0", "early 2"]
    told = [one.reply_to for one in world.matrix.posted if one.text == "undelivered.internal"]
    assert told == ["$e2"]


@pytest.mark.asyncio
async def test_poison_that_was_parked() -> None:
    """It looked harmless when it was parked, and is not when it is handled."""
    world = World()
    parked = [world.event(text=f"early {n}") for n in range(3)]
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.accept_events([world.invitation(), *parked])
        await quiet()
        assert len((await world.stored()).parked) == 3
        world.matrix.poison.add("$e2")
        world.matrix.gate.set()
        await quiet()
    said = [getattr(call.command, "text", "") for call in world.link.calls]
    assert said == ["", "early 0", "early 2"]
    told = [one.reply_to for one in world.matrix.posted if one.text == "undelivered.internal"]
    assert told == ["$e2"]


@pytest.mark.asyncio
async def test_a_room_whose_host_turned_out_to_be_somebody_elses() -> None:
    """Nothing is carried, nothing is said as that user, and another host may be invited."""
    world = World()
    await world.chatting()
    world.matrix.foreign.add(BOT)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="my card number is 4711")])
        await quiet()
        assert [call.command for call in world.link.calls] == [CloseSession(SESSION)]
        assert world.matrix.texts(ROOM) == []
        assert (await world.stored()).membership is Membership.LEFT
        await engine.accept_events([world.invitation(whom=SALES_USER)])
        await quiet()
    record = await world.stored()
    assert (record.membership, record.host) == (Membership.JOINED, SALES_USER)


@pytest.mark.asyncio
async def test_an_entry_that_failed() -> None:
    world = World()
    one = visit(world, Membership.ENTERING)
    assert await Reader(ROOM, world.around).handle(one, row(EntryFailed("M_FORBIDDEN")))
    assert one.record.membership is Membership.LEFT


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("level", "queue", "said"), [(50.0, 1, "config.taken"), (0.0, None, "refused.not_admin")]
)
async def test_whose_configuration_is_believed_when_we_come_in(
    level: float, queue: int | None, said: str
) -> None:
    """The one who set it is asked about, not the one who invited us."""
    world = World()
    world.matrix.level = level
    world.matrix.config = {"queue": 1}, STRANGER
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
    assert f"level {ROOM} {BOT} {STRANGER}" in world.matrix.requests
    assert (await world.stored()).settings.queue == queue
    assert said in world.matrix.texts(ROOM)


@pytest.mark.asyncio
async def test_a_room_that_is_left_at_once_is_asked_for_nobodys_standing() -> None:
    world = World()
    world.matrix.config = {"queue": 1}, STRANGER
    async with world.running() as engine:
        await engine.accept_events([world.event("invite", sender=STRANGER, whom=BOT)])
        await quiet()
    assert not [asked for asked in world.matrix.requests if asked.startswith("level")]
    assert (await world.stored()).membership is Membership.LEFT


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("level", "trouble", "wanted"),
    [
        (50.0, [], "config.paused"),
        (49.0, [], "refused.not_admin"),
        (100.0, [Unavailable("away")] * (STANDING_TRIES - 1), "config.paused"),
        (100.0, [Unavailable("away")] * STANDING_TRIES, "refused.standing_unknown"),
        (100.0, [Refused("M_FORBIDDEN")], "refused.standing_unknown"),
    ],
    ids=["admin", "ordinary", "admin after tries", "unreachable", "refused"],
)
async def test_who_may_configure_a_room(
    level: float, trouble: list[Exception], wanted: str
) -> None:
    world = World()
    world.matrix.level = level
    world.matrix.trouble.extend(trouble)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="!wc pause")])
        await world.clock.turn(10)
    assert wanted in world.matrix.texts(ROOM), world.matrix.texts(ROOM)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("admins", "key", "names"),
    [
        ("bob cleo dan eve", "refused.not_admin_named", ("Bob", "Cleo", "dan")),
        ("eve", "refused.not_admin_named", ("Eve",)),
        ("", "refused.not_admin", ()),
    ],
)
async def test_who_is_refused_hears_who_may(admins: str, key: str, names: tuple[str, ...]) -> None:
    world = World()
    there = ("Bob", "Cleo", "", "Eve")
    ids = [UserId(f"@{name}:example.org") for name in ("bob", "cleo", "dan", "eve")]
    world.matrix.levels = {one: 50.0 for one in ids if one[1:].partition(":")[0] in admins.split()}
    one = visit(world)
    people = tuple(Person(*who) for who in zip(ids, there, strict=True))
    one.set(direct=False, people=people)
    event = MatrixEvent(world.event(text="!wc pause")[2] | {"event_id": "$x"})
    assert await Reader(ROOM, world.around).handle(one, row(event, "$x"))
    assert one.effects == [Say(key, {"names": names}, reply_to=EventId("$x"))]
