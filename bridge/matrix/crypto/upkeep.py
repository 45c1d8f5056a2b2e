"""Our users' devices: that they exist, that their keys are published, that all of it still fits.

Each database has a device id of its own, drawn at its first start, so that the keys of a lost
database are never mistaken for those of the new one. A user has only one cross-signing identity;
another one's is replaced only if an operator said so (`matrix-webchat crypto reset`).

A database that is an older copy of itself (`continuity`) draws another id. Each user then gets a
new device under the identity that it has, which nobody is warned of, and the old device goes, with
all sessions that had gone back. Its mailbox is read a last time before.
"""

from __future__ import annotations

import asyncio
import secrets
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec
import structlog

from bridge.ids import UserId
from bridge.matrix.crypto.continuity import Continuity
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.own import OwnDevice
from bridge.matrix.crypto.publishing import HINT, PREFIX, UNPUBLISHED, Fit, Publishing
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.ports import Refused
from bridge.rooms.store import SecretRow

EPOCH = "epoch"


class Epoch(msgspec.Struct, frozen=True):
    """The row that names this database's devices."""

    device_id: str
    replace: bool = False
    """An operator allowed us to replace what the homeserver knows of our users."""

    @classmethod
    def draw(cls, *, replace: bool = False) -> Epoch:
        letters = "".join(secrets.choice(string.ascii_uppercase) for _ in range(6))
        return cls(f"{PREFIX}_{letters}", replace)


class Listener(Protocol):
    """Who has to know of changes to our devices."""

    def use_device(self, device_id: str) -> None:
        """From now on our users act as their devices of this id."""
        ...

    def use_token(self, user: UserId, token: str) -> None:
        """The user acts as its device by this token, on a homeserver without MSC4190."""
        ...

    async def last_look(self, own: OwnDevice) -> None:
        """Read a device's mailbox before it goes.

        Raises:
            Unavailable, Refused, StoreError: as its calls.
        """
        ...


class Upkeep:
    """Keeps our devices; one `OwnDevice` and one lock per user.

    Every method raises `Unavailable`, `Refused` or StoreError.

    Args:
        vault: where the devices are kept.
        server: where they are published.
        continuity: tells whether the database is its newest state.
        listener: told what changes.

    Attributes:
        publishing: the part that talks to the homeserver.
    """

    def __init__(
        self, vault: Vault, server: KeyServer, continuity: Continuity, listener: Listener
    ) -> None:
        self._vault = vault
        self.publishing = Publishing(vault, server)
        self._continuity = continuity
        self._listener = listener
        self._epoch = Epoch("")
        self._settled = False
        self._settling = asyncio.Lock()
        self._devices: dict[UserId, OwnDevice] = {}
        self._locks: dict[UserId, asyncio.Lock] = {}
        self._ready: dict[UserId, asyncio.Event] = {}
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def begin(self) -> None:
        """Read or draw the device id of this database.

        Raises:
            StoreError: the database does not answer, or its rows are sealed with another secret.
        """
        epoch = await self._vault.load(EPOCH, Epoch)
        if epoch is None:
            await self._draw(Epoch.draw(replace=False))
        else:
            self._epoch = epoch
            self._listener.use_device(epoch.device_id)

    @property
    def device_id(self) -> str:
        """The id of all devices of this database, as far as it is known."""
        return self._epoch.device_id

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

    async def current(self, user: UserId) -> OwnDevice:
        """The user's device, for whoever only looks."""
        async with self.holding(user) as own:
            return own

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
        if (own := self._devices.get(user)) is not None:
            own.offered = False  # its one-time keys are gone with it
        self.ready(user).clear()
        await self.ensure(user)

    # --- bringing up ------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Before anything is encrypted: see that nothing of this database has gone back."""
        async with self._settling:
            if self._settled:
                return
            if not await self._continuity.check():
                self._log.warning(
                    "the database was restored from an older copy: all our devices are replaced, "
                    "nothing is encrypted with the old ones any more"
                )
                await self._draw(Epoch.draw(replace=self._epoch.replace))
            await self._continuity.advance()
            self._settled = True

    async def _draw(self, epoch: Epoch) -> None:
        await self._vault.save([self._vault.row(EPOCH, epoch)])
        self._epoch = epoch
        self._listener.use_device(epoch.device_id)

    async def _bring_up(self, user: UserId) -> None:
        await self._settle()
        own = self._devices.get(user) or await OwnDevice.load(self._vault, user)
        if own is not None and own.state.token:
            self._listener.use_token(user, own.state.token)
        if own is None or own.device_id != self._epoch.device_id:
            own = await self._next(user, own)
        self._devices[user] = own
        if not own.state.published:
            await self._make_device(own)
        fit = await self.publishing.fit(own)
        if fit in UNPUBLISHED and own.state.published:
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
            await self.publishing.device(own)
            return
        if fit is not Fit.GOOD:
            await self.publishing.device(own)
            replace = self._epoch.replace or own.state.successor
            await self.publishing.identity(own, replace=replace)

    async def _next(self, user: UserId, former: OwnDevice | None) -> OwnDevice:
        """A device of this database for a user that has none, or one of an older copy."""
        if former is not None:
            try:
                await self._listener.last_look(former)
            except Refused as refusal:
                self._log.info("no mailbox of the old device", user=user, code=refusal.code)
        own = OwnDevice.draw(user, self._epoch.device_id, former)
        await self._vault.save([own.row(self._vault)])
        return own

    async def _make_device(self, own: OwnDevice) -> None:
        token = await self.publishing.make_device(own)
        if token:
            self._listener.use_token(own.user, token)

    def _may_replace(self, own: OwnDevice) -> bool:
        """Only what was made after the operator's reset may replace what is there."""
        return self._epoch.replace and not own.state.published


def reset_rows(vault: Vault) -> list[SecretRow]:
    """What an emptied table must hold for a fresh start that may replace what is published."""
    return [vault.row(EPOCH, Epoch.draw(replace=True))]
