"""What agents are told of replies, reactions and redactions."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
import pytest

from bridge.config.model import Permission, TellAgents
from bridge.conversation.model import (
    CallWebChat,
    Chatting,
    Ended,
    Held,
    Idle,
    Outstanding,
    Queued,
    Requesting,
    UploadMedia,
)
from bridge.conversation.model import CustomerLocation as Location
from bridge.conversation.model import CustomerMedia as Media
from bridge.conversation.model import CustomerText as Text
from bridge.ids import CallId, EventId, QueueId, RequestId, SessionId, UserId
from bridge.rooms.ports import Corrected, Nothing, PollAnswered, Reacted, Spoke, Withdrew
from bridge.rooms.reader import Facts, receive
from bridge.rooms.record import (
    Membership,
    RoomSettings,
    Thread,
    Undelivered,
    load_record,
    thread_in_use,
)
from bridge.rooms.references import QUOTED, Earlier, quotation, refers_to
from bridge.webchat.frames import Location as Place
from bridge.webchat.frames import SendMessage, SendPreMessage
from bridge.webchat.frames import Text as WireText
from tests.unit.rooms.desks import EVENT, IMAGE, Desk, X, fix, said
from tests.unit.rooms.visits import ADA, RULES, STRANGER, House

AT = 1_733_011_500_000
"""A time of the day of `House.now`, ms since the epoch."""


def reply(
    content: Text | Media | Location, plain: str = "", thread: EventId | None = None
) -> Spoke:
    return Spoke(EVENT, ADA, content, plain, reply_to=X, thread=thread)


# --- replies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "text"),
    [
        (None, "yes"),
        (Earlier(""), "yes"),
        (Earlier("", at=AT), "In reply to “message from 00:05 UTC”:\nyes"),
        (Earlier("", at=AT, reports=EventId("$lost")), "yes"),
        (
            Earlier("Do you want it?\nWe have two."),
            "In reply to “Do you want it? We have two.”:\nyes",
        ),
        (said("> quoted\nown words"), "In reply to “own words”:\nyes"),
        (said("!wc status"), "yes"),
    ],
)
def test_a_reply_begins_with_a_short_quotation(earlier: Earlier | None, text: str) -> None:
    desk = Desk()
    desk.happen(reply(Text("yes"), "yes"), earlier)
    assert desk.read == [text]


@pytest.mark.parametrize("who", [Permission.IGNORED, Permission.NONE])
def test_a_message_of_somebody_not_served_is_not_quoted(who: Permission) -> None:
    def permission(user: str) -> Permission:
        return who if user == STRANGER else Permission.CUSTOMER

    desk = Desk(msgspec.structs.replace(RULES, permission=permission))
    between_us = Earlier("The boss is ill", Text("The boss is ill"), STRANGER)
    desk.happen(reply(Text("yes"), "yes"), between_us)
    assert desk.read == ["yes"]


def test_a_quotation_is_introduced_in_the_rooms_language() -> None:
    desk = Desk()
    desk.visit.set(settings=RoomSettings(language="zh-CN"))
    desk.happen(reply(Text("要"), "要"), Earlier("要吗？"))
    assert desk.read == ["回复「要吗？」：\n要"]


def test_a_file_as_reply_has_the_quotation_as_caption() -> None:
    for plain, caption in (("", "In reply to “which?”:"), ("this", "In reply to “which?”:\nthis")):
        desk = Desk()
        desk.happen(reply(IMAGE, plain), Earlier("which?"))
        assert [one for one in desk.effects if isinstance(one, UploadMedia)]
        assert desk.read == [caption]


def waiting(desk: Desk) -> Desk:
    """Put a message under way, so that later ones wait."""
    desk.say("first")
    return desk


@pytest.mark.parametrize(
    ("what", "left"),
    [
        (reply(Text("yes"), "yes"), ["yes"]),
        (reply(IMAGE, "this"), ["this"]),
        (reply(IMAGE), ["cat.png"]),
        (Reacted(EVENT, ADA, X, "👍"), []),
        (PollAnswered(EVENT, ADA, X, "a"), []),
    ],
)
def test_a_waiting_quotation_of_a_redacted_message_is_removed(
    what: Spoke | Reacted | PollAnswered, left: list[str]
) -> None:
    for direct in (True, False):
        desk = waiting(Desk())
        desk.visit.set(direct=direct)
        secret = Earlier("my secret", Text("my secret"), answers=(("a", "Red"),))
        desk.happen(what, secret)
        assert "my secret" in repr(desk.record)
        desk.happen(back(), secret)
        assert "my secret" not in repr(desk.record)
        name = "" if direct else "ada: "
        read = [f"{name}{one}" for one in (*left, TOOK_BACK)]
        assert desk.read == ["first", *read]
        assert desk.reported == {}


def test_a_waiting_quotation_of_a_redacted_correction_is_removed() -> None:
    desk = waiting(Desk())
    desk.happen(fix("my secert"), said("x"))
    desk.happen(Spoke(EventId("$y"), ADA, Text("yes"), "yes", reply_to=X), said("my secert"))
    desk.happen(back(), said("my secert"))
    assert "my secert" not in repr(desk.record)
    assert desk.read == ["first", "yes", TOOK_BACK]


def test_a_location_sent_as_a_reply_stays_a_location() -> None:
    desk = Desk()
    desk.happen(reply(Location(1, 2, "x")), Earlier("where?"))
    assert desk.sent == [Place(1, 2, "x", "baidu")]


def test_quotations_are_shortened_and_cleaned() -> None:
    assert quotation("a" * 200) == "a" * (QUOTED - 1) + "…"
    assert quotation(" a \n\n b ") == "a b"
    assert quotation("> only\n> quoted") == ""
    assert quotation("\u202eabc\u2067") == "abc"


def test_a_poll_is_labelled_as_a_poll() -> None:
    desk = Desk()
    desk.happen(Spoke(EVENT, ADA, Text("Which?\n1. Red"), wrap="agent.poll"))
    assert desk.read == ["Poll: Which?\n1. Red"]


# --- threads ------------------------------------------------------------------------------------


def test_the_thread_of_the_latest_message_is_remembered() -> None:
    desk = Desk()
    desk.happen(Spoke(EVENT, ADA, Text("a"), "a", thread=EventId("$root")))
    assert desk.record.thread == Thread(EventId("$root"), EVENT, desk.now)
    desk.happen(Spoke(EventId("$2"), ADA, Text("b"), "b", thread=EventId("$root")))
    assert desk.record.thread == Thread(EventId("$root"), EventId("$2"), desk.now)
    desk.happen(Spoke(EventId("$3"), ADA, Text("c"), "c"))
    assert desk.visit.record.thread is None
    order = Spoke(EventId("$4"), ADA, Text("!wc status"), "!wc status", thread=EventId("$root"))
    desk.happen(order)  # its answer belongs there, too
    assert desk.visit.record.thread == Thread(EventId("$root"), EventId("$4"), desk.now)


def test_a_message_in_a_thread_begins_with_its_root_quoted() -> None:
    """Else the agent, who sees no threads, would not know what it is about."""
    inside = Spoke(EVENT, ADA, Text("which depot?"), "which depot?", thread=X)
    desk = Desk()
    desk.happen(inside, Earlier("Your parcel waits at the depot."))
    assert refers_to(desk.record, inside) == X
    assert desk.read == ["In reply to “Your parcel waits at the depot.”:\nwhich depot?"]
    answer = Spoke(EVENT, ADA, Text("yes"), "yes", reply_to=EventId("$2"), thread=X)
    assert refers_to(desk.record, answer) == "$2"


def test_a_thread_is_in_use_for_three_minutes_after_the_last_message_there() -> None:
    desk = Desk()
    spoke = Spoke(EVENT, ADA, Text("a"), "a", thread=EventId("$root"))
    received = desk.now - 60_000  # it waited, e.g. for its key
    receive(desk.visit, spoke, {}, Facts(received), command=None)
    thread = desk.visit.record.thread
    assert thread == Thread(EventId("$root"), EVENT, received)
    assert thread_in_use(desk.visit.record, received + 179_999) == thread
    assert thread_in_use(desk.visit.record, received + 180_000) is None
    desk.happen(Spoke(EventId("$2"), ADA, Text("b"), "b"))
    assert thread_in_use(desk.visit.record, received) is None


def test_a_thread_stored_by_an_earlier_version_is_not_in_use() -> None:
    stored = load_record(b'{"room_id":"!r:h","thread":{"root":"$root","latest":"$latest"}}')
    assert stored.thread == Thread(EventId("$root"), EventId("$latest"))
    assert thread_in_use(stored, Desk().now) is None


# --- redactions -----------------------------------------------------------------------------------


TOOK_BACK = "(took back a message)"


def back(target: EventId = X) -> Withdrew:
    return Withdrew(EventId("$back"), ADA, target)


def test_the_agent_is_told_of_a_redaction_without_the_text() -> None:
    for earlier, name in (
        (said("my number is 1"), "my number is 1"),
        (Earlier("cat.png", IMAGE), "cat.png"),
    ):
        desk = Desk()
        desk.happen(back(), earlier)
        assert desk.read == [TOOK_BACK]
        assert name not in repr(desk.effects)


def test_a_redaction_is_told_with_the_time_of_the_message() -> None:
    """In the call centre's time zone, with the date of another day; in a shared room by name."""
    shanghai = msgspec.structs.replace(RULES, timezone=ZoneInfo("Asia/Shanghai"))
    for rules, ago, told in (
        (shanghai, 60_000, "(took back a message from 07:59)"),
        (shanghai, 24 * 3_600_000, "(took back a message from 30 Nov, 08:00)"),
        (RULES, 60_000, "(took back a message from 30 Nov, 23:59 UTC)"),
    ):
        desk = Desk(rules)
        desk.happen(back(), msgspec.structs.replace(said("x"), at=desk.now - ago))
        assert desk.read == [told]
    shared = Desk()
    shared.visit.set(direct=False)
    shared.happen(back(), said("x"))
    assert shared.read == [f"ada: {TOOK_BACK}"]


