"""MatrixAdapter: implements the engine's port to the homeserver (`bridge.rooms.ports.MatrixPort`).

Element creates a room, invites the host and sends the first message at once (reference matrix.md
§11). The homeserver pushes events only from the host's join on, so `enter` fetches earlier ones. A
removed ghost rejoins once; if the room refuses it, the host sends for it (`render.spoken_for`).
"""

from __future__ import annotations

import asyncio
import io
import math
import unicodedata
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial

import msgspec
from cachetools import LRUCache, TTLCache

from bridge.conversation.model import CustomerMedia, Reported
from bridge.ids import EventId, RoomId, UserId, digest_of, localpart_of
from bridge.matrix import events, render
from bridge.matrix.client import Homeserver, Spooled, spool
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.crypto import Crypto
from bridge.matrix.crypto.devices import GONE
from bridge.matrix.crypto.wire import Json
from bridge.matrix.ghosts import KNOWN_SECONDS, MAX_DISPLAYNAME, UNREGISTERED, Ghosts, PlainDevices
from bridge.matrix.users import OurUsers
from bridge.media import formats
from bridge.rooms import ports
from bridge.rooms.record import Entered, Person, Thread
from bridge.rooms.store import StorePort
from bridge.webchat.frames import Agent, AgentLocation, AgentText
from bridge.webchat.words import name_line

ENCRYPTION: Json = {"algorithm": wire.MEGOLM}
BRIDGE = ("uk.half-shot.bridge", "m.bridge")
"""Unstable and stable type of MSC2346's state event. Only the last, written last, is read."""
MOST_PEOPLE = 2_000
"""Maximum members who are read on entering; in a larger room, others are met as they speak."""
MAX_EARLIER = 100
"""Maximum number of events searched, from the room's end backwards, for the host's invitation."""
_MAX_GHOSTS = 2_000
STEP_IN_EVERY = 300
"""Minimum seconds between two answers of ghosts who are invited into the same room."""
_QUOTABLE = 200
"""Maximum characters of an agent's message kept for quoting it in replies."""
KEPT = 2_000
_PAGE = 100
MOST_PAGES = 5
"""Maximum pages of `_PAGE` events that `find_markers` reads from a room's end."""
_LONGEST_TXN = 255
"""Maximum characters of a transaction id that is cached: a stranger's event can have any."""
_PURGED = "M_UNKNOWN"
"""Error code of Synapse for a message in a thread of which it has purged all events."""
_NO_QUOTA = frozenset({"M_USER_LIMIT_EXCEEDED", "M_RESOURCE_LIMIT_EXCEEDED"})
"""Error codes of an upload over Synapse's `media_upload_limits`, the latter before MSC4335."""
_SKEW = 10 * 60_000
"""Maximum difference, ms, assumed between the homeserver's clock and the bridge's."""


