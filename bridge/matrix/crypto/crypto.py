"""End-to-end encryption: the one class that the rest of the bridge uses.

Theory of operation
-------------------
- Each of our users has one device with keys and a cross-signing identity of its own, so that what a
  ghost says bears no warning (`devices`).
- Those whom customers invite (the bot and the queue users, "hosts") read the keys of people's
  messages by /sync (`arrivals`), from the start to the end of the process. Ghosts read nothing;
  they only look into their mailbox before they begin a session.
- People's messages come by transactions like everything else and are opened by their room's actor
  (`open`). A missing key is waited for there, woken by its arrival (`opening`).
- What we say in an encrypted room is encrypted by the sender's own device (`seal`, `sharing`).
- Whatever other homeservers have to be asked is asked while no device of ours is held, for they may
  be slow, and one device serves many rooms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import structlog

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.arrivals import Arrivals, Mending
from bridge.matrix.crypto.devices import OwnDevice, Upkeep
from bridge.matrix.crypto.keys import RoomKeys, is_encrypted
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.opening import Asking, Opening
from bridge.matrix.crypto.peers import Owners, Peers
from bridge.matrix.crypto.sharing import Places, RoomState, Scheme, Sharing
from bridge.matrix.crypto.vault import Continuity, Vault
from bridge.matrix.crypto.wire import Json, text
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.record import Undecryptable
from bridge.rooms.store import StoreError

OnKey = Callable[[RoomId], Awaitable[None]]

_MAILBOX_MS = 600_000
"""How often at most a ghost looks into its mailbox."""
_IN_CLEAR = frozenset({"m.reaction", "m.room.redaction"})
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0
_MENDING = 3.0
"""Seconds that a ghost waits at most for new sessions in place of broken ones, before it writes."""
_ROUNDS = 3
"""How often it is found out anew who reads a message, because it changed meanwhile."""


class Users(Protocol):
    """Our users' names. `users.OurUsers` is one."""

    bot: UserId

    def hosts(self) -> tuple[UserId, ...]: ...

    def is_ours(self, user_id: str) -> bool: ...