def test_a_moderators_redaction_names_the_author() -> None:
    desk = Desk()
    desk.visit.set(direct=False)
    for sender, told in (
        (UserId("@bob:example.org"), f"ada: {TOOK_BACK} (written by bob)"),
        (ADA, f"ada: {TOOK_BACK}"),
    ):
        desk.happen(back(), msgspec.structs.replace(said("x"), sender=sender))
        assert desk.read[-1] == told


def test_the_redaction_of_a_message_never_sent_is_not_told() -> None:
    """The robot or the bridge answered it."""
    desk = Desk()
    desk.happen(back(), Earlier("x", Text("x"), unsent=True))
    assert desk.read == []
    going = desk.say("on its way")  # the ledger has no row of it yet
    desk.happen(back(going), Earlier("on its way", Text("on its way"), unsent=True))
    assert desk.read == ["on its way", TOOK_BACK]


@pytest.mark.parametrize(
    ("session_id", "told"), [(None, []), (SessionId(5150), ["(took back a message)"])]
)
def test_a_redaction_is_told_to_a_session_that_is_about_to_begin(
    session_id: SessionId | None, told: list[str]
) -> None:
    desk = Desk().phase(Requesting(QueueId(1), 1, session_id=session_id, adopt_at=5))
    desk.happen(back(), said("x"))
    assert desk.read == told


