"""Cover: what is said in encrypted rooms, sealed with the operator's key where it is stored.

Of the journal that is whatever did not come from the homeserver: an event lies here as it lies
there, sealed by its sender. Of a room it is the record. JSON begins otherwise than what is sealed,
so a row tells which it is, and rows of earlier versions are read as they are.
"""

from __future__ import annotations

import structlog

from bridge.ids import RoomId
from bridge.rooms.store import Seal, StoreError

_SEALED = b"\x01"
_AS_IT_CAME = b'{"is":"MatrixEvent"'
LOST = b"null"
"""In place of what cannot be opened any more; it is no input and no effect."""
_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.storage")


class Cover:
    """Without a `seal` nothing is sealed, and what is cannot be read."""

    def __init__(self, seal: Seal | None = None) -> None:
        self._seal = seal

    def close(self, room_id: RoomId, said: bytes) -> bytes:
        """What is to be stored in place of an input, an effect or a record."""
        if self._seal is None or said.startswith(_AS_IT_CAME):
            return said
        return self._seal.seal(room_id, said)

    def open(self, room_id: RoomId, stored: bytes) -> bytes:
        """It as it was; `LOST` if it was sealed with another secret."""
        if not stored.startswith(_SEALED):
            return stored
        if self._seal is None:
            return LOST
        try:
            return self._seal.open(room_id, bytes(stored))
        except StoreError as error:
            _log.error("what was said cannot be read any more", room=room_id, why=str(error))
            return LOST
