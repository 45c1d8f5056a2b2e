"""Agents' pictures on the homeserver, by their hash: many agents share one, and it is sent once."""

from __future__ import annotations

from hashlib import sha256

from bridge.ids import UserId
from bridge.matrix.crypto.recall import Recall
from bridge.matrix.spool import Spooled
from bridge.matrix.transport import Transport

_MAX_PICTURES = 500


class Pictures:
    """Remembers the newest pictures that it has uploaded."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: Recall[str, str] = Recall(_MAX_PICTURES)

    async def put(self, user: UserId, file: Spooled, digest: str) -> str:
        """Where the picture lies on the homeserver; it is carried there if it is a new one.

        Raises:
            Unavailable, Refused: of the homeserver.
        """
        known = self._known.get(digest)
        if known is not None:
            return known
        mxc = await self._transport.upload(file.chunks(), file.size, file.mime, file.name, user)
        self._known.put(digest, mxc)
        return mxc


async def digest_of(file: Spooled) -> str:
    """SHA-256 of the file's bytes, in hex."""
    hasher = sha256()
    async for chunk in file.chunks():
        hasher.update(chunk)
    return hasher.hexdigest()
