"""Devices of the bridge users: created, published, cross-signed, checked against the homeserver.

Each database has its own device id, generated at its first start, so that the keys of a lost
database are never mistaken for those of the new one. Each bridge user has one device of that id
(`OwnDevice`: an olm account with one-time keys) and one cross-signing identity (`Identity`):
without it strict clients send the device no keys and hide its messages (MSC4153). A foreign
identity on the homeserver is replaced only after an operator's `matrix-webchat crypto reset`, or
after a restore (below) if the database has no device of that user.

`Upkeep` maintains them, with one lock per user for changes to the device and its olm sessions.
Private halves of one-time keys are stored before the public halves are published, so that messages
to a published key can always be read; after a crash in between, the same keys are published again,
which homeservers accept.

A database restored from a backup must be detected: its old olm ratchets would encrypt two texts
with one key. So a random mark is kept both in the database and in the bot's account data; it
changes with the ratchets (at most once in `EVERY`), with each new device and at a stop. A database
that does not know the homeserver's mark is an older copy of itself (or the homeserver is, or a
second bridge uses the same users; both are harmless). It then generates another device id: each
user gets a new device under the same identity, so clients do not warn, and the old device is
deleted with its sessions. Users created since the backup get new identities, as theirs are lost.

A homeserver that is restored while the bridge runs keeps these devices, but hands out one-time keys
that have been used: they are replaced (`Upkeep.is_restored`).

A new database beside such a mark is mostly a mistake in the configuration, as a folder that is not
mounted. The bridge would accept, and drop, what is said in rooms that it does not know. So it does
not start (`ANOTHER`), until an operator's reset says that the other database is lost.

`inspect` is the read-only report of all this for `matrix-webchat doctor`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import string
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import msgspec
import vodozemac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.ids import UserId
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.vault import LOG, Vault, again
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.store import SecretRow, StoreError

EPOCH, MARKS = "epoch", "marks"
PREFIX = "WEBCHAT"
"""Prefix of the bridge's device ids."""
GONE = "M_UNKNOWN_DEVICE"
"""Error code for a request by a device that the homeserver does not know (any more)."""
EVERY = 60_000
"""Minimum ms between marks. After a `kill -9`, a backup younger than this may go undetected."""
_LAST = 3.0
"""Timeout in seconds for setting the last mark at a stop."""
_REPLENISHED_MS = 300_000
"""Minimum ms between two replenishments of one-time keys; meanwhile the fallback key is used, which
must not change twice while a message is on its way. A key that somebody claims and never uses stays
in the account: 5,000 of them would cost 22 ms and 820 KB with each message that begins a session.
"""
_MOST_CLAIMED = 200
"""Maximum one-time keys of a device that are taken back; a homeserver holds about 50."""
MOST_MARKS = 64
"""Marks kept: a process has up to three, so twenty others may start between one's two writes."""
HINT = "stop the bridge and run `matrix-webchat crypto reset`"
ANOTHER = "ANOTHER_DATABASE"
"""Code of a Refused raised here: the bridge was used with another database than this new one."""


class Epoch(msgspec.Struct, frozen=True):
    """Row: the device id of this database."""

    device_id: str
    replace: bool = False
    """Whether an operator's reset allows foreign keys of bridge users to be replaced."""
    restored: bool = False
    """Whether it was generated after a restore: keys on the homeserver of users without a row here
    were made after the backup, and may be replaced."""

    @classmethod
    def draw(cls, *, replace: bool = False, restored: bool = False) -> Epoch:
        letters = "".join(secrets.choice(string.ascii_uppercase) for _ in range(6))
        return cls(f"{PREFIX}_{letters}", replace, restored)


class Fit(StrEnum):
    """Comparison of a bridge user's keys on the homeserver with the database's."""

    GOOD = "good"
    NO_DEVICE = "no device"
    """The homeserver has no such device, or no keys of it."""
    NO_IDENTITY = "no identity"
    UNSIGNED = "unsigned"
    FOREIGN_IDENTITY = "foreign identity"
    """The user's cross-signing keys are not the database's, which was lost or restored."""
    FOREIGN_DEVICE = "foreign device"
    FORMER = "former"
    """Only from `inspect`: the device has a former id and is replaced when the user next writes."""


class Marks(msgspec.Struct, frozen=True):
    """Row: marks that the homeserver may hold, oldest first, at most `MOST_MARKS`.

    Each process writes its next mark here before setting it, and may be interrupted in between.
    """

    possible: tuple[str, ...]


