"""What a room keeps: reading it back, taking something out of it, and putting files of ours in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from urllib.parse import quote

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.contents import (
    Fields,
    Unusable,
    Written,
    object_of,
    read_extensible,
    read_file,
    read_message,
    read_poll,
)
from bridge.matrix.contents import text_of as text
from bridge.matrix.inbound import CONTENT_EVENTS, EXTENSIBLE_EVENTS
from bridge.matrix.outgoing import Outgoing
from bridge.matrix.relations import relation_of, replied_to
from bridge.matrix.transport import Json, Transport
from bridge.rooms.ports import Blob, RelayedMedia
from bridge.rooms.recorded import OurFile, Recorded

PAGE = 100
"""Events that are asked for at a time."""

_ROOMS = "_matrix/client/v3/rooms"
_REASON = "It holds a password."


class Archive:
    """The part of `MatrixPort` that has to do with what stands in a room already.

    Args:
        transport: acts as our users.
        outgoing: sends for them.
    """

    def __init__(self, transport: Transport, outgoing: Outgoing) -> None:
        self._transport = transport
        self._outgoing = outgoing

    async def send_file(
        self, room_id: RoomId, sender: UserId, file: OurFile, txn_id: str
    ) -> EventId:
        """Send a file of our own, encrypted where the room is.

        Raises:
            Unavailable, Refused: of the homeserver; `M_TOO_LARGE` if it takes no file so large.
        """
        blob = Blob.of(file.data, file.mime, file.name)
        return await self._outgoing.send_file(room_id, sender, RelayedMedia("file", blob), txn_id)

    async def redact(self, room_id: RoomId, who: UserId, event_id: EventId, txn_id: str) -> None:
        """Take an event's content out of the room (client-server API, "Redactions").

        Raises:
            Refused: `who` may not redact what others sent.
            Unavailable: the homeserver does not answer.
        """
        where = f"{_room(room_id)}/redact/{quote(event_id, safe='')}/{quote(txn_id, safe='')}"
        await self._transport.request("PUT", where, {"reason": _REASON}, user=who)

    async def timeline(
        self, room_id: RoomId, reader: UserId, first: EventId
    ) -> AsyncGenerator[Json, None]:
        """The room's events from `first` on, oldest first, as they came.

        Raises:
            Refused: the homeserver has no such event, or does not show it to `reader`.
            Unavailable: it does not answer.
        """
        where = f"{_room(room_id)}/context/{quote(first, safe='')}"
        found = await self._transport.request("GET", where, user=reader, query={"limit": "0"})
        yield object_of(found, "event")
        after = text(found, "end")
        while after:
            query = {"dir": "f", "from": after, "limit": str(PAGE)}
            where = f"{_room(room_id)}/messages"
            page = await self._transport.request("GET", where, user=reader, query=query)
            chunk = page.get("chunk")
            events = chunk if isinstance(chunk, list) else []
            for event in events:
                if isinstance(event, dict):
                    yield event
            # Some servers go on giving a place to continue from at the room's end.
            after = text(page, "end") if events else ""

    def recorded(self, raw: Json) -> Recorded | None:
        """An opened event as a transcript shows it; None for what is no message."""
        return recorded(raw)


def recorded(raw: Fields) -> Recorded | None:
    """Read a message, whoever sent it. Pure, and never raises: every field is a stranger's."""
    kind, content = text(raw, "type"), object_of(raw, "content")
    event_id, sender = EventId(text(raw, "event_id")), UserId(text(raw, "sender"))
    if kind not in CONTENT_EVENTS or "state_key" in raw or not event_id or not sender:
        return None
    moment = raw.get("origin_server_ts")
    at = moment if isinstance(moment, int) and not isinstance(moment, bool) else 0
    if not content:
        return Recorded(event_id, sender, at, withdrawn=True)
    relation, replaces = relation_of(content), None
    if text(relation, "rel_type") == "m.replace":
        replaces = EventId(text(relation, "event_id"))
        content = object_of(content, "m.new_content")
    written = _read(kind, content, is_reply=bool(object_of(relation, "m.in_reply_to")))
    return Recorded(
        event_id,
        sender,
        at,
        content=None if isinstance(written, Unusable) else written.content,
        words="" if isinstance(written, Unusable) else written.plain,
        replaces=replaces,
        reply_to=replied_to({"m.relates_to": relation}),
    )


def _read(kind: str, content: Fields, *, is_reply: bool) -> Written | Unusable:
    match kind:
        case "m.sticker":
            return read_file(content, "image")
        case "m.poll.start" | "org.matrix.msc3381.poll.start":
            return read_poll(content)
        case "m.room.encrypted":
            return Unusable("unreadable.undecryptable")
        case _ if kind in EXTENSIBLE_EVENTS:
            return read_extensible(content, kind)
        case _:
            return read_message(content, is_reply=is_reply)


def _room(room_id: RoomId) -> str:
    return f"{_ROOMS}/{quote(room_id, safe='')}"
