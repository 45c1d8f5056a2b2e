"""Reads a file in a process of its own, and says how much memory that took.

`python -m tests.support.frugal READER < FILE`: prints what came of it and, below, by how many
MiB the most memory that the process ever had has grown. It is stopped at `ALLOWANCE`, so that a
reader without bounds fails its test and not the machine.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bridge.media import types as media
from bridge.media import voice
from tests.support.sounds import film, png, tone

ALLOWANCE = 512 * 1024 * 1024
"""Bytes of address space above what there is at the beginning."""
_ROOT = Path(__file__).parents[2]


def _amr(data: bytes) -> object:
    sound = voice.to_amr(io.BytesIO(data), 1_000_000)
    return sound and round(sound.seconds, 1)


READERS: dict[str, tuple[Callable[[bytes], object], Callable[[], bytes]]] = {
    "amr": (_amr, lambda: tone(1)),
    "opus": (lambda data: round(voice.to_opus(io.BytesIO(data)).seconds, 1), lambda: tone(1)),
    "look": (lambda data: voice.look(io.BytesIO(data)), film),
    "dimensions": (lambda data: media.dimensions(io.BytesIO(data)), lambda: png(10)),
}
"""By name, and an honest file for each: what a library takes at its first use is not counted."""


def reads(reader: str, data: bytes) -> tuple[str, int]:
    """What came of reading it, and the memory that it took, MiB."""
    run = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", __name__, reader],
        input=data,
        cwd=_ROOT,
        capture_output=True,
        check=True,
        timeout=120,
    )
    told, grown = run.stdout.decode().splitlines()
    return told, int(grown)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    read, honest = READERS[sys.argv[1]]
    data = sys.stdin.buffer.read()
    read(honest())
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ALLOWANCE, size + ALLOWANCE))
    before = _peak()
    try:
        told = read(data)
    except voice.NoSound as error:
        told = error
    sys.stdout.write(f"{told}\n{_peak() - before}\n")


if __name__ == "__main__":
    main()
