"""How a run goes: executions, seconds, and memory at a tenth of it and at its end.

libFuzzer ends the process in its own way, so the figures are written to a file as the run goes on.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from pathlib import Path

import msgspec

WARM = 0.1
"""From this part of the run on, memory should not grow any more."""
_EVERY = 64
"""Executions between two looks at the clock."""
_BETWEEN = 2.0
"""Seconds between two writings of the file."""


class Memory(msgspec.Struct, frozen=True):
    rss: int
    """KiB that the process holds."""
    blocks: int
    """What Python has allocated, after a collection: no cache of an engine is in it."""


class Figures(msgspec.Struct):
    executions: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    warm: Memory | None = None
    last: Memory | None = None
    branches: str = ""
    """Branches of the modules under test that were taken, of how many."""
    corpus: int = 0
    """Inputs that each reach something which no other does; 0: the driver keeps none."""
    failure: str = ""


def memory() -> Memory:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Memory(pages * resource.getpagesize() // 1024, sys.getallocatedblocks())


class Gauge:
    """Counts the executions of one run.

    Args:
        path: where the figures go.
        seconds: how long the run is to be.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.figures = Figures()
        self._path = path
        self._length = seconds
        self._started = time.monotonic()
        self._written = self._started

    @property
    def over(self) -> bool:
        return time.monotonic() - self._started >= self._length

    def count(self) -> None:
        """One more execution."""
        self.figures.executions += 1
        if self.figures.executions % _EVERY:
            return
        now = time.monotonic()
        if now - self._written >= _BETWEEN:
            self._written = now
            self.write()

    def write(self) -> None:
        figures = self.figures
        figures.seconds = time.monotonic() - self._started
        figures.cpu = time.process_time()
        figures.last = memory()
        if figures.warm is None and figures.seconds >= WARM * self._length:
            figures.warm = figures.last
        self._path.write_bytes(msgspec.json.encode(figures))
