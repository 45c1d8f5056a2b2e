"""Customers with an encrypting client (`EncryptedCustomer`), for use alone or in a `Talk`."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from nio import JoinResponse, Response, ShareGroupSessionResponse
from vodozemac import InboundGroupSession

from bridge.matrix.crypto.devices import OwnState
from bridge.matrix.crypto.keys import RoomKey
from bridge.matrix.crypto.peers import _Sessions
from bridge.matrix.crypto.vault import Sealer, Vault
from bridge.matrix.crypto.wire import from_base64
from bridge.rooms.surroundings import SystemClock
from bridge.storage.sqlstore import open_store
from tests.support.matrix_user import PATIENCE, Customer, Phone
from tests.support.stage import Stage
from tests.support.talk import MEI, Talk


class EncryptedCustomer(Phone):
    """The demo's encrypting client, with operations that only tests need."""

    async def learns_of(self, user: str, devices: Collection[str]) -> None:
        """Return once the client knows exactly these devices of the user.

        Raises:
            TimeoutError: after `PATIENCE` seconds.
        """
        async with asyncio.timeout(PATIENCE):
            while self._live_devices(user) != set(devices):
                await self.sync(timeout_ms=1_000)

    async def learns_anew(self, user: str, before: Collection[str]) -> None:
        """Return once the client knows the user's signed devices and none is in `before`.

        Polls the homeserver: a new device appears before the former one is deleted.

        Raises:
            TimeoutError: after `PATIENCE` seconds.
        """
        async with asyncio.timeout(PATIENCE):
            while True:
                there = (await keys_of(self, [user]))[user].signed
                if there and there.isdisjoint(before) and there == self._live_devices(user):
                    return
                await self.sync(timeout_ms=100)

    def _live_devices(self, user: str) -> set[str]:
        return {one.id for one in self.nio.device_store.active_user_devices(user)}

    def hold_keys(self) -> HeldKeys:
        """Encrypt with a new Megolm session, whose key is withheld until released."""
        return HeldKeys(self)

    async def join(self, room_id: str) -> None:
        answer = await self.nio.join(room_id)
        assert isinstance(answer, JoinResponse), answer


class HeldKeys:
    """Room keys of a device's next messages, withheld until released."""

    def __init__(self, customer: EncryptedCustomer) -> None:
        self._customer = customer
        self._send = customer.nio._send
        self._kept: list[tuple[object, ...]] = []
        # Everybody has the key of the present session, so start a new one.
        customer.nio.olm.outbound_group_sessions.clear()
        customer.nio._send = self._keep

    async def _keep(self, kind: type[Response], *request: Any, **more: Any) -> object:
        if kind is not ShareGroupSessionResponse:
            return await self._send(kind, *request, **more)
        self._kept.append((kind, *request))
        return ShareGroupSessionResponse(*more["response_data"])

    def spare_later(self) -> None:
        """Encrypt with one more session, whose key is sent at once."""
        self._customer.nio._send = self._send
        self._customer.nio.olm.outbound_group_sessions.clear()

    async def release(self) -> None:
        """Send the withheld keys; later keys are sent at once again."""
        self._customer.nio._send = self._send
        for kind, *request in self._kept:
            await self._send(kind, *request, response_data=("", set()))

    async def refuse(self, code: str, user: str) -> None:
        """Send m.room_key.withheld for the newest session."""
        for room_id, session in self._customer.nio.olm.outbound_group_sessions.items():
            content = {
                "algorithm": "m.megolm.v1.aes-sha2",
                "room_id": room_id,
                "session_id": session.id,
                "code": code,
                "sender_key": self._customer.nio.olm.account.identity_keys["curve25519"],
            }
            await self._customer.call(
                "PUT",
                f"v3/sendToDevice/m.room_key.withheld/{secrets.token_hex(8)}",
                {"messages": {user: {"*": content}}},
            )


