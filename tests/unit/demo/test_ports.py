"""A server that is told its port in advance can have it, whatever clients connect meanwhile."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bridge.demo import child_process
from bridge.demo.child_process import free_port


def test_no_outgoing_connection_is_given_that_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        given = []
        for _ in range(50):
            with socket.create_connection(address) as client:
                given.append(client.getsockname()[1])
    assert all(free_port() < min(given) for _ in range(50))


def test_a_server_can_listen_on_it() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert free_port() != port


@pytest.mark.parametrize("limits", ["", "?\n", "1024 65535\n", "32768 60999\n"])
def test_on_any_machine(limits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "range"
    file.write_text(limits)
    monkeypatch.setattr(child_process, "_EPHEMERAL", file)
    assert 10_000 <= free_port() < 32_768


def test_none_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_is_free", lambda port: False)
    with pytest.raises(OSError, match="no port of 10000 to "):
        free_port()
