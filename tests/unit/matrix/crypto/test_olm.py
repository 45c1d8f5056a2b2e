from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
import pytest_asyncio

from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.peers import (
    Channel,
    Device,
    _Sessions,
    letter_of,
    one_time_key,
    read_devices,
    read_payload,
)
from bridge.matrix.crypto.vault import Vault
from bridge.matrix.crypto.wire import OLM, Json
from tests.unit.matrix.crypto.world import ALICE, BOT, FakeServer, Phone, World, new_vault

pytestmark = pytest.mark.asyncio


class Two:
    """The bot's device and a phone."""

    def __init__(self) -> None:
        self.world = World()
        self.vault: Vault = new_vault()
        self.own = OwnDevice.draw(BOT, "BOT")
        self.own.replenish({}, [])
        self.phone = Phone(self.world)

    async def publish(self) -> None:
        server = FakeServer(self.world)
        await server.make_device(BOT, "BOT")
        await server.upload_keys(BOT, {"device_keys": self.own.keys()} | self.own.unpublished())

    @property
    def device(self) -> Device:
        (device,) = read_devices(ALICE, self.world.devices[ALICE])
        return device

    def event(self, content: Json, sender: str = ALICE) -> Json:
        return {"type": "m.room.encrypted", "sender": sender, "content": content}

    async def channel(self) -> Channel:
        return await Channel.load(self.vault, self.own, ALICE, self.phone.keys["curve25519"])

    def claimed(self) -> Json:
        keys = self.world.one_time[ALICE, "PHONE"]
        key_id = next(iter(keys))
        return {key_id: keys.pop(key_id)}


def begin(channel: Channel, device: Device, claimed: Mapping[str, object]) -> bool:
    return channel.begin(device, one_time_key(device, claimed))


@pytest_asyncio.fixture
async def two() -> Two:
    made = Two()
    await made.publish()
    return made


async def test_olm_messages_go_both_ways_and_survive_a_restart(two: Two) -> None:
    channel = await two.channel()
    assert not channel.open
    assert begin(channel, two.device, two.claimed())
    two.world.post(BOT, ALICE, "PHONE", "m", channel.encrypt(two.device, "m.dummy", {"a": 1}))
    await two.vault.save([channel.row(two.vault, 0)])
    (payload,) = two.phone.fetch()
    assert (payload["type"], payload["content"], payload["recipient"]) == (
        "m.dummy",
        {"a": 1},
        ALICE,
    )
    device_keys = payload["sender_device_keys"]
    assert isinstance(device_keys, dict)
    assert len(device_keys["signatures"][BOT]) == 2

    channel = await two.channel()
    letter = letter_of(two.own, two.event(two.phone.write(BOT, "m.x", {"b": 2})))
    assert letter is not None
    assert letter.number == 1  # in the session that the bridge began
    found = read_payload(two.own, letter, channel.decrypt(letter.number, letter.body))
    assert found is not None
    assert (found.kind, found.content, found.sender) == ("m.x", {"b": 2}, ALICE)


async def test_prekey_messages_begin_a_session_and_are_not_decrypted_twice(two: Two) -> None:
    channel = await two.channel()
    for number in range(3):
        letter = letter_of(two.own, two.event(two.phone.write(BOT, "m.x", {"n": number})))
        assert letter is not None
        assert letter.number == 0
        assert channel.decrypt(letter.number, letter.body)
    two.phone.begin(BOT)
    letter = letter_of(two.own, two.event(two.phone.write(BOT, "m.x", {})))
    assert letter is not None
    assert channel.decrypt(letter.number, letter.body)
    with pytest.raises(ValueError, match="unknown one-time key"):
        channel.decrypt(letter.number, letter.body)


async def test_the_session_that_the_other_side_uses_is_used_next(two: Two) -> None:
    """The message that began a newer session may be lost."""
    channel = await two.channel()
    for number in range(2):
        letter = letter_of(two.own, two.event(two.phone.write(BOT, "m.x", {"n": number})))
        assert letter is not None
        channel.decrypt(letter.number, letter.body)
        if number == 0:
            assert begin(channel, two.device, two.claimed())
    answer = channel.encrypt(two.device, "m.dummy", {})
    ciphertext = answer["ciphertext"]
    assert isinstance(ciphertext, dict)
    assert ciphertext[two.phone.keys["curve25519"]]["type"] == 1, "begins no session"


async def test_undecryptable_olm_messages(two: Two) -> None:
    channel = await two.channel()
    for number, body in ((1, b"x"), (0, b""), (7, b"abc"), (1, b"\x03\x0a\x20" + b"x" * 60)):
        with pytest.raises(ValueError, match=r"message|session"):
            channel.decrypt(number, body)
    letter = letter_of(two.own, two.event(two.phone.write(BOT, "m.x", {})))
    assert letter is not None
    stranger = OwnDevice.draw(BOT, "BOT")  # the one-time key is not this account's
    with pytest.raises(ValueError, match="unknown one-time key"):
        Channel(stranger, ALICE, two.phone.keys["curve25519"]).decrypt(letter.number, letter.body)