class Published(msgspec.Struct, frozen=True):
    """A user's device and cross-signing keys on the homeserver."""

    devices: frozenset[str]
    """Ids of devices with keys."""
    signed: frozenset[str]
    """Ids of cross-signed devices."""
    master: str
    """Master key, empty if the user has no cross-signing identity."""


async def keys_of(customer: Customer, users: Sequence[str]) -> dict[str, Published]:
    """Query the keys of some users, as this customer."""
    reply = await customer.call("POST", "v3/keys/query", {"device_keys": {u: [] for u in users}})
    found = msgspec.convert(reply, _Queried)
    return {user: found.of(user) for user in users}


class _Keys(msgspec.Struct):
    keys: dict[str, str]
    signatures: dict[str, dict[str, str]] = {}


class _Queried(msgspec.Struct):
    device_keys: dict[str, dict[str, _Keys]]
    master_keys: dict[str, _Keys] = {}
    self_signing_keys: dict[str, _Keys] = {}

    def of(self, user: str) -> Published:
        devices = self.device_keys.get(user, {})
        signer = self.self_signing_keys.get(user, _Keys({})).keys
        signed = {
            device_id
            for device_id, device in devices.items()
            if device.signatures.get(user, {}).keys() & signer.keys()
        }
        master = self.master_keys.get(user, _Keys({})).keys
        return Published(frozenset(devices), frozenset(signed), next(iter(master), ""))


async def key_material(url: str, secret: str) -> list[bytes]:
    """Return the secret keys in a bridge's database, raw and as base64, to search for leaks.

    `url`: of the database; `secret`: its encryption secret.
    """
    found: list[bytes] = []
    async with open_store(url, SystemClock()) as store:
        vault = Vault(store, Sealer(secret))
        for name in await vault.names("own/"):
            own = await vault.load(name, OwnState)
            assert own is not None
            found += [own.identity.master, own.identity.self_signing, own.account.encode()]
        for name in await vault.names("in/"):
            row = await vault.load(name, RoomKey)
            assert row is not None
            session = InboundGroupSession.from_pickle(row.pickle, vault.pickle_key)
            key = session.export_at(session.first_known_index)
            assert key is not None
            # Skip the version and index before the ratchet's 128 bytes: they are not secret.
            found += [from_base64(key.to_base64())[5:133], row.pickle.encode()]
        for name in await vault.names("olm/"):
            found += [pickle.encode() for pickle in (await _sessions(vault, name)).pickles]
    return [form for secret in found for form in (secret, base64.b64encode(secret)[:40])]


async def _sessions(vault: Vault, name: str) -> _Sessions:
    sessions = await vault.load(name, _Sessions)
    assert sessions is not None
    return sessions


async def both_ways(talk: Talk, word: str) -> None:
    """Send a text each way, and wait until the other side can read it."""
    await talk.say(f"can you read {word}?")
    await talk.heard(f"can you read {word}?")
    await talk.desk("say", text=f"yes, {word}")
    await talk.reads(f"yes, {word}", MEI)


class Phones:
    """Factory of customers with encrypting clients, which are closed at the end."""

    def __init__(self, stage: Stage, closing: AsyncExitStack) -> None:
        self.stage = stage
        self._closing = closing
        self._count = 0

    async def of(self, name: str, *, new: bool = True) -> EncryptedCustomer:
        self._count += 1
        folder = self.stage.folder / "phones" / f"{name}-{self._count}"
        phone = await EncryptedCustomer.log_in(
            self.stage.session, self.stage.synapse, name, folder, new=new
        )
        self._closing.push_async_callback(phone.close)
        return phone

    async def talk(self, name: str, first: str = "hello") -> tuple[Talk, EncryptedCustomer]:
        """Create a customer and an encrypted direct room with the bot; send the first message."""
        phone = await self.of(name)
        return await Talk.open(self.stage, phone, first), phone

    async def chatting(self, name: str) -> tuple[Talk, EncryptedCustomer]:
        """Like `talk`, and the agent Mei has accepted the chat."""
        talk, phone = await self.talk(name)
        await talk.heard("hello")
        await talk.accept()
        return talk, phone
