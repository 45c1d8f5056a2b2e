"""How a room ends when the bot, or everybody whom it serves there, leaves it."""

from __future__ import annotations

import msgspec
import pytest

from bridge.config.model import Permission
from bridge.conversation.model import (
    AgentsLeft,
    CallWebChat,
    Card,
    Chatting,
    Conversation,
    CustomerText,
    Ended,
    Held,
    Idle,
    Outstanding,
    Pushed,
    Queued,
    Relay,
    Replied,
    Reported,
    Say,
)
from bridge.conversation.turn import all_pieces
from bridge.ids import AgentId, CallId, EventId, QueueId, RequestId, RoomId, SessionId, UserId
from bridge.rooms.effects import EnterRoom, LeaveRoom, RedactAll, ShowBridge, ShowSettings
from bridge.rooms.people import (
    ENTRY_PATIENCE,
    UPGRADE_PATIENCE,
    Standing,
    begin_erasure,
    due,
    entry_failed,
    followed,
    passed,
    unsent_messages,
)
from bridge.rooms.ports import (
    EncryptionOn,
    Invited,
    MemberGone,
    MemberJoined,
    Nothing,
    Reacted,
    RoomConfigured,
    Unavailable,
    Unreadable,
    Upgraded,
)
from bridge.rooms.reader import TURN_AWAY_DIRECT
from bridge.rooms.record import CardKind, Entered, EraseRoom, Membership, OurCard, Person, Thread
from bridge.webchat.codes import RequestStatus, ResultCode
from bridge.webchat.frames import (
    AgentText,
    CancelRequest,
    ChatStarted,
    CloseSession,
    MessageReceived,
    Push,
    QueueStatus,
    Received,
    Reply,
    SendPreMessage,
)
from tests.fakes.clock import quiet
from tests.fakes.house import MEI as AGENT
from tests.fakes.house import ROOM, World
from tests.unit.rooms.visits import ADA, BOT, RULES, SALES_USER, STRANGER, House

MEI = UserId("@webchat_k00017:example.org")
BEN = UserId("@ben:example.org")
NEW = RoomId("!new:example.org")


def test_a_direct_room_ends_when_its_customer_leaves() -> None:
    house = House().served().chat()
    house.receive(MemberGone(ADA))
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    assert phase.close
    assert LeaveRoom((BOT,)) in house.effects
    assert house.membership() is Membership.LEFT


def test_a_queue_request_is_cancelled_when_the_bot_is_removed() -> None:
    house = House().served()
    queued = Queued(QueueId(2), house.now, RequestId(9001))
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=queued))
    house.receive(MemberGone(BOT))
    (call,) = (one for one in house.effects if isinstance(one, CallWebChat))
    assert type(call.command).__name__ == "CancelRequest"
    assert house.membership() is Membership.LEFT


def test_kept_messages_are_reported_when_the_customer_leaves() -> None:
    house = House().served()
    house.receive(RoomConfigured(EventId("$c"), ADA, {"start": "on_command"}), Standing.ADMIN)
    event = house.say("hello")
    assert isinstance(house.record.conversation.phase, Idle)
    house.receive(MemberGone(ADA))
    assert house.carried == []
    assert house.reported == {event: "queue.dropped"}


@pytest.mark.parametrize(
    ("who", "direct", "notices"), [(ADA, False, []), (STRANGER, True, ["room.shared"])]
)
def test_others_may_join_and_leave(who: UserId, direct: bool, notices: list[str]) -> None:
    house = House().served(direct=direct)
    house.receive(MemberJoined(who))
    house.receive(MemberGone(who))
    house.receive(Nothing())
    assert house.notices == notices
    assert len(house.effects) == len(notices)
    assert house.membership() is Membership.JOINED


def test_events_after_the_bot_left_have_no_effect() -> None:
    house = House().served()
    house.receive(MemberGone(BOT))
    house.visit.effects.clear()
    house.receive(MemberGone(ADA))
    house.receive(Upgraded())
    house.receive(EncryptionOn())
    house.receive(RoomConfigured(EventId("$c"), ADA, {}), Standing.ADMIN)
    house.say("hello")
    house.receive(Unreadable(EventId("$x"), ADA, "unreadable.kind"))
    assert house.effects == []


