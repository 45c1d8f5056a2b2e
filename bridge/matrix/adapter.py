"""MatrixAdapter: the homeserver, as the engine sees it (`bridge.rooms.ports.MatrixPort`).

It puts the parts together: `events` reads, `render` words, `send` sends, `ghosts` knows who of ours
is where, `joining` enters rooms, `crypto` opens and seals, `client` has the plain calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from bridge.conversation.model import CustomerMedia
from bridge.ids import EventId, RoomId, UserId
from bridge.matrix import events, joining, render
from bridge.matrix.client import Homeserver, Json, Outages, Transport
from bridge.matrix.crypto.attachments import decrypted
from bridge.matrix.crypto.crypto import Crypto
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.vault import Sealer, SecretRows, Vault
from bridge.matrix.ghosts import Ghosts, Profiles
from bridge.matrix.send import Outgoing
from bridge.matrix.users import OurUsers
from bridge.media import OCTETS
from bridge.rooms.inbox import Meaning
from bridge.rooms.ports import (
    Blob,
    Clock,
    EditableNotice,
    Entry,
    Notice,
    OurFile,
    Part,
    Poll,
    Recorded,
    Relayed,
    RelayedMedia,
    RelayedText,
    Undecryptable,
)
from bridge.rooms.record import Thread
from bridge.webchat.frames import Agent, AgentMedia

_REDACTED = "It holds a password."
"""Why an event is taken out of a room."""


class Encryption(msgspec.Struct, frozen=True):
    """Parameters of end-to-end encryption."""

    session: aiohttp.ClientSession
    """For what stays open long, apart from everything else."""
    rows: SecretRows
    """The store's part that keeps what is sealed."""
    secret: str
    """Seals it; the operator's."""
    clock: Clock

    def __repr__(self) -> str:
        """Without the secret."""
        return "Encryption()"


