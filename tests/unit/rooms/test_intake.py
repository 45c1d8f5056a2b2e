"""Inputs are stored with the time of their arrival; missed ones are asked for after an outage."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from bridge.config.model import Encryption
from bridge.conversation.history import FIRST_PAUSE, SETTLING
from bridge.conversation.model import LinkLost, LinkRestored, Pushed
from bridge.ids import AgentId, RoomId, SessionId, UserId
from bridge.rooms import engine as module
from bridge.rooms.ports import CallFailure, Refused
from bridge.rooms.record import Membership, Person, RoomRecord, load_input, when_sent
from bridge.rooms.rules import hides
from bridge.rooms.visit import stored_as
from bridge.webchat.codes import FailureReason, NoticeType
from bridge.webchat.frames import AgentNotice, AgentText, MessageReceived, Received
from bridge.webchat.http import HistoryEntry
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World, said
from tests.fakes.reading import ReadingWorld
from tests.fakes.store import Fault, FlakyStore
from tests.unit.rooms.visits import ADA, BOT, NEIGHBOUR, RULES

BOB = UserId("@bob:example.org")
OTHER = RoomId("!other:example.org")


def line(number: int, html: str, posted: int) -> HistoryEntry:
    return HistoryEntry(str(number), MEI.id, "Mei", 2, html, posted)


@pytest.mark.asyncio
@pytest.mark.parametrize("rs_id", ["", "r-1"])
async def test_a_push_is_stored_with_its_time_of_arrival(rs_id: str) -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        push = MessageReceived(SESSION, AgentId("A"), AgentText("hi"))
        came = world.clock.now()
        await engine.pushed(ROOM, "key", Received(push, rs_id))
    bodies = [row["body"] for row in world.store.rows("journal")]
    stored = [load_input(body) for body in bodies if body is not None]
    assert stored == [Pushed(push, came, numbered=bool(rs_id))]


@pytest.mark.asyncio
async def test_an_event_that_comes_twice_at_once_counts_as_no_new_one() -> None:
    world = World()
    await world.chatting()
    event = world.event()
    async with world.running() as engine:
        assert await engine.accept_events([event]) == 1
        again = await asyncio.gather(*(engine.accept_events([event]) for _ in range(2)))
    assert again == [0, 0]


@pytest.mark.asyncio
async def test_a_message_of_another_session_is_shown_and_logged() -> None:
    """They came by this room's own link: such a server mixes up its customers."""
    world = World()
    await world.chatting()
    with capture_logs() as logs:
        async with world.running() as engine:
            for number, session in enumerate((SESSION, SessionId(0), SessionId(4711))):
                push = MessageReceived(session, MEI.id, AgentText(f"hi {number}"))
                await engine.pushed(ROOM, f"p{number}", Received(push))
            await world.clock.turn(60)
    assert [one.text for one in world.matrix.posted] == ["hi 0", "hi 1", "hi 2"]
    told = [line for line in logs if line["event"] == "message of another session"]
    assert [(line["of"], line["here"], line["room"]) for line in told] == [(4711, SESSION, ROOM)]


@pytest.mark.asyncio
async def test_known_events_are_not_counted_as_accepted() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        one, two = world.event(text="one"), world.event(text="two")
        assert await engine.accept_events([one]) == 1
        assert await engine.accept_events([one, two]) == 1
        assert await engine.accept_events([one, two]) == 0


