"""Formats and requests of encryption: signed objects, keys and devices, encrypted files.

- Unpadded base64, canonical JSON and signed objects (Matrix specification, appendices "Unpadded
  Base64", "Canonical JSON" and "Signing JSON"). The readers (`text`, `key_text`, `id_text`,
  `integer`, `mapping`, `items`, `objects`, `strings`) take an untrusted value and the keys that
  lead into it: for a field that is missing or of the wrong type they return an empty value; they
  never raise.
- `KeyServer`: client-server API calls for keys and devices.
- Encrypted attachments: AES-CTR with a SHA-256 over the whole ciphertext (specification, "Sending
  encrypted attachments"). Both directions use a temporary file (raising Unavailable if there is no
  space for it): an upload needs the size beforehand, and no byte of a download may be passed on
  before the hash of the whole file has been verified.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import quote

import msgspec
import vodozemac
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from bridge.conversation.model import FileKey
from bridge.ids import UserId
from bridge.rooms.blobs import Kept, keep
from bridge.rooms.ports import CHANGED_FILE, Despite, Refused

Json = dict[str, object]

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"
ONE_TIME = "signed_curve25519"
"""Algorithm of one-time and fallback keys."""
MARKER = "org.matrix_webchat.origin"
"""Content field with the transaction id of a bridge event, empty when a bridge user leaves. It is
not encrypted, so that `adapter` (`find_markers`) recognizes the event when it searches a room."""
SHARED = "org.matrix.msc3061.shared_history"
"""Field of a room key: who invites somebody later may pass the key on to them (MSC4268), as Element
X does. Clients of before May 2026 do not know the stable name, and newer ones refuse a key with
both."""

_KEY = re.compile(r"[A-Za-z0-9+/_-]{,64}")
"""Base64 of 32 bytes (43 characters), with some leeway."""
_LONGEST_NUMBER = 400
"""Maximum digits of an integer; Python's own limit is 4,300."""
_MAX_ID = 255
"""Maximum bytes of a Matrix identifier (specification, appendix "Common identifier format")."""


def to_base64(data: bytes, *, url: bool = False) -> str:
    """Encode unpadded base64; with `url`, the URL-safe alphabet of JSON web keys."""
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    return encode(data).rstrip(b"=").decode()


def from_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, padded or not. Raises ValueError."""
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def canonical(fields: Mapping[str, object]) -> bytes:
    """Return an object's canonical JSON without signatures: the bytes that are signed."""
    bare = {key: value for key, value in fields.items() if key not in {"signatures", "unsigned"}}
    return msgspec.json.encode(bare, order="sorted")


def with_signature(fields: Json, user: str, key_id: str, signature: str) -> Json:
    signatures = mapping(fields, "signatures")
    signed = mapping(signatures, user) | {key_id: signature}
    return fields | {"signatures": signatures | {user: signed}}


def is_signed(fields: Json, user: str, key_id: str, public_key: str) -> bool:
    """True if an untrusted object bears the user's valid signature (`key_id`: `ed25519:DEVICE`)."""
    signature = text(fields, "signatures", user, key_id)
    try:
        key = vodozemac.Ed25519PublicKey.from_base64(public_key)
        key.verify_signature(canonical(fields), vodozemac.Ed25519Signature.from_base64(signature))
    except (ValueError, RecursionError):
        return False
    return True


def text(found: object, *path: str) -> str:
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def mapping(found: object, *path: str) -> Json:
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def items(found: object, *path: str) -> list[object]:
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, list) else []


def integer(found: object, *path: str) -> int | None:
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def objects(found: object, *path: str) -> list[Json]:
    return [item for item in items(found, *path) if isinstance(item, dict)]


def strings(found: object, *path: str) -> list[str]:
    return [item for item in items(found, *path) if isinstance(item, str)]


def key_text(found: object, *path: str) -> str:
    """Read a public key or session id; "" unless short and base64, as row names contain it."""
    value = text(found, *path)
    return value if _KEY.fullmatch(value) else ""


def id_text(found: object, *path: str) -> str:
    """Read a user, device or room id; "" if it is too long or not printable (NUL, surrogates)."""
    value = text(found, *path)
    return value if value.isprintable() and len(value.encode()) <= _MAX_ID else ""


