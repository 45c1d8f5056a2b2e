"""Effects on the homeserver: order, repeats, retries, giving up, the queue card, entering."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec
import pytest
from structlog.testing import capture_logs

from bridge.config.hours import parse_hours
from bridge.config.model import Permission
from bridge.conversation.model import (
    CallbackCard,
    Card,
    Chatting,
    Conversation,
    Idle,
    Queued,
    Reported,
    Requesting,
    Say,
    TurnAwaited,
)
from bridge.conversation.turn import Policy
from bridge.ids import AgentId, EventId, QueueId, RequestId, RoomId, UserId
from bridge.rooms.effects import Effect
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import CardKind, Membership, dump_record, load_record
from bridge.rooms.room import DECLINED_AT_ONCE, EFFECT_TRIES, FEDERATED
from bridge.rooms.store import Outcome
from bridge.rooms.to_matrix import GIVE_UP_AFTER, MOST_ASKED, REMEMBERED
from bridge.rooms.visit import new_effect
from bridge.texts import Texts
from bridge.webchat.frames import (
    Agent,
    AgentsUpdated,
    ChatStarted,
    CloseSession,
    QueueStatus,
    Received,
    RobotMessage,
    SessionClosed,
)
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World, said
from tests.fakes.memory import dead_letters
from tests.fakes.store import Fault, FlakyStore
from tests.unit.rooms.visits import ADA, BOT, NEIGHBOUR, RETURNS, RULES, SALES, STRANGER

pytestmark = pytest.mark.asyncio
GHOST = UserId("@webchat_k00017:example.org")

JUN = Agent(AgentId("K00021"), "Jun")


async def queued(world: World) -> None:
    """Store the room as waiting in a queue."""
    now = world.clock.now()
    await world.record(ROOM, Queued(QueueId(1), now, RequestId(9001), heard_at=now))


async def test_a_repeat_posts_nothing_twice() -> None:
    """The outcome is lost with the process; the next one uses the same transaction id."""
    store = FlakyStore()
    world = World(store)
    await world.chatting()
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.pushed(ROOM, "p", said("one"))
        store.fail("commit", *[Fault.BEFORE] * 5)
        world.matrix.gate.set()
        await quiet()
    store.faults.clear()
    async with world.running():
        await quiet()
    assert world.matrix.texts(ROOM) == ["one"]
    assert world.matrix.requests[0] == world.matrix.requests[1]
    assert world.matrix.requests[0].startswith("test.")


async def test_backlog_of_a_room_is_what_the_homeserver_has_not_taken_yet() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        assert engine.backlog(ROOM) == engine.backlog(RoomId("!another:a")) == 0
        world.matrix.gate.clear()
        for number in range(4):
            await engine.pushed(ROOM, f"p{number}", said("y" * 250_000))
        await quiet()
        assert 1 < engine.backlog(ROOM) < 1.1
        world.matrix.gate.set()
        await quiet()
        assert engine.backlog(ROOM) == 0


async def test_messages_posted_after_a_database_restore_are_not_lost() -> None:
    """The homeserver knows the transaction ids used since the backup."""
    lost = World()
    await lost.chatting()
    backup = lost.store.copy()
    async with lost.running() as engine:
        await engine.pushed(ROOM, "p", said("of the lost time"))
        await quiet()
    world = World(backup)
    world.matrix = world.around.matrix = lost.matrix
    await world.clock.turn(60)
    async with world.running() as engine:
        await engine.pushed(ROOM, "q", said("after the restore"))
        await quiet()
    assert lost.matrix.texts(ROOM) == ["of the lost time", "after the restore"]


async def test_a_message_posted_by_an_earlier_version_is_not_posted_again() -> None:
    """Its transaction ids did not contain the time of a row; nor did those in its markers."""
    store = FlakyStore()
    world = World(store)
    world.around.dated = world.clock.now() + 1  # a process of an earlier version
    await world.chatting()
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.pushed(ROOM, "p", said("one"))
        store.fail("commit", *[Fault.BEFORE] * 5)
        world.matrix.gate.set()
        await quiet()
    store.faults.clear()
    await world.clock.turn(1)
    async with world.running() as engine:
        await quiet()
        await engine.pushed(ROOM, "q", said("two"))
        await quiet()
    assert world.matrix.texts(ROOM) == ["one", "two"]
    before, _look_back, again, new = world.matrix.requests
    assert (before, before.count(".")) == (again, 2)
    assert new.count(".") == 3


async def test_the_retry_delay_that_the_homeserver_asks_for_is_obeyed() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.trouble.append(Unavailable("slow down", 90))
        await engine.pushed(ROOM, "p", said("one"))
        await world.clock.turn(89)
        assert len(world.matrix.requests) == 1
        await world.clock.turn(2)
    assert world.matrix.texts(ROOM) == ["one"]


async def test_retry_delays_grow_to_a_minute() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.trouble.extend([Unavailable("away")] * 40)
        await engine.pushed(ROOM, "p", said("one"))
        await world.clock.turn(60)
        assert 6 <= len(world.matrix.requests) <= 8
        await world.clock.turn(60 * 40)
    assert world.matrix.texts(ROOM) == ["one"]


@pytest.mark.usefixtures("no_other_writer")
async def test_an_effect_is_given_up_after_a_day() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.trouble.extend([Unavailable("away", MOST_ASKED)] * 300)
        await engine.pushed(ROOM, "p", said("one"))
        await world.clock.turn(GIVE_UP_AFTER / 1000 - 10)
        assert await dead_letters(world.store) == []
        await world.clock.turn(20)
        (letter,) = await dead_letters(world.store)
        assert letter.why == "away"
        # Revived, it gets another day.
        assert await world.store.revive(letter.id, world.clock.now())
        world.matrix.trouble.clear()
        world.matrix.trouble.append(Unavailable("away"))
        await world.clock.turn(40)
    assert world.matrix.texts(ROOM) == ["one"]


async def test_no_effect_is_given_up_because_the_clock_was_set_or_the_machine_suspended() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.trouble.extend([Unavailable("away")] * 8)
        await engine.pushed(ROOM, "p", said("one"))
        await quiet()
        world.clock.set_back(-3 * GIVE_UP_AFTER)
        await world.clock.turn(300)
    assert world.matrix.texts(ROOM) == ["one"]
    assert await dead_letters(world.store) == []


async def test_an_absurd_pause_that_the_homeserver_asks_for_is_shortened() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.trouble.append(Unavailable("slow down", 999_999))
        await engine.pushed(ROOM, "p", said("one"))
        await world.clock.turn(MOST_ASKED + 1)
    assert world.matrix.texts(ROOM) == ["one"]


async def test_a_refused_effect_is_a_dead_letter_and_the_next_one_goes_on() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.trouble.append(Refused("M_FORBIDDEN"))
        with capture_logs() as logs:
            await engine.pushed(ROOM, "p", said("one"))
            await engine.pushed(ROOM, "q", said("two"))
            await quiet()
    (line,) = (log for log in logs if log["log_level"] == "error")
    assert (line["room"], line["chat"], line["event_id"], line["seq"]) == (ROOM, 1, "p", 1)
    assert world.matrix.texts(ROOM) == ["chat.unshown", "two"], "the customer knows of it"
    (letter,) = await dead_letters(world.store)
    assert letter.why == "M_FORBIDDEN"
    assert ("matrix", Outcome.DEAD) in world.counts.settled_rows


@pytest.mark.parametrize("code", ["M_FORBIDDEN", "M_UNKNOWN"])
async def test_the_chat_of_a_room_that_the_host_is_no_longer_in_is_ended(code: str) -> None:
    """Deleted while the bridge was down, or made after the backup of a restored homeserver.

    Synapse answers M_UNKNOWN to somebody who writes into a room that it does not know.
    """
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.trouble += [Refused(code), *[Refused("M_FORBIDDEN")] * 29]
        await engine.pushed(ROOM, "p", said("one"))
        await engine.pushed(ROOM, "q", said("two"))
        await quiet()
        assert isinstance(world.link.calls[-1].command, CloseSession)
    assert world.matrix.texts(ROOM) == []
    assert (await world.stored()).membership is Membership.LEFT
    assert await dead_letters(world.store) == []


async def test_a_refused_effect_is_retried_until_its_reason_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object) -> bool:
        raise Unavailable("away")

    world = World()
    await world.chatting()
    monkeypatch.setattr(world.matrix, "is_replaced", away)
    async with world.running() as engine:
        world.matrix.trouble += [Refused("M_FORBIDDEN")] * 8
        await engine.pushed(ROOM, "p", said("one"))
        await world.clock.turn(60)
    assert world.matrix.texts(ROOM) == ["one"]
    assert await dead_letters(world.store) == []


async def test_of_queue_cards_that_wait_only_the_first_and_the_newest_are_posted() -> None:
    world = World()
    world.speak(Texts())
    now = world.clock.now()
    await world.record(ROOM, Queued(QueueId(1), now, RequestId(9001), position=9, heard_at=now))
    async with world.running() as engine:
        world.matrix.gate.clear()
        for position in (8, 7, 6, 5):
            push = Received(QueueStatus(RequestId(9001), 0, position))
            await engine.pushed(ROOM, f"p{position}", push)
            await quiet()
        world.matrix.gate.set()
        await quiet()
        outcomes = [found for _, found in world.counts.settled_rows]
        assert outcomes == [
            Outcome.DELIVERED,
            Outcome.DISCARDED,
            Outcome.DISCARDED,
            Outcome.DELIVERED,
            Outcome.DELIVERED,  # the reaction below it, once
        ]
    first, last, sign = world.matrix.posted
    assert (sign.text, sign.reply_to) == ("❌", first.event_id)
    assert (first.edits, last.edits) == (None, first.event_id)
    assert ("8" in first.text, "5" in last.text) == (True, True), "no edit that changes nothing"
    assert await world.store.anchor(ROOM, "card:1") == first.event_id


async def test_a_card_whose_event_id_was_lost_by_a_crash_is_edited() -> None:
    """The process dies before the card's event id is stored; the next one posts a newer card."""
    store = FlakyStore()
    world = World(store)
    now = world.clock.now()
    await world.record(ROOM, Queued(QueueId(1), now, RequestId(9001), position=9, heard_at=now))
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.pushed(ROOM, "p8", Received(QueueStatus(RequestId(9001), 0, 8)))
        await quiet()
        store.fail("commit", *[Fault.BEFORE] * 5)
        world.matrix.gate.set()
        await quiet()
        (first,) = world.matrix.posted
    store.faults.clear()
    assert await store.anchor(ROOM, "card:1") is None
    await world.owe(Card(1, "queue.position", {"queue": 1, "position": 7}))
    async with world.running():
        await quiet()
    assert [one.edits for one in world.matrix.posted if one.text != "❌"] == [None, first.event_id]
    assert await store.anchor(ROOM, "card:1") == first.event_id