@pytest.mark.asyncio
async def test_unencrypted_events_of_a_transaction_are_opened_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They tell encryption who has left; decrypting may take a while, and an agent may write."""
    world, heard = World(), []
    await world.chatting()
    opened = world.matrix.open

    async def opening(raw: dict[str, object], **how: bool) -> object:
        heard.append(raw["event_id"])
        return await opened(raw, **how)

    monkeypatch.setattr(world.matrix, "open", opening)
    async with world.running() as engine:
        room_id, sealed, raw = world.event(text="one")
        left = world.event(text="two")
        await engine.accept_events([(room_id, sealed, raw | {"type": "m.room.encrypted"}), left])
        await quiet()
    assert heard == [left[1], sealed]
    assert world.link.texts(ROOM) == ["one", "two"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("others", "most", "expected"),
    [(1, 2, ["answer", "call"]), (1, 1, ["call", "answer"]), (0, 2, ["call", "answer"])],
)
async def test_the_answer_precedes_the_call_but_of_a_single_room_or_in_a_backlog(
    others: int, most: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`most`: rooms of a group up to which there is no backlog."""
    monkeypatch.setattr(module, "LARGE_GROUP", most)
    world, order = World(), list[str]()
    more = [world.invitation(RoomId(f"!other{number}:example.org")) for number in range(others)]

    def free() -> bool:
        order.append("call")
        return True

    await world.chatting()
    async with world.running() as running:
        await running.accept_events([world.event(text="one")])  # the call centre answers lately
        await quiet()
        world.link.free = free
        await running.accept_events([world.event(text="two"), *more])
        order.append("answer")
        await quiet()
    assert order == expected
    assert world.link.texts(ROOM) == ["one", "two"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "lost", [(), (Fault.BEFORE,), (Fault.LOST,)], ids=["stored", "failed", "answer lost"]
)
async def test_the_limit_of_rooms_holds_for_invitations_that_come_together(
    lost: tuple[Fault, ...],
) -> None:
    """Each room counts those just accepted by the others; one that fails delays none."""
    store = FlakyStore(lambda _: Fault.SLOW)
    store.fail("commit", *lost)
    world = World(store)
    rooms = [RoomId(f"!room{number}:example.org") for number in range(10)]
    async with world.running() as engine:
        await engine.accept_events([world.invitation(room_id) for room_id in rooms])
        await world.clock.turn(60)
        await quiet()  # ten slow writes in a row
    entered = [(await world.stored(room_id)).membership for room_id in rooms]
    assert entered.count(Membership.JOINED) == world.rules.limits.rooms_per_user
    assert entered.count(Membership.LEFT) == 10 - world.rules.limits.rooms_per_user
    assert await world.nothing_left()


@pytest.mark.asyncio
@pytest.mark.parametrize("left", [True, False])
async def test_a_shared_room_that_its_inviter_has_left_does_not_count(left: bool) -> None:
    limits = RULES.limits.model_copy(update={"rooms_per_user": 1})
    world, joined = World(rules=replace(RULES, limits=limits)), Membership.JOINED
    people = (Person(BOB),) if left else (Person(BOB), Person(ADA))
    shared = RoomRecord(ROOM, membership=joined, host=BOT, customer=ADA, direct=False)
    await flow.step(world.writing, stored_as(replace(shared, people=people), 0))
    async with world.running() as engine:
        await engine.accept_events([world.invitation(OTHER)])
        await quiet()
    membership = (await world.stored(OTHER)).membership
    assert membership is (Membership.JOINED if left else Membership.LEFT)


@pytest.mark.asyncio
async def test_a_room_that_invites_the_bot_again_does_not_count_itself() -> None:
    """The bot's removal was missed: the room still counts as one of the inviter's."""
    limits = RULES.limits.model_copy(update={"rooms_per_user": 1})
    world = World(rules=replace(RULES, limits=limits))
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
    assert (await world.stored()).membership is Membership.JOINED


@pytest.mark.asyncio
async def test_invitations_of_different_people_do_not_wait_for_one_another() -> None:
    """One person's invitations take turns; those of another person do not wait for them."""
    world = World(FlakyStore())
    async with world.running() as engine:
        async with world.around.inviting.setdefault(ADA, asyncio.Lock()):
            of_bob = world.event("invite", room_id=OTHER, whom=BOT, sender=BOB)
            await engine.accept_events([world.invitation(), of_bob])
            await quiet()
            assert (await world.stored(OTHER)).membership is Membership.JOINED
            assert (await world.store.load(ROOM)).room is None
        await quiet()
        assert (await world.stored()).membership is Membership.JOINED
    assert not world.around.inviting, "nothing is kept of who has invited"


@pytest.mark.asyncio
async def test_a_second_invitation_during_the_first_join_is_accepted() -> None:
    """The first invitation was withdrawn, so the homeserver refuses it: the second counts."""
    world = World()
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.accept_events([world.invitation()])
        await engine.accept_events([world.event("gone", sender=BOT)])
        await engine.accept_events([world.invitation()])
        await quiet()
        world.matrix.trouble.append(Refused("M_FORBIDDEN", "not invited"))
        world.matrix.gate.set()
        await quiet()
        assert (ROOM, BOT) in world.matrix.members
        assert (await world.stored()).membership is Membership.JOINED


