"""Messages that wait for the robot's answer."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.model import (
    Answered,
    AskRobot,
    Consulted,
    Conversation,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Human,
    Said,
    Solved,
    Withdrawn,
)
from bridge.conversation.turn import Policy
from bridge.ids import EventId, QueueId
from bridge.webchat.codes import RobotUse, Silence
from tests.support.scene import ASK, REQUEST, SESSION, Scene

FIRST = Policy(queue_id=QueueId(7), robot=RobotUse.FIRST)
NOBODY = Policy(queue_id=QueueId(7), robot=RobotUse.WHEN_NO_AGENT)
NOTE = "(The robot has answered: Returns)"


def asked(scene: Scene) -> list[str]:
    return [one.question for one in scene.effects if isinstance(one, AskRobot)]


def answered(scene: Scene) -> list[EventId]:
    return [one.event_id for one in scene.effects if isinstance(one, Answered)]


def helped(scene: Scene, event_id: EventId) -> None:
    scene.happen(Consulted(event_id, NOTE))


# --- the robot answers first --------------------------------------------------------------------


def test_a_question_goes_to_the_robot_only() -> None:
    scene = Scene(FIRST)
    scene.text("how do I return it?")
    assert asked(scene) == ["how do I return it?"]
    assert scene.phase == "Idle"
    assert scene.calls == []
    assert scene.notices == []


def test_solved_settles_a_question_and_says_so() -> None:
    scene = Scene(FIRST)
    event = scene.text("how?")
    helped(scene, event)
    scene.happen(Solved(event))
    assert answered(scene) == [event]
    assert scene.notices == ["robot.solved"]
    assert scene.state.held == ()
    scene.happen(Solved(event))
    assert scene.notices == ["robot.solved"]
    scene.happen(Solved())
    assert scene.notices == ["robot.solved", "robot.none_open"]


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("start_on_message", [False, True])
def test_in_a_room_paused_meanwhile_no_person_is_requested(
    answered: bool, start_on_message: bool
) -> None:
    """Whether the robot knows nothing or does not answer: messages wait, and this is told."""
    scene = Scene(FIRST)
    event = scene.text("how do I return it?")
    scene.policy = msgspec.structs.replace(FIRST, paused=True, start_on_message=start_on_message)
    if answered:
        scene.happen(Consulted(event))
    scene.later(3600)
    assert (scene.phase, scene.calls, scene.notices) == ("Idle", [], ["queue.kept"])
    scene.policy = FIRST
    scene.text("is anybody there?")
    scene.reply(requestId=REQUEST)
    scene.reply()
    assert scene.texts == ["how do I return it?", "is anybody there?"]


def test_a_person_gets_all_messages_in_order_with_the_robots_answers() -> None:
    scene = Scene(FIRST)
    first = scene.text("how do I return it?")
    second = scene.text("and who pays?")
    helped(scene, second)
    helped(scene, first)
    third = scene.text("is anybody there?")
    scene.happen(Human())
    assert scene.last == ASK
    scene.reply(requestId=REQUEST, queueLength=1)
    for _ in range(5):
        scene.reply()
    assert scene.texts == [
        "how do I return it?", NOTE, "and who pays?", NOTE, "is anybody there?",
    ]  # fmt: skip
    scene.push(202, sessionId=SESSION, agents=[])
    assert scene.delivered == [first, second, third]
    helped(scene, third)  # too late: a person has it
    assert scene.state.questions == ()


@pytest.mark.parametrize("silence", list(Silence))
def test_without_an_answer_a_person_is_requested(silence: Silence) -> None:
    scene = Scene(FIRST)
    event = scene.text("how?")
    scene.happen(Consulted(event, "", silence))
    assert scene.notices == [f"robot.person_{silence}"]
    assert scene.frames == [ASK]


def test_a_robot_that_never_answers_is_waited_for_a_minute() -> None:
    scene = Scene(FIRST)
    scene.text("how?")
    scene.text("hello?")
    scene.later(59)
    assert scene.phase == "Idle"
    scene.later(1)
    assert scene.notices == ["robot.person_unreachable"]
    assert scene.frames == [ASK]


def test_a_question_left_after_its_answer_counts_as_answered() -> None:
    scene = Scene(FIRST)
    event = scene.text("how?")
    helped(scene, event)
    scene.later(24 * 3600)
    assert answered(scene) == [event]
    assert scene.reported == {}
    assert scene.notices == []
    assert scene.state.held == ()


def test_each_answered_question_ends_in_its_own_time() -> None:
    scene = Scene(FIRST)
    first = scene.text("how?")
    helped(scene, first)
    scene.later(3600)
    second = scene.text("and when?")
    helped(scene, second)
    scene.later(23 * 3600)
    assert answered(scene) == [first]
    scene.later(3600)
    assert answered(scene) == [first, second]


def test_where_only_a_command_starts_a_chat_questions_are_kept() -> None:
    scene = Scene(msgspec.structs.replace(FIRST, start_on_message=False))
    event = scene.text("how?")
    helped(scene, event)
    scene.happen(Consulted(scene.text("why?")))
    assert scene.notices == ["robot.person_nothing", "start.needed_still"]
    assert scene.phase == "Idle"
    scene.start()
    scene.reply(requestId=REQUEST)
    for _ in range(3):
        scene.reply()
    assert scene.texts == ["how?", NOTE, "why?"]


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (CustomerMedia("file", "a.txt", "mxc://h/a"), "robot.person_file"),
        (CustomerLocation(31.2, 121.5), "robot.person_file"),
        (CustomerText("x" * 1001), "robot.person_long"),
    ],
)
def test_content_the_robot_cannot_read_goes_to_a_person(
    content: CustomerText | CustomerMedia | CustomerLocation, key: str
) -> None:
    scene = Scene(FIRST)
    scene.content(content)
    assert asked(scene) == []
    assert scene.notices == [key]
    assert scene.phase == "Requesting"


def test_the_robot_gets_the_text_and_the_agent_the_name_too() -> None:
    scene = Scene(FIRST)
    scene.happen(Said(EventId("$a"), CustomerText("Ada: how?"), "how?"))
    assert asked(scene) == ["how?"]
    scene.happen(Human())
    scene.reply(requestId=REQUEST)
    assert scene.texts == ["Ada: how?"]


def test_after_asking_for_a_person_the_robot_is_not_asked_again() -> None:
    scene = Scene(FIRST)
    helped(scene, scene.text("how?"))
    scene.happen(Human())
    scene.reply(-5)
    assert scene.phase == "Idle"
    scene.text("please")
    assert asked(scene) == ["how?"]
    assert scene.phase == "Requesting"


def test_a_redacted_question_is_dropped() -> None:
    scene = Scene(FIRST)
    event = scene.text("how?")
    scene.happen(Withdrawn(event))
    assert scene.state.questions == ()
    helped(scene, event)
    assert scene.effects[1:] == []


def test_cancel_settles_a_question_without_a_report() -> None:
    scene = Scene(FIRST)
    event = scene.text("how?")
    scene.cancel()
    assert answered(scene) == [event]
    assert scene.notices == ["robot.solved"]
    scene.cancel()
    assert scene.notices[-1] == "cancel.nothing"


def test_solved_in_a_queue_does_not_withdraw_the_question() -> None:
    scene = Scene(FIRST)
    event = scene.text("how?")
    helped(scene, event)
    scene.happen(Human())
    scene.happen(Solved(event))
    assert answered(scene) == []
    assert scene.notices == []
    scene.happen(Solved())
    assert answered(scene) == []
    assert scene.notices == ["robot.none_open"]


def test_a_chat_that_begins_by_itself_takes_the_questions_over() -> None:
    scene = Scene(FIRST)
    helped(scene, scene.text("how?"))
    scene.push(202, sessionId=SESSION, agents=[])
    scene.reply()
    assert scene.texts == ["how?", NOTE]


# --- the robot where no agent is there ------------------------------------------------------------


@pytest.mark.parametrize("code", [-3, -5])
def test_if_no_agent_is_there_the_robot_is_asked(code: int) -> None:
    scene = Scene(NOBODY)
    event = scene.text("how?")
    assert asked(scene) == []
    scene.reply(code)
    assert asked(scene) == ["how?"]
    assert [piece.event_id for piece in scene.state.held] == [event]
    helped(scene, event)
    scene.later(24 * 3600 - 1)
    assert scene.reported == {}
    scene.later(1)
    assert scene.reported == {event: "undelivered.expired"}  # it was kept for a person
    assert scene.state.questions == ()


@pytest.mark.parametrize("status", [5, 6])
def test_if_the_agents_leave_during_the_wait_the_robot_is_asked(status: int) -> None:
    scene = Scene(NOBODY)
    scene.queue_up("how?")
    scene.push(201, requestId=REQUEST, requestStatus=status)
    assert asked(scene) == ["how?"]


@pytest.mark.parametrize("status", [2, 3, 4])
def test_other_ends_of_a_request_do_not_ask_the_robot(status: int) -> None:
    scene = Scene(NOBODY)
    scene.queue_up("how?")
    scene.push(201, requestId=REQUEST, requestStatus=status)
    assert asked(scene) == []


def test_a_solved_question_does_not_go_to_a_person() -> None:
    scene = Scene(NOBODY)
    event, other = scene.text("how?"), scene.text("why?")
    scene.reply(-5)
    assert asked(scene) == ["how?", "why?"]
    helped(scene, event)
    scene.happen(Solved(event))
    assert answered(scene) == [event]
    assert [piece.event_id for piece in scene.state.held] == [other]


def test_a_missing_answer_is_not_told_while_messages_are_kept() -> None:
    scene = Scene(NOBODY)
    event, other = scene.text("how?"), scene.text("why?")
    scene.reply(-5)
    scene.forget()
    scene.happen(Consulted(event))
    scene.later(60)
    assert scene.effects == []
    assert scene.state.questions == ()
    assert [piece.event_id for piece in scene.state.held] == [event, other]


def test_a_message_is_asked_once_and_notes_are_not_asked() -> None:
    scene = Scene(NOBODY)
    helped(scene, scene.text("how?"))
    scene.reply(-5)
    helped(scene, EventId("$1"))
    scene.text("now then")
    scene.reply(-5)
    assert asked(scene) == ["how?", "now then"]
    scene.happen(Human())
    scene.reply(requestId=REQUEST)
    for _ in range(3):
        scene.reply()
    assert scene.texts == ["how?", NOTE, "now then"]


def test_only_texts_of_limited_length_are_asked() -> None:
    scene = Scene(NOBODY)
    scene.image(caption="look")
    scene.text("x" * 1001)
    scene.reply(-5)
    assert asked(scene) == []


def test_only_the_newest_messages_are_asked() -> None:
    scene = Scene(NOBODY)
    for number in range(7):
        scene.text(f"{number}?")
    scene.reply(-5)
    assert asked(scene) == [f"{number}?" for number in range(2, 7)]


def test_cancel_drops_messages_kept_for_a_person() -> None:
    scene = Scene(NOBODY)
    event = scene.text("how?")
    scene.reply(-5)
    helped(scene, event)
    scene.cancel()
    assert answered(scene) == []
    assert scene.reported == {event: "queue.dropped"}
    assert scene.card == ["queue.dropped"]


def test_rows_of_an_older_version_load() -> None:
    text = {"is": "CustomerText", "text": "x"}
    held = [{"is": "Held", "event_id": "$1", "content": text, "at": 1}]
    old = msgspec.json.encode({"is": "Conversation", "held": held})
    state = msgspec.json.decode(old, type=Conversation)
    assert not state.held[0].consulted
    assert state.questions == ()
