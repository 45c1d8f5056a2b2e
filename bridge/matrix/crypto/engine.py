"""`Crypto`: all that the rest of the matrix ring sees of encryption.

Theory of operation
-------------------
- Each of our users has one device with keys and a cross-signing identity of its own, so that what a
  ghost says bears no warning (`upkeep`, `own`, `identity`).
- Those whom customers invite (the bot and the queue users, "hosts") read the keys of people's
  messages by /sync (`arrivals`), from the start to the end of the process. Ghosts read nothing;
  they only look into their mailbox before they begin a session.
- People's messages come by transactions like everything else and are opened by their room's actor
  (`open`). A missing key is waited for there, woken by its arrival.
- What we say in an encrypted room is encrypted by the sender's own device (`seal`, `sharing`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.arrivals import Arrivals, News
from bridge.matrix.crypto.encoding import Json
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.own import OwnDevice
from bridge.matrix.crypto.peers import Peers
from bridge.matrix.crypto.places import Places
from bridge.matrix.crypto.roomkeys import BROKEN, NO_KEY, RoomKeys, is_encrypted, sealed_of
from bridge.matrix.crypto.sharing import Sharing
from bridge.matrix.crypto.upkeep import Upkeep
from bridge.matrix.crypto.vault import Vault
from bridge.matrix.homeserver import Homeserver
from bridge.matrix.transport import Transport
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Clock, Refused, Unavailable, Undecryptable
from bridge.rooms.store import StoreError

OnKey = Callable[[RoomId], Awaitable[None]]

CATCHING_UP = 10.0
"""Seconds that a missing key is waited for at least while a host has not read its mailbox yet."""
_MAILBOX_MS = 600_000
"""How often at most a ghost looks into its mailbox."""
_IN_CLEAR = frozenset({"m.reaction", "m.room.redaction"})
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0


class Crypto:
    """Encryption for all of our users.

    Args:
        transport: acts as our users' devices.
        patient: the same for requests that stay open long.
        users: our users' names.
        vault: where all of it is kept.
        clock: the time.
    """

    def __init__(
        self,
        transport: Transport,
        patient: Transport,
        users: OurUsers,
        vault: Vault,
        clock: Clock,
    ) -> None:
        self._transports = (transport, patient)
        self._hosts = users.hosts()
        self._clock = clock
        server = KeyServer(transport, patient)
        self._places = Places(Homeserver(transport), users)
        self._keys = RoomKeys(vault)
        self._upkeep = Upkeep(vault, server, self._use_token)
        peers = Peers(server)
        self._sharing = Sharing(vault, server, peers, self._places)
        self._arrivals = Arrivals(
            vault,
            server,
            upkeep=self._upkeep,
            peers=peers,
            room_keys=self._keys,
            sharing=self._sharing,
        )
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._caught_up: set[UserId] = set()
        self._mailboxes: dict[UserId, int] = {}
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def begin(self) -> None:
        """Before anything else: have our users act as this database's devices.

        Raises:
            StoreError: the database does not answer, or was sealed with another secret.
        """
        device_id = await self._upkeep.begin()
        for transport in self._transports:
            transport.use_device(device_id)

    async def ensure(self, user: UserId) -> None:
        """Make the user's device and keys exist; the user does.

        Raises:
            Unavailable, StoreError: to be tried again.
        """
        try:
            await self._upkeep.ensure(user)
        except Refused as refusal:
            # Clear rooms need no keys: that is no reason to keep an agent out.
            self._log.error("no keys for this user", user=user, code=refusal.code)

    async def mend(self, user: UserId) -> None:
        """The homeserver does not know the user's device any more.

        Raises:
            Unavailable, Refused, StoreError: as its calls.
        """
        await self._upkeep.mend(user)

    # --- reading ----------------------------------------------------------------------------

    async def open(self, raw: Json, patience: float | None = None) -> Json | Undecryptable:
        """An event as its sender wrote it; what is not encrypted comes back as it is.

        Args:
            raw: the event.
            patience: seconds to wait for a missing key; None: do not wait.

        Raises:
            StoreError: the database does not answer.
        """
        self._places.changed(raw)
        if not is_encrypted(raw):
            return raw
        sealed = sealed_of(raw)
        if sealed is None:
            return Undecryptable(BROKEN, later=False)
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Listened for before looking, or a key that comes in between would be missed.
        waiting = self._waiting.setdefault(sealed.key_name, set())
        waiting.add(arrival)
        try:
            found = await self._keys.open(raw, sealed, self._clock.now())
            if patience is None or not _is_missing(found):
                return found
            if not self._caught_up.issuperset(self._hosts):
                patience = max(patience, CATCHING_UP)
            try:
                async with asyncio.timeout(patience):
                    await arrival
            except TimeoutError:
                return found
            return await self._keys.open(raw, sealed, self._clock.now())
        finally:
            waiting.discard(arrival)
            if not waiting:
                self._waiting.pop(sealed.key_name, None)

    async def run(self, on_key: OnKey) -> None:
        """Read the hosts' mailboxes until cancelled.

        Args:
            on_key: told the room for which a key or a refusal came, once it is durable.
        """
        async with asyncio.TaskGroup() as tasks:
            for host in self._hosts:
                tasks.create_task(self._follow(host, on_key))

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
            await self._announce(news, on_key)
            await self._arrivals.follow_up(own, reply, news, self._clock.now())

    async def _announce(self, news: News, on_key: OnKey) -> None:
        for name in news.keys:
            for arrival in self._waiting.get(name, ()):
                if not arrival.done():
                    arrival.set_result(None)
        for room_id in set(news.keys.values()):
            await on_key(room_id)

    # --- writing ----------------------------------------------------------------------------

    async def is_encrypted(self, sender: UserId, room_id: RoomId) -> bool:
        """True if what the user says in this room has to be encrypted.

        Raises:
            Unavailable, Refused: as the homeserver's calls.
        """
        return (await self._places.scheme(sender, room_id)).encrypted

    async def seal(
        self, sender: UserId, room_id: RoomId, kind: str, content: Json
    ) -> tuple[str, Json]:
        """Type and content to send: as given in a clear room, encrypted in an encrypted one.

        Raises:
            Unavailable, Refused, StoreError: nothing may be sent.
        """
        if kind in _IN_CLEAR:
            return kind, content
        scheme = await self._places.scheme(sender, room_id)
        if not scheme.encrypted:
            return kind, content
        async with self._upkeep.holding(sender) as own:
            now = self._clock.now()
            if sender not in self._hosts and await self._sharing.needs_session(
                own, room_id, scheme, now
            ):
                await self._empty_mailbox(own)
            return "m.room.encrypted", await self._sharing.encrypt(
                own, room_id, scheme, (kind, content), now
            )

    async def _empty_mailbox(self, own: OwnDevice) -> None:
        """Learn which of a ghost's olm sessions are broken; its room keys are of no use to us."""
        now = self._clock.now()
        if now - self._mailboxes.get(own.user, 0) < _MAILBOX_MS:
            return
        self._mailboxes[own.user] = now
        since = await self._arrivals.position(own.user)
        reply = await self._arrivals.fetch(own.user, since, wait=False)
        news = await self._arrivals.absorb(own, reply, now)
        await self._arrivals.follow_up(own, reply, news, now)

    def _use_token(self, user: UserId, token: str) -> None:
        for transport in self._transports:
            transport.use_token(user, token)


def _is_missing(found: Json | Undecryptable) -> bool:
    return isinstance(found, Undecryptable) and found.key == NO_KEY
