"""A robot stays a robot on a server that never sends `robotMode`, which no guide prints.

Rows 10, 26, 27 and 34 of the reference, traps T14 and T17.
"""

from __future__ import annotations

import json

import pytest

from bridge.conversation.model import AgentsLeft, Chatting, Human, Offer, Relay
from tests.support.scene import JUN, MEI, REQUEST, SESSION, Json, Scene, message

BOT: Json = {"id": "BOT007", "name": "Helper", "icon": "", "comments": ""}
HAND_OVER = {"type": 302, "sessionId": SESSION}
QUESTIONS = [{"relates": [{"name": "When open?"}]}]
PROPOSING = json.dumps({"type": "text", "content": "?", "relatedQuestions": QUESTIONS})


def with_robot(**told: object) -> Scene:
    """A session with the robot, named as the reference shows it unless told otherwise."""
    scene = Scene()
    scene.start()
    scene.reply(**{"sessionId": SESSION, "robotType": 3, "queueLength": 0, **told})
    return scene


def named() -> Scene:
    return with_robot(agentId="BOT007", agentName="Helper")


def robot(scene: Scene) -> bool:
    assert isinstance(scene.state.phase, Chatting)
    return scene.state.phase.robot


def check_robot(scene: Scene) -> None:
    """Check everything that works with a robot only."""
    assert robot(scene)
    scene.forget()
    scene.push(301, sessionId=SESSION, robotType=3, content=PROPOSING)
    assert [relay.agent.id for relay in scene.relayed] == ["BOT007"]
    assert not [one for one in scene.effects if isinstance(one, AgentsLeft)]
    scene.text("1")
    assert scene.last == message("When open?")
    scene.reply()
    scene.happen(Human())
    assert scene.last == HAND_OVER
    scene.reply()
    scene.push(201, requestId=9002, requestStatus=0, queueLength=2, sessionId=SESSION)
    assert scene.cards == ["robot.transferring", "robot.position"]
    scene.push(204, sessionId=SESSION, agents=[MEI])
    assert not robot(scene)
    assert scene.pings == ["chat.transferred"]
    assert scene.ghosts == {"K00017"}


@pytest.mark.parametrize(
    "people",
    [
        {"agents": [BOT]},
        {"users": [BOT, {"id": "7b0c2c58-6f0e-4d0e-9d51-0d7b3a3f5a10", "name": "room-42"}]},
        {"agents": [{**BOT, "name": "Helper 2"}], "robotMode": False},
        {},
    ],
)
def test_a_202_with_the_same_agents_keeps_the_robot(people: dict[str, object]) -> None:
    scene = named()
    scene.push(202, sessionId=SESSION, **people)
    check_robot(scene)


def test_a_renamed_robot_stays_a_robot() -> None:
    """Trap T17: a 204 for a new name or a new picture."""
    scene = named()
    scene.push(204, sessionId=SESSION, agents=[{**BOT, "name": "Helper 2"}])
    assert scene.notices == []
    check_robot(scene)


def test_a_reply_that_names_the_robot_again_keeps_it() -> None:
    """Trap T14: a reply to 110 says what a missed 202 would have said."""
    for told in ({"robotMode": True}, {}):
        scene = named()
        scene.text("hi")
        scene.reply(sessionId=SESSION, agents=[BOT], **told)
        check_robot(scene)


def test_another_session_with_the_robot_in_a_reply_is_adopted() -> None:
    scene = Scene()
    scene.begin()
    scene.text("hi")
    scene.reply(sessionId=6000, agents=[BOT], robotMode=True)
    assert robot(scene)
    assert [one.key for one in scene.effects if isinstance(one, Offer)] == ["robot.person_offered"]


def test_an_existing_session_with_the_robot_is_adopted() -> None:
    """-2 names the session and, as the reply to any 101, what it is."""
    scene = Scene()
    scene.start()
    scene.reply(-2, sessionId=SESSION, agentId="BOT007", agentName="Helper", robotType=3)
    check_robot(scene)


@pytest.mark.parametrize("who", [{"agentId": "BOT007", "agentName": "Helper"}, {}])
def test_a_202_before_the_reply_of_a_robot_session(who: dict[str, object]) -> None:
    """Only the reply says that it is a robot."""
    scene = Scene()
    scene.start()
    scene.push(202, sessionId=SESSION, agents=[BOT])
    scene.reply(sessionId=SESSION, robotType=3, **who)
    assert scene.notices == ["chat.started"]
    assert [one.key for one in scene.effects if isinstance(one, Offer)] == ["robot.person_offered"]
    check_robot(scene)


