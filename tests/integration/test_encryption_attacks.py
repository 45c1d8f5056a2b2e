"""Attacks on encryption, on a real Synapse and a bridge that keeps its keys in PostgreSQL.

To-device messages from a stranger, replayed messages, encryption removed from a room's state.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from tests.support.client import set_state
from tests.support.encrypted import Phones, both_ways, key_material
from tests.support.matrix_user import Customer, Json, content_of
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, announced

FILE = bytes(range(256)) * 40

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
) -> AsyncIterator[Stage]:
    options = StageOptions(
        simulator=UNLIMITED,
        config={"bridge": bridge_section(), "logging": {"level": "DEBUG"}},
        database=postgres_server.new_database(),
    )
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def to_device(customer: Customer, user: str, kind: str, contents: list[Json]) -> None:
    for number, content in enumerate(contents):
        path = f"v3/sendToDevice/{kind}/{number}{kind}"
        await customer.call("PUT", path, {"messages": {user: {"*": content}}})


async def test_a_strangers_to_device_messages_do_not_stop_decryption(
    stage: Stage, phones: Phones
) -> None:
    """Ids that PostgreSQL cannot store, and invalid ciphertexts: room keys still arrive."""
    talk, _ = await phones.chatting("attacked")
    mallory = await stage.customer("mallory")
    names = ("!nul\x00:evil", "!" + "endless" * 1_000)
    withheld: list[Json] = [
        {"room_id": room, "session_id": session, "code": "m.no_olm", "sender_key": session}
        for name in names
        for room, session in ((name, "s"), ("!room:evil", name))
    ]
    letters: list[Json] = [
        {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": name,
            "ciphertext": {key: {"type": 0, "body": "AAAA"}},
        }
        for name in names
        for key in await identity_keys(mallory, stage.bot)
    ]
    await to_device(mallory, stage.bot, "m.room_key.withheld", withheld)
    await to_device(mallory, stage.bot, "m.room.encrypted", letters)
    await both_ways(talk, "what comes after")
    other, _ = await phones.chatting("attacked2")
    await both_ways(other, "in a new room")
    log = stage.bridge.log_file.read_text(encoding="utf-8")
    assert "a mailbox cannot be read yet" not in log
    assert "Traceback" not in log


async def test_a_stranger_cannot_obtain_or_bring_room_keys(stage: Stage, phones: Phones) -> None:
    """Requests that name the session are not answered, unrequested keys not used."""
    talk, phone = await phones.chatting("curious")
    await talk.desk("say", text="in secret")
    await talk.reads("in secret", MEI)
    sent = next(e for e in await talk.history() if e["sender"] == MEI)
    session = str(content_of(sent)["session_id"])
    mallory = await stage.customer("mallory2")
    body = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": talk.room, "session_id": session}
    asked: Json = {
        "action": "request",
        "request_id": "1",
        "requesting_device_id": "X",
        "body": body,
    }
    brought: Json = body | {"session_key": "AgAAAA", "forwarding_curve25519_key_chain": []}
    for user in (MEI, stage.bot):
        await to_device(mallory, user, "m.room_key_request", [asked] * 20)
        await to_device(mallory, user, "m.forwarded_room_key", [brought])
        await to_device(mallory, user, "m.room_key", [brought])
    await both_ways(talk, "what comes after")
    reply = await mallory.call("GET", "v3/sync")
    assert "to_device" not in reply
    # A message encrypted by another device than the sender's is refused.
    forged = content_of(sent) | {"sender_key": "A" * 43, "device_id": "FORGED"}
    wrong = await phone.send(talk.room, forged, "m.room.encrypted")
    await talk.reads_reply("", wrong)
    person = await talk.at_desk(lambda _: True)
    assert "in secret" not in person.texts


async def identity_keys(customer: Customer, user: str) -> list[str]:
    """Return the curve25519 keys of a user's devices."""
    reply = await customer.call("POST", "v3/keys/query", {"device_keys": {user: []}})
    devices = reply["device_keys"][user]  # type: ignore[index]  # the homeserver's
    return [device["keys"][f"curve25519:{name}"] for name, device in devices.items()]


async def test_a_replayed_message_is_delivered_once(stage: Stage, phones: Phones) -> None:
    """The same ciphertext in a second event is refused, also after a restart of the bridge."""
    talk, _ = await phones.chatting("replayed")
    await talk.say("pay a hundred")
    await talk.heard("pay a hundred")
    await stage.bridge.stop()
    await stage.bridge.start()
    content = next(
        content_of(event)
        for event in await talk.history()
        if event["type"] == "m.room.encrypted" and event["sender"] == talk.customer.user_id
    )
    path = f"v3/rooms/{quote(talk.room, safe='')}/send/m.room.encrypted/again"
    reply = await talk.customer.call("PUT", path, content)
    await talk.reads_reply("repeats an earlier", str(reply["event_id"]))
    await both_ways(talk, "what comes after")
    person = await talk.at_desk(lambda _: True)
    assert person.texts.count("pay a hundred") == 1


async def test_a_room_cannot_become_clear_again(stage: Stage, phones: Phones) -> None:
    """Neither by a state event nor by a restart."""
    talk, phone = await phones.chatting("undone")
    await talk.desk("say", text="in secret")
    await talk.reads("in secret", MEI)
    await set_state(phone, talk.room, "m.room.encryption", {"algorithm": "none"})
    await phone.wait_for(talk.room, lambda event: content_of(event).get("algorithm") == "none")
    await both_ways(talk, "what is said now")
    await stage.bridge.kill()
    await stage.bridge.start()
    await both_ways(talk, "what is said after a restart")
    assert [e for e in await talk.history() if e["type"] == "m.room.message"] == []
    assert "it stays on" in stage.bridge.log_file.read_text(encoding="utf-8")


async def test_a_file_with_a_wrong_hash_is_not_delivered(stage: Stage, phones: Phones) -> None:
    """Nothing of it reaches the agent, and the sender is told."""
    talk, phone = await phones.chatting("changed")
    event_id = await phone.send_file(talk.room, FILE, "order.bin", "application/x-order")
    await announced(talk, FILE)
    sent = await talk.sees(lambda event: event.get("event_id") == event_id)
    file = content_of(sent)["file"]
    assert isinstance(file, dict)
    changed = content_of(sent) | {"file": file | {"hashes": {"sha256": "A" * 43}}}
    wrong = await phone.send(talk.room, changed)
    await talk.reads_reply("damaged or was changed", wrong)
    await both_ways(talk, "what comes after")
    person = await talk.at_desk(lambda _: True)
    assert [message.kind for message in person.messages].count("file") == 1


async def test_no_key_is_logged_at_debug_level(stage: Stage, phones: Phones) -> None:
    """Checks the log of all tests above, too; the last one, as it stops the bridge."""
    talk, _ = await phones.chatting("logged")
    await both_ways(talk, "which keys are logged?")
    await stage.bridge.stop()
    log = stage.bridge.log_file.read_bytes()
    assert b"[debug" in log
    url = YAML(typ="safe").load(stage.config)["database"]["url"]
    material = await key_material(url, "demo-as-token")
    assert len(material) > 40
    assert [form for form in material if form in log] == []
    assert b"demo-as-token" not in log
    assert b"demo-hs-token" not in log
