"""The two robots of a call centre: the knowledge base before a chat, and the robot inside one.

The knowledge base is asked over HTTP (guide part four), with a time-out: an unanswered question
goes to a person, and the customer is told why. Its pieces are in `held`, as without a robot;
`Conversation.questions` has the state of each question. If a person is wanted after all (functions
return the key of the sentence that says why, for `queue.want_person`), `hand_over` puts the robot's
answer behind each question. A question that needs no person ends with `Answered`.

The robot inside a chat is an agent whose proposals are answered by number (reference 1.6).
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from msgspec.structs import replace

from bridge.conversation import model
from bridge.conversation.policy import Policy, RobotUse
from bridge.conversation.turn import Turn, unique_events, without
from bridge.ids import AgentId, EventId, SessionId
from bridge.media.plaintext import as_markup
from bridge.webchat.frames import Agent, AgentText, RobotMessage

MOST_ASKED = 5
"""Maximum number of messages, the newest, put to the knowledge base if no agent is available."""
_NAMELESS = Agent(AgentId("robot"))
"""Agent for a robot that no frame has named."""


def answers_first(turn: Turn) -> bool:
    """Return whether messages go to the knowledge base first: not while one waits for a person."""
    state = turn.state
    if turn.policy.robot is not RobotUse.FIRST or not isinstance(state.phase, model.NoChat):
        return False
    return not without(state.held, tuple(one.event_id for one in state.questions))


def consult(turn: Turn, event: model.Said) -> str | None:
    """Put a new message to the knowledge base; if unfit, return the key why a person is wanted."""
    if not isinstance(event.content, model.CustomerText):
        return "robot.person_file"
    words = event.words or event.content.text
    if len(words) > turn.policy.longest_question:
        return "robot.person_long"
    _ask(turn, event.event_id, words)
    return None


def consulted(turn: Turn, came: model.Consulted) -> str | None:
    """Store the knowledge base's answer; if it has none, return the key why a person is wanted."""
    question = awaited(turn.state, came.event_id)
    if question is None:
        return None
    if not (came.note or question.aside):
        return f"robot.person_{came.silence}"
    questions = turn.state.questions
    known = (replace(question, note=came.note),) if came.note else ()
    at = questions.index(question)
    turn.set(questions=(*questions[:at], *known, *questions[at + 1 :]))
    return None


def solved(turn: Turn, wish: model.Solved) -> None:
    """Settle questions whose answer was enough; too late once in a queue or chat."""
    idle = isinstance(turn.state.phase, model.NoChat)
    asked = unique_events(piece for piece in turn.state.held if piece.consulted)
    events = (one for one in asked if idle and wish.event_id in {None, one})
    if settle(turn, *events) or wish.aside:
        turn.say("robot.solved")
    elif wish.event_id is None:
        turn.say("robot.none_open")


def due(state: model.Conversation, policy: Policy) -> int | None:
    moments = (_question_due(one, policy) for one in state.questions)
    return min(filter(None, moments), default=None)


def overdue(turn: Turn) -> Iterator[str | None]:
    """End questions that are overdue; yield the key why a person is wanted for one."""
    for question in turn.state.questions:
        moment = _question_due(question, turn.policy)
        if question not in turn.state.questions or moment is None or moment > turn.now:
            continue
        if question.note is None:
            silence = model.Silence.UNREACHABLE
            yield consulted(turn, model.Consulted(question.event_id, silence=silence))
        else:
            settle(turn, question.event_id)


def _ask(turn: Turn, event_id: EventId, words: str, *, aside: bool = False) -> None:
    held = tuple(
        replace(piece, consulted=True) if piece.event_id == event_id else piece
        for piece in turn.state.held
    )
    question = model.Question(event_id, turn.now, aside=aside)
    turn.set(held=held, questions=(*turn.state.questions, question))
    turn.ask(model.AskRobot(event_id, words, first=True))


def ask_about_kept(turn: Turn) -> None:
    """Put messages that wait for a person to the knowledge base; they go on waiting."""
    if turn.policy.robot is not RobotUse.WHEN_NO_AGENT:
        return
    pieces = tuple(one for one in turn.state.held if not one.consulted)
    for event_id in unique_events(pieces)[-MOST_ASKED:]:
        words = _words(tuple(one for one in pieces if one.event_id == event_id))
        if 0 < len(words) <= turn.policy.longest_question:
            _ask(turn, event_id, words, aside=True)