@pytest.mark.parametrize("told", [{"robotType": None}, {"sessionId": 1}])
def test_a_reply_after_its_202_that_concerns_no_robot(told: dict[str, object]) -> None:
    scene = Scene()
    scene.start()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply(**{"sessionId": SESSION, "robotType": 3, **told})
    assert not robot(scene)


def test_a_robot_that_handed_over_before_the_reply_is_gone() -> None:
    """The agent there is a person, whatever the reply to 101 says."""
    scene = Scene()
    scene.start()
    scene.push(202, sessionId=SESSION, agents=[BOT])
    scene.push(204, sessionId=SESSION, agents=[MEI])
    scene.reply(sessionId=SESSION, agentId="BOT007", agentName="Helper", robotType=3)
    assert not robot(scene)


@pytest.mark.parametrize("kind", [202, 204])
@pytest.mark.parametrize("people", [[MEI], [BOT, MEI]])
def test_an_agent_who_joins_the_robot_is_a_person(kind: int, people: list[Json]) -> None:
    """Table row 26: also one who comes beside the robot."""
    scene = named()
    scene.push(kind, sessionId=SESSION, agents=people)
    assert not robot(scene)
    assert len(scene.pings) == 1


def test_the_first_202_names_a_robot_unnamed_in_the_reply() -> None:
    """A 101 without the robot's id: the 202 that follows it introduces the robot."""
    scene = with_robot()
    scene.push(202, sessionId=SESSION, agents=[BOT])
    assert scene.ghosts == {"BOT007"}
    check_robot(scene)


def test_an_unnamed_robot_hands_over_by_202() -> None:
    """Once a person is looked for, or the robot has spoken, a new name is the person's."""
    for sought in (True, False):
        scene = with_robot()
        if sought:
            scene.happen(Human())
            scene.reply()
        else:
            scene.push(301, sessionId=SESSION, robotType=1, content="well")
        scene.push(202, sessionId=SESSION, agents=[MEI])
        assert not robot(scene)


def test_an_unnamed_robot_stays_after_a_vain_search() -> None:
    scene = with_robot()
    for told in ({"queueLength": 1}, {"result": -5}):
        scene.happen(Human())
        scene.reply(**told)
    scene.push(202, sessionId=SESSION, agents=[BOT])
    assert robot(scene)


def test_a_204_after_an_unnamed_robot_names_a_person() -> None:
    """A 204 tells of a change: it is no introduction."""
    scene = with_robot()
    scene.push(204, sessionId=SESSION, agents=[MEI])
    assert not robot(scene)


@pytest.mark.parametrize("named_by", ["reply", "push"])
def test_a_robot_whose_first_frame_was_lost_is_known_by_its_words(named_by: str) -> None:
    """Neither -2 nor a 202 as the guides print it says that the session is a robot's."""
    scene = Scene()
    scene.start()
    scene.cut()
    scene.restored()
    if named_by == "reply":
        scene.reply(-2, sessionId=SESSION, agentId="BOT007", agentName="Helper")
    else:
        scene.push(202, sessionId=SESSION, agents=[BOT])
    scene.push(301, sessionId=SESSION, robotType=3, content=PROPOSING)
    assert [one.key for one in scene.effects if isinstance(one, Offer)] == ["robot.person_offered"]
    if named_by == "push":
        scene.reply(-2, sessionId=SESSION)
    check_robot(scene)


@pytest.mark.parametrize("agents", [[BOT, MEI], [MEI, BOT]])
def test_in_a_session_of_two_the_robot_does_not_speak_as_a_person(agents: list[object]) -> None:
    """After -2 no frame says which of them is the robot, nor who of them wrote a 301."""
    scene = Scene()
    scene.start()
    scene.cut()
    scene.restored()
    scene.push(202, sessionId=SESSION, agents=agents)
    scene.reply(-2, sessionId=SESSION)
    scene.push(301, sessionId=SESSION, robotType=3, content=PROPOSING)
    assert [told.agent.id for told in scene.effects if isinstance(told, Relay)] == ["robot"]
    assert not robot(scene)


