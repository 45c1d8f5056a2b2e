"""To-device messages by /sync: room keys, refusals, changed device lists; repair of olm sessions.

`Arrivals` stores the result of a /sync and the token for the next one in a single write. The
homeserver deletes the messages only when that token is used, so a crash at any time loses no key.

`Mending` replaces broken olm sessions in background tasks. A homeserver may be slow on purpose, so
each gets only a few tasks at a time. Repairs beyond the waiting list are dropped; the next message
that cannot be decrypted starts them again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from weakref import WeakValueDictionary

import msgspec

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.devices import OwnDevice, Upkeep
from bridge.matrix.crypto.keys import KEY_KINDS, RoomKeys
from bridge.matrix.crypto.peers import (
    Allowance,
    Channel,
    Peers,
    RateLimit,
    UndecryptableOlm,
    letter_of,
    read_payload,
)
from bridge.matrix.crypto.sharing import Sharing
from bridge.matrix.crypto.vault import LOG, Vault
from bridge.matrix.crypto.wire import (
    Json,
    KeyServer,
    id_text,
    key_text,
    mapping,
    objects,
    strings,
    text,
)
from bridge.rooms.ports import Clock, Despite, Refused, Unavailable
from bridge.rooms.store import SecretRow, StoreError

_RENEWED_MS, _RETRIED_MS = 3_600_000, 60_000
"""Minimum ms between replacements of a broken session with one device, and between attempts: the
other homeserver may be briefly unavailable."""
_KEYS, _KEYS_OF_SERVER = 300, 60_000
"""Maximum new keys and refusals stored per user and hour, and per other homeserver and day.
An honest client starts a new megolm session every hundred messages."""
_CHANNELS, _CHANNELS_OF_SERVER = 100, 60_000
"""The same limits for devices that first write to a bridge device. After the bridge's devices were
replaced, that is every customer device, once for each bridge user that it shares a room with."""
_STALE = frozenset({"M_UNKNOWN", "M_INVALID_PARAM"})
"""Error codes with which a homeserver refuses an unknown or expired /sync token."""
_WITHHELD = frozenset({"m.room_key.withheld", "org.matrix.room_key.withheld"})


class Position(msgspec.Struct, frozen=True):
    """Row `since/{user}`: the /sync token up to which the user's device has read."""

    token: str


class Mail(msgspec.Struct, frozen=True):
    """Response of a /sync, and the stored `Position` row that it was requested from."""

    reply: Json
    was: bytes | None


class News(msgspec.Struct):
    """Rows to store from one /sync, and what it changed."""

    letters: bool = False
    """Whether there were olm messages, readable or not."""
    users: list[str] = []
    """Users whose device lists have changed."""
    rows: dict[str, SecretRow] = {}
    keys: dict[str, RoomId] = {}
    """Names of keys that were received or refused -> their room."""
    broken: set[tuple[str, str]] = set()
    """Sender and identity key of devices whose olm messages cannot be decrypted."""
    channels: dict[tuple[str, str], Channel] = {}
    """Sender and identity key of devices whose messages were decrypted -> the updated channel."""

    def add(self, *rows: SecretRow) -> None:
        self.rows.update({row.name: row for row in rows})


