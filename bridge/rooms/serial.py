"""Stored inputs and effects as tagged JSON."""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import (
    AgentsCame,
    AgentsLeft,
    AskRating,
    CallWebChat,
    Card,
    FetchHistory,
    Relay,
    Reported,
    Say,
    UploadMedia,
)
from bridge.rooms.effects import AskRobot, Effect, EnterRoom, LeaveRoom, ShowAnswer
from bridge.rooms.inputs import Stored
from bridge.rooms.store import Lane, NewOutbox

StoredEffect = (
    CallWebChat
    | UploadMedia
    | Say
    | Card
    | AskRating
    | Relay
    | AgentsCame
    | AgentsLeft
    | Reported
    | EnterRoom
    | LeaveRoom
    | AskRobot
    | ShowAnswer
    | FetchHistory
)

_encoder = msgspec.json.Encoder()
_stored: msgspec.json.Decoder[Stored] = msgspec.json.Decoder(Stored)
_effect: msgspec.json.Decoder[StoredEffect] = msgspec.json.Decoder(StoredEffect)


def dump_input(stored: Stored) -> bytes:
    """An input as the inbox keeps it."""
    return _encoder.encode(stored)


def load_input(body: bytes) -> Stored:
    """An input as it was stored; raises msgspec.DecodeError for anything else."""
    return _stored.decode(body)


def load_effect(body: bytes) -> StoredEffect:
    """An effect as it was stored; raises msgspec.DecodeError for anything else."""
    return _effect.decode(body)


def outbox_row(effect: Effect) -> NewOutbox | None:
    """The row that carries out an effect; None for a fact that needs none."""
    match effect:
        case CallWebChat():
            return NewOutbox(
                Lane.WEBCHAT,
                _encoder.encode(effect),
                cause=effect.event_id,
                call_id=effect.call_id,
                repeat=effect.repeat,
            )
        case UploadMedia():
            return NewOutbox(
                Lane.WEBCHAT,
                _encoder.encode(effect),
                cause=effect.event_id,
                call_id=effect.call_id,
            )
        case AskRobot():
            return NewOutbox(Lane.ASIDE, _encoder.encode(effect), cause=effect.event_id)
        case FetchHistory():
            return NewOutbox(Lane.ASIDE, _encoder.encode(effect))
        case Reported() | ShowAnswer():
            return NewOutbox(Lane.MATRIX, _encoder.encode(effect), cause=effect.event_id)
        case Say():
            return NewOutbox(Lane.MATRIX, _encoder.encode(effect), cause=effect.reply_to)
        case (
            Card() | AskRating() | Relay() | AgentsCame() | AgentsLeft() | EnterRoom() | LeaveRoom()
        ):
            return NewOutbox(Lane.MATRIX, _encoder.encode(effect))
        case _:
            return None
