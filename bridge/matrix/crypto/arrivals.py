"""What comes for our devices by /sync: keys of messages, refusals, news of other devices.

The rule: everything that a /sync brought is stored in one write with the token that asks for the
next one, because asking for the next one tells the homeserver to forget this one. So no key is
lost, whenever the process dies; at worst a key is read twice.
"""

from __future__ import annotations

import msgspec
import structlog
from cachetools import LRUCache

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.budget import Allowance
from bridge.matrix.crypto.encoding import Json, id_text, key_text, mapping, text
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.olm import Channel, Payload, UndecryptableOlm, letter_of, read_payload
from bridge.matrix.crypto.own import OwnDevice
from bridge.matrix.crypto.peers import Peers
from bridge.matrix.crypto.roomkeys import KEY_KINDS, RoomKeys
from bridge.matrix.crypto.sharing import Sharing
from bridge.matrix.crypto.upkeep import Upkeep
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.ports import Refused
from bridge.rooms.store import SecretRow, StoreError

_RENEWED_MS = 3_600_000
"""How often at most a broken session with one device is replaced."""
_RETRIED_MS = 60_000
"""How often at most that is tried, if it does not succeed."""
_KEYS, _KEYS_OF_SERVER = 300, 60_000
"""New keys and refusals that are kept: of a user an hour, of all users of another homeserver a day.
An honest client makes a session for a hundred messages."""
_CHANNELS, _CHANNELS_OF_SERVER = 100, 60_000
"""The same of devices that write to us for the first time. When all devices of ours are new, these
are the devices of all customers, once for each of our users that they have a room with."""
_STALE = frozenset({"M_UNKNOWN", "M_INVALID_PARAM"})
"""How a homeserver refuses a token that it does not know (any more)."""
_WITHHELD = frozenset({"m.room_key.withheld", "org.matrix.room_key.withheld"})


class Position(msgspec.Struct, frozen=True):
    """The row that says how far a device has read."""

    token: str


class News(msgspec.Struct):
    """What one /sync brought, on its way to the vault."""

    rows: dict[str, SecretRow] = {}
    keys: dict[str, RoomId] = {}
    """Names of the keys that came or were refused -> their room."""
    broken: set[tuple[str, str]] = set()
    """Sender and identity key of devices whose letters cannot be read."""

    def add(self, *rows: SecretRow) -> None:
        self.rows.update({row.name: row for row in rows})


