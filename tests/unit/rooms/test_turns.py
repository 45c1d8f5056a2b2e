"""Invitations of one person are handled one after the other, those of others meanwhile; few of
other servers at a time."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack

import msgspec
import pytest

from bridge.config.model import Permission
from bridge.ids import RoomId, UserId, server_of
from bridge.rooms import surroundings
from bridge.rooms.aside import COMPANY
from bridge.rooms.ports import Entry, Unavailable
from bridge.rooms.record import Membership
from bridge.rooms.room import ANSWERED_AT_ONCE, FEDERATED, JOINED_AT_ONCE
from bridge.rooms.store import StorePort
from bridge.rooms.surroundings import (
    LATELY,
    Inviting,
    begun_fact,
    lock_inviter,
    note_room_begun,
    rooms_begun,
)
from tests.fakes.clock import quiet
from tests.fakes.house import World
from tests.fakes.memory import MemoryStore
from tests.unit.rooms.visits import ADA, BOT, RULES

BOB, MEI = UserId("@bob:example.org"), UserId("@webchat_k00017:example.org")


@pytest.mark.asyncio
async def test_the_next_invitations_turn_begins_when_the_step_ends() -> None:
    inviting = Inviting()
    first, second, other = ExitStack(), ExitStack(), ExitStack()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        with first:
            await lock_inviter(first, inviting, ADA)
            waiting = tasks.create_task(lock_inviter(second, inviting, ADA))
            await lock_inviter(other, inviting, BOB)
            await quiet()
            assert not waiting.done()
        await waiting
        with second:
            assert inviting[ADA].locked()
    assert not inviting.get(ADA), "nothing is kept of who invites us no more"


@pytest.mark.asyncio
async def test_a_failed_or_cancelled_step_releases_its_turn() -> None:
    inviting = Inviting()
    one, two = ExitStack(), ExitStack()

    async def fails() -> None:
        with one:
            await lock_inviter(one, inviting, ADA)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    with one:
        async with asyncio.TaskGroup() as tasks:
            await lock_inviter(one, inviting, ADA)
            waiting = tasks.create_task(lock_inviter(two, inviting, ADA))
            await quiet()
            waiting.cancel()
        assert inviting[ADA].locked()
    async with asyncio.timeout(30):
        with two:
            await lock_inviter(two, inviting, ADA)


# --- rooms begun lately -------------------------------------------------------------------------


def room(number: int) -> RoomId:
    return RoomId(f"!begun{number}:example.org")


async def come_and_go(world: World, number: int, person: UserId = ADA) -> Membership:
    """Let a person invite the bot and leave; return the room's membership in between."""
    async with world.running() as engine:
        invited = world.event("invite", room_id=room(number), whom=BOT, sender=person)
        await engine.accept_events([invited])
        await quiet()
        came = (await world.stored(room(number))).membership
        await engine.accept_events([world.event("gone", room_id=room(number), sender=person)])
        await quiet()
    assert (await world.stored(room(number))).membership is Membership.LEFT
    return came


@pytest.mark.asyncio
async def test_neither_leaving_nor_a_restart_resets_the_limit_of_new_rooms() -> None:
    """Security M2. Each room has an engine of its own here, as after a restart."""
    world = World()
    limit = world.rules.limits.new_rooms_per_hour
    came = []
    for number in range(limit + 2):
        came.append(await come_and_go(world, number))
        world.clock._now += 60_000
    assert came == [Membership.JOINED] * limit + [Membership.LEFT] * 2
    assert await come_and_go(world, 0) is Membership.JOINED, "a room that they had is no new one"
    assert await come_and_go(world, 100, BOB) is Membership.JOINED, "each person has their own"
    world.clock._now += LATELY - (limit + 2) * 60_000
    assert await come_and_go(world, limit) is Membership.JOINED, "an hour after the first"
    assert await come_and_go(world, limit + 1) is Membership.LEFT, "but not yet after the second"