def test_a_redacted_message_that_was_not_sent_is_dropped_silently() -> None:
    desk = Desk()
    desk.say("first")
    second = desk.say("second")
    desk.happen(back(second), said("second"))
    assert desk.read == ["first"]


def test_the_redaction_of_a_corrected_message_covers_its_newest_wording() -> None:
    desk = Desk()
    desk.say("first")
    second = desk.say("second")
    desk.happen(Corrected(EVENT, ADA, second, Text("2nd"), "2nd"), said("second"))
    desk.happen(back(second), Earlier("2nd", Text("2nd"), correction=True))
    assert desk.read == ["first"]
    desk = Desk()
    desk.happen(fix("b"), said("a"))
    desk.happen(back(), Earlier("b", Text("b"), correction=True))
    assert desk.read == ["Correction: b", TOOK_BACK]


def test_a_redacted_correction_is_the_newest_wording_no_more() -> None:
    """Nothing can be read of it: quotations and redactions are about the wording before it."""
    desk = Desk()
    desk.happen(fix("b"), said("a"))
    desk.happen(back(EVENT), Earlier("b", Text("b"), correction=True))
    assert refers_to(desk.record, back()) == X
    desk.happen(back(), said("a"))
    assert desk.read == ["Correction: b", TOOK_BACK]


def test_the_redaction_of_a_message_drops_its_unsent_correction() -> None:
    """The agent has the original wording, and is told; the correction is no longer sent."""
    for refused in (True, False):
        desk = Desk()
        desk.say("first")
        desk.happen(fix("b"), said("a"))
        if refused:
            desk.visit.set(undelivered=(Undelivered(EVENT),))
        assert refers_to(desk.record, back()) == X
        desk.happen(back(), said("a"))
        assert desk.read[-1] == TOOK_BACK
        assert desk.record.undelivered == ()
        assert "Correction: b" not in desk.read