def test_a_late_answer_of_a_robot_that_no_frame_named_makes_no_robot_of_a_person() -> None:
    scene = with_robot()
    scene.push(204, sessionId=SESSION, agents=[MEI])
    scene.push(301, sessionId=SESSION, robotType=3, content=PROPOSING)
    assert not robot(scene)


def test_the_words_of_a_robot_make_no_robot_of_a_person_who_has_written() -> None:
    """Nor of one whom the customer leaves, nor of one of another session."""
    hello = {"type": 1, "content": "Hello"}
    for session, written in ((SESSION, True), (SESSION + 1, False)):
        scene = Scene()
        scene.push(202, sessionId=SESSION, agents=[MEI])
        if written:
            scene.push(210, sessionId=SESSION, agentId="K00017", msg=hello)
        scene.push(301, sessionId=session, robotType=3, content=PROPOSING)
        assert not robot(scene)


# --- people and robots are told apart -------------------------------------------------------------


@pytest.mark.parametrize("kind", [202, 204])
def test_people_do_not_become_a_robot(kind: int) -> None:
    """Neither if one of two leaves, nor if they are named for the first time."""
    for before in ([MEI, JUN], []):
        scene = Scene()
        scene.start()
        scene.reply(requestId=REQUEST)
        scene.push(202, sessionId=SESSION, agents=before)
        scene.push(kind, sessionId=SESSION, agents=[MEI])
        assert not robot(scene)


def test_a_202_that_says_so_makes_an_agent_a_robot() -> None:
    scene = Scene()
    scene.begin(BOT)
    scene.push(202, sessionId=SESSION, agents=[BOT], robotMode=True)
    assert robot(scene)


def test_the_first_202_after_the_customer_wanted_a_person_names_a_person() -> None:
    scene = with_robot()
    scene.text("one")
    scene.happen(Human())
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert not robot(scene)


def test_a_person_who_came_unasked_ends_the_wish_and_the_search() -> None:
    for asked in (True, False):
        scene = named()
        scene.text("one")
        scene.happen(Human())
        if not asked:
            scene.reply()
            scene.reply()  # the robot looks for a person
        scene.push(204, sessionId=SESSION, agents=[MEI])
        scene.forget()
        if asked:
            scene.reply()
        scene.push(205, sessionId=SESSION)
        assert (scene.frames, scene.cards) == ([], [])


def test_a_renamed_robot_looks_for_nobody() -> None:
    scene = named()
    scene.push(204, sessionId=SESSION, agents=[{**BOT, "name": "Helper 2"}])
    scene.forget()
    scene.push(205, sessionId=SESSION)
    assert scene.cards == []


def test_a_chat_is_answered_once_a_person_has_written() -> None:
    people, robots = Scene(), named()
    people.begin(MEI)
    for scene, agents in ((people, [MEI, JUN]), (robots, [MEI])):
        scene.push(204, sessionId=SESSION, agents=agents)
        assert unanswered(scene)
        text = {"type": 1, "content": {"content": "hello", "extra": ""}}
        scene.push(210, sessionId=SESSION, fromUser="K00017", msg=text)
        assert not unanswered(scene)
        scene.push(204, sessionId=SESSION, agents=[{**MEI, "name": "Mei 2"}])
        assert not unanswered(scene)


def unanswered(scene: Scene) -> bool:
    assert isinstance(scene.state.phase, Chatting)
    return scene.state.phase.unanswered


def test_a_person_whose_coming_was_missed_is_known_by_her_words() -> None:
    """Row 26 after an outage: else "1" would be replaced by what the robot had proposed.

    She has no name yet: neither her id nor the robot's name is told as hers.
    """
    scene = named()
    scene.push(301, sessionId=SESSION, robotType=3, content=PROPOSING)
    scene.happen(Human())
    scene.reply(queueLength=1)
    hello = {"type": 1, "content": "Hello"}
    scene.push(210, sessionId=SESSION, agentId="BOT007", msg=hello)
    assert robot(scene)
    scene.restored()
    scene.forget()
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=hello)
    assert not robot(scene)
    assert (scene.cards, scene.pings) == (["queue.joined_unnamed"], ["chat.started_unnamed"])
    scene.text("1")
    assert scene.last == message("1")
