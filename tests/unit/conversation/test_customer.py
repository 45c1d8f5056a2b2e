"""Messages and commands of the customer, in every phase."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.conversation.customer import said
from bridge.conversation.model import (
    CallBack,
    CallbackCard,
    Chatting,
    Clip,
    Conversation,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Human,
    Input,
    LinkLost,
    Pending,
    Reported,
    Said,
    Start,
    Upload,
    Uploaded,
    Withdrawn,
)
from bridge.conversation.turn import Policy, Turn
from bridge.ids import EventId, QueueId, SessionId
from bridge.webchat.codes import FailureReason
from tests.support.scene import ASK, MEI, REQUEST, SESSION, Scene

ON_COMMAND = Policy(start_on_message=False)


def test_where_only_a_command_starts_a_chat_messages_are_kept() -> None:
    """Told for the first two messages, and again after a minute."""
    scene = Scene(ON_COMMAND)
    scene.text("one")
    assert scene.notices == ["start.needed"]
    scene.text("two")
    assert scene.filled("start.needed_still") == [{"count": 2}]
    scene.text("three")
    assert len(scene.notices) == 2, "who types on need not be told with every line"
    scene.later(60)
    scene.text("is anybody there?")
    assert scene.filled("start.needed_still") == [{"count": 2}, {"count": 4}]
    assert scene.calls == []
    scene.start()
    scene.reply(requestId=1)
    assert scene.texts == ["one"]


def test_sending_again_is_answered_after_earlier_notices_too() -> None:
    scene = Scene(ON_COMMAND)
    for word in ("one", "two", "three"):
        scene.text(word)
    assert len(scene.notices) == 2
    for number in (1, 2):
        scene.happen(Said(EventId(f"$again{number}"), CustomerText("again"), again=True))
    assert len(scene.notices) == 2
    scene.happen(Pending())
    assert scene.filled("start.needed_still")[-1] == {"count": 5}
    assert len(scene.notices) == 3


def test_many_messages_sent_again_are_answered_once() -> None:
    scene = Scene(ON_COMMAND)
    for number in (1, 2, 3):
        scene.happen(Said(EventId(f"$again{number}"), CustomerText("again"), again=True))
    scene.happen(Pending())
    assert scene.notices == ["start.needed_still"]
    assert scene.filled("start.needed_still") == [{"count": 3}]


@pytest.mark.parametrize("policy", [Policy(), ON_COMMAND])
def test_messages_kept_in_a_pause_request_an_agent_after_it(policy: Policy) -> None:
    """Or the customer is told how to; without kept messages nothing happens."""
    scene = Scene(replace(policy, paused=True))
    scene.state = replace(scene.state, phase=Chatting(SessionId(SESSION), scene.now, QueueId(7)))
    scene.text("one")
    scene.reply(-11)
    assert scene.notices[-1] == "queue.kept"
    scene.policy = policy
    scene.happen(Pending())
    assert (scene.phase == "Requesting") is policy.start_on_message
    assert ("start.needed" in scene.notices) is not policy.start_on_message
    quiet = Scene(policy)
    quiet.happen(Pending())
    assert (quiet.phase, quiet.effects) == ("Idle", [])


def test_a_long_kept_text_counts_as_one_message() -> None:
    scene = Scene(Policy(start_on_message=False, max_text_bytes=20))
    scene.text("one two three four five six seven eight nine ten")
    scene.text("eleven")
    assert scene.filled("start.needed_still") == [{"count": 2}]


@pytest.mark.parametrize(
    ("policy", "ended"),
    [
        (Policy(), "chat.ended"),
        (ON_COMMAND, "chat.ended_command"),
        (Policy(paused=True), "chat.ended_paused"),
        (Policy(start_on_message=False, paused=True), "chat.ended_paused"),
    ],
)
def test_the_end_of_a_chat_says_how_the_next_begins(policy: Policy, ended: str) -> None:
    scene = Scene(policy)
    scene.begin()
    scene.push(205, sessionId=SESSION)
    assert [key for key in scene.notices if key.startswith("chat.ended")] == [ended]
    assert scene.filled(ended) == [{"queue": 1}], "its own queue, for a sentence that names it"


def test_a_caption_follows_its_file() -> None:
    scene = Scene()
    scene.begin()
    event = scene.image("cat.png", caption="look")
    scene.uploaded()
    scene.reply()
    assert scene.delivered == []
    scene.reply()
    assert scene.texts == ["cat.png", "look"]
    assert scene.delivered == [event]


def test_a_caption_follows_all_files_of_its_message() -> None:
    scene = Scene()
    scene.begin()
    first, second = (CustomerMedia("image", f"{n}.png", f"mxc://h/{n}") for n in "ab")
    event = scene.content(replace(first, caption="look", more=(second,)))
    for _ in range(2):
        assert scene.delivered == []
        scene.uploaded()
        scene.reply()
    scene.reply()
    assert scene.texts == ["a.png", "b.png", "look"]
    assert scene.delivered == [event]


def test_a_file_without_ending_and_of_unknown_size() -> None:
    scene = Scene()
    scene.begin()
    scene.content(CustomerMedia("file", "README", "mxc://example.org/1"))
    scene.uploaded("http://crm.example.org/webchat/1", size=0)
    message = scene.last["msg"]
    assert isinstance(message, dict)
    url = "http://crm.example.org/webchat/1"
    expected = {"name": "README", "url": url, "size": 0, "type": "", "extra": ""}
    assert message["content"] == expected


def test_messages_beyond_the_limit_are_reported() -> None:
    scene = Scene(Policy(max_held=2))
    scene.text("one")
    scene.text("two")
    third = scene.text("three")
    assert scene.reported == {third: "undelivered.too_many"}


def test_messages_sent_again_take_no_place_from_new_ones() -> None:
    """200 of them that waited for an agent had each new word refused."""
    scene = Scene(Policy(max_held=2))
    for number in range(3):
        scene.happen(Said(EventId(f"$old{number}"), CustomerText("old"), again=True))
    new, newer, newest = (scene.text(text) for text in ("one", "two", "three"))
    assert list(scene.reported) == ["$old2", newest]
    scene.reply(requestId=REQUEST)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    for _ in range(4):
        scene.reply()
    assert scene.delivered == ["$old0", "$old1", new, newer]


def test_long_messages_that_wait_are_limited_by_their_length_too() -> None:
    scene = Scene()
    scene.text("x" * 600_000)
    second = scene.text("y" * 600_000)
    assert scene.reported == {second: "undelivered.too_many"}


def test_an_edit_that_would_be_repeated_in_each_of_many_pieces_is_too_big() -> None:
    """An edit of 62 KB, a <pre> in quotations, made a record of 213 MB."""
    new = CustomerText("x" * 400_000)
    turn = Turn(Conversation(), 0, Policy())
    said(turn, Said(EventId("$edit"), new, amends=EventId("$1"), instead=new))
    assert turn.effects == [Reported(EventId("$edit"), "undelivered.too_big", {"limit": 0})]
    assert turn.state.held == ()


def test_pre_messages_count_towards_the_limit() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), max_held=2))
    scene.queue_up("one")
    two = scene.text("two")
    scene.reply()
    three = scene.text("three")
    assert scene.reported == {three: "undelivered.too_many"}
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.delivered == ["$1", two]


def test_start_during_a_request_or_a_chat_changes_nothing() -> None:
    scene = Scene()
    scene.start()
    scene.start()
    scene.reply(requestId=1)
    scene.start()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.start()
    expected = ["start.already_queued", "start.already_queued", "chat.started"]
    assert scene.notices == [*expected, "start.already_chatting"]
    assert len(scene.sent(101)) == 1


def test_start_takes_an_unsent_cancel_back() -> None:
    scene = Scene()
    scene.start()
    scene.cancel()
    scene.start()
    scene.reply()
    scene.cancel()
    scene.start()
    scene.push(201, requestId=9001, requestStatus=0, queueLength=1)
    assert scene.sent(102) == []
    assert scene.phase == "Queued"


def test_the_card_says_that_the_queue_is_being_left() -> None:
    """Before WebChat has answered the 101, the customer cannot leave its queue."""
    scene = Scene()
    scene.start()
    scene.cancel()
    assert scene.cards == ["queue.asking", "queue.leaving"]
    scene.start()
    assert scene.cards[-1] == "queue.asking", "staying after all"
    scene.cancel()
    scene.cut()
    assert scene.notices == ["start.already_queued"], "nothing is kept that would go out later"
    scene.fail(FailureReason.UNREACHABLE)
    assert scene.cards[-1] == "queue.cancelled"


def test_the_card_while_leaving_during_an_outage() -> None:
    scene = Scene()
    scene.start()
    scene.cut()
    scene.cancel()
    assert scene.cards[-1] == "queue.leaving_away"
    scene.cut()
    assert scene.notices == []
    scene.text("one more thing")
    scene.later(60)
    assert scene.phase == "Requesting"
    scene.cut()
    assert scene.notices == ["trouble.unreachable"], "this is kept, and goes out later"


def test_leaving_the_queue_during_an_outage_is_answered_at_once() -> None:
    """Once, however often the call fails."""
    scene = Scene()
    scene.queue_up()
    scene.forget()
    scene.cancel()
    assert scene.cards == [], "in a moment it has left"
    scene.cut()
    scene.fail(FailureReason.UNREACHABLE)
    assert scene.cards == ["queue.leaving_away"]
    scene.later(2)
    scene.fail(FailureReason.UNREACHABLE)
    assert (scene.cards, scene.notices) == (["queue.leaving_away"], [])
    scene.later(20)
    assert scene.cards == ["queue.leaving_away", "queue.cancelled"]


def test_leaving_the_queue_in_a_known_outage_is_told_on_the_card_once() -> None:
    scene = Scene()
    scene.queue_up()
    scene.happen(LinkLost())
    scene.cancel()
    scene.cancel()
    assert scene.cards[-1] == "queue.leaving_away"
    assert scene.cards.count("queue.leaving_away") == 1


def test_cancelling_twice_before_the_reply_is_told_once() -> None:
    scene = Scene()
    scene.start()
    scene.cancel()
    scene.cancel()
    assert scene.cards == ["queue.asking", "queue.leaving"]


def test_leaving_the_queue_while_a_call_is_under_way_is_told_at_once() -> None:
    scene = Scene()
    scene.queue_up()
    scene.text("more")
    scene.cancel()
    assert scene.cards[-1] == "queue.leaving"
    scene.start()
    assert scene.cards[-1] == "queue.position", "they stay, and see their place"


def test_closing_during_a_known_outage_tells_when_the_chat_ends() -> None:
    scene = Scene()
    scene.begin()
    scene.happen(LinkLost())
    scene.close()
    scene.close()  # typed again: answered again
    scene.fail(FailureReason.UNREACHABLE)
    told = ["chat.started", "trouble.unreachable", "close.away", "close.away"]
    assert scene.notices == told
    scene.later(1)
    scene.reply()
    assert scene.notices[4:] == ["trouble.over", "chat.ended_by_you"]


def test_closing_again_before_the_call_centre_has_answered_is_answered() -> None:
    scene = Scene()
    scene.begin()
    scene.close()
    scene.close()
    assert scene.notices == ["chat.started", "close.pending"]
    scene.reply()
    assert scene.notices[2:] == ["chat.ended_by_you"]


def test_no_rating_is_asked_for_if_another_enterprise_takes_the_room_over() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), ping_wait=0, leaving=True))
    scene.begin()
    scene.push(205, sessionId=SESSION)
    assert (scene.phase, scene.asked) == ("Ended", [])


def test_a_rating_with_a_former_enterprise_is_too_late() -> None:
    scene = Scene()
    scene.state = Conversation(last_ended_at=scene.now)
    scene.rate(5)
    assert scene.notices == ["rating.too_late"]


def test_closing_as_the_link_breaks_tells_when_the_chat_ends() -> None:
    scene = Scene()
    scene.begin()
    scene.close()
    scene.cut()
    scene.fail(FailureReason.UNREACHABLE)
    assert scene.notices == ["chat.started", "close.away"]


def test_trouble_of_an_unwanted_chat_is_not_told() -> None:
    scene = Scene()
    scene.queue_up()
    scene.cancel()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply(-10)
    scene.fail(FailureReason.UNREACHABLE)
    assert scene.notices == []


def test_a_refused_cancel_shows_the_queue_again() -> None:
    scene = Scene()
    scene.start()
    scene.cancel()
    scene.reply(requestId=9001, queueLength=2)
    scene.reply(-100)
    scene.later(1)
    scene.reply(-100)
    scene.later(5)
    scene.reply(-100)
    assert scene.notices == ["cancel.refused"]
    assert scene.cards[-1] == "queue.waiting"


def test_start_while_102_is_under_way() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.cancel()
    scene.start()
    assert scene.notices == ["start.leaving"]


def test_messages_given_up_with_a_request_are_counted_once_on_its_card() -> None:
    scene = Scene()
    for words in ("one", "two"):
        scene.queue_up(words)
        scene.cancel()
        scene.reply()
        scene.push(201, requestId=REQUEST, requestStatus=7)
        assert (scene.phase, scene.card_args["count"]) == ("Idle", 1)
    assert not any(isinstance(one, CallbackCard) for one in scene.effects)


def test_start_undoes_a_cancel_before_the_request_is_answered() -> None:
    scene = Scene()
    scene.start()
    scene.cancel()
    scene.start()
    scene.reply(requestId=9001)
    assert (scene.phase, scene.sent(102)) == ("Queued", [])


@pytest.mark.parametrize("wish", [Start(), CallBack(), Human()])
@pytest.mark.parametrize("robot", [False, True])
def test_a_request_for_an_agent_while_the_chat_ends_is_refused(wish: Input, robot: bool) -> None:
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION, agents=[MEI], robotType=3 if robot else None)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.robot is robot
    scene.close()
    scene.happen(wish)
    assert scene.notices[-1] == "start.ending"
    scene.reply()
    assert (scene.phase, scene.last["type"]) == ("Ended", 103)


def test_start_after_leaving_is_refused_though_an_agent_was_faster() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.cancel()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.start()
    assert scene.notices == ["start.leaving"]


def test_cancel_close_and_rate_without_a_chat() -> None:
    scene = Scene()
    scene.cancel()
    scene.close()
    scene.rate(5)
    assert scene.notices == ["cancel.nothing", "close.nothing", "rating.nothing"]


def test_cancel_drops_kept_messages() -> None:
    scene = Scene(ON_COMMAND)
    event = scene.text("one")
    scene.cancel()
    assert scene.reported == {event: "queue.dropped"}
    assert (scene.cards, scene.promises) == ([], ["queue.dropped"]), "there was no queue to leave"
    assert scene.state.held == ()


def test_cancel_in_a_chat_says_what_to_do() -> None:
    scene = Scene()
    scene.begin()
    scene.cancel()
    assert scene.notices[-1] == "cancel.chatting"


def test_cancel_twice_as_the_agent_starts_the_chat() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.cancel()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.cancel()
    assert scene.notices == []


def test_cancel_before_the_server_knows_of_the_request() -> None:
    scene = Scene()
    scene.start()
    scene.fail(FailureReason.UNREACHABLE)
    scene.cancel()
    assert scene.phase == "Idle"
    assert scene.cards[-1] == "queue.cancelled"


def test_cancel_while_the_first_call_fails() -> None:
    scene = Scene()
    event = scene.text("one")
    scene.cancel()
    scene.fail(FailureReason.UNREACHABLE)
    assert scene.phase == "Idle"
    assert scene.reported == {event: "queue.dropped"}


def test_cancel_while_a_named_session_waits_for_202() -> None:
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION)
    scene.cancel()
    assert scene.last == {"type": 103, "sessionId": SESSION}


def test_cancel_then_a_session_comes_with_the_reply() -> None:
    scene = Scene()
    scene.start()
    scene.cancel()
    scene.reply(sessionId=SESSION)
    assert scene.last == {"type": 103, "sessionId": SESSION}


def test_a_message_that_comes_back_after_a_cancel_is_reported() -> None:
    scene = Scene()
    event = scene.text("one")
    scene.reply(requestId=9001)
    scene.cancel()
    assert scene.reported == {}
    scene.reply(-10)
    assert scene.reported == {event: "queue.dropped"}
    scene.later(60)
    assert scene.phase == "Idle"
    assert len(scene.sent(101)) == 1


def test_close_waits_for_earlier_messages() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.text("bye")
    scene.close()
    scene.reply()
    scene.reply()
    assert scene.last == {"type": 103, "sessionId": SESSION}
    assert scene.texts == ["one", "bye"]


def test_messages_after_close_are_for_the_next_chat() -> None:
    """Also while the close waits: nobody would read them in the chat that ends."""
    scene = Scene()
    scene.begin()
    bye = scene.text("bye")
    scene.cut()
    scene.cut()
    scene.close()
    later = scene.text("one more question")
    scene.restored()
    scene.reply()
    scene.reply()
    assert [one["type"] for one in scene.frames][-2:] == [103, 101]
    assert scene.delivered == [bye]
    scene.reply(requestId=REQUEST)
    scene.push(202, sessionId=SESSION + 1, agents=[MEI])
    scene.reply()
    assert (scene.texts[-1], scene.delivered) == ("one more question", [bye, later])


def test_a_second_close_includes_the_messages_since_the_first() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.close()
    scene.text("bye")
    scene.close()
    scene.reply()
    scene.reply()
    assert (scene.texts, scene.last["type"]) == (["one", "bye"], 103)


@pytest.mark.parametrize("other", [False, True])
def test_a_message_after_close_requests_a_chat_however_the_old_one_ends(other: bool) -> None:
    """The server ends it before it answers; also if the chat moved to another session."""
    scene = Scene()
    scene.begin()
    scene.text("bye")
    scene.close()
    scene.text("one more question")
    session = SESSION
    if other:
        session += 1
        scene.push(202, sessionId=session, agents=[MEI])
    scene.reply()
    assert scene.last["type"] == 103
    scene.push(205, sessionId=session, agentId="K00017")
    scene.reply()
    assert scene.last == ASK


def test_in_a_lost_session_only_messages_before_close_are_reported() -> None:
    scene = Scene()
    scene.begin()
    bye = scene.text("bye")
    scene.close()
    scene.text("one more question")
    scene.reply(-11)
    assert scene.reported == {bye: "undelivered.closed"}
    assert scene.last == ASK


def test_close_of_a_lost_session_reports_unsent_messages() -> None:
    scene = Scene()
    scene.begin()
    event = scene.text("bye")
    scene.close()
    scene.reply(-11)
    assert scene.reported == {event: "undelivered.closed"}
    assert scene.phase == "Ended"
    assert len(scene.sent(101)) == 1


def test_close_in_the_queue_leaves_it() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.close()
    assert scene.last == {"type": 102, "requestId": 9001}


def test_only_the_last_of_two_ratings_counts() -> None:
    scene = Scene()
    scene.begin()
    scene.rate(5)
    scene.rate(2, "hm")
    scene.reply()
    assert "rating.thanks" not in scene.notices
    rating = {"id": 2, "comments": "hm"}
    assert scene.last == {"type": 104, "sessionId": SESSION, "rating": rating}
    scene.reply()
    assert scene.notices[-1] == "rating.thanks"


# --- redactions -----------------------------------------------------------------------------------


def test_a_waiting_message_can_be_redacted() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    two = scene.text("two")
    scene.happen(Withdrawn(two))
    scene.reply()
    assert scene.texts == ["one"]
    assert scene.state.outstanding is None
    assert two not in scene.delivered
    assert two not in scene.reported


def test_a_redacted_message_under_way_is_not_sent_again() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.happen(Withdrawn(one))
    scene.cut()
    assert scene.texts == ["one"]
    assert scene.state.outstanding is None
    assert scene.reported == {}


def test_a_redacted_pre_message_is_not_sent_to_the_next_agent() -> None:
    scene = Scene()
    one = scene.queue_up("one")
    scene.happen(Withdrawn(one))
    scene.push(201, requestId=REQUEST, requestStatus=3)
    assert scene.state.held == ()
    assert scene.reported == {}


def test_the_card_of_a_closed_call_centre_does_not_count_a_redacted_message() -> None:
    scene = Scene()
    scene.text("one")
    scene.reply(-3)
    two = scene.text("two")
    scene.reply(-3)
    assert scene.card_args["count"] == 2
    scene.happen(Withdrawn(two))
    assert scene.card_args["count"] == 1
    assert scene.card == ["result.-3", "queue.kept", "callback.offer"]
    scene.happen(Withdrawn(EventId("$1")))
    assert scene.card == ["result.-3", "callback.offer"]
    cards = len(scene.cards)
    scene.text("three")
    scene.reply(-3)
    scene.later(3600)
    scene.happen(Withdrawn(EventId("$3")))
    assert len(scene.cards) == cards + 1, "it is out of view by now"


def test_a_redaction_of_an_unknown_message_changes_nothing() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    before = scene.state
    scene.happen(Withdrawn(EventId("$other")))
    assert scene.state == before


# --- locations and voice messages -----------------------------------------------------------------


def test_a_location_is_converted_for_the_map_of_the_call_centre() -> None:
    for name, latitude, longitude in (
        ("baidu", 39.916465, 116.410113),
        ("gaode", 39.910125, 116.40374),
    ):
        scene = Scene(Policy(queue_id=QueueId(7), map=name))
        scene.begin()
        scene.content(CustomerLocation(39.908722, 116.397496, "Tiananmen"))
        content = {
            "poi": "Tiananmen",
            "longitude": longitude,
            "latitude": latitude,
            "map": name,
            "thumbData": "",
            "extra": "",
        }
        assert scene.last["msg"] == {"type": 4, "content": content}


def test_a_location_waits_for_the_session() -> None:
    scene = Scene()
    scene.queue_up("hello")
    scene.content(CustomerLocation(39.9, 116.4))
    assert scene.state.outstanding is None
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.last["type"] == 110


def test_a_short_voice_message_is_sent_in_its_frame() -> None:
    scene = Scene()
    scene.begin()
    voice = scene.content(CustomerMedia("voice", "voice.ogg", "mxc://h/v", "audio/ogg"))
    scene.happen(Uploaded(scene.outstanding.call_id, "", clip=Clip(3, "IyFBTVIK")))
    content = {"voiceLength": 3, "voiceData": "IyFBTVIK", "extra": ""}
    assert scene.last["msg"] == {"type": 5, "content": content}
    scene.reply()
    assert scene.delivered == [voice]


def test_a_voice_message_that_does_not_fit_is_sent_as_a_file() -> None:
    scene = Scene()
    scene.begin()
    scene.content(CustomerMedia("voice", "voice.ogg", "mxc://h/v", "audio/ogg"))
    scene.uploaded("http://crm.example.org/webchat/voice.ogg")
    message = scene.last["msg"]
    assert isinstance(message, dict)
    assert message["type"] == 3


def test_brand_and_tracks_of_the_policy_are_in_the_request() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), brand="element", tracks="[]"))
    scene.start()
    assert scene.last == ASK | {"brand": "element", "tracks": "[]"}


LONG_VOICE = CustomerMedia("voice", "voice.ogg", "mxc://h/v", "audio/ogg")
AMR = "http://crm.example.org/webchat/voice.amr"


def test_a_long_voice_message_is_sent_by_its_address() -> None:
    scene = Scene()
    scene.begin()
    voice = scene.content(LONG_VOICE)
    scene.happen(Uploaded(scene.outstanding.call_id, AMR, 90_000, Clip(28, "")))
    content = {"voiceLength": 28, "voiceUri": AMR, "voiceType": "amr", "extra": ""}
    assert scene.last["msg"] == {"type": 5, "content": content}
    scene.reply(-11)
    scene.reply(requestId=REQUEST)
    scene.push(202, sessionId=SESSION + 1, agents=[MEI])
    assert scene.last["msg"] == {"type": 5, "content": content}, "as it is, in the next chat"
    scene.reply()
    assert (scene.delivered, len(scene.calls)) == ([voice], 5)


@pytest.mark.parametrize("code", [-14, -8, -17, -23, 0, -77])
def test_a_refused_long_voice_message_is_sent_as_a_file(code: int) -> None:
    """Unconverted, by another upload, in the same place; reported if refused again."""
    for last in (1, code):
        scene = Scene()
        scene.begin()
        voice = scene.content(LONG_VOICE)
        scene.text("did you hear?")
        scene.happen(Uploaded(scene.outstanding.call_id, AMR, 90_000, Clip(28, "")))
        scene.reply(code)
        upload = scene.outstanding.what
        assert isinstance(upload, Upload)
        assert (upload.media.kind, upload.media.mxc) == ("audio", "mxc://h/v")
        scene.uploaded("http://crm.example.org/webchat/voice.ogg", 70_000)
        scene.reply(last)
        assert (scene.delivered, list(scene.reported)) == (
            ([voice], []) if last == 1 else ([], [voice])
        )
        kinds = [one["msg"]["type"] for one in scene.sent(110)]  # type: ignore[index]
        assert kinds == [5, 3, 1]


def test_emoji_are_sent_as_codes_if_configured() -> None:
    scene = Scene(Policy(emoji_codes=True))
    scene.begin()
    scene.text("hello 🙂")
    assert scene.texts == ["hello /::)"]


def test_a_location_keeps_the_text_sent_with_it() -> None:
    scene = Scene(ON_COMMAND)
    place = CustomerLocation(31.2, 121.5)
    scene.happen(Said(EventId("$1"), place, words="here"))
    assert [(piece.content, piece.words) for piece in scene.state.held] == [(place, "here")]
