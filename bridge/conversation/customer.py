"""What the customer does: writes, asks for a chat, leaves the queue, ends the chat, rates it."""

from __future__ import annotations

from typing import assert_never

import msgspec

from bridge.conversation import callback, questions, robot, waiting
from bridge.conversation.inputs import Said, Start, Withdrawn
from bridge.conversation.model import (
    Chatting,
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Ended,
    Held,
    Idle,
    Queued,
    Requesting,
)
from bridge.conversation.transitions import (
    all_pieces,
    queue_cancelled,
    request_chat,
    start_chat,
)
from bridge.conversation.turn import Turn, unique_events, without
from bridge.ids import EventId
from bridge.webchat.frames import CancelRequest, RequestChat
from bridge.webchat.words import encode_emoji, split_text

REMIND_AFTER = 60_000
"""ms after which whoever goes on writing is told again that no agent has been asked for."""


def said(turn: Turn, event: Said) -> None:
    """Hold what was written; outside a chat it also asks for one (row 6), or the robot first."""
    event = robot.chosen(turn, event)
    pieces = _pieces(turn, event)
    if not pieces:
        turn.report((Held(event.event_id, event.content, turn.now),), "undelivered.blank")
        return
    if len(all_pieces(turn.state)) + len(pieces) > turn.policy.max_held:
        turn.report(pieces, "undelivered.too_many", {"limit": turn.policy.max_held})
        return
    before = turn.state.held
    robot_first = robot.answers_first(turn)
    # One place more: what the robot answers goes behind it, should both go to a person. And as many
    # as its other wording needs, should that go in its place.
    places = len(pieces) + len(pieces[0].instead) + 1
    turn.set(held=turn.state.held + pieces, typed=turn.state.typed + places)
    waiting.surface(turn)
    if not isinstance(turn.state.phase, Idle | Ended):
        return
    if robot_first:
        robot.consult(turn, event)
    elif turn.policy.start_on_message:
        request_chat(turn)
    else:
        _say_held(turn, before, asked=event.again)


def _say_held(turn: Turn, before: tuple[Held, ...], *, asked: bool) -> None:
    """Only a command asks for a chat here: whoever writes without one waits for nobody.

    That is said with the first message, with the second, and then whenever nothing was written for
    a while: to be told with every line would be as bad as to wait in vain. Whoever has just `asked`
    for something to be sent again is always told.
    """
    count = len(unique_events(turn.state.held))
    if not before:
        turn.say("start.needed")
    elif asked or count == 2 or turn.now - before[-1].at >= REMIND_AFTER:
        turn.say("start.needed_still", {"count": count})


def _pieces(turn: Turn, event: Said) -> tuple[Held, ...]:
    """One piece, or several: a long text would burst the server's frame limit (trap T23)."""
    parts = _parts(turn, event.content)
    other = () if event.instead is None else _parts(turn, event.instead)
    quoting, instead = -1, other
    if event.quotes:
        quoting, instead = _quotation(parts, other)
        parts = parts if quoting >= 0 else other
    text, _ = _taken_apart(event.content)
    return tuple(
        Held(
            event.event_id,
            part,
            turn.now,
            last=index == len(parts) - 1,
            order=turn.state.typed + index,
            words=event.words if index == 0 and event.words != text else "",
            quotes=event.quotes if index == quoting else (),
            amends=event.amends,
            instead=instead if event.amends is not None or index == quoting else (),
        )
        for index, part in enumerate(parts)
    )


def _quotation(
    parts: tuple[CustomerContent, ...], other: tuple[CustomerContent, ...]
) -> tuple[int, tuple[CustomerContent, ...]]:
    """Which part begins with a quotation, and what is left of it without; `other`: of the whole.

    Returns:
        -1 if the quotation takes more than one part: then `other` is to go.
    """
    index = next((n for n, one in enumerate(parts) if isinstance(one, CustomerText)), -1)
    if index < 0 or not other:
        return index, ()
    before, rest = _joined(parts[: index + 1]), _joined(parts)
    tail = rest[len(before) :]
    words = _joined(other)
    head = words.removesuffix(tail)
    if not words.endswith(tail) or not head.strip():
        return -1, ()
    return index, (CustomerText(head),)


