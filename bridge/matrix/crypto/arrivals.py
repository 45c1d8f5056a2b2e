"""What comes for our devices by /sync: keys of messages, refusals, news of other devices.

The rule: everything that a /sync brought is stored in one write with the token that asks for the
next one, because asking for the next one tells the homeserver to forget this one. So no key is
lost, whenever the process dies; at worst a key is read twice.
"""

from __future__ import annotations

import msgspec
import structlog

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.encoding import Json, mapping, text
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.olm import Channel, UndecryptableOlm, letter_of, read_payload
from bridge.matrix.crypto.own import OwnDevice
from bridge.matrix.crypto.peers import Peers
from bridge.matrix.crypto.recall import Recall
from bridge.matrix.crypto.roomkeys import RoomKeys
from bridge.matrix.crypto.sharing import Sharing
from bridge.matrix.crypto.upkeep import Upkeep
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.ports import Refused
from bridge.rooms.store import SecretRow, StoreError

_RENEWED_MS = 3_600_000
"""How often at most a broken session with one device is replaced."""
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
    ) -> None:
        self._vault = vault
        self._server = server
        self._upkeep = upkeep
        self._peers = peers
        self._room_keys = room_keys
        self._sharing = sharing
        self._renewed: Recall[tuple[str, str], int] = Recall(10_000)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def position(self, user: UserId) -> str:
        """How far the device has read; empty if it never did."""
        found = await self._vault.load(_name(user), Position)
        return found.token if found is not None else ""

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
        channels: dict[str, Channel] = {}
        for event in _events(mapping(reply, "to_device")):
            try:
                await self._take(own, event, news, channels, now)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - logged whole; one event must not stop all others
                self._log.exception("an event for a device could not be handled", user=own.user)
        news.add(*(channel.row(self._vault) for channel in channels.values()))
        if channels:
            news.add(own.row(self._vault))
        token = text(reply, "next_batch")
        if token:
            news.add(self._vault.row(_name(own.user), Position(token)))
        return news

    async def follow_up(self, own: OwnDevice, reply: Json, news: News, now: int) -> None:
        """What the homeserver or others have to be told now; nothing is lost if it fails."""
        await self._upkeep.publishing.replenish(own, reply)
        for sender, curve25519 in news.broken:
            await self._renew(own, sender, curve25519, now)

    def _hear_of_devices(self, reply: Json) -> None:
        lists = mapping(reply, "device_lists")
        for part in ("changed", "left"):
            users = lists.get(part)
            for user in users if isinstance(users, list) else ():
                if isinstance(user, str):
                    self._peers.outdated(user)

    async def _take(
        self, own: OwnDevice, event: Json, news: News, channels: dict[str, Channel], now: int
    ) -> None:
        kind = text(event, "type")
        if kind in _WITHHELD:
            await self._refused(event, news, now)
        if kind != "m.room.encrypted":
            return
        letter = letter_of(own, event)
        if letter is None:
            return
        channel = channels.get(letter.sender_key)
        if channel is None:
            channel = await Channel.load(self._vault, own, letter.sender_key)
        try:
            plain = channel.decrypt(letter.number, letter.body)
        except UndecryptableOlm as error:
            self._log.info("a letter cannot be read", user=letter.sender, why=str(error))
            news.broken.add((letter.sender, letter.sender_key))
            return
        channels[letter.sender_key] = channel
        payload = read_payload(own, letter, plain)
        if payload is None:
            self._log.warning("a letter that is not for us", user=letter.sender)
        elif payload.kind == "m.room_key":
            taken = await self._room_keys.take(payload, now)
            if taken is not None:
                name, rows = taken
                news.add(*rows)
                news.keys[name] = RoomId(text(payload.content, "room_id"))

    async def _refused(self, event: Json, news: News, now: int) -> None:
        content = mapping(event, "content")
        if text(content, "code") == "m.no_olm":
            news.broken.add((text(event, "sender"), text(content, "sender_key")))
        refusal = self._room_keys.refusal(event, now)
        if refusal is not None:
            name, row = refusal
            news.add(row)
            news.keys[name] = RoomId(text(content, "room_id"))

    async def _renew(self, own: OwnDevice, sender: str, curve25519: str, now: int) -> None:
        """Begin a new session with a device whose letters cannot be read."""
        last = self._renewed.get((own.user, curve25519))
        if last is not None and now - last < _RENEWED_MS:
            return
        self._renewed.put((own.user, curve25519), now)
        devices = await self._peers.devices(own.user, [sender])
        for device in devices.get(sender, ()):
            if device.curve25519 == curve25519:
                await self._sharing.renew(own, device, now)


def _events(part: Json) -> list[Json]:
    events = part.get("events")
    return (
        [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []
    )


def _name(user: UserId) -> str:
    return f"since/{user}"
