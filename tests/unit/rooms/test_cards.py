"""Cards that a reaction or a vote answers."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.model import (
    AskRobot,
    Callback,
    Card,
    Chatting,
    Conversation,
    CustomerText,
    Ended,
    Held,
    Idle,
    Queued,
    Say,
    Vain,
)
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, QueueId, SessionId
from bridge.rooms import cards
from bridge.rooms.effects import PutSigns
from bridge.rooms.ports import PollAnswered, Reacted, Withdrew
from bridge.rooms.record import CardKind, OurCard, RoomSettings
from tests.unit.rooms.visits import ADA, RULES, STRANGER, House, answer

CARD, OTHER = EventId("$card"), EventId("$other")
LAST = SessionId(5150)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("5️⃣", 5),
        ("1⃣", 1),
        ("3", 3),
        ("🔟", None),
        ("7️⃣", None),
        ("⭐", None),
        ("⭐️", None),
        ("★", None),
        ("🌟", None),
        ("⭐⭐⭐⭐⭐", 5),
        ("★★", 2),
        ("⭐⭐⭐⭐⭐⭐", None),
        ("👍", 5),
        ("👍🏽", 5),
        ("👎️", 1),
        ("❤️", None),
        ("", None),
        ("９", None),
    ],
)
def test_what_an_emoji_stands_for(key: str, value: int | None) -> None:
    assert cards.rating_of_sign(key, (5, 4, 3, 2, 1)) == value


def test_stars_and_thumbs_know_only_better_and_worse() -> None:
    """The server's ids may count downwards; digits name what the card shows."""
    best_first = (0, 7, 10)
    signs = ("👍", "👎", "⭐⭐⭐⭐⭐", "🔟", "0️⃣")
    assert [cards.rating_of_sign(key, best_first) for key in signs] == [0, 10, 0, 10, 0]
    assert cards.rating_of_sign("👍", ()) is None
    assert cards.rating_of_sign("⭐⭐⭐⭐⭐", ()) is None
    assert cards.rating_of_sign("⭐", (7,)) == 7, "there is no other"


@pytest.mark.parametrize("choices", [(1, 0), (10, 7, 0), (4, 3, 2, 1)])
def test_stars_may_be_meant_out_of_five_where_fewer_ratings_are_offered(
    choices: tuple[int, ...],
) -> None:
    """Most servers offer 1 (satisfied) and 0: two stars need not be the best."""
    meant = [cards.rating_of_sign("⭐" * number, choices) for number in range(1, 7)]
    assert meant == [None, None, None, None, choices[0], None]


def rated_house() -> House:
    house = House().served()
    conversation = Conversation(phase=Ended(LAST), last_session=LAST, last_closed=True)
    house.visit.set(conversation=conversation)
    card = OurCard(CARD, CardKind.RATING, session_id=LAST, choices=(5, 4, 3, 2, 1))
    cards.remember(house.visit, card)
    return house


def given(house: House) -> int | None:
    rating = house.record.conversation.rating
    return None if rating is None else rating.value


@pytest.mark.parametrize(("answer", "value"), [("4", 4), ("9", None), ("four", None)])
def test_a_vote_rates(answer: str, value: int | None) -> None:
    house = rated_house()
    house.receive(PollAnswered(EventId("$v"), ADA, CARD, answer))
    assert given(house) == value


@pytest.mark.parametrize("value", [1_000_001, -1, 0, 2**63 - 1, -(2**63)])
def test_a_vote_rates_by_whatever_id_the_server_has(value: int) -> None:
    house = rated_house()
    cards.remember(house.visit, OurCard(OTHER, CardKind.RATING, LAST, choices=(7, value)))
    house.receive(PollAnswered(EventId("$v"), ADA, OTHER, str(value)))
    assert given(house) == value


def test_a_reaction_rates_and_may_be_changed() -> None:
    house = rated_house()
    house.receive(Reacted(EventId("$r"), ADA, CARD, "👎"))
    assert given(house) == 1
    house.receive(PollAnswered(EventId("$v"), ADA, CARD, "5"))
    assert given(house) == 5
    house.receive(Reacted(EventId("$r2"), ADA, CARD, "🤷"))
    assert given(house) == 5


@pytest.mark.parametrize("key", ["⭐", "⭐️", "★", "🌟", "⭐⭐⭐⭐⭐⭐"])
def test_ambiguous_stars_are_asked_back(key: str) -> None:
    """Every emoji picker offers a single star, whatever is meant by it."""
    house = rated_house()
    house.receive(Reacted(EventId("$r"), ADA, CARD, key))
    assert given(house) is None
    asked, args = answer(house)
    assert asked == "rating.which"
    assert str(args["options"]).startswith("5 — ")
    house.receive(Reacted(EventId("$r1"), ADA, CARD, "❤️"))
    assert house.notices == ["rating.which"]
    house.receive(Reacted(EventId("$r2"), ADA, CARD, "4️⃣"))
    assert given(house) == 4


