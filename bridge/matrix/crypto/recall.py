"""An LRU cache of answers, in which nothing outdated is kept. Pure.

An answer that is on its way when its subject changes may be of before the change: it is used once,
but not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from cachetools import LRUCache

K = TypeVar("K")
V = TypeVar("V")


class Recall(Generic[K, V]):
    """Values by key; the longest unused go first."""

    def __init__(self, limit: int) -> None:
        self._values: LRUCache[K, V] = LRUCache(limit)
        self._fetches: list[Fetch[K, V]] = []

    def get(self, key: K) -> V | None:
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        self._values[key] = value

    def forget(self, key: K) -> None:
        self._values.pop(key, None)
        for fetch in self._fetches:
            fetch.outdated.add(key)

    def forget_all(self) -> None:
        self._values.clear()
        for fetch in self._fetches:
            fetch.everything = True

    @contextmanager
    def fetching(self) -> Iterator[Fetch[K, V]]:
        """Around the asking: `keep` what came, unless it was forgotten meanwhile."""
        fetch = Fetch(self)
        self._fetches.append(fetch)
        try:
            yield fetch
        finally:
            self._fetches.remove(fetch)


class Fetch(Generic[K, V]):
    """One asking that is under way."""

    def __init__(self, recall: Recall[K, V]) -> None:
        self.outdated: set[K] = set()
        self.everything = False
        self._recall = recall

    def keep(self, key: K, value: V) -> None:
        """Remember the answer, if it is still good."""
        if not self.everything and key not in self.outdated:
            self._recall.put(key, value)
