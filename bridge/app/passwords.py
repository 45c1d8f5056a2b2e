"""Customers' passwords, sealed: the one thing that the rooms ring locks and the link ring opens.

Both see a function each, so neither knows how it is done or with what. The box is the one in which
encryption keeps its keys, under the operator's secret; each password is bound to its room.
"""

from __future__ import annotations

from bridge.ids import RoomId
from bridge.matrix.crypto.vault import Sealer


class Passwords:
    """Locks and opens.

    Args:
        secret: the operator's (`settings.encryption_secret_of`).
    """

    def __init__(self, secret: str) -> None:
        self._sealer = Sealer(secret)

    def seal(self, room_id: RoomId, password: str) -> bytes:
        """The password as it may be stored; differs each time."""
        return self._sealer.seal(_name(room_id), password.encode("utf-8", "replace"))

    def unseal(self, room_id: RoomId, sealed: bytes) -> str:
        """The password again.

        Raises:
            StoreError: it was sealed for another room or with another secret.
        """
        return self._sealer.open(_name(room_id), sealed).decode()


def _name(room_id: RoomId) -> str:
    return f"login/{room_id}"
