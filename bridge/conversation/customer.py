"""What the customer does: writes, asks for a chat, leaves the queue, ends the chat, rates it."""

from __future__ import annotations

import msgspec

from bridge.conversation.inputs import Rate, Said, Start
from bridge.conversation.model import (
    Chatting,
    CustomerContent,
    CustomerMedia,
    CustomerText,
    Ended,
    Held,
    Idle,
    Queued,
    Rating,
    Requesting,
)
from bridge.conversation.transitions import (
    all_pieces,
    queue_cancelled,
    request_chat,
    start_chat,
)
from bridge.conversation.turn import Turn
from bridge.webchat.frames import RequestChat
from bridge.webchat.splitting import split_text


def said(turn: Turn, event: Said) -> None:
    """Hold what was written; outside a chat it also asks for one (row 6)."""
    pieces = _pieces(turn, event)
    if not pieces:
        turn.report((Held(event.event_id, event.content, turn.now),), "undelivered.blank")
        return
    if len(all_pieces(turn.state)) + len(pieces) > turn.policy.max_held:
        turn.report(pieces, "undelivered.too_many", {"limit": turn.policy.max_held})
        return
    first = not turn.state.held
    turn.set(held=turn.state.held + pieces)
    if not isinstance(turn.state.phase, Idle | Ended):
        return
    if turn.policy.start_on_message:
        request_chat(turn)
    elif first:
        turn.say("start.needed")


def _pieces(turn: Turn, event: Said) -> tuple[Held, ...]:
    """One piece, or several: a long text would burst the server's frame limit (trap T23)."""
    content = event.content
    text = content.text if isinstance(content, CustomerText) else content.caption
    parts: list[CustomerContent] = []
    if isinstance(content, CustomerMedia):
        parts.append(msgspec.structs.replace(content, caption=""))
    if text.strip():
        parts += [CustomerText(part) for part in split_text(text, turn.policy.max_text_bytes)]
    return tuple(
        Held(event.event_id, part, turn.now, last=index == len(parts) - 1)
        for index, part in enumerate(parts)
    )


def start(turn: Turn, wish: Start) -> None:
    """Ask for a chat without writing."""
    match turn.state.phase:
        case Idle() | Ended():
            request_chat(turn, wish.queue_id)
        case Requesting() | Queued():
            turn.say("start.already_queued")
        case Chatting():
            turn.say("start.already_chatting")


def cancel(turn: Turn) -> None:
    """Leave the queue (rows 22, 23). What waited to be said is not said, and the customer knows."""
    match turn.state.phase:
        case Requesting() as phase:
            turn.report_held("undelivered.cancelled")
            _cancel_request(turn, phase)
        case Queued() as phase:
            turn.report_held("undelivered.cancelled")
            turn.enter(
                msgspec.structs.replace(
                    phase, cancel=True, cancel_by=turn.now + turn.policy.cancel_wait
                )
            )
        case Chatting():
            turn.say("cancel.chatting")
        case Idle() | Ended():
            if turn.state.held:
                turn.report_held("undelivered.cancelled")
            else:
                turn.say("cancel.nothing")


def _cancel_request(turn: Turn, phase: Requesting) -> None:
    """Before WebChat has answered the 101, cancelling has to wait for that answer."""
    outstanding = turn.state.outstanding
    asked = outstanding is not None and isinstance(outstanding.what, RequestChat)
    turn.enter(msgspec.structs.replace(phase, cancel=True))
    if phase.session_id is not None:
        start_chat(turn, phase.session_id, phase.agents)
    elif not asked:
        queue_cancelled(turn)


def close(turn: Turn) -> None:
    """End the chat (row 29b), or leave the queue."""
    match turn.state.phase:
        case Chatting() as phase:
            turn.enter(msgspec.structs.replace(phase, close=True))
        case Requesting() | Queued():
            cancel(turn)
        case Idle() | Ended():
            turn.say("close.nothing")


def rate(turn: Turn, wish: Rate) -> None:
    """Rate the running session, or the last one (traps T19, T20, T21)."""
    session_id = turn.state.last_session
    if session_id is None:
        turn.say("rating.nothing")
        return
    turn.set(rating=Rating(session_id, wish.value, wish.comment))
