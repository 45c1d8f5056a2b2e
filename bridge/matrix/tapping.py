"""Reactions and polls of ours, for customers to tap: their contents, and the sending of them.

Polls are of MSC3381, in its unstable form, which is the one that clients read. What customers do
with either comes back by `relations.reaction` and `votes.vote`.
"""

from __future__ import annotations

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.outgoing import Outgoing
from bridge.matrix.render import MARKER, Content
from bridge.rooms.tapping import Poll

POLL_START = "org.matrix.msc3381.poll.start"
POLL_END = "org.matrix.msc3381.poll.end"

_TEXT = "org.matrix.msc1767.text"


class Tapping:
    """Implements `rooms.tapping.TappingPort`; raises Unavailable and Refused of the homeserver."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing

    async def react(
        self, room_id: RoomId, sender: UserId, target: EventId, sign: str, txn_id: str
    ) -> EventId:
        return await self._outgoing.react(room_id, sender, reaction_content(target, sign), txn_id)

    async def poll(self, room_id: RoomId, sender: UserId, poll: Poll, txn_id: str) -> EventId:
        content = poll_content(poll, txn_id)
        return await self._outgoing.send(room_id, sender, content, txn_id, POLL_START)

    async def end_poll(
        self, room_id: RoomId, sender: UserId, poll: EventId, text: str, txn_id: str
    ) -> EventId:
        content = poll_end_content(poll, text, txn_id)
        return await self._outgoing.send(room_id, sender, content, txn_id, POLL_END)


def poll_content(poll: Poll, txn: str) -> Content:
    """The content of a `POLL_START` event: one answer each, the count open to all.

    Clients without polls show its text, which says the same.
    """
    lines = [poll.question, *(f"{name}. {answer}" for name, answer in poll.answers)]
    question: Content = {_TEXT: poll.question, "body": poll.question, "msgtype": "m.text"}
    return {
        _TEXT: "\n".join(lines),
        POLL_START: {
            "kind": "org.matrix.msc3381.poll.disclosed",
            "max_selections": 1,
            "question": question,
            "answers": [{"id": name, _TEXT: answer} for name, answer in poll.answers],
        },
        "m.mentions": {},
        MARKER: {"txn": txn},
    }


def poll_end_content(poll: EventId, text: str, txn: str) -> Content:
    """The content of a `POLL_END` event; no vote counts after it."""
    return {
        "m.relates_to": {"rel_type": "m.reference", "event_id": poll},
        POLL_END: {},
        _TEXT: text,
        "body": text,
        "m.mentions": {},
        MARKER: {"txn": txn},
    }


def reaction_content(target: EventId, sign: str) -> Content:
    """The content of an `m.reaction` (client-server API, "Event annotations and reactions")."""
    return {"m.relates_to": {"rel_type": "m.annotation", "event_id": target, "key": sign}}