async def test_a_session_needs_a_key_that_the_device_signed(two: Two) -> None:
    channel = await two.channel()
    (key,) = two.claimed().values()
    assert isinstance(key, dict)
    for claimed in (
        {},
        {"curve25519:A": key},
        {"signed_curve25519:A": None},
        {"signed_curve25519:A": key | {"key": "other"}},
        {"signed_curve25519:A": two.phone.sign({"key": "no key"})},
    ):
        assert not begin(channel, two.device, claimed)
    assert begin(channel, two.device, {"signed_curve25519:A": key})


async def test_only_a_few_of_many_claimed_keys_are_checked(two: Two) -> None:
    """A homeserver's reply of 32 MiB can hold 170,000 keys: 7 s."""
    (key,) = two.claimed().values()
    assert isinstance(key, dict)
    wrong: Json = {f"signed_curve25519:{n}": key | {"key": "other"} for n in range(4)}
    good: Json = {"signed_curve25519:A": key}
    assert one_time_key(two.device, wrong | good) == key["key"]
    assert one_time_key(two.device, wrong | {"signed_curve25519:B": None} | good) == ""


async def test_malformed_or_misaddressed_olm_messages_are_ignored(two: Two) -> None:
    content = two.phone.write(BOT, "m.x", {})
    ours = two.own.curve25519
    assert letter_of(two.own, two.event(content)) is not None
    wrongs: tuple[Json, ...] = (
        {"algorithm": "m.other"},
        {"sender_key": 5},
        {"ciphertext": []},
        {"ciphertext": {"somebody": {"type": 0, "body": "AA"}}},
        {"ciphertext": {ours: {"type": "0", "body": "AA"}}},
        {"ciphertext": {ours: {"type": True, "body": "AA"}}},
        {"ciphertext": {ours: {"type": 2**70, "body": "AA"}}},
        {"ciphertext": {ours: {"type": -1, "body": "AA"}}},
        {"sender_key": "nul \x00"},
        {"sender_key": "A" * 300},
        {"ciphertext": {ours: {"type": 0, "body": "?"}}},
        {"ciphertext": {ours: {"type": 0, "body": "A" * 300_000}}},
    )
    for wrong in wrongs:
        assert letter_of(two.own, two.event(content | wrong)) is None
    for sender in ("", "@nul\x00:evil", "@" + "x" * 300 + ":evil"):
        assert letter_of(two.own, two.event(content, sender=sender)) is None


async def test_payload_must_name_its_sender_and_recipient(two: Two) -> None:
    letter = letter_of(two.own, two.event(two.phone.write(BOT, "m.x", {})))
    assert letter is not None
    good: Json = {
        "type": "m.x",
        "sender": ALICE,
        "recipient": BOT,
        "recipient_keys": {"ed25519": two.own.ed25519},
    }
    assert read_payload(two.own, letter, msgspec.json.encode(good)) is not None
    wrongs: tuple[Json, ...] = (
        {"sender": "@eve:here"},
        {"recipient": ALICE},
        {"recipient_keys": {}},
    )
    for wrong in wrongs:
        assert read_payload(two.own, letter, msgspec.json.encode(good | wrong)) is None
    for plain in (b"", b"[]", b"\xff", b'{"a":' * 5000):
        assert read_payload(two.own, letter, plain) is None
    assert OLM.startswith("m.olm")


async def test_olm_sessions_belong_to_one_bridge_device(two: Two) -> None:
    """Sessions of a deleted device are never used again, whatever version stored them."""
    channel = await two.channel()
    assert begin(channel, two.device, two.claimed())
    name = f"olm/{BOT}/{ALICE}/{two.phone.keys['curve25519']}"
    pickles = [one.pickle(two.vault.pickle_key) for one in channel._sessions]
    successor = OwnDevice.draw(BOT, "BOT_2", two.own)
    for device_id in ("BOT", ""):  # an earlier version stored no device id
        await two.vault.save([two.vault.row(name, _Sessions(pickles, device_id))])
        assert (await two.channel()).open is (device_id == "BOT")
        theirs = await Channel.load(two.vault, successor, ALICE, two.phone.keys["curve25519"])
        assert not theirs.open


async def test_users_with_the_same_key_have_separate_channels(
    two: Two,
) -> None:
    """Otherwise messages to one would use a session begun with the other's one-time key."""
    eve = Phone(two.world, "@eve:here")
    eve.keys = two.phone.keys  # signed by Eve's device: the homeserver cannot tell
    two.world.devices["@eve:here"] = {"PHONE": eve.device_keys()}
    (device,) = read_devices("@eve:here", two.world.devices["@eve:here"])
    curve25519 = two.phone.keys["curve25519"]
    assert device.curve25519 == curve25519
    theirs = await Channel.load(two.vault, two.own, "@eve:here", curve25519)
    keys = two.world.one_time["@eve:here", "PHONE"]
    assert begin(theirs, device, keys)
    await two.vault.save([theirs.row(two.vault, 0)])
    assert not (await two.channel()).open
