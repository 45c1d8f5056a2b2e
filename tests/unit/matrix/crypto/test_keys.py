from __future__ import annotations

import msgspec
import pytest
import vodozemac

from bridge.matrix.crypto import keys
from bridge.matrix.crypto.keys import (
    BROKEN,
    KEPT,
    NO_KEY,
    REPEATED,
    UNKNOWN_DEVICE,
    UNUSED,
    Owners,
    RoomKey,
    RoomKeys,
    is_encrypted,
    sealed_of,
)
from bridge.matrix.crypto.peers import Payload
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Undecryptable
from bridge.rooms.store import Cutoffs
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.world import ALICE, ROOM, Believing, Phone, World, new_vault

pytestmark = pytest.mark.asyncio

EVE = "@eve:here"


class Keys:
    """`RoomKeys` on a vault, and a phone that writes."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.vault = new_vault(self.store)
        self.keys = RoomKeys(self.vault, Believing())
        self.phone = Phone(World())

    async def take(
        self, content: Json, sender: str = ALICE, now: int = 0, kind: str = "m.room_key"
    ) -> str | None:
        payload = Payload(sender, "curve", "ed", kind, content)
        taken = await self.keys.take(payload, now, {})
        if taken is None:
            return None
        name, rows = taken
        await self.vault.save(rows)
        self.keys.forget(name)
        return name

    async def open(self, raw: Json, now: int = 0) -> Json | Undecryptable:
        sealed = sealed_of(raw)
        assert sealed is not None
        return await self.keys.open(raw, sealed, now)

    async def refuse(self, code: str, **changes: object) -> str | None:
        content = {"room_id": ROOM, "session_id": self.phone.group.session_id, "code": code}
        event: Json = {"sender": ALICE, "content": content | changes}
        refusal = self.keys.refusal(event, 0)
        if refusal is None:
            return None
        name, rows = refusal
        await self.vault.save(rows)
        return name


async def test_event_can_be_decrypted_repeatedly() -> None:
    one = Keys()
    name = await one.take(one.phone.room_key())
    raw = one.phone.say("hello")
    assert name == getattr(sealed_of(raw), "key_name", None)
    for _ in range(2):
        assert await one.open(raw) == raw | {
            "type": "m.room.message",
            "content": {"msgtype": "m.text", "body": "hello"},
        }
    again = RoomKeys(one.vault, Believing())  # after a restart
    sealed = sealed_of(raw)
    assert sealed is not None
    assert await again.open(raw, sealed, 0) == await one.open(raw)


async def test_relation_outside_the_ciphertext_is_kept() -> None:
    one = Keys()
    await one.take(one.phone.room_key())
    relation = {"rel_type": "m.replace", "event_id": "$0"}
    opened = await one.open(one.phone.say("x", outside={"m.relates_to": relation}))
    assert isinstance(opened, dict)
    assert opened["content"] == {"msgtype": "m.text", "body": "x", "m.relates_to": relation}


async def test_a_missing_key_may_come_later() -> None:
    one = Keys()
    first = one.phone.say("before the key was shared")
    assert await one.open(first) == Undecryptable(NO_KEY, later=True)
    await one.take(one.phone.room_key())
    assert await one.open(first) == Undecryptable(NO_KEY, later=True)
    assert isinstance(await one.open(one.phone.say("after")), dict)


async def test_copy_of_a_key_that_decrypts_more_is_kept() -> None:
    one = Keys()
    early = one.phone.room_key()
    first = one.phone.say("first")
    await one.take(one.phone.room_key())
    assert isinstance(await one.open(first), Undecryptable)
    await one.take(early)
    assert isinstance(await one.open(first), dict)
    await one.take(one.phone.room_key())
    assert isinstance(await one.open(first), dict)


async def test_key_is_used_only_for_its_sender_and_room() -> None:
    one = Keys()
    await one.take(one.phone.room_key(), sender=EVE)
    raw = one.phone.say("alice's words")
    assert await one.open(raw) == Undecryptable(NO_KEY, later=True)
    await one.take(one.phone.room_key("!other:here"))
    assert await one.open(raw) == Undecryptable(NO_KEY, later=True)


async def test_message_encrypted_for_another_room_is_rejected() -> None:
    one = Keys()
    await one.take(one.phone.room_key())
    assert await one.open(one.phone.say("x", room="!other:here")) == Undecryptable(
        BROKEN, later=False
    )


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"a":' * 5000,
        msgspec.json.encode({"room_id": ROOM, "type": "m.room.message"}),
        msgspec.json.encode({"room_id": ROOM, "type": "m.room.message", "content": "x"}),
        msgspec.json.encode({"room_id": ROOM, "content": {}}),
    ],
)
async def test_malformed_payload_is_rejected(plain: bytes) -> None:
    one = Keys()
    await one.take(one.phone.room_key())
    assert await one.open(one.phone.seal(plain)) == Undecryptable(BROKEN, later=False)


async def test_replayed_message_is_rejected() -> None:
    one = Keys()
    await one.take(one.phone.room_key())
    raw = one.phone.say("pay 100", "$1")
    assert isinstance(await one.open(raw), dict)
    assert await one.open(raw | {"event_id": "$2"}) == Undecryptable(REPEATED, later=False)
    assert isinstance(await one.open(raw), dict)


async def test_replayed_message_is_rejected_after_a_restart() -> None:
    one = Keys()
    await one.take(one.phone.room_key())
    raw = one.phone.say("pay 100", "$1")
    assert isinstance(await one.open(raw), dict)
    await one.keys.save()
    one.keys = RoomKeys(one.vault, Believing())
    assert await one.open(raw | {"event_id": "$2"}) == Undecryptable(REPEATED, later=False)
    assert isinstance(await one.open(raw), dict)


@pytest.mark.parametrize("kind", ["m.room.redaction", "m.room.encrypted"])
async def test_encrypted_redaction_is_rejected(kind: str) -> None:
    """Otherwise any member could redact other people's messages."""
    one = Keys()
    await one.take(one.phone.room_key())
    content = {"redacts": "$of_somebody_else"}
    plain = msgspec.json.encode({"room_id": ROOM, "type": kind, "content": content})
    assert await one.open(one.phone.seal(plain)) == Undecryptable(BROKEN, later=False)


