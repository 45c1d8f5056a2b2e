"""What agents are told of corrections."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.model import (
    Cancel,
    CustomerMedia,
    CustomerText,
    Ended,
    Held,
    Idle,
    Phase,
    Pushed,
    Queued,
    Replied,
    UploadMedia,
)
from bridge.conversation.model import CustomerLocation as Location
from bridge.conversation.model import CustomerText as Text
from bridge.conversation.turn import all_pieces
from bridge.ids import CallId, EventId, QueueId, RequestId, SessionId, UserId
from bridge.rooms import references
from bridge.rooms.ports import Corrected
from bridge.rooms.record import RoomSettings, Undelivered
from bridge.rooms.references import Earlier, newest, refers_to
from bridge.rooms.visit import KEPT_CORRECTIONS
from bridge.webchat.frames import Location as Place
from bridge.webchat.frames import QueueStatus, Reply
from tests.unit.rooms.desks import EVENT, IMAGE, LONG, Desk, X, fix, said
from tests.unit.rooms.visits import ADA, STRANGER, House


@pytest.mark.parametrize(
    ("earlier", "new", "read"),
    [
        (
            said(LONG),
            LONG.replace("7411", "4711"),
            ["Correction: “order 7411 has” → “order 4711 has”"],
        ),
        (
            said(f"Hi!\nIt came on Monday.\n{LONG}\nred\nBest, Ada"),
            f"Hi!\nIt came on Tuesday.\n{LONG}\nblue\nBest, Ada",
            ["Correction: “on Monday” → “on Tuesday”\n“red” → “blue”"],
        ),
        (said("7411"), "4711", ["Correction: 4711"]),
        (None, "4711", ["Correction: 4711"]),
        (said("4711"), "4711 ", []),
        (said("!wc hlep"), "please help me", ["please help me"]),
    ],
)
def test_a_correction_says_what_changed(earlier: Earlier | None, new: str, read: list[str]) -> None:
    desk = Desk()
    desk.happen(fix(new), earlier)
    assert desk.read == read
    assert desk.reported == {}


def test_a_correction_is_shown_with_near_words_only() -> None:
    """Looking for them in 60 KB of signs took 0.5 s."""
    for signs, before, after in (("!" * 9, "now!!!!!!!!!", "!!!!!!!!!then"), ("!" * 90, "", "")):
        old, new = (f"now{signs}{sign}{signs}then, {LONG}" for sign in "?;")
        desk = Desk()
        desk.happen(fix(new), said(old))
        assert desk.read == [f"Correction: “{before}?{after}” → “{before};{after}”"]


@pytest.mark.parametrize(
    "earlier", [Earlier("The price is 90."), Earlier("mine", Text("mine"), UserId("@bo:h"))]
)
def test_nobody_corrects_what_another_said(earlier: Earlier) -> None:
    """Clients ignore such an edit, and later quotations show the original text."""
    desk = Desk()
    desk.happen(fix("The price is 9."), earlier)
    assert desk.read == []
    assert desk.reported == {EVENT: "unreadable.malformed"}
    assert newest(desk.record, X) == X


def test_the_next_correction_is_of_the_newest_wording() -> None:
    desk = Desk()
    desk.happen(fix("b"), said("a"))
    assert newest(desk.record, X) == EVENT
    assert refers_to(desk.record, fix("c", EventId("$3"))) == EVENT
    for number in range(KEPT_CORRECTIONS + 5):
        desk.now += 60_000
        target = EventId(f"$t{number}")
        desk.happen(Corrected(EventId(f"$e{number}"), ADA, target, Text("y"), "y"), said("x"))
    assert len(desk.record.corrections) == KEPT_CORRECTIONS
    assert newest(desk.record, X) == X


def test_an_unsent_message_is_sent_in_its_corrected_wording_only() -> None:
    desk = Desk()
    desk.say("first")
    second = desk.say("sceond")
    assert desk.read == ["first", "sceond"]
    desk.happen(Corrected(EVENT, ADA, second, Text("second"), "second"), said("sceond"))
    assert desk.read == ["first", "second"]
    desk.happen(Corrected(EventId("$3"), ADA, second, Text("2nd"), "2nd"), said("second"))
    assert desk.read == ["first", "2nd"]


def test_an_unsent_message_keeps_its_place_when_corrected() -> None:
    desk = Desk()
    desk.say("under way")
    order = desk.say("order 7411")
    desk.say("is late")
    for number in (3, 4):
        wording = f"order 471{number}"
        edit = Corrected(EventId(f"${number}"), ADA, order, Text(wording), wording)
        desk.happen(edit, said("order 7411"))
        assert desk.read == ["under way", wording, "is late"]


def test_a_file_that_was_sent_is_not_sent_again_with_its_corrected_caption() -> None:
    """The caption waits, as the call centre cannot be reached at the moment."""
    desk = Desk()
    state, caption = desk.record.conversation, Held(X, Text("7411"), desk.now, order=1)
    state = msgspec.structs.replace(state, held=(caption,), retry_at=desk.now + 1000)
    desk.visit.set(conversation=state)
    picture = msgspec.structs.replace(IMAGE, caption="7411")
    fixed = msgspec.structs.replace(IMAGE, caption="4711")
    desk.happen(Corrected(EVENT, ADA, X, fixed, "4711"), Earlier("7411", picture))
    assert not any(isinstance(one.content, CustomerMedia) for one in desk.record.conversation.held)
    assert desk.read == ["7411", "Correction: 4711"]


def test_a_correction_refers_to_the_wording_that_the_agent_has() -> None:
    """A correction not sent to the agent is skipped: the next one is told against the old text."""
    desk = Desk()
    desk.say("under way")
    desk.happen(fix(LONG.replace("7411", "4117")), said(LONG))  # waits
    again_fixed = fix(LONG.replace("7411", "4711"), EventId("$3"))
    assert refers_to(desk.record, again_fixed) == X
    desk.happen(again_fixed, said(LONG))
    assert desk.read == ["under way", "Correction: “order 7411 has” → “order 4711 has”"]
    desk = Desk()
    desk.happen(fix("b"), said("a"))
    desk.visit.set(undelivered=(Undelivered(EVENT),))
    desk.happen(fix("c", EventId("$3")), said("a"))
    assert desk.read == ["Correction: b", "Correction: c"]
    assert desk.record.undelivered == ()


def test_a_second_late_correction_is_reported_even_in_the_next_chat() -> None:
    ended, at = Ended(SessionId(5150)), 1_000
    desk = Desk().phase(ended)
    earlier = msgspec.structs.replace(said("7411"), at=at)
    desk.happen(fix("4711"), earlier)
    conversation = msgspec.structs.replace(desk.record.conversation, last_ended_at=at)
    desk.visit.set(conversation=conversation)
    second = fix("4712", EventId("$3"))
    assert refers_to(desk.record, second) == X
    desk.chat()
    desk.happen(second, earlier)
    assert desk.carried == []
    assert desk.reported[second.event_id] == "undelivered.late_correction"
    assert [one.event_id for one in desk.record.undelivered] == [second.event_id]


def test_a_long_text_of_which_a_part_was_sent_gets_a_correction() -> None:
    desk = Desk()
    rest = Held(X, Text("the end"), desk.now)
    conversation = msgspec.structs.replace(desk.record.conversation, held=(rest,))
    desk.visit.set(conversation=conversation)
    desk.happen(fix("the beginning, the end"), said("the beginnign, the end"))
    assert desk.read == ["the end", "Correction: the beginning, the end"]


def test_the_correction_of_a_message_never_sent_is_sent_as_the_message() -> None:
    """The robot answered the message: the agent reads the new wording, not what changed."""
    desk = Desk()
    desk.happen(fix("order 4712"), Earlier("order 4711", Text("order 4711"), unsent=True))
    assert desk.read == ["order 4712"]
    assert desk.record.whole == (EVENT,)


def test_a_correction_into_a_command_is_carried_out() -> None:
    desk = Desk()
    desk.happen(fix("!wc status"), said("!wc sttaus"))
    assert desk.read == []
    assert desk.notices == ["command.status_chatting"]


def test_a_caption_is_corrected_without_its_picture() -> None:
    desk = Desk()
    desk.happen(Corrected(EVENT, ADA, X, IMAGE, "my cat"), Earlier("my act", IMAGE))
    assert desk.read == ["Correction: my cat"]
    desk = Desk()
    desk.happen(Corrected(EVENT, ADA, X, IMAGE, "my cat"), Earlier("cat.png", IMAGE))
    assert desk.read == ["my cat"]  # it had no caption: there is nothing to correct
    desk = Desk()
    desk.happen(Corrected(EVENT, ADA, X, IMAGE), Earlier("cat.png", IMAGE))
    assert desk.read == []
    desk = Desk()
    desk.happen(Corrected(EVENT, ADA, X, IMAGE), Earlier("my act", IMAGE))
    assert desk.read == ["(took back the words below a file)"]


def test_a_correction_with_another_picture_sends_it() -> None:
    desk = Desk()
    other = msgspec.structs.replace(IMAGE, mxc="mxc://h/dog", name="dog.png")
    desk.happen(Corrected(EVENT, ADA, X, other), Earlier("cat.png", IMAGE))
    assert [one.media.mxc for one in desk.effects if isinstance(one, UploadMedia)] == [
        "mxc://h/dog"
    ]
    assert desk.read == ["Correction: dog.png"]


def test_a_correction_with_another_location_sends_it() -> None:
    desk = Desk()
    desk.happen(Corrected(EVENT, ADA, X, Location(1, 2)), Earlier("", Location(1, 3)))
    assert desk.sent == [Place(1, 2)]
    desk = Desk()
    desk.happen(Corrected(EVENT, ADA, X, Location(1, 2)), Earlier("", Location(1, 2)))
    assert desk.sent == []


@pytest.mark.parametrize("phase", [Idle(), Ended(SessionId(5150))])
def test_a_correction_after_the_chat_starts_no_chat_and_is_reported(phase: Phase) -> None:
    desk = Desk().phase(phase)
    desk.happen(fix("4711"), said("7411"))
    assert desk.reported == {EVENT: "undelivered.late_correction"}
    assert desk.record.conversation.phase == phase
    assert desk.carried == []


def test_corrections_keep_the_rules_of_the_room() -> None:
    desk = Desk()
    desk.visit.set(settings=RoomSettings(paused=True))
    desk.happen(fix("4711"), said("7411"))
    assert desk.reported == {EVENT: "undelivered.paused"}
    desk = Desk()
    desk.happen(Corrected(EVENT, STRANGER, X, Text("x"), "x"), said("y"))
    assert desk.reported == {EVENT: "refused.permission"}


def test_a_kept_message_that_was_corrected_is_sent_again_as_the_message() -> None:
    """No agent has seen another wording."""
    house = House().served()
    house.visit.set(settings=RoomSettings(start="on_command"))
    first = house.say("order 4711")
    edit = Corrected(EventId("$c"), ADA, first, CustomerText("order 4712"), "order 4712")
    house.receive(edit)
    assert house.carried == ["$c"]
    house.visit.step(Cancel())
    assert house.reported == {EventId("$c"): "queue.dropped"}
    for happened in references.resend(house.visit, EventId("$c"), edit, None):
        house.visit.step(happened)
    (piece,) = all_pieces(house.record.conversation)
    assert piece.content == CustomerText("order 4712")


def queued_with(desk: Desk, text: str) -> None:
    """Put the room into a queue, with that text as its pre-message."""
    sent = Held(X, Text(text), desk.now)
    desk.phase(Queued(QueueId(2), desk.now, RequestId(9001), pre_sent=(sent,)))


def test_of_a_refused_request_the_next_agent_reads_the_newest_wording_only() -> None:
    desk = Desk()
    queued_with(desk, "my ordre")
    desk.happen(fix("my odrer"), said("my ordre"))
    desk.visit.step(Pushed(QueueStatus(RequestId(9001), 3)))
    desk.visit.step(Replied(CallId(1), Reply(111, -10)))
    assert desk.read[-1:] == ["my odrer"]
    assert refers_to(desk.record, fix("my order", EventId("$3"))) == EVENT
    desk.happen(
        fix("my order", EventId("$3")), Earlier("my odrer", Text("my odrer"), correction=True)
    )
    assert desk.read[-1:] == ["my order"]
    assert desk.carried == ["$3"]
    assert desk.reported == {}
