"""`free_port` returns ports that no outgoing connection takes before the server listens."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ports
from tests.support.ports import free_port


def test_no_outgoing_connection_gets_a_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        given = []
        for _ in range(50):
            with socket.create_connection(address) as client:
                given.append(client.getsockname()[1])
    assert all(free_port() < min(given) for _ in range(50))


def test_a_port_is_given_once_before_a_server_listens_on_it() -> None:
    """A server takes seconds until it listens; test processes start servers side by side."""
    port = free_port()
    assert not ports._is_free(port)
    asked = f"from tests.support.ports import _is_free; print(_is_free({port}))"
    assert subprocess.check_output([sys.executable, "-c", asked]) == b"False\n"  # noqa: S603


def test_a_server_can_listen_on_a_free_port() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert free_port() != port


@pytest.mark.parametrize(
    ("limits", "lowest", "highest"),
    [
        ("", 10_000, 32_767),
        ("?\n", 10_000, 32_767),
        ("32768 60999\n", 10_000, 32_767),
        ("15000\t64000\n", 10_000, 14_999),
        ("10000 60999\n", 61_000, 65_535),
        ("1024 20000\n", 20_001, 65_535),
        ("9000 65535\n", 1024, 8999),
        ("10100 65535\n", 1024, 10_099),
        ("1024 65535\n", 10_000, 32_767),  # no port lies outside
    ],
)
def test_free_ports_lie_outside_the_ephemeral_range(
    limits: str, lowest: int, highest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "range"
    file.write_text(limits)
    monkeypatch.setattr(ports, "_EPHEMERAL", file)
    asked: list[int] = []

    def note(port: int) -> bool:
        asked.append(port)
        return False

    monkeypatch.setattr(ports, "_is_free", note)
    with pytest.raises(OSError, match=f"no port of {lowest} to {highest} is free"):
        free_port()
    assert len(asked) == 200
    assert lowest <= min(asked) < max(asked) <= highest
