"""Olm: the channel between a bridge device and another user's device.

A `Channel` holds the last few olm sessions of the two, newest first, as one row. To use it, hold
the lock of the bridge device, and store the row before sending what was encrypted: a ratchet that
went backwards would use a message key twice. If another process saved the same row meanwhile, the
save raises Stale and the row must be read again (`Vault`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import msgspec
import vodozemac

from bridge.matrix.crypto import wire
from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.peers import Device
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.store import SecretRow

_KEPT = 4
"""Maximum sessions of a channel: more than one only if both sides began one, or one was lost."""
_MAX_MESSAGE = 256 * 1024
_MOST_CLAIMED = 5
"""Maximum one-time keys of a device that are checked; a homeserver should return one."""
_UNUSED_MS = 180 * 86_400_000
"""Lifetime in ms of an unused channel. After it, the two devices start a new session."""
_DEVICE_KEYS = ("sender_device_keys", "org.matrix.msc4147.device_keys")


class UndecryptableOlm(Exception):
    """An olm message that no stored session can decrypt; a new session may repair this."""


class _Sessions(msgspec.Struct):
    pickles: list[str] = []
    device_id: str = ""
    """The bridge device; sessions of a former one are ignored."""


class Channel:
    """The olm sessions of a bridge device with another user's device.

    The row's name includes the other user: anybody can claim another user's identity key, which
    must not affect that user's channel.
    """

    def __init__(self, own: OwnDevice, user: str, curve25519: str) -> None:
        self.own = own
        self.curve25519 = curve25519
        self._name = f"olm/{own.user}/{user}/{curve25519}"
        self._sessions: list[vodozemac.Session] = []
        self._stored: bytes | None = None
        """The row's bytes as last read or written, for compare-and-swap."""

    @classmethod
    async def load(cls, vault: Vault, own: OwnDevice, user: str, curve25519: str) -> Channel:
        channel = cls(own, user, curve25519)
        found, channel._stored = await vault.read(channel._name, _Sessions)
        if found is not None and found.device_id == own.device_id:
            channel._sessions = [
                vodozemac.Session.from_pickle(pickle, vault.pickle_key) for pickle in found.pickles
            ]
        return channel

    def row(self, vault: Vault, now: int) -> SecretRow:
        pickles = [session.pickle(vault.pickle_key) for session in self._sessions[:_KEPT]]
        sessions = _Sessions(pickles, self.own.device_id)
        row = vault.row(self._name, sessions, now + _UNUSED_MS, self._stored)
        self._stored = row.value
        return row

    @property
    def open(self) -> bool:
        return bool(self._sessions)

    def begin(self, device: Device, one_time: str) -> bool:
        """Begin a session with a one-time key; False if the key is invalid."""
        try:
            theirs = vodozemac.Curve25519PublicKey.from_base64(device.curve25519)
            key = vodozemac.Curve25519PublicKey.from_base64(one_time)
            session = self.own.account.create_outbound_session(theirs, key)
        except ValueError:
            return False
        self._sessions.insert(0, session)
        return True

    def encrypt(self, device: Device, kind: str, content: wire.Json) -> wire.Json:
        """Return the content of an m.room.encrypted to-device event. The channel must be open."""
        payload: wire.Json = {
            "type": kind,
            "content": content,
            "sender": self.own.user,
            "recipient": device.user,
            "recipient_keys": {"ed25519": device.ed25519},
            "keys": {"ed25519": self.own.ed25519},
            # MSC4147: lets a recipient that does not know this device yet verify its owner.
            "sender_device_keys": self.own.cross_signed_keys(),
        }
        number, ciphertext = self._sessions[0].encrypt(msgspec.json.encode(payload)).to_parts()
        return {
            "algorithm": wire.OLM,
            "sender_key": self.own.curve25519,
            "ciphertext": {self.curve25519: {"type": number, "body": wire.to_base64(ciphertext)}},
        }

    def decrypt(self, number: int, body: bytes) -> bytes:
        """Decrypt a message, which may begin a session and use up a one-time key of the bridge."""
        try:
            message = vodozemac.AnyOlmMessage.from_parts(number, body)
        except ValueError as error:
            raise UndecryptableOlm(str(error)) from error
        prekey = message.to_pre_key()
        for place, session in enumerate(self._sessions):
            if prekey is not None and session.session_id != prekey.session_id():
                continue
            try:
                plain = session.decrypt(message)
            except ValueError:
                continue
            # The session that the other side uses moves to the front: it can decrypt that one.
            self._sessions.insert(0, self._sessions.pop(place))
            return bytes(plain)
        if prekey is None:
            raise UndecryptableOlm("no matching olm session")
        try:
            theirs = vodozemac.Curve25519PublicKey.from_base64(self.curve25519)
            session, plain = self.own.account.create_inbound_session(theirs, prekey)
        except ValueError as error:
            raise UndecryptableOlm(str(error)) from error
        self._sessions.insert(0, session)
        return bytes(plain)


