"""Bringing agents into the room: their ghosts, their words, their files.

An agent's picture is an ornament, and no reason to wait. A file goes through us from one server to
the other; of one that cannot be had the customer is told. Two servers may refuse then: a refusal
that comes once the file is open is the homeserver's.
"""

from __future__ import annotations

import base64
import binascii
import html

import msgspec
import structlog

from bridge.conversation.effects import Args, Relay
from bridge.ids import QueueId
from bridge.media.plaintext import as_markup
from bridge.rooms.ports import (
    Blob,
    Part,
    Refused,
    Relayed,
    RelayedMedia,
    RelayedText,
    TooBig,
    Unavailable,
)
from bridge.rooms.record import thread_in_use
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.worker import Worker
from bridge.texts.durations import clock_time
from bridge.webchat.frames import (
    Agent,
    AgentLocation,
    AgentMedia,
    AgentNotice,
    AgentText,
    UnknownContent,
)
from bridge.webchat.words import decode_emoji

FETCH_TRIES = 4
"""Attempts to fetch an agent's file before the customer is told that it is missing."""
ICON_LIMIT = 2 * 1024 * 1024
"""Bytes of an agent's picture."""


class Relaying:
    """The agents' side of the Matrix lane."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.relaying")

    # --- ghosts -----------------------------------------------------------------------------

    async def welcome(self, worker: Worker, agent: Agent, queue_id: QueueId | None) -> None:
        """Bring the ghost in. A picture that cannot be had is no reason to wait (reference 3.9)."""
        matrix, host = self._around.matrix, worker.record.host
        source = self._around.link.icon_url(agent.icon, queue_id) if agent.icon else ""
        if source and not await matrix.icon_known(agent, source):
            opened = False
            try:
                async with self._around.link.fetch(source, ICON_LIMIT) as icon:
                    opened = True
                    await matrix.welcome_agent(worker.room_id, host, agent, icon, source)
                    return
            except (TooBig, Unavailable) as error:
                self._log.info("no picture for an agent", agent=agent.id, why=str(error))
            except Refused as error:
                if opened:
                    raise  # the homeserver's refusal, not the file server's
                self._log.info("no picture for an agent", agent=agent.id, why=error.code)
        await matrix.welcome_agent(worker.room_id, host, agent, None, "")

    # --- messages ---------------------------------------------------------------------------

    async def relay(self, worker: Worker, relay: Relay, txn_id: str) -> tuple[Part, ...]:
        """Send one message as the agent's ghost; nothing if it can only be described.

        Raises:
            Unavailable, Refused: of the homeserver.
        """
        content = relay.content
        match content:
            case AgentText():
                return await self._text(worker, relay, content, txn_id)
            case AgentLocation():
                return await self._send(worker, relay, self._placed(content), txn_id)
            case AgentMedia():
                return await self._media(worker, relay, content, txn_id)
            case AgentNotice() | UnknownContent():
                return ()

    async def _text(
        self, worker: Worker, relay: Relay, text: AgentText, txn_id: str
    ) -> tuple[Part, ...]:
        """Send a text and the pictures in it, in order; the first event stands for all of them.

        Each piece has a transaction id of its own, so a repeat sends only what is missing.
        """
        parts: list[Part] = []
        fragment, absolute = self._dated(worker, relay, text.html), self._around.link.absolute
        for number, piece in enumerate(self._around.matrix.pieces(fragment, absolute)):
            piece_id = f"{txn_id}.p{number}" if number else txn_id
            if isinstance(piece, AgentMedia):
                parts += await self._picture(worker, relay, piece, piece_id)
            else:
                parts += await self._send(worker, relay, piece, piece_id)
        return tuple(parts)

    def _dated(self, worker: Worker, relay: Relay, fragment: str) -> str:
        """A message that comes late says when it was said."""
        if relay.posted is None:
            return fragment
        rules = self._around.rules
        language = rules.language_for(worker.record.settings)
        if relay.posted:
            now = self._around.clock.now()
            time = clock_time(language, relay.posted, rules.timezone, now_ms=now)
            said = rules.texts.render(language, "outage.late", {"time": time})
        else:
            said = rules.texts.render(language, "outage.late_some_time", {})
        # Decoded before the eye falls on what looks like markup: eleven codes of the desk's do.
        shown = as_markup(decode_emoji(fragment))
        return f"{html.escape(said, quote=False)}<br>{shown}"

    async def _picture(
        self, worker: Worker, relay: Relay, picture: AgentMedia, txn_id: str
    ) -> tuple[Part, ...]:
        parts = await self._media(worker, relay, picture, txn_id)
        return parts or await self._send(worker, relay, _link_to(picture), txn_id)

    def _placed(self, location: AgentLocation) -> AgentLocation:
        """A place that says of whose map it is."""
        if location.map.strip():
            return location
        return msgspec.structs.replace(location, map=self._around.rules.policy.map)

    async def _media(
        self, worker: Worker, relay: Relay, media: AgentMedia, txn_id: str
    ) -> tuple[Part, ...]:
        """The file; nothing if it cannot be had, or is more than the homeserver takes."""
        try:
            if media.data:
                return await self._inline(worker, relay, media, txn_id)
            return await self._linked(worker, relay, media, txn_id)
        except Refused as error:
            if error.code != "M_TOO_LARGE":
                raise
            self._log.warning("an agent's file is too large for the homeserver", why=str(error))
            return ()

    async def _send(
        self, worker: Worker, relay: Relay, what: Relayed, txn_id: str
    ) -> tuple[Part, ...]:
        record = worker.record
        thread = thread_in_use(record, self._around.clock.now())
        return await self._around.matrix.relay(
            worker.room_id, record.host, relay.agent, what, txn_id, thread=thread
        )

    async def _inline(
        self, worker: Worker, relay: Relay, media: AgentMedia, txn_id: str
    ) -> tuple[Part, ...]:
        try:
            data = base64.b64decode(media.data, validate=False)
        except (binascii.Error, ValueError):
            return ()
        if not data or len(data) > self._around.rules.file_limit:
            return ()
        what = RelayedMedia(media.kind, Blob.of(data, name=media.name), media.seconds)
        return await self._send(worker, relay, what, txn_id)

    async def _linked(
        self, worker: Worker, relay: Relay, media: AgentMedia, txn_id: str
    ) -> tuple[Part, ...]:
        limit = self._around.rules.file_limit
        for attempt in range(FETCH_TRIES):
            opened = False
            try:
                async with self._around.link.fetch(media.url, limit) as blob:
                    opened = True
                    named = Blob(blob.chunks, blob.size, blob.mime, media.name or blob.name)
                    what = RelayedMedia(media.kind, named, media.seconds)
                    return await self._send(worker, relay, what, txn_id)
            except TooBig:
                return ()
            except Refused as error:
                if opened:
                    raise  # the homeserver's refusal, not the file server's
                self._log.info("an agent's file cannot be had", why=error.code)
                return ()
            except Unavailable:
                if opened:
                    raise
                if attempt + 1 < FETCH_TRIES:
                    await worker.pause(2**attempt)
        return ()

    # --- words for what could not be sent ---------------------------------------------------

    def is_media(self, relay: Relay) -> bool:
        """True for a file, False for content that nobody documents."""
        return isinstance(relay.content, AgentMedia)

    def describe(self, relay: Relay) -> Args:
        """Arguments for the sentence that stands in for the message."""
        who = relay.agent.name or relay.agent.id
        content = relay.content
        if isinstance(content, AgentMedia):
            return {"name": content.name or content.kind, "agent": who}
        if isinstance(content, UnknownContent):
            kind = content.message_type
            return {"agent": who, "type": "?" if kind is None else kind}
        return {"agent": who, "type": "?"}


def _link_to(picture: AgentMedia) -> RelayedText:
    """What is shown of a picture inside a text that could not be had."""
    shown = html.escape(f"🖼 {picture.name}".strip())
    if not picture.url.lower().startswith(("http://", "https://")):
        return RelayedText(shown)
    return RelayedText(f'<a href="{html.escape(picture.url)}">{shown}</a>')
