"""The robot that answers a queue first: what it says, and how a person takes over (reference 1.6).

No guide documents this on the socket; the shapes are those of the vendor's phone clients. The robot
knows the answers of `robot_answers`; asked for a person in so many words, it offers one.
"""

from __future__ import annotations

import html
import json

from bridge.simulator import desk, pushes
from bridge.simulator.outgoing import Outgoing, Send, Wire
from bridge.simulator.state import CallCentre, Customer, Session
from bridge.webchat import frames
from bridge.webchat.codes import MessageType

_XIAODUO = 3
"""The make whose content is JSON text."""
_PERSON = ("人工", "human", "agent", "person")


def begin(centre: CallCentre, customer: Customer, asked: frames.RequestChat) -> tuple[Wire, Send]:
    """Open a session with the robot.

    Returns:
        What the 101 reply carries, and the 202 that may follow it.
    """
    options = centre.options
    session = centre.begin(customer, asked.queue_id, [options.robot], robot=True)
    centre.transcript.add(customer.login, "event", "robot", session=session.id)
    told: Wire = {
        "sessionId": pushes.identifier(centre, session.id),
        "agentId": options.robot.id,
        "agentName": options.robot.name,
        "robotType": options.robot_type,
        "queueLength": 0,
    }
    return told, pushes.started(centre, session)


def answer(centre: CallCentre, session: Session, content: frames.Content) -> list[Outgoing]:
    """What the robot says to a message."""
    question = content.text.strip() if isinstance(content, frames.Text) else ""
    if any(word in question.lower() for word in _PERSON):
        return [_offer(centre, session)]
    found = centre.options.robot_answers.get(question)
    if found is not None:
        return [_say(centre, session, found, [])]
    known = list(centre.options.robot_answers)[:5]
    return [_say(centre, session, "对不起，我没有听懂。", known)]


def _say(centre: CallCentre, session: Session, words: str, known: list[str]) -> Send:
    """An answer (HTML), with questions that the robot does understand."""
    if centre.options.robot_speaks == 210:
        return desk.speak(centre, session, MessageType.TEXT, words)
    if centre.options.robot_type != _XIAODUO:
        return _push(centre, session, words, words)
    content: Wire = {"type": "text", "content": words}
    if known:
        relates = [{"name": question} for question in known]
        content["relatedQuestions"] = [{"title": "您可以这样问：", "relates": relates}]
    lines = [words, *(html.escape(question, quote=False) for question in known)]
    return _push(centre, session, _json(content), "<br>".join(lines))


def _offer(centre: CallCentre, session: Session) -> Send:
    words = "请点击转人工。"
    if centre.options.robot_speaks == 210 or centre.options.robot_type != _XIAODUO:
        return _say(centre, session, words, [])
    command: Wire = {"type": "command", "content": {"code": "CLIENT_ZRG"}, "extra": words}
    return _push(centre, session, _json(command), words)


def _push(centre: CallCentre, session: Session, content: str, shown: str) -> Send:
    robot = centre.options.robot.id
    record = desk.remember(centre, session, robot, MessageType.TEXT, shown)
    centre.transcript.add(
        session.login, "robot", "text", session=session.id, agent=robot, text=shown
    )
    return pushes.robot_message(centre, session, content, record)


def _json(content: Wire) -> str:
    return json.dumps(content, ensure_ascii=False)