class Crypto:
    """End-to-end encryption for all of our users.

    Args:
        server: acts as our users' devices.
        rooms: tells who is in a room and how it is encrypted.
        users: our users' names.
        vault: where all of it is kept.
        clock: the time.
    """

    def __init__(
        self,
        server: KeyServer,
        rooms: RoomState,
        users: Users,
        vault: Vault,
        clock: Clock,
    ) -> None:
        self._hosts = users.hosts()
        self._clock = clock
        self._server = server
        self._places = Places(rooms, users, vault)
        self._continuity = Continuity(vault, server, users.bot, clock)
        self._upkeep = Upkeep(vault, server, self._continuity, self)
        self._peers = peers = Peers(server)
        self._keys = RoomKeys(vault, Owners(peers, users.bot))
        self._sharing = Sharing(vault, server, peers, self._places)
        self._arrivals = Arrivals(
            vault,
            server,
            upkeep=self._upkeep,
            peers=peers,
            room_keys=self._keys,
            sharing=self._sharing,
            home=users.bot.partition(":")[2],
        )
        self._mending = Mending(self._arrivals, clock)
        asks = Asking(server, self._upkeep, self._hosts)
        self._caught_up: set[UserId] = set()
        self._opening = Opening(
            self._keys, asks, clock, lambda: self._caught_up.issuperset(self._hosts)
        )
        self._mailboxes: dict[UserId, int] = {}
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def begin(self) -> None:
        """Make our users act as this database's devices; to be called before anything else.

        Raises:
            StoreError: the database does not answer, or was sealed with another secret.
        """
        await self._upkeep.begin()

    async def ensure(self, user: UserId) -> None:
        """Make the user's device and keys exist; the user does.

        Raises:
            Unavailable, StoreError: to be tried again.
            Refused: `M_FORBIDDEN`: the homeserver does not know the user.
        """
        try:
            await self._upkeep.ensure(user)
        except Refused as refusal:
            if refusal.code == "M_FORBIDDEN":
                raise
            # Clear rooms need no keys: that is no reason to keep an agent out.
            self._log.error("no keys for this user", user=user, code=refusal.code)

    @property
    def device_id(self) -> str:
        """The id of each of our users' devices; it is final once one of them was ensured."""
        return self._upkeep.device_id

    async def mend(self, user: UserId) -> None:
        """Make the user's device again: the homeserver does not know it any more.

        Raises:
            Unavailable, Refused, StoreError: as its calls.
        """
        await self._upkeep.mend(user)

    # --- reading ----------------------------------------------------------------------------

    async def open(
        self, raw: Json, patience: float | None = None, *, ask: bool = True
    ) -> Json | Undecryptable:
        """Decrypt an event; one that is not encrypted comes back as it is.

        Args:
            raw: the event.
            patience: seconds to wait for a missing key; None: do not wait.
            ask: False: ask no homeserver anything, for others wait.

        Raises:
            StoreError: the database does not answer.
        """
        self.heard(raw)
        return await self._opening.open(raw, patience, ask=ask) if is_encrypted(raw) else raw

    def heard(self, raw: Json) -> None:
        """Invalidate what is cached of a room and its members, by an event of the room.

        To be called as soon as it comes: what we say next must not wait to know who has left.
        """
        self._places.changed(raw)
        if raw.get("type") == "m.room.member" and (user := text(raw, "state_key")):
            # Of those with whom we share no room, nobody tells us what changes.
            self._peers.outdated(user)

    async def run(self, on_key: OnKey) -> None:
        """Read the hosts' mailboxes until cancelled.

        Args:
            on_key: told the room for which a key or a refusal came, once it is durable.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._mending.work_in(tasks)
                for host in self._hosts:
                    tasks.create_task(self._follow(host, on_key))
        finally:
            self._mending.work_in(None)
            with suppress(StoreError):
                await self._keys.save()

    async def _follow(self, host: UserId, on_key: OnKey) -> None:
        await self._upkeep.ready(host).wait()
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._read_mailbox(host, on_key)
                pause = _FIRST_PAUSE
                continue
            except Unavailable as error:
                why, wait = str(error), error.retry_after or pause
            except Refused as refusal:
                why, wait = str(refusal), pause
                await self._try_to_mend(host, refusal)
            except StoreError as error:
                why, wait = str(error), pause
            except Exception as error:  # noqa: BLE001 - logged whole; keys must go on coming
                self._log.exception("unexpected error, reading on", user=host)
                why, wait = type(error).__name__, pause
            self._log.warning("keys cannot be read yet", user=host, why=why, wait=wait)
            await self._clock.sleep(min(wait, _LAST_PAUSE))
            pause = min(pause * 2, _LAST_PAUSE)

    async def _try_to_mend(self, host: UserId, refusal: Refused) -> None:
        if refusal.code != "M_UNKNOWN_DEVICE":
            return
        try:
            await self._upkeep.mend(host)
        except (Unavailable, Refused, StoreError) as error:
            self._log.warning("a device cannot be made again yet", user=host, why=str(error))

    async def _read_mailbox(self, host: UserId, on_key: OnKey) -> None:
        since = await self._arrivals.position(host)
        first = host not in self._caught_up
        reply = await self._arrivals.fetch(host, since, wait=not first)
        async with self._upkeep.holding(host) as own:
            news = await self._arrivals.absorb(own, reply, self._clock.now())
            self._caught_up.add(host)
            self._opening.wake(news.keys)
            for room_id in set(news.keys.values()):
                await on_key(room_id)
            await self._arrivals.follow_up(own, reply)
        self._mending.begin(host, news.broken)
        await self._keys.save()
        await self._continuity.follow()

    # --- writing ----------------------------------------------------------------------------

    async def is_encrypted(self, sender: UserId, room_id: RoomId) -> bool:
        """True if the user's messages in this room have to be encrypted.

        Raises:
            Unavailable, Refused: as the homeserver's calls.
        """
        return (await self._places.scheme(sender, room_id)).encrypted

    async def seal(
        self, sender: UserId, room_id: RoomId, kind: str, content: Json
    ) -> tuple[str, Json]:
        """Encrypt an event for a room; returns type and content to send, as given in a clear room.

        Raises:
            Unavailable, Refused, StoreError: nothing may be sent.
        """
        if kind in _IN_CLEAR:
            return kind, content
        scheme = await self._places.scheme(sender, room_id)
        if not scheme.encrypted:
            return kind, content
        await self._empty_mailbox(sender, room_id, scheme)
        for turn in range(_ROUNDS):
            own, now = await self._upkeep.current(sender), self._clock.now()
            readers = await self._sharing.prepare(own, room_id, scheme, now)
            async with self._upkeep.holding(sender) as own:
                if turn + 1 < _ROUNDS and not self._sharing.still_holds(readers):
                    continue
                sealed = await self._sharing.encrypt(own, readers, (kind, content))
                return "m.room.encrypted", sealed
        raise AssertionError  # the last round returned

    async def _empty_mailbox(self, user: UserId, room_id: RoomId, scheme: Scheme) -> None:
        """Read a ghost's mailbox, to learn which of its olm sessions are broken."""
        now = self._clock.now()
        last = self._mailboxes.get(user)
        if user in self._hosts or (last is not None and 0 <= now - last < _MAILBOX_MS):
            return
        async with self._upkeep.holding(user) as own:
            if not self._sharing.needs_session(own, room_id, scheme, now):
                return
            self._mailboxes[user] = now
            since = await self._arrivals.position(user)
            reply = await self._arrivals.fetch(user, since, wait=False)
            news = await self._arrivals.absorb(own, reply, now)
            await self._arrivals.follow_up(own, reply)
        begun = self._mending.begin(user, news.broken)
        if begun:
            await asyncio.wait(begun, timeout=_MENDING)

    # --- `devices.Listener` -----------------------------------------------------------------

    async def last_look(self, own: OwnDevice) -> None:
        """Read a device's mailbox before the device goes."""
        news = await self._arrivals.last_look(own, self._clock.now())
        self._opening.wake(news.keys)

    def use_device(self, device_id: str) -> None:
        self._server.use_device(device_id)

    def use_token(self, user: UserId, token: str) -> None:
        self._server.use_token(user, token)