class Doubting(Owners):
    """Accepts no device until `believes` is set."""

    def __init__(self) -> None:
        self.believes = False
        self.asked: list[tuple[str, str, str, Json | None]] = []

    async def is_owner(self, user: str, key: RoomKey, now: int, *, ask: bool = True) -> bool:
        assert ask
        self.asked.append((user, key.sender_key, key.ed25519, key.device_keys))
        return self.believes


async def test_key_is_used_once_its_device_is_proved_to_be_the_senders() -> None:
    one, owners = Keys(), Doubting()
    one.keys = RoomKeys(one.vault, owners)
    device_keys: Json = {"device_id": "PHONE"}
    payload = Payload(ALICE, "curve", "ed", "m.room_key", one.phone.room_key(), device_keys)
    taken = await one.keys.take(payload, 0, {})
    assert taken is not None
    await one.vault.save(taken[1])
    raw = one.phone.say("hello")
    assert await one.open(raw) == Undecryptable(UNKNOWN_DEVICE, later=True)
    owners.believes = True
    assert isinstance(await one.open(raw), dict)
    owners.believes = False  # proved already: not asked again
    assert isinstance(await one.open(one.phone.say("more")), dict)
    assert owners.asked == [(ALICE, "curve", "ed", device_keys)] * 2


async def test_proved_key_is_not_replaced_by_one_of_another_device() -> None:
    """A forwarded key has no signature: it could be any key of the same session id."""
    one = Keys()
    first = one.phone.say("said before")
    await one.take(one.phone.room_key())
    raw = one.phone.say("hello")
    assert isinstance(await one.open(raw), dict)
    forged = one.phone.again() | {"sender_key": "other"}
    payload = Payload(ALICE, "other", "ed", keys.FORWARDED, forged)
    assert await one.keys.take(payload, 0, {}) is None
    assert isinstance(await one.open(raw), dict)
    assert await one.open(first) == Undecryptable(NO_KEY, later=True)


async def test_overlong_device_keys_are_not_stored() -> None:
    one, owners = Keys(), Doubting()
    one.keys = RoomKeys(one.vault, owners)
    endless: Json = {"device_id": "x" * 10_000}
    payload = Payload(ALICE, "curve", "ed", "m.room_key", one.phone.room_key(), endless)
    taken = await one.keys.take(payload, 0, {})
    assert taken is not None
    await one.vault.save(taken[1])
    await one.open(one.phone.say("x"))
    assert owners.asked[0][3] is None


