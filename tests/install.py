"""Run pip with a one-line progress display; print pip's whole output if it fails.

`python tests/install.py PIP-COMMAND…`. Uses only the standard library: nothing is installed yet.
A terminal's line is overwritten each second; elsewhere (CI) a line is added every ten seconds.
"""

from __future__ import annotations

import queue
import shutil
import subprocess
import sys
import threading
import time
from typing import TextIO

WIDTH = min(78, shutil.get_terminal_size().columns - 1)
"""Maximum length of the progress line: a longer one would wrap."""


class Progress:
    """The progress line. All times are seconds of one monotonic clock."""

    def __init__(self, out: TextIO, began: float) -> None:
        self._out = out
        self._began = self._told = began
        self._over = out.isatty()
        self._every = 1.0 if self._over else 10.0
        self._packages = 0
        self._doing = "looking for packages"

    def read(self, line: str) -> None:
        """Update the progress from a line of pip's output."""
        first, _, rest = line.strip().partition(" ")
        if first == "Collecting":
            self._packages += 1
            self._doing = f"fetching {rest.split(' ')[0]}"
        elif line.startswith("Installing collected packages"):
            self._doing = "unpacking"
        elif first == "Building":
            self._doing = "building"

    def due(self, now: float) -> float:
        """Return the seconds until the next progress line is due."""
        return max(0.0, self._told + self._every - now)

    def tell(self, now: float) -> None:
        """Write the progress line if it is due."""
        if self.due(now) > 0:
            return
        self._told = now
        text = f"   {now - self._began:.0f} s, {self._packages} packages, {self._doing}"[:WIDTH]
        self._out.write(f"\r{text:{WIDTH}}" if self._over else f"{text}\n")
        self._out.flush()

    def end(self, now: float, *, well: bool) -> None:
        """Write the final line."""
        word = "installed" if well else "NOT installed"
        text = f"   {word}: {self._packages} packages, {now - self._began:.0f} s"
        self._out.write(f"\r{text:{WIDTH}}\n" if self._over else f"{text}\n")
        self._out.flush()


def main(command: list[str], out: TextIO) -> int:
    """Run pip; return its exit code."""
    progress = Progress(out, time.monotonic())
    said: list[str] = []
    lines: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(  # noqa: S603 - the command comes from the Makefile
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        reading = threading.Thread(target=_read, args=(pip.stdout, lines), daemon=True)
        reading.start()
        while True:
            try:
                line = lines.get(timeout=progress.due(time.monotonic()))
            except queue.Empty:
                progress.tell(time.monotonic())
                continue
            if line is None:
                break
            said.append(line)
            progress.read(line)
            progress.tell(time.monotonic())
    if pip.returncode:
        out.write("\n" + "".join(said))
    progress.end(time.monotonic(), well=pip.returncode == 0)
    return pip.returncode


def _read(stream: TextIO | None, lines: queue.Queue[str | None]) -> None:
    for line in stream or ():
        lines.put(line)
    lines.put(None)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], sys.stdout))
    except KeyboardInterrupt:
        sys.exit(130)