class MatrixAdapter:
    """Implements `MatrixPort`, each method by the part that it is about.

    Besides `Unavailable` and `Refused`, methods pass on what the store of profiles raises, and
    `relay` and `welcome_agent` what a blob raises.

    Args:
        session: made by `client.new_session`; the caller closes it.
        address: the homeserver's base address.
        as_token: a secret.
        users: our users' names.
        profiles: remembers what was written to their profiles.
        conversions: threads in which agents' sounds and videos are converted and looked at.
        displayname_template: the ghosts' names, with `{name}` for the agent's.
        encryption: what it needs; None: encrypted rooms are not read.
        outages: told of requests that find nobody.

    Attributes:
        crypto: encryption, to be begun before anything else and to be kept running.
        ghosts: our users, to be prepared at start.
        homeserver: for what is asked of it beside the port.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        address: str,
        as_token: str,
        users: OurUsers,
        profiles: Profiles,
        conversions: Executor,
        displayname_template: str = "{name}",
        encryption: Encryption | None = None,
        outages: Outages | None = None,
    ) -> None:
        self._users = users
        self._transport = Transport(session, address, as_token, users, outages)
        self.homeserver = Homeserver(self._transport)
        self.crypto: Crypto | None = None
        if encryption is not None:
            patient = Transport(encryption.session, address, as_token, users, outages)
            vault = Vault(encryption.rows, Sealer(encryption.secret))
            server = KeyServer(self._transport, patient)
            self.crypto = Crypto(server, self.homeserver, users, vault, encryption.clock)
        self.ghosts = Ghosts(self.homeserver, self._transport, profiles, users, self.crypto)
        self._template = displayname_template
        self._outgoing = Outgoing(
            self.homeserver,
            self._transport,
            self.ghosts,
            conversions=conversions,
            crypto=self.crypto,
        )

    def is_ours(self, user_id: str) -> bool:
        return self._users.is_ours(user_id)

    def serves(self, user: UserId) -> bool:
        return user not in self._transport.foreign

    async def open(
        self, raw: Json, patience: float | None = None, *, ask: bool = True
    ) -> Json | Undecryptable:
        return raw if self.crypto is None else await self.crypto.open(raw, patience, ask=ask)

    def interpret(self, raw: Json) -> Meaning:
        return events.interpret(raw, self._users)

    async def enter(
        self, room_id: RoomId, host: UserId, inviter: UserId, *, encrypt: bool = False
    ) -> Entry:
        # An invitation may come before this start has seen to the host's device.
        await self.ghosts.ensure(host, "")
        entry = await joining.enter(
            self.homeserver, self._users, room_id, host, inviter, encrypt=encrypt
        )
        if entry.encrypted and self.crypto is not None:
            # Events of our own do not come back to us, and it may have been a clear room before.
            await self.crypto.open(
                {"type": "m.room.encryption", "state_key": "", "room_id": room_id}
            )
        return entry

    async def leave(self, room_id: RoomId, who: UserId, reason: str = "") -> None:
        await self.ghosts.leave(room_id, who, reason)

    async def power_level(self, room_id: RoomId, host: UserId, user_id: UserId) -> float:
        return await joining.power_level(self.homeserver, room_id, host, user_id)

    async def look_back(self, room_id: RoomId, reader: UserId, since: int) -> None:
        await self._outgoing.markers.look_back(room_id, reader, since)

    async def show_typing(self, room_id: RoomId, who: UserId, seconds: float) -> None:
        await self.homeserver.show_typing(who, room_id, seconds)

    async def mark_read(self, room_id: RoomId, who: UserId, event_id: EventId) -> None:
        await self.homeserver.mark_read(who, room_id, event_id)

    def timeline(
        self, room_id: RoomId, reader: UserId, first: EventId
    ) -> AsyncGenerator[Json, None]:
        return self.homeserver.timeline(reader, room_id, first)

    def recorded(self, raw: Json) -> Recorded | None:
        return events.recorded(raw)

    async def redact(self, room_id: RoomId, who: UserId, event_id: EventId, txn_id: str) -> None:
        await self.homeserver.redact(who, room_id, event_id, _REDACTED, txn_id)

    async def say(self, room_id: RoomId, sender: UserId, notice: Notice, txn_id: str) -> EventId:
        if isinstance(notice, EditableNotice):
            content = render.editable_content(notice, txn_id)
        else:
            content = render.notice_content(notice, txn_id)
        return await self._outgoing.send(room_id, sender, content, txn_id)

    async def send_file(
        self, room_id: RoomId, sender: UserId, file: OurFile, txn_id: str
    ) -> EventId:
        what = RelayedMedia("file", Blob.of(file.data, file.mime, file.name))
        return await self._outgoing.send_file(room_id, sender, what, txn_id)

    async def react(
        self, room_id: RoomId, sender: UserId, target: EventId, sign: str, txn_id: str
    ) -> EventId:
        content = render.reaction_content(target, sign)
        return await self._outgoing.react(room_id, sender, content, txn_id)

    async def poll(self, room_id: RoomId, sender: UserId, poll: Poll, txn_id: str) -> EventId:
        content = render.poll_content(poll, txn_id)
        return await self._outgoing.send(room_id, sender, content, txn_id, render.POLL_START)

    async def end_poll(
        self, room_id: RoomId, sender: UserId, poll: EventId, text: str, txn_id: str
    ) -> EventId:
        content = render.poll_end_content(poll, text, txn_id)
        return await self._outgoing.send(room_id, sender, content, txn_id, render.POLL_END)

    async def name_service_members(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> None:
        await self.ghosts.name_service_members(room_id, host, users)

    async def welcome_agent(
        self, room_id: RoomId, host: UserId, agent: Agent, icon: Blob | None, icon_source: str
    ) -> UserId:
        ghost = await self._dressed(agent, icon, icon_source)
        await self.ghosts.join(room_id, host, ghost)
        return ghost

    async def _dressed(self, agent: Agent, icon: Blob | None, icon_source: str) -> UserId:
        """The agent's ghost, with its name and picture."""
        ghost = self.ghost_of(agent)
        name = agent.name.strip()
        await self.ghosts.ensure(
            ghost,
            # A frame that names an agent by id alone takes no name away.
            _called(self._template, agent, name) if name else "",
            icon,
            icon_source,
            otherwise=_called(self._template, agent, agent.id),
        )
        return ghost

    async def icon_known(self, agent: Agent, icon_source: str) -> bool:
        return await self.ghosts.wears(self.ghost_of(agent), icon_source)

    def ghost_of(self, agent: Agent) -> UserId:
        return self._users.ghost(agent.id)

    def pieces(
        self, fragment: str, absolute: Callable[[str], str]
    ) -> tuple[RelayedText | AgentMedia, ...]:
        return render.pieces(fragment, absolute)

    async def relay(
        self,
        room_id: RoomId,
        host: UserId,
        agent: Agent,
        what: Relayed,
        txn_id: str,
        *,
        thread: Thread | None = None,
    ) -> tuple[Part, ...]:
        ghost = await self._dressed(agent, None, "")
        name = _called(self._template, agent, agent.name.strip() or agent.id)
        return await self._outgoing.relay(
            room_id, host, ghost, what, txn_id, name=name, thread=thread
        )

    @asynccontextmanager
    async def download(self, media: CustomerMedia, limit: int) -> AsyncIterator[Blob]:
        async with self._transport.download(media.mxc, limit) as found:
            mime = media.mime if media.mime != OCTETS else found.mime
            if media.file_key is None:
                yield Blob(chunks=found.chunks, size=found.size, mime=mime, name=media.name)
                return
            async with decrypted(found.chunks, media.file_key) as (chunks, size):
                yield Blob(chunks=chunks, size=size, mime=mime, name=media.name)


def _called(template: str, agent: Agent, name: str) -> str:
    """Display name of an agent's ghost, by the template."""
    return template.replace("{id}", agent.id).replace("{name}", name)