def whole_number(digits: str) -> float:
    """Convert to int, or to infinity if it has too many digits: `parse_int` for Python's json."""
    return int(digits) if len(digits) < _LONGEST_NUMBER else float(digits)


_MARKS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_DEEPEST = 200
"""Maximum levels of JSON that `shallow` keeps; honest content has less than ten."""


def shallow(body: bytes) -> bytes:
    """Replace what is nested deeper than `_DEEPEST` levels of JSON by null.

    One stranger's content would make all that comes with it unreadable: a homeserver may be able to
    decode 10,000 levels (Python 3.13), where this process cannot decode 1,000.
    """
    parts, depth, start = [], 0, 0
    for found in _MARKS.finditer(body):
        if found[0] in (b"[", b"{"):
            depth += 1
            if depth == _DEEPEST + 1:
                parts += [body[start : found.start()], b"null"]
        elif found[0] in (b"]", b"}"):
            if depth == _DEEPEST + 1:
                start = found.end()
            depth -= 1
    return b"".join(parts) + body[start:] if depth <= _DEEPEST else body


def device_ids(reply: Mapping[str, object]) -> list[str]:
    """Return the device ids in a homeserver's reply to `GET /devices`."""
    return list(filter(None, (text(device, "device_id") for device in objects(reply, "devices"))))


# --- requests for keys and devices ----------------------------------------------------------------

_CLIENT = "_matrix/client/v3"
MARK = "org.matrix_webchat.continuity"
"""Type of the account data with the mark that detects a restored database (`devices`)."""
_QUERY_MS = 10_000
"""Timeout in ms for the homeserver's own queries to other homeservers."""
SYNC_SECONDS = 30
NOTHING = {"not_types": ["*"]}
QUIET = {"presence": NOTHING, "account_data": NOTHING}
"""Part of a /sync filter: no presence and no account data."""
NOTHING_BUT_KEYS = json.dumps(QUIET | {"room": {"rooms": []}})
"""Filter for /sync: to-device events only, as messages come by transactions."""
_NAME = "WebChat"


class Requests(Protocol):
    """HTTP requests as bridge users, by default as their devices; see `client.Homeserver`."""

    async def request(
        self,
        method: str,
        path: str,
        content: Json | None = None,
        *,
        user: UserId | None = None,
        device: bool = True,
        query: Mapping[str, str] | None = None,
        patient: bool = False,
    ) -> Json: ...

    async def account_data(self, user: UserId, kind: str) -> Json: ...

    async def set_account_data(self, user: UserId, kind: str, content: Json) -> None: ...

    def use_device(self, device: str) -> None: ...

    def use_token(self, user: UserId, token: str) -> None: ...


