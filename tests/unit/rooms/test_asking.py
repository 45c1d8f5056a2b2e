"""What the Matrix lane asks of customers and of the robot."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from bridge.conversation.effects import AskRating
from bridge.conversation.inputs import FailureReason
from bridge.ids import EventId, SessionId
from bridge.rooms import robot
from bridge.rooms.asking import Asking
from bridge.rooms.effects import AskRobot
from bridge.rooms.ports import CallFailure, Refused, Unavailable
from bridge.rooms.record import CardKind, RoomRecord, RoomSettings
from bridge.rooms.worker import Worker
from bridge.webchat.http import RobotAnswer, RobotReply
from tests.fakes.house import ROOM, World
from tests.fakes.link import FakeLink
from tests.unit.rooms.visits import BOT, RULES

ASK = AskRating(SessionId(5150), ((1, "good"), (0, "bad")))


class Room:
    """As much of a worker as asking needs."""

    room_id = ROOM
    record = RoomRecord(ROOM, host=BOT, settings=RoomSettings(language="en"))


WORKER = cast("Worker", Room())


@pytest.mark.asyncio
async def test_a_rating_is_asked_in_words_and_as_a_poll() -> None:
    world = World()
    event_id, posted = await Asking(world.around).rating(WORKER, ASK, "t")
    sentence, question = world.matrix.texts(ROOM)
    assert "1 — good\n0 — bad" in sentence
    assert "!wc rate 1" in sentence
    assert question == "How satisfied are you with this chat?"
    assert [one.card.event_id for one in posted] == [one.event_id for one in world.matrix.posted]
    assert posted[0].card.event_id == event_id
    assert {one.card.choices for one in posted} == {(1, 0)}
    assert {one.card.kind for one in posted} == {CardKind.RATING}


@pytest.mark.asyncio
async def test_a_repeat_asks_once() -> None:
    world = World()
    asking = Asking(world.around)
    first = await asking.rating(WORKER, ASK, "t")
    assert await asking.rating(WORKER, ASK, "t") == first
    assert len(world.matrix.texts(ROOM)) == 2


@pytest.mark.asyncio
async def test_without_polls_the_words_do(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def refuse(*_: object) -> EventId:
        raise Refused("M_FORBIDDEN")

    monkeypatch.setattr(world.matrix, "poll", refuse)
    _, posted = await Asking(world.around).rating(WORKER, ASK, "t")
    assert len(posted) == 1


@pytest.mark.asyncio
async def test_a_homeserver_that_is_away_is_asked_again() -> None:
    world = World()
    world.matrix.trouble.append(Unavailable("away"))
    with pytest.raises(Unavailable):
        await Asking(world.around).rating(WORKER, ASK, "t")


class Knowing(FakeLink):
    """A link whose robot answers as told."""

    def __init__(self, told: RobotReply | CallFailure) -> None:
        super().__init__()
        self._told = told

    async def ask_robot(self, question: str) -> RobotReply:
        assert question == "how?"
        if isinstance(self._told, CallFailure):
            raise self._told
        return self._told


def failure(reason: FailureReason) -> CallFailure:
    return CallFailure(reason, certain=True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("told", "key"),
    [
        (RobotReply(1), "robot.nothing"),
        (failure(FailureReason.TOO_BIG), "robot.too_long"),
        (failure(FailureReason.UNREACHABLE), "robot.unreachable"),
        (failure(FailureReason.SIGN_REFUSED), "robot.unreachable"),
    ],
)
async def test_the_robot_has_no_answer(told: RobotReply | CallFailure, key: str) -> None:
    around = msgspec.structs.replace(World().around, link=Knowing(told))
    assert await robot.answer(around, AskRobot(EventId("$1"), "how?")) == (key, {})


@pytest.mark.asyncio
@pytest.mark.parametrize("base", ["", "https://kb.example.org/"])
async def test_answers_are_cards_of_words(base: str) -> None:
    found = RobotAnswer("<b>Returns</b>", "Send <em>it</em>\n back" + "x" * 400, path="/a/1.html")
    told = RobotReply(1, answers=(found, RobotAnswer("", "<script>x</script>", "Why?")))
    rules = msgspec.structs.replace(RULES, km_base_url=base)
    around = msgspec.structs.replace(World().around, link=Knowing(told), rules=rules)
    key, args = await robot.answer(around, AskRobot(EventId("$1"), "how?"))
    assert key == "robot.answers"
    first, second = str(args["answers"]).split("\n\n")
    title, preview, *link = first.split("\n")
    assert title == "▪ Returns"
    assert preview.startswith("Send it back")
    assert len(preview) == robot.LONGEST_PREVIEW
    assert link == (["https://kb.example.org/a/1.html"] if base else [])
    assert second == "▪ Why?"
