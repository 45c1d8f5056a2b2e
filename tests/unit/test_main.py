"""`python -m bridge` is the program `matrix-webchat`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import bridge.__main__
from bridge import __version__


def test_the_module_starts_the_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "bridge", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout == f"matrix-webchat-bridge {__version__}\n"


def test_the_console_script_is_the_modules_main() -> None:
    (script,) = entry_points(group="console_scripts", name="matrix-webchat")
    assert script.load() is bridge.__main__.main