async def test_a_card_posted_anew_leaves_the_former_and_is_edited_from_then_on() -> None:
    """The search for a person, below a long talk with the robot."""
    world = World()
    await world.chatting()
    keys = ("queue.asking", "queue.accepted", "queue.joined_unnamed", "robot.transferring")
    begun = (Card(1, key, anew=key == "robot.transferring") for key in keys)
    await world.owe(*begun, Card(1, "queue.joined", {"names": ("Mei",)}))
    async with world.running():
        await quiet()
    first, joined, search, person = world.matrix.posted
    assert [first.edits, joined.edits, search.edits] == [None, first.event_id, None]
    assert (joined.text, search.mentions) == ("queue.joined_unnamed", ())
    assert (person.text, person.edits) == ("queue.joined", search.event_id)


async def test_a_queue_card_that_somebody_redacted_goes_on_in_a_new_message() -> None:
    """No client shows later versions of a redacted message: the end of the wait would be lost."""
    world = World()
    now = world.clock.now()
    await world.record(ROOM, Queued(QueueId(1), now, RequestId(9001), position=9, heard_at=now))
    async with world.running() as engine:
        for position in (8, 7, 6):
            push = Received(QueueStatus(RequestId(9001), 0, position))
            await engine.pushed(ROOM, f"p{position}", push)
            await quiet()
            for target in (EventId("$another"), world.matrix.posted[0].event_id):
                await engine.accept_events([world.event("withdraw", target=target)])
                await quiet()
    first, second, third = (one for one in world.matrix.posted if one.text != "❌")
    assert (second.edits, third.edits) == (None, second.event_id)
    signs = [one.reply_to for one in world.matrix.posted if one.text == "❌"]
    assert signs == [first.event_id, second.event_id]