@pytest.mark.asyncio
async def test_state_events_that_come_during_the_join_count() -> None:
    """Both events come after the bot read the room's state, and before its join is answered."""
    demanding = replace(RULES, encryption=Encryption(require=True))
    world = ReadingWorld(demanding)
    world.matrix.level = 100
    invited: dict[str, object] = {"membership": "invite", "is_direct": True}
    state: list[tuple[str, dict[str, object]]] = [
        ("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}),
        ("org.matrix_webchat.room", {"queue": 2}),
    ]
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.accept_events([world.real("m.room.member", "$i", invited, state_key=BOT)])
        for kind, content in state:
            await engine.accept_events([world.real(kind, f"${kind}", content, state_key="")])
        await quiet()
        world.matrix.gate.set()
        await world.clock.turn(10)
    record = await world.stored()
    assert (record.membership, record.settings.queue) == (Membership.JOINED, 2)
    assert record.encrypted
    assert not hides(demanding, record)
    assert sum("room.welcome" in one for one in world.matrix.texts(ROOM)) == 1


@pytest.mark.asyncio
async def test_a_missed_message_is_shown_with_its_time() -> None:
    world = World()
    await world.chatting()
    begin = world.clock.now()
    async with world.running() as engine:
        await engine.pushed(ROOM, "1", said("hello"))
        await world.clock.turn(60)
        told = (line(1, "hello", begin), line(2, "are you <b>there</b>?", begin + 30_000))
        world.link.histories.append(told)
        engine.signal(ROOM, LinkRestored())
        await quiet()
        first, late = world.matrix.texts(ROOM)
        assert first == "hello"
        assert late.endswith("：<br>are you <b>there</b>?")
        assert "UTC" in late
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_message_recalled_during_a_history_request_is_not_shown() -> None:
    """The call centre's notice of it came first."""
    world = World()
    await world.chatting()
    begin, answer = world.clock.now(), asyncio.Event()

    async def waits() -> None:
        await answer.wait()

    async with world.running() as engine:
        await engine.pushed(ROOM, "1", said("hello"))
        await world.clock.turn(60)
        told = (line(7, "a slip", begin + 30_000), line(8, "you there?", begin + 31_000))
        world.link.histories.append((line(1, "hello", begin), *told))
        world.link.disturb = waits
        engine.signal(ROOM, LinkRestored(world.clock.now()))
        await quiet()
        notice = AgentNotice(NoticeType.REVOKE_MESSAGE)
        await engine.pushed(ROOM, "2", Received(MessageReceived(SESSION, MEI.id, notice, "7")))
        await quiet()
        answer.set()
        await quiet()
    first, taken_back, late = world.matrix.texts(ROOM)
    assert (first, taken_back) == ("hello", "chat.recalled")
    assert late.endswith("you there?")
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_the_history_is_requested_after_a_start_even_if_the_link_is_silent() -> None:
    world = World()
    await world.chatting()
    world.link.histories.append((line(1, "while you were away", world.clock.now()),))
    async with world.running():
        assert world.matrix.texts(ROOM) == []
        await world.clock.turn(SETTLING / 1000)
        (late,) = world.matrix.texts(ROOM)
        assert late.endswith("while you were away")


@pytest.mark.asyncio
async def test_a_failed_history_request_is_repeated_later() -> None:
    world = World()
    await world.chatting()
    world.link.histories.append(CallFailure(FailureReason.UNREACHABLE, certain=True))
    world.link.histories.append((line(1, "first\nsecond", world.clock.now()),))
    async with world.running() as engine:
        engine.signal(ROOM, LinkRestored())
        await quiet()
        assert world.matrix.texts(ROOM) == []
        await world.clock.turn(2 * FIRST_PAUSE / 1000)
        (late,) = world.matrix.texts(ROOM)
        assert late.endswith("<br>first<br>second")
    assert ("aside", "failed") in world.counts.settled_rows


@pytest.mark.asyncio
async def test_a_missed_message_of_unknown_time_is_told_as_of_the_outage() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "1", said("hello"))
        world.link.histories.append((line(1, "hello", 0), line(2, "later", 0)))
        engine.signal(ROOM, LinkRestored())
        await quiet()
        assert world.matrix.texts(ROOM)[1:] == ["🕘 在连接中断期间发送：<br>later"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("history", "rs_id", "notices"),
    [((), "", ["outage.unsure"]), (None, "", ["outage.unsure"]), (None, "r-1", [])],
    ids=["empty", "none", "none, and numbered pushes"],
)
async def test_an_outage_without_history_is_unsure_unless_pushes_are_numbered(
    history: tuple[HistoryEntry, ...] | None, rs_id: str, notices: list[str]
) -> None:
    """The history should contain what was shown; without one, only numbered pushes come again."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        hello = Received(said("hello").push, rs_id)
        await engine.pushed(ROOM, "1", hello)
        world.link.histories.append(history)
        engine.signal(ROOM, LinkRestored())
        await quiet()
        assert world.matrix.texts(ROOM) == ["hello", *notices]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_the_room_is_told_of_a_lost_and_restored_link() -> None:
    """table row 34."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        engine.signal(ROOM, LinkLost())
        await quiet()
        engine.signal(ROOM, LinkRestored())
        await quiet()
        assert world.matrix.texts(ROOM) == ["trouble.unreachable", "trouble.over", "outage.unsure"]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["say", "unreadable"])
