"""Our users' devices: that they exist, that their keys are published, that all of it still fits.

Each database has a device id of its own, drawn at its first start, so that the keys of a lost
database are never mistaken for those of the new one. A user has only one cross-signing identity;
another one's is replaced only if an operator said so (`matrix-webchat crypto reset`).
"""

from __future__ import annotations

import asyncio
import secrets
import string
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum

import msgspec
import structlog

from bridge.ids import UserId
from bridge.matrix.crypto.encoding import Json, is_signed, mapping, text
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.own import OwnDevice
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.ports import Refused
from bridge.rooms.store import SecretRow

PREFIX = "WEBCHAT"
EPOCH = "epoch"
HINT = "stop the bridge and run `matrix-webchat crypto reset`"


class Epoch(msgspec.Struct, frozen=True):
    """The row that names this database's devices."""

    device_id: str
    replace: bool = False
    """An operator allowed us to replace what the homeserver knows of our users."""

    @classmethod
    def draw(cls, *, replace: bool = False) -> Epoch:
        letters = "".join(secrets.choice(string.ascii_uppercase) for _ in range(6))
        return cls(f"{PREFIX}_{letters}", replace)


class Fit(StrEnum):
    """How a user's keys on the homeserver compare with ours."""

    GOOD = "good"
    UNPUBLISHED = "unpublished"
    """Device or identity are missing there: publishing mends it."""
    FOREIGN_IDENTITY = "foreign identity"
    """The user's cross-signing keys are not ours: a database was lost or restored."""
    FOREIGN_DEVICE = "foreign device"
    """Our device has other keys there."""


