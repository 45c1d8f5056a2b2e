"""Sending: events with safe transaction ids, as ghosts that may have been shown out, and files."""

from __future__ import annotations

import hashlib

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.ghosts import Ghosts
from bridge.matrix.homeserver import Homeserver
from bridge.matrix.render import (
    Content,
    MediaFacts,
    location_content,
    media_content,
    text_contents,
)
from bridge.matrix.spool import spool
from bridge.matrix.transport import Json, Transport
from bridge.rooms.ports import Refused, Relayed, RelayedMedia, RelayedText
from bridge.webchat.frames import AgentLocation


class Outgoing:
    """Every method raises `Unavailable` or `Refused`, and what a file's source raises."""

    def __init__(self, homeserver: Homeserver, transport: Transport, ghosts: Ghosts) -> None:
        self._homeserver = homeserver
        self._transport = transport
        self._ghosts = ghosts
        self._upload_limit: int | None = None

    async def send(self, room_id: RoomId, sender: UserId, content: Json, txn_id: str) -> EventId:
        """Send a message; the same sender, room and `txn_id` give the same event.

        Synapse's cache of transaction ids does not know whose they are: two ghosts with the same
        id in a room would be one message (reference matrix.md §5). So the sender goes into it.
        """
        own = hashlib.sha256(sender.encode()).hexdigest()[:12]
        return await self._homeserver.send(
            sender, room_id, "m.room.message", content, f"{txn_id}.{own}"
        )

    async def relay(
        self, room_id: RoomId, host: UserId, ghost: UserId, what: Relayed, txn_id: str
    ) -> EventId:
        """Send an agent's message as its ghost.

        A text too long for one event becomes several; the first one's id is returned, and a
        repetition after a failure half-way sends only what is missing.
        """
        first, *rest = await self._contents(ghost, what, txn_id)
        event_id = await self._send_as_ghost(room_id, host, ghost, first, txn_id)
        for number, content in enumerate(rest, start=2):
            await self._send_as_ghost(room_id, host, ghost, content, f"{txn_id}.{number}")
        return event_id

    async def _contents(self, ghost: UserId, what: Relayed, txn_id: str) -> list[Content]:
        match what:
            case RelayedText():
                return text_contents(what.html, txn_id)
            case AgentLocation():
                return [location_content(what, txn_id)]
            case RelayedMedia():
                return [media_content(await self._upload(ghost, what), txn_id)]

    async def _send_as_ghost(
        self, room_id: RoomId, host: UserId, ghost: UserId, content: Json, txn_id: str
    ) -> EventId:
        """Send as a ghost that ought to be in the room; if it is not, it is brought back once."""
        try:
            return await self.send(room_id, ghost, content, txn_id)
        except Refused as refusal:
            if refusal.code != "M_FORBIDDEN":
                raise
        self._ghosts.forget(room_id, ghost)
        await self._ghosts.join(room_id, host, ghost)
        return await self.send(room_id, ghost, content, txn_id)

    async def _upload(self, user: UserId, what: RelayedMedia) -> MediaFacts:
        """Carry an agent's file to the homeserver and say what it turned out to be."""
        async with spool(what.blob, what.kind) as file:
            limit = await self._limit()
            if limit is not None and file.size > limit:
                # Past its limit Synapse cuts the connection, which looks like trouble that passes.
                raise Refused("M_TOO_LARGE", f"{file.size} bytes, {limit} allowed")
            mxc = await self._transport.upload(file.chunks(), file.size, file.mime, file.name, user)
            width, height = file.dimensions or (None, None)
            return MediaFacts(
                kind=what.kind,
                name=file.name,
                mxc=mxc,
                mime=file.mime,
                size=file.size,
                width=width,
                height=height,
                seconds=what.seconds,
            )

    async def _limit(self) -> int | None:
        if self._upload_limit is None:
            try:
                self._upload_limit = await self._homeserver.upload_limit()
            except Refused:
                return None  # A homeserver without this endpoint.
        return self._upload_limit
