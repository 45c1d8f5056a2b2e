"""A fake homeserver for keys and to-device messages, and fake devices of people.

`World` is the homeserver's state (device keys, one-time keys, mailboxes); `FakeServer` replaces the
bridge's `KeyServer`; `Phone` is a person's device, built on vodozemac directly.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import vodozemac

from bridge.ids import QueueId, RoomId, UserId
from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.keys import Owners, RoomKey
from bridge.matrix.crypto.vault import Sealer, Vault
from bridge.matrix.crypto.wire import (
    MEGOLM,
    OLM,
    ONE_TIME,
    Json,
    KeyServer,
    canonical,
    from_base64,
    to_base64,
    with_signature,
)
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Refused, Unavailable
from tests.fakes.memory import MemoryStore

USERS = OurUsers("here", "bot", "ghost{agent}", [QueueId(1)])
BOT, QUEUE = USERS.hosts
GHOST = UserId("@ghost:here")
ROOM = RoomId("!room:here")
ALICE = "@alice:here"
PAGE = 100
"""To-device messages that a /sync delivers, as Synapse's."""


class Clock:
    """A clock that moves only by sleeping, or when a test sets it."""

    def __init__(self) -> None:
        self.ms = 10_000_000

    def now(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


async def deaf(own: OwnDevice) -> None:
    """A `last_look` that reads nothing."""
    del own


class Believing(Owners):
    """Accepts every device as its sender's."""

    def __init__(self) -> None: ...

    async def is_owner(self, user: str, key: RoomKey, now: int, *, ask: bool = True) -> bool:
        return True


class World:
    """The homeserver's state; tests may change any of it."""

    def __init__(self) -> None:
        self.devices: dict[str, dict[str, Json]] = {}
        self.masters: dict[str, Json] = {}
        self.signers: dict[str, Json] = {}
        """Self-signing keys."""
        self.own_signers: dict[str, Json] = {}
        """User-signing keys."""
        self.dies_after = 3
        """Number of cross-signing keys of an upload that are stored before the homeserver dies."""
        self.one_time: dict[tuple[str, str], dict[str, Json]] = {}
        self.fallback: dict[tuple[str, str], Json] = {}
        """Key to hand out when there is no one-time key."""
        self.mailboxes: dict[tuple[str, str], list[tuple[int, Json]]] = {}
        self.made: list[tuple[str, str]] = []
        self.away: set[str] = set()
        """Other homeservers that are unreachable."""
        self.marks: dict[str, str] = {}
        self.calls: list[str] = []
        self.fails: dict[str, Exception] = {}
        """Exception that a call raises, by its name."""
        self.changed: list[str] = []
        """Users whose device lists the next /sync reports as changed."""
        self.counter = 0

    def post(self, sender: str, to: str, device_id: str, kind: str, content: Json) -> None:
        self.counter += 1
        event: Json = {"type": kind, "sender": sender, "content": content}
        self.mailboxes.setdefault((to, device_id), []).append((self.counter, event))


class FakeServer(KeyServer):
    """The bridge's client of the homeserver; each user acts as the device that it made last."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.device_id = ""
        self.tokens: dict[UserId, str] = {}

    def _called(self, name: str) -> None:
        self.world.calls.append(name)
        if name in self.world.fails:
            raise self.world.fails[name]

    def _device(self, user: str) -> str:
        return next(device for who, device in reversed(self.world.made) if who == user)

    def use_device(self, device_id: str) -> None:
        """Record the id; each user still acts as the device that it made last."""
        self.device_id = device_id

    def use_token(self, user: UserId, token: str) -> None:
        self.tokens[user] = token

    async def make_device(self, user: UserId, device_id: str) -> str:
        self._called("make_device")
        self.world.made.append((user, device_id))
        return ""

    async def devices(self, user: UserId) -> list[str]:
        self._called("devices")
        return [device for who, device in self.world.made if who == user]

    async def delete_device(self, user: UserId, device_id: str) -> None:
        self._called("delete_device")
        self.world.made.remove((user, device_id))
        self.world.devices.get(user, {}).pop(device_id, None)

    async def query(self, asker: UserId, users: Sequence[str], *, device: bool = False) -> Json:
        self._called("query")
        asked = [user for user in users if user.partition(":")[2] not in self.world.away]
        found: Json = {
            "device_keys": {u: copy.deepcopy(self.world.devices.get(u, {})) for u in asked},
            "master_keys": {u: self.world.masters[u] for u in asked if u in self.world.masters},
            "self_signing_keys": {u: one for u, one in self.world.signers.items() if u in asked},
            "user_signing_keys": {u: k for u, k in self.world.own_signers.items() if u == asker},
            "failures": {server: {} for server in self.world.away},
        }
        return found

    async def claim(self, user: UserId, wanted: dict[str, dict[str, str]]) -> Json:
        self._called("claim")
        given: dict[str, object] = {}
        for who, devices in wanted.items():
            found: Json = {}
            for device_id in devices if who.partition(":")[2] not in self.world.away else ():
                keys = self.world.one_time.get((who, device_id), {})
                if keys:
                    key_id = next(iter(keys))
                    found[device_id] = {key_id: keys.pop(key_id)}
                elif last := self.world.fallback.get((who, device_id)):
                    found[device_id] = last
            given[who] = found
        away: Json = {server: {} for server in self.world.away}
        return {"one_time_keys": given, "failures": away}

    async def upload_keys(self, user: UserId, content: Json) -> Json:
        self._called("upload_keys")
        device_id = self._device(user)
        keys = content.get("device_keys")
        if isinstance(keys, dict):
            self.world.devices.setdefault(user, {})[device_id] = keys
        one_time = content.get("one_time_keys", {})
        assert isinstance(one_time, dict)
        there = self.world.one_time.setdefault((user, device_id), {})
        if any(there.get(key_id, key) != key for key_id, key in one_time.items()):
            raise Refused("M_UNKNOWN", "another key has this id")
        there.update(one_time)
        if fallback := content.get("fallback_keys"):
            assert isinstance(fallback, dict)
            self.world.fallback[user, device_id] = fallback
        return {ONE_TIME: len(there)}

    async def upload_identity(self, user: UserId, content: Json) -> None:
        """Store the keys as Synapse does: one by one, and the same one not again (a 500)."""
        self._called("upload_identity")
        kinds = ("master", "self_signing", "user_signing")
        tables = self.world.masters, self.world.signers, self.world.own_signers
        there = dict(zip((f"{kind}_key" for kind in kinds), tables, strict=True))
        if all(there[name].get(user) == key for name, key in content.items()):
            return
        for number, (name, key) in enumerate(content.items()):
            assert isinstance(key, dict)
            if number == self.world.dies_after or there[name].get(user) == key:
                raise Unavailable("POST answered 500 M_UNKNOWN")
            there[name][user] = key

    async def upload_signatures(self, user: UserId, content: Json) -> None:
        self._called("upload_signatures")
        signed = content[user]
        assert isinstance(signed, dict)
        self.world.devices[user][self._device(user)] = signed[self._device(user)]

    async def send_to_devices(self, user: UserId, kind: str, messages: Json) -> None:
        self._called("send_to_devices")
        for to, devices in messages.items():
            assert isinstance(devices, dict)
            for device_id, content in devices.items():
                self.world.post(user, to, device_id, kind, content)

    async def mark(self, user: UserId) -> str:
        try:
            self._called("mark")
        except Refused:
            return ""
        return self.world.marks.get(user, "")

    async def set_mark(self, user: UserId, mark: str) -> None:
        self._called("set_mark")
        self.world.marks[user] = mark

    async def sync(self, user: UserId, since: str, *, wait: bool, device: str = "") -> Json:
        self._called("sync")
        device_id = device or self._device(user)
        mailbox = self.world.mailboxes.setdefault((user, device_id), [])
        # A /sync with `since` acknowledges all messages before it: the homeserver deletes them.
        mailbox[:] = [(n, event) for n, event in mailbox if n > int(since or 0)]
        changed, self.world.changed = self.world.changed, []
        page, later = mailbox[:PAGE], mailbox[PAGE:]
        return {
            "next_batch": str(page[-1][0] if later else self.world.counter),
            "to_device": {"events": [event for _, event in page]},
            "device_lists": {"changed": changed, "left": []},
            "device_one_time_keys_count": {
                ONE_TIME: len(self.world.one_time.get((user, device_id), {}))
            },
            "device_unused_fallback_key_types": [ONE_TIME],
        }


class Phone:
    """A person's device: publishes keys, encrypts for bridge users, decrypts their messages."""

    def __init__(self, world: World, user: str = ALICE, device_id: str = "PHONE") -> None:
        self.world, self.user, self.device_id = world, user, device_id
        self.account = vodozemac.Account()
        self.keys = {"curve25519": self.account.curve25519_key.to_base64()}
        self.group = vodozemac.GroupSession()
        self.first_key = self.group.session_key
        self.sessions: list[vodozemac.Session] = []
        self.room_keys: dict[str, vodozemac.InboundGroupSession] = {}
        world.devices.setdefault(user, {})[device_id] = self.device_keys()
        self.publish(5)

    def sign(self, fields: Json) -> Json:
        signature = self.account.sign(canonical(fields)).to_base64()
        return with_signature(fields, self.user, f"ed25519:{self.device_id}", signature)

    def device_keys(self, **changes: object) -> Json:
        fields: Json = {
            "user_id": self.user,
            "device_id": self.device_id,
            "algorithms": [OLM, MEGOLM],
            "keys": {
                f"curve25519:{self.device_id}": self.keys["curve25519"],
                f"ed25519:{self.device_id}": self.account.ed25519_key.to_base64(),
            },
        }
        return self.sign(fields | changes)

    def publish(self, count: int) -> None:
        self.account.generate_one_time_keys(count)
        keys = {
            f"{ONE_TIME}:{key_id}": self.sign({"key": key.to_base64()})
            for key_id, key in self.account.one_time_keys.items()
        }
        self.world.one_time.setdefault((self.user, self.device_id), {}).update(keys)
        self.account.mark_keys_as_published()

    # --- to a bridge device -----------------------------------------------------------------

    def begin(self, to: str) -> vodozemac.Session:
        """Begin an olm session with the only device of a bridge user."""
        (device_id,) = self.world.devices[to]
        keys = self.world.one_time[to, device_id]
        claimed = keys.pop(next(iter(keys)))
        session = self.account.create_outbound_session(
            vodozemac.Curve25519PublicKey.from_base64(self.theirs(to, "curve25519")),
            vodozemac.Curve25519PublicKey.from_base64(str(claimed["key"])),
        )
        self.sessions.insert(0, session)
        return session

    def theirs(self, to: str, algorithm: str) -> str:
        ((device_id, device),) = self.world.devices[to].items()
        keys = device["keys"]
        assert isinstance(keys, dict)
        return str(keys[f"{algorithm}:{device_id}"])

    def write(self, to: str, kind: str, content: Json, **changes: object) -> Json:
        """Return the content of an olm message."""
        payload: Json = {
            "type": kind,
            "content": content,
            "sender": self.user,
            "recipient": to,
            "recipient_keys": {"ed25519": self.theirs(to, "ed25519")},
            "keys": {"ed25519": self.account.ed25519_key.to_base64()},
        }
        session = self.sessions[0] if self.sessions else self.begin(to)
        number, body = session.encrypt(msgspec.json.encode(payload | changes)).to_parts()
        part = {self.theirs(to, "curve25519"): {"type": number, "body": to_base64(body)}}
        sender_key = self.keys["curve25519"]
        return {"algorithm": OLM, "sender_key": sender_key, "ciphertext": part}

    def room_key(self, room: str = ROOM) -> Json:
        return {
            "algorithm": MEGOLM,
            "room_id": room,
            "session_id": self.group.session_id,
            "session_key": self.group.session_key.to_base64(),
        }

    def again(self, room: str = ROOM) -> Json:
        """Return the room key as in the answer to a key request (m.forwarded_room_key)."""
        mine = vodozemac.InboundGroupSession(self.first_key)
        exported = mine.export_at(mine.first_known_index)
        assert exported is not None
        return self.room_key(room) | {
            "session_key": exported.to_base64(),
            "sender_key": self.keys["curve25519"],
            "sender_claimed_ed25519_key": self.account.ed25519_key.to_base64(),
            "forwarding_curve25519_key_chain": [],
        }

    def send_key(self, to: str, room: str = ROOM) -> None:
        (device_id,) = self.world.devices[to]
        content = self.write(to, "m.room_key", self.room_key(room))
        self.world.post(self.user, to, device_id, "m.room.encrypted", content)

    def say(
        self, text: str, event_id: str = "$1", room: str = ROOM, outside: Json | None = None
    ) -> Json:
        """Return an encrypted room event."""
        content = {"msgtype": "m.text", "body": text}
        payload = {"type": "m.room.message", "content": content, "room_id": room}
        return self.seal(msgspec.json.encode(payload), event_id, outside)

    def seal(self, plain: bytes, event_id: str = "$1", outside: Json | None = None) -> Json:
        return {
            "type": "m.room.encrypted",
            "room_id": ROOM,
            "sender": self.user,
            "event_id": event_id,
            "content": {
                "algorithm": MEGOLM,
                "session_id": self.group.session_id,
                "ciphertext": self.group.encrypt(plain).to_base64(),
                **(outside or {}),
            },
        }

    # --- from a bridge device ---------------------------------------------------------------

    def fetch(self) -> list[Json]:
        """Empty the mailbox; return the decrypted payloads."""
        mailbox = self.world.mailboxes.pop((self.user, self.device_id), [])
        return [payload for _, event in mailbox if (payload := self._read(event)) is not None]

    def _read(self, event: Json) -> Json | None:
        content = event["content"]
        assert isinstance(content, dict)
        part = content["ciphertext"][self.keys["curve25519"]]
        message = vodozemac.AnyOlmMessage.from_parts(part["type"], from_base64(part["body"]))
        plain = self._decrypt(message, content["sender_key"])
        payload: Json = msgspec.json.decode(plain)
        inner = payload["content"]
        assert isinstance(inner, dict)
        if payload["type"] == "m.room_key":
            key = vodozemac.SessionKey(inner["session_key"])
            # As clients do, keep the first one: it decrypts more.
            self.room_keys.setdefault(inner["session_id"], vodozemac.InboundGroupSession(key))
        return payload

    def _decrypt(self, message: vodozemac.AnyOlmMessage, sender_key: str) -> bytes:
        prekey = message.to_pre_key()
        for session in self.sessions:
            if prekey is None or session.session_id == prekey.session_id():
                with suppress(vodozemac.OlmDecryptionException):
                    return bytes(session.decrypt(message))
        assert prekey is not None
        theirs = vodozemac.Curve25519PublicKey.from_base64(sender_key)
        session, plain = self.account.create_inbound_session(theirs, prekey)
        self.sessions.insert(0, session)
        return bytes(plain)

    def read(self, content: Json) -> Json:
        """Return the payload of an encrypted event of the bridge."""
        session = self.room_keys[str(content["session_id"])]
        message = vodozemac.MegolmMessage.from_base64(str(content["ciphertext"]))
        payload: Json = msgspec.json.decode(session.decrypt(message).plaintext)
        return payload


def new_vault(store: MemoryStore | None = None, secret: str = "") -> Vault:
    return Vault(store or MemoryStore(), Sealer(secret or "secret"))


REFUSED = Refused("M_FORBIDDEN")
AWAY = Unavailable("away")