@dataclass(eq=False, repr=False)
class MatrixAdapter:
    """Implements `MatrixPort`; `__post_init__` binds methods that its parts implement unchanged.

    Methods raise Unavailable, Refused and StoreError; those that send files also the blob's errors.
    """

    homeserver: Homeserver
    _: KW_ONLY
    users: OurUsers
    profiles: StorePort
    conversions: Executor
    displayname_template: str = "{name}"
    crypto: Crypto | None = None

    def __post_init__(self) -> None:
        homeserver = self.homeserver
        self.is_ours = self.users.is_ours
        self.interpret = partial(events.interpret, ours=self.users)
        self.event = homeserver.event
        self.timeline = homeserver.timeline
        self.show_typing = homeserver.show_typing
        self.is_joined = homeserver.is_joined
        self.openid_user = homeserver.openid_user
        self.mark_read = homeserver.mark_read
        self.redact = homeserver.redact
        devices = self.crypto or PlainDevices(homeserver)
        self.ghosts = Ghosts(homeserver, self.profiles, self.users, devices)
        self.leave = self.ghosts.leave
        self.name_service_members = self.ghosts.name_service_members
        self._sent: LRUCache[tuple[str, str], EventId] = LRUCache(KEPT)
        """Events that the bridge has sent, by sender and transaction id (`find_markers`)."""
        self._dressed_as: TTLCache[UserId, str] = TTLCache(_MAX_GHOSTS, KNOWN_SECONDS)
        self._stepped_in: TTLCache[RoomId, bool] = TTLCache(_MAX_GHOSTS, STEP_IN_EVERY)
        """Rooms in which a ghost has lately told its inviter where to write."""
        self._bridged: LRUCache[RoomId, Json] = LRUCache(_MAX_GHOSTS)
        """Latest `m.bridge` content per room, also where the room refused it."""

    pieces = staticmethod(render.pieces)
    recorded = staticmethod(events.recorded)

    # --- bridge users and incoming events ---------------------------------------------------------

    def serves(self, user: UserId) -> bool:
        return user not in self.homeserver.foreign

    def ghost_of(self, agent: Agent, enterprise: str = "") -> UserId:
        users = self.users.of(enterprise) if enterprise else self.users
        return users.ghost(agent.id)

    async def open(
        self, raw: Json, patience: float | None = None, *, ask: bool = True
    ) -> Json | ports.Undecryptable:
        return raw if self.crypto is None else await self.crypto.open(raw, patience, ask=ask)

    def invalidate(self, raw: Json) -> None:
        if self.crypto is not None:
            self.crypto.invalidate(raw)

    async def limit_to(self, ours: Callable[[str], bool]) -> None:
        if self.crypto is not None:
            await self.crypto.limit_to(ours)

    def forget(self, rooms: Collection[RoomId], person: UserId | None = None) -> None:
        if self.crypto is not None:
            parts = tuple(f"in/{room_id}/" for room_id in rooms)
            ending = f"/{person}" if person else "\0"
            self.crypto.forget(lambda n: n.endswith(ending) or any(part in n for part in parts))
            self.crypto.end_sessions(rooms.__contains__)

    @asynccontextmanager
    async def download(self, media: CustomerMedia, limit: int) -> AsyncIterator[ports.Blob]:
        async with self.homeserver.download(media.mxc, limit) as found:
            mime = media.mime if media.mime != formats.OCTETS else found.mime
            if media.file_key is None:
                yield ports.Blob(found.chunks, found.size, mime, media.name)
                return
            async with wire.decrypted(found.chunks, media.file_key) as (chunks, size):
                yield ports.Blob(chunks, size, mime, media.name)

    # --- rooms and members ------------------------------------------------------------------------

    async def enter(
        self, room_id: RoomId, host: UserId, inviter: UserId, *, encrypt: bool = False
    ) -> ports.Entry:
        """Join as `host`; return earlier messages and the room's state. Idempotent."""
        # After a start, an invitation may arrive before the host's device has been ensured.
        await self.ghosts.ensure(host)
        state = partial(self.homeserver.state, host, room_id)
        await self.homeserver.join(host, room_id)
        # In parallel, as the customer is waiting for the welcome notice.
        members, encryption, settings, levels, stone, (earlier, direct) = await asyncio.gather(
            self.homeserver.members(host, room_id),
            state("m.room.encryption"),
            state(events.ROOM_SETTINGS),
            state("m.room.power_levels"),
            state(ports.TOMBSTONE),
            self._since_invited(room_id, host),
        )
        if stone is not None and _replacement(stone):  # of before we came: no event tells us
            earlier.append(stone | {"room_id": room_id})
        if encryption is None and encrypt:
            encryption = await self._encrypt(room_id, host)
        muted = await self._muted(room_id, host, levels, encrypted=encryption is not None)
        present = _present(members)
        found = Entered(
            direct=direct or len(present) == 2,
            encrypted=encryption is not None,
            displayname=next(
                (_person(raw).name for raw in present if raw.get("state_key") == inviter),
                localpart_of(inviter),
            ),
            config=None if settings is None else wire.mapping(settings, "content"),
            people=self._people(present, inviter),
            encrypted_by_us=encryption is not None and encryption.get("sender") == host,
            configured_by=UserId("" if settings is None else str(settings.get("sender"))),
            muted=muted,
            unreadable=encryption is not None
            and self.crypto is not None
            and wire.text(encryption, "content", "algorithm") != wire.MEGOLM,
        )
        if found.encrypted:
            # The endpoint drops echoes of own events; crypto may have cached the room as clear.
            self.invalidate({"type": "m.room.encryption", "state_key": "", "room_id": room_id})
        return ports.Entry(tuple(earlier), found)

    def _people(self, present: Sequence[Json], inviter: UserId) -> tuple[Person, ...]:
        """Return the joined members, the inviter last, without bridge users."""
        ours, joined = self.is_ours, (raw for raw in present if _membership(raw) == "join")
        others = (raw for raw in joined if (user := wire.text(raw, "state_key")) and not ours(user))
        kept = sorted(others, key=lambda raw: raw.get("state_key") == inviter)[-MOST_PEOPLE:]
        return tuple(map(_person, kept))

    async def _encrypt(self, room_id: RoomId, host: UserId) -> Json | None:
        """Turn on encryption; return the state event, or None for a public room or if refused."""
        rules = await self.homeserver.state(host, room_id, "m.room.join_rules")
        if wire.text(rules, "content", "join_rule") == "public":
            return None  # anyone can join and read it, and clients advise against encryption there
        try:
            await self.homeserver.set_state(host, room_id, "m.room.encryption", ENCRYPTION)
        except ports.Refused:
            return None  # the host's power level is too low
        return {"sender": host, "content": ENCRYPTION}

    async def _since_invited(self, room_id: RoomId, host: UserId) -> tuple[list[Json], bool]:
        """Return messages since the invitation of `host`, oldest first, and its `is_direct`."""
        found: list[Json] = []
        seen, before = 0, ""
        while seen < MAX_EARLIER:
            page, before = await self.homeserver.page(host, room_id, MAX_EARLIER - seen, before)
            for event in page:
                if events.is_membership(event, host, "invite"):
                    # Only the invitation has is_direct; the join has replaced it in the state.
                    direct = wire.mapping(event, "content").get("is_direct") is True
                    return found[::-1], direct
                theirs = not self.is_ours(str(event.get("sender")))
                if theirs and wire.text(event, "type") in events.CONTENT_EVENTS:
                    found.append(event | {"room_id": room_id})
            seen += len(page)
            if not before:
                break
        return found[::-1], False

    async def host_in(self, room_id: RoomId) -> UserId | None:
        for host in self.users.hosts:
            with suppress(ports.Refused):  # never a member
                if await self.is_joined(room_id, host, host):
                    return host
        return None

    async def is_muted(self, room_id: RoomId, host: UserId, *, encrypted: bool) -> bool:
        levels = await self.homeserver.state(host, room_id, "m.room.power_levels")
        return await self._muted(room_id, host, levels, encrypted=encrypted)

    async def _muted(
        self, room_id: RoomId, host: UserId, levels: Json | None, *, encrypted: bool
    ) -> bool:
        kind = "m.room.encrypted" if encrypted else "m.room.message"
        if may_send(kind, host, None, levels):
            return False
        # It may yet be a creator.
        create = await self.homeserver.state(host, room_id, "m.room.create")
        return not may_send(kind, host, create, levels)

    async def power_levels(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> dict[UserId, float]:
        create = await self.homeserver.state(host, room_id, "m.room.create")
        levels = await self.homeserver.state(host, room_id, "m.room.power_levels")
        return {user: level(user, create, levels) for user in users}

    async def show_panel(
        self,
        room_id: RoomId,
        host: UserId,
        url: str,
        name: str,
        former: tuple[RoomId, UserId] | None = None,
    ) -> None:
        if former is not None:
            where, reader = former
            panel = await self.homeserver.state(reader, where, render.WIDGET, render.PANEL)
            if not wire.mapping(panel, "content"):
                return
        content = render.panel_content(host, url, name)
        await self.homeserver.set_state(host, room_id, render.WIDGET, content, render.PANEL)

    async def configuration(self, room_id: RoomId, reader: UserId) -> Json | None:
        event = await self.homeserver.state(reader, room_id, events.ROOM_SETTINGS)
        return None if event is None else wire.mapping(event, "content")

    async def configure(self, room_id: RoomId, sender: UserId, content: Json) -> None:
        await self.homeserver.set_state(sender, room_id, events.ROOM_SETTINGS, content)

    async def show_bridge(self, room_id: RoomId, host: UserId, key: str, content: Json) -> None:
        if self._bridged.get(room_id) == content:
            return
        event = await self.homeserver.state(host, room_id, BRIDGE[-1], key)
        try:
            if event is None or event.get("content") != content:
                for kind in BRIDGE:
                    await self.homeserver.set_state(host, room_id, kind, content, key)
        except ports.Refused:
            self._bridged[room_id] = content  # do not retry at every chat
            raise
        self._bridged[room_id] = content

    async def is_hidden(self, room_id: RoomId, reader: UserId, event_id: EventId) -> bool:
        if await self.event(room_id, reader, event_id) is not None:
            return False
        # Some homeservers show nothing to a reader who was removed; this raises Refused then.
        return await self.is_joined(room_id, reader, reader)

    async def is_replaced(self, room_id: RoomId, reader: UserId) -> bool:
        return _replacement(await self.homeserver.state(reader, room_id, ports.TOMBSTONE))

    async def welcome_agent(
        self, room_id: RoomId, host: UserId, agent: Agent, icon: ports.Blob | None, icon_source: str
    ) -> UserId:
        ghost = await self._with_profile(agent, icon, icon_source)
        await self.ghosts.join(room_id, host, ghost)
        return ghost

    async def step_in(
        self, room_id: RoomId, ghost: UserId, notice: ports.NoticeText, txn_id: str
    ) -> None:
        if room_id in self._stepped_in:  # the inviter may be a program that always asks again
            return
        await self._check_known(ghost)
        await self.ghosts.ensure(ghost)
        await self.ghosts.join(room_id, ghost, ghost)
        # Else a group would read it, and where a member of it chats.
        if len(_present(await self.homeserver.members(ghost, room_id))) == 2:
            with suppress(ports.Refused):  # where it may not write, it does not come again either
                await self.say(room_id, ghost, notice, txn_id)
        self._stepped_in[room_id] = True

    async def _check_known(self, ghost: UserId) -> None:
        """Raise Refused for a user id that a stranger may have invented: it would get keys."""
        if not await self.ghosts.exists(ghost):
            raise ports.Refused(UNREGISTERED, f"{ghost} was never registered by the bridge")

    async def icon_known(self, agent: Agent, icon_source: str) -> bool:
        return await self.ghosts.has_icon(self.ghost_of(agent), icon_source)

    async def _with_profile(
        self, agent: Agent, icon: ports.Blob | None = None, icon_source: str = ""
    ) -> UserId:
        ghost, name = self.ghost_of(agent), agent.name.strip()
        if icon is None and self._dressed_as.get(ghost) == name:
            return ghost
        await self.ghosts.ensure(
            ghost,
            # A frame without the agent's name must not clear the ghost's display name.
            self._unique_name(agent, name) if name else "",
            icon,
            icon_source,
            otherwise=self._unique_name(agent, agent.id),
        )
        self._dressed_as[ghost] = name
        return ghost

    def _unique_name(self, agent: Agent, name: str) -> str:
        """Return an agent's display name; add the ghost's localpart if the name could mislead.

        The call centre chooses the names: one may equal the bot's or look like a Matrix user id.
        """
        shown = self.displayname_template.replace("{id}", agent.id).replace("{name}", name)
        plain = _normalised_name(shown)
        like_a_user = plain.startswith("@") and ":" in plain
        if like_a_user or plain == _normalised_name(self.ghosts.bot_name):
            shown = f"{shown} ({localpart_of(self.ghost_of(agent))})"
        return shown

    # --- sending ----------------------------------------------------------------------------------

    async def send(
        self,
        room_id: RoomId,
        sender: UserId,
        content: Json,
        txn_id: str,
        kind: str = "m.room.message",
    ) -> EventId:
        """Send a message, encrypted if the room is. Idempotent per sender, room and `txn_id`.

        The content carries `MARKER`, by which `find_markers` finds the event later. Synapse caches
        transaction ids per room, not per user: two ghosts using one id would share one event
        (reference matrix.md §5). So a digest of sender and device is added to the id; a replacement
        device (`devices.Upkeep`) then never gets an event of the old one.
        """
        found = self._sent.get((sender, txn_id))
        if found is not None:
            return found
        content = content | {wire.MARKER: {"txn": txn_id}}
        own = await self._device_txn_id(txn_id, sender)
        try:
            return await self._seal_and_send(room_id, sender, content, own, kind)
        except ports.Refused as refusal:
            if refusal.code == GONE:
                await self.ghosts.devices.mend(sender)
            elif refusal.code == _PURGED and _is_in_thread(content):
                content = {key: content[key] for key in content if key != "m.relates_to"}
            else:
                raise
        return await self._seal_and_send(room_id, sender, content, own, kind)

    async def _device_txn_id(self, txn_id: str, sender: UserId) -> str:
        """Return the transaction id for the sender's device, which is made if needed."""
        device = ""
        if self.crypto is not None:
            await self.crypto.ensure(sender)
            device = self.crypto.upkeep.device_id
        return f"{txn_id}.{digest_of(sender + device)}"

    async def _seal_and_send(
        self, room_id: RoomId, sender: UserId, content: Json, txn_id: str, kind: str
    ) -> EventId:
        if self.crypto is not None:
            clear = kind
            kind, content = await self.crypto.seal(sender, room_id, kind, content)
            if kind != clear:
                await self.ghosts.introduced(room_id, sender)
        return await self.homeserver.send(sender, room_id, kind, content, txn_id)

    async def say(
        self, room_id: RoomId, sender: UserId, notice: ports.Notice, txn_id: str
    ) -> EventId:
        kind = "m.room.message"
        if isinstance(notice, ports.Poll):
            kind, content = render.POLL_START, render.poll_content(notice)
        elif isinstance(notice, ports.EditableNotice):
            content = render.editable_content(notice)
        else:
            content = render.notice_content(notice)
        return await self.send(room_id, sender, content, txn_id, kind)

    async def react(
        self, room_id: RoomId, sender: UserId, target: EventId, sign: str, txn_id: str
    ) -> EventId:
        # Never encrypted: homeservers aggregate reactions.
        content = render.reaction_content(target, sign)
        own = await self._device_txn_id(txn_id, sender)
        return await self.homeserver.send(sender, room_id, "m.reaction", content, own)

    async def tell_status(
        self, room_id: RoomId, sender: UserId, status: ports.Status, txn_id: str
    ) -> EventId:
        content, own = render.status_content(status), await self._device_txn_id(txn_id, sender)
        return await self.homeserver.send(sender, room_id, render.STATUS, content, own)

    async def decline(self, room_id: RoomId, sender: UserId, report: Reported, txn_id: str) -> None:
        if (declined := render.declined(report)) is None:
            return
        await self._check_known(sender)
        kind, content = declined
        await self.send(room_id, sender, content, txn_id, kind)

    async def send_file(
        self, room_id: RoomId, sender: UserId, file: ports.Blob, txn_id: str, caption: str = ""
    ) -> EventId:
        content = await self._upload(room_id, sender, ports.RelayedMedia("file", file))
        if caption:
            content = render.captioned(content, caption)
        return await self.send(room_id, sender, content, txn_id)

    # --- agents' messages -------------------------------------------------------------------------

    async def relay(
        self,
        room_id: RoomId,
        host: UserId,
        agent: Agent,
        what: ports.Relayed,
        txn_id: str,
        *,
        thread: Thread | None = None,
        mentions: tuple[UserId, ...] = (),
    ) -> tuple[ports.Part, ...]:
        """Send an agent's message; a retry sends only the missing parts."""
        inside = True
        try:
            ghost = await self._with_profile(agent)
            await self.ghosts.join(room_id, host, ghost)
        except ports.Refused:
            ghost, inside = self.ghost_of(agent), False
        contents = await self._contents(room_id, ghost if inside else host, what)
        parts: list[ports.Part] = []
        for number, content in enumerate(contents, start=1):
            own = txn_id if number == 1 else f"{txn_id}.{number}"
            whole = content if thread is None else render.in_thread(content, thread)
            if mentions and number == 1:
                whole |= {"m.mentions": {"user_ids": list(mentions)}}
            # An earlier attempt may have used the other sender: the ghost's access can change.
            sent = self._sent.get((ghost, own)) or self._sent.get((host, own))
            if sent is None and inside:
                sent = await self._send_as_ghost(room_id, host, ghost, whole, own)
                inside = sent is not None
            if sent is None:
                name = self._unique_name(agent, agent.name.strip() or agent.id)
                sent = await self.send(room_id, host, render.spoken_for(name, whole), own)
            self._sent[ghost, own] = sent
            parts.append(ports.Part(sent, str(content["body"])[:_QUOTABLE]))
        return tuple(parts)

    async def _contents(
        self, room_id: RoomId, sender: UserId, what: ports.Relayed
    ) -> list[render.Content]:
        if isinstance(what, AgentText):
            return render.text_contents(what.html)
        if isinstance(what, AgentLocation):
            return [render.location_content(what)]
        try:
            return [await self._upload(room_id, sender, what)]
        except ports.BrokenOff:
            raise
        except ports.Unavailable as error:
            raise ports.NotStored(str(error), error.retry_after) from error
        except ports.Refused as error:
            if error.code in _NO_QUOTA:
                raise ports.TooBig(str(error)) from error
            raise

    async def _send_as_ghost(
        self, room_id: RoomId, host: UserId, ghost: UserId, content: Json, txn_id: str
    ) -> EventId | None:
        """Send as a ghost, rejoining once if it was removed; None if the ghost is refused."""
        with suppress(ports.Refused):
            return await self.send(room_id, ghost, content, txn_id)
        with suppress(ports.Refused):
            self.ghosts.forget(room_id, ghost)
            await self.ghosts.join(room_id, host, ghost)
            return await self.send(room_id, ghost, content, txn_id)
        return None

    async def find_markers(self, room_id: RoomId, reader: UserId, since: int) -> None:
        """Cache the bridge's events in a room: idempotency beyond transaction ids.

        Synapse remembers a transaction id for a day if the sender has a device, else for half an
        hour or until it restarts (reference matrix.md §5). So before an older message is sent
        again, the room is searched for an event with its `MARKER`; by sender, as nobody can forge
        another user's.
        """
        before = ""
        for _ in range(MOST_PAGES):
            found, before = await self.homeserver.page(reader, room_id, _PAGE, before)
            recent = [event for event in found if events.sent_at(event) >= since - _SKEW]
            for event in recent:
                txn = wire.text(event, "content", wire.MARKER, "txn")
                event_id = wire.text(event, "event_id")
                if txn and event_id and len(txn) <= _LONGEST_TXN:
                    self._sent[str(event.get("sender")), txn] = EventId(event_id)
            if not before or len(recent) < len(found):
                return

    # --- files ------------------------------------------------------------------------------------

    async def _upload(
        self, room_id: RoomId, user: UserId, what: ports.RelayedMedia
    ) -> render.Content:
        async with spool(what.blob, what.kind) as original:
            no_text = what.kind != "file" or formats.holds_no_text(original.name)
            if no_text and original.mime in formats.PAGES:
                raise ports.BrokenOff(f"{original.mime} instead of the {what.kind}")
            file = await playable(original, what.kind, self.conversions)
            limit = None
            with suppress(ports.Refused):  # a homeserver without this endpoint
                limit = await self.homeserver.upload_limit()
            if limit is not None and file.size > limit:
                # Above its limit Synapse cuts the connection, which looks like a transient failure.
                raise ports.Refused("M_TOO_LARGE", f"{file.size} bytes, {limit} allowed")
            if file.seconds is None:
                file = msgspec.structs.replace(file, seconds=what.seconds)
            where = await self._put(room_id, user, file)
            return render.media_content(what.kind, file, where)

    async def _put(self, room_id: RoomId, user: UserId, file: Spooled) -> render.Content:
        """Upload a file, encrypted if the room is; return the content's `url` or `file` field."""
        upload = self.homeserver.upload
        if self.crypto is None or not await self.crypto.is_encrypted(user, room_id):
            return {"url": await upload(file, file.mime, file.name, user)}
        async with wire.encrypted(file.chunks()) as (sealed, key):
            # The MIME type and name of an encrypted file are hidden from the homeserver.
            mxc = await upload(sealed, formats.OCTETS, "", user)
            return {"file": wire.file_field(mxc, key)}


def _normalised_name(name: str) -> str:
    """Normalise a name to how people see it: NFKC, case-folded, without invisible characters."""
    folded = unicodedata.normalize("NFKC", name[:MAX_DISPLAYNAME]).casefold()
    return "".join(char for char in folded if unicodedata.category(char) != "Cf").strip()


def _replacement(stone: Json | None) -> bool:
    """True if a tombstone names a room; one that was undone does not."""
    return bool(wire.mapping(stone, "content").get("replacement_room"))


def _is_in_thread(content: Json) -> bool:
    return wire.text(content, "m.relates_to", "rel_type") == "m.thread"


def _membership(event: Json) -> str:
    return wire.text(event, "content", "membership")


def _present(members: Sequence[Json]) -> list[Json]:
    return [raw for raw in members if _membership(raw) in {"join", "invite"}]


def _person(event: Json) -> Person:
    """Return the member of a membership event, with the localpart for a missing display name."""
    user = UserId(wire.text(event, "state_key"))
    return Person(user, name_line(wire.text(event, "content", "displayname")) or localpart_of(user))


def level(user_id: UserId, create: Json | None, levels: Json | None) -> float:
    """Compute a power level from the m.room.create and m.room.power_levels events. Pure.

    Infinity for creators from room version 12 on (MSC4289). Without a power levels event the
    creator has 100 and others 0 (specification, "m.room.power_levels").
    """
    about, sender = wire.mapping(create, "content"), wire.text(create, "sender")
    version = str(about.get("room_version") or "1")
    number = int(version) if version.isascii() and version.isdigit() and len(version) < 6 else 0
    # hydra: version 12 before its release
    has_creators = number >= 12 or version.startswith("org.matrix.hydra")
    if has_creators and user_id in {sender, *wire.strings(about, "additional_creators")}:
        return math.inf
    if levels is None:
        return 100 if user_id == about.get("creator", sender) else 0
    given = wire.mapping(levels, "content")
    for candidate in (wire.mapping(given, "users").get(user_id), given.get("users_default")):
        if isinstance(candidate, str):  # up to room version 9
            with suppress(ValueError):
                return int(candidate)
        elif isinstance(candidate, int) and not isinstance(candidate, bool):
            return candidate
    return 0


def may_send(kind: str, user_id: UserId, create: Json | None, levels: Json | None) -> bool:
    """Compute whether a user may send events of a type. Pure; see `level`."""
    given = wire.mapping(levels, "content")
    needed = wire.mapping(given, "events").get(kind, given.get("events_default"))
    return not isinstance(needed, int) or level(user_id, create, levels) >= needed


async def playable(file: Spooled, kind: str, conversions: Executor) -> Spooled:
    """Convert a `voice` to Ogg/Opus, or add a video's size and length; unchanged if unplayable."""
    run = asyncio.get_running_loop().run_in_executor
    if kind == "voice":
        with suppress(formats.NoSound):
            sound = await run(conversions, formats.apart, formats.to_opus, file.stream)
            return Spooled(
                io.BytesIO(sound.data),
                len(sound.data),
                name=f"{file.name.rpartition('.')[0] or file.name}.ogg",
                mime="audio/ogg",
                seconds=sound.seconds,
                waveform=sound.waveform,
            )
    if file.mime.startswith("video/"):
        seen = None
        with suppress(formats.NoSound):
            seen = await run(conversions, formats.apart, formats.look, file.stream)
        if seen is not None:
            size = (seen.width, seen.height) if seen.width and seen.height else None
            return msgspec.structs.replace(file, dimensions=size, seconds=seen.seconds or None)
    return file