def test_only_customers_rate_and_only_on_cards_of_the_bridge() -> None:
    house = rated_house()
    house.receive(PollAnswered(EventId("$v"), STRANGER, CARD, "5"))
    house.receive(PollAnswered(EventId("$v"), ADA, OTHER, "5"))
    house.receive(Reacted(EventId("$v"), ADA, OTHER, "👍"))
    assert given(house) is None
    assert house.effects == []


@pytest.mark.parametrize(
    ("key", "number", "left"), [("❌", 3, True), ("✖️", 3, True), ("👍", 3, False), ("❌", 2, False)]
)
def test_a_cross_on_the_queue_card_leaves_the_queue(key: str, number: int, left: bool) -> None:
    house = House().served()
    house.visit.set(conversation=Conversation(phase=Queued(QueueId(1), 0), number=3))
    cards.remember(house.visit, OurCard(CARD, CardKind.QUEUE, number=number))
    house.receive(Reacted(EventId("$r"), ADA, CARD, key))
    phase = house.record.conversation.phase
    assert isinstance(phase, Queued)
    assert phase.cancel is left


def test_a_cross_on_the_queue_card_after_the_queue_is_ignored() -> None:
    house = House().served()
    house.visit.set(conversation=Conversation(phase=Idle(), number=3))
    cards.remember(house.visit, OurCard(CARD, CardKind.QUEUE, number=3))
    house.receive(Reacted(EventId("$r"), ADA, CARD, "❌"))
    house.receive(PollAnswered(EventId("$v"), ADA, CARD, "1"))
    assert house.effects == []


@pytest.mark.parametrize(("number", "given_up"), [(3, True), (2, False)])
def test_a_cross_that_comes_as_the_queue_ends_gives_up_what_is_kept(
    number: int, given_up: bool
) -> None:
    """On the card of that request, which says so; else it would go to the next agent."""
    house = House().served()
    kept = Held(EventId("$1"), CustomerText("hello"), house.visit.now)
    vain = Vain("result.-3", since=house.visit.now, kept=1)
    ended = Conversation(phase=Idle(), number=3, vain=vain, held=(kept,))
    house.visit.set(conversation=ended)
    cards.remember(house.visit, OurCard(CARD, CardKind.QUEUE, number=number))
    house.receive(Reacted(EventId("$r"), ADA, CARD, "❌"))
    assert bool(house.record.conversation.held) is not given_up
    shown = [one.key for one in house.effects if isinstance(one, Card)]
    assert shown == ["queue.dropped"] * given_up


def test_the_oldest_cards_are_forgotten() -> None:
    house = House().served()
    for number in range(cards.KEPT_CARDS + 3):
        cards.remember(house.visit, OurCard(EventId(f"${number}"), CardKind.QUEUE))
    assert len(house.record.cards) == cards.KEPT_CARDS
    assert house.record.cards[0].event_id == "$3"


@pytest.mark.parametrize(
    ("callback", "sign", "stays"),
    [
        (Callback(QueueId(2), wanted=5), "❌", True),
        (Callback(QueueId(2)), "❌", False),
        (Callback(QueueId(2)), "🔔", True),
        (None, "🔔", False),
        (None, "❌", False),
        (None, "🔁", True),
    ],
)
def test_reactions_below_an_earlier_queue_card_are_removed_once_useless(
    callback: Callback | None, sign: str, stays: bool
) -> None:
    house = House().served()
    asking = Conversation(phase=Queued(QueueId(1), 0), number=4, callback=callback)
    house.visit.set(conversation=asking)
    cards.remember(house.visit, OurCard(CARD, CardKind.QUEUE, number=3, signs=(sign,)))
    for _ in range(2):
        cards.remember(
            house.visit, OurCard(OTHER, CardKind.QUEUE, number=4, signs=("❌",)), ("❌",)
        )
    expected = [] if stays else [PutSigns(CARD, (), (sign,))]
    assert [one for one in house.effects if one == PutSigns(CARD, (), (sign,))] == expected
    assert [one.signs for one in house.record.cards] == [(sign,) if stays else (), ("❌",)]


ROBOT = OurCard(CARD, CardKind.ROBOT, text="how do I return it?")


def asked_house(number: int = 0) -> House:
    house = House(msgspec.structs.replace(RULES, robot=True, start="on_command")).served()
    cards.remember(house.visit, msgspec.structs.replace(ROBOT, number=number))
    return house


def words(house: House) -> list[str]:
    pieces = all_pieces(house.record.conversation)
    return [one.content.text for one in pieces if isinstance(one.content, CustomerText)]