async def test_a_card_waits_for_the_database() -> None:
    """The event id of the message to edit is there."""
    store = FlakyStore()
    world = World(store)
    await world.chatting()
    await world.owe(Card(1, "queue.asking"))
    store.fail("anchor", Fault.BEFORE)
    async with world.running():
        assert world.matrix.texts(ROOM) == []
        await world.clock.turn(2)
    assert world.matrix.texts(ROOM) == ["queue.asking"]


# --- entering and leaving -----------------------------------------------------------------------


async def test_an_invitation_is_accepted_and_earlier_messages_are_handled() -> None:
    world = World()
    _, _, early = world.event(text="early")
    world.matrix.earlier.append(early)
    world.matrix.earlier.append({"no": "event"})
    late = world.event(text="late")
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.accept_events([world.invitation()])
        await engine.accept_events([late])
        await quiet()
        assert (await world.stored()).membership is Membership.ENTERING
        world.matrix.gate.set()
        await quiet()
    record = await world.stored()
    assert record.membership is Membership.JOINED
    assert (ROOM, BOT) in world.matrix.members
    assert world.matrix.texts(ROOM)[0] == "queue.asking"  # no greeting: the customer has written
    asked = [type(call.command).__name__ for call in world.link.calls]
    assert asked == ["RequestChat", "SendPreMessage", "SendPreMessage"]
    assert [getattr(call.command, "text", "") for call in world.link.calls] == ["", "early", "late"]


