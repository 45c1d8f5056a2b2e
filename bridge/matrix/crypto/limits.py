"""Rate limits per name in a window of time, in memory.

`Budget` limits requests and waits for what is probably not there (a key, a device, a homeserver).
`Allowance` limits the new keys and new devices that strangers can make the bridge store: per sender
and hour, and per homeserver and day. Homeservers get a day because honest users all send at once
after a weekend without the bridge, or when the bridge's devices are new.
"""

from __future__ import annotations

from collections.abc import Hashable

from cachetools import LRUCache

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Budget:
    """Rate limit: `each` items per name in a window of `period` ms, from the first item on."""

    def __init__(self, each: int, period: int) -> None:
        self._each = each
        self._period = period
        self._spent: LRUCache[Hashable, tuple[int, int]] = LRUCache(20_000)
        """Name -> start of its window (ms), and items taken since."""

    def left(self, name: Hashable, now: int) -> bool:
        """False if the limit of this window is reached."""
        return self._window(name, now)[1] < self._each

    def spend(self, name: Hashable, now: int) -> bool:
        """Take one item, if there is one `left`."""
        began, count = self._window(name, now)
        if count >= self._each:
            return False
        self._spent[name] = (began, count + 1)
        return True

    def _window(self, name: Hashable, now: int) -> tuple[int, int]:
        began, count = self._spent.get(name) or (now, 0)
        return (began, count) if 0 <= now - began < self._period else (now, 0)


class Allowance:
    """Rate limits per user and hour, and per homeserver and day (none for the bridge's `home`)."""

    def __init__(self, each: int, together: int, home: str) -> None:
        self._users = Budget(each, HOUR_MS)
        self._servers = Budget(together, DAY_MS)
        self._home = home

    def spend(self, user: str, now: int) -> bool:
        server = user.partition(":")[2]
        if server == self._home:
            return self._users.spend(user, now)
        # One that is refused costs neither of them anything.
        left = self._servers.left(server, now) and self._users.spend(user, now)
        return left and self._servers.spend(server, now)
