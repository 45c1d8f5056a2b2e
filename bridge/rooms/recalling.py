"""Earlier events of a room in the ledger: read again (`recall`, `original`), and erased (`erase`).

The journal keeps what people sent and what agents did, for as long as the operator's
`retention` allows, so nothing is stored twice, and what is erased there is forgotten here too.

A message leaves more than one copy in the ledger: the event as it came, its corrections, and the
effects of each. A redaction erases at once what has ended, and the rest when it has ended too, up
to a minute later. Until then the room's record remembers the events, so that a crash forgets none
of them; and nobody quotes them.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from bridge.conversation.model import CustomerLocation, CustomerMedia, CustomerText, Relay, Reported
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, RoomId
from bridge.media.plaintext import html_to_text
from bridge.rooms import references
from bridge.rooms.effects import load_effect, load_input
from bridge.rooms.inbox import Corrected, MatrixEvent, Meaning, PartPosted, Spoke, Stored
from bridge.rooms.ports import Undecryptable
from bridge.rooms.record import RoomRecord
from bridge.rooms.references import Earlier, wordings
from bridge.rooms.store import Lane
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit
from bridge.webchat.frames import AgentContent, AgentLocation, AgentMedia, AgentText
from bridge.webchat.words import decode_emoji


async def recall(around: Surroundings, room_id: RoomId, event_id: EventId) -> Earlier | None:
    """Read an event's words and time; None if we have no right to them, or they are erased.

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
    """Read a person's event again; None if it is none, or no longer kept.

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
    """Words of an event of ours: an agent's, or our report of an undelivered message."""
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


# --- erasing --------------------------------------------------------------------------------------

ERASE_EVERY = 60_000
"""ms until what could not be erased at once is looked at again."""
ERASING_LIMIT = 100
"""Events of a room that are remembered for it; `retention` erases what is beyond."""


async def erase(around: Surroundings, visit: Visit, before: RoomRecord, target: EventId) -> None:
    """Erase what can be erased of a message, and remember the rest.

    Args:
        around: the store.
        visit: record in and out.
        before: the record in which the message's corrections are still known.
        target: the message.

    Raises:
        StoreError: the database did not answer.
    """
    gone = wordings(before, target)
    for event_id in gone:
        references.drop_sealed(visit, event_id)
        await around.store.forget_body(visit.record.room_id, event_id)
    remembered = dict.fromkeys((*visit.record.erasing, *gone))
    visit.set(erasing=tuple(remembered)[-ERASING_LIMIT:], erase_at=visit.now + ERASE_EVERY)


async def erase_more(around: Surroundings, visit: Visit, busy: Collection[str]) -> None:
    """Erase what has ended meanwhile, if it is time.

    Args:
        around: the store.
        visit: record in and out.
        busy: the events about which an effect is still to be carried out.

    Raises:
        StoreError: the database did not answer; nothing is forgotten that was not erased.
    """
    moment = erasing_due(visit.record)
    if moment is None or visit.now < moment:
        return
    waiting = {piece.event_id for piece in all_pieces(visit.record.conversation)}
    left = tuple(one for one in visit.record.erasing if one in waiting or one in busy)
    for event_id in visit.record.erasing:
        if event_id not in left:
            await around.store.forget_body(visit.record.room_id, event_id)
    visit.set(erasing=left, erase_at=visit.now + ERASE_EVERY)


def erasing_due(record: RoomRecord) -> int | None:
    """Moment of the next attempt, ms since the epoch; None if nothing is left to erase."""
    return record.erase_at if record.erasing else None
