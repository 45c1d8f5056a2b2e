"""The description of a target for the drivers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    name: str
    run: Callable[[bytes], None]
    """Function under test; any exception is a finding."""
    seeds: Callable[[], Iterable[bytes]]
    """Valid inputs, from which a guided driver starts."""
    words: tuple[str, ...]
    """Dictionary of words for a driver that only knows bytes."""
    modules: tuple[str, ...]
    """Modules whose branches are measured."""