async def test_an_invitation_from_another_server_is_accepted_after_a_pause() -> None:
    """That server stores it only after it was delivered, and its user's first message later."""
    world = World(rules=msgspec.structs.replace(RULES, permission=lambda _: Permission.CUSTOMER))
    async with world.running() as engine:
        await engine.accept_events([world.event("invite", whom=BOT, sender=STRANGER)])
        await world.clock.turn(FEDERATED - 0.1)
        assert world.matrix.requests == []
        await world.clock.turn(0.1)
        assert world.matrix.requests[0] == f"enter {ROOM}"
    assert (await world.stored()).membership is Membership.JOINED


@pytest.mark.parametrize(
    ("kind", "whom"), [("invite", BOT), ("agent", GHOST)], ids=["bot", "ghost"]
)
async def test_an_invitation_of_a_stranger_from_another_server_is_declined_after_a_pause(
    kind: str, whom: UserId
) -> None:
    """A refusal that comes before that server has stored the invitation never reaches its user."""
    world = World()
    async with world.running() as engine:
        await engine.accept_events([world.event(kind, whom=whom, sender=STRANGER)])
        await world.clock.turn(FEDERATED - 0.1)
        assert world.matrix.requests == []
        await world.clock.turn(0.1)
        assert world.matrix.requests == [f"leave {ROOM} {whom}"]


@pytest.mark.parametrize("kind", ["invite", "agent"])
async def test_few_invitations_of_another_server_are_answered_at_a_time(kind: str) -> None:
    """3,000 at once kept the homeserver busy, and other rooms waited for ten seconds."""
    world, whom = World(), BOT if kind == "invite" else GHOST
    declined, go_on = 0, asyncio.Event()

    async def leave(*_: object) -> None:
        nonlocal declined
        declined += 1
        await go_on.wait()

    world.matrix.leave = leave  # type: ignore[assignment, method-assign]
    async with world.running() as engine:
        for number in range(2 * DECLINED_AT_ONCE):
            room = RoomId(f"!{number}:far")
            stranger = UserId(f"@m{number}:far{number}")
            invitation = world.event(kind, room_id=room, whom=whom, sender=stranger)
            await engine.accept_events([invitation])
        await world.clock.turn(FEDERATED)
        assert declined == DECLINED_AT_ONCE
        go_on.set()
        await quiet()
        assert declined == 2 * DECLINED_AT_ONCE