def test_a_moderator_may_redact_a_waiting_message() -> None:
    """Even one who is no customer: the homeserver has checked the power level."""
    desk = Desk()
    desk.say("first")
    second = desk.say("rude words")
    desk.happen(Withdrew(EventId("$back"), STRANGER, second), said("rude words"))
    assert desk.read == ["first"]


@pytest.mark.parametrize(
    "earlier",
    [
        None,
        Earlier("an agent's words"),
        Earlier("corrected", Text("corrected"), correction=True),
        said("!wc status"),
    ],
)
def test_redactions_that_no_agent_is_told_of(earlier: Earlier | None) -> None:
    desk = Desk()
    desk.happen(back(), earlier)
    assert desk.read == []
    assert desk.reported == {}


def test_redactions_and_reactions_start_no_chat() -> None:
    for phase in (Idle(), Ended(SessionId(5150))):
        desk = Desk().phase(phase)
        desk.happen(back(), said("x"))
        desk.happen(Reacted(EVENT, ADA, X, "👍"), said("x"))
        assert desk.record.conversation.phase == phase
        assert desk.carried == []


def before(desk: Desk, at: int) -> Desk:
    """Put the desk into a chat that follows another one, which ended at `at`."""
    conversation = desk.record.conversation
    desk.visit.set(conversation=msgspec.structs.replace(conversation, last_ended_at=at))
    return desk


@pytest.mark.parametrize("phase", [None, Queued(QueueId(1), 1, RequestId(9))])
@pytest.mark.parametrize("at", [4, 5])
def test_an_agent_is_told_nothing_about_messages_of_an_earlier_chat(
    at: int, phase: Queued | None
) -> None:
    """Else the redaction itself would disclose that message."""
    desk = before(Desk(), 5)
    if phase is not None:
        desk.phase(phase)
    card = Earlier("my card is 4111", Text("my card is 4111"), at=at)
    desk.happen(back(), card)
    desk.happen(Reacted(EventId("$r"), ADA, X, "👍"), Earlier("How are you?", at=at))
    desk.happen(
        PollAnswered(EventId("$v"), ADA, X, "a"),
        Earlier("Which?", Text("Which?"), answers=(("a", "Red"),), at=at),
    )
    assert (desk.read, desk.reported, desk.carried) == ([], {}, [])
    desk.happen(fix("my card is 4112"), card)
    assert desk.read == []
    assert desk.reported == {EVENT: "undelivered.late_correction"}


def test_an_agent_is_told_about_messages_of_the_current_chat() -> None:
    for at in (6, None):
        desk = before(Desk(), 5)
        desk.happen(fix("b"), Earlier("a", Text("a"), at=at))
        desk.happen(Reacted(EventId("$r"), ADA, EventId("$y"), "👍"), Earlier("c", at=at))
        assert desk.read == ["Correction: b", "👍 (in reaction to “c”)"]


def test_a_redaction_while_queued_is_a_pre_message() -> None:
    desk = Desk().phase(Queued(QueueId(1), 1, RequestId(9)))
    desk.happen(back(), said("x"))
    calls = [one.command for one in desk.effects if isinstance(one, CallWebChat)]
    assert calls == [SendPreMessage(RequestId(9), TOOK_BACK)]


def test_a_redaction_of_a_message_under_way_is_told() -> None:
    desk = Desk()
    going = Held(X, Text("x"), desk.now)
    call = Outstanding(CallId(7), SendMessage(SessionId(5150), WireText("x")), going)
    conversation = msgspec.structs.replace(desk.record.conversation, outstanding=call)
    desk.visit.set(conversation=conversation)
    desk.happen(back(), said("x"))
    assert desk.read == [TOOK_BACK]


def test_a_redaction_of_a_message_of_uncertain_fate_is_told() -> None:
    desk = Desk()
    doubtful = Held(X, IMAGE, desk.now, asked=CallId(3))
    conversation = msgspec.structs.replace(desk.record.conversation, held=(doubtful,))
    desk.visit.set(conversation=conversation)
    desk.happen(back(), Earlier("cat.png", IMAGE))
    assert desk.read == [TOOK_BACK]


