"""Make a virtual environment and install into it, with a one-line progress display.

`python tests/install.py FOLDER ARGUMENTS…`, the arguments being those of `pip install`. uv, from
`.cache/uv`, takes a fifth of pip's time. Where uv could not be had, or fails, pip does it.
The whole output of what fails is printed.

A terminal's line is overwritten each second; elsewhere (CI) a line is added every ten seconds.
Uses only the standard library: nothing is installed yet.
"""

from __future__ import annotations

import ast
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

WIDTH = min(78, shutil.get_terminal_size().columns - 1)
"""Maximum length of the progress line: a longer one would wrap."""
UV = Path(".cache/uv/bin/uv")
OLDEST = (3, 11)
NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "proxy": "ALL_PROXY",
    "cert": "SSL_CERT_FILE",
}
"""pip's settings -> uv's environment variables; uv does not read pip's files."""


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
        """Update the progress from a line of uv's or pip's output."""
        first, _, rest = line.strip().partition(" ")
        if first == "Collecting":
            self._packages += 1
            self._doing = f"fetching {rest.split(' ')[0]}"
        elif first == "Resolved":
            self._packages = int(rest.split(" ")[0])
            self._doing = "fetching them"
        elif first == "Downloading":
            self._doing = f"fetching {rest.split(' ')[0]}"
        elif first == "Prepared" or line.startswith("Installing collected packages"):
            self._doing = "unpacking"
        elif first == "Installed":
            self._doing = "compiling"
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


def run(command: Sequence[str], out: TextIO, more: Mapping[str, str] | None = None) -> int:
    """Run an installer; return its exit code. `more`: further environment variables."""
    progress = Progress(out, time.monotonic())
    said: list[str] = []
    lines: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(  # noqa: S603 - the command comes from the Makefile
        command,
        env={**os.environ, **(more or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as installer:
        reading = threading.Thread(target=_read, args=(installer.stdout, lines), daemon=True)
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
    if installer.returncode:
        out.write("\n" + "".join(said))
    progress.end(time.monotonic(), well=installer.returncode == 0)
    return installer.returncode


def _read(stream: TextIO | None, lines: queue.Queue[str | None]) -> None:
    for line in stream or ():
        lines.put(line)
    lines.put(None)


def settings_for_uv(listed: str) -> dict[str, str]:
    """Return uv's environment variables from the output of `pip config list`.

    Of a setting that is given several times the environment's wins, as with pip, then that of
    `pip install`.
    """
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda one: (one[0] == ":", "install." in one)):
        key, _, value = line.partition("=")
        name = NAMES.get(key.rpartition(".")[2])
        if name is not None:
            separator = "," if name == "UV_FIND_LINKS" else " "
            found[name] = separator.join(str(ast.literal_eval(value)).split())
    return found


def with_uv(folder: Path, arguments: Sequence[str], out: TextIO) -> int:
    """Install with uv; return its exit code."""
    pip = (UV.with_name("python"), "-m", "pip", "config", "list")
    listed = subprocess.run(pip, capture_output=True, text=True, check=False).stdout  # noqa: S603
    settings = settings_for_uv(listed)
    if "--require-hashes" in arguments:  # uv would want a hash of what a constraint names
        settings.pop("UV_CONSTRAINT", None)
    uv = (str(UV), "pip", "install", "--compile-bytecode", "--python", str(folder / "bin/python"))
    return run((*uv, *arguments), out, settings)


def with_pip(folder: Path, arguments: Sequence[str], out: TextIO) -> int:
    """Install with pip; return its exit code."""
    python = str(folder / "bin/python")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install")
    # If these fail, so does the last, and says why.
    for first in ((python, "-m", "ensurepip"), (*pip, "--upgrade", "pip>=25", "setuptools>=77")):
        subprocess.run(first, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - ours
    return run((*pip, "--progress-bar", "off", *arguments), out)


def main(folder: Path, arguments: Sequence[str], out: TextIO) -> int:
    """Make the environment unless there is a usable one, and install; return the exit code."""
    usable = (folder / "bin" / "python", "-c", f"import sys; sys.exit(sys.version_info < {OLDEST})")
    if not usable[0].exists() or subprocess.run(usable, check=False).returncode:  # noqa: S603
        out.write(f"== making {folder} with {sys.executable}\n")
        out.flush()
        making = (sys.executable, "-m", "venv", "--without-pip", "--clear", folder)
        subprocess.run(making, check=True)  # noqa: S603 - ours
    if UV.exists() and with_uv(folder, arguments, out) == 0:
        return 0
    return with_pip(folder, arguments, out)


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:], sys.stdout))
    except KeyboardInterrupt:
        sys.exit(130)
