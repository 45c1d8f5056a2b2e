"""Publishing a device of ours: its keys, its identity, its one-time keys; and whether they fit.

Every method of `Publishing` is called by whoever holds the device.
"""

from __future__ import annotations

from enum import StrEnum

import structlog

from bridge.matrix.crypto.encoding import Json, is_signed, mapping, text
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.own import OwnDevice
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.ports import Refused

PREFIX = "WEBCHAT"
"""How the ids of our devices begin."""
HINT = "stop the bridge and run `matrix-webchat crypto reset`"


class Fit(StrEnum):
    """How a user's keys on the homeserver compare with ours."""

    GOOD = "good"
    NO_DEVICE = "no device"
    """The device is not there, or has no keys there."""
    NO_IDENTITY = "no identity"
    """The user has no cross-signing keys there."""
    UNSIGNED = "unsigned"
    """The device is not signed by the identity there."""
    FOREIGN_IDENTITY = "foreign identity"
    """The user's cross-signing keys are not ours: a database was lost or restored."""
    FOREIGN_DEVICE = "foreign device"
    """Our device has other keys there."""


UNPUBLISHED = frozenset({Fit.NO_DEVICE, Fit.NO_IDENTITY, Fit.UNSIGNED})
"""Something of ours is missing there, and nothing is in its place: publishing mends it."""


class Publishing:
    """Every method raises `Unavailable`, `Refused` or StoreError."""

    def __init__(self, vault: Vault, server: KeyServer) -> None:
        self._vault = vault
        self._server = server
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def make_device(self, own: OwnDevice) -> str:
        """Make the device; returns its access token where it needs one."""
        token = await self._server.make_device(own.user, own.device_id)
        if token:
            own.change(token=token)
            await self._vault.save([own.row(self._vault)])
        return token

    async def fit(self, own: OwnDevice) -> Fit:
        """Ask what the homeserver has of the device."""
        reply = await self._server.query(own.user, [own.user])
        device = mapping(mapping(mapping(reply, "device_keys"), own.user), own.device_id)
        master = mapping(mapping(reply, "master_keys"), own.user)
        return compare(own, device, master)

    async def device(self, own: OwnDevice) -> None:
        """Publish the device's keys with one-time and fallback keys."""
        if not own.offered:
            own.replenish({}, [])  # once: a homeserver does not take any number of them
        await self._upload(own, {"device_keys": own.keys()})
        own.offered = True

    async def identity(self, own: OwnDevice, *, replace: bool) -> None:
        """Publish the identity, and have it and the device sign each other.

        Args:
            own: the device, published already.
            replace: drop the devices of a lost or older database.
        """
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
        if replace:
            await self._drop_older(own)
        own.change(published=True)
        await self._vault.save([own.row(self._vault)])

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
        own.account.mark_keys_as_published()
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
    if not device:
        return Fit.NO_DEVICE
    keys = mapping(device, "keys")
    if text(keys, f"ed25519:{own.device_id}") != own.ed25519:
        return Fit.FOREIGN_DEVICE
    if text(keys, f"curve25519:{own.device_id}") != own.curve25519:
        return Fit.FOREIGN_DEVICE
    if not master:
        return Fit.NO_IDENTITY
    signer = own.state.identity.public_self_signing
    signed = is_signed(device, own.user, f"ed25519:{signer}", signer)
    return Fit.GOOD if signed else Fit.UNSIGNED