async def test_a_room_that_only_the_database_does_not_know_is_served_anew(kind: str) -> None:
    """As after a restore of an older backup: its message is answered, and those since the
    invitation are read.
    """
    world = World()
    world.matrix.hosts[OTHER] = BOT
    _, earlier_id, earlier = world.event(text="of the lost time", room_id=OTHER)
    world.matrix.earlier = [earlier]
    with capture_logs() as logs:
        async with world.running() as engine:
            await engine.accept_events([world.event(kind, room_id=OTHER)])
            await quiet()
    record = await world.stored(OTHER)
    assert (record.membership, record.host, record.customer) == (Membership.JOINED, BOT, ADA)
    assert [one["room"] for one in logs if "served anew" in one["event"]] == [OTHER]
    known = await world.writing.known([earlier_id])
    assert known.keys() == {earlier_id}
    assert ("unreadable.kind" in world.matrix.texts(OTHER)) is (kind == "unreadable")
    asked = [call.command for call in world.link.calls]
    assert asked, "the texts ask for an agent"


@pytest.mark.asyncio
@pytest.mark.parametrize("why", ["no host", "no permission", "no message"])
async def test_other_rooms_that_the_database_does_not_know_are_not_entered(why: str) -> None:
    world = World()
    if why != "no host":
        world.matrix.hosts[OTHER] = BOT
    sender = NEIGHBOUR if why == "no permission" else ADA
    kind = "gone" if why == "no message" else "say"
    async with world.running() as engine:
        await engine.accept_events([world.event(kind, room_id=OTHER, sender=sender)])
        await quiet()
    assert f"enter {OTHER}" not in world.matrix.requests
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_messages_of_an_outage_are_limited_by_when_they_were_written() -> None:
    """Three minutes of an outage come at once, with as many messages as a minute may have."""
    world = World()
    await world.chatting()
    minute = 60_000 - world.clock.now() % 60_000  # to the next one, ms
    await world.clock.turn(minute / 1000)
    written = [
        (f"{number} {back}", {"age": back * 60_000 - number})
        for back in (3, 2, 1)
        for number in range(1, 7)
    ]
    async with world.running() as engine:
        await engine.accept_events([world.event(text=text, unsigned=age) for text, age in written])
        await quiet()
        await engine.accept_events([world.event(text="now")])
        await quiet()
    kept = [text for text, _ in written if not text.startswith("6")]
    assert world.link.texts(ROOM) == [*kept, "now"]
    told = [text.partition("\n")[0] for text in world.matrix.texts(ROOM)]
    assert told.count("undelivered.too_fast") == 3


@pytest.mark.parametrize(
    ("sender", "unsigned", "ago"),
    [
        (ADA, {"age": 70_000}, 70_000),
        (UserId("@ada:example.org.evil.org"), {"age": 70_000}, 0),
        (UserId("@ada:elsewhere.org"), {"age": 70_000}, 0),
        (ADA, {"age": -70_000}, 0),
        (ADA, {"age": "70000"}, 0),
        (ADA, {"age": 2**80}, 0),
        (ADA, {}, 0),
        (ADA, None, 0),
    ],
)
def test_when_an_event_was_sent(sender: UserId, unsigned: object, ago: int) -> None:
    raw = {"sender": sender, "unsigned": unsigned}
    assert when_sent(raw, BOT, 1_733_011_200_000) == 1_733_011_200_000 - ago
