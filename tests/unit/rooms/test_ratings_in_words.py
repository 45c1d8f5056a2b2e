"""Ratings given as text: alone, or as a reply to the question."""

from __future__ import annotations

from unittest.mock import Mock

import msgspec
import pytest

from bridge.conversation.chat import RATING_CHANGE
from bridge.conversation.model import (
    Chatting,
    Conversation,
    CustomerText,
    Ended,
    Idle,
    Queued,
    Rated,
    Rating,
    Replied,
    Say,
)
from bridge.ids import EventId, QueueId, SessionId, UserId
from bridge.rooms import cards, rules
from bridge.rooms.ports import Corrected, MemberJoined, Reacted, Spoke
from bridge.rooms.reader import Facts, receive
from bridge.rooms.record import CardKind, OurCard, RoomSettings
from bridge.rooms.references import Earlier
from bridge.rooms.visit import can_be_sent_again
from bridge.webchat.codes import FrameType
from bridge.webchat.frames import Reply
from tests.unit.rooms.visits import ADA, House

CARD = EventId("$card")
LAST = SessionId(5150)


def asked(*, direct: bool = True) -> House:
    """A room after a chat, in which the question for a rating was posted."""
    house = House().served(direct=direct)
    conversation = Conversation(Ended(LAST, since=house.now), last_session=LAST)
    house.visit.set(conversation=conversation)
    cards.remember(
        house.visit, OurCard(CARD, CardKind.RATING, session_id=LAST, choices=(5, 4, 3, 2, 1))
    )
    return house


@pytest.mark.parametrize(("words", "notices"), [("4", []), ("6", ["rating.unknown"])])
def test_a_rating_is_taken_before_the_event_id_of_the_question_is_known(
    words: str, notices: list[str]
) -> None:
    house = House().served(direct=True)
    over = Ended(LAST, since=house.now)
    house.visit.set(conversation=Conversation(over, last_session=LAST, poll=LAST))
    house.say(words)
    rating = house.record.conversation.rating
    assert (rating and rating.value) == (None if notices else 4)
    assert house.notices == notices


def test_in_a_paused_room_a_rating_is_taken_and_nothing_else() -> None:
    """A rating requests no agent, and its question is in the room."""
    house = asked()
    house.visit.set(settings=RoomSettings(paused=True))
    words = house.say("I have another question")
    house.say("5")
    assert house.record.conversation.rating is not None
    assert house.record.conversation.rating.value == 5
    assert house.reported == {words: "undelivered.paused"}
    house.say("thanks")
    assert house.notices == ["chat.thanked"]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("5", 5),
        (" ４。", 4),
        ("3️⃣", 3),
        ("2 stars!", 2),
        ("5分", 5),
        ("1つ星", 1),
        ("⭐⭐⭐⭐", 4),
        ("⭐\ufe0f⭐\ufe0f⭐\ufe0f⭐\ufe0f", 4),  # as iOS writes them
        ("👎", 1),
        ("5 thanks", 5),
        ("5/5", 5),
        ("great 5", None),
        ("谢谢，5分", 5),
        ("４ 谢谢", 4),
        ("满意", 4),
        ("非常满意。", 5),
        ("满意，谢谢！", 4),
        ("非常满意 谢谢", 5),
        ("满意，但是太慢了", None),
        ("471123", None),
        ("5/10", None),
        ("10/10", 5),
        ("12/12", None),
        ("4.5", None),
        ("-1", None),
        ("满意度怎么查", None),
        ("5 phones please", None),
        ("order 5", None),
        ("the fifth", None),
        ("星5つ", 5),
        ("星四つです", 4),
        ("5です。", 5),
        ("とても満足です😊", 5),
        ("5です🙏", 5),
        ("ありがとう、5点です", 5),
        ("5番です", None),
        ("五星好评", 5),
        ("评价：5", 5),
        ("评价 满意", 4),
        ("评价满意度怎么查", None),
        ("rating: 4", 4),
        ("5 out of 5", 5),
        ("5 out of 7", None),
        ("5🌟", 5),
        ("五星", 5),
        ("四颗星，谢谢", 4),
        ("5星好评！", 5),
        ("三分", 3),
        ("五", None),
        ("五分钟后再说", None),
        ("5 😊", 5),
        ("👍🏽 4 🙏", 4),
        ("⭐⭐⭐ ❤️", 3),
        ("满意😊", 4),
        ("5 😡", None),
        ("满意😡", None),
        ("十分感谢", None),
        ("我给5分", 5),
        ("five stars", 5),
        ("打5个电话", None),
        ("five phones please", None),
    ],
)
def test_a_number_alone_answers_the_question(words: str, value: int | None) -> None:
    house = asked()
    event = house.say(words)
    rating = house.record.conversation.rating
    assert (rating.value if rating else None) == value
    assert house.carried == ([] if rating else [event])