@pytest.mark.parametrize("what_follows", ["invited", "nobody", "customer gone", "host gone"])
def test_the_chat_of_an_upgraded_room_goes_on(what_follows: str) -> None:
    """Until the bot is in the new room or removed, or `UPGRADE_PATIENCE` has passed."""
    house = House().served().chat()
    house.receive(Upgraded(NEW))
    house.receive(Upgraded(NEW))
    (told,) = (one for one in house.effects if isinstance(one, Say))
    link = "https://matrix.to/#/!new:example.org?via=example.org"
    assert told == Say("room.upgraded", {"link": link, "left": "4 小时"})
    assert house.carried == []
    house.say("still here")
    assert len(house.carried) == 1
    ends_at = house.now + UPGRADE_PATIENCE
    assert due(house.record) == ends_at
    match what_follows:
        case "invited":
            followed(house.visit, Invited(ADA, SALES_USER, direct=False), NEW)
            followed(house.visit, Invited(ADA, BOT, direct=False), NEW)
            entries = [one for one in house.effects if isinstance(one, EnterRoom)]
            assert entries == [EnterRoom(SALES_USER, ADA, into=NEW)]
            assert due(house.record) == ends_at + ENTRY_PATIENCE
            house.receive(MemberGone(BOT))
        case "customer gone":
            house.receive(MemberGone(ADA))
        case "host gone":
            house.receive(MemberGone(BOT))
        case _:
            house.visit.now = ends_at
            passed(house.visit)
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    goes_on = what_follows in {"invited", "customer gone"}
    assert phase.close is not goes_on
    assert house.membership() is (Membership.JOINED if goes_on else Membership.LEFT)
    assert (house.record.upgrade is not None) is goes_on
    assert (LeaveRoom((BOT,)) in house.effects) is (what_follows == "nobody")


def test_a_new_room_that_cannot_be_entered_may_invite_again() -> None:
    house = House().served().chat()
    house.receive(Upgraded(NEW))
    invitation = Invited(ADA, BOT, direct=False)
    followed(house.visit, invitation, NEW)
    house.visit.set(parked=({"event_id": "$there"},))
    entry_failed(house.visit)
    assert house.membership() is Membership.JOINED
    assert house.record.parked == ()
    assert due(house.record) == house.now + UPGRADE_PATIENCE
    house.effects.clear()
    followed(house.visit, invitation, NEW)
    assert house.effects == [EnterRoom(BOT, ADA, into=NEW)]


def test_the_chat_ends_if_the_bot_is_removed_and_cannot_join_the_new_room() -> None:
    house = House().served().chat()
    house.receive(Upgraded(NEW))
    followed(house.visit, Invited(ADA, BOT, direct=False), NEW)
    house.receive(MemberGone(BOT))
    assert house.membership() is Membership.JOINED
    entry_failed(house.visit)
    passed(house.visit)
    assert house.membership() is Membership.LEFT
    assert isinstance(house.record.conversation.phase, Chatting)
    assert house.record.conversation.phase.close


@pytest.mark.parametrize("redact", [False, True])
def test_an_erasure_removes_events_from_the_room_only_if_asked_to(redact: bool) -> None:
    house = House().served()
    house.effects.clear()
    begin_erasure(house.visit, EraseRoom(redact=redact))
    assert [one for one in house.effects if isinstance(one, RedactAll)] == [RedactAll()] * redact


@pytest.mark.parametrize("stay", [False, True])
def test_nothing_is_posted_after_an_erasure(stay: bool) -> None:
    """Nor a rating asked for that the emptied record could not send."""
    house = House().served().chat()
    begin_erasure(house.visit, EraseRoom(stay=stay))
    house.effects.clear()
    late = MessageReceived(SessionId(5150), AgentId("K00017"), AgentText("wait"))
    closing = house.record.conversation.outstanding
    assert closing is not None
    house.visit.step(Pushed(late))
    ok = Reply(103, ResultCode.SUCCESS, call_id=closing.call_id)
    house.visit.step(Replied(closing.call_id, ok))
    assert isinstance(house.record.conversation.phase, Ended)
    posted = {Relay, Say} if stay else set[type]()
    assert {type(one) for one in house.effects} == posted | {AgentsLeft}


@pytest.mark.parametrize("stay", [False, True])
def test_an_erasure_during_an_upgrade_leaves_the_new_room_too(stay: bool) -> None:
    """The join is under way, and nobody would be served there."""
    house = House().served().chat()
    house.receive(Upgraded(NEW))
    followed(house.visit, Invited(ADA, SALES_USER, direct=False), NEW)
    house.effects.clear()
    begin_erasure(house.visit, EraseRoom(stay=stay))
    left = [one for one in house.effects if isinstance(one, LeaveRoom)]
    old = LeaveRoom((BOT,), former=house.record.room_id)
    new = LeaveRoom((SALES_USER,), former=NEW)
    assert left == ([new] if stay else [old, new])
    house.effects.clear()
    house.enter(Entered(direct=False, displayname="Ada", people=(Person(ADA),)))
    assert house.effects == []