HARMFUL = ("nul \x00", "half \ud800", "long " + "x" * 300)
"""Ids that a database cannot store, or only at a cost; strangers choose ids freely."""


@pytest.mark.parametrize("name", HARMFUL)
async def test_unstorable_ids_are_rejected(name: str) -> None:
    one = Keys()
    for change in ({"room_id": name}, {"session_id": name}):
        assert await one.refuse("m.unverified", **change) is None
        assert await one.take(one.phone.room_key() | change) is None
    event: Json = {"sender": name, "content": one.phone.room_key()}
    assert one.keys.refusal(event, 0) is None
    raw = one.phone.say("x", outside={"session_id": name})
    assert sealed_of(raw) is None
    assert sealed_of(one.phone.say("x") | {"sender": name}) is None


async def test_damaged_ciphertext() -> None:
    one = Keys()
    await one.take(one.phone.room_key())
    raw = one.phone.say("x", outside={"ciphertext": "AwgA"})
    assert await one.open(raw) == Undecryptable(BROKEN, later=False)


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("m.unverified", "unreadable.withheld.unverified"),
        ("m.blacklisted", "unreadable.withheld.blocked"),
        ("m.unauthorised", "unreadable.withheld.unauthorised"),
        ("m.new", "unreadable.withheld.other"),
    ],
)
async def test_withheld_reason_is_reported_until_the_key_arrives(code: str, key: str) -> None:
    one = Keys()
    assert await one.refuse(code) is not None
    raw = one.phone.say("x")
    assert await one.open(raw) == Undecryptable(key, later=True)
    await one.take(Keys().phone.room_key())
    assert await one.open(raw) == Undecryptable(key, later=True)


async def test_withheld_notice_without_a_session_is_ignored() -> None:
    one = Keys()
    assert await one.refuse("m.no_olm", session_id=None) is None


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "m.other"},
        {"room_id": 5},
        {"session_id": ""},
        {"session_id": "other"},
        {"session_key": "?"},
    ],
)
async def test_malformed_key_is_ignored(change: Json) -> None:
    one = Keys()
    assert await one.take(one.phone.room_key() | change) is None


async def test_unused_key_expires_earlier_than_a_used_one() -> None:
    one = Keys()
    name = await one.take(one.phone.room_key(), now=0)
    assert name is not None
    assert await one.store.prune(0, UNUSED - 1, Cutoffs()) == 0
    assert isinstance(await one.open(one.phone.say("x"), now=UNUSED - 1), dict)
    assert await one.store.prune(0, KEPT + 1, Cutoffs()) == 0
    assert isinstance(await one.open(one.phone.say("y"), now=KEPT - 1), dict)
    assert await one.store.prune(0, KEPT + UNUSED, Cutoffs()) == 0
    assert await one.store.prune(0, 2 * KEPT, Cutoffs()) == 2  # with its replay notes
    second = Keys()
    await second.take(second.phone.room_key(), now=0)
    assert await second.store.prune(0, UNUSED + 1, Cutoffs()) == 1


async def test_encrypted_events_are_recognised() -> None:
    raw = Phone(World()).say("x")
    assert is_encrypted(raw)
    assert not is_encrypted(raw | {"state_key": ""})
    assert not is_encrypted(raw | {"type": "m.room.message"})
    for change in (
        {"room_id": ""},
        {"sender": None},
        {"content": None},
        {"content": {"algorithm": "m.megolm.v1.aes-sha2"}},
        {"content": {"algorithm": "m.other", "session_id": "s", "ciphertext": "c"}},
    ):
        assert sealed_of(raw | change) is None
    assert vodozemac.GroupSession().session_id


async def test_forwarded_key_is_accepted_only_from_the_device_that_made_it() -> None:
    one = Keys()
    raw = one.phone.say("hello")
    forwarded = one.phone.again() | {"sender_key": "curve"}
    hearsay = forwarded | {"sender_key": "of another device"}
    broken = forwarded | {"session_key": "no key"}
    for no_good in (hearsay, broken, forwarded | {"session_id": "another"}):
        assert await one.take(no_good, kind=keys.FORWARDED) is None
    assert await one.take(forwarded) is None  # its format is not that of m.room_key
    assert await one.take(forwarded, kind=keys.FORWARDED) is not None
    opened = await one.open(raw)
    assert isinstance(opened, dict)
    assert opened["content"] == {"msgtype": "m.text", "body": "hello"}