@pytest.mark.asyncio
async def test_a_room_that_another_process_accepts_at_the_same_moment_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or a person who invites the bridge into several rooms at once would begin many an hour."""
    world = World()
    now = world.clock.now()

    async def and_then(store: StorePort, person: UserId, at: int) -> dict[RoomId, int]:
        found = await rooms_begun(store, person, at)
        if not found:
            await store.save_fact(begun_fact(person), json.dumps({room(1): now}))
        return found

    monkeypatch.setattr(surroundings, "rooms_begun", and_then)
    assert await come_and_go(world, 2) is Membership.JOINED
    assert {*await rooms_begun(world.store, ADA, now)} == {room(1), room(2)}


@pytest.mark.asyncio
async def test_a_clock_that_is_set_back_does_not_extend_the_limit_of_new_rooms() -> None:
    store, late = MemoryStore(), 100 * LATELY
    await note_room_begun(store, ADA, room(1), late)
    assert await rooms_begun(store, ADA, late - 50 * LATELY) == {room(1): late - 50 * LATELY}
    assert await rooms_begun(store, ADA, late + LATELY - 1) == {room(1): late}
    assert await rooms_begun(store, ADA, late + LATELY) == {}
    assert await rooms_begun(store, BOB, late) == {}


@pytest.mark.asyncio
async def test_slow_joins_of_other_servers_leave_synapse_places_for_the_others() -> None:
    """Synapse lets the bridge change ten memberships at a time: seen to be all taken by one server
    that did not answer, while agents and other customers waited to join.
    """
    world = World(rules=msgspec.structs.replace(RULES, permission=lambda _: Permission.CUSTOMER))
    enter, entering, go_on = world.matrix.enter, list[RoomId](), asyncio.Event()

    async def slowly(room_id: RoomId, host: UserId, inviter: UserId, **more: bool) -> Entry:
        entering.append(room_id)
        if server_of(inviter) != server_of(BOT):
            await go_on.wait()
        return await enter(room_id, host, inviter, **more)

    world.matrix.enter = slowly  # type: ignore[method-assign]

    async def invited(room: str, by: str) -> None:
        await engine.accept_events(
            [world.event("invite", room_id=RoomId(room), whom=BOT, sender=UserId(by))]
        )

    async with world.running() as engine:
        for server, most in (("far", ANSWERED_AT_ONCE), ("farther", JOINED_AT_ONCE)):
            for number in range(JOINED_AT_ONCE):
                await invited(f"!{number}:{server}", f"@{number}:{server}")
            await world.clock.turn(FEDERATED)
            assert len(entering) == most
        await invited("!here", "@here:example.org")
        await quiet()
        assert len(entering) == JOINED_AT_ONCE + 1
        assert (await world.stored(RoomId("!here"))).membership is Membership.JOINED
        go_on.set()
        await quiet()
        assert len(entering) == 2 * JOINED_AT_ONCE + 1


@pytest.mark.asyncio
async def test_agents_users_do_not_wait_in_the_places_of_joins() -> None:
    """For the next attempt at a server that fails; customers of others could not chat meanwhile."""
    world = World(rules=msgspec.structs.replace(RULES, permission=lambda _: Permission.CUSTOMER))
    world.speak(RULES.texts)
    asked = set[RoomId]()

    async def fails(room_id: RoomId, *_: object) -> None:
        asked.add(room_id)
        raise Unavailable("the other server does not answer")

    world.matrix.step_in = fails  # type: ignore[assignment, method-assign]
    async with world.running() as engine:
        for number in range(JOINED_AT_ONCE):
            room, by = RoomId(f"!{number}"), UserId(f"@ann:far{number}")
            invitation = world.event("agent", room_id=room, whom=MEI, sender=by, direct=True)
            await engine.accept_events([invitation])
        await world.clock.turn(COMPANY + FEDERATED)
        assert len(asked) == JOINED_AT_ONCE
        bob = UserId("@bob:elsewhere")
        await engine.accept_events(
            [world.event("invite", room_id=RoomId("!b"), whom=BOT, sender=bob)]
        )
        await world.clock.turn(FEDERATED)
        assert (await world.stored(RoomId("!b"))).membership is Membership.JOINED