@pytest.mark.parametrize("people", [(Person(ADA),), (Person(ADA), Person(BEN))])
def test_the_chat_login_and_settings_move_to_the_new_room(people: tuple[Person, ...]) -> None:
    """The chat, its login and its settings, but no cards or thread of the old room."""
    house = House().served().chat()
    house.receive(RoomConfigured(EventId("$c"), ADA, {"language": "ja"}), Standing.ADMIN)
    card = OurCard(EventId("$card"), CardKind.QUEUE)
    house.visit.set(cards=(card,), thread=Thread(EventId("$r"), EventId("$t")), key="7f")
    before = house.record
    house.receive(Upgraded(NEW))
    followed(house.visit, Invited(ADA, SALES_USER, direct=False), NEW)
    house.effects.clear()
    house.visit.now += 1
    house.enter(Entered(direct=False, displayname="Ada", people=people))
    after = house.record
    assert (after.matrix_id, after.room_id) == (NEW, before.room_id)
    assert after.room_at(house.now) == before.room_id
    assert (after.host, after.direct) == (SALES_USER, len(people) == 1)
    assert (after.cards, after.thread, after.upgrade) == ((), None, None)
    for name in ("conversation", "settings", "key", "login", "customer"):
        assert getattr(after, name) == getattr(before, name)
    settings, shown, left, bridge = house.effects
    assert settings == ShowSettings()
    assert shown == Card(0, "queue.joined_unnamed")
    assert left == LeaveRoom((BOT,), former=before.room_id)
    assert bridge == ShowBridge()


def test_waiting_messages_in_a_closed_room_are_reported() -> None:
    """Nothing can be posted from outside, and WebChat's answer would come too late."""
    house = House().served()
    one, two, three = house.say("order 4711"), house.say("it is urgent"), house.say("hello?")
    held = {piece.event_id: piece for piece in all_pieces(house.record.conversation)}
    note = Held(EventId("$back"), CustomerText("(took back)"), house.now, amends=EventId("$x"))
    queued = Queued(QueueId(2), house.now, RequestId(9001), pre_sent=(held[one],))
    under_way = Outstanding(CallId(7), SendPreMessage(RequestId(9001), "it is urgent"), held[two])
    conversation = msgspec.structs.replace(
        house.record.conversation, phase=queued, held=(held[three], note), outstanding=under_way
    )
    house.visit.set(conversation=conversation)
    house.effects.clear()
    assert unsent_messages(house.record) == (one, two, three)
    house.receive(Upgraded())
    told = [one for one in house.effects if isinstance(one, Reported | LeaveRoom)]
    reports = [Reported(event, "room.closed_unsent") for event in (one, two, three)]
    assert told == [*reports, LeaveRoom((BOT,))]
    assert house.notices == ["room.closed"]
    assert house.carried == [two], "what is under way may come back, and is seen to already"
    refused = Reply(111, ResultCode.INVALID_CHAT_REQUEST_ID, call_id=CallId(7))
    house.visit.step(Replied(CallId(7), refused))
    assert list(house.reported.values()).count("queue.dropped") == 0


def test_kept_messages_in_a_closed_room_are_reported() -> None:
    house = House().served()
    house.receive(RoomConfigured(EventId("$c"), ADA, {"start": "on_command"}), Standing.ADMIN)
    event = house.say("hello")
    house.receive(Upgraded())
    assert house.reported == {event: "room.closed_unsent"}
    assert house.carried == []


@pytest.mark.asyncio
@pytest.mark.parametrize("killed", [False, True])
async def test_a_repeated_leave_declines_no_later_invitation(killed: bool) -> None:
    """The reply to the first was lost; a new invitation is meant to be accepted."""
    world = World()
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        world.matrix.trouble.append(Unavailable("no answer"))
        await engine.accept_events([world.event("gone"), world.invitation()])
        await quiet()
        assert (await world.stored()).membership is Membership.ENTERING
        if not killed:
            await world.clock.turn(1)
    async with world.running():
        await quiet()
    assert (await world.stored()).membership is Membership.JOINED
    assert world.matrix.requests[:2] == [f"leave {ROOM} {BOT}", f"enter {ROOM}"]


@pytest.mark.asyncio
@pytest.mark.parametrize("news", ["202", "210", "201"])
async def test_what_begins_after_the_customer_has_left_is_ended(news: str) -> None:
    """The agent had accepted in an outage, or accepts after all."""
    world, session = World(), SessionId(9)
    pushes: dict[str, Push] = {
        "202": ChatStarted(session, (AGENT,)),
        "210": MessageReceived(session, AGENT.id, AgentText("hello?")),
        "201": QueueStatus(RequestId(9001), RequestStatus.WAITING, 1),
    }
    refused = Queued(QueueId(1), 0, RequestId(9001))
    until = world.clock.now() + 60_000
    await world.record(ROOM, Idle(0, linger_until=until, refused=refused), until)
    async with world.running() as engine:
        await engine.accept_events([world.event("gone", who=ADA)])
        await quiet()
        await engine.pushed(ROOM, "p1", Received(pushes[news]))
        await quiet()
    sent = world.link.calls[-1].command
    assert sent == (CancelRequest(RequestId(9001)) if news == "201" else CloseSession(session))
    assert not isinstance((await world.stored()).conversation.phase, Chatting | Queued)