def one_time_key(device: Device, claimed: Mapping[str, object]) -> str:
    """Return the one-time key in a `POST /keys/claim` reply that the device signed; "" if none."""
    signer = f"ed25519:{device.device_id}"
    for key_id in islice(claimed, _MOST_CLAIMED):
        fields = wire.mapping(claimed, key_id)
        if key_id.startswith(f"{wire.ONE_TIME}:") and wire.is_signed(
            fields, device.user, signer, device.ed25519
        ):
            return wire.text(fields, "key")
    return ""


class Letter(msgspec.Struct, frozen=True):
    """Olm message of a to-device event, still encrypted."""

    sender: str
    sender_key: str
    number: int
    body: bytes


class Payload(msgspec.Struct, frozen=True):
    """Plaintext of an olm message whose sender and recipient fields were checked."""

    sender: str
    sender_key: str
    ed25519: str
    """The sending device's signing key as claimed; `keys.Owners` verifies it."""
    kind: str
    content: wire.Json
    device_keys: wire.Json = {}
    """Device keys sent along (MSC4147), unverified; empty if none."""


def letter_of(own: OwnDevice, event: wire.Json) -> Letter | None:
    """Read an m.room.encrypted to-device event's olm message for `own`; None if there is none."""
    content = wire.mapping(event, "content")
    part = wire.mapping(wire.mapping(content, "ciphertext"), own.curve25519)
    number, body = part.get("type"), wire.text(part, "body")
    sender, sender_key = wire.id_text(event, "sender"), wire.key_text(content, "sender_key")
    if wire.text(content, "algorithm") != wire.OLM or not sender or not sender_key:
        return None
    if not isinstance(number, int) or isinstance(number, bool) or number not in {0, 1}:
        return None
    if len(body) > _MAX_MESSAGE:
        return None
    try:
        return Letter(sender, sender_key, number, wire.from_base64(body))
    except ValueError:
        return None


def read_payload(own: OwnDevice, letter: Letter, plain: bytes) -> Payload | None:
    """Read an olm message's plaintext; None if sender or recipient do not match ("m.olm.v1")."""
    try:
        fields = msgspec.json.decode(plain, type=dict[str, object])
    except (ValueError, RecursionError):
        return None
    meant = (
        wire.text(fields, "sender") == letter.sender
        and wire.text(fields, "recipient") == own.user
        and wire.text(wire.mapping(fields, "recipient_keys"), "ed25519") == own.ed25519
    )
    if not meant:
        return None
    return Payload(
        letter.sender,
        letter.sender_key,
        wire.text(wire.mapping(fields, "keys"), "ed25519"),
        wire.text(fields, "type"),
        wire.mapping(fields, "content"),
        next((keys for name in _DEVICE_KEYS if (keys := wire.mapping(fields, name))), {}),
    )
