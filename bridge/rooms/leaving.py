"""What a room comes to when we, or all whom we serve there, leave it. Pure."""

from __future__ import annotations

from bridge.conversation.events import Cancel, Close, Withdrawn
from bridge.conversation.model import Chatting, Queued, Requesting
from bridge.conversation.queue import callback_wanted
from bridge.conversation.turn import all_pieces, unique_events
from bridge.rooms.effects import LeaveRoom
from bridge.rooms.record import Membership
from bridge.rooms.visit import Visit


def end_conversation(visit: Visit) -> None:
    """Nobody is there to talk any more: out of the queue or the chat, and nothing is kept."""
    conversation = visit.record.conversation
    if isinstance(conversation.phase, Chatting):
        visit.step(Close())
    elif (
        isinstance(conversation.phase, Requesting | Queued)
        or conversation.held
        or callback_wanted(conversation)
    ):
        visit.step(Cancel())


def put_out(visit: Visit) -> None:
    """Our host is in the room no longer, or is not ours any more."""
    end_conversation(visit)
    visit.set(membership=Membership.LEFT, parked=())


def _give_back(visit: Visit, key: str) -> None:
    """Report all that no agent has, in the order in which it was written; nothing of it goes."""
    waiting = sorted(all_pieces(visit.record.conversation), key=lambda piece: piece.order)
    for event_id in unique_events(tuple(piece for piece in waiting if not piece.is_note)):
        visit.step(Withdrawn(event_id))
        visit.report(event_id, key)


def upgraded(visit: Visit) -> None:
    """The room goes on elsewhere; there we have to be invited anew.

    Here nobody is to begin another chat, or be told of the end of this one that writing does.
    """
    if visit.record.membership is Membership.JOINED:
        if not isinstance(visit.record.conversation.phase, Chatting):
            _give_back(visit, "room.upgraded_unsent")  # once we are out, nothing can be said here
        end_conversation(visit)
        visit.say("room.upgraded")
        visit.ask(LeaveRoom((visit.record.host,)))
        visit.set(membership=Membership.LEFT)