def _joined(parts: tuple[CustomerContent, ...]) -> str:
    return "".join(one.text for one in parts if isinstance(one, CustomerText))


def _parts(turn: Turn, content: CustomerContent) -> tuple[CustomerContent, ...]:
    """Content as it goes out: files before their captions, texts in pieces."""
    text, parts = _taken_apart(content)
    policy = turn.policy
    spelled = encode_emoji(text) if policy.emoji_codes else text
    pieces = split_text(spelled, policy.max_text_bytes, html=policy.escape_html)
    return (*parts, *(CustomerText(one) for one in pieces))


def _taken_apart(content: CustomerContent) -> tuple[str, list[CustomerContent]]:
    """The words of a message, and what goes before them."""
    match content:
        case CustomerText():
            return content.text, []
        case CustomerMedia():
            return content.caption, [msgspec.structs.replace(content, caption="")]
        case CustomerLocation():
            return "", [content]
        case _:
            assert_never(content)


def withdrawn(turn: Turn, event: Withdrawn) -> None:
    """What has not gone yet does not go; what has gone is not sent again, and no more is said.

    Nor do its words go in a quotation. An agent who may have it is told that it was taken back, and
    no other one (`Held.amends`).
    """
    words, outstanding = {event.event_id, *event.also}, turn.state.outstanding
    empty = (one for one in all_pieces(turn.state) if words & set(one.quotes) and not one.instead)
    gone = (*words, *unique_events(tuple(empty)))
    turn.set(held=_unquoted(without(turn.state.held, gone), words))
    phase = turn.state.phase
    if isinstance(phase, Queued):
        pre_sent = _unquoted(without(phase.pre_sent, gone), words)
        turn.enter(msgspec.structs.replace(phase, pre_sent=pre_sent))
    if outstanding is not None and outstanding.held is not None:
        (held,) = _unquoted((outstanding.held,), words)
        stale = outstanding.stale or held != outstanding.held
        moot = outstanding.moot or held.event_id in gone
        if held.event_id in gone:
            held = msgspec.structs.replace(held, last=False)
        changed = msgspec.structs.replace(outstanding, held=held, moot=moot, stale=stale)
        turn.set(outstanding=changed)
    if event.note and not isinstance(phase, Idle | Ended):
        _note(turn, event)


def _unquoted(pieces: tuple[Held, ...], events: set[EventId]) -> tuple[Held, ...]:
    """The same without the words of these messages."""
    return tuple(
        msgspec.structs.replace(one, content=one.instead[0], quotes=(), instead=())
        if one.instead and not events.isdisjoint(one.quotes)
        else one
        for one in pieces
    )


def _note(turn: Turn, event: Withdrawn) -> None:
    """Tell the agent, behind what waits already. Nobody is owed a word about it."""
    note = Held(
        event.by,
        CustomerText(event.note),
        turn.now,
        last=False,
        order=turn.state.typed,
        amends=event.event_id,
    )
    turn.set(held=(*turn.state.held, note), typed=turn.state.typed + 1)


def start(turn: Turn, wish: Start) -> None:
    """Ask for a chat without writing; in a queue that is being left, stay."""
    waiting.surface(turn)
    phase = turn.state.phase
    match phase:
        case Idle() | Ended():
            request_chat(turn, wish.queue_id)
        case Requesting():
            turn.enter(msgspec.structs.replace(phase, cancel=False))
            if phase.cancel:
                turn.card("queue.asking", {"queue": phase.queue_id})
            turn.say("start.already_queued")
        case Queued() if _leaving(turn):
            turn.say("start.leaving")
        case Queued():
            turn.enter(msgspec.structs.replace(phase, cancel=False, cancel_by=None))
            turn.say("start.already_queued")
        case Chatting():
            turn.say("start.already_chatting")
        case _:
            assert_never(phase)


