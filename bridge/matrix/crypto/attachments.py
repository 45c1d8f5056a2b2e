"""Encrypted attachments: AES-CTR with a SHA-256 over the whole ciphertext.

Matrix specification, "Sending encrypted attachments". Both directions use a temporary file (raising
Unavailable if there is no space for it): an upload needs the size beforehand, and no byte of a
download may be passed on before the hash of the whole file has been verified.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from bridge.conversation.model import FileKey
from bridge.matrix.crypto.wire import Json, from_base64, mapping, text, to_base64
from bridge.rooms.blobs import Kept, keep
from bridge.rooms.ports import CHANGED_FILE, Blob, Refused

_KEY, _IV, _HASH = 32, 16, 32


@asynccontextmanager
async def encrypted(plain: AsyncIterator[bytes]) -> AsyncIterator[tuple[Kept, FileKey]]:
    """Encrypt a file with a new key; the encrypted copy is deleted when the context ends."""
    secret = os.urandom(_KEY)
    # The lower half is the block counter, which starts at zero.
    counter = os.urandom(8) + bytes(8)
    digest = hashlib.sha256()
    sealed = _digested(_passed(plain, _cipher(secret, counter)), digest)
    async with keep(Blob(sealed, None, "")) as kept:
        key = FileKey(to_base64(secret, url=True), to_base64(counter), to_base64(digest.digest()))
        yield kept, key


@asynccontextmanager
async def decrypted(
    sealed: AsyncIterator[bytes], key: FileKey
) -> AsyncIterator[tuple[AsyncIterator[bytes], int]]:
    """Yield plaintext and size of a file once its hash is verified. Refused: `CHANGED_FILE`."""
    try:
        secret, counter, wanted = (from_base64(part) for part in (key.key, key.iv, key.sha256))
        cipher = _cipher(secret, counter)
    except ValueError as error:
        raise Refused(CHANGED_FILE, "the file's encryption key is invalid") from error
    digest = hashlib.sha256()
    async with keep(Blob(_digested(sealed, digest), None, "")) as kept:
        if not hmac.compare_digest(digest.digest(), wanted):
            raise Refused(CHANGED_FILE, "the file does not match its hash")
        yield _passed(kept.chunks(), cipher), kept.size


async def _digested(chunks: AsyncIterator[bytes], digest: hashlib._Hash) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        digest.update(chunk)
        yield chunk


async def _passed(chunks: AsyncIterator[bytes], cipher: CipherContext) -> AsyncIterator[bytes]:
    """Encrypt or decrypt a stream (in CTR mode the two are the same operation)."""
    async for chunk in chunks:
        yield await asyncio.to_thread(cipher.update, chunk)


def file_field(mxc: str, key: FileKey) -> Json:
    """Return the `file` field of an event's content (`EncryptedFile`)."""
    jwk: Json = {"kty": "oct", "alg": "A256CTR", "ext": True, "key_ops": ["encrypt", "decrypt"]}
    jwk["k"] = key.key
    return {"v": "v2", "url": mxc, "key": jwk, "iv": key.iv, "hashes": {"sha256": key.sha256}}


def read_file_field(field: Json) -> tuple[str, FileKey] | None:
    """Return the file's mxc URI and key; None if the field is malformed or of an unknown scheme."""
    jwk = mapping(field, "key")
    key = FileKey(text(jwk, "k"), text(field, "iv"), text(mapping(field, "hashes"), "sha256"))
    try:
        lengths = [len(from_base64(part)) for part in (key.key, key.iv, key.sha256)]
    except ValueError:
        return None
    known = text(field, "v") == "v2" and text(jwk, "alg") == "A256CTR"
    return (text(field, "url"), key) if known and lengths == [_KEY, _IV, _HASH] else None


def _cipher(secret: bytes, counter: bytes) -> CipherContext:
    return Cipher(AES256(secret), CTR(counter)).encryptor()