@pytest.mark.asyncio
@pytest.mark.parametrize("wish", [CloseSession, CancelRequest])
async def test_an_end_that_webchat_refuses_is_asked_for_again_only_with_the_next_news(
    wish: type,
) -> None:
    world, request_id = World(), RequestId(9001)
    pushes: list[Push] = [QueueStatus(request_id, RequestStatus.WAITING, 1)] * 2
    if wish is CloseSession:
        hello = MessageReceived(SessionId(9), AGENT.id, AgentText("hello?"))
        pushes = [ChatStarted(SessionId(9), (AGENT,)), hello]
    until = world.clock.now() + 60_000
    refused = Queued(QueueId(1), 0, request_id)
    await world.record(ROOM, Idle(0, linger_until=until, refused=refused), until)
    async with world.running() as engine:
        await engine.accept_events([world.event("gone", who=ADA)])
        await quiet()
        world.link.answers += [Reply(110, ResultCode.REQUEST_ERROR)] * 9
        for number, push in enumerate(pushes, start=1):
            await engine.pushed(ROOM, f"p{number}", Received(push))
            await quiet()
            assert len([call for call in world.link.calls if type(call.command) is wish]) == number


# --- a customer whose permission was taken away ---------------------------------------------------


def unpermitted(permission: Permission = Permission.NONE) -> House:
    """A customer who waits in the queue, and whom the operator serves no more."""
    house = House().served()
    house.visit.set(conversation=Conversation(phase=Queued(QueueId(1), 0), number=3))
    house.visit.set(cards=(OurCard(EventId("$card"), CardKind.QUEUE, number=3),))
    house.visit.rules = msgspec.structs.replace(RULES, permission=lambda _: permission)
    return house


def leaves(house: House) -> bool:
    phase = house.record.conversation.phase
    return isinstance(phase, Queued) and phase.cancel


@pytest.mark.parametrize("words", ["cancel", "取消", "!wc cancel", "close"])
def test_a_customer_without_permission_may_leave_the_queue(words: str) -> None:
    house = unpermitted()
    house.say(words)
    assert leaves(house)
    assert house.reported == {}


def test_a_customer_without_permission_may_leave_the_queue_by_reaction() -> None:
    house = unpermitted()
    house.receive(Reacted(EventId("$r"), ADA, EventId("$other"), "❌"))
    house.receive(Reacted(EventId("$r"), ADA, EventId("$card"), "👍"))
    assert (leaves(house), house.carried) == (False, [])
    house.receive(Reacted(EventId("$r"), ADA, EventId("$card"), "❌"))
    assert leaves(house)


def test_a_customer_without_permission_may_end_the_chat() -> None:
    house = unpermitted().chat()
    house.say("!wc close")
    assert isinstance(phase := house.record.conversation.phase, Chatting)
    assert phase.close


def test_nobody_else_without_permission_may_leave_for_the_customer() -> None:
    for house, who in ((unpermitted(), STRANGER), (unpermitted(Permission.IGNORED), ADA)):
        house.say("!wc cancel", who)
        house.receive(Reacted(EventId("$r"), who, EventId("$card"), "❌"))
        assert not leaves(house)
    house = unpermitted()
    refused = [house.say(words) for words in ("start", "cancel please")]
    assert house.reported == {refused[0]: "refused.permission"}
    assert not leaves(house)


@pytest.mark.parametrize(("sign", "target"), [("🔁", "$card"), ("👍", "$other")])
def test_a_customer_without_permission_is_told_every_few_minutes_that_nobody_reads_on(
    sign: str, target: str
) -> None:
    house = unpermitted()
    house.receive(Reacted(EventId("$r"), ADA, EventId(target), sign))
    assert house.effects[-1] == Say("refused.permission", {"user": ADA}, EventId(target))
    house.say("hello?")
    assert house.reported == {}, "told a moment ago"
    house.visit.now += TURN_AWAY_DIRECT
    later = house.say("anybody?")
    assert house.reported == {later: "refused.permission"}


def test_reactions_of_people_without_permission_in_a_shared_room_are_not_answered() -> None:
    house = unpermitted()
    house.visit.set(direct=False)
    house.receive(Reacted(EventId("$r"), ADA, EventId("$card"), "🔁"))
    assert house.effects == []
