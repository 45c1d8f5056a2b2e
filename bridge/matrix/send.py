"""Sending: events with safe transaction ids, as ghosts that may have been shown out, and files.

What is older than the homeserver's memory of transaction ids is looked for in the room before it is
sent again (`Markers`). A ghost that was shown out is brought back once; where the room does not
have it, the host speaks for it (`render.spoken_for`). Files are kept aside until their size is
known, and what Matrix clients play is made of sounds (`playable`).
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from concurrent.futures import Executor

import msgspec
from cachetools import LRUCache

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.client import Homeserver, Json, Spooled, Transport, spool
from bridge.matrix.crypto.attachments import encrypted, file_field
from bridge.matrix.crypto.crypto import Crypto
from bridge.matrix.crypto.wire import MARKER
from bridge.matrix.ghosts import Ghosts
from bridge.matrix.render import (
    Content,
    MediaFacts,
    in_thread,
    location_content,
    media_content,
    spoken_for,
    text_contents,
)
from bridge.media import OCTETS, voice
from bridge.rooms.ports import Part, Refused, Relayed, RelayedMedia, RelayedText
from bridge.rooms.record import Thread
from bridge.webchat.frames import AgentLocation

_QUOTABLE = 200
"""Characters of an agent's message that are kept for quotations."""
_PAGE = 100
MOST_PAGES = 5
"""Of so many events each, the room's newest; what is further back is not found."""
KEPT = 2_000
"""Events of ours that are known again."""
_SKEW = 10 * 60_000
"""ms that the homeserver's clock may differ from ours."""


class Markers:
    """Idempotency beyond transaction ids: events of ours that were found in rooms.

    A homeserver answers a repeated transaction id with the event that it made of it, but not for
    ever: Synapse for a day if the sender has a device, else for half an hour or until it is
    restarted (reference matrix.md §5). Every content of ours says which one it is of
    (`MARKER`), also outside of what is encrypted. So what may have been sent long ago is
    looked for in the room before it is sent again.
    """

    def __init__(self, homeserver: Homeserver) -> None:
        self._homeserver = homeserver
        self._found: LRUCache[tuple[RoomId, str, str], EventId] = LRUCache(KEPT)

    def note(self, room_id: RoomId, event: Json) -> None:
        """Remember an event, if it bears our marker. Only its sender could have it bear ours."""
        content, event_id = event.get("content"), event.get("event_id")
        marker = content.get(MARKER) if isinstance(content, dict) else None
        txn = marker.get("txn") if isinstance(marker, dict) else None
        if not isinstance(txn, str) or not isinstance(event_id, str):
            return
        self._found[room_id, str(event.get("sender")), txn] = EventId(event_id)

    def find(self, room_id: RoomId, sender: UserId, txn: str) -> EventId | None:
        """The event that was made of this transaction id, if it was found."""
        return self._found.get((room_id, sender, txn))

    async def look_back(self, room_id: RoomId, reader: UserId, since: int) -> None:
        """Find our own events in a room, so that none of them is sent twice.

        Args:
            room_id: the room.
            reader: one of ours who is in it.
            since: ms since the epoch; nothing older is of interest.

        Raises:
            Unavailable, Refused: of the homeserver.
        """
        before = ""
        for _ in range(MOST_PAGES):
            events, before = await self._homeserver.latest(reader, room_id, _PAGE, before)
            recent = [event for event in events if _at(event) >= since - _SKEW]
            for event in recent:
                self.note(room_id, event)
            if not before or len(recent) < len(events) or not events:
                return


def _at(event: Json) -> int:
    moment = event.get("origin_server_ts")
    return moment if isinstance(moment, int) else 0


