"""The robot inside a chat: its messages, proposals, and offer of a person (reference 1.6)."""

from __future__ import annotations

import json

import pytest

from bridge.conversation.model import (
    AgentsLeft,
    Chatting,
    CustomerText,
    Human,
    Offer,
    Relay,
    Said,
)
from bridge.ids import EventId
from bridge.webchat.frames import AgentText
from tests.support.scene import MEI, REQUEST, SESSION, Scene


def with_robot(**told: object) -> Scene:
    """A session with the robot."""
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION, robotType=3, **told)
    scene.forget()
    return scene


def named() -> Scene:
    return with_robot(agentId="BOT007", agentName="Helper")


def said(scene: Scene, content: object, kind: int = 3) -> None:
    told = content if isinstance(content, str) else json.dumps(content)
    scene.push(301, sessionId=SESSION, robotType=kind, content=told)


def shown(scene: Scene) -> list[str]:
    return [one.content.html for one in scene.relayed if isinstance(one.content, AgentText)]


def proposing(*names: str, content: str = "What is it about?") -> dict[str, object]:
    relates = [{"name": name} for name in names]
    return {"type": "text", "content": content, "relatedQuestions": [{"relates": relates}]}


def offers(scene: Scene) -> list[str]:
    return [one.key for one in scene.effects if isinstance(one, Offer)]


def test_the_robot_posts_as_itself_with_links_and_pictures() -> None:
    scene = named()
    words = 'See <a href="https://h/faq">here</a> <img src="https://h/a.png">'
    said(scene, words, kind=1)
    assert shown(scene) == [words]
    assert scene.relayed[0].agent.id == "BOT007"
    assert scene.relayed[0].session_id == SESSION


def test_the_robots_proposals_are_numbered() -> None:
    scene = named()
    said(scene, proposing("returns", "a < b", content="1 < 2\nWell?"))
    assert shown(scene) == ["1 &lt; 2<br>Well?<ol><li>returns</li><li>a &lt; b</li></ol>"]
    assert scene.relayed[0].choices == ("returns", "a < b")


def test_markup_around_proposals_stays() -> None:
    scene = named()
    said(scene, proposing("returns", content="<b>Well?</b>"))
    assert shown(scene) == ["<b>Well?</b><ol><li>returns</li></ol>"]
    scene.forget()
    said(scene, proposing("returns", content="<b>Well?</b>\nor not"))
    assert shown(scene) == ["<b>Well?</b><br>or not<ol><li>returns</li></ol>"]


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        *(("1", "returns"), (" 2 ", "parcels"), ("3", "3"), ("0", "0"), ("٢", "٢"), ("100", "100")),
        *(("２", "parcels"), ("1.", "returns"), ("2、", "parcels"), ("１）", "returns")),
        *(
            ("1\ufe0f\u20e3", "returns"),
            ("1.5", "1.5"),
            ("1 2", "1 2"),
            (".", "."),
            ("1 or 2", "1 or 2"),
        ),
    ],
)
def test_a_number_asks_its_proposal(typed: str, sent: str) -> None:
    scene = named()
    said(scene, proposing("returns", "parcels"))
    scene.text(typed)
    assert scene.texts == [sent]


def test_a_number_is_read_without_the_senders_name() -> None:
    scene = named()
    said(scene, proposing("returns", "parcels"))
    scene.happen(Said(EventId("$a"), CustomerText("Ada: 2"), "2"))
    assert scene.texts == ["parcels"]


def test_proposals_hold_until_the_robot_speaks_again() -> None:
    scene = named()
    said(scene, proposing("returns", "parcels"))
    said(scene, "Which year?")
    scene.text("1")
    scene.image()
    assert scene.texts == ["1"]


def test_a_number_for_a_person_is_sent_unchanged() -> None:
    scene = named()
    said(scene, proposing("returns", "parcels"))
    scene.push(204, sessionId=SESSION, agents=[MEI])
    scene.text("1")
    assert scene.texts == ["1"]


def test_the_robot_offers_a_person() -> None:
    scene = named()
    said(scene, {"type": "command", "content": {"code": "ZRG", "extra": "one moment"}})
    said(scene, {"type": "command", "content": {"code": "CLIENT_ZRG"}})
    assert shown(scene) == ["one moment"]
    assert offers(scene) == ["robot.person_offered"] * 2


def test_a_robot_that_looks_for_a_person_by_itself_offers_none() -> None:
    """The vendor's phone clients have no button then; before 2019 a 201 names no session."""
    scene = named()
    automatic = {"type": "command", "content": {"code": "AUTO_ZRG"}, "extra": "I find you a person"}
    for _ in range(2):
        said(scene, automatic)
    assert shown(scene) == ["I find you a person"] * 2
    assert (scene.cards, offers(scene), scene.frames) == (["robot.transferring"], [], [])
    scene.push(201, requestId=9002, requestStatus=0, queueLength=2)
    scene.push(204, sessionId=SESSION, agents=[MEI])
    assert scene.cards == ["robot.transferring", "robot.position", "queue.joined"]
    scene.forget()
    said(scene, automatic)  # late
    assert (scene.cards, offers(scene)) == ([], [])


