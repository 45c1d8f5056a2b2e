"""The customer's messages, redactions and commands: start, cancel, close, human, callback."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from bridge.conversation import model, queue
from bridge.conversation.calls import refuse_unwelcome
from bridge.conversation.chat import chosen, start_chat, uncomment
from bridge.conversation.turn import Policy, Turn, all_pieces, unique_events
from bridge.ids import EventId, QueueId
from bridge.webchat.frames import CancelRequest, RequestChat, SendPreMessage
from bridge.webchat.words import DEAREST, encode_emoji, split_text

REMIND_AFTER = 60_000
"""ms after which a customer who goes on writing is reminded that no agent was requested."""

MOST_CHARACTERS = 1_000_000
"""Maximum characters of a room's waiting pieces: they are part of the record, which is written with
each step, and each piece of an edit has the whole new wording (`Held.instead`)."""

_SPARE = 20
"""Orders reserved behind a message, as a longer wording may replace it: an event has 64 KiB."""


def said(turn: Turn, event: model.Said) -> None:
    """Hold a message; outside a chat also request one (row 6), or ask the robot first."""
    former = None
    if event.replaces:
        held, replaced = turn.state.held, event.replaces[0]
        former = next((piece.order for piece in held if piece.event_id == replaced), None)
        _redact(turn, {replaced, *event.replaces[1:]})
    state, phase = turn.state, turn.state.phase
    chatting = isinstance(phase, model.Chatting)
    if isinstance(phase, model.Chatting) and phase.robot:
        event = chosen(phase, event)
    pieces = _pieces(turn, event, former)
    if not pieces:
        turn.report((model.Held(event.event_id, event.content, turn.now),), "undelivered.blank")
        return
    waiting = state.held if chatting and state.outstanding is None else all_pieces(state)
    most = turn.policy.max_held - len(pieces)
    if len(waiting) > most and (event.again or sum(not piece.again for piece in waiting) > most):
        turn.report(pieces, "undelivered.too_many", {"limit": turn.policy.max_held})
        return
    if (waiting or len(pieces) > 1) and _refuse_long(turn, pieces):  # one piece alone is short
        return
    if turn.state.extensions and refuse_unwelcome(turn, pieces):
        return  # the message was reported as undelivered
    robot_first = not chatting and queue.answers_first(turn)
    # Reserve orders for the pieces of `instead`, and one for the robot's answer behind the message.
    places = len(pieces) + len(pieces[0].instead) + 1 + _SPARE
    held, typed = state.held + pieces, state.typed + places
    turn.state = replace(state, held=held, typed=typed, watched_at=turn.now, unsure_at=0)
    if former is not None:
        turn.put_back()  # into that place
    if state.dropped:
        turn.forget_dropped((event.event_id,))
    if chatting:
        return
    queue.surface(turn)
    if not isinstance(turn.state.phase, model.NoChat):
        return
    if robot_first:
        queue.consult(turn, event)
    elif turn.policy.start_on_message:
        queue.request_chat(turn, message=True)
    elif not event.again and (
        queue.kept(turn.state) <= 2 or turn.now - state.held[-1].at >= REMIND_AFTER
    ):
        queue.remind(turn)  # not with every message


def _refuse_long(turn: Turn, pieces: tuple[model.Held, ...]) -> bool:
    """Report a message that is too long to wait with the others; True if it is."""
    size, before = _size(pieces), all_pieces(turn.state)
    if size + _size(before) <= MOST_CHARACTERS:
        return False
    key = "undelivered.too_big" if size > MOST_CHARACTERS else "undelivered.too_many"
    turn.report(pieces, key, {"limit": len(unique_events(before))})
    return True


def _size(pieces: tuple[model.Held, ...]) -> int:
    """Return the characters of texts and captions, repeated ones included."""
    return sum(
        len(piece.words) + sum(len(_text(content)) for content in (piece.content, *piece.instead))
        for piece in pieces
    )


def pending(turn: Turn) -> None:
    """Outside a chat, request one for held content, or say which command does."""
    if turn.policy.start_on_message:
        queue.resume_held(turn)
    elif isinstance(turn.state.phase, model.NoChat):
        queue.remind(turn)


def _pieces(turn: Turn, event: model.Said, former: int | None) -> tuple[model.Held, ...]:
    """Split a message into pieces that fit the server's frame limit (trap T23).

    `former`: order of the waiting message that it replaces.
    """
    parts = _parts(turn.policy, event.content)
    other = () if event.instead is None else _parts(turn.policy, event.instead)
    quoting, instead = -1, other
    if event.quotes:
        quoting, instead = _quotation(parts, other)
        parts = parts if quoting >= 0 else other
    words = event.words if event.words != _text(event.content) else ""
    first = _order(turn.state, former, len(parts))
    return tuple(
        model.Held(
            event.event_id,
            part,
            turn.now,
            last=index == len(parts) - 1,
            order=first + index,
            words=words if index == 0 else "",
            quotes=event.quotes if index == quoting else (),
            amends=event.amends,
            instead=instead if index == quoting or event.amends is not None else (),
            sender=event.sender,
            again=event.again,
        )
        for index, part in enumerate(parts)
    )


def _order(state: model.Conversation, former: int | None, count: int) -> int:
    """Return the order of a message's first piece, which `count - 1` others follow.

    A message that replaces a waiting one takes its place if that has room, unless an agent may
    still accept the former request that WebChat had that for: its news would count this one as
    delivered.
    """
    if former is None:
        return state.typed
    taken, phase = {piece.order for piece in all_pieces(state)}, state.phase
    if isinstance(phase, model.Idle):
        taken.update(phase.pre_sent)
    elif isinstance(phase, model.Queued):
        taken.update(phase.put_back)
    elif isinstance(phase, model.Chatting) and phase.close_order is not None:
        taken.add(phase.close_order)
    free = taken.isdisjoint(range(former, former + count + 1))  # one more for the robot's answer
    return former if free else state.typed


def _quotation(
    parts: tuple[model.CustomerContent, ...], other: tuple[model.CustomerContent, ...]
) -> tuple[int, tuple[model.CustomerContent, ...]]:
    """Return the index of the part that begins with a quotation, and that part without it.

    The index is -1 if the quotation is longer than one part: then all of `other` is sent instead.
    """
    index = next((n for n, part in enumerate(parts) if isinstance(part, model.CustomerText)), -1)
    if index < 0 or not other:
        return index, ()
    before, rest = _joined(parts[: index + 1]), _joined(parts)
    tail = rest[len(before) :]
    words = _joined(other)
    head = words.removesuffix(tail)
    if not words.endswith(tail) or not head.strip():
        return -1, ()
    return index, (model.CustomerText(head),)


def _joined(parts: tuple[model.CustomerContent, ...]) -> str:
    return "".join(part.text for part in parts if isinstance(part, model.CustomerText))


def _parts(policy: Policy, content: model.CustomerContent) -> tuple[model.CustomerContent, ...]:
    """Split content into the parts to send: a long text in pieces, files before a caption."""
    before: tuple[model.CustomerContent, ...] = ()
    if isinstance(content, model.CustomerText):
        text = content.text
    elif isinstance(content, model.CustomerMedia):
        text = content.caption
        before = tuple(replace(file, caption="", more=()) for file in (content, *content.more))
    else:
        return (content,)
    if policy.emoji_codes:
        text = encode_emoji(text)
    if text.strip() and len(text) * DEAREST <= policy.max_text_bytes:
        return (*before, model.CustomerText(text))
    pieces = split_text(text, policy.max_text_bytes, html=policy.escape_html)
    return (*before, *[model.CustomerText(text) for text in pieces])


def _text(content: model.CustomerContent) -> str:
    match content:
        case model.CustomerText(text=text) | model.CustomerMedia(caption=text):
            return text
        case _:
            return ""


def withdrawn(turn: Turn, event: model.Withdrawn) -> None:
    """Redact a message, also in quotations; an agent who may have it gets a note (`amends`)."""
    kept = queue.kept(turn.state)
    _redact(turn, {event.event_id, *event.also})
    fewer = queue.kept(turn.state) < kept and isinstance(turn.state.phase, model.Idle)
    if fewer and queue.is_near(turn):
        queue.show_end(turn)  # its card counts them
    if event.note:
        noted(turn, model.Noted(event.by, event.note, event.event_id))


def _redact(turn: Turn, events: set[EventId]) -> None:
    for former in events:
        turn.lapse(former, notes=False)  # an edit that is not among them repeats these words
    uncomment(turn, events)
    empty = (one for one in all_pieces(turn.state) if events & set(one.quotes) and not one.instead)
    gone = (*events, *unique_events(empty))
    turn.forget_dropped(gone)
    turn.rewrite(gone, partial(_unquoted, events=events))


def noted(turn: Turn, note: model.Noted) -> None:
    """Hold a note for the agent, behind what was typed before; without a chat it has no reader."""
    if not isinstance(turn.state.phase, model.NoChat):
        typed, text = turn.state.typed, model.CustomerText(note.text)
        held = model.Held(note.by, text, turn.now, last=False, order=typed, amends=note.about)
        turn.set(held=(*turn.state.held, held), typed=typed + 1)


def unsaid(state: model.Conversation, events: Sequence[EventId]) -> model.Conversation:
    """Return the conversation with these messages redacted, without any effects."""
    turn = Turn(state, 0, Policy())
    _redact(turn, set(events))
    return turn.state


def _unquoted(piece: model.Held, events: set[EventId]) -> model.Held:
    if not piece.instead or events.isdisjoint(piece.quotes):
        return piece
    return replace(piece, content=piece.instead[0], quotes=(), instead=())


def start(
    turn: Turn, queue_id: QueueId | None = None, *, noted: str = "start.already_queued"
) -> None:
    """Request a chat by command, in `queue_id` or the room's queue; if waiting, undo a cancel.

    `noted`: key of the sentence for a customer who already waits.
    """
    queue.surface(turn)
    phase = turn.state.phase
    if isinstance(phase, model.NoChat):
        queue.request_chat(turn, queue_id)
    elif isinstance(phase, model.Chatting):
        ending = "start.leaving" if phase.unwanted else "start.ending"
        turn.say(ending if phase.close else "start.already_chatting")
    elif isinstance(phase, model.Queued) and _leaving(turn):
        turn.say("start.leaving")
    else:
        if isinstance(phase, model.Queued):
            turn.enter(phase, cancel_by=None)
            out = turn.state.outstanding  # undo `_drop_all`, unless it was given up separately
            if out is not None and out.held is not None and out.held.last:
                turn.set(outstanding=replace(out, moot=False))
            if phase.cancel:
                queue.show_card(turn)
        else:
            turn.enter(phase, cancel=False)
            if phase.cancel:
                turn.card("queue.asking", {"queue": phase.queue_id})
        turn.say(noted)


def human(turn: Turn) -> None:
    """Ask the robot for a person (row 27); elsewhere the same as `start`."""
    phase = turn.state.phase
    if isinstance(phase, model.Chatting) and phase.robot and not phase.close:
        turn.enter(phase, human=True)
        if phase.seeking:
            turn.say("start.already_queued")
    else:
        start(turn)


def call_back(turn: Turn) -> None:
    """Ask for a callback; without an earlier request, also request a chat at once."""
    phase, offered = turn.state.phase, turn.state.callback
    if not (turn.policy.callback or queue.callback_wanted(turn.state)):
        turn.say("callback.off")
    elif isinstance(phase, model.Waiting | model.Chatting):
        start(turn, noted="callback.noted")
        if isinstance(phase, model.Waiting) and not _leaving(turn):
            queue.wish_callback(turn, phase.queue_id)
    elif offered is None:
        queue.wish_callback(turn, turn.policy.queue_id)
        queue.request_chat(turn)
        turn.say("callback.noted")
    else:
        queue.promise_callback(turn, offered)


def _leaving(turn: Turn) -> bool:
    outstanding = turn.state.outstanding
    return outstanding is not None and isinstance(outstanding.what, CancelRequest)


def cancel(turn: Turn) -> None:
    """Leave the queue (row 22, test 23), cancel the callback and report all waiting content."""
    phase, called_off = turn.state.phase, queue.callback_wanted(turn.state)
    unseen = queue.hidden(phase) and not queue.is_near(turn)
    if called_off and (unseen or isinstance(phase, model.NoChat)):  # else the card tells of both
        turn.set(callback=None)
    if called_off and unseen:
        turn.say("callback.cancelled")
    if isinstance(phase, model.Requesting):
        _drop_all(turn)
        _cancel_request(turn, phase)
    elif isinstance(phase, model.Queued):
        busy = turn.state.outstanding is not None or phase.request_id is None
        if not phase.cancel:
            turn.enter(phase, shown_at=0, cancel_by=turn.now + turn.policy.cancel_wait)
        _drop_all(turn)
        # Otherwise 102 is sent at once, and its reply is mostly shown within `CONFIRM_AFTER`.
        if not phase.cancel and (busy or queue.away(turn.state)):
            queue.show_leaving(turn)
    elif isinstance(phase, model.Chatting):
        if not phase.unwanted:
            turn.say("cancel.chatting")
    else:
        asked = (ask.event_id for ask in turn.state.questions if not ask.aside)
        left = queue.settle(turn, *asked)
        if not (called_off or all_pieces(turn.state)):
            turn.say("robot.solved" if left else "cancel.nothing")
        _drop_all(turn)
        if queue.is_near(turn) and (called_off or turn.state.dropped):
            queue.show_cancelled(turn, *(("callback.cancelled",) if called_off else ()))
        elif called_off:
            queue.end_callback(turn, "callback.cancelled")


def _drop_all(turn: Turn) -> None:
    """Give up all held content; mark the call under way moot, as it may still be delivered.

    A pre-message of a request that has ended is given up too, in its place: no agent gets it.
    """
    pieces, asked, phase = turn.state.held, turn.state.outstanding, turn.state.phase
    if asked is not None and asked.held is not None and not asked.moot:
        turn.set(outstanding=replace(asked, moot=True))
        if isinstance(asked.what, SendPreMessage) and not (
            isinstance(phase, model.Queued) and phase.holds(asked.what.request_id)
        ):
            pieces = tuple(sorted((asked.held, *pieces), key=lambda piece: piece.order))
    turn.report(pieces, model.COUNTED)


def _cancel_request(turn: Turn, phase: model.Requesting) -> None:
    """Cancel a request that is not queued yet: a 101 under way has to be answered first."""
    outstanding = turn.state.outstanding
    sent = None if outstanding is None or outstanding.moot else outstanding.what
    turn.enter(phase, cancel=True)
    if phase.session_id is not None:
        start_chat(turn, phase.session_id, phase.agents)
    elif not isinstance(sent, RequestChat):
        queue.cancelled(turn)
    elif not phase.cancel:
        queue.show_leaving(turn)


def close(turn: Turn) -> None:
    """End the chat (row 29b), or what would lead to one: leave the queue, cancel the callback."""
    phase = turn.state.phase
    if isinstance(phase, model.Chatting):
        soon = None if phase.close else turn.now + queue.CONFIRM_AFTER
        turn.enter(phase, close=True, close_order=turn.state.typed, ping_at=soon)
        if queue.away(turn.state):
            turn.set(told_trouble=True)
            turn.say("close.away")
        elif phase.close:
            turn.say("close.pending")
    elif isinstance(phase, model.Waiting) or queue.callback_wanted(turn.state):
        cancel(turn)
    else:
        turn.say("close.nothing")