def human(turn: Turn) -> None:
    """A person is wanted (row 27); who is with one already, or waits for one, is told so."""
    phase = turn.state.phase
    if isinstance(phase, Chatting) and phase.robot:
        turn.enter(msgspec.structs.replace(phase, human=True))
    else:
        start(turn, Start())


def call_back(turn: Turn) -> None:
    """Wishes us to go on asking. Where nobody has been asked yet, that is done at once."""
    phase, offered = turn.state.phase, turn.state.callback
    if not (turn.policy.callback or callback.wanted(turn.state)):
        turn.say("callback.off")
    elif isinstance(phase, Requesting | Queued):
        start(turn, Start())
        if not _leaving(turn):
            callback.wish(turn, phase.queue_id)
            turn.say("callback.noted")
    elif isinstance(phase, Chatting):
        start(turn, Start())
    elif offered is None:
        callback.wish(turn, turn.policy.queue_id)
        request_chat(turn)
    else:
        if offered.wanted is None:
            callback.wish(turn, offered.queue_id)
        callback.promise(turn, offered.queue_id)


def _leaving(turn: Turn) -> bool:
    """True once 102 is on its way."""
    outstanding = turn.state.outstanding
    return outstanding is not None and isinstance(outstanding.what, CancelRequest)


def cancel(turn: Turn) -> None:
    """Leave the queue (rows 22, 23). What waited to be said is not said, and the customer knows.

    Who wished to be called back does so no longer.
    """
    phase, called_off = turn.state.phase, callback.call_off(turn)
    match phase:
        case Requesting():
            _drop_all(turn)
            _cancel_request(turn, phase)
        case Queued():
            cancel_by = turn.now + turn.policy.cancel_wait
            turn.enter(msgspec.structs.replace(phase, cancel=True, cancel_by=cancel_by))
            _drop_all(turn)
        case Chatting():
            if not phase.unwanted:
                turn.say("cancel.chatting")
        case Idle() | Ended():
            left = questions.settle(
                turn, *(one.event_id for one in turn.state.questions if not one.aside)
            )
            if all_pieces(turn.state):
                _drop_all(turn, "undelivered.dropped")
            elif not called_off:
                turn.say("robot.solved" if left else "cancel.nothing")
        case _:
            assert_never(phase)


def _drop_all(turn: Turn, key: str = "undelivered.cancelled") -> None:
    """Give up what waits. What is under way may still arrive, and is told about if it comes back.

    Pre-messages that WebChat has are reported once it is certain that no agent reads them.
    """
    turn.report_held(key)
    outstanding = turn.state.outstanding
    if outstanding is not None and outstanding.held is not None:
        turn.set(outstanding=msgspec.structs.replace(outstanding, moot=True))


def _cancel_request(turn: Turn, phase: Requesting) -> None:
    """Before WebChat has answered the 101, cancelling has to wait for that answer."""
    outstanding = turn.state.outstanding
    asked = (
        outstanding is not None
        and isinstance(outstanding.what, RequestChat)
        and not outstanding.moot
    )
    turn.enter(msgspec.structs.replace(phase, cancel=True))
    if phase.session_id is not None:
        start_chat(turn, phase.session_id, phase.agents)
    elif not asked:
        queue_cancelled(turn)
    elif not (phase.cancel or waiting.hidden(phase)):
        away = turn.state.trouble_since is not None
        turn.card("queue.leaving_away" if away else "queue.leaving")


def close(turn: Turn) -> None:
    """End the chat (row 29b), or leave the queue."""
    phase = turn.state.phase
    match phase:
        case Chatting():
            turn.enter(msgspec.structs.replace(phase, close=True))
        case Requesting() | Queued():
            cancel(turn)
        case Idle() | Ended():
            turn.say("close.nothing")
        case _:
            assert_never(phase)
