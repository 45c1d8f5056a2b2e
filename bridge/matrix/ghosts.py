"""Registration, profiles and memberships of bridge users on the homeserver.

Profiles are stored, and sent to the homeserver only when they change. A picture is identified by
its hash: many agents share one, and the same address may show another a day later. Memberships made
here are cached; a request that is refused reveals a stale one.

Anybody could register the names of bots and queue users. One registered by the bridge stays its
own, even if an operator logs in as it. Any other is checked for foreign devices at each `ensure`
and `leave`: without one, it cannot be told from a user that the bridge made with another database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from weakref import WeakValueDictionary

import msgspec
import structlog
from cachetools import LRUCache, TTLCache

from bridge.config.model import Bot, Queue
from bridge.ids import QueueId, RoomId, UserId
from bridge.matrix.client import DEVICE, FOREIGN, OWNER, TAKEN, Homeserver, spool
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.crypto import Crypto
from bridge.matrix.crypto.wire import Json
from bridge.matrix.users import LOAD_IT, NOT_LOADED, OurUsers, not_loaded, not_registered
from bridge.media import formats
from bridge.rooms.ports import Blob, Despite, Refused, TooBig, Unavailable
from bridge.rooms.store import GhostRow, StorePort

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.ghosts")

_MAX_ROWS = 2_000
KNOWN_SECONDS = 600
"""Seconds that a row is cached: other processes of the bridge also write profiles."""
_MAX_MEMBERSHIPS = 50_000
_MAX_PICTURES = 500
_LOOK_AGAIN = 24 * 3_600_000
"""ms after which a picture is fetched again, to see whether it has changed."""
_SEEN_EVERY = 24 * 3_600_000
"""ms between updates of the time when a user was last needed (`retention.ghosts`)."""
INTRODUCTION = 2.0
"""Seconds from a user's joining to their first encrypted message. An agent often greets in the same
moment; a client that excludes insecure devices, and has not yet asked whose device it is, shows
"Sent from an insecure device" until it is loaded again (Element Web 1.12.12)."""
_DRAWN = "drawn"
"""Source of a picture drawn by the bridge (`media.formats`)."""
MAX_DISPLAYNAME = 256
"""Maximum characters; Synapse refuses longer names."""
SERVICE_MEMBERS = "io.element.functional_members"
UNREGISTERED = "M_FORBIDDEN"
"""Error code for acting as a bridge user that the homeserver does not know (any more)."""
_MISSING = "a bridge user was missing on the homeserver, registered again"
FOREIGN_FIX = (
    "take the account over (docs/homeservers.md, Names that somebody else has; for an account of"
    " another bridge, Several bridges), or do without it"
)


class PlainDevices:
    """Devices without keys (MSC4190), for a bridge without encryption."""

    def __init__(self, homeserver: Homeserver) -> None:
        self._homeserver = homeserver
        self._asked: LRUCache[UserId, bool] = LRUCache(_MAX_ROWS)
        self.mend = homeserver.make_device
        """Recreates a device that the homeserver no longer knows."""

    async def ensure(self, user: UserId) -> None:
        """Create the user's device if needed. Raises Refused only with `UNREGISTERED`."""
        # Once per start: with encryption on before, the user had another device.
        if self._asked.get(user):
            return
        try:
            await self._homeserver.make_device(user)
        except Refused as refusal:
            if refusal.code == UNREGISTERED:
                raise
            _log.error("no device for this user", user=user, code=refusal.code)
        self._asked[user] = True


def made_fact(user: UserId) -> str:
    """Return the name of the stored fact that the bridge registered the user."""
    return f"made.{user}"


def foreign_devices(devices: Iterable[str]) -> list[str]:
    """Return devices that the bridge did not create: of somebody who logged in as the user.

    A homeserver does not tell an application service who registered a user. A person's registration
    and logins create devices with other ids than the bridge chooses.
    """
    return [device for device in devices if not device.startswith(DEVICE)]


