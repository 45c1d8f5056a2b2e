"""A device of ours: its account (identity and one-time keys) and what it publishes.

The private halves of one-time keys must be stored before the public ones are published, or a
message to a published key could never be read: so `OwnDevice.row` is saved first, then uploaded,
then marked. A crash in between publishes the same keys again, which a homeserver takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

import msgspec
import vodozemac

from bridge.ids import UserId
from bridge.matrix.crypto.encoding import Json, canonical, with_signature
from bridge.matrix.crypto.identity import Identity
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.store import SecretRow

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"
ONE_TIME = "signed_curve25519"


class _Fallback(Protocol):
    """What vodozemac's own stubs leave out of `Account`."""

    @property
    def fallback_key(self) -> dict[str, vodozemac.Curve25519PublicKey]: ...

    def generate_fallback_key(self) -> object: ...


class OwnState(msgspec.Struct, frozen=True):
    """The row of a device of ours."""

    device_id: str
    account: str
    """vodozemac's pickle."""
    identity: Identity
    published: bool = False
    """The homeserver was once given the device's keys and the identity that signs them. It may have
    refused either, which is in the log, or have lost them since (`upkeep` compares)."""
    token: str = ""
    """The access token of a homeserver without MSC4190; a secret."""
    successor: bool = False
    """It took the place of a device whose ratchets had gone back."""

    def __repr__(self) -> str:
        """Without the keys."""
        return f"OwnState({self.device_id!r})"


class OwnDevice:
    """One of our users' devices, in memory; whoever changes it holds its lock.

    Attributes:
        user: whose it is.
        state: as last stored, but for the account.
        account: identity and one-time keys.
        offered: since our start the homeserver was given the device's keys, with one-time keys.
    """

    def __init__(self, user: UserId, state: OwnState, account: vodozemac.Account) -> None:
        self.user = user
        self.state = state
        self.account = account
        self.offered = False

    @classmethod
    def draw(cls, user: UserId, device_id: str, former: OwnDevice | None = None) -> OwnDevice:
        """A new device; not stored yet.

        Args:
            user: whose.
            device_id: its name.
            former: the device whose place it takes, and whose identity it keeps; else it has a new
                identity.
        """
        if former is None:
            state = OwnState(device_id, "", Identity.draw())
        else:
            state = OwnState(device_id, "", former.state.identity, successor=True)
        return cls(user, state, vodozemac.Account())

    @classmethod
    async def load(cls, vault: Vault, user: UserId) -> OwnDevice | None:
        """The device as stored.

        Raises:
            StoreError: the database does not answer, or the row is sealed with another secret.
        """
        state = await vault.load(own_name(user), OwnState)
        if state is None:
            return None
        account = vodozemac.Account.from_pickle(state.account, vault.pickle_key)
        return cls(user, state, account)

    def owns(self, device_id: str) -> bool:
        """True if what was stored for a device of this id is this one's.

        Empty: it was stored by a version in which a user had one device for ever.
        """
        return device_id == self.device_id or not (device_id or self.state.successor)

    def row(self, vault: Vault) -> SecretRow:
        """The device as it is now, to be stored."""
        pickle = self.account.pickle(vault.pickle_key)
        self.state = msgspec.structs.replace(self.state, account=pickle)
        return vault.row(own_name(self.user), self.state)

    def change(self, *, published: bool | None = None, token: str | None = None) -> None:
        """Set fields of the state; store it with `row`."""
        if published is not None:
            self.state = msgspec.structs.replace(self.state, published=published)
        if token is not None:
            self.state = msgspec.structs.replace(self.state, token=token)

    @property
    def device_id(self) -> str:
        return self.state.device_id

    @property
    def curve25519(self) -> str:
        return self.account.curve25519_key.to_base64()

    @property
    def ed25519(self) -> str:
        return self.account.ed25519_key.to_base64()

    # --- what it publishes ------------------------------------------------------------------

    def keys(self) -> Json:
        """The device's keys, signed by itself (specification, "Device keys")."""
        fields: Json = {
            "user_id": self.user,
            "device_id": self.device_id,
            "algorithms": [OLM, MEGOLM],
            "keys": {
                f"curve25519:{self.device_id}": self.curve25519,
                f"ed25519:{self.device_id}": self.ed25519,
            },
        }
        return self._signed(fields)

    def cross_signed_keys(self) -> Json:
        """The same with the identity's signature as well."""
        return self.state.identity.sign_device(self.user, self.keys())

    def signatures(self) -> Json:
        """The content of `POST /keys/signatures/upload`: identity and device sign each other."""
        identity = self.state.identity
        master = self._signed(identity.master_key(self.user))
        signed = {self.device_id: self.cross_signed_keys(), identity.public_master: master}
        return {self.user: signed}

    def replenish(self, counts: Mapping[str, object], unused_fallback: object) -> bool:
        """Make the keys that the homeserver is short of; True if any were made.

        Args:
            counts: what it has, by algorithm.
            unused_fallback: the algorithms that still have an unused fallback key, if it says so.
        """
        count = counts.get(ONE_TIME, 0)
        wanted = self.account.max_number_of_one_time_keys
        waiting = len(self.account.one_time_keys)
        # Less than none would have us make keys without end.
        short = wanted - waiting - (max(0, count) if isinstance(count, int) else wanted)
        made = short > wanted // 2
        if made:
            self.account.generate_one_time_keys(short)
        if isinstance(unused_fallback, list) and ONE_TIME not in unused_fallback:
            if not _fallback(self.account).fallback_key:
                _fallback(self.account).generate_fallback_key()
            made = True
        return made or waiting > 0

    def unpublished(self) -> Json:
        """One-time and fallback keys for `POST /keys/upload`; empty if there are none."""
        content: Json = {}
        one_time = {
            f"{ONE_TIME}:{key_id}": self._signed({"key": key.to_base64()})
            for key_id, key in self.account.one_time_keys.items()
        }
        fallback = {
            f"{ONE_TIME}:{key_id}": self._signed({"key": key.to_base64(), "fallback": True})
            for key_id, key in _fallback(self.account).fallback_key.items()
        }
        if one_time:
            content["one_time_keys"] = one_time
        if fallback:
            content["fallback_keys"] = fallback
        return content

    def _signed(self, fields: Json) -> Json:
        signature = self.account.sign(canonical(fields)).to_base64()
        return with_signature(fields, self.user, f"ed25519:{self.device_id}", signature)


def own_name(user: UserId) -> str:
    """The row of a user's device."""
    return f"own/{user}"


def _fallback(account: vodozemac.Account) -> _Fallback:
    return cast(_Fallback, account)
