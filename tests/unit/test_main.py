"""`python -m bridge` is the program `matrix-webchat`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from unittest.mock import Mock

import pytest

import bridge.__main__
from bridge import __version__
from tests.unit.config.configs import SMALLEST


def test_the_module_starts_the_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "bridge", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout == f"matrix-webchat-bridge {__version__}\n"


def test_standard_streams_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["matrix-webchat", "--version"])
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit) as caught:
        bridge.__main__.main()
    assert caught.value.code == 0
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        assert stream.isatty() is False  # as questions and the log's set-up ask
        stream.close()


def in_latin_1(*arguments: str) -> bytes:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "bridge", *arguments],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        timeout=60,
        check=True,
    ).stdout


def test_a_terminal_without_unicode_gets_escapes() -> None:
    assert b"(!\\u2026)" in in_latin_1("erase", "--help")


def test_the_example_is_utf_8_on_every_terminal() -> None:
    assert "转" in in_latin_1("example-config", "--texts").decode("utf-8")


def test_ctrl_c_while_the_program_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bridge.cli.program", raising=False)
    finder = Mock(find_spec=Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    with pytest.raises(SystemExit) as caught:
        bridge.__main__.main()
    assert caught.value.code == "Aborted!"


@pytest.mark.parametrize("command", ["--version", "run"])
def test_sigterm_while_the_program_loads(tmp_path: Path, command: str) -> None:
    """Also in a callback, in which Python only prints exceptions: each import has some."""
    config = tmp_path / "config.yaml"
    config.write_text(SMALLEST + "appservice: {as_token: aaaaaaaaaa, hs_token: bbbbbbbbbb}\n")
    module = "bridge.app.process" if command == "run" else "bridge.cli.program"
    loading = f"""
import os, signal, sys, weakref
class Finder:
    def find_spec(self, name, *_):
        if name == "{module}":
            module = Finder()
            self.seen = weakref.ref(module, lambda _: os.kill(os.getpid(), signal.SIGTERM))
            del module
            print("went on", flush=True)
sys.meta_path.insert(0, Finder())
sys.argv = ["matrix-webchat", "{command}", "-c", {str(config)!r}]
import bridge.__main__
bridge.__main__.main()
"""
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", loading], capture_output=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (143, b"")


def test_the_console_script_is_the_modules_main() -> None:
    (script,) = entry_points(group="console_scripts", name="matrix-webchat")
    assert script.load() is bridge.__main__.main