@pytest.mark.parametrize("key", ["👎", "👎🏽", "🙋", "🙋\u200d♀\ufe0f", "🙋🏻\u200d♂\ufe0f"])
def test_a_thumb_down_takes_the_question_to_a_person(key: str) -> None:
    house = asked_house()
    house.receive(Reacted(EventId("$r"), ADA, CARD, key))
    assert words(house) == ["（客户刚才问过机器人：how do I return it?）"]
    assert house.record.conversation.number == 1


def test_a_thumb_up_settles_what_the_robot_answered() -> None:
    house = asked_house()
    event_id = EventId("$q")
    held = (Held(event_id, CustomerText("how?"), house.now, consulted=True),)
    house.visit.set(conversation=Conversation(held=held))
    about = OurCard(OTHER, CardKind.ROBOT, about=event_id)
    cards.remember(house.visit, about)
    house.receive(Reacted(EventId("$r"), ADA, OTHER, "👍🏽"))
    assert house.carried == []
    assert house.notices == ["robot.solved"]


def test_a_thumb_down_takes_the_waiting_question_along() -> None:
    house = asked_house()
    event_id = EventId("$q")
    held = (Held(event_id, CustomerText("how?"), house.now, consulted=True),)
    house.visit.set(conversation=Conversation(held=held))
    cards.remember(house.visit, OurCard(OTHER, CardKind.ROBOT, about=event_id))
    house.receive(Reacted(EventId("$r"), ADA, OTHER, "👎"))
    assert words(house) == ["how?"]
    assert house.record.conversation.number == 1
    assert house.visit.again == []


@pytest.mark.parametrize(
    ("number", "edits", "again"),
    [(0, (), ["$q"]), (0, ((EventId("$q"), EventId("$q2")),), ["$q2"]), (-1, (), [])],
)
def test_a_thumb_down_after_a_thumb_up_takes_the_question_along(
    number: int, edits: tuple[tuple[EventId, EventId], ...], again: list[str]
) -> None:
    """The first one settled it; but not after another chat."""
    house = asked_house()
    card = OurCard(OTHER, CardKind.ROBOT, about=EventId("$q"), number=number)
    cards.remember(house.visit, card)
    house.visit.set(corrections=edits)
    house.receive(Reacted(EventId("$r"), ADA, OTHER, "👎"))
    assert house.visit.again == again
    assert house.record.conversation.number == 1


@pytest.mark.parametrize(
    ("key", "robot", "asked"),
    [("2️⃣", True, ["parcels"]), ("2️⃣", False, []), ("3️⃣", True, []), ("👍", True, [])],
)
def test_a_digit_asks_what_the_robot_proposed(key: str, robot: bool, asked: list[str]) -> None:
    house = House().served().chat()
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    phase = msgspec.structs.replace(phase, robot=robot)
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=phase))
    cards.remember(house.visit, OurCard(CARD, CardKind.CHOICES, options=("returns", "parcels")))
    house.receive(Reacted(EventId("$r"), ADA, CARD, key))
    house.receive(PollAnswered(EventId("$v"), ADA, CARD, "1"))
    assert words(house) == asked


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("proposed", [("returns", "parcels"), ("hats", "parcels", "returns")])
def test_a_digit_asks_the_proposal_of_its_card_word_for_word(
    proposed: tuple[str, ...], direct: bool
) -> None:
    """Also on an older card, whose numbers differ from the current one."""
    house = House().served(direct=direct).chat()
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    phase = msgspec.structs.replace(phase, robot=True, choices=proposed)
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=phase))
    cards.remember(house.visit, OurCard(CARD, CardKind.CHOICES, options=("returns", "parcels")))
    house.receive(Reacted(EventId("$r"), ADA, CARD, "1️⃣"))
    assert words(house) == ["returns"]


def test_a_thumb_up_below_an_answer_requests_no_person() -> None:
    house = asked_house()
    house.receive(Reacted(EventId("$r"), ADA, CARD, "👍"))
    house.receive(PollAnswered(EventId("$r"), ADA, CARD, "1"))
    assert house.record.conversation.number == 0


def test_a_thumb_down_on_an_old_card_does_not_pass_its_question_on() -> None:
    house = asked_house(number=7)
    house.receive(Reacted(EventId("$r"), ADA, CARD, "👎"))
    assert words(house) == []
    assert house.record.conversation.number == 1


def test_human_takes_the_question_along() -> None:
    house = asked_house()
    house.say("human")
    assert words(house) == ["（客户刚才问过机器人：how do I return it?）"]


ASKED = EventId("$ask")


