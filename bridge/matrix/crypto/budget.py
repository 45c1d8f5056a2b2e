"""How much strangers may make us keep. Pure.

Anybody on any homeserver may send our devices as much as they like, and what we cannot do without
we have to store. So what is new costs its sender a share of an hour's worth; of people this asks
nothing, a program that would fill the database gets no further. What all of a homeserver's users
share is counted by the day, for honest ones come all at once: after a weekend without the bridge,
or when it has new devices.
"""

from __future__ import annotations

from cachetools import LRUCache

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_KEPT = 20_000
"""Senders whose spending is remembered."""


class Budget:
    """A number of things in a while, for each name.

    Args:
        each: how many.
        while_ms: how long it is.
    """

    def __init__(self, each: int, while_ms: int = HOUR_MS) -> None:
        self._each = each
        self._while_ms = while_ms
        self._spent: LRUCache[str, tuple[int, int]] = LRUCache(_KEPT)

    def spend(self, name: str, now: int) -> bool:
        """Take one; False if all of this while are spent."""
        began, count = self._spent.get(name) or (now, 0)
        if not 0 <= now - began < self._while_ms:
            began, count = now, 0
        if count >= self._each:
            return False
        self._spent[name] = (began, count + 1)
        return True


class Allowance:
    """A `Budget` for each user, and one for all users of a homeserver together.

    Args:
        each: how many an hour for a user.
        together: how many a day for a homeserver's users; ours has no such limit, for whoever
            runs it says who may have an account there.
        home: our homeserver's name.
    """

    def __init__(self, each: int, together: int, home: str) -> None:
        self._users = Budget(each)
        self._servers = Budget(together, DAY_MS)
        self._home = home

    def spend(self, user: str, now: int) -> bool:
        """Take one; False if the user's or their homeserver's are spent."""
        server = user.partition(":")[2]
        return self._users.spend(user, now) and (
            server == self._home or self._servers.spend(server, now)
        )