class KeyServer:
    """The homeserver's keys, devices and to-device mailboxes, by user that calls."""

    def __init__(self, transport: Requests) -> None:
        self._transport = transport
        self._request = transport.request
        self.use_device = transport.use_device
        self.use_token = transport.use_token

    async def make_device(self, user: UserId, device_id: str) -> str:
        """Create a device; return its access token if the homeserver lacks MSC4190, else ""."""
        with Despite("M_UNRECOGNIZED", "M_NOT_FOUND"):
            path, name = _device(device_id), Json(display_name=_NAME)
            await self._request("PUT", path, name, user=user, device=False)
            return ""
        content: Json = {
            "type": "m.login.application_service",
            "identifier": {"type": "m.id.user", "user": user},
            "device_id": device_id,
            "initial_device_display_name": _NAME,
        }
        reply = await self._request("POST", f"{_CLIENT}/login", content, user=user, device=False)
        token = reply.get("access_token")
        if not isinstance(token, str):
            raise Refused("M_UNRECOGNIZED", "the login returned no access token")
        return token

    async def devices(self, user: UserId) -> list[str]:
        reply = await self._request("GET", f"{_CLIENT}/devices", user=user, device=False)
        return device_ids(reply)

    async def delete_device(self, user: UserId, device_id: str) -> None:
        await self._request("DELETE", _device(device_id), {}, user=user, device=False)

    async def query(self, asker: UserId, users: Sequence[str], *, device: bool = False) -> Json:
        """Query device lists; by default not as the asker's device, so that it may be gone."""
        content: Json = {"device_keys": {user: [] for user in users}, "timeout": _QUERY_MS}
        path = f"{_CLIENT}/keys/query"
        return await self._request("POST", path, content, user=asker, device=device, patient=True)

    async def claim(self, user: UserId, wanted: dict[str, dict[str, str]]) -> Json:
        """Claim a one-time key of each device: user -> device -> algorithm."""
        content: Json = {"one_time_keys": wanted, "timeout": _QUERY_MS}
        path = f"{_CLIENT}/keys/claim"
        return await self._request("POST", path, content, user=user, patient=True)

    async def upload_keys(self, user: UserId, content: Json) -> Json:
        """Publish keys of the device; return the homeserver's one-time key counts by algorithm."""
        reply = await self._request("POST", f"{_CLIENT}/keys/upload", content, user=user)
        return mapping(reply, "one_time_key_counts")

    async def upload_identity(self, user: UserId, content: Json) -> None:
        # Not as the device: an application service needs no password for this call.
        path = f"{_CLIENT}/keys/device_signing/upload"
        await self._request("POST", path, content, user=user, device=False)

    async def upload_signatures(self, user: UserId, content: Json) -> None:
        path = f"{_CLIENT}/keys/signatures/upload"
        reply = await self._request("POST", path, content, user=user)
        if mapping(reply, "failures"):
            raise Refused("M_INVALID_SIGNATURE", "the homeserver refuses the bridge's signatures")

    async def send_to_devices(self, user: UserId, kind: str, messages: Json) -> None:
        """Send events to devices: user -> device -> content."""
        path = f"{_CLIENT}/sendToDevice/{quote(kind, safe='')}/{secrets.token_hex(12)}"
        await self._request("PUT", path, {"messages": messages}, user=user)

    async def mark(self, user: UserId) -> str:
        """Return the homeserver's mark; "" if it has none or does not store account data."""
        return text(await self._transport.account_data(user, MARK), "mark")

    async def set_mark(self, user: UserId, mark: str) -> None:
        await self._transport.set_account_data(user, MARK, {"mark": mark})

    async def sync(self, user: UserId, since: str, *, wait: bool, device: str = "") -> Json:
        """Return to-device events after the token `since` (all pending ones if it is empty).

        With `wait`, long-poll up to `SYNC_SECONDS`; `device` names a device of the user other than
        the present one.
        """
        # Synapse repeats its answer to the same query for two minutes: a restored database's is the
        # one of before.
        timeout = SYNC_SECONDS * 1000 if wait else 1 if device else 0
        query = {"filter": NOTHING_BUT_KEYS, "timeout": str(timeout)}
        if since:
            query["since"] = since
        if device:
            # The second name is for homeservers before Matrix v1.17.
            query |= {"device_id": device, "org.matrix.msc3202.device_id": device}
        return await self._request(
            "GET", f"{_CLIENT}/sync", user=user, device=not device, query=query, patient=True
        )


def _device(device_id: str) -> str:
    return f"{_CLIENT}/devices/{quote(device_id, safe='')}"


# --- encrypted attachments ------------------------------------------------------------------------

_KEY_BYTES = 32
_LENGTHS = [_KEY_BYTES, 16, 32]
"""Bytes of the key, the initialization vector and the hash of a file."""


@asynccontextmanager
async def encrypted(plain: AsyncIterator[bytes]) -> AsyncIterator[tuple[Kept, FileKey]]:
    """Encrypt a file with a new key; the encrypted copy is deleted when the context ends."""
    secret = os.urandom(_KEY_BYTES)
    # The lower half is the block counter, which starts at zero.
    counter = os.urandom(8) + bytes(8)
    digest = hashlib.sha256()
    sealed = _digested(_passed(plain, _cipher(secret, counter)), digest)
    async with keep(sealed) as kept:
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
    async with keep(_digested(sealed, digest)) as kept:
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
    key = FileKey(text(jwk, "k"), text(field, "iv"), text(field, "hashes", "sha256"))
    try:
        lengths = [len(from_base64(part)) for part in (key.key, key.iv, key.sha256)]
    except ValueError:
        return None
    known = text(field, "v") == "v2" and text(jwk, "alg") == "A256CTR"
    return (text(field, "url"), key) if known and lengths == _LENGTHS else None


def _cipher(secret: bytes, counter: bytes) -> CipherContext:
    return Cipher(AES256(secret), CTR(counter)).encryptor()
