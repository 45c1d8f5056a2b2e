"""What an earlier event of a room said, as the ledger has it.

The inbox keeps what people sent and the outbox what agents did, both for as long as the operator's
`retention` allows, so nothing is stored twice, and what is erased there is forgotten here too.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import Relay, Reported
from bridge.conversation.model import CustomerLocation, CustomerMedia, CustomerText
from bridge.ids import EventId, RoomId
from bridge.media.plaintext import html_to_text
from bridge.rooms.inputs import Corrected, MatrixEvent, Meaning, PartPosted, Spoke, Stored
from bridge.rooms.ports import Undecryptable
from bridge.rooms.references import Earlier
from bridge.rooms.serial import load_effect, load_input
from bridge.rooms.store import Lane
from bridge.rooms.surroundings import Surroundings
from bridge.webchat.frames import AgentContent, AgentLocation, AgentMedia, AgentText
from bridge.webchat.words import decode_emoji


async def recall(around: Surroundings, room_id: RoomId, event_id: EventId) -> Earlier | None:
    """What that event said, and when; None if it is not ours to know, or no longer.

    Raises:
        StoreError: the database did not answer.
    """
    body = await around.store.body_of(room_id, event_id)
    if body is None:
        return None
    try:
        stored = load_input(body)
    except msgspec.DecodeError:
        return await _dated(around, _from_us(body), event_id)
    if isinstance(stored, PartPosted):
        return await _dated(around, Earlier(stored.text), event_id)
    meaning = await _meaning(around, stored)
    if not isinstance(meaning, Spoke | Corrected):
        return None
    content, text = meaning.content, meaning.plain
    match content:
        case CustomerText():
            text = text or content.text
        case CustomerMedia():
            text = text or content.name
        case CustomerLocation():
            text = content.poi
    earlier = Earlier(
        text,
        content,
        meaning.sender,
        correction=isinstance(meaning, Corrected),
        answers=meaning.answers,
    )
    # A correction that changed nothing was told to nobody: then what it corrected counts.
    events = (event_id, meaning.target) if isinstance(meaning, Corrected) else (event_id,)
    return await _dated(around, earlier, *events)


async def _dated(around: Surroundings, earlier: Earlier | None, *events: EventId) -> Earlier | None:
    """With the moment at which the call centre last got or sent it, as the ledger has it.

    What we said of a message is in its ledger too, and says nothing of when an agent read it.
    """
    if earlier is None:
        return None
    ours = () if earlier.content is None else (Lane.MATRIX, Lane.ASIDE)
    rows = [row for event_id in events for row in await around.store.trace(event_id)]
    came = [row.at for row in rows if row.what == "received"]
    went = [row.at for row in rows if row.what == "stored" and row.detail not in ours]
    at = max((*came, *went), default=None)
    return msgspec.structs.replace(earlier, at=at, unsent=bool(came) and not went)


async def original(
    around: Surroundings, room_id: RoomId, event_id: EventId
) -> Meaning | Undecryptable | None:
    """What a person's event means, read again; None if it is none, or no longer kept.

    Raises:
        StoreError: the database did not answer.
    """
    body = await around.store.body_of(room_id, event_id)
    if body is None:
        return None
    try:
        stored = load_input(body)
    except msgspec.DecodeError:
        return None
    return await _meaning(around, stored)


async def _meaning(around: Surroundings, stored: Stored) -> Meaning | Undecryptable | None:
    if not isinstance(stored, MatrixEvent):
        return None
    raw = await around.matrix.open(stored.raw)
    return raw if isinstance(raw, Undecryptable) else around.matrix.interpret(raw)


def _from_us(body: bytes) -> Earlier | None:
    """What we posted: an agent's words, or our own about a message that did not arrive."""
    try:
        effect = load_effect(body)
    except msgspec.DecodeError:
        return None
    match effect:
        case Relay():
            return Earlier(_text_of(effect.content))
        case Reported():
            return Earlier("", reports=effect.event_id)
        case _:
            return None


def _text_of(content: AgentContent) -> str:
    match content:
        case AgentText():
            return html_to_text(decode_emoji(content.html)) or ""
        case AgentMedia():
            return content.name
        case AgentLocation():
            return content.poi
        case _:
            return ""
