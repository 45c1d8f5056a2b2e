"""How customers are asked for a rating."""

from __future__ import annotations

from typing import cast

import pytest

from bridge.conversation.model import AskRating, Offer, Relay
from bridge.ids import AgentId, EffectSeq, EventId, RoomId, SessionId, UserId
from bridge.rooms.cards import card_of
from bridge.rooms.effects import Effect, EndPoll, PutSigns, ShowAnswer
from bridge.rooms.ports import Notice, Poll, Refused, Unavailable
from bridge.rooms.record import CardKind, CardPosted, OurCard, RoomRecord, RoomSettings
from bridge.rooms.room import Room
from bridge.rooms.store import EffectRow, Lane, Outcome
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.to_matrix import MatrixLane
from bridge.rooms.visit import Done, new_effect
from bridge.webchat.frames import Agent, AgentText
from tests.fakes.house import ROOM, World
from tests.unit.rooms.visits import BOT

ASK = AskRating(SessionId(5150), ((1, "good"), (0, "bad")))


class SomeRoom:
    """The attributes of a room that the lane uses."""

    room_id, served_since = ROOM, 0
    record = RoomRecord(ROOM, host=BOT, settings=RoomSettings(language="en"))

    def __init__(self, around: Surroundings) -> None:
        self.around = around

    @property
    def typist(self) -> SomeRoom:
        return self

    def agent_spoke(self, ghost: UserId) -> None: ...

    async def pause(self, seconds: float) -> None:
        assert seconds < 1


async def run(world: World, effect: Effect) -> Done:
    new = new_effect(effect)
    assert new is not None
    row = EffectRow(EffectSeq(1), ROOM, Lane.MATRIX, new.effect, world.clock.now())
    return await MatrixLane().run(cast("Room", SomeRoom(world.around)), row)


async def ask(world: World) -> tuple[EventId | None, tuple[CardPosted, ...]]:
    done = await run(world, ASK)
    cards = tuple(one.happened for one in done.came if isinstance(one.happened, CardPosted))
    return done.event_id, cards


@pytest.mark.asyncio
async def test_a_rating_poll_contains_the_choices_as_text_too() -> None:
    world = World()
    event_id, posted = await ask(world)
    assert world.matrix.texts(ROOM) == ["How satisfied are you with this chat?"]
    (poll,) = world.matrix.polls
    assert poll.answers == (("1", "good"), ("0", "bad"))
    assert "1 — good\n0 — bad" in poll.text
    assert "!wc rate 1" in poll.text
    (card,) = (one.card for one in posted)
    assert card == OurCard(event_id or EventId(""), CardKind.RATING, ASK.session_id, choices=(1, 0))


@pytest.mark.asyncio
async def test_a_repeated_effect_asks_once() -> None:
    world = World()
    first = await ask(world)
    assert await ask(world) == first
    assert len(world.matrix.texts(ROOM)) == 1


@pytest.mark.asyncio
async def test_a_refused_poll_is_replaced_by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    say = world.matrix.say

    async def refuse(room: RoomId, sender: UserId, notice: Notice, txn_id: str) -> EventId:
        if isinstance(notice, Poll):
            raise Refused("M_FORBIDDEN")
        return await say(room, sender, notice, txn_id)

    monkeypatch.setattr(world.matrix, "say", refuse)
    event_id, posted = await ask(world)
    assert [one.card.event_id for one in posted] == [event_id]
    (sentence,) = world.matrix.texts(ROOM)
    assert "1 — good\n0 — bad" in sentence


@pytest.mark.asyncio
async def test_more_ratings_than_a_poll_can_have_are_asked_in_words() -> None:
    world = World()
    ratings = tuple((number, f"grade {number}") for number in range(21))
    await run(world, AskRating(SessionId(5150), ratings))
    assert world.matrix.polls == []
    (sentence,) = world.matrix.texts(ROOM)
    assert "20 — grade 20" in sentence


@pytest.mark.asyncio
async def test_an_end_poll_effect_of_an_earlier_version_is_discarded() -> None:
    world = World()
    done = await run(world, EndPoll(SessionId(5150)))
    assert done.outcome is Outcome.DISCARDED
    assert world.matrix.requests == []


@pytest.mark.asyncio
async def test_a_rating_is_asked_for_again_after_an_unavailable_homeserver() -> None:
    world = World()
    world.matrix.trouble.append(Unavailable("away"))
    await ask(world)
    assert len(world.matrix.texts(ROOM)) == 1
    assert len(world.matrix.requests) == 2


@pytest.mark.asyncio
async def test_a_refused_reaction_of_the_bridge_is_skipped() -> None:
    world = World()
    world.matrix.trouble.append(Refused("M_FORBIDDEN"))
    await run(world, PutSigns(EventId("$card"), ("👍", "👎")))
    assert world.matrix.texts(ROOM) == ["👎"]
    assert world.matrix.posted[0].reply_to == "$card"


def test_the_card_and_reactions_below_an_answer_of_the_robot() -> None:
    card, asked = EventId("$card"), EventId("$q")
    first = card_of(ShowAnswer(asked, "how?", "k", first=True), card, 3)
    assert first == CardPosted(OurCard(card, CardKind.ROBOT, number=3, about=asked), ("👍", "👎"))
    command = card_of(ShowAnswer(asked, "how?", "k"), card, 3)
    kept = OurCard(card, CardKind.ROBOT, number=3, text="how?", asked=asked)
    assert command == CardPosted(kept, ("👍", "👎"))
    nothing = card_of(ShowAnswer(asked, "how?", "robot.nothing"), card, 3)
    assert nothing == CardPosted(kept, ("🙋",))
    in_chat = card_of(ShowAnswer(asked, "how?", "robot.no_person.answers"), card, 3)
    assert in_chat == CardPosted(kept)
    person = card_of(Offer("robot.person_offered"), card, 3)
    assert person == CardPosted(OurCard(card, CardKind.ROBOT, number=3), ("🙋",))


@pytest.mark.parametrize("count", [0, 2, 6])
@pytest.mark.asyncio
async def test_a_few_proposals_get_digit_reactions(count: int) -> None:
    options = tuple(f"question {number}" for number in range(count))
    relay = Relay(Agent(AgentId("B")), AgentText("?"), SessionId(1), options)
    done = await run(World(), relay)
    posted = [one.happened for one in done.came if isinstance(one.happened, CardPosted)]
    assert [one.card.options for one in posted] == [options] * (count > 0)
    assert [one.signs for one in posted] == {0: [], 2: [("1️⃣", "2️⃣")], 6: [()]}[count]
