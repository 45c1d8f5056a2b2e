"""The robot's answers, as a customer reads them."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.inputs import FailureReason
from bridge.ids import EventId
from bridge.rooms import robot
from bridge.rooms.effects import AskRobot
from bridge.rooms.ports import CallFailure
from bridge.webchat.http import RobotAnswer, RobotReply
from tests.fakes.house import World
from tests.fakes.link import FakeLink
from tests.unit.rooms.visits import RULES


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
