"""Ports for servers that are told theirs before they start, and that come back on it."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _LINUX = 10_000, 32_768
"""Below the first are the well-known servers of a developer's machine; the second is where Linux
begins with ports for outgoing connections if nobody says otherwise (others begin higher)."""
_TRIES = 200


def free_port() -> int:
    """A port of the loopback interface that is free, and that no outgoing connection is given.

    The port that the kernel hands out for "any" is one of those that it gives to outgoing
    connections as well: until the server listens, or while it restarts, any client on this machine
    may be given it, and then the server cannot have it. (On a machine where all ports are given to
    connections, this one may be, too.)

    Raises:
        OSError: no such port is free.
    """
    ports = range(_LOWEST, _first_ephemeral())
    for port in random.sample(ports, min(_TRIES, len(ports))):
        if _is_free(port):
            return port
    raise OSError(f"no port of {ports.start} to {ports.stop - 1} is free on 127.0.0.1")


def _first_ephemeral() -> int:
    try:
        first = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _LINUX
    return first if first > _LOWEST else _LINUX


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
