"""Wire format of keys and signatures: unpadded base64, canonical JSON, signed objects. Pure.

Matrix specification, appendices "Unpadded Base64", "Canonical JSON" and "Signing JSON". The readers
(`text`, `key_text`, `id_text`, `mapping`, `objects`, `strings`) take a stranger's object, in which
any field may be missing or of another type: they return an empty value then and raise nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

import msgspec
import vodozemac

Json = dict[str, object]

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"
ONE_TIME = "signed_curve25519"
"""Algorithm of one-time and fallback keys."""
MARKER = "org.matrix_webchat.origin"
"""The field of a content of ours that holds its transaction id. It stays outside of the ciphertext,
so that an event of ours is recognized when a room is searched for it (`adapter.Markers`)."""

_KEY = re.compile(r"[A-Za-z0-9+/_-]{,64}")
"""Base64 of 32 bytes, generously."""
_MAX_ID = 255
"""Bytes of a Matrix identifier (specification, appendix "Common identifier format")."""


def to_base64(data: bytes, *, url: bool = False) -> str:
    """Unpadded base64; with `url` in the alphabet of JSON web keys."""
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    return encode(data).rstrip(b"=").decode()


def from_base64(text: str) -> bytes:
    """Read base64 of either alphabet, padded or not. Raises ValueError."""
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError as error:
        raise ValueError("no base64") from error


def canonical(fields: Mapping[str, object]) -> bytes:
    """Canonical JSON of an object without its signatures: the bytes that are signed."""
    bare = {key: value for key, value in fields.items() if key not in {"signatures", "unsigned"}}
    return msgspec.json.encode(bare, order="sorted")


def with_signature(fields: Json, user: str, key_id: str, signature: str) -> Json:
    signatures = mapping(fields, "signatures")
    signed = mapping(signatures, user) | {key_id: signature}
    return fields | {"signatures": signatures | {user: signed}}


def is_signed(fields: Json, user: str, key_id: str, public_key: str) -> bool:
    """True if a stranger's object bears the user's valid signature (`key_id`: `ed25519:DEVICE`)."""
    signature = text(mapping(mapping(fields, "signatures"), user), key_id)
    try:
        key = vodozemac.Ed25519PublicKey.from_base64(public_key)
        key.verify_signature(canonical(fields), vodozemac.Ed25519Signature.from_base64(signature))
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def key_text(fields: Mapping[str, object], key: str) -> str:
    """A public key or a session id; as names of rows are made of it, nothing long or strange."""
    value = text(fields, key)
    return value if _KEY.fullmatch(value) else ""


def id_text(fields: Mapping[str, object], key: str) -> str:
    """The id of a user, device or room; NUL, half characters and endless ids are none."""
    value = text(fields, key)
    return value if value.isprintable() and len(value.encode()) <= _MAX_ID else ""


def mapping(fields: Mapping[str, object], key: str) -> Json:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def objects(fields: Mapping[str, object], key: str) -> list[Json]:
    value = fields.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def strings(fields: Mapping[str, object], key: str) -> list[str]:
    value = fields.get(key)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def device_ids(reply: Mapping[str, object]) -> list[str]:
    """Device ids in a homeserver's answer to `GET /devices`."""
    return list(filter(None, (text(device, "device_id") for device in objects(reply, "devices"))))