class Upkeep:
    """Keeps our devices; one `OwnDevice` and one lock per user.

    Every method raises `Unavailable`, `Refused` or StoreError.

    Args:
        vault: where the devices are kept.
        server: where they are published.
        on_token: told the access token of a device on a homeserver without MSC4190.
    """

    def __init__(
        self, vault: Vault, server: KeyServer, on_token: Callable[[UserId, str], None]
    ) -> None:
        self._vault = vault
        self._server = server
        self._on_token = on_token
        self._epoch = Epoch("")
        self._devices: dict[UserId, OwnDevice] = {}
        self._locks: dict[UserId, asyncio.Lock] = {}
        self._ready: dict[UserId, asyncio.Event] = {}
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def begin(self) -> str:
        """Read or draw the device id of this database.

        Raises:
            StoreError: the database does not answer, or its rows are sealed with another secret.
        """
        epoch = await self._vault.load(EPOCH, Epoch)
        if epoch is None:
            epoch = Epoch.draw()
            await self._vault.save([self._vault.row(EPOCH, epoch)])
        self._epoch = epoch
        return epoch.device_id

    @asynccontextmanager
    async def holding(self, user: UserId) -> AsyncIterator[OwnDevice]:
        """The user's device, for whoever changes it or its sessions: one at a time.

        It is made, published and checked when it is first asked for after a start of ours.
        """
        async with self._locks.setdefault(user, asyncio.Lock()):
            if not self.ready(user).is_set():
                await self._bring_up(user)
                self.ready(user).set()
            yield self._devices[user]

    def ready(self, user: UserId) -> asyncio.Event:
        """Set once the user's device is there."""
        return self._ready.setdefault(user, asyncio.Event())

    async def ensure(self, user: UserId) -> None:
        """See to it that the user's device is there."""
        if not self.ready(user).is_set():
            async with self.holding(user):
                pass

    def distrust(self, user: UserId) -> None:
        """What is in memory may differ from what is stored: read it again before its next use."""
        self._devices.pop(user, None)
        self.ready(user).clear()

    async def mend(self, user: UserId) -> None:
        """The homeserver does not know the device any more: make it again."""
        self._log.warning("a device is gone, making it again", user=user)
        self.ready(user).clear()
        await self.ensure(user)

    # --- bringing up ------------------------------------------------------------------------

    async def _bring_up(self, user: UserId) -> None:
        own = self._devices.get(user) or await OwnDevice.load(self._vault, user)
        if own is None:
            own = OwnDevice.draw(user, self._epoch.device_id)
            await self._vault.save([own.row(self._vault)])
        self._devices[user] = own
        if own.state.token:
            self._on_token(user, own.state.token)
        if not own.state.published:
            await self._make_device(own)
        fit = await self._fit(own)
        if fit is Fit.UNPUBLISHED and own.state.published:
            self._log.warning("keys are missing at the homeserver, publishing them", user=user)
            await self._make_device(own)
        if fit in {Fit.FOREIGN_IDENTITY, Fit.FOREIGN_DEVICE} and not self._may_replace(own):
            self._log.error(
                "the keys at the homeserver are not those of this database; customers may be "
                "unable to read or to be read in encrypted rooms",
                user=user,
                found=fit.value,
                mend=HINT,
            )
            if own.state.published or fit is Fit.FOREIGN_DEVICE:
                return
            await self._publish_device(own)
            return
        if fit is not Fit.GOOD:
            await self._publish_device(own)
            await self._publish_identity(own)

    def _may_replace(self, own: OwnDevice) -> bool:
        """Only what was made after the operator's reset may replace what is there."""
        return self._epoch.replace and not own.state.published

    async def _make_device(self, own: OwnDevice) -> None:
        token = await self._server.make_device(own.user, own.device_id)
        if token:
            own.change(token=token)
            await self._vault.save([own.row(self._vault)])
            self._on_token(own.user, token)

    async def _fit(self, own: OwnDevice) -> Fit:
        reply = await self._server.query(own.user, [own.user])
        device = mapping(mapping(mapping(reply, "device_keys"), own.user), own.device_id)
        master = mapping(mapping(reply, "master_keys"), own.user)
        return compare(own, device, master)

    async def _publish_device(self, own: OwnDevice) -> None:
        own.replenish({}, [])
        await self._upload(own, {"device_keys": own.keys()})

    async def _publish_identity(self, own: OwnDevice) -> None:
        """Publish the identity, have it and the device sign each other, drop older devices."""
        try:
            await self._server.upload_identity(own.user, own.state.identity.upload(own.user))
            await self._server.upload_signatures(own.user, own.signatures())
        except Refused as refusal:
            self._log.error(
                "the homeserver takes no cross-signing keys of ours; strict clients will not "
                "talk to this user in encrypted rooms",
                user=own.user,
                code=refusal.code,
            )
        own.change(published=True)
        await self._vault.save([own.row(self._vault)])
        if self._epoch.replace:
            await self._drop_older(own)

    async def _drop_older(self, own: OwnDevice) -> None:
        """Devices of a lost database: people's clients would go on encrypting for them."""
        try:
            for device_id in await self._server.devices(own.user):
                if device_id.startswith(PREFIX) and device_id != own.device_id:
                    await self._server.delete_device(own.user, device_id)
        except Refused as refusal:
            self._log.warning("older devices remain", user=own.user, code=refusal.code)

    # --- one-time keys ----------------------------------------------------------------------

    async def replenish(self, own: OwnDevice, reply: Json) -> None:
        """Publish the one-time keys that a /sync says are wanting. The lock is held."""
        counts = reply.get("device_one_time_keys_count")
        if not isinstance(counts, dict):
            return
        if own.replenish(counts, reply.get("device_unused_fallback_key_types")):
            await self._upload(own, {})

    async def _upload(self, own: OwnDevice, content: Json) -> None:
        # Stored first: the private half of a key must never be younger than its public half.
        await self._vault.save([own.row(self._vault)])
        try:
            await self._server.upload_keys(own.user, content | own.unpublished())
        except Refused as refusal:
            # A restored database offers keys that the homeserver has already given away.
            self._log.error(
                "the homeserver does not take our keys", user=own.user, code=refusal.code, mend=HINT
            )
            return
        own.mark_published()
        await self._vault.save([own.row(self._vault)])


def compare(own: OwnDevice, device: Json, master: Json) -> Fit:
    """Compare what the homeserver has with what we have.

    Args:
        own: ours.
        device: the keys of our device there; empty if it has none.
        master: the user's master key there; empty if there is none.
    """
    if master and own.state.identity.public_master not in mapping(master, "keys").values():
        return Fit.FOREIGN_IDENTITY
    if not device or not master:
        return Fit.UNPUBLISHED
    keys = mapping(device, "keys")
    if text(keys, f"ed25519:{own.device_id}") != own.ed25519:
        return Fit.FOREIGN_DEVICE
    if text(keys, f"curve25519:{own.device_id}") != own.curve25519:
        return Fit.FOREIGN_DEVICE
    signer = own.state.identity.public_self_signing
    if not is_signed(device, own.user, f"ed25519:{signer}", signer):
        return Fit.UNPUBLISHED
    return Fit.GOOD


def reset_rows(vault: Vault) -> list[SecretRow]:
    """What an emptied table must hold for a fresh start that may replace what is published."""
    return [vault.row(EPOCH, Epoch.draw(replace=True))]