@dataclass(eq=False, repr=False)
class Upkeep:
    """Registry of the bridge's devices; `last_look` reads a device's mailbox before deletion."""

    _vault: Vault
    _server: wire.KeyServer
    _bot: UserId
    _clock: Clock
    _last_look: Callable[[OwnDevice], Awaitable[None]]
    _alone: Callable[[str], AbstractAsyncContextManager[None]] = lambda _name: nullcontext()

    def __post_init__(self) -> None:
        self._held = self._older = self._last = self._next = ""
        """Marks: the homeserver's at the start; this process's last two; one perhaps being set."""
        self._marking = asyncio.Lock()
        self._moved = self._turns = 0
        """Time of the last attempt to set a mark, ms; `Vault.turns` when the last one was set."""
        self._epoch = Epoch("")
        self._settled = False
        self._settling = asyncio.Lock()
        self._devices: dict[UserId, OwnDevice] = {}
        """Published devices, equal to the stored ones."""
        self._replenished: dict[UserId, int] = {}
        """When one-time keys were last made for a user, ms."""
        self._offered: set[UserId] = set()
        """Users whose device and one-time keys were uploaded since the start."""
        self._locks: defaultdict[UserId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.ready: defaultdict[UserId, asyncio.Event] = defaultdict(asyncio.Event)
        """Set once the user's device is published; stays set when the row is read again."""

    async def begin(self) -> None:
        await again(self._read_epoch)

    async def _read_epoch(self) -> bytes | None:
        """Read or generate the device id of this database; return its row."""
        epoch, stored = await self._vault.read(EPOCH, Epoch)
        if epoch is None:
            return await self._draw(Epoch.draw(), stored)
        self._epoch = epoch
        self._server.use_device(epoch.device_id)
        return stored

    @property
    def device_id(self) -> str:
        return self._epoch.device_id

    @asynccontextmanager
    async def holding(self, user: UserId) -> AsyncIterator[OwnDevice]:
        """Lock the user's published device in order to change it or its olm sessions.

        The lock holds in this process only: a write is Stale if another process changed the device.
        """
        async with self._locks[user]:
            try:
                if user not in self._devices:
                    self._devices[user] = await again(lambda: self._bring_up(user))
                    self.ready[user].set()
                yield self._devices[user]
            except (Unavailable, Refused):
                raise  # changes made before the call are stored
            except BaseException:
                # The device in memory may differ from the stored one: read it again next time.
                self._devices.pop(user, None)
                raise

    async def current(self, user: UserId) -> OwnDevice:
        """Return the user's device for reading, without the lock."""
        if (known := self._devices.get(user)) is not None:
            return known
        async with self.holding(user) as own:
            return own

    async def mend(self, user: UserId) -> None:
        """Publish the user's device again after the homeserver has lost it."""
        LOG.warning("a device is missing at the homeserver, creating it again", user=user)
        self._offered.discard(user)  # its one-time keys are gone with it
        self._devices.pop(user, None)
        await self.current(user)

    # --- detection of a restored backup -----------------------------------------------------

    async def check(self) -> bool:
        """Return False if the homeserver's mark is newer than this database. Raises Unavailable."""
        newest, self._held = await examine(self._server, self._vault, self._bot)
        return newest

    async def follow(self, *, at_once: bool = False) -> None:
        """Set a new mark if a ratchet advanced and `EVERY` has passed, or always if `at_once`."""
        async with self._marking:
            turned = self._vault.turns != self._turns
            if at_once or (turned and not 0 <= self._clock.now() - self._moved < EVERY):
                await self._mark()

    async def witness(self) -> None:
        """Set a new mark if a ratchet has advanced; concurrent calls share one."""
        turns = self._vault.turns
        async with self._marking:
            if self._turns < turns:
                await self._mark()

    async def end(self) -> None:
        """Set a last mark, so that even a backup made a moment ago is detected as older."""
        # Before `_settle` no ratchet has advanced, and a mark would hide that this is an old copy.
        if self._settled:
            with suppress(TimeoutError, StoreError):
                async with asyncio.timeout(_LAST):
                    await self.follow(at_once=True)

    async def _mark(self) -> None:
        turns, self._moved = self._vault.turns, self._clock.now()
        try:
            if not self._next:
                self._next = await again(self._announce)
            await self._server.set_mark(self._bot, self._next)
        except (Unavailable, Refused) as error:
            LOG.info("the backup mark cannot be set yet", why=str(error))
        else:
            self._older, self._last, self._next = self._last, self._next, ""
            self._turns = turns

    async def _announce(self) -> str:
        """Generate the next mark and add it to the row of marks that the homeserver may hold."""
        marks, stored = await self._vault.read(MARKS, Marks)
        held, mark = self._last or self._held, secrets.token_hex(8)
        former = () if marks is None else marks.possible
        kept = [key for key in former if key not in {held, self._older}]
        possible = tuple(filter(None, (*kept, held, mark)))[-MOST_MARKS:]
        await self._vault.save([self._vault.row(MARKS, Marks(possible), was=stored)])
        return mark

    # --- bringing up ------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Check once, before anything is encrypted, for a restored backup."""
        async with self._settling:
            if self._settled:
                return
            async with self._alone(EPOCH):
                await again(self._find_out)
            self._settled = True

    async def _find_out(self) -> None:
        stored = await self._read_epoch()
        if not await self.check():
            LOG.warning(
                "the database, or the homeserver's, was restored from an older copy: the bridge "
                "replaces all its devices, nothing is encrypted with the old ones any more"
            )
            restored = self._epoch.restored or await self._is_the_bots()
            await self._draw(Epoch.draw(replace=self._epoch.replace, restored=restored), stored)
        elif self._held and not self._epoch.replace and not await self._vault.load(MARKS, Marks):
            raise Refused(ANOTHER, "the homeserver has the mark of another database")
        await self.follow(at_once=True)
        await self._read_epoch()  # another process may have written one while this one was paused

    async def _is_the_bots(self) -> bool:
        """True if the bot's identity on the homeserver is this database's, not a second bridge's.

        Two bridges with the same users would each take the other for a newer state of itself.
        """
        own = await OwnDevice.load(self._vault, self._bot)
        if own is None:
            return False
        fit = compare(own, await self._server.query(self._bot, [self._bot]))
        return fit is not Fit.FOREIGN_IDENTITY

    async def _draw(self, epoch: Epoch, stored: bytes | None) -> bytes | None:
        row = self._vault.row(EPOCH, epoch, was=stored)
        await self._vault.save([row])
        self._epoch = epoch
        self._server.use_device(epoch.device_id)
        return row.value

    async def _bring_up(self, user: UserId) -> OwnDevice:
        """Load the user's device; create and publish the missing parts."""
        await self._settle()
        own = await self._published(user)
        if own is None:
            async with self._alone(own_name(user)):
                # Another process may have done it by now.
                own = await self._published(user) or await self._publish(user)
        return own

    async def _published(self, user: UserId) -> OwnDevice | None:
        """Load the user's device; None if there is none, or a part of it needs publishing."""
        own = await OwnDevice.load(self._vault, user)
        if own is None:
            return None
        if own.state.token:
            self._server.use_token(user, own.state.token)
        if own.device_id != self._epoch.device_id or not own.state.published:
            return None
        fit = compare(own, await self._server.query(user, [user]))
        return own if fit is Fit.GOOD or self._is_kept_out(own, fit) else None

    def _is_kept_out(self, own: OwnDevice, fit: Fit) -> bool:
        """True if the homeserver has foreign keys that must not be replaced."""
        # They may be replaced only by a device made after an operator's reset, or after a restore
        # for a user of whom this database had no device.
        lost = self._epoch.restored and not own.state.successor
        foreign = fit in {Fit.FOREIGN_IDENTITY, Fit.FOREIGN_DEVICE}
        kept_out = foreign and (own.state.published or not (self._epoch.replace or lost))
        if kept_out:
            LOG.error(
                "the keys at the homeserver do not match this database; in encrypted rooms "
                "messages of agents or customers may be unreadable",
                user=own.user,
                found=fit.value,
                mend=HINT,
            )
        return kept_out

    async def _publish(self, user: UserId) -> OwnDevice:
        own = await OwnDevice.load(self._vault, user)
        if own is None or own.device_id != self._epoch.device_id:
            own = await self._draw_device(user, own)
        await self.witness()  # before it is published, so that a backup without it counts as older
        kept_out = False
        if own.state.published:
            LOG.warning("keys are missing at the homeserver, publishing them", user=user)
        if token := await self._server.make_device(user, own.device_id):
            own.state.token = token
            await self._save(own)
            self._server.use_token(user, token)
        reply = await self._server.query(user, [user])
        fit = compare(own, reply)
        if not own.state.published:
            kept_out = self._is_kept_out(own, fit)
            if kept_out and fit is Fit.FOREIGN_DEVICE:
                return own
        if fit is not Fit.GOOD:
            if user not in self._offered:
                own.replenish({}, [])  # once: homeservers limit the number of one-time keys
            await self._upload(own, {"device_keys": own.keys()})
            self._offered.add(user)
            if not kept_out:
                await self._publish_identity(own, reply)
        if not kept_out:
            if self._epoch.replace or self._epoch.restored or own.state.successor:
                await self._drop_older(own)
            own.state.published = True
            await self._save(own)
        return own

    async def _draw_device(self, user: UserId, former: OwnDevice | None) -> OwnDevice:
        """Create a device for a user that has none, or has one of a former device id."""
        if former is not None:
            # A restored homeserver deletes all that is older than a token of its lost time.
            await self._vault.save([SecretRow(f"since/{user}", None)])
            try:
                await self._last_look(former)
            except Refused as refusal:
                LOG.info(
                    "the mailbox of the old device cannot be read", user=user, code=refusal.code
                )
        own = OwnDevice.draw(user, self._epoch.device_id, former)
        await self._save(own)
        return own

    async def _save(self, own: OwnDevice) -> None:
        await self._vault.save([own.row(self._vault)])

    # --- publishing -------------------------------------------------------------------------

    async def _publish_identity(self, own: OwnDevice, reply: Json) -> None:
        """Publish the identity, with the mutual signatures of identity and device."""
        try:
            if keys := own.state.identity.upload(own.user, reply):
                await self._server.upload_identity(own.user, keys)
            await self._server.upload_signatures(own.user, own.signatures())
        except Refused as refusal:
            LOG.error(
                "the homeserver refuses the bridge's cross-signing keys; strict clients will "
                "not talk to this user in encrypted rooms",
                user=own.user,
                code=refusal.code,
            )

    async def _drop_older(self, own: OwnDevice) -> None:
        """Delete the user's other bridge devices: clients would go on encrypting for them."""
        try:
            for device_id in await self._server.devices(own.user):
                if device_id.startswith(PREFIX) and device_id != own.device_id:
                    await self._server.delete_device(own.user, device_id)
        except Refused as refusal:
            LOG.warning("older devices could not be deleted", user=own.user, code=refusal.code)

    async def replenish(self, own: OwnDevice, reply: Json) -> None:
        """Publish one-time keys that a /sync reports missing. The caller holds the lock."""
        counts, now = reply.get("device_one_time_keys_count"), self._clock.now()
        unused = reply.get("device_unused_fallback_key_types")
        early = 0 <= now - self._replenished.get(own.user, 0) < _REPLENISHED_MS
        if early and not own.unpublished():
            return
        if isinstance(counts, dict) and own.replenish(counts, unused):
            self._replenished[own.user] = now
            await self._upload(own, {})

    async def is_restored(self, own: OwnDevice) -> bool:
        """True if the homeserver hands out a one-time key that has been used, as its backup would.

        It hands them out in the same order as before the restore, so one is enough to see it. The
        caller holds the lock. Raises Stale if another process has changed the device.
        """
        claimed = list[Json]()
        with suppress(Refused):  # by a homeserver whose mailbox must be read all the same
            claimed = await self._claim(own)
        if all(own.use_up(key) for key in claimed):
            return False
        await self._save(own)  # to raise Stale: the key may be newer than this copy of the device
        LOG.warning(
            "the homeserver hands out encryption keys that have been used, as after a restore from "
            "a backup: the bridge replaces them, and shares its room keys again",
            user=own.user,
        )
        await self.follow(at_once=True)  # else the next start would take this database for older
        # A token of the lost time would delete what has been sent since the restore.
        await self._vault.save([SecretRow(f"since/{own.user}", None)])
        return True

    async def replace_keys(self, own: OwnDevice) -> None:
        """Replace the one-time keys at the homeserver, and the fallback key. Like `is_restored`.

        Their private halves stay: what another homeserver has kept back since may need them.
        """
        for _ in range(_MOST_CLAIMED):  # only claiming removes a key
            keys = await self._claim(own)
            if not keys or "fallback" in keys[0]:
                break
        own.replenish({}, [])
        await self._upload(own, {})
        LOG.info("one-time keys replaced", user=own.user)

    async def _claim(self, own: OwnDevice) -> list[Json]:
        """Claim one of the user's own one-time keys; [] if there is none."""
        reply = await self._server.claim(own.user, {own.user: {own.device_id: wire.ONE_TIME}})
        found = wire.mapping(reply, "one_time_keys", own.user, own.device_id)
        return [wire.mapping(key) for key in found.values()]

    async def _upload(self, own: OwnDevice, content: Json) -> None:
        # Stored first: a private key must never be lost after its public half was published.
        await self._save(own)
        try:
            await self._server.upload_keys(own.user, content | own.unpublished())
        except Refused as refusal:
            if refusal.code == GONE:
                return  # the next event is refused likewise, and has the device made anew (`mend`)
            # A restored database uploads keys that the homeserver has already handed out.
            LOG.error(
                "the homeserver refuses the bridge's encryption keys",
                user=own.user,
                code=refusal.code,
                mend=HINT,
            )
            return
        own.account.mark_keys_as_published()
        await self._save(own)


def reset_rows(vault: Vault) -> list[SecretRow]:
    """Return the rows to write after a reset; they allow published devices to be replaced."""
    return [vault.row(EPOCH, Epoch.draw(replace=True))]


def compare(own: OwnDevice, reply: Json) -> Fit:
    """Compare a device and its master key with the reply of `POST /keys/query`."""
    device = wire.mapping(reply, "device_keys", own.user, own.device_id)
    master = wire.mapping(reply, "master_keys", own.user)
    if master and own.state.identity.public_master not in wire.mapping(master, "keys").values():
        return Fit.FOREIGN_IDENTITY
    if not device:
        return Fit.NO_DEVICE
    keys = wire.mapping(device, "keys")
    published = (wire.text(keys, f"{kind}:{own.device_id}") for kind in ("curve25519", "ed25519"))
    if tuple(published) != (own.curve25519, own.ed25519):
        return Fit.FOREIGN_DEVICE
    if not master:
        return Fit.NO_IDENTITY
    signer = own.state.identity.public_self_signing
    signed = wire.is_signed(device, own.user, f"ed25519:{signer}", signer)
    return Fit.GOOD if signed else Fit.UNSIGNED


async def examine(server: wire.KeyServer, vault: Vault, bot: UserId) -> tuple[bool, str]:
    """Return whether the database is its newest state, and the homeserver's mark."""
    # The mark is read before the row, because each process writes the row before setting the mark.
    mark = await server.mark(bot)
    while mark and (marks := await vault.load(MARKS, Marks)) and mark not in marks.possible:
        before, mark = mark, await server.mark(bot)
        if mark == before:  # otherwise another process set its mark and dropped the former one
            return False, mark
    return True, mark  # also if the row is missing: the database is new, or from before marks


# --- a device -------------------------------------------------------------------------------------


class OwnState(msgspec.Struct):
    """Row: the device of a bridge user."""

    device_id: str
    account: str
    """The olm account as vodozemac's pickle."""
    identity: Identity
    published: bool = False
    """Whether device keys and identity were uploaded once. The homeserver may have refused either,
    which is logged, or have lost them since, which `compare` detects."""
    token: str = ""
    """Access token (a secret) on a homeserver without MSC4190, else empty."""
    successor: bool = False
    """Whether it replaced a device of a restored backup, whose ratchets had gone back."""

    def __repr__(self) -> str:  # without the keys
        return f"OwnState({self.device_id!r})"


class OwnDevice:
    """Device of a bridge user, in memory; changed only under its lock (`Upkeep.holding`)."""

    def __init__(
        self, user: UserId, state: OwnState, account: vodozemac.Account, stored: bytes | None
    ) -> None:
        self.user = user
        self.state = state
        self.stored = stored
        """The row's bytes as last read or written, for compare-and-swap."""
        self.account = account
        self.device_id = state.device_id
        self.curve25519 = account.curve25519_key.to_base64()
        self.ed25519 = account.ed25519_key.to_base64()
        self._fallback: Any = account  # vodozemac's type stubs lack the fallback key

    @classmethod
    def draw(cls, user: UserId, device_id: str, former: OwnDevice | None = None) -> OwnDevice:
        """Create a device, not stored yet; it keeps the identity of the `former` one."""
        identity = Identity.draw() if former is None else former.state.identity
        state = OwnState(device_id, "", identity, successor=former is not None)
        stored = None if former is None else former.stored
        return cls(user, state, vodozemac.Account(), stored)

    @classmethod
    async def load(cls, vault: Vault, user: UserId) -> OwnDevice | None:
        state, stored = await vault.read(own_name(user), OwnState)
        if state is None:
            return None
        account = vodozemac.Account.from_pickle(state.account, vault.pickle_key)
        return cls(user, state, account, stored)

    def row(self, vault: Vault) -> SecretRow:
        self.state.account = self.account.pickle(vault.pickle_key)
        row = vault.row(own_name(self.user), self.state, was=self.stored)
        self.stored = row.value
        return row

    # --- what it publishes ------------------------------------------------------------------

    def keys(self) -> Json:
        """Return the device's self-signed keys (specification, "Device keys")."""
        fields: Json = {
            "user_id": self.user,
            "device_id": self.device_id,
            "algorithms": [wire.OLM, wire.MEGOLM],
            "keys": {
                f"curve25519:{self.device_id}": self.curve25519,
                f"ed25519:{self.device_id}": self.ed25519,
            },
        }
        return self._signed(fields)

    @cached_property
    def cross_signed_keys(self) -> Json:
        """The device's keys, also signed by the identity; each to-device message has a copy."""
        return self.state.identity.sign_device(self.user, self.keys())

    def signatures(self) -> Json:
        """Return the body of `POST /keys/signatures/upload`: device and identity sign mutually."""
        identity = self.state.identity
        master = self._signed(identity.master_key(self.user))
        signed = {self.device_id: self.cross_signed_keys, identity.public_master: master}
        return {self.user: signed}

    def replenish(self, counts: Mapping[str, object], unused_fallback: object) -> bool:
        """Generate the keys that the homeserver lacks; return True if there are any to upload.

        `counts`: its one-time keys by algorithm; `unused_fallback`: algorithms with a fallback key.
        """
        count = counts.get(wire.ONE_TIME, 0)
        wanted = self.account.max_number_of_one_time_keys
        waiting = len(self.account.one_time_keys)
        # A negative count from the homeserver would make the bridge generate keys without end.
        short = wanted - waiting - (max(0, count) if isinstance(count, int) else wanted)
        made = short > wanted // 2
        if made:
            self.account.generate_one_time_keys(short)
        if isinstance(unused_fallback, list) and wire.ONE_TIME not in unused_fallback:
            if not self._fallback.fallback_key:
                self._fallback.generate_fallback_key()
            made = True
        return made or waiting > 0

    def use_up(self, claimed: Json) -> bool:
        """Use up a one-time key of its own as another device would; False if it has none such."""
        other, key = vodozemac.Account(), wire.key_text(claimed, "key")
        try:
            theirs = vodozemac.Curve25519PublicKey.from_base64(key)
            session = other.create_outbound_session(self.account.curve25519_key, theirs)
            first = session.encrypt(b"").to_pre_key()
            return bool(first and self.account.create_inbound_session(other.curve25519_key, first))
        except ValueError:
            return False

    def unpublished(self) -> Json:
        """Return unpublished one-time and fallback keys for `POST /keys/upload`; {} if none."""
        kinds: list[tuple[str, dict[str, vodozemac.Curve25519PublicKey], Json]] = [
            ("one_time_keys", self.account.one_time_keys, {}),
            ("fallback_keys", self._fallback.fallback_key, {"fallback": True}),
        ]
        return {
            name: {
                f"{wire.ONE_TIME}:{key_id}": self._signed({"key": key.to_base64()} | mark)
                for key_id, key in keys.items()
            }
            for name, keys, mark in kinds
            if keys
        }

    def _signed(self, fields: Json) -> Json:
        signature = self.account.sign(wire.canonical(fields)).to_base64()
        return wire.with_signature(fields, self.user, f"ed25519:{self.device_id}", signature)


def own_name(user: UserId) -> str:
    return f"own/{user}"


# --- a cross-signing identity ---------------------------------------------------------------------

_SEED = 32


class Identity(msgspec.Struct, frozen=True):
    """Seeds of the three keys of an identity (specification, "Cross-signing")."""

    master: bytes
    self_signing: bytes
    user_signing: bytes

    def __repr__(self) -> str:  # without the keys
        return "Identity()"

    @classmethod
    def draw(cls) -> Self:
        return cls(os.urandom(_SEED), os.urandom(_SEED), os.urandom(_SEED))

    @property
    def public_master(self) -> str:
        return _public(self.master)

    @property
    def public_self_signing(self) -> str:
        return _public(self.self_signing)

    def master_key(self, user: str) -> Json:
        return _key(user, "master", self.master)

    def upload(self, user: str, reply: Json) -> Json:
        """Return the body of `POST /keys/device_signing/upload`, without the keys that a reply of
        `POST /keys/query` has: Synapse stores them one by one, and if it was killed meanwhile
        answers 500 to those that it has already.
        """
        others = ("self_signing", self.self_signing), ("user_signing", self.user_signing)
        signed = {
            f"{usage}_key": _sign(_key(user, usage, seed), user, self.master)
            for usage, seed in others
        }
        keys = {"master_key": self.master_key(user), **signed}
        known = {name: wire.mapping(reply, f"{name}s", user).get("keys") for name in keys}
        return {name: key for name, key in keys.items() if key["keys"] != known[name]}

    def sign_device(self, user: str, device_keys: Json) -> Json:
        return _sign(device_keys, user, self.self_signing)


def _key(user: str, usage: str, seed: bytes) -> Json:
    public = _public(seed)
    return {"user_id": user, "usage": [usage], "keys": {f"ed25519:{public}": public}}


def _sign(fields: Json, user: str, seed: bytes) -> Json:
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(wire.canonical(fields))
    return wire.with_signature(fields, user, f"ed25519:{_public(seed)}", wire.to_base64(signature))


def _public(seed: bytes) -> str:
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return wire.to_base64(key.public_bytes_raw())


# --- the report of `doctor` -----------------------------------------------------------------------

_AT_ONCE = 200
"""Users per request."""


class KeysOf(msgspec.Struct, frozen=True):
    user: UserId
    fit: Fit
    one_time_keys: int | None
    """Number left on the homeserver. None if unknown, or for a ghost, which reads no mailbox."""


class Inspected(msgspec.Struct, frozen=True):
    """Report on the keys of the bridge users that have keys in this database."""

    device_id: str
    newest: bool
    """False if the homeserver has seen a newer state of this database."""
    users: tuple[KeysOf, ...]


async def inspect(
    server: wire.KeyServer, vault: Vault | None, hosts: Sequence[UserId]
) -> Inspected | None:
    """Compare the keys of all bridge users with the homeserver's; None if neither side has any.

    The first of `hosts` (users that read mailboxes) must exist on the homeserver. `vault` is None
    while the database has no schema. Raises Unsealable if the keys are sealed with another secret.
    """
    epoch = None if vault is None else await vault.load(EPOCH, Epoch)
    if vault is not None and epoch is not None and not epoch.replace:
        used = await vault.load(MARKS, Marks) or await vault.names(own_name(UserId("")))
        epoch = epoch if used else None  # drawn by a start that was refused
    if vault is None or epoch is None:
        known = wire.mapping(await server.query(hosts[0], hosts), "master_keys")
        of_others = [user for user in hosts if user in known]
        foreign = tuple(KeysOf(user, Fit.FOREIGN_IDENTITY, None) for user in of_others)
        return Inspected("", newest=True, users=foreign) if foreign else None
    server.use_device(epoch.device_id)
    newest, _ = await examine(server, vault, hosts[0])
    prefix = own_name(UserId(""))
    users = [UserId(name.removeprefix(prefix)) for name in await vault.names(prefix)]
    found = []
    for start in range(0, len(users), _AT_ONCE):
        part = users[start : start + _AT_ONCE]
        reply = await server.query(hosts[0], part)
        for user in part:
            own = await OwnDevice.load(vault, user)
            if own is None:
                continue  # deleted meanwhile
            left = None
            if user in hosts and own.device_id == epoch.device_id:
                if own.state.token:
                    server.use_token(user, own.state.token)
                with suppress(Refused):
                    count = (await server.upload_keys(user, {})).get(wire.ONE_TIME, 0)
                    left = count if isinstance(count, int) else None
            fit = compare(own, reply)
            if own.device_id != epoch.device_id and fit is not Fit.FOREIGN_IDENTITY:
                fit = Fit.FORMER
            found.append(KeysOf(user, fit, left))
    return Inspected(epoch.device_id, newest, tuple(found))