@dataclass(eq=False, repr=False)
class Arrivals:
    """The /sync reader of the bridge's devices; `home` is the bridge's homeserver."""

    _vault: Vault
    _server: KeyServer
    _upkeep: Upkeep
    _peers: Peers
    _room_keys: RoomKeys
    _sharing: Sharing
    home: InitVar[str]

    def __post_init__(self, home: str) -> None:
        self._absorbing = asyncio.Lock()
        """Held from reading a stored key until a better copy of it is written."""
        self._renewals = RateLimit(1, _RENEWED_MS)
        self._attempts = RateLimit(1, _RETRIED_MS)
        self._new_keys = Allowance(_KEYS, _KEYS_OF_SERVER, home)
        self._new_channels = Allowance(_CHANNELS, _CHANNELS_OF_SERVER, home)

    async def fetch(self, user: UserId, *, wait: bool, device: str = "") -> Mail:
        """Call /sync from the stored token, or from the start if the homeserver rejects it."""
        found, was = await self._vault.read(f"since/{user}", Position)
        since = "" if found is None else found.token
        with Despite(*(_STALE if since else ())):
            return Mail(await self._server.sync(user, since, wait=wait, device=device), was)
        LOG.warning("the homeserver does not know the sync token, starting a new sync", user=user)
        # Device list changes since the lost token are never reported.
        self._peers.cache.forget_all()
        return Mail(await self._server.sync(user, "", wait=False, device=device), was)

    async def absorb(self, own: OwnDevice, mail: Mail, now: int) -> News:
        """Store the events of a /sync with the next token. The caller holds the device's lock.

        Raises Stale if another process has read this mailbox or changed the device meanwhile.
        """
        lists = mapping(mail.reply, "device_lists")
        users = [*strings(lists, "changed"), *strings(lists, "left")]
        for user in users:
            self._peers.cache.forget(user)
        async with self._absorbing:
            news = await self._read(own, mail, now)
            try:
                await self._vault.save(list(news.rows.values()))
            finally:
                for name in news.rows:
                    self._room_keys.forget(name)
        news.users = users
        return news

    async def _read(self, own: OwnDevice, mail: Mail, now: int) -> News:
        news = News()
        for event in objects(mail.reply, "to_device", "events"):
            try:
                await self._take(own, event, news, now)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - logged; one event must not block all others
                LOG.exception("a to-device message could not be handled", user=own.user)
        for channel in news.channels.values():
            news.add(channel.row(self._vault, now))
        if news.letters:
            # Even if none was readable: Stale tells if another process has newer one-time keys.
            news.add(own.row(self._vault))
        if token := text(mail.reply, "next_batch"):
            news.add(self._vault.row(f"since/{own.user}", Position(token), was=mail.was))
        return news

    async def renew(self, user: UserId, sender: str, curve25519: str, now: int) -> None:
        """Replace the olm session with a device whose messages `user`'s device cannot decrypt."""
        broken = user, sender, curve25519
        if not (self._renewals.left(broken, now) and self._attempts.spend(broken, now)):
            return
        devices = await self._peers.devices(user, [sender])
        for device in devices.get(sender, ()):
            if device.curve25519 == curve25519:
                claimed = await self._sharing.claim(user, [device], now, anew=True)
                async with self._upkeep.holding(user) as own:
                    if await self._sharing.renew(own, device, claimed.get(device, ""), now):
                        self._renewals.spend(broken, now)

    async def _take(self, own: OwnDevice, event: Json, news: News, now: int) -> None:
        kind = text(event, "type")
        if kind in _WITHHELD:
            self._refused(event, news, now)
        letter = letter_of(own, event) if kind == "m.room.encrypted" else None
        if letter is None:
            return
        news.letters = True
        sender, device = letter.sender, (letter.sender, letter.sender_key)
        channel = news.channels.get(device) or await Channel.load(self._vault, own, *device)
        if not channel.open and not self._new_channels.spend(sender, now):
            LOG.warning(
                "too many new devices of a user, a to-device message is dropped", user=sender
            )
            return
        try:
            plain = channel.decrypt(letter.number, letter.body)
        except UndecryptableOlm as error:
            LOG.info("a to-device message cannot be decrypted", user=sender, why=str(error))
            news.broken.add(device)
            return
        news.channels[device] = channel
        payload = read_payload(own, letter, plain)
        if payload is None:
            LOG.warning("a to-device message is not addressed to the bridge", user=sender)
        elif payload.kind in KEY_KINDS:
            taken = await self._room_keys.take(payload, now, news.rows)
            if taken is not None:
                self._keep(news, sender, payload.content, taken, now)

    def _refused(self, event: Json, news: News, now: int) -> None:
        content, sender = mapping(event, "content"), id_text(event, "sender")
        sender_key = key_text(content, "sender_key")
        if text(content, "code") == "m.no_olm" and sender and sender_key:
            news.broken.add((sender, sender_key))
        if refusal := self._room_keys.refusal(event, now):
            self._keep(news, sender, content, refusal, now)

    def _keep(
        self, news: News, sender: str, content: Json, found: tuple[str, list[SecretRow]], now: int
    ) -> None:
        """Store a key or a refusal, unless its sender exceeds the rate limit."""
        name, rows = found
        if rows and not self._new_keys.spend(sender, now):
            LOG.warning("too many room keys or refusals from a user, one is dropped", user=sender)
            return
        news.add(*rows)
        news.keys[name] = RoomId(text(content, "room_id"))


# --- repair of olm sessions -----------------------------------------------------------------------

AT_ONCE, OF_SERVER = 20, 4
"""Maximum running repairs across all homeservers, and per homeserver."""
TOGETHER, TOGETHER_OF_SERVER = 1_000, 400
"""Maximum running and waiting repairs, likewise."""


class Mending:
    """Background repair of olm sessions, in the task group that the caller sets as `group`."""

    def __init__(self, arrivals: Arrivals, clock: Clock) -> None:
        self.group: asyncio.TaskGroup | None = None
        self._arrivals = arrivals
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._places_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._servers: Counter[str] = Counter()
        """Running and waiting repairs per homeserver of the other device."""

    def begin(self, user: UserId, broken: Iterable[tuple[str, str]]) -> set[asyncio.Task[None]]:
        """Start repairs of olm sessions with devices (`News.broken`), up to the limits above."""
        begun = set()
        for sender, curve25519 in broken:
            server = sender.partition(":")[2]
            full = self._servers.total() >= TOGETHER or self._servers[server] >= TOGETHER_OF_SERVER
            if self.group is None or full:
                LOG.info("too many broken olm sessions, one is not replaced yet", user=sender)
                continue
            work = self._mend(user, sender, curve25519, server)
            try:
                begun.add(self.group.create_task(work))
            except RuntimeError:
                work.close()  # the task group is shutting down
                break
            self._servers[server] += 1
        return begun

    async def _mend(self, user: UserId, sender: str, curve25519: str, server: str) -> None:
        places = self._places_of.setdefault(server, asyncio.Semaphore(OF_SERVER))
        try:
            async with places, self._places:
                await self._arrivals.renew(user, sender, curve25519, self._clock.now())
        except (Unavailable, Refused, StoreError) as error:
            LOG.info("a broken olm session cannot be replaced yet", user=sender, why=str(error))
        except Exception:  # noqa: BLE001 - logged; one device must not end the repair of others
            LOG.exception("a broken olm session could not be replaced", user=sender)
        finally:
            self._servers -= Counter([server])