# --- reactions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "read"),
    [
        (Earlier("Shall I?"), ["👍 (in reaction to “Shall I?”)"]),
        (said("my own words"), ["👍 (in reaction to “my own words”)"]),
        (None, []),
        (Earlier(""), []),
        (Earlier("", at=AT), ["👍 (in reaction to “message from 00:05 UTC”)"]),
        (said("!wc status"), []),
    ],
)
def test_a_reaction_is_told_in_words(earlier: Earlier | None, read: list[str]) -> None:
    desk = Desk()
    desk.happen(Reacted(EVENT, ADA, X, "👍"), earlier)
    assert desk.read == read


def test_a_reaction_to_a_message_never_delivered_is_not_told() -> None:
    """Even if only its correction failed."""
    desk = Desk()
    desk.happen(fix("b"), said("a"))
    desk.effects.clear()
    desk.visit.set(undelivered=(Undelivered(EVENT),))
    desk.happen(Reacted(EventId("$r"), ADA, X, "👍"), said("b"))
    assert not any(isinstance(one, CallWebChat) for one in desk.effects)
    assert len(desk.carried) == 1


@pytest.mark.parametrize(
    "gesture", [Reacted(EVENT, ADA, X, "👍"), PollAnswered(EVENT, ADA, X, "1")]
)
def test_a_reaction_or_vote_on_an_unsent_text_is_not_told(gesture: Reacted | PollAnswered) -> None:
    desk = Desk()
    earlier = Earlier("Tea or coffee?", Text("x"), ADA, answers=(("1", "Tea"),), unsent=True)
    desk.happen(gesture, earlier)
    assert desk.read == []


def test_telling_of_reactions_and_redactions_can_be_switched_off() -> None:
    desk = Desk(msgspec.structs.replace(RULES, tell=TellAgents(reactions=False, withdrawals=False)))
    desk.happen(Reacted(EVENT, ADA, X, "👍"), said("x"))
    desk.happen(back(), said("x"))
    assert desk.read == []


def test_reactions_where_nobody_is_served_are_ignored() -> None:
    for settings, who, membership in (
        (RoomSettings(paused=True), ADA, Membership.JOINED),
        (RoomSettings(), STRANGER, Membership.JOINED),
        (RoomSettings(), ADA, Membership.LEFT),
    ):
        desk = Desk()
        desk.visit.set(settings=settings, membership=membership)
        desk.happen(Reacted(EVENT, who, X, "👍"), said("x"))
        assert desk.effects == []


def test_reactions_count_towards_the_rate_limit() -> None:
    desk = Desk()
    for number in range(20):
        desk.happen(Reacted(EventId(f"$r{number}"), ADA, X, "👍"), said("x"))
    assert len(desk.read) == RULES.limits.messages_per_minute
    assert desk.reported == {}


def test_a_robot_is_not_told_of_reactions() -> None:
    desk = Desk()
    robot = Chatting(SessionId(5150), desk.now, QueueId(2), robot=True)
    desk.phase(robot).happen(Reacted(EVENT, ADA, X, "👍"), said("x"))
    assert desk.read == []


def test_after_close_a_reaction_is_for_no_other_chat() -> None:
    desk = Desk()
    chatting = Chatting(SessionId(5150), desk.now, QueueId(2), close=True, close_order=0)
    for phase in (chatting, msgspec.structs.replace(chatting, unwanted=True)):
        desk.phase(phase).happen(Reacted(EVENT, ADA, X, "👍"), Earlier("Bye then"))
        assert desk.effects == []
        assert desk.carried == []


# --- referred events ------------------------------------------------------------------------------


def test_the_event_that_a_meaning_refers_to() -> None:
    record = Desk().record
    assert refers_to(record, reply(Text("x"))) == X
    assert refers_to(record, fix("x")) == X
    assert refers_to(record, back()) == X
    assert refers_to(record, Reacted(EVENT, ADA, X, "x")) == X
    assert refers_to(record, Spoke(EVENT, ADA, Text("x"))) is None
    desk = Desk()
    desk.happen(fix("b"), said("a"))
    for meaning in (reply(Text("x")), back(), Reacted(EventId("$r"), ADA, X, "x")):
        assert refers_to(desk.record, meaning) == EVENT, "in its newest wording"
    assert refers_to(record, Nothing()) is None


def test_corrections_and_redactions_during_the_join_are_parked() -> None:
    """A reaction is not, as no agent has seen its target."""
    house = House()
    house.invite()
    for meaning in (fix("x"), back(), Reacted(EventId("$r"), ADA, X, "x")):
        house.receive(meaning)
    assert [one["event_id"] for one in house.record.parked] == [EVENT, "$back"]
