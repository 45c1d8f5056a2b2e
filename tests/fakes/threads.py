"""Threads that remember what they were asked to do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class NotedThreads(ThreadPoolExecutor):
    """Implements `concurrent.futures.Executor`.

    Attributes:
        asked: names of the functions.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.asked: list[str] = []

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        self.asked.append(fn.__name__)
        return super().submit(fn, *args, **kwargs)


class AtOnce(ThreadPoolExecutor):
    """Implements `concurrent.futures.Executor` in the caller's own thread."""

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
