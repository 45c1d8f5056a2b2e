"""What a driver needs to know of a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    name: str
    run: Callable[[bytes], None]
    """Fails with an AssertionError, or with whatever was not to be raised."""
    seeds: Callable[[], Iterable[bytes]]
    """Honest inputs, from which a guided driver starts."""
    words: tuple[str, ...]
    """What to put into inputs, for a driver that only knows bytes."""
    modules: tuple[str, ...]
    """The modules under test, whose branches count as coverage."""
