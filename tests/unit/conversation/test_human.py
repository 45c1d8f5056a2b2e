"""The way from the robot to a person (rows 10, 26, 27, 33-35 of the reference's tests)."""

from __future__ import annotations

import pytest

from bridge.conversation.model import Cancel, Card, Chatting, Close, Human
from bridge.webchat.codes import FailureReason
from tests.support.scene import MEI, REQUEST, SESSION, Scene


def with_robot() -> Scene:
    """A session with the robot."""
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION, robotType=3)
    return scene


def seeking(scene: Scene) -> bool:
    assert isinstance(scene.state.phase, Chatting)
    return scene.state.phase.seeking


HAND_OVER = {"type": 302, "sessionId": SESSION}


def test_the_robot_hands_over() -> None:
    """table row 27."""
    scene = with_robot()
    scene.happen(Human())
    assert scene.last == HAND_OVER
    scene.reply()
    scene.push(201, requestStatus=0, queueLength=2, sessionId=SESSION)
    scene.push(204, sessionId=SESSION, users=[MEI])
    cards = [one for one in scene.effects if isinstance(one, Card)][-3:]
    assert [one.key for one in cards] == ["robot.transferring", "robot.position", "queue.joined"]
    assert [one.anew for one in cards] == [True, False, False], "one message, below the robot's"
    assert scene.notices == ["chat.agent_joined"]
    scene.happen(Human())
    assert scene.notices[-1] == "start.already_chatting"
    assert scene.sent(302) == [HAND_OVER]


def test_the_robots_name_does_not_end_the_search_on_the_card() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.reply()
    scene.push(202, sessionId=SESSION, agents=[{**MEI, "name": "Robo"}], robotMode=True)
    assert seeking(scene)
    assert scene.cards[-1] == "robot.transferring"


def test_a_person_who_comes_in_another_session_ends_the_search() -> None:
    """The card of the search would go on saying that a person is looked for."""
    scene = with_robot()
    scene.happen(Human())
    scene.reply()
    scene.push(202, sessionId=SESSION + 1, agents=[MEI])
    *_, search, over, joined = (one for one in scene.effects if isinstance(one, Card))
    assert (search.key, over.key, joined.key) == (
        "robot.transferring",
        "queue.over",
        "queue.joined",
    )
    assert search.number == over.number < joined.number


def test_a_person_asked_for_twice_is_waited_for_once() -> None:
    """The card already tells of the search; a second one would look like another request."""
    scene = with_robot()
    scene.happen(Human())
    scene.reply(queueLength=2)
    scene.forget()
    scene.happen(Human())
    scene.reply(-1)
    assert (scene.notices, scene.cards) == (["start.already_queued"], [])


def test_a_reply_for_another_session_hands_nobody_over() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.push(202, sessionId=SESSION + 1, robotMode=1, agents=[])
    scene.forget()
    scene.reply()
    assert not seeking(scene)
    assert scene.notices == []


def test_the_call_centres_text_for_the_position_behind_the_robot() -> None:
    """The reply to the hand-over and 201 may have it (HTTP guide by 2020-08), as in a queue."""
    scene = with_robot()

    def card() -> tuple[str, object]:
        last = [one for one in scene.effects if isinstance(one, Card)][-1]
        return last.key, last.args.get("text", last.args.get("position"))

    scene.happen(Human())
    told = {"positionInQueueMessage": "当前排在第3位。", "message": "请求已经转接给了Sales"}
    scene.reply(queueLength=3, **told)
    assert card() == ("robot.place_said", "当前排在第3位")
    assert scene.notices == []
    scene.push(201, requestStatus=0, queueLength=2, sessionId=SESSION, message="success")
    assert card() == ("robot.position", 2)
    scene.push(201, requestStatus=0, queueLength=1, sessionId=SESSION, message="下一位就是您")
    assert card() == ("robot.place_said", "下一位就是您")
    scene.push(201, requestStatus=0, sessionId=SESSION, message="约5分钟")
    assert card() == ("robot.place_said", "约5分钟")
    scene.push(302, queueLength=4, sessionId=SESSION, positionInQueueMessage="当前排在第4位")
    assert card() == ("robot.place_said", "当前排在第4位")
    scene.push(201, requestStatus=3, sessionId=SESSION, message="当前排在第0位")
    assert scene.cards[-1] == "queue.over"


def test_a_position_text_is_ignored_once_somebody_has_accepted() -> None:
    """The guide's example: status 1 with "number 0"; such texts only tell a position."""
    scene = Scene()
    scene.queue_up()
    scene.push(201, requestId=REQUEST, requestStatus=1, queueLength=0, message="当前排在第0位")
    assert scene.cards[-1] == "queue.accepted"


def test_news_of_the_search_without_session_and_request_are_shown() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.push(201, requestStatus=0, queueLength=2)
    assert scene.cards[-1] == "robot.position"


@pytest.mark.parametrize("who", [{"sessionId": SESSION}, {}], ids=["2019", "before 2019"])
def test_the_search_is_told_of_with_and_without_its_session(who: dict[str, object]) -> None:
    """A 201 names the session since 2019 only; a search that fails is over in either case."""
    scene = with_robot()
    scene.happen(Human())
    scene.push(201, requestId=9002, requestStatus=0, queueLength=2, **who)  # before the reply
    assert scene.cards[-1] == "robot.position"
    scene.reply(queueLength=2)
    scene.push(201, requestId=9002, requestStatus=0, queueLength=1, **who)
    assert scene.cards[-2:] == ["robot.position", "robot.position"]
    assert seeking(scene)
    scene.push(201, requestId=9002, requestStatus=3, queueLength=0, **who)
    assert not seeking(scene)
    assert scene.notices[-1] == "robot.alone.busy"
    assert scene.cards[-1] == "queue.over", "the robot goes on"


