"""Chromium for the tests of the desk: the machine's own, or Debian's, installed on demand.

The headless shell comes first: it draws no tabs and menus, so a page takes 0.2 s of CPU instead of
1.2.

`python -m tests.desk.chromium` installs it ahead of the tests and prints its path.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache"
NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
PACKAGES = ("chromium-headless-shell", "fonts-noto-cjk", "fonts-noto-color-emoji")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A fake microphone, and the permission to use it.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


class NoChromiumError(Exception):
    """No Chromium was found, and none could be installed; the message says what to do."""


def find_or_install() -> str:
    """Return the path of a Chromium.

    Raises:
        NoChromiumError: none was found, and it cannot be installed.
    """
    named = os.environ.get("CHROMIUM")
    return named or _found() or _install()


def _found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def _install() -> str:
    apt = shutil.which("apt-get")
    if apt is None:
        raise NoChromiumError(
            "The desk is tested in a real Chromium, and there is none here. Install Chromium or "
            "Chrome, or set CHROMIUM to its path."
        )
    command = [apt]
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        if sudo is None:
            raise NoChromiumError(
                "The desk is tested in a real Chromium. As root: apt-get install "
                + " ".join(PACKAGES)
            )
        command = [sudo, "--non-interactive", apt]
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # apt-get fails while another one runs
        return _found() or _install_by(command)


def _install_by(command: list[str]) -> str:
    sys.stderr.write("Installing Chromium for the tests of the desk (a minute or two)…\n")
    for step in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(  # noqa: S603 - our own words
            [*command, "-qq", *step],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = done.stdout.strip().splitlines()[-1:] or ["no message"]
            raise NoChromiumError(
                f"The desk is tested in a real Chromium, and `{' '.join([*command, *step])}` "
                f"failed: {last[0]}"
            )
    found = _found()
    if found is None:
        raise NoChromiumError("apt-get installed Chromium, but there is none in PATH.")
    return found


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{find_or_install()}\n")
    except NoChromiumError as error:
        sys.exit(str(error))
