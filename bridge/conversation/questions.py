"""What the customer wrote outside a chat and the knowledge base was asked about.

Theory of operation: a question's pieces lie in `held`, where they would lie without a robot, and
`Conversation.questions` says how far each question is. So nothing has to be moved when a person is
wanted after all: `hand_over` puts the robot's answer behind each question, in the place that was
kept free for it when the question was typed, and the pieces go to the agent like all others. A
question that the robot's answer settled ends with the effect `Answered`.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import Answered, AskRobot
from bridge.conversation.model import (
    Conversation,
    CustomerText,
    Held,
    Question,
)
from bridge.conversation.policy import Policy, RobotUse
from bridge.conversation.turn import Turn, unique_events, without
from bridge.ids import EventId

MOST_ASKED = 5
"""Messages, the newest, about which the knowledge base is asked when nobody is there."""


def ask(turn: Turn, event_id: EventId, words: str, *, aside: bool = False) -> None:
    """Put one message to the knowledge base."""
    held = tuple(
        msgspec.structs.replace(piece, consulted=True) if piece.event_id == event_id else piece
        for piece in turn.state.held
    )
    question = Question(event_id, turn.now, aside=aside)
    turn.set(held=held, questions=(*turn.state.questions, question))
    turn.ask(AskRobot(event_id, words, first=True))


def ask_kept(turn: Turn) -> None:
    """Nobody is there: ask about what was typed, which goes on waiting for a person."""
    if turn.policy.robot is not RobotUse.WHEN_NO_AGENT:
        return
    pieces = tuple(one for one in turn.state.held if not one.consulted)
    for event_id in unique_events(pieces)[-MOST_ASKED:]:
        words = _words(tuple(one for one in pieces if one.event_id == event_id))
        if 0 < len(words) <= turn.policy.longest_question:
            ask(turn, event_id, words, aside=True)


def _words(pieces: tuple[Held, ...]) -> str:
    """What was typed; nothing if it was no text, or more than that."""
    texts = [one.content.text for one in pieces if isinstance(one.content, CustomerText)]
    whole = pieces[0].words or "\n".join(texts)
    return whole if len(texts) == len(pieces) else ""


def all_asked(state: Conversation) -> bool:
    """True if nothing waits but questions: a person has not been asked for yet."""
    asked = {one.event_id for one in state.questions}
    return all(piece.event_id in asked for piece in state.held)


def awaited(state: Conversation, event_id: EventId) -> Question | None:
    """The question, if it still waits for its answer."""
    found = (one for one in state.questions if one.event_id == event_id and one.note is None)
    return next(found, None)


def answered(turn: Turn, question: Question, note: str) -> None:
    """The customer is reading an answer."""
    known = msgspec.structs.replace(question, note=note)
    rest = (known if one == question else one for one in turn.state.questions)
    turn.set(questions=tuple(rest))


def forget(turn: Turn, *gone: Question) -> None:
    """These are questions no longer; what was typed stays where it is."""
    turn.set(questions=tuple(one for one in turn.state.questions if one not in gone))


def hand_over(turn: Turn) -> None:
    """A person is asked for: all that was said goes along, each with what the robot answered."""
    notes = {one.event_id: one.note for one in turn.state.questions if one.note}
    held: list[Held] = []
    for piece in turn.state.held:
        note = notes.get(piece.event_id) if piece.last else None
        if note is None:
            held.append(piece)
        else:
            after = piece.order + 1  # kept free for it
            told = Held(piece.event_id, CustomerText(note), turn.now, order=after, consulted=True)
            held += [msgspec.structs.replace(piece, last=False), told]
    turn.set(held=tuple(held), questions=())


def settle(turn: Turn, *events: EventId) -> bool:
    """Nobody else is to get these; False if there are none that can still be kept back."""
    outstanding = turn.state.outstanding
    going = None if outstanding is None or outstanding.held is None else outstanding.held.event_id
    held = unique_events(turn.state.held)
    events = tuple(one for one in events if one in held and one != going)
    for event_id in events:
        turn.ask(Answered(event_id))
    turn.set(held=without(turn.state.held, events))
    tidy(turn)
    return bool(events)


def tidy(turn: Turn) -> None:
    """What was taken back or reported is no question any more."""
    if turn.state.questions:
        held = {piece.event_id for piece in turn.state.held}
        forget(turn, *(one for one in turn.state.questions if one.event_id not in held))


def due(question: Question, policy: Policy) -> int | None:
    """When the wait for the answer, or for the customer's word about it, ends; ms."""
    if question.note is None:
        return question.at + policy.robot_wait
    return None if question.aside else question.at + policy.hold_idle
