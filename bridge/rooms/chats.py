"""The record of a room's chats: one value per chat, and what a step of the conversation adds. Pure.

A *chat* is everything from a customer's request to its end, answered or not: "chat 3" is the third
time that this room has asked for an agent (`Conversation.number`, which the queue card goes by as
well). A number is never given out twice and never changes. A session that the server takes away
and that is asked for anew is a chat of its own, because its agent may be another.

The room's record keeps the newest chats, which can still change (a rating may come long after the
end); every change of one is written to the store in the transaction of the step that made it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from bridge.conversation.events import Cancel, Close, Input, Pushed, Replied, Said
from bridge.conversation.model import Chatting, Conversation, Queued, Requesting, Value
from bridge.conversation.queue import hidden
from bridge.ids import AgentId, EventId, QueueId, SessionId
from bridge.webchat.frames import Agent, RateSession, SessionClosed

MOST_AGENTS = 50
"""Agents of one chat that are remembered; the first ones stay."""


class Ending(StrEnum):
    """How a chat ended."""

    AGENT = "agent"
    CUSTOMER = "customer"
    LOST = "lost"
    """WebChat no longer knew it, or another took its place."""
    CANCELLED = "cancelled"
    """The customer left the queue."""
    NOBODY = "nobody"
    """No agent came: closed, nobody online, refused."""


class ChatAgent(Value, frozen=True):
    """Somebody who took part for the call centre."""

    id: AgentId
    name: str = ""


class Chat(Value, frozen=True):
    """One chat of a room. Times are ms since the epoch, by our clock."""

    number: int
    queue_id: QueueId
    asked: int
    started: int | None = None
    """When a session began; None: none did (yet)."""
    ended: int | None = None
    ending: Ending | None = None
    session_id: SessionId | None = None
    robot: bool = False
    """It was with the robot, at first at least."""
    agents: tuple[ChatAgent, ...] = ()
    """In the order in which they came."""
    rating: int | None = None
    """The id that WebChat took."""
    first: EventId | None = None
    """The customer's event with which it began; None if they began it without one."""
    last: EventId | None = None
    """The customer's newest event that belongs to it."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Chat)


def dump_chat(chat: Chat) -> bytes:
    """A chat as the store keeps it."""
    return _encoder.encode(chat)


def load_chat(data: bytes) -> Chat:
    """A chat as it was stored; raises msgspec.DecodeError for anything else."""
    return _decoder.decode(data)


def noted(
    chats: tuple[Chat, ...],
    before: Conversation,
    after: Conversation,
    happened: Input,
    now: int,
    *,
    queue: QueueId,
    event: EventId | None = None,
) -> tuple[Chat, ...]:
    """The chats after a step.

    Args:
        chats: those known, the newest last.
        before: the conversation as it was.
        after: the conversation as the step has left it.
        happened: what the step was about.
        now: ms since the epoch.
        queue: the room's.
        event: the Matrix event that brought it, where there is one.
    """
    if isinstance(happened, Said):
        event = happened.event_id
    chats = _rated(chats, before, happened)
    chat = _current(chats, before)
    if chat is not None and _is_over(before, after):
        ending = _ending(before, happened)
        chats = put(chats, _replace(chat, ended=now, ending=ending))
    phase = _going_on(after)
    over = after.number if phase is None else after.number - 1
    for number in range(before.number + 1, over + 1):
        # Asked for and given up in one step: the customer has seen it all the same.
        chats = put(chats, Chat(number, queue, now, ended=now, ending=Ending.NOBODY, first=event))
    if phase is None:
        return chats
    same = phase is before.phase and after.number == before.number
    if same and not isinstance(happened, Said):
        return chats  # most of what happens: nothing of it is the chat's
    known = _find(chats, after.number)
    chat = _heard(known or _begun(after, phase, now, event), happened)
    return put(chats, chat if same and known else _gone_on(chat, phase, now))


def put(chats: tuple[Chat, ...], chat: Chat) -> tuple[Chat, ...]:
    """With this chat in its place."""
    others = [one for one in chats if one.number != chat.number]
    return tuple(sorted((*others, chat), key=lambda one: one.number))


def kept(chats: tuple[Chat, ...]) -> tuple[Chat, ...]:
    """Those that may still change: the newest, and the newest with a session."""
    newest = chats[-1:]
    with_session = [one for one in chats if one.session_id is not None][-1:]
    return tuple(dict.fromkeys((*with_session, *newest)))


def changed(before: tuple[Chat, ...], after: tuple[Chat, ...]) -> list[Chat]:
    """Those that have to be written: `last` alone moves with every message and can wait."""
    known = {_replace(one, last=None) for one in before}
    return [one for one in after if _replace(one, last=None) not in known]


def _current(chats: tuple[Chat, ...], before: Conversation) -> Chat | None:
    """The chat that was going on; one that began before there was a record is made up for."""
    phase = _going_on(before)
    if phase is None:
        return None
    return _find(chats, before.number) or _begun(before, phase, phase.since, None)


def _going_on(conversation: Conversation) -> Requesting | Queued | Chatting | None:
    """What the customer knows of; a request of our own (`conversation.queue`) is not yet one."""
    phase = conversation.phase
    if isinstance(phase, Requesting | Queued):
        return None if hidden(phase) else phase
    return phase if isinstance(phase, Chatting) else None


def _find(chats: tuple[Chat, ...], number: int) -> Chat | None:
    return next((one for one in chats if one.number == number), None)


def _begun(
    after: Conversation, phase: Requesting | Queued | Chatting, now: int, event: EventId | None
) -> Chat:
    """A new one. What the customer wrote first and is still waiting is where it begins."""
    waiting = after.held[0].event_id if after.held else None
    return Chat(after.number, phase.queue_id, now, first=waiting or event)


def _heard(chat: Chat, happened: Input) -> Chat:
    """With what the customer has said, if that is what happened."""
    if not isinstance(happened, Said):
        return chat
    return _replace(chat, first=chat.first or happened.event_id, last=happened.event_id)


def _gone_on(chat: Chat, phase: Requesting | Queued | Chatting, now: int) -> Chat:
    """As it goes on; a request that was refused may be taken up by an agent after all."""
    chat = _replace(chat, ended=None, ending=None)
    if not isinstance(phase, Chatting):
        return chat
    return _replace(
        chat,
        started=now if chat.started is None else chat.started,
        session_id=phase.session_id,
        robot=chat.robot or phase.robot,
        agents=_joined(chat.agents, phase.agents),
    )


def _joined(known: tuple[ChatAgent, ...], present: Iterable[Agent]) -> tuple[ChatAgent, ...]:
    """With those who came; a name, once heard, is only replaced by another."""
    by_id = {agent.id: agent for agent in known}
    for agent in present:
        former = by_id.get(agent.id)
        if former is None or agent.name.strip():
            by_id[agent.id] = ChatAgent(agent.id, agent.name.strip())
    return tuple(by_id.values())[:MOST_AGENTS]


def _is_over(before: Conversation, after: Conversation) -> bool:
    return _going_on(after) is None or after.number != before.number


def _ending(before: Conversation, happened: Input) -> Ending:
    phase = before.phase
    if isinstance(phase, Requesting | Queued):
        left = phase.cancel or isinstance(happened, Cancel | Close)
        return Ending.CANCELLED if left else Ending.NOBODY
    if isinstance(phase, Chatting) and phase.unwanted:
        return Ending.CANCELLED
    if isinstance(phase, Chatting) and phase.close:
        return Ending.CUSTOMER
    closed = isinstance(happened, Pushed) and isinstance(happened.push, SessionClosed)
    return Ending.AGENT if closed else Ending.LOST


def _rated(chats: tuple[Chat, ...], before: Conversation, happened: Input) -> tuple[Chat, ...]:
    """What the server has just taken as a rating."""
    asked = before.outstanding
    if not isinstance(happened, Replied) or asked is None or asked.call_id != happened.call_id:
        return chats
    rate = asked.what
    if not isinstance(rate, RateSession) or not happened.reply.ok:
        return chats
    return tuple(
        _replace(one, rating=rate.rating) if one.session_id == rate.session_id else one
        for one in chats
    )


def _replace(chat: Chat, **changes: Any) -> Chat:
    return msgspec.structs.replace(chat, **changes)