@pytest.mark.parametrize("when", ["before", "after", "between"])
def test_a_redacted_question_is_passed_on_to_nobody(when: str) -> None:
    """Before the robot has answered it, before a person is wanted, and while one is awaited."""
    house = House(msgspec.structs.replace(RULES, robot=True)).served()
    back = Withdrew(EventId("$back"), ADA, ASKED)
    if when == "before":
        house.visit.set(erasing=(ASKED,))
    cards.remember(house.visit, msgspec.structs.replace(ROBOT, asked=ASKED))
    if when == "between":
        house.receive(back)
    house.say("human")
    if when == "after":
        assert words(house)
        house.receive(back)
    assert house.record.conversation.number == 1
    assert words(house) == []
    assert ROBOT.text not in repr(house.record)


def test_human_in_a_chat_says_that_an_agent_is_there() -> None:
    house = asked_house().chat()
    house.say("!wc human")
    assert words(house) == []
    assert house.notices == ["start.already_chatting"]


def test_human_without_a_question_requests_a_person() -> None:
    house = House().served()
    house.say("human")
    assert house.record.conversation.number == 1


def test_human_in_a_paused_room_is_refused() -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(paused=True))
    house.say("human")
    assert house.reported == {}  # a command, not a message that could be sent again
    assert house.notices == ["config.paused"]


@pytest.mark.parametrize(
    ("card", "key"),
    [
        (ROBOT, "🙋"),
        (OurCard(CARD, CardKind.CALLBACK), "🔔"),
        (OurCard(CARD, CardKind.CHOICES, options=("returns",)), "1️⃣"),
    ],
)
def test_no_reaction_requests_anybody_in_a_paused_room(card: OurCard, key: str) -> None:
    house = House().served()
    if card.kind is CardKind.CHOICES:
        house.chat()
        phase = house.record.conversation.phase
        assert isinstance(phase, Chatting)
        phase = msgspec.structs.replace(phase, robot=True)
        conversation = msgspec.structs.replace(house.record.conversation, phase=phase)
        house.visit.set(conversation=conversation)
    cards.remember(house.visit, card)
    house.visit.set(settings=RoomSettings(paused=True))
    before, event_id = house.record.conversation, house.event_id()
    house.receive(Reacted(event_id, ADA, CARD, key))
    assert house.effects == [Say("config.paused", reply_to=event_id, unquoted=True)]
    assert house.record.conversation == before


def test_a_callback_can_be_cancelled_by_reaction_in_a_paused_room() -> None:
    house = closed_house(5)
    house.visit.set(settings=RoomSettings(paused=True))
    house.receive(Reacted(house.event_id(), ADA, CARD, "❌"))
    assert house.notices == ["callback.cancelled"]


def test_ask_where_there_is_a_robot_and_where_there_is_none() -> None:
    house = asked_house()
    event = house.say("ask how do I return it?")
    assert house.effects == [AskRobot(event, "how do I return it?")]
    other = House().served()
    other.say("!wc ask how?")
    assert other.notices == ["robot.off"]
    other.effects.clear()
    said = other.say("ask how?")
    assert other.carried == [said]  # a customer's message


@pytest.mark.parametrize("paused", [False, True])
def test_ask_without_a_robot_names_no_person_to_who_has_one_or_gets_none(paused: bool) -> None:
    house = House().served()
    if paused:
        house.visit.set(settings=RoomSettings(paused=True))
    else:
        house.visit.set(conversation=Conversation(Chatting(LAST, 0, QueueId(1))))
    house.say("!wc ask how?")
    assert house.notices == ["robot.no_person.off"]


def closed_house(wanted: int | None) -> House:
    """A room without agents online: a callback was offered, and requested at `wanted`."""
    house = House().served()
    callback = Callback(QueueId(2), wanted=wanted, next_at=house.now + 1)
    house.visit.set(conversation=Conversation(callback=callback))
    cards.remember(house.visit, OurCard(CARD, CardKind.CALLBACK))
    return house


@pytest.mark.parametrize("key", ["🔔", "👍🏽", "☎️", "📞"])
def test_a_bell_asks_for_a_call_back(key: str) -> None:
    house = closed_house(None)
    house.receive(Reacted(house.event_id(), ADA, CARD, key))
    callback = house.record.conversation.callback
    assert callback is not None
    assert callback.wanted == house.now


@pytest.mark.parametrize(
    ("key", "wanted", "over"), [("❌", 5, True), ("❌", None, False), ("😀", 5, False)]
)
def test_a_cross_cancels_a_requested_callback(key: str, wanted: int | None, over: bool) -> None:
    house = closed_house(wanted)
    before = house.record.conversation.callback
    house.receive(Reacted(house.event_id(), ADA, CARD, key))
    assert house.notices == (["callback.cancelled"] if over else [])
    assert house.record.conversation.callback == (None if over else before)


def test_a_vote_on_a_callback_card_is_ignored() -> None:
    house = closed_house(None)
    house.receive(PollAnswered(house.event_id(), ADA, CARD, "🔔"))
    assert house.effects == []