def _words(pieces: tuple[model.Held, ...]) -> str:
    """Return the words of a message; empty if it is not only text."""
    texts = [one.content.text for one in pieces if isinstance(one.content, model.CustomerText)]
    whole = pieces[0].words or "\n".join(texts)
    return whole if len(texts) == len(pieces) else ""


def awaited(state: model.Conversation, event_id: EventId) -> model.Question | None:
    found = (one for one in state.questions if one.event_id == event_id and one.note is None)
    return next(found, None)


def hand_over(turn: Turn) -> None:
    """Turn questions into messages for a person, each followed by the robot's answer, if any."""
    notes = {one.event_id: one.note for one in turn.state.questions if one.note}
    held: list[model.Held] = []
    for piece in turn.state.held:
        note = notes.get(piece.event_id) if piece.last else None
        if note is None:
            held.append(piece)
        else:
            after, text = piece.order + 1, model.CustomerText(note)  # `said` reserved the order
            told = model.Held(
                piece.event_id,
                text,
                turn.now,
                order=after,
                consulted=True,
                sender=piece.sender,
            )
            held += [replace(piece, last=False), told]
    turn.set(held=tuple(held), questions=())


def settle(turn: Turn, *events: EventId) -> bool:
    """Drop messages that the robot has answered; False if all are sent or being sent."""
    outstanding = turn.state.outstanding
    going = None if outstanding is None or outstanding.held is None else outstanding.held.event_id
    held = unique_events(turn.state.held)
    events = tuple(one for one in events if one in held and one != going)
    for event_id in events:
        turn.ask(model.Answered(event_id))
    turn.set(held=without(turn.state.held, events))
    tidy(turn)
    return bool(events)


def tidy(turn: Turn) -> None:
    held = {piece.event_id for piece in turn.state.held}
    turn.set(questions=tuple(one for one in turn.state.questions if one.event_id in held))


def _question_due(question: model.Question, policy: Policy) -> int | None:
    if question.note is None:
        return question.at + policy.robot_wait
    return None if question.aside else question.at + policy.hold_idle


def chosen(phase: model.Chatting, event: model.Said) -> model.Said:
    """Replace a number with the text of the robot's proposal, since the robot expects words."""
    if not isinstance(event.content, model.CustomerText):
        return event
    word = (event.words or event.content.text).strip()
    number = int(word) if word.isascii() and word.isdigit() and len(word) <= 2 else 0
    if not 0 < number <= len(phase.choices):
        return event
    return model.Said(event.event_id, model.CustomerText(phase.choices[number - 1]))


def spoke(turn: Turn, push: RobotMessage, session_id: SessionId) -> None:
    """Show the robot's message (301), its proposals and its offer of a person."""
    text = _shown(push)
    phase = turn.state.phase
    robots = phase.agents if isinstance(phase, model.Chatting) and phase.robot else ()
    agent = robots[0] if robots else _NAMELESS
    if text:
        turn.ask(model.Relay(agent, AgentText(text), session_id, push.suggestions))
    if not isinstance(phase, model.Chatting) or not phase.robot:
        if text:  # late: the robot's ghost joins only for this message
            turn.ask(model.AgentsLeft((agent.id,)))
        return
    present = robots or ((agent,) if text else ())
    turn.enter(phase, agents=present, choices=push.suggestions)
    if push.transfer:
        turn.ask(model.Offer("robot.person_offered"))


def _shown(push: RobotMessage) -> str:
    """Return the message as an HTML fragment, the proposals as a numbered list."""
    text = push.text.strip()
    if not push.suggestions:
        return text
    # `as_markup` keeps the line breaks of a fragment that has elements.
    text = as_markup(text).replace("\r\n", "<br>").replace("\n", "<br>")
    items = "".join(f"<li>{html.escape(one, quote=False)}</li>" for one in push.suggestions)
    return f"{text}<ol>{items}</ol>"
