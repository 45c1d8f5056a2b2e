"""Sealing: nothing of encryption lies in the database as it is.

The operator's secret gives two keys (HKDF with SHA-256): one seals rows (AES-256-GCM, bound to the
row's name, so that no row can be put in another's place), one is vodozemac's pickle key. A secret
of one's own is `bridge.encryption.pickle_key`; without one the as_token serves, which the operator
has to keep secret anyway.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.rooms.store import StoreError

_VERSION = b"\x01"
_NONCE = 12
_SALT = b"matrix-webchat-bridge"


class Unsealable(StoreError):
    """A row was sealed with another secret, or was tampered with."""


class Sealer:
    """Seals and opens rows.

    Args:
        secret: the operator's; any length above zero.

    Attributes:
        pickle_key: 32 bytes for vodozemac's own pickles.
    """

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(derive(secret, b"rows"))
        self.pickle_key = derive(secret, b"pickles")

    def __repr__(self) -> str:
        """Without the keys."""
        return "Sealer()"

    def seal(self, name: str, data: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, data, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Return what was sealed under this name.

        Raises:
            Unsealable: with this secret it cannot be opened.
        """
        start = len(_VERSION) + _NONCE
        try:
            if not sealed.startswith(_VERSION):
                raise Unsealable("a row of a newer version")
            return self._cipher.decrypt(sealed[1:start], sealed[start:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise Unsealable(
                "the keys in the database are sealed with another bridge.encryption.pickle_key "
                "(without one: another as_token). Restore it, or run `matrix-webchat crypto reset`"
            ) from error


def derive(secret: str, purpose: bytes) -> bytes:
    """A key of 32 bytes from the operator's secret, which says nothing about those of others."""
    return HKDF(SHA256(), 32, _SALT, purpose).derive(secret.encode())