class Outgoing:
    """Sending as our users.

    Every method raises `Unavailable` or `Refused`, and what a file's source raises.

    Attributes:
        markers: what need not be sent again.
    """

    def __init__(
        self,
        homeserver: Homeserver,
        transport: Transport,
        ghosts: Ghosts,
        *,
        conversions: Executor,
        crypto: Crypto | None = None,
    ) -> None:
        self._homeserver = homeserver
        self._transport = transport
        self._ghosts = ghosts
        self._conversions = conversions
        self._crypto = crypto
        self.markers = Markers(homeserver)
        self._upload_limit: int | None = None

    async def send(
        self,
        room_id: RoomId,
        sender: UserId,
        content: Json,
        txn_id: str,
        kind: str = "m.room.message",
    ) -> EventId:
        """Send a message, encrypted if the room is; same sender, room and `txn_id`: same event.

        Synapse's cache of transaction ids does not know whose they are: two ghosts with the same
        id in a room would be one message (reference matrix.md §5). So the sender goes into it, and
        its device: one that replaces another (`vault.Continuity`) gets none of that one's events.
        """
        found = self.markers.find(room_id, sender, txn_id)
        if found is not None:
            return found
        own = await self._whose(sender)
        event = kind, content
        try:
            return await self._send(room_id, sender, event, f"{txn_id}.{own}")
        except Refused as refusal:
            if refusal.code != "M_UNKNOWN_DEVICE":
                raise
        await self._ghosts.mend(sender)
        return await self._send(room_id, sender, event, f"{txn_id}.{own}")

    async def _whose(self, sender: UserId) -> str:
        device = ""
        if self._crypto is not None:
            await self._crypto.ensure(sender)
            device = self._crypto.device_id
        return hashlib.sha256(f"{sender}{device}".encode()).hexdigest()[:12]

    async def react(self, room_id: RoomId, sender: UserId, content: Json, txn_id: str) -> EventId:
        """Send a reaction, which is never encrypted: servers count them for their clients."""
        own = await self._whose(sender)
        return await self._homeserver.send(
            sender, room_id, "m.reaction", content, f"{txn_id}.{own}"
        )

    async def _send(
        self, room_id: RoomId, sender: UserId, event: tuple[str, Json], txn_id: str
    ) -> EventId:
        kind, content = event
        if self._crypto is not None:
            kind, content = await self._crypto.seal(sender, room_id, kind, content)
        return await self._homeserver.send(sender, room_id, kind, content, txn_id)

    async def send_file(
        self, room_id: RoomId, sender: UserId, file: RelayedMedia, txn_id: str
    ) -> EventId:
        """Send a file of our own."""
        content = media_content(await self._upload(room_id, sender, file), txn_id)
        return await self.send(room_id, sender, content, txn_id)

    async def relay(
        self,
        room_id: RoomId,
        host: UserId,
        ghost: UserId,
        what: Relayed,
        txn_id: str,
        *,
        name: str,
        thread: Thread | None = None,
    ) -> tuple[Part, ...]:
        """Send an agent's message as its ghost; as the host, under `name`, if the ghost may not.

        A text too long for one event becomes several, and a repetition after a failure half-way
        sends only what is missing.
        """
        inside = await self._brought_in(room_id, host, ghost)
        contents = await self._contents(room_id, ghost if inside else host, what, txn_id)
        if thread is not None:
            contents = [in_thread(content, thread) for content in contents]
        events: list[EventId] = []
        for number, content in enumerate(contents, start=1):
            own = txn_id if number == 1 else f"{txn_id}.{number}"
            content = content | {MARKER: {"txn": own}}  # noqa: PLW2901 - the same, marked
            if inside:
                try:
                    events.append(await self._send_as_ghost(room_id, host, ghost, content, own))
                    continue
                except Refused as refusal:
                    if not refusal.shut_out:
                        raise
                    inside = False
            events.append(await self.send(room_id, host, spoken_for(name, content), own))
        return tuple(
            Part(event_id, str(content["body"])[:_QUOTABLE])
            for event_id, content in zip(events, contents, strict=True)
        )

    async def _brought_in(self, room_id: RoomId, host: UserId, ghost: UserId) -> bool:
        """See that the ghost is in the room; False if the room does not have it."""
        try:
            await self._ghosts.join(room_id, host, ghost)
        except Refused as refusal:
            if not refusal.shut_out:
                raise
            return False
        return True

    async def _contents(
        self, room_id: RoomId, ghost: UserId, what: Relayed, txn_id: str
    ) -> list[Content]:
        match what:
            case RelayedText():
                return text_contents(what.html, txn_id)
            case AgentLocation():
                return [location_content(what, txn_id)]
            case RelayedMedia():
                return [media_content(await self._upload(room_id, ghost, what), txn_id)]

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

    async def _upload(self, room_id: RoomId, user: UserId, what: RelayedMedia) -> MediaFacts:
        """Carry an agent's file to the homeserver and say what it turned out to be."""
        async with spool(what.blob, what.kind) as original:
            file = await playable(original, what.kind, self._conversions)
            limit = await self._limit()
            if limit is not None and file.size > limit:
                # Past its limit Synapse cuts the connection, which looks like trouble that passes.
                raise Refused("M_TOO_LARGE", f"{file.size} bytes, {limit} allowed")
            mxc, sealed = await self._put(room_id, user, file)
            width, height = file.dimensions or (None, None)
            return MediaFacts(
                kind=what.kind,
                name=file.name,
                mxc=mxc,
                sealed=sealed,
                mime=file.mime,
                size=file.size,
                width=width,
                height=height,
                seconds=file.seconds if file.seconds is not None else what.seconds,
                waveform=file.waveform,
            )

    async def _put(self, room_id: RoomId, user: UserId, file: Spooled) -> tuple[str, Json | None]:
        """The file's address, and its field `file` if it had to be encrypted."""
        if self._crypto is None or not await self._crypto.is_encrypted(user, room_id):
            chunks = file.chunks()
            return await self._transport.upload(chunks, file.size, file.mime, file.name, user), None
        async with encrypted(file.chunks()) as secret:
            # Neither its type nor its name is the homeserver's to know.
            mxc = await self._transport.upload(secret.chunks(), secret.size, OCTETS, "", user)
            return mxc, file_field(mxc, secret.key)

    async def _limit(self) -> int | None:
        if self._upload_limit is None:
            try:
                self._upload_limit = await self._homeserver.upload_limit()
            except Refused:
                return None  # A homeserver without this endpoint.
        return self._upload_limit


async def playable(file: Spooled, kind: str, conversions: Executor) -> Spooled:
    """Convert a voice message, or measure a video; unchanged if it cannot be played.

    Args:
        file: belongs to us until this ends.
        kind: a `voice` becomes a voice message of Matrix; of a video size and length are told.
        conversions: the threads for it.
    """
    run = asyncio.get_running_loop().run_in_executor
    if kind == "voice":
        try:
            return _spoken(file, await run(conversions, voice.to_opus, file.stream))
        except voice.NoSound:
            pass
    if file.mime.startswith("video/"):
        seen = await run(conversions, voice.look, file.stream)
        if seen is not None:
            size = (seen.width, seen.height) if seen.width and seen.height else None
            return msgspec.structs.replace(file, dimensions=size, seconds=seen.seconds or None)
    return file


def _spoken(file: Spooled, sound: voice.Sound) -> Spooled:
    return msgspec.structs.replace(
        file,
        stream=io.BytesIO(sound.data),
        size=len(sound.data),
        name=f"{file.name.rpartition('.')[0] or file.name}.ogg",
        mime="audio/ogg",
        seconds=sound.seconds,
        waveform=sound.waveform,
    )
