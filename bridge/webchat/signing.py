"""The vendor's signatures: MD5 over text and a key (protocol reference 3.2, 3.5).

MD5 is the vendor's choice and protects little; we only have to match it. Keys are arguments and are
kept nowhere here.
"""

import hashlib
from collections.abc import Mapping


def login_sign(body: bytes, key: str) -> str:
    """The `sign` header of a login: lower-case hex MD5 of the body's very bytes and the key.

    Sign what is sent: another key order or escape is another signature (result -30).
    """
    return _md5(body + key.encode())


def robot_sign(params: Mapping[str, str], key: str) -> str:
    """The `sign` parameter of robotSearch (guide 4).

    Raw values, not form-encoded, in the order of their names, then the key, all UTF-8. An existing
    `sign` does not count.
    """
    values = [value for name, value in sorted(params.items()) if name != "sign"]
    return _md5("".join([*values, key]).encode("utf-8", "replace"))


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
