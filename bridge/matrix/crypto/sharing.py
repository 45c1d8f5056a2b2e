"""Megolm, writing: one session per sender and room, and everybody who is to read has its key.

A session is given up when somebody who has its key is no longer meant to read (left, or removed a
device), when it is old or has carried many messages. Whoever is new gets the key from where it
stands, so the past stays closed to them.

Rows are stored before what they encrypted leaves the process: first the olm sessions and the new
ratchet, then the request. A crash in between wastes a number; it never uses one twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
import structlog
import vodozemac

from bridge.ids import RoomId
from bridge.matrix.crypto.encoding import Json, mapping
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.olm import Channel
from bridge.matrix.crypto.own import MEGOLM, ONE_TIME, OwnDevice
from bridge.matrix.crypto.peers import Device, Peers
from bridge.matrix.crypto.places import Places, Scheme
from bridge.matrix.crypto.recall import Recall
from bridge.matrix.crypto.vault import Vault

_AT_ONCE = 50
"""Devices per request."""
_BARREN_MS = 3_600_000
"""How long a device that had no one-time key is not asked for one again."""


class _Reader(msgspec.Struct, frozen=True):
    """A device that has the key."""

    user: str
    device_id: str
    curve25519: str


class Outbound(msgspec.Struct, frozen=True):
    """The row of an outbound session."""

    pickle: str
    created: int
    readers: frozenset[_Reader] = frozenset()


class Sharing:
    """Encrypts for rooms. Whoever calls holds the lock of the sending device.

    Every method raises `Unavailable`, `Refused` or StoreError.
    """

    def __init__(self, vault: Vault, server: KeyServer, peers: Peers, places: Places) -> None:
        self._vault = vault
        self._server = server
        self._peers = peers
        self._places = places
        self._barren: Recall[tuple[str, str], int] = Recall(10_000)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def needs_session(
        self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int
    ) -> bool:
        """True if the next message will begin a session."""
        found = await self._vault.load(_name(own, room_id), Outbound)
        return found is None or self._is_spent(found, scheme, now)

    async def encrypt(
        self, own: OwnDevice, room_id: RoomId, scheme: Scheme, event: tuple[str, Json], now: int
    ) -> Json:
        """The content of the m.room.encrypted event that carries an event (type and content)."""
        kind, content = event
        outbound, session = await self._ready_session(own, room_id, scheme, now)
        payload = msgspec.json.encode({"type": kind, "content": content, "room_id": room_id})
        ciphertext = session.encrypt(payload).to_base64()
        await self._store(own, room_id, outbound, session)
        sealed: Json = {
            "algorithm": MEGOLM,
            "ciphertext": ciphertext,
            "session_id": session.session_id,
            "sender_key": own.curve25519,
            "device_id": own.device_id,
        }
        if "m.relates_to" in content:
            # Homeservers bundle and count relations, so these stand in clear.
            sealed["m.relates_to"] = content["m.relates_to"]
        return sealed

    async def _ready_session(
        self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int
    ) -> tuple[Outbound, vodozemac.GroupSession]:
        """A session whose key everybody has who is to read."""
        audience = await self._places.audience(own.user, room_id)
        found = await self._vault.load(_name(own, room_id), Outbound)
        if found is not None and self._is_spent(found, scheme, now):
            found = None
        wanted = await self._wanted(own, audience, found, fresh=found is None)
        if found is not None and found.readers - wanted.keys():
            found = None
            wanted = await self._wanted(own, audience, None, fresh=True)
        if found is None:
            session = vodozemac.GroupSession()
            outbound = Outbound("", now)
        else:
            session = vodozemac.GroupSession.from_pickle(found.pickle, self._vault.pickle_key)
            outbound = found
        missing = [
            device
            for reader, device in wanted.items()
            if device is not None and reader not in outbound.readers
        ]
        if missing:
            await self._store(own, room_id, outbound, session)
            reached = await self._share(own, room_id, session, missing, now)
            readers = outbound.readers | {
                _Reader(device.user, device.device_id, device.curve25519) for device in reached
            }
            outbound = msgspec.structs.replace(outbound, readers=readers)
        return outbound, session

    async def _wanted(
        self, own: OwnDevice, audience: frozenset[str], found: Outbound | None, *, fresh: bool
    ) -> dict[_Reader, Device | None]:
        """Who is to have the key; None for a reader whose homeserver cannot be asked just now."""
        devices = await self._peers.devices(own.user, audience, fresh=fresh)
        wanted: dict[_Reader, Device | None] = {
            _Reader(device.user, device.device_id, device.curve25519): device
            for known in devices.values()
            for device in known
        }
        for reader in found.readers if found is not None else ():
            if reader.user in audience and reader.user not in devices:
                wanted[reader] = None
        return wanted

    def _is_spent(self, outbound: Outbound, scheme: Scheme, now: int) -> bool:
        if not 0 <= now - outbound.created < scheme.rotate_ms:
            return True
        session = vodozemac.GroupSession.from_pickle(outbound.pickle, self._vault.pickle_key)
        return session.message_index >= scheme.rotate_messages

    async def _store(
        self, own: OwnDevice, room_id: RoomId, outbound: Outbound, session: vodozemac.GroupSession
    ) -> None:
        pickle = session.pickle(self._vault.pickle_key)
        row = msgspec.structs.replace(outbound, pickle=pickle)
        await self._vault.save([self._vault.row(_name(own, room_id), row)])

    # --- to devices -------------------------------------------------------------------------

    async def _share(
        self,
        own: OwnDevice,
        room_id: RoomId,
        session: vodozemac.GroupSession,
        devices: Collection[Device],
        now: int,
    ) -> list[Device]:
        """Send the session's key to devices; returns those that it was sent to."""
        content: Json = {
            "algorithm": MEGOLM,
            "room_id": room_id,
            "session_id": session.session_id,
            "session_key": session.session_key.to_base64(),
        }
        reached = await self.tell(own, devices, "m.room_key", content, now)
        self._log.debug("room key shared", room=room_id, user=own.user, devices=len(reached))
        return reached

    async def tell(
        self, own: OwnDevice, devices: Collection[Device], kind: str, content: Json, now: int
    ) -> list[Device]:
        """Send an event to devices over olm; returns those that could be reached."""
        channels = [
            (device, await Channel.load(self._vault, own, device.curve25519)) for device in devices
        ]
        await self._begin(own, [pair for pair in channels if not pair[1].open], now)
        able = [(device, channel) for device, channel in channels if channel.open]
        for start in range(0, len(able), _AT_ONCE):
            part = able[start : start + _AT_ONCE]
            messages: dict[str, object] = {}
            for device, channel in part:
                for_user = mapping(messages, device.user)
                for_user[device.device_id] = channel.encrypt(device, kind, content)
                messages[device.user] = for_user
            await self._vault.save([channel.row(self._vault) for _, channel in part])
            await self._server.send_to_devices(own.user, "m.room.encrypted", messages)
        return [device for device, _ in able]

    async def renew(self, own: OwnDevice, device: Device, now: int) -> None:
        """Begin a new session in place of one that is broken, and have the other side use it."""
        channel = await Channel.load(self._vault, own, device.curve25519)
        self._barren.forget((own.user, device.curve25519))
        if await self._begin(own, [(device, channel)], now):
            await self._vault.save([channel.row(self._vault)])
            await self.tell(own, [device], "m.dummy", {}, now)

    async def _begin(
        self, own: OwnDevice, channels: Iterable[tuple[Device, Channel]], now: int
    ) -> bool:
        """Begin sessions with one-time keys; a device that has none is left out for a while."""
        wanting = [pair for pair in channels if not self._is_barren(own, pair[0], now)]
        if not wanting:
            return False
        request: dict[str, dict[str, str]] = {}
        for device, _ in wanting:
            request.setdefault(device.user, {})[device.device_id] = ONE_TIME
        claimed = await self._server.claim(own.user, request)
        begun = False
        for device, channel in wanting:
            keys = mapping(mapping(claimed, device.user), device.device_id)
            if channel.begin(device, keys):
                begun = True
            else:
                self._barren.put((own.user, device.curve25519), now)
                self._log.info("a device has no key for us", user=device.user)
        return begun

    def _is_barren(self, own: OwnDevice, device: Device, now: int) -> bool:
        since = self._barren.get((own.user, device.curve25519))
        return since is not None and now - since < _BARREN_MS


def _name(own: OwnDevice, room_id: RoomId) -> str:
    return f"out/{own.user}/{room_id}"