async def test_a_room_that_cannot_be_entered_may_invite_again() -> None:
    world = World()
    async with world.running() as engine:
        world.matrix.trouble.append(Refused("M_FORBIDDEN"))
        await engine.accept_events([world.invitation()])
        await quiet()
        assert (await world.stored()).membership is Membership.LEFT
        assert world.counts.settled_rows == [("matrix", Outcome.REFUSED)]
        await engine.accept_events([world.invitation()])
        await quiet()
    record = await world.stored()
    assert (record.membership, record.customer) == (Membership.JOINED, ADA)
    assert await dead_letters(world.store) == []


async def test_a_room_may_invite_again_after_an_exception_while_entering() -> None:
    """Else it would stay in ENTERING for ever, and an upgraded room could tell nothing more."""
    world = World()
    async with world.running() as engine:
        world.matrix.trouble += [ValueError("of our own code")] * EFFECT_TRIES
        await engine.accept_events([world.invitation()])
        await world.clock.turn(60)
        assert (await world.stored()).membership is Membership.LEFT
        await engine.accept_events([world.invitation()])
        await quiet()
    assert (await world.stored()).membership is Membership.JOINED
    assert await dead_letters(world.store) == []


async def test_declining_an_invitation_tells_why_and_a_refused_leave_counts_as_left() -> None:
    world = World()
    world.speak(RULES.texts)
    stranger = RoomId("!refused:example.org")
    invitation = world.event("invite", room_id=stranger, whom=BOT, sender=NEIGHBOUR)
    with capture_logs() as logs:
        async with world.running() as engine:
            await engine.accept_events([invitation])
            await quiet()
    args = {"user": NEIGHBOUR}
    refusal = RULES.texts.render("zh-CN", "refused.permission", args)
    assert world.matrix.texts(stranger) == [refusal]
    assert (stranger, BOT) not in world.matrix.members
    assert "没有使用本服务的权限" in world.matrix.reasons[stranger, BOT]
    assert [line for line in logs if line["event"] == "invitation refused"] == [
        {
            "event": "invitation refused",
            "log_level": "info",
            "room": stranger,
            "inviter": NEIGHBOUR,
            "why": "bridge.permissions gives none",
        }
    ]

    other = World()
    await other.record(ROOM, Idle())
    async with other.running() as engine:
        other.matrix.trouble.append(Refused("M_FORBIDDEN"))
        await engine.accept_events([other.event("gone")])
        await quiet()
    assert await dead_letters(other.store) == []
    assert await other.nothing_left()