def test_news_of_another_request_is_no_news_of_the_search() -> None:
    scene = Scene()
    scene.queue_up()
    scene.push(202, sessionId=SESSION, agents=[{"id": "BOT007"}], robotMode=True)
    cards = len(scene.cards)
    scene.push(201, requestId=9002, requestStatus=0, queueLength=2)  # no search yet
    scene.happen(Human())
    scene.push(201, requestId=REQUEST, requestStatus=3, queueLength=0)  # late
    scene.reply()
    assert seeking(scene)
    assert scene.cards[cards:] == ["robot.transferring"]


def test_the_card_shows_no_position_once_the_person_is_there() -> None:
    for kind in (202, 204):
        scene = with_robot()
        scene.happen(Human())
        scene.reply(queueLength=1)
        assert scene.cards[-1] == "robot.position"
        scene.push(kind, sessionId=SESSION, agents=[MEI])
        assert scene.cards[-1] == "queue.joined"
        cards = [one for one in scene.effects if isinstance(one, Card)]
        assert cards[-1].args == {"names": ("Mei",)}
        assert len({one.number for one in cards}) == 1, "the same message"


def test_the_card_shows_no_position_after_the_chat_ended() -> None:
    """Nor a left queue: the end of the chat is told in a notice."""
    for ends in (lambda scene: scene.push(205, sessionId=SESSION), lose):
        scene = with_robot()
        scene.happen(Human())
        scene.reply(queueLength=1)
        ends(scene)
        first = [one for one in scene.effects if isinstance(one, Card) and one.number == 1]
        assert first[-1].key == "queue.over"


def test_closing_while_the_robot_looks_for_a_person_is_told_once() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.reply(queueLength=1)
    scene.happen(Close())
    scene.forget()
    scene.reply()
    assert scene.notices == ["chat.ended_by_you"]
    assert scene.cards == ["queue.over"]


def test_no_search_is_told_after_a_cancel_before_the_robot_came() -> None:
    scene = Scene()
    scene.start()
    scene.happen(Cancel())
    scene.reply(sessionId=SESSION, robotType=3)
    scene.push(201, requestStatus=0, queueLength=2, sessionId=SESSION)
    scene.push(201, requestStatus=3, sessionId=SESSION)
    scene.push(205, sessionId=SESSION)
    assert scene.cards[-1] == "queue.cancelled"
    assert scene.notices == []


def lose(scene: Scene) -> None:
    scene.text("are you there?")
    scene.reply(-11)


def test_earlier_messages_are_sent_before_the_hand_over() -> None:
    scene = with_robot()
    scene.text("my parcel is lost")
    scene.happen(Human())
    assert scene.last["type"] == 110
    scene.reply()
    assert scene.last == HAND_OVER


def test_a_person_who_was_faster_needs_no_announcement() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.push(204, sessionId=SESSION, users=[MEI])
    scene.reply()
    assert "robot.transferring" not in scene.cards


def test_the_robot_goes_on_if_no_agent_is_there() -> None:
    scene = with_robot()
    for code in (-3, -5):
        scene.happen(Human())
        scene.reply(code)
        assert scene.notices[-1] == f"robot.alone.{code}"
    scene.happen(Human())
    scene.reply(-8)
    assert scene.notices[-1] == "robot.refused"
    scene.happen(Human())
    scene.reply()
    told_by = {5: "robot.alone.-5", 6: "robot.alone.-3", 3: "robot.alone.busy", 42: "robot.refused"}
    for status, told in told_by.items():
        scene.push(201, requestStatus=status, sessionId=SESSION)
        assert scene.notices[-1] == told, "another message would go to the robot"
    assert scene.filled("robot.refused") == [{"code": -8}, {"code": 42}]
    assert scene.pings == ["robot.alone.-5"], "the end of a search rings, once"
    scene.push(201, requestStatus=1, sessionId=SESSION)
    assert scene.phase == "Chatting"
    scene.text("robot?")
    assert scene.texts == ["robot?"]


def test_a_refused_search_removes_the_position_from_the_card() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.push(201, requestStatus=0, queueLength=2, sessionId=SESSION)
    scene.reply(-5)
    assert scene.cards[-2:] == ["robot.position", "queue.over"]


def test_a_session_that_is_gone_cannot_hand_over() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.reply(-11)
    assert scene.phase == "Ended"


def test_a_late_answer_to_the_hand_over_changes_nothing() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.push(205, sessionId=SESSION, agentId="")
    scene.forget()
    scene.reply()
    assert scene.notices == []


def test_the_hand_over_survives_a_lost_link() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(2)
    assert scene.sent(302) == [HAND_OVER] * 2


@pytest.mark.parametrize("queued", [True, False])
def test_human_without_a_robot_is_a_start(queued: bool) -> None:
    scene = Scene()
    if queued:
        scene.queue_up()
    scene.happen(Human())
    assert scene.notices == (["start.already_queued"] if queued else [])
    assert scene.phase == ("Queued" if queued else "Requesting")
