"""What `status` answers: where things stand in a room, in one sentence that is true. Pure."""

from __future__ import annotations

from typing import assert_never

from bridge.conversation.chat import names
from bridge.conversation.events import Args
from bridge.conversation.model import Chatting, Ended, Idle, Queued, Requesting
from bridge.conversation.queue import unseen_callback
from bridge.conversation.turn import all_pieces, unique_events
from bridge.rooms.visit import Visit


def where_things_stand(visit: Visit) -> tuple[str, Args]:
    """The sentence, as a key of the texts, and its args."""
    key, args = _standing(visit)
    if visit.record.settings.paused:
        return "command.status_paused", {
            "status": visit.part(key, args),
            "prefix": visit.rules.prefix,
        }
    return key, args


def _standing(visit: Visit) -> tuple[str, Args]:
    """The same, whether the room is paused or not."""
    rules, phase = visit.rules, visit.record.conversation.phase
    args: Args = {"waiting": len(unique_events(all_pieces(visit.record.conversation)))}
    wished = unseen_callback(visit.record.conversation)
    if wished is not None:
        return "command.status_callback", args | {"queue": rules.queue_name(wished.queue_id)}
    match phase:
        case Idle() | Ended():
            key = "command.status_idle"
            args["queue"] = rules.queue_name(rules.queue_for(visit.record))
        case Requesting() | Queued():
            key = _waiting(phase, away=visit.record.conversation.trouble_since is not None)
            args["queue"] = rules.queue_name(phase.queue_id)
            if isinstance(phase, Queued) and phase.position:
                args["position"] = phase.position
        case Chatting():
            key = "command.status_chatting"
            args["names"] = names(phase.agents) or "?"
        case _:
            assert_never(phase)
    return key, args


def _waiting(phase: Requesting | Queued, *, away: bool) -> str:
    """The sentence about a place in a queue; `away`: the call centre cannot be reached."""
    if phase.cancel:
        return "command.status_leaving_away" if away else "command.status_leaving"
    if isinstance(phase, Requesting):
        return "command.status_requesting"
    return "command.status_queued" if phase.position else "command.status_waiting"