async def test_in_a_direct_chat_ghosts_are_declared_before_they_join() -> None:
    """Else clients would count them, no longer see a direct chat, and open a second one."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(AgentsUpdated(SESSION, (MEI, JUN))))
        await quiet()
    ghost = world.matrix.ghost_of(JUN)
    assert world.matrix.named == [(ROOM, (ghost,), True)]
    assert (ROOM, ghost) in world.matrix.members


async def test_in_a_shared_room_ghosts_join_without_being_declared() -> None:
    world = World()
    await world.chatting()
    found = (await world.store.load(ROOM)).room
    assert found is not None
    shared = msgspec.structs.replace(load_record(found.record), direct=False)
    stored = msgspec.structs.replace(found, record=dump_record(shared))
    await flow.step(world.store, stored)
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(AgentsUpdated(SESSION, (MEI, JUN))))
        await quiet()
    assert world.matrix.named == []
    assert (ROOM, world.matrix.ghost_of(JUN)) in world.matrix.members


@pytest.mark.parametrize(
    ("code", "said"),
    [("M_FORBIDDEN", "agents.outside"), ("M_UNKNOWN", "agents.unserved")],
)  # the latter of a spam checker
async def test_the_bot_speaks_for_agents_whose_ghosts_cannot_join(code: str, said: str) -> None:
    world = World()
    await world.chatting()
    refused = Refused(code)
    refused.by_room = said == "agents.outside"
    world.matrix.trouble.append(refused)
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(AgentsUpdated(SESSION, (MEI, JUN))))
        await quiet()
        world.matrix.trouble.append(Refused("M_BAD_STATE"))
        moved = msgspec.structs.replace(JUN, comments="tier 2")
        await engine.pushed(ROOM, "q", Received(AgentsUpdated(SESSION, (MEI, moved))))
        await quiet()
    assert world.matrix.trouble == deque()
    told = [text for text in world.matrix.texts(ROOM) if text.startswith("agents.")]
    assert told == [said]  # once a chat
    assert await world.nothing_left()


async def test_the_robots_proposals_and_offers_are_remembered() -> None:
    world = World()
    robot = Agent(AgentId("BOT007"), "Helper")
    phase = Chatting(SESSION, world.clock.now(), QueueId(1), (robot,), robot=True)
    await world.record(ROOM, phase)
    async with world.running() as engine:
        proposal = RobotMessage(SESSION, 3, "What?", ("returns", "parcels"), transfer=True)
        await engine.pushed(ROOM, "p", Received(proposal))
        await quiet()
    choices, offer = (await world.stored()).cards
    assert (choices.kind, choices.options) == (CardKind.CHOICES, ("returns", "parcels"))
    assert (offer.kind, offer.text) == (CardKind.ROBOT, "")
    assert world.matrix.texts(ROOM)[1:] == ["robot.person_offered", "1️⃣", "2️⃣", "🙋"]


async def test_the_queue_card_tells_the_expected_and_the_passed_wait() -> None:
    """Once enough waits are known; an edit a minute later says how long it has been."""
    world = World()
    now = world.clock.now()
    for _ in range(6):
        stood = Queued(QueueId(1), now - 120_000, first_position=1, first_at=now - 120_000)
        session = Chatting(SESSION, now, QueueId(1))
        world.around.waits.note(Conversation(phase=stood), Conversation(phase=session), now)
    await world.record(ROOM, Queued(QueueId(1), now, RequestId(9001), heard_at=now), now + 60_000)
    async with world.running() as engine:
        waiting = QueueStatus(RequestId(9001), 0, 2)
        await engine.pushed(ROOM, "p", Received(waiting))
        await quiet()
        await world.clock.turn(60)
        await quiet()
    first, sign, second = [notice.text for notice in world.matrix.posted]
    assert (first, sign) == ("queue.position\nqueue.expected", "❌")
    assert second == "queue.position\nqueue.expected · queue.waited"


async def test_a_wait_for_the_bridges_own_login_limit_is_told() -> None:
    world = World()
    await world.record(ROOM, Requesting(QueueId(1), world.clock.now(), adopt_at=1 << 60))
    world.speak(Texts())
    async with world.running() as engine:
        for seconds in (1, 100):
            engine.signal(ROOM, TurnAwaited(seconds))
            await world.clock.turn(1)
    first, _, second = [notice.text for notice in world.matrix.posted]
    assert "预计还需：不到 1 分钟。" in first
    assert "预计还需：2 分钟以内。" in second
    assert "!wc 取消" in second


async def test_an_inviter_of_too_many_rooms_is_told_when_to_try_again() -> None:
    world = World()
    world.speak(Texts())
    limit = world.rules.limits.new_rooms_per_hour
    async with world.running() as engine:
        for number in range(limit + 1):
            room_id = RoomId(f"!{number}:example.org")
            await engine.accept_events([world.invitation(room_id)])
            await quiet()
            await engine.accept_events([world.event("gone", room_id=room_id)])
            await world.clock.turn(90)
    refusal = world.matrix.posted[-1].text
    assert f"每小时最多新开 {limit} 个房间。请在 56 分钟后再邀请我" in refusal


async def test_a_callback_is_offered_with_a_bell_reaction() -> None:
    hours = "daily 09:00-10:00 Asia/Shanghai"  # it is eight o'clock there
    queues = (SALES.model_copy(update={"hours": hours}), RETURNS)
    policy = Policy(hours={QueueId(1): parse_hours(hours)})
    world = World(rules=msgspec.structs.replace(RULES, queues=queues, policy=policy))
    await queued(world)
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(QueueStatus(RequestId(9001), 6, None)))
        await quiet()
    shown = world.matrix.texts(ROOM)
    assert shown == ["queue.closed\ncallback.offer", "🔔"]
    (card,) = (await world.stored()).cards
    assert (card.kind, card.number, card.signs) == (CardKind.QUEUE, 1, ("🔔",))


async def test_the_end_of_a_long_wait_is_a_new_message_that_notifies() -> None:
    """Nobody notices an edit. The former card no longer says that the customer is waiting."""
    world = World()
    await queued(world)
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(QueueStatus(RequestId(9001), 0, 3)))
        await quiet()
        await world.clock.turn(61)
        world.matrix.posted.clear()
        await engine.pushed(ROOM, "q", Received(QueueStatus(RequestId(9001), 5, None)))
        await quiet()
        over, end, _ = world.matrix.posted
        await engine.accept_events([world.event(text="hello?")])
        await quiet()
    assert (over.text, over.mentions) == ("queue.over", ())
    assert over.edits is not None
    assert (end.text, end.edits) == ("status.5\ncallback.offer", None)
    assert end.mentions == (ADA,)
    edits = [one.edits for one in world.matrix.posted[3:] if one.edits is not None]
    assert set(edits) == {end.event_id}, "edited from then on"


async def test_the_reaction_below_a_queue_card_is_removed_when_the_chat_starts() -> None:
    """❌ while the customer waits; not during a chat."""
    world = World()
    await queued(world)
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(QueueStatus(RequestId(9001), 0, 3)))
        await quiet()
        await engine.pushed(ROOM, "q", Received(QueueStatus(RequestId(9001), 0, 2)))
        await quiet()
        card, sign, moved = world.matrix.posted
        assert (sign.text, sign.reply_to, moved.edits) == ("❌", card.event_id, card.event_id)
        assert world.matrix.redacted == []
        mei = Agent(AgentId("K00017"), "Mei")
        await engine.pushed(ROOM, "r", Received(ChatStarted(SESSION, (mei,))))
        await quiet()
    assert world.matrix.redacted == [sign.event_id]
    assert (await world.stored()).cards[0].signs == ()
    assert await world.nothing_left()


@pytest.mark.parametrize("held", [True, False])
async def test_of_two_counts_of_kept_messages_the_newer_is_said_alone(held: bool) -> None:
    """If the homeserver has not taken the first yet."""
    world = World(rules=msgspec.structs.replace(RULES, start="on_command"))
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        if held:
            world.matrix.gate.clear()
            await engine.accept_events([world.event("unreadable")])
        for number in range(2):
            await engine.accept_events([world.event(text=f"word {number}")])
            await quiet()
        world.matrix.gate.set()
        await quiet()
    kept = [text for text in world.matrix.texts(ROOM) if text.startswith("start.needed")]
    assert kept == ["start.needed"] * (not held) + ["start.needed_still"]
    assert await world.nothing_left()


async def test_before_a_late_retry_the_timeline_is_searched_for_the_event() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.trouble.append(Unavailable("away"))
        began = world.clock.now()
        await engine.pushed(ROOM, "p", said("one"))
        await world.clock.turn(60)
        assert not any("look back" in request for request in world.matrix.requests)
        world.matrix.trouble.extend([Unavailable("away", MOST_ASKED)] * 5)
        world.matrix.trouble.append(Refused("M_FORBIDDEN"))  # the timeline cannot be read: post it
        await engine.pushed(ROOM, "q", said("two"))
        await world.clock.turn(REMEMBERED / 1000 + 1)
    looked = [request for request in world.matrix.requests if "look back" in request]
    assert looked == [f"look back {ROOM} {BOT} {began + 60_000}"]
    assert world.matrix.texts(ROOM) == ["one", "two"]


@pytest.mark.parametrize("who", ["agent", "bot"])
async def test_after_a_crash_the_timeline_is_searched_for_an_agents_message(who: str) -> None:
    """Its ghost may have lost its access meanwhile, and the host another transaction id."""
    world = World()
    await world.chatting()
    world.matrix.trouble.extend([Unavailable("away", MOST_ASKED)] * 2)
    began = world.clock.now()
    async with world.running() as engine:
        happened = said("one") if who == "agent" else Received(SessionClosed(SESSION, MEI.id))
        await engine.pushed(ROOM, "p", happened)
        await quiet()
    await world.clock.turn(1)
    async with world.running():
        await world.clock.turn(60)
    looked = [request for request in world.matrix.requests if "look back" in request]
    assert looked == [f"look back {ROOM} {BOT} {began}"] * (who == "agent")


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (Say("rating.thanks", {"rating": 0}), "Thank you for your rating: Unhappy. You may "),
        (Say("rating.changed", {"rating": 7}), "Your rating is now: 7. Thank you!"),
        (Say("rating.thanks"), "Thank you for your rating: …. You may "),
    ],
)
async def test_a_rating_is_called_by_its_name(effect: Say, said: str) -> None:
    """The server's name for it; effects of an earlier version do not say which rating it is."""
    world = World(rules=msgspec.structs.replace(RULES, language="en"))
    world.speak(RULES.texts)
    await world.chatting()
    record = await world.stored()
    told = msgspec.structs.replace(record.conversation, ratings=((1, "Happy"), (0, "Unhappy")))
    row = new_effect(effect)
    assert row is not None
    stored = (await world.store.load(ROOM)).room
    assert stored is not None
    changed = dump_record(msgspec.structs.replace(record, conversation=told))
    changed_room = msgspec.structs.replace(stored, record=changed)
    await flow.step(world.store, changed_room, effects=[row])
    async with world.running():
        await quiet()
    assert world.matrix.texts(ROOM)[0].startswith(said)


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (Say("command.help"), ("!wc help",)),
        (Say("command.unknown_near", {"near": "status"}), ("!wc status",)),
        (Say("usage.rate"), ("!wc rate <number>",)),
        (Say("command.queues", {"list": "1 — Sales"}), ("The queues (now: Returns):\n1 — Sales",)),
        (Say("outage.away"), ("The call centre cannot be reached",)),
        (Say("room.upgraded"), ("This room was upgraded",)),
        (Reported(EventId("$1"), "room.upgraded_unsent"), ("did not go to an agent",)),
        (Reported(EventId("$1"), "undelivered.dropped"), ("did not go to an agent", "🔁")),
        (Reported(EventId("$1"), "undelivered.farewell"), ("You're welcome!", "🔁")),
        (CallbackCard(1, "callback.offer_hours", {"queue": 1, "opens": 1}), ("🔔 (or", "🔔")),
        (CallbackCard(1, "callback.goes_on"), ("pass on what you write. ❌ (or", "❌")),
        (Card(1, "queue.ended"), ("no agent came",)),
        (Say("chat.agent_left", {"names": "Mei"}), ()),
        (Say("agents.renamed", {"old": "Mei", "new": "Jun"}), ()),
    ],
)
async def test_effects_of_earlier_versions_are_still_told(
    effect: Effect, said: tuple[str, ...]
) -> None:
    """Effects that were open at commit 784766e, with the keys and arguments of that version."""
    world = World(rules=msgspec.structs.replace(RULES, language="en"))
    world.speak(RULES.texts)
    await world.chatting()
    await world.owe(effect)
    async with world.running():
        await quiet()
        assert await world.nothing_left()
    texts = world.matrix.texts(ROOM)
    assert all(one in text for one, text in zip(said, texts, strict=True)), texts
    assert await dead_letters(world.store) == []
