"""A user's cross-signing identity: three keys, and what they sign. Pure, but for drawing the keys.

Without it strict clients give our devices no keys and show no message of theirs (MSC4153). The
private keys are the recovery of the identity; they are kept sealed and appear in no log.
"""

from __future__ import annotations

import os
from typing import Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.matrix.crypto.encoding import Json, canonical, to_base64, with_signature

_SEED = 32


class Identity(msgspec.Struct, frozen=True):
    """The seeds of the three keys (specification, "Cross-signing")."""

    master: bytes
    self_signing: bytes
    user_signing: bytes

    def __repr__(self) -> str:
        """Without the keys."""
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

    def upload(self, user: str) -> Json:
        """The content of `POST /keys/device_signing/upload`."""
        return {
            "master_key": self.master_key(user),
            "self_signing_key": self._subordinate(user, "self_signing", self.self_signing),
            "user_signing_key": self._subordinate(user, "user_signing", self.user_signing),
        }

    def sign_device(self, user: str, device_keys: Json) -> Json:
        """The device's keys with the self-signing key's signature."""
        return _sign(device_keys, user, self.self_signing)

    def _subordinate(self, user: str, usage: str, seed: bytes) -> Json:
        return _sign(_key(user, usage, seed), user, self.master)


def _key(user: str, usage: str, seed: bytes) -> Json:
    public = _public(seed)
    return {"user_id": user, "usage": [usage], "keys": {f"ed25519:{public}": public}}


def _sign(fields: Json, user: str, seed: bytes) -> Json:
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(canonical(fields))
    return with_signature(fields, user, f"ed25519:{_public(seed)}", to_base64(signature))


def _public(seed: bytes) -> str:
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return to_base64(key.public_bytes_raw())
