"""A rating in words: alone, or as a reply to the question."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.model import (
    Chatting,
    Conversation,
    CustomerText,
    Ended,
    Idle,
    Queued,
    Rated,
    Rating,
    Say,
)
from bridge.ids import EventId, QueueId, SessionId
from bridge.rooms import cards
from bridge.rooms.record import CardKind, OurCard, Spoke
from tests.unit.rooms.visits import ADA, House

CARD = EventId("$card")
LAST = SessionId(5150)


def asked(*, direct: bool = True) -> House:
    """A chat is over, and the question for a rating stands in the room."""
    house = House().served(direct=direct)
    conversation = Conversation(Ended(LAST, since=house.now), last_session=LAST)
    house.visit.set(conversation=conversation)
    cards.remember(
        house.visit, OurCard(CARD, CardKind.RATING, session_id=LAST, choices=(5, 4, 3, 2, 1))
    )
    return house


@pytest.mark.parametrize(("words", "notices"), [("4", []), ("6", ["rating.unknown"])])
def test_a_question_that_is_read_before_we_know_that_it_stands(
    words: str, notices: list[str]
) -> None:
    house = House().served(direct=True)
    over = Ended(LAST, rating_asked=True, since=house.now)
    house.visit.set(conversation=Conversation(over, last_session=LAST, poll=LAST))
    house.say(words)
    rating = house.record.conversation.rating
    assert (rating and rating.value) == (None if notices else 4)
    assert house.notices == notices


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
        ("👎", 1),
        ("5 thanks", 5),
        ("5/5", 5),
        ("great 5", None),
        ("谢谢，5分", 5),
        ("４ 谢谢", 4),
        ("满意", 4),
        ("非常满意。", 5),
        ("471123", None),
        ("5/10", None),
        ("4.5", None),
        ("-1", None),
        ("满意度怎么查", None),
        ("5 phones please", None),
        ("order 5", None),
        ("the fifth", None),
    ],
)
def test_a_number_alone_answers_the_question(words: str, value: int | None) -> None:
    house = asked()
    event = house.say(words)
    rating = house.record.conversation.rating
    assert (rating.value if rating else None) == value
    assert house.carried == ([] if rating else [event])


def test_a_number_is_a_customers_word_where_nothing_asks_for_it() -> None:
    late, shared, rated, other = asked(), asked(direct=False), asked(), asked()
    late.visit.now += cards.FRESH
    given = msgspec.structs.replace(rated.record.conversation, rated=Rated(LAST, rated.now))
    rated.visit.set(conversation=given)
    other.visit.set(cards=(OurCard(CARD, CardKind.RATING, SessionId(1), choices=(5, 4)),))
    for house in (late, shared, rated, other):
        event = house.say("5")
        assert house.carried == [event]


@pytest.mark.parametrize(
    "words",
    ["6", "10", "0", "１０", "6 thanks", "谢谢，6分", "rate 6 thanks", "rate 6 谢谢", "rate 6"],
)
def test_a_number_that_nobody_offers_calls_nobody(words: str) -> None:
    house = asked()
    house.say(words)
    assert (house.carried, house.notices) == ([], ["rating.unknown"])


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
        ("4", 4, [], None, 1),
        ("⭐", 6, [], None, 1),
    ],
)
def test_stars_may_change_a_rating_and_call_nobody(
    words: str, minutes: int, notices: list[str], value: int | None, carried: int
) -> None:
    """A number may be for an agent once the chat is rated, and so may all when that is settled."""
    house = asked()
    rated = Rated(LAST, house.now - minutes * 60_000)
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, rated=rated))
    house.say(words)
    assert (house.notices, len(house.carried)) == (notices, carried)
    rating = house.record.conversation.rating
    assert (rating and rating.value) == value


@pytest.mark.parametrize("direct", [True, False])
def test_a_rate_that_nobody_offers_may_be_somebodys_word(direct: bool) -> None:
    house = asked(direct=direct)
    event = house.say("rate 9 of your shops")
    assert (house.carried, house.reported) == ([event], {})


def test_after_a_queue_that_was_left_again() -> None:
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
        ("5 stars, quick and kind", 5, "quick and kind"),
        ("４分，很快", 4, "很快"),
        ("⭐⭐⭐ so so", 3, "so so"),
        ("2/5", 2, ""),
        ("不满意，太慢", 2, "太慢"),
        ("满意", 4, ""),
    ],
)
def test_a_reply_rates_everywhere(
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


def test_while_an_agent_is_there_it_is_said_to_them() -> None:
    house = asked()
    phase = Chatting(LAST, 0, QueueId(2))
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=phase))
    event = reply(house, "it took too long")
    assert house.carried == [event]
