"""Thread pool executors for tests."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class NotedThreads(ThreadPoolExecutor):
    """An executor that records its calls.

    Attributes:
        asked: names of the submitted functions.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.asked: list[str] = []

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        self.asked.append(fn.__name__)
        return super().submit(fn, *args, **kwargs)


class AtOnce(ThreadPoolExecutor):
    """An executor that runs everything in the caller's thread."""

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
