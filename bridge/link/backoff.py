"""How long to wait before the next try. Pure: the randomness is passed in."""

from __future__ import annotations

import random


class Backoff:
    """Doubling delays with jitter.

    The first delay lies anywhere between 0 and `first`, so that thousands of links that were lost
    together come back spread out; later ones lie between half of their step and all of it.
    """

    def __init__(self, first: float, last: float, rng: random.Random) -> None:
        """Take the first and the longest step, in seconds."""
        self._first = first
        self._last = last
        self._rng = rng
        self._failures = 0

    @property
    def failures(self) -> int:
        """Delays handed out since the last `reset`."""
        return self._failures

    def next(self) -> float:
        """Return the delay to keep now, in seconds, and lengthen the following one."""
        # 2 ** 30 steps are beyond any `last`; the exponent is capped for its own sake.
        step = min(self._last, self._first * 2.0 ** min(self._failures, 30))
        share = self._rng.random()
        if self._failures:
            share = 0.5 + share / 2
        self._failures += 1
        return step * share

    def reset(self) -> None:
        """Something worked: start from the first delay again."""
        self._failures = 0
