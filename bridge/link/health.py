"""Whether the WebChat server can be reached: a single fact drawn from what all links see."""

from __future__ import annotations

from bridge.rooms.ports import Clock


class Health:
    """Failing once any link fails to reach the server; healthy once any link does.

    A lost link alone is no failure: only what could not be opened, or not be logged in, is. Any
    answer of the server, a refusal too, shows that it lives. All times are ms since the epoch.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failing_since: int | None = None
        """Since when nothing but failures; None while healthy, or before the first."""

    def reached(self) -> None:
        """The server answered."""
        self.failing_since = None

    def missed(self) -> None:
        """The server could not be reached, or something else answered in its place."""
        if self.failing_since is None:
            self.failing_since = self._clock.now()

    def unreachable_for(self) -> float:
        """Seconds since the server was lost; 0.0 while it is there or nothing is known."""
        if self.failing_since is None:
            return 0.0
        return max(0.0, (self._clock.now() - self.failing_since) / 1000)
