"""Wire format of keys and signatures: unpadded base64, canonical JSON, signed objects. Pure.

Matrix specification, appendices "Unpadded Base64", "Canonical JSON" and "Signing JSON". The readers
(`text`, `key_text`, `id_text`, `mapping`, `objects`, `strings`) accept untrusted objects: for a
field that is missing or of the wrong type they return an empty value; they never raise.
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
"""Content field with the transaction id of a bridge event. It is not encrypted, so that
`adapter.Markers` recognizes the event when it searches a room."""

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
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError as error:
        raise ValueError("not base64") from error


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
    """Read a public key or session id; "" unless short and base64, as row names contain it."""
    value = text(fields, key)
    return value if _KEY.fullmatch(value) else ""


def id_text(fields: Mapping[str, object], key: str) -> str:
    """Read a user, device or room id; "" if it is too long or not printable (NUL, surrogates)."""
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


def whole_number(digits: str) -> float:
    """Convert to int, or to infinity if it has too many digits: `parse_int` for Python's json."""
    return int(digits) if len(digits) < _LONGEST_NUMBER else float(digits)


def device_ids(reply: Mapping[str, object]) -> list[str]:
    """Return the device ids in a homeserver's reply to `GET /devices`."""
    return list(filter(None, (text(device, "device_id") for device in objects(reply, "devices"))))