class Arrivals:
    """Reads for one device at a time.

    Args:
        vault: where what came is stored.
        server: where it comes from.
        upkeep: our devices.
        peers: told whose devices changed.
        room_keys: reads keys.
        sharing: begins new sessions.
        home: our homeserver's name.

    Every method raises `Unavailable`, `Refused` or StoreError.
    """

    def __init__(
        self,
        vault: Vault,
        server: KeyServer,
        *,
        upkeep: Upkeep,
        peers: Peers,
        room_keys: RoomKeys,
        sharing: Sharing,
        home: str,
    ) -> None:
        self._vault = vault
        self._server = server
        self._upkeep = upkeep
        self._peers = peers
        self._room_keys = room_keys
        self._sharing = sharing
        self._renewed: LRUCache[tuple[str, str, str], int] = LRUCache(10_000)
        self._new_keys = Allowance(_KEYS, _KEYS_OF_SERVER, home)
        self._new_channels = Allowance(_CHANNELS, _CHANNELS_OF_SERVER, home)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def position(self, user: UserId) -> str:
        """How far the device has read; empty if it never did."""
        found = await self._vault.load(_name(user), Position)
        return found.token if found is not None else ""

    async def last_look(self, own: OwnDevice, now: int) -> News:
        """Read what lies in the mailbox of a device that is about to go."""
        since = await self.position(own.user)
        # A homeserver that gave the device a token knows it by that alone.
        device = "" if own.state.token else own.device_id
        reply = await self._server.sync(own.user, since, wait=False, device=device)
        return await self.absorb(own, reply, now)

    async def fetch(self, user: UserId, since: str, *, wait: bool) -> Json:
        """Ask for what is new; a token that the homeserver does not know is dropped."""
        try:
            return await self._server.sync(user, since, wait=wait)
        except Refused as refusal:
            if not since or refusal.code not in _STALE:
                raise
            self._log.warning("the homeserver forgot where we were, reading anew", user=user)
            # What changed in between is not told any more.
            self._peers.all_outdated()
            return await self._server.sync(user, "", wait=False)

    async def absorb(self, own: OwnDevice, reply: Json, now: int) -> News:
        """Store what came, and the token for what comes next. The lock is held.

        Returns:
            What is new; it is durable.
        """
        self._hear_of_devices(reply)
        try:
            news = await self._read(own, reply, now)
            await self._vault.save(list(news.rows.values()))
        except BaseException:
            # The account in memory has used up keys that the stored one still has.
            self._upkeep.distrust(own.user)
            raise
        return news

    async def _read(self, own: OwnDevice, reply: Json, now: int) -> News:
        news = News({}, {}, set())
        channels: dict[tuple[str, str], Channel] = {}
        for event in _events(mapping(reply, "to_device")):
            try:
                await self._take(own, event, news, channels, now)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - logged whole; one event must not stop all others
                self._log.exception("an event for a device could not be handled", user=own.user)
        for channel in channels.values():
            news.add(*channel.rows(self._vault, now))
        if channels:
            news.add(own.row(self._vault))
        token = text(reply, "next_batch")
        if token:
            news.add(self._vault.row(_name(own.user), Position(token)))
        return news

    async def follow_up(self, own: OwnDevice, reply: Json) -> None:
        """What our homeserver has to be told now; nothing is lost if it fails. The lock is held."""
        await self._upkeep.publishing.replenish(own, reply)

    async def renew(self, user: UserId, sender: str, curve25519: str, now: int) -> None:
        """Begin a new session with a device whose letters one of ours cannot read.

        The lock is not held: other homeservers are asked, which may take long.
        """
        broken = user, sender, curve25519
        last = self._renewed.get(broken)
        if last is not None and 0 <= now - last < _RENEWED_MS:
            return
        # At first as if it failed: the other side's homeserver may be away for a moment.
        self._renewed[broken] = now - _RENEWED_MS + _RETRIED_MS
        devices = await self._peers.devices(user, [sender])
        for device in devices.get(sender, ()):
            if device.curve25519 == curve25519:
                claimed = await self._sharing.claim(user, [device], now, anew=True)
                async with self._upkeep.holding(user) as own:
                    if await self._sharing.renew(own, device, claimed, now):
                        self._renewed[broken] = now

    def _hear_of_devices(self, reply: Json) -> None:
        lists = mapping(reply, "device_lists")
        for part in ("changed", "left"):
            users = lists.get(part)
            for user in users if isinstance(users, list) else ():
                if isinstance(user, str):
                    self._peers.outdated(user)

    async def _take(
        self,
        own: OwnDevice,
        event: Json,
        news: News,
        channels: dict[tuple[str, str], Channel],
        now: int,
    ) -> None:
        kind = text(event, "type")
        if kind in _WITHHELD:
            self._refused(event, news, now)
        if kind != "m.room.encrypted":
            return
        letter = letter_of(own, event)
        if letter is None:
            return
        device = letter.sender, letter.sender_key
        channel = channels.get(device)
        if channel is None:
            channel = await Channel.load(self._vault, own, *device)
        if not channel.open and not self._new_channels.spend(letter.sender, now):
            self._log.warning(
                "too many new devices of a user, a letter is dropped", user=letter.sender
            )
            return
        try:
            plain = channel.decrypt(letter.number, letter.body)
        except UndecryptableOlm as error:
            self._log.info("a letter cannot be read", user=letter.sender, why=str(error))
            news.broken.add(device)
            return
        channels[device] = channel
        payload = read_payload(own, letter, plain)
        if payload is None:
            self._log.warning("a letter that is not for us", user=letter.sender)
        elif payload.kind in KEY_KINDS:
            self._keep(await self._room_keys.take(payload, now), payload, news, now)

    def _keep(
        self, taken: tuple[str, list[SecretRow]] | None, payload: Payload, news: News, now: int
    ) -> None:
        if taken is None:
            return
        name, rows = taken
        if rows and not self._new_keys.spend(payload.sender, now):
            self._log.warning("too many new keys of a user, one is dropped", user=payload.sender)
            return
        news.add(*rows)
        news.keys[name] = RoomId(text(payload.content, "room_id"))

    def _refused(self, event: Json, news: News, now: int) -> None:
        content, sender = mapping(event, "content"), id_text(event, "sender")
        sender_key = key_text(content, "sender_key")
        if text(content, "code") == "m.no_olm" and sender and sender_key:
            news.broken.add((sender, sender_key))
        refusal = self._room_keys.refusal(event, now)
        if refusal is None:
            return
        if not self._new_keys.spend(sender, now):
            self._log.warning("too many refusals of a user, one is dropped", user=sender)
            return
        name, row = refusal
        news.add(row)
        news.keys[name] = RoomId(text(content, "room_id"))


def _events(part: Json) -> list[Json]:
    events = part.get("events")
    return (
        [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []
    )


def _name(user: UserId) -> str:
    return f"since/{user}"
