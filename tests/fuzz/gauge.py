"""Measure a run: executions, seconds, and memory after a tenth of it and at its end.

The figures are written to a file during the run, as libFuzzer exits the process by itself.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from pathlib import Path

import msgspec

WARM = 0.1
"""Fraction of the run after which memory should no longer grow."""
_EVERY = 64
"""Executions between two checks of the clock."""
_BETWEEN = 2.0
"""Minimum seconds between two writes of the file."""


class Memory(msgspec.Struct, frozen=True):
    rss: int
    """Resident memory of the process, KiB."""
    blocks: int
    """Number of blocks allocated by Python after a garbage collection, without libFuzzer's."""


class Figures(msgspec.Struct):
    executions: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    warm: Memory | None = None
    last: Memory | None = None
    branches: str = ""
    """Branches of the modules under test that were taken, of all, as `123/140`."""
    corpus: int = 0
    """Number of inputs in libFuzzer's corpus, 0 for a driver without one."""
    failure: str = ""


def memory() -> Memory:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Memory(pages * resource.getpagesize() // 1024, sys.getallocatedblocks())


class Gauge:
    """Counter of the executions of one run.

    Args:
        path: file for the figures.
        seconds: planned length of the run.
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
        """Count an execution; update the file from time to time."""
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