def test_the_robots_first_words_may_be_its_offer() -> None:
    """If they begin the chat, before the reply to 101, one offer is enough."""
    scene = Scene()
    scene.start()
    said(scene, {"type": "command", "content": {"code": "ZRG", "extra": "hello"}})
    assert (shown(scene), offers(scene)) == (["hello"], ["robot.person_offered"])


def test_the_robot_of_a_chat_that_nobody_wants_looks_for_nobody() -> None:
    """The customer has left the queue, and the chat is being closed (row 22)."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.cancel()
    scene.push(202, sessionId=SESSION, agents=[MEI], robotMode=True)
    scene.forget()
    said(scene, {"type": "command", "content": {"code": "AUTO_ZRG"}})
    assert (scene.cards, offers(scene)) == ([], [])


def test_no_person_is_offered_while_one_is_looked_for() -> None:
    """The robot's words about it may come as a 302, before or after the reply."""
    scene = named()
    scene.happen(Human())
    scene.push(302, sessionId=SESSION, message="I pass you on")
    scene.reply()
    scene.push(302, sessionId=SESSION, message="one moment")
    assert shown(scene) == ["I pass you on", "one moment"]
    assert offers(scene) == []
    scene.push(201, requestId=9002, requestStatus=5, sessionId=SESSION)
    scene.push(302, sessionId=SESSION, message="shall I try again?")
    assert offers(scene) == ["robot.person_offered"]


def test_a_robot_without_an_id() -> None:
    scene = with_robot()
    said(scene, {"type": "command", "content": {"code": "ZRG"}})
    assert scene.relayed == []
    said(scene, "hello", kind=1)
    assert scene.relayed[0].agent.id == "robot"
    phase = scene.state.phase
    assert isinstance(phase, Chatting)
    assert [agent.id for agent in phase.agents] == ["robot"]


def test_a_late_message_of_the_robot_while_a_person_is_there() -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    said(scene, "Which order?", kind=1)
    said(scene, {"type": "command", "content": {"code": "ZRG"}})
    relay, left = scene.effects
    assert isinstance(relay, Relay)
    assert left == AgentsLeft((relay.agent.id,))


def test_a_late_message_of_a_robot_that_is_still_listed() -> None:
    """A person came whose 204 was missed: nothing says that the robot is gone."""
    scene = with_robot()
    said(scene, "hello", kind=1)
    scene.happen(Human())
    scene.reply()
    scene.push(210, sessionId=SESSION, agentId=MEI["id"], msg={"type": 1, "content": "hi"})
    said(scene, "one more thing", kind=1)
    phase = scene.state.phase
    assert isinstance(phase, Chatting)
    assert not phase.robot
    assert scene.ghosts == {agent.id for agent in phase.agents} == {"robot", MEI["id"]}


def test_a_robot_keeps_its_name_after_the_handover() -> None:
    """Its answer crosses the 204; later a 204 gives the chat back to it."""
    scene = named()
    scene.happen(Human())
    scene.reply()
    scene.push(204, sessionId=SESSION, agents=[MEI])
    scene.forget()
    said(scene, "Which order?", kind=1)
    relay, left = scene.effects
    assert isinstance(relay, Relay)
    assert (relay.agent.id, relay.agent.name) == ("BOT007", "Helper")
    assert left == AgentsLeft((relay.agent.id,))

    scene.push(204, sessionId=SESSION, agents=[{"id": "BOT007", "name": "Helper"}])
    said(scene, "Good evening", kind=1)
    phase = scene.state.phase
    assert isinstance(phase, Chatting)
    assert (phase.robot, [agent.id for agent in phase.agents]) == (True, ["BOT007"])
    assert scene.ghosts == {"BOT007"}
    scene.push(204, sessionId=SESSION, agents=[MEI])
    phase = scene.state.phase
    assert isinstance(phase, Chatting)
    assert not phase.robot


def test_a_session_known_only_by_the_robots_message() -> None:
    scene = Scene()
    said(scene, "hello", kind=1)
    phase = scene.state.phase
    assert isinstance(phase, Chatting)
    assert phase.robot
    assert shown(scene) == ["hello"]


def test_a_robots_message_after_the_end_is_shown() -> None:
    scene = named()
    scene.push(205, sessionId=SESSION, agentId="")
    scene.forget()
    said(scene, "bye", kind=1)
    scene.push(301, robotType=1, content="bye bye")
    assert shown(scene) == ["bye", "bye bye"]
    assert scene.phase == "Ended"


def test_a_robots_message_without_a_session_is_shown() -> None:
    scene = Scene()
    scene.push(301, robotType=1, content="hello")
    assert shown(scene) == ["hello"]
    assert scene.phase == "Idle"


def test_a_person_is_offered_from_the_beginning() -> None:
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION, robotType=3, agentId="BOT007", agentName="Helper")
    assert offers(scene) == ["robot.person_offered"]
    scene.push(204, sessionId=SESSION, agents=[MEI])
    assert offers(scene) == ["robot.person_offered"]