def test_of_a_long_text_no_more_is_normalised_than_a_rating_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A letter becomes up to eighteen, in which a number is looked for again and again."""
    narrow = Mock(side_effect=rules.narrow)
    monkeypatch.setattr(cards, "narrow", narrow)
    house = asked()
    event = house.say("\ufdfa" * 20_000)
    assert set(house.carried) == {event}
    assert narrow.call_count == 0
    reply(asked(), "４，" + "\ufdfa" * 20_000)
    assert max(len(call.args[0]) for call in narrow.call_args_list) == cards.LONGEST_RATING


def test_a_long_reply_is_a_rating_and_its_comment() -> None:
    house = asked()
    reply(house, "４，" + "very slow, " * 100)
    rating = house.record.conversation.rating
    assert rating is not None
    assert (rating.value, rating.comment) == (4, ("very slow, " * 100).strip(" ,"))


def test_a_number_is_a_message_unless_a_rating_was_asked_for() -> None:
    late, shared, rated, other = asked(), asked(direct=False), asked(), asked()
    late.visit.now += cards.FRESH
    shared.visit.now += cards.SOON
    long_ago = rated.now - RATING_CHANGE - 1
    given = msgspec.structs.replace(rated.record.conversation, rated=Rated(LAST, long_ago))
    rated.visit.set(conversation=given)
    other.visit.set(cards=(OurCard(CARD, CardKind.RATING, SessionId(1), choices=(5, 4)),))
    for house in (late, shared, rated, other):
        event = house.say("5")
        assert house.carried == [event]


@pytest.mark.parametrize(
    ("words", "value"), [("5", 5), ("4分，谢谢", 4), ("满意", 4), ("10", None), ("5 of us", None)]
)
def test_among_several_people_a_rating_alone_rates_for_ten_minutes(
    words: str, value: int | None
) -> None:
    """Nobody else is asked than the agents here; another number may be for a neighbour."""
    house = asked(direct=False)
    event = house.say(words)
    rating = house.record.conversation.rating
    assert (rating and rating.value) == value
    assert (house.carried, house.notices) == ([] if value else [event], [])


@pytest.mark.parametrize(
    "words",
    ["6", "10", "0", "１０", "6 thanks", "谢谢，6分", "rate 6 thanks", "rate 6 谢谢", "rate 6"],
)
def test_a_number_that_is_no_rating_requests_no_agent(words: str) -> None:
    house = asked()
    house.say(words)
    assert (house.carried, house.notices) == ([], ["rating.unknown"])


def test_a_reaction_with_a_number_that_is_no_rating_is_answered() -> None:
    house = asked(direct=False)
    house.receive(Reacted(house.event_id(), ADA, CARD, "9️⃣"))
    assert isinstance(said := house.effects[-1], Say)
    assert (said.key, said.args["value"], said.reply_to) == ("rating.unknown", 9, CARD)
    house.receive(Reacted(house.event_id(), ADA, CARD, "🤷"))
    assert house.effects[-1] is said


@pytest.mark.parametrize("words", ["⭐", "★", "🌟 thanks", "⭐⭐⭐⭐⭐⭐", "⭐️"])
def test_one_star_is_asked_back(words: str) -> None:
    for house in (asked(), asked(direct=False)):
        if house.record.direct:
            house.say(words)
        else:
            reply(house, words)
        assert (house.carried, house.notices) == ([], ["rating.which"])
        assert house.record.conversation.rating is None


@pytest.mark.parametrize(
    ("words", "minutes", "notices", "value", "carried"),
    [
        ("⭐", 4, ["rating.which"], None, 0),
        ("⭐⭐⭐", 4, [], 3, 0),
        ("4", 4, [], 4, 0),
        ("2 sorry", 4, [], None, 1),
        ("满意", 4, [], 4, 0),
        ("0", 4, ["rating.unknown"], None, 0),
        ("471123", 4, [], None, 1),
        ("👍", 4, ["chat.thanked"], None, 0),
        ("👎", 4, [], None, 1),
        ("⭐", 6, [], None, 1),
        ("4", 6, [], None, 1),
    ],
)
def test_texts_that_rate_may_also_change_a_recent_rating(
    words: str, minutes: int, notices: list[str], value: int | None, carried: int
) -> None:
    """Once the rating is final all of them are messages, a thumb as soon as the chat is rated."""
    house = asked()
    rated = Rated(LAST, house.now - minutes * 60_000)
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, rated=rated))
    house.say(words)
    assert (house.notices, len(house.carried)) == (notices, carried)
    rating = house.record.conversation.rating
    assert (rating and rating.value) == value


@pytest.mark.parametrize("direct", [True, False])
def test_a_sentence_about_another_rate_is_a_message(direct: bool) -> None:
    house = asked(direct=direct)
    event = house.say("rate 9 of your shops")
    assert (house.carried, house.reported) == ([event], {})


def unhappy(*, direct: bool = True) -> House:
    """A room whose customer has rated a chat badly, and is asked why."""
    house = asked(direct=direct)
    rated = Rated(LAST, house.now, asked=1)
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, rated=rated))
    return house


@pytest.mark.parametrize(
    ("value", "more"), [(5, False), (4, False), (3, False), (2, True), (1, True)]
)
def test_the_worse_half_of_the_ratings_is_unhappy(value: int, more: bool) -> None:
    house = asked()
    house.say(f"!wc rate {value}")
    assert house.record.conversation.rating == Rating(LAST, value, more=more)


@pytest.mark.parametrize(
    ("choices", "value", "more"), [((1, 0), 0, True), ((3, 2, 1), 2, False), ((1,), 1, False)]
)
def test_the_worse_half_of_few_ratings(choices: tuple[int, ...], value: int, more: bool) -> None:
    house = asked()
    card = OurCard(CARD, CardKind.RATING, choices=choices)
    assert cards.make_rating(house.visit, card, value).more is more


@pytest.mark.parametrize("direct", [True, False])
def test_why_is_asked_only_in_a_direct_chat(direct: bool) -> None:
    house = asked(direct=direct)
    house.receive(Reacted(house.event_id(), ADA, CARD, "1️⃣"))
    assert house.record.conversation.rating == Rating(LAST, 1, more=direct)


@pytest.mark.parametrize("words", ["too slow", "  why did I wait so long?  ", "10", "no"])
def test_the_next_message_is_the_comment_of_an_unhappy_rating(words: str) -> None:
    house = unhappy()
    event = house.say(words)
    assert house.record.conversation.rating == Rating(LAST, 1, words, event)
    assert house.reported == {event: "undelivered.with_rating"}
    assert can_be_sent_again("undelivered.with_rating")  # to an agent, if it was meant for one
    assert house.carried == []


def test_another_rating_than_the_unhappy_one_is_no_comment_on_it() -> None:
    house = unhappy()
    house.say("4")
    assert house.record.conversation.rating == Rating(LAST, 4)
    assert (house.reported, house.carried) == ({}, [])


@pytest.mark.parametrize("taken", [False, True])
def test_a_correction_of_a_rating_comment_requests_no_agent(taken: bool) -> None:
    house = unhappy()
    event = house.say("too slwo")
    if taken:
        call = house.record.conversation.outstanding
        assert call is not None
        house.visit.step(Replied(call.call_id, Reply(FrameType.RATE_SESSION, 1)))
        assert house.record.conversation.rated == Rated(LAST, house.now, event_id=event)
    edit = house.event_id()
    house.receive(Corrected(edit, ADA, event, CustomerText("too slow"), "too slow"))
    assert house.reported[edit] == "undelivered.late_correction"
    assert house.carried == []
    house.receive(Reacted(house.event_id(), ADA, event, "🔁"))
    assert house.visit.again == [edit], "an agent gets the newest wording"


@pytest.mark.parametrize(
    ("unsent", "held", "value"), [(True, False, 2), (False, False, None), (True, True, None)]
)
def test_the_edit_of_a_rating_rates_anew(unsent: bool, held: bool, value: int | None) -> None:
    house = asked()
    target = house.say("hello") if held else EventId("$old")
    state = house.record.conversation
    over = msgspec.structs.replace(state, phase=Ended(LAST, since=house.now), outstanding=None)
    house.visit.set(conversation=over)
    edit = Corrected(EventId("$edit"), ADA, target, CustomerText("2"), "2")
    earlier = Earlier("4", CustomerText("4"), ADA, unsent=unsent)
    receive(house.visit, edit, {}, Facts(house.now, earlier=earlier), command=None)
    given = house.record.conversation.rating
    assert (given and given.value) == value


def test_messages_that_are_no_comment_on_a_rating() -> None:
    long, late, answering, company = unhappy(), unhappy(), unhappy(), unhappy()
    late.visit.now += RATING_CHANGE + 1
    events = [long.say("x" * 8000), late.say("too slow"), EventId("$reply")]
    reply = Spoke(events[2], ADA, CustomerText("and this?"), "and this?", reply_to=EventId("$hers"))
    facts = Facts(answering.now, earlier=Earlier("it is on its way"))
    receive(answering.visit, reply, {}, facts, command=None)
    bob = UserId("@bob:example.org")
    company.receive(MemberJoined(bob, "Bob"))
    events.append(company.say("hello, I am new here", bob))
    for house, event in zip((long, late, answering, company), events, strict=True):
        assert house.record.conversation.rating is None
        assert event in house.carried


def test_thanks_are_no_comment_on_a_rating() -> None:
    house = unhappy()
    event = house.say("no thanks")
    assert house.visit.effects == [Say("chat.thanked", reply_to=event)]
    assert house.reported == {}
    assert house.record.conversation.rating is None


def test_a_number_rates_after_a_queue_that_was_left() -> None:
    house = asked()
    state = msgspec.structs.replace(
        house.record.conversation, phase=Idle(house.now), last_ended_at=house.now
    )
    house.visit.set(conversation=state)
    house.say("5")
    assert house.record.conversation.rating == Rating(LAST, 5)


def reply(house: House, text: str) -> EventId:
    event = house.event_id()
    house.receive(Spoke(event, ADA, CustomerText(text), plain=text, reply_to=CARD))
    return event


PHASES = [Ended(LAST), Idle(), Queued(QueueId(1), 0), Chatting(LAST, 0, QueueId(2))]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    ("words", "value", "comment"),
    [
        ("5", 5, ""),
        ("満足です、でも遅かったです", 4, "でも遅かったです"),
        ("5です、早かったです", 5, "早かったです"),
        ("5 stars, quick and kind", 5, "quick and kind"),
        ("４分，很快", 4, "很快"),
        ("五颗星，很快", 5, "很快"),
        ("打5分，很快", 5, "很快"),
        ("Four stars, quick", 4, "quick"),
        ("星五つ", 5, ""),
        ("⭐⭐⭐ so so", 3, "so so"),
        ("⭐\ufe0f⭐\ufe0f⭐\ufe0f so so", 3, "so so"),
        ("2/5", 2, ""),
        ("不满意，太慢", 2, "太慢"),
        ("满意", 4, ""),
    ],
)
def test_a_reply_to_the_question_rates_in_every_phase(
    words: str, value: int, comment: str, phase: Chatting | Ended | Idle | Queued, direct: bool
) -> None:
    house = asked(direct=direct)
    state = msgspec.structs.replace(house.record.conversation, phase=phase)
    house.visit.set(conversation=state)
    reply(house, words)
    given = house.record.conversation.rating
    assert given is not None
    assert (given.value, given.comment) == (value, comment)
    assert house.carried == []


@pytest.mark.parametrize("words", ["一分钟后再说", "1分鐘", "一つ質問があります", "五分钟"])
def test_a_reply_that_begins_with_a_time_or_a_count_rates_nothing(words: str) -> None:
    house = asked()
    reply(house, words)
    assert house.record.conversation.rating is None
    assert len(house.carried) == 1


@pytest.mark.parametrize("words", ["5分，很好", "five stars, great", "五星好评", "4/5 quick", "5"])
def test_a_reply_with_a_rating_of_another_scale_requests_no_agent(words: str) -> None:
    house = asked()
    house.visit.set(cards=(OurCard(CARD, CardKind.RATING, LAST, choices=(1, 0)),))
    reply(house, words)
    assert (house.carried, house.notices) == ([], ["rating.unknown"])


@pytest.mark.parametrize("direct", [True, False])
def test_a_reply_that_rates_nothing_is_carried_also_after_the_end(direct: bool) -> None:
    house = asked(direct=direct)
    reply(house, "9")
    assert house.notices == ["rating.unknown"]
    thanks = reply(house, "Thanks!")
    assert house.effects[-1] == Say("chat.thanked", reply_to=thanks)
    assert house.carried == []
    event = reply(house, "it took too long")
    assert house.carried == [event]


def test_a_reply_that_rates_nothing_goes_to_the_current_agent() -> None:
    house = asked()
    phase = Chatting(LAST, 0, QueueId(2))
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=phase))
    event = reply(house, "it took too long")
    assert house.carried == [event]
