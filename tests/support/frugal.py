"""Measure the memory that a media reader, or its child, needs for a file, in a separate process.

`python -m tests.support.frugal READER < FILE` prints the result and the growth of the process's
peak memory in MiB. Memory is limited (`ALLOWANCE`), so that an unbounded reader fails its test
rather than the machine.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bridge.media import formats
from tests.support.sounds import film, png, tone

ALLOWANCE = 512 * 1024 * 1024
"""Bytes of address space that the reader may add."""
_ROOT = Path(__file__).parents[2]


def _amr(data: bytes) -> object:
    sound = formats.to_amr(io.BytesIO(data), 1_000_000)
    return sound and round(sound.seconds, 1)


READERS: dict[str, tuple[Callable[[bytes], object], Callable[[], bytes]]] = {
    "amr": (_amr, lambda: tone(1)),
    "opus": (lambda data: round(formats.to_opus(io.BytesIO(data)).seconds, 1), lambda: tone(1)),
    "look": (lambda data: formats.look(io.BytesIO(data)), film),
    "apart": (
        lambda data: formats.apart(formats.to_amr, io.BytesIO(data), 1_000_000),
        lambda: tone(1),
    ),
    "dimensions": (lambda data: formats.dimensions(io.BytesIO(data)), lambda: png(10)),
}
"""Readers by name, each with a harmless file to read first: library start-up is not counted."""


def reads(reader: str, data: bytes) -> tuple[str, int]:
    """Return the printed result of a reader, and the memory it took in MiB."""
    run = subprocess.run(  # noqa: S603 - runs this module
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
    both = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(which).ru_maxrss for which in both) // 1024


def main() -> None:
    read, honest = READERS[sys.argv[1]]
    data = sys.stdin.buffer.read()
    read(honest())
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ALLOWANCE, size + ALLOWANCE))
    before = _peak()
    try:
        told = read(data)
    except formats.NoSound as error:
        told = error
    sys.stdout.write(f"{told}\n{_peak() - before}\n")


if __name__ == "__main__":
    main()
