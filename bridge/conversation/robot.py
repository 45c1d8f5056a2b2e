"""The two robots of a call centre: the knowledge base before a chat, and the robot inside one.

The knowledge base is asked over HTTP (guide part four) and never holds anybody up: whatever it does
not answer in time goes to a person, with a sentence that says so. The robot inside a chat is an
agent like the others, but for its proposals, which are answered by number (reference 1.6).
"""

from __future__ import annotations

import html
import re

import msgspec

from bridge.conversation import questions
from bridge.conversation.effects import AgentsLeft, Offer, Relay
from bridge.conversation.inputs import Consulted, Said, Silence, Solved
from bridge.conversation.model import (
    Chatting,
    Conversation,
    CustomerText,
    Ended,
    Idle,
)
from bridge.conversation.policy import Policy, RobotUse
from bridge.conversation.transitions import resume_held, start_chat
from bridge.conversation.turn import Turn, unique_events
from bridge.ids import AgentId, SessionId
from bridge.media.plaintext import as_markup
from bridge.webchat.frames import Agent, AgentText, RobotMessage

_NAMELESS = Agent(AgentId("robot"))
"""Speaks for a robot of which no frame said who it is."""
_LINE = re.compile(r"\r?\n")


# --- the knowledge base, before a chat ----------------------------------------------------------


def answers_first(turn: Turn) -> bool:
    """Whether what is typed goes to the knowledge base: not while something waits for a person."""
    first = turn.policy.robot is RobotUse.FIRST
    return first and isinstance(turn.state.phase, Idle | Ended) and questions.all_asked(turn.state)


def consult(turn: Turn, event: Said) -> None:
    """Ask the knowledge base about what was just written; what it cannot read is a person's."""
    if not isinstance(event.content, CustomerText):
        _to_person(turn, "robot.person_file")
        return
    words = event.words or event.content.text
    if len(words) > turn.policy.longest_question:
        _to_person(turn, "robot.person_long")
    else:
        questions.ask(turn, event.event_id, words)


def consulted(turn: Turn, came: Consulted) -> None:
    """What came of a question. Late news of one that a person has by now changes nothing."""
    question = questions.awaited(turn.state, came.event_id)
    if question is None:
        return
    if came.note:
        questions.answered(turn, question, came.note)
    elif question.aside:
        questions.forget(turn, question)
    else:
        _to_person(turn, f"robot.person_{came.silence}")


def solved(turn: Turn, wish: Solved) -> None:
    """The answer was enough. In a queue or a chat it is too late to say so, and does no harm."""
    if not isinstance(turn.state.phase, Idle | Ended):
        return
    asked = unique_events(tuple(piece for piece in turn.state.held if piece.consulted))
    events = (one for one in asked if wish.event_id in {None, one})
    if questions.settle(turn, *events):
        turn.say("robot.solved")
    elif wish.event_id is None:
        turn.say("robot.none_open")


def _to_person(turn: Turn, key: str) -> None:
    turn.say(key)
    resume_held(turn)
    questions.hand_over(turn)  # also where the room asks for nobody without a command


def due(state: Conversation, policy: Policy) -> int | None:
    """The next moment at which something of the robot's must end."""
    moments = (questions.due(one, policy) for one in state.questions)
    return min((moment for moment in moments if moment is not None), default=None)


def tick(turn: Turn) -> None:
    """An answer that does not come is none; one that the customer leaves at that was enough."""
    for question in turn.state.questions:
        moment = questions.due(question, turn.policy)
        if question not in turn.state.questions or moment is None or moment > turn.now:
            continue
        if question.note is None:
            consulted(turn, Consulted(question.event_id, silence=Silence.UNREACHABLE))
        else:
            questions.settle(turn, question.event_id)


# --- the robot inside a chat --------------------------------------------------------------------


def chosen(turn: Turn, event: Said) -> Said:
    """A number names one of the robot's proposals, which it wants to hear in words."""
    phase = turn.state.phase
    if not isinstance(phase, Chatting) or not isinstance(event.content, CustomerText):
        return event
    word = (event.words or event.content.text).strip()
    if not word.isascii() or not word.isdigit() or len(word) > 2:
        return event
    if not phase.robot or not 0 < int(word) <= len(phase.choices):
        return event
    return Said(event.event_id, CustomerText(phase.choices[int(word) - 1]))


def spoke(turn: Turn, push: RobotMessage) -> None:
    """A message of the robot (301) and its proposals; an offer of a person can be answered."""
    known = turn.state.last_session
    phase = turn.state.phase
    if push.session_id is not None and not isinstance(phase, Chatting) and push.session_id != known:
        start_chat(turn, push.session_id, (), robot=True)  # as a 210 would (row 40)
    text = _shown(push)
    phase = turn.state.phase
    robots = phase.agents if isinstance(phase, Chatting) and phase.robot else ()
    agent = robots[0] if robots else _NAMELESS
    if text:
        session_id = push.session_id or known or SessionId(0)
        turn.ask(Relay(agent, AgentText(text), session_id, push.suggestions))
    if not isinstance(phase, Chatting) or not phase.robot:
        if text:
            turn.ask(AgentsLeft((agent.id,)))  # a word after its time: the ghost does not stay
        return
    present = robots or ((agent,) if text else ())
    turn.enter(msgspec.structs.replace(phase, agents=present, choices=push.suggestions))
    if push.transfer:
        turn.ask(Offer("robot.person_offered"))


def place(turn: Turn, phase: Chatting, position: int) -> None:
    """Row 27: a person is being looked for, and this many wait for one, us included."""
    turn.card("robot.position", {"position": position, "queue": phase.queue_id})


def _shown(push: RobotMessage) -> str:
    """The message as an HTML fragment, the proposals as a numbered list."""
    text = push.text.strip()
    if not push.suggestions:
        return text
    text = _LINE.sub("<br>", as_markup(text))  # also what only mixes lines with elements
    items = "".join(f"<li>{html.escape(one, quote=False)}</li>" for one in push.suggestions)
    return f"{text}<ol>{items}</ol>"
