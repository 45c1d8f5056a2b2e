"""Catch-up finds events that the homeserver never pushed, once each, and no older ones."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from bridge.ids import AgentId, RoomId
from bridge.matrix.catchup import (
    AGAIN,
    AT_ONCE,
    BEFORE,
    CALM,
    FIRST,
    LOOKS,
    PACE,
    PAGE,
    PRUNED,
    QUIET,
    RETRY,
    SPREAD,
    WELL,
)
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.store import StoreError
from tests.fakes.forgetful import ALL_LOOKS, FIRST_LOOK, OTHER, OURS, REACH, ROOM, House


@pytest.mark.asyncio
async def test_missed_events_are_found_in_order_after_the_start() -> None:
    house = House()
    house.taken.append(house.event())
    lost = [house.event(), house.event(OTHER), house.event()]
    async with house.looked_after():
        assert house.taken == ["$1"]
        await house.clock.turn(FIRST_LOOK)
        assert house.taken == ["$1", lost[0], lost[2], lost[1]]
        late = house.event()
        await house.clock.turn(ALL_LOOKS)
        assert house.taken[-1] == late
        asked = house.asked
        await house.clock.turn(QUIET - 2 * WELL)
        assert house.asked == asked


@pytest.mark.asyncio
async def test_rooms_are_read_again_after_each_outage() -> None:
    house = House()
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        lost = house.event()
        house.away = True
        house.outage.set()
        checks = house.checks
        await house.clock.turn(5 * RETRY)
        assert 4 <= house.checks - checks <= 6
        house.away = False
        await house.clock.turn(RETRY + FIRST_LOOK)
        assert house.taken == [lost]


@pytest.mark.asyncio
async def test_rooms_are_read_again_whenever_queued_events_are_pushed() -> None:
    house = House()
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        lost = house.event()
        house.held.set()
        await house.clock.turn(FIRST_LOOK)
        assert house.taken == [lost]
        for _ in range(3):  # the homeserver still pushes its queue, and loses the last event
            await house.clock.turn(LOOKS[1] - 1)
            house.held.set()
            again = house.event()
            await house.clock.turn(FIRST_LOOK)
            assert house.taken[-1] == again
        house.held.set()
        await house.clock.turn(LOOKS[0] - 1)
        house.held.set()
        await house.clock.turn(2)
        amid = house.event()
        await house.clock.turn(FIRST_LOOK)
        assert house.taken[-1] == amid
        await house.clock.turn(ALL_LOOKS)
        asked = house.asked
        await house.clock.turn(QUIET - 2 * WELL)
        assert house.asked == asked


@pytest.mark.asyncio
async def test_room_with_late_events_of_another_server_is_read_back_to_before_them() -> None:
    """The server sends the latest events only; whether or not the room is in memory."""
    house = House()
    house.looked_into = []
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        house.taken.append(house.event())
        await house.clock.turn(BEFORE / 1000 + 1)
        lost = [house.event() for _ in range(FIRST)]
        house.behind |= {ROOM: house.clock.now() + 1, OTHER: 0}
        house.event(OTHER)
        house.taken += [house.event() for _ in range(FIRST)]
        house.trouble.append(StoreError("away"))
        await house.clock.turn(WELL)
        assert house.asked == 0
        await house.clock.turn(WELL)
        assert house.taken[-FIRST:] == lost
        assert house.asked == 2 + 1, "back, then forwards"
        more = house.event()  # that the homeserver fetches only now
        house.rooms[ROOM].insert(1, house.rooms[ROOM].pop())
        await house.clock.turn(WELL)
        assert house.taken[-1] == more
        await house.clock.turn(WELL)
        asked = house.asked
        await house.clock.turn(3 * WELL)
        assert house.asked == asked


@pytest.mark.asyncio
@pytest.mark.parametrize("away", [False, True])
async def test_rooms_with_late_events_are_read_again_after_an_error(away: bool) -> None:
    """The database fails, or the homeserver, which hides the rooms after the first one, too."""
    house = House()
    house.looked_into, house.hosts = [], {ROOM: OURS.bot, OTHER: OURS.bot}
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        lost = [house.event(), house.event(OTHER)]
        house.behind |= dict.fromkeys((ROOM, OTHER), house.clock.now())
        house.away = away
        house.full = not away
        await house.clock.turn(WELL)
        assert house.taken == []
        house.away = house.full = False
        await house.clock.turn(RETRY + FIRST_LOOK + WELL)
        assert sorted(house.taken) == lost
        await house.clock.turn(2 * WELL)
        assert house.behind == {}


@pytest.mark.asyncio
async def test_rooms_are_not_read_all_the_time_if_events_always_come_late() -> None:
    house = House()
    house.looked_into = [(RoomId(f"!{number}:a"), OURS.bot) for number in range(800)]
    for room, _ in house.looked_into:
        house.rooms[room] = []
        house.event(room)
    async with house.looked_after():
        for _ in range(600):
            house.held.set()
            await house.clock.turn(1)
    look = 800 * SPREAD / AT_ONCE
    assert 800 * 600 / (4 * look) <= house.asked <= 800 * 600 / (3 * look) + 800


@pytest.mark.asyncio
@pytest.mark.parametrize("aged", [False, True])
async def test_missed_event_between_pushed_ones_is_found(aged: bool) -> None:
    house = House()
    house.taken += [house.event() for _ in range(3 * FIRST)]
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        lost = house.event()
        for _ in range(2 * FIRST):
            if aged:  # the age counts, whatever the homeserver's clock says
                wrong = house.clock.now() - REACH // 2
                house.taken.append(house.event(origin_server_ts=wrong, unsigned={"age": 1}))
            else:
                house.taken.append(house.event())
        house.held.set()
        asked = house.asked
        await house.clock.turn(FIRST_LOOK)
        assert house.taken[-1] == lost
        assert house.asked == asked + 2 + 1, "back, then forwards; nothing is new in the other room"


@pytest.mark.asyncio
async def test_outage_during_the_looks_starts_them_again() -> None:
    house = House()
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
        lost = house.event()
        house.outage.set()
        await house.clock.turn(FIRST_LOOK)
        assert house.taken == [lost]
        house.away = True
        await house.clock.turn(LOOKS[1])
        house.away = False
        again = house.event()
        await house.clock.turn(RETRY + FIRST_LOOK)
        assert house.taken == [lost, again]


@pytest.mark.asyncio
async def test_unreadable_room_does_not_delay_the_others() -> None:
    house = House()
    house.sick = {ROOM}
    later, lost = house.event(), house.event(OTHER)
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        assert house.taken == [lost]
        assert house.noted, "invitations were asked for"
        await house.clock.turn(CALM)
        asked = house.asked
        await house.clock.turn(CALM)
        assert house.asked == asked, "it is no outage"
        house.sick.clear()
        house.held.set()
        await house.clock.turn(FIRST_LOOK)
        assert later in house.taken


@pytest.mark.asyncio
async def test_room_that_cannot_be_read_for_minutes_is_read_then() -> None:
    house = House()
    house.sick = {ROOM}
    lost = house.event()
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        house.sick.clear()
        assert house.taken == []
        await house.clock.turn(LOOKS[-1])
        assert house.taken == [lost]


@pytest.mark.asyncio
async def test_outage_before_the_first_look_hides_no_earlier_event() -> None:
    house = House()
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        house.held.set()
        lost = house.event()
        house.taken += [house.event() for _ in range(2 * FIRST)]
        await house.clock.turn(1)
        house.away = True
        house.outage.set()
        await house.clock.turn(BEFORE / 1000 + 5)
        house.away = False
        await house.clock.turn(RETRY)
        house.outage.set()
        await house.clock.turn(FIRST_LOOK)
        assert house.taken[-1] == lost


@pytest.mark.asyncio
@pytest.mark.parametrize("down", [0, 1800])
async def test_event_missed_before_the_bridge_was_killed_is_found(down: int) -> None:
    """No look had finished, or the homeserver died while the bridge was down."""
    house = House()
    async with house.looked_after():
        house.taken.append(house.event())
        await house.clock.turn(ALL_LOOKS + WELL)
        lost = house.event()
        house.away = True
        house.outage.set()
        await house.clock.turn(RETRY)
    await house.clock.turn(down)
    house.away = False
    for _ in range(2 * FIRST):
        house.taken.append(house.event())
        await house.clock.turn(2)
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
        assert house.taken[-1] == lost


@pytest.mark.asyncio
@pytest.mark.parametrize("late", [False, True])
async def test_room_of_a_process_that_ended_while_reading_it_is_read(late: bool) -> None:
    """By the process that takes the room over, though it has looked at all of its own rooms, and
    customers have gone on; also if the homeserver goes on pushing late.
    """
    house = House()
    house.looked_into = [(OTHER, OURS.bot)]
    async with house.looked_after():
        house.taken.append(house.event())
        await house.clock.turn(CALM)
        lost = [house.event() for _ in range(FIRST)]
        house.held.set()
        for _ in range(int(CALM / 10)):
            await house.clock.turn(10)
            house.taken.append(house.event())
            if late:
                house.held.set()
        house.looked_into.append((ROOM, OURS.bot))
        house.outage.set()
        await house.clock.turn(LOOKS[0] + 2)
        assert house.taken[-FIRST:] == lost


@pytest.mark.asyncio
async def test_room_that_nobody_has_read_since_an_outage_is_read_after_a_start() -> None:
    """The process that was reading it has ended, after another had finished and noted it."""
    house = House()
    house.looked_into = [(OTHER, OURS.bot)]
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS + CALM + WELL)
        lost = house.event()
        house.outage.set()
        await house.clock.turn(ALL_LOOKS)
        house.taken += [house.event() for _ in range(2 * FIRST)]
        await house.clock.turn(2 * WELL)
    house.looked_into = [(ROOM, OURS.bot)]
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
        assert house.taken[-1] == lost


@pytest.mark.asyncio
async def test_rooms_are_read_once_facts_can_be_read() -> None:
    house = House()
    house.mute = True
    async with house.looked_after():
        lost = house.event()
        await house.clock.turn(FIRST_LOOK)
        assert house.taken == []
        house.mute = False
        await house.clock.turn(ALL_LOOKS)
        assert house.taken == [lost]


@pytest.mark.asyncio
async def test_reading_back_ends_at_the_reach_and_at_the_hosts_join() -> None:
    house = House()
    house.event(origin_server_ts=house.clock.now() - REACH - 1)
    house.event(OTHER)
    joining = {"membership": "join"}
    house.event(OTHER, type="m.room.member", state_key=OURS.bot, sender=OURS.bot, content=joining)
    before = {"prev_content": joining}
    renamed = {"type": "m.room.member", "state_key": OURS.bot, "sender": OURS.bot}
    wanted = [house.event(), house.event(OTHER)]
    house.event(OTHER, content=joining, unsigned=before, **renamed)
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
    assert house.taken == wanted


@pytest.mark.asyncio
async def test_reading_back_ends_where_the_ledger_was_pruned_under_a_shorter_retention() -> None:
    house = House()
    now = house.clock.now()
    house.event(origin_server_ts=now - 30_000)
    house.event(origin_server_ts=now - 25_000)
    missed = house.event(origin_server_ts=now)
    house.noted[PRUNED] = str(now - 20_000)
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
    assert house.taken == [missed]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["m.room.message", "m.room.encrypted"])
async def test_what_was_answered_in_time_that_the_database_lost_is_read_in_live_chats_only(
    kind: str,
) -> None:
    house = House()
    wanted = []
    for room in (ROOM, OTHER):
        answered = house.event(room)
        house.event(room, sender=str(OURS.ghost(AgentId("A1"))), type=kind)
        unanswered = house.event(room)
        house.event(room, sender=OURS.bot, type=kind)
        house.event(room, sender=str(OURS.ghost(AgentId("A1"))), type="m.reaction")
        wanted += [answered, unanswered] if room in house.live else [unanswered]
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
    assert sorted(house.taken) == wanted


@pytest.mark.asyncio
async def test_echoes_redacted_and_malformed_events_are_skipped() -> None:
    house = House()
    ghost = str(OURS.ghost(AgentId("A1")))
    house.event(sender=ghost)
    house.event(type="m.room.member", sender=ghost, state_key=ghost)
    house.event(event_id=7)
    house.event(sender=None)
    house.event(content={}, unsigned={"redacted_because": {"event_id": "$99"}})
    kicked = house.event(type="m.room.member", sender=ghost, state_key="@ann:a")
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
    assert house.taken == [kicked]


@pytest.mark.asyncio
async def test_all_missed_events_of_a_room_are_found_however_many() -> None:
    house = House()
    events = [house.event() for _ in range(5000)]
    with capture_logs() as logs:
        async with house.looked_after():
            await house.clock.turn(FIRST_LOOK + len(events) * PACE)
    assert house.taken == events
    assert [(line["log_level"], line["count"]) for line in logs] == [("info", len(events))]


@pytest.mark.asyncio
async def test_page_that_fails_is_read_again_while_the_homeserver_answers() -> None:
    """As it asks for: only a room that fails for longer waits for the next look."""
    house = House()
    house.taken.append(house.event())
    lost = [house.event() for _ in range(3 * PAGE)]
    house.faults = [Unavailable("busy", 5.0), Unavailable("bad gateway")]
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK + 4)
        assert house.taken == ["$1"]
        await house.clock.turn(AGAIN[1] + len(lost) * PACE)
        assert house.taken == ["$1", *lost]
        await house.clock.turn(ALL_LOOKS)
        again = house.event()
        house.faults = [Unavailable("busy", 3600.0)]
        house.held.set()
        await house.clock.turn(FIRST_LOOK)
        assert house.taken[-1] == lost[-1]
        await house.clock.turn(LOOKS[1])
        assert house.taken[-1] == again


@pytest.mark.asyncio
@pytest.mark.parametrize("pushes", [0, 1, 40])
@pytest.mark.parametrize("trouble", [False, True])
async def test_events_of_a_long_outage_are_taken_in_order_beside_the_queue(
    pushes: int, trouble: bool
) -> None:
    """The homeserver pushes its queue from the oldest on; a look may break off in its midst."""
    house = House()
    house.taken.append(house.event())
    events = ["$1", *(house.event() for _ in range(1000))]
    house.pushed, house.pushes = 1, pushes
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK + 1)
        assert house.taken == events[: len(house.taken)]
        assert PAGE < len(house.taken) <= 200 + house.pushed
        if trouble:
            house.trouble.append(StoreError("away"))
        await house.clock.turn(ALL_LOOKS)
    assert house.taken == events


@pytest.mark.asyncio
async def test_reading_forwards_ends_although_the_room_goes_on() -> None:
    house = House()
    house.taken.append(house.event())
    missed = [house.event() for _ in range(2 * FIRST)]
    house.busy = True
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
    assert house.taken[1 : 1 + len(missed)] == missed
    assert house.asked <= len(LOOKS) * 2 * 4


@pytest.mark.asyncio
@pytest.mark.parametrize("trouble", [StoreError("down"), Refused("M_FORBIDDEN")])
async def test_room_whose_events_cannot_be_stored_does_not_hide_the_others(
    trouble: Exception,
) -> None:
    house = House()
    house.trouble.append(trouble)
    first, second = house.event(), house.event(OTHER)
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
        assert house.taken == [second]
        await house.clock.turn(LOOKS[1])
        assert house.taken == [second, first]


@pytest.mark.asyncio
async def test_missed_events_are_found_after_an_outage_during_a_look() -> None:
    house = House()
    async with house.looked_after():
        lost = house.event()
        house.away = True
        await house.clock.turn(FIRST_LOOK)
        house.away = False
        await house.clock.turn(RETRY + FIRST_LOOK)
        assert house.taken == [lost]


@pytest.mark.asyncio
async def test_late_event_of_another_server_is_not_forgotten_by_a_kill() -> None:
    """What is missing was sent before the late event, which was stored after the mark."""
    house = House()
    house.taken.append(house.event())
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS + QUIET)
        lost = [house.event() for _ in range(FIRST)]
        await house.clock.turn(CALM)
        sent = house.clock.now() - int(CALM * 1000)
        house.taken += [house.event(origin_server_ts=sent) for _ in range(2 * FIRST)]
        house.behind[ROOM] = sent
    house.behind.clear()
    await house.clock.turn(CALM)
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
        assert house.taken[-FIRST:] == lost


@pytest.mark.asyncio
async def test_mark_stays_before_late_events_that_could_not_be_read() -> None:
    house = House()
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        noted = dict(house.noted)
        house.taken.append(house.event())
        house.sick, house.behind[ROOM] = {ROOM}, house.clock.now()
        await house.clock.turn(2 * QUIET)
        assert house.noted == noted
        house.sick.clear()
        await house.clock.turn(2 * QUIET)
        assert house.noted["caught up to"] == "1"


@pytest.mark.asyncio
async def test_only_rooms_of_this_process_and_with_news_are_read() -> None:
    house = House()
    house.looked_into = [(ROOM, OURS.bot)]
    lost = house.event()
    house.event(OTHER)
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        assert house.taken == [lost]
        await house.clock.turn(2 * QUIET)
        asked = house.asked
        await house.clock.turn(2 * QUIET)
        assert house.asked == asked, "nothing is new"