@dataclass(eq=False, repr=False)
class Ghosts:
    """Registration, profiles and memberships of bridge users.

    Methods raise Unavailable, StoreError or Refused (`FOREIGN`: somebody else has the user).
    """

    _homeserver: Homeserver
    _profiles: StorePort
    _users: OurUsers
    devices: Crypto | PlainDevices
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    """ms since the epoch."""

    def __post_init__(self) -> None:
        self._rows: TTLCache[UserId, GhostRow] = TTLCache(_MAX_ROWS, KNOWN_SECONDS)
        self._pictures: LRUCache[str, str] = LRUCache(_MAX_PICTURES)
        """mxc address by the SHA-256 of the file."""
        self._joined: LRUCache[tuple[RoomId, UserId], float] = LRUCache(_MAX_MEMBERSHIPS)
        """When users joined rooms, in the event loop's seconds."""
        self._named: LRUCache[tuple[RoomId, UserId], bool] = LRUCache(_MAX_MEMBERSHIPS)
        self.bot_name = ""
        # Two rooms may meet a new agent at once: the second waits, and finds the ghost made.
        self._locks: WeakValueDictionary[UserId, asyncio.Lock] = WeakValueDictionary()

    async def prepare(
        self,
        queues: Sequence[Queue],
        bot: Bot,
        appservice_id: str = "webchat",
        user: UserId | None = None,
    ) -> None:
        """Register the bot (`user`) and the queue users as configured, and check the as_token.

        Raises Unauthorized, and Refused if the homeserver refuses the users (`M_EXCLUSIVE`,
        `M_FORBIDDEN`), if somebody else has the bot (`FOREIGN`), or if one of the users belongs to
        another application service (`TAKEN`).
        """
        user, self.bot_name = user or self._users.bot, bot.displayname
        # At every start, whatever is stored: nothing works without the bot.
        await self._register(user)
        await self._homeserver.check()
        await self._claim(user, appservice_id)
        await self._show(user, bot.displayname, bot.avatar, formats.bot_avatar)
        for queue in queues:
            draw = partial(formats.queue_avatar, queue.id)
            with Despite(FOREIGN):  # logged already; the other queues are still served
                user = self._users.queue_user(QueueId(queue.id))
                await self._claim(user, appservice_id)
                await self._show(user, queue.name, queue.avatar, draw)

    async def _claim(self, user: UserId, appservice_id: str) -> None:
        """Register a bot or queue user, and mark it (`OWNER`) as this application service's.

        Several services can share a user outside of exclusive namespaces: each would answer its
        invitations, and give it another device. Another service's mark counts unless this database
        knows that the bridge made the user: then it is a former id of this service. As a stranger
        could write any mark, foreign accounts are refused first.
        """
        await self._check_ours(user)
        owner = wire.text(await self._homeserver.account_data(user, OWNER), "appservice")
        if owner not in {"", appservice_id} and not await self._profiles.fact(made_fact(user)):
            raise Refused(TAKEN, f"{user} is served by the application service {owner}")
        await self.ensure(user)
        if owner != appservice_id:
            with suppress(Refused):  # the user stays unmarked
                mark: Json = {"appservice": appservice_id}
                await self._homeserver.set_account_data(user, OWNER, mark)

    async def _show(self, user: UserId, name: str, mxc: str, draw: Callable[[], bytes]) -> None:
        """Set a user's name and its configured picture, or else a drawn one."""
        icon = None
        if not mxc and not await self.has_icon(user, _DRAWN):
            icon = Blob.of(await asyncio.to_thread(draw), "image/png", "avatar.png")
        await self.ensure(user, name, icon, _DRAWN, mxc=mxc)

    async def exists(self, user: UserId) -> bool:
        """Whether the database records that the user was registered."""
        row = await self._row(user)
        return row is not None and row.device

    async def answer_user_query(self, user_id: str) -> bool:
        """Answer the homeserver's user query: register a bot or queue user, False for others."""
        if not self._users.is_host(user_id):
            return False
        await self.ensure(UserId(user_id))
        return True

    async def ensure(
        self,
        user: UserId,
        displayname: str = "",
        icon: Blob | None = None,
        icon_source: str = "",
        *,
        otherwise: str = "",
        mxc: str = "",
    ) -> None:
        """Register the user if needed, and set its name and picture (`icon` None: unchanged).

        An empty `displayname` keeps the name; `otherwise` is for a user without a name. `mxc`: a
        picture that the homeserver already has, in place of an `icon`.
        """
        async with self._locks.setdefault(user, asyncio.Lock()):
            row = await self._exist(user)
            if icon is not None or displayname.strip() not in {"", row.displayname}:
                # Another process may have written the same meanwhile.
                row = await self._profiles.ghost(user) or row
            name = (displayname.strip() or row.displayname or otherwise)[:MAX_DISPLAYNAME]
            if name and name != row.displayname:
                row = await self._set(row, "displayname", name, displayname=name)
            if icon is not None:
                row = await self._set_icon(row, icon, icon_source)
            elif mxc and row.avatar_mxc != mxc:
                row = msgspec.structs.replace(row, avatar_source="", avatar_hash="")
                row = await self._set(row, "avatar_url", mxc, avatar_mxc=mxc)
            if self.now() - row.seen >= _SEEN_EVERY:
                await self._save(row)

    async def has_icon(self, user: UserId, icon_source: str) -> bool:
        """True if the picture is from that source and was checked within `_LOOK_AGAIN`."""
        row = await self._row(user)
        if row is None or row.avatar_source != icon_source:
            return False
        return 0 <= self.now() - row.avatar_at < _LOOK_AGAIN

    async def join(self, room_id: RoomId, host: UserId, user: UserId) -> None:
        """Join the user to the room, invited by the host, unless cached as joined.

        A user who was invited by somebody else is named as `host`, too. Where the invitation is not
        forbidden, neither is the join by the room: it is the homeserver that refuses it.
        """
        if self._joined.get((room_id, user)) is not None:
            return
        invited = True
        try:
            if host != user:
                await self._homeserver.invite(host, room_id, user)
        except Refused as refusal:
            invited = False
            # Also refused to a member, or in a public room: the join decides.
            _log.debug("ghost not invited", room=room_id, user=user, code=refusal.code)
        try:
            await self._homeserver.join(user, room_id)
        except Refused as refusal:
            self._log_not_loaded(user, refusal)
            # After its database was restored from an older backup. At the next try the user gets
            # its profile, too.
            if not_registered(str(refusal)) and await self._homeserver.register(user):
                _log.warning(_MISSING, user=user)
                await self._save(GhostRow(user_id=user, device=True))
                await self.devices.mend(user)
                raise Unavailable(_MISSING) from refusal
            refusal.by_room = not invited and refusal.code == "M_FORBIDDEN"
            raise
        self._joined[room_id, user] = asyncio.get_running_loop().time()

    async def introduced(self, room_id: RoomId, user: UserId) -> None:
        """Wait until the clients in the room have had time to look up who has joined."""
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(self._joined.get((room_id, user), -INTRODUCTION) + INTRODUCTION - now)

    async def name_service_members(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> None:
        """Add users to the room's list of functional members, whom clients do not count (MSC4171).

        Element looks for a direct chat among rooms of two. Users are never removed from the list.
        """
        if all(self._named.get((room_id, user)) for user in users):
            return
        try:
            event = await self._homeserver.state(host, room_id, SERVICE_MEMBERS)
            content = wire.mapping(event, "content")
            known = wire.items(content, "service_members")
            new = [user for user in users if user not in known]
            if new:
                changed = {**content, "service_members": [*known, *new]}
                await self._homeserver.set_state(host, room_id, SERVICE_MEMBERS, changed)
        except Refused as refusal:
            _log.info(
                "agents could not be listed as functional members", room=room_id, code=refusal.code
            )
            return
        for user in users:
            self._named[room_id, user] = True

    def forget(self, room_id: RoomId, user: UserId) -> None:
        self._joined.pop((room_id, user), None)

    async def leave(self, room_id: RoomId, who: UserId, reason: str = "") -> None:
        self.forget(room_id, who)
        await self._check_ours(who)
        row = await self._row(who) or GhostRow(who)
        known = {"displayname": row.displayname, "avatar_url": row.avatar_mxc}
        profile: Json = {key: value for key, value in known.items() if value}
        await self._homeserver.leave(who, room_id, reason, profile)

    async def _register(self, user: UserId) -> None:
        """Register the user. Raises Refused with `FOREIGN` if somebody else has it."""
        made = await self._homeserver.register(user)
        if made and self._users.is_open_to_all(user):
            await self._profiles.save_fact(made_fact(user), "1")
        await self._check_ours(user)

    async def _check_ours(self, user: UserId) -> None:
        if not self._users.is_open_to_all(user) or await self._profiles.fact(made_fact(user)):
            return
        foreign = self._homeserver.foreign
        try:
            devices = foreign_devices(await self._homeserver.devices(user))
        except Refused:
            return  # the user does not exist yet, or the homeserver does not list its devices
        if not devices:
            foreign.discard(user)
            return
        if user not in foreign:
            foreign.add(user)
            event = "somebody else has registered this user, so it is not served"
            _log.error(event, user=user, devices=devices, fix=FOREIGN_FIX)
        raise Refused(FOREIGN, f"{user} is registered by somebody else")

    async def _exist(self, user: UserId) -> GhostRow:
        row, lost = await self._row(user), False
        if row is not None and row.device:
            with Despite(UNREGISTERED):
                await self._check_ours(user)
                await self.devices.ensure(user)
                return row
            row, lost = None, True
        try:
            await self._register(user)
        except Refused as refusal:
            self._log_not_loaded(user, refusal)
            raise
        if lost:
            _log.warning(_MISSING, user=user)
        try:
            await self.devices.ensure(user)
        except Refused as refusal:
            if refusal.code != UNREGISTERED:  # it ends the start, which says why
                raise
            _log.error("no device for this user", user=user, code=refusal.code)
        known = row or GhostRow(user_id=user)
        return await self._save(msgspec.structs.replace(known, device=True))

    def _log_not_loaded(self, user: UserId, refusal: Refused) -> None:
        if not_loaded(str(refusal)):
            _log.error(NOT_LOADED, user=user, why=str(refusal), fix=LOAD_IT)

    async def _set(self, row: GhostRow, key: str, value: str, **changes: str) -> GhostRow:
        """Write one profile key and store it; a refusal is only logged, to keep no agent out."""
        try:
            await self._homeserver.set_profile(UserId(row.user_id), key, value)
        except Refused as refusal:
            _log.warning("profile not set", user=row.user_id, key=key, code=refusal.code)
        return await self._save(msgspec.structs.replace(row, **changes))

    async def _set_icon(self, row: GhostRow, icon: Blob, source: str) -> GhostRow:
        """Set a picture; a failed upload or download is only logged, to keep no agent out."""
        mxc, digest = row.avatar_mxc, ""
        try:
            async with spool(icon, "icon") as file:
                hasher = sha256()
                async for chunk in file.chunks():
                    hasher.update(chunk)
                digest = hasher.hexdigest()
                if file.dimensions is not None and digest != row.avatar_hash:
                    mxc = self._pictures.get(digest) or await self._homeserver.upload(
                        file, file.mime, file.name, UserId(row.user_id)
                    )
                    self._pictures[digest] = mxc
        except Unavailable:
            _log.warning("icon could not be transferred, to be retried", user=row.user_id)
            return row
        except (Refused, TooBig) as error:
            _log.warning("icon cannot be used", user=row.user_id, error=str(error))
        # An unusable picture is stored too, or it would be fetched again and again.
        seen = msgspec.structs.replace(
            row, avatar_source=source, avatar_hash=digest, avatar_at=self.now()
        )
        if mxc == row.avatar_mxc:
            return await self._save(seen)
        return await self._set(seen, "avatar_url", mxc, avatar_mxc=mxc)

    async def _row(self, user: UserId) -> GhostRow | None:
        if (known := self._rows.get(user)) is not None:
            return known
        row = await self._profiles.ghost(user)
        if row is not None:
            self._rows[user] = row
        return row

    async def _save(self, row: GhostRow) -> GhostRow:
        row = msgspec.structs.replace(row, seen=self.now())
        await self._profiles.save_ghost(row)
        self._rows[UserId(row.user_id)] = row
        return row
