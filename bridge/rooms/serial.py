"""Stored inputs and effects as tagged JSON, and which lane carries out an effect.

The tag is the name of the class: one that is renamed keeps the former name as its `tag`, and a
field that is added has a default, for later versions read the rows of earlier ones (a test holds
samples of them, `stored_rows.jsonl`).
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from bridge.conversation.events import (
    AgentsCame,
    AgentsLeft,
    Answered,
    AskRating,
    AskRobot,
    CallbackCard,
    CallWebChat,
    Card,
    Delivered,
    EndPoll,
    FetchHistory,
    Offer,
    Relay,
    Reported,
    Say,
    ToAside,
    ToMatrix,
    ToWebChat,
    UploadMedia,
)
from bridge.rooms.effects import (
    Conceal,
    Decline,
    Effect,
    EnterRoom,
    LeaveRoom,
    PutSigns,
    RoomEffect,
    SendTranscript,
    ShowAnswer,
    TellHistory,
    TryLogin,
)
from bridge.rooms.inputs import Stored
from bridge.rooms.store import Lane, NewOutbox

StoredEffect = ToWebChat | ToAside | ToMatrix | RoomEffect
"""All that something has to be done about."""

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
        case AskRobot() | TellHistory() | SendTranscript() | TryLogin() | Conceal() | Decline():
            return NewOutbox(Lane.ASIDE, _encoder.encode(effect), cause=effect.event_id)
        case FetchHistory():
            return NewOutbox(Lane.ASIDE, _encoder.encode(effect))
        case Reported() | ShowAnswer():
            return NewOutbox(Lane.MATRIX, _encoder.encode(effect), cause=effect.event_id)
        case Say():
            return NewOutbox(Lane.MATRIX, _encoder.encode(effect), cause=effect.reply_to)
        case (
            Card()
            | CallbackCard()
            | AskRating()
            | EndPoll()
            | Offer()
            | PutSigns()
            | Relay()
            | AgentsCame()
            | AgentsLeft()
            | EnterRoom()
            | LeaveRoom()
        ):
            return NewOutbox(Lane.MATRIX, _encoder.encode(effect))
        case Delivered() | Answered():
            return None
        case _:
            assert_never(effect)
