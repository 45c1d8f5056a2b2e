"""Loopback ports for servers of tests, which start side by side in several processes."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
from collections import deque
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LINUX = 32_768, 60_999
"""First and last ephemeral port of Linux by default."""
_LOWEST = 10_000
"""Lowest port that is preferred: above common development servers."""
_TRIES = 200
_KEPT = 100
"""Ports that stay reserved: the last ones."""
_RESERVED: deque[int] = deque()
"""File descriptors of sockets with the reserved ports' names, which end with the process."""


def free_port() -> int:
    """Return a free loopback port outside the ephemeral ones; OSError if none was found.

    A client may get an ephemeral port before the server listens, or while it restarts. Where the
    kernel gives out nearly all ports, it is one of them.
    """
    first, last = _LINUX
    with contextlib.suppress(OSError, ValueError):
        first, last = map(int, _EPHEMERAL.read_text().split())
    outside = (range(_LOWEST, first), range(last + 1, 65_536), range(1024, first))
    enough = (ports for ports in outside if len(ports) >= _TRIES)
    ports = next(enough, range(_LOWEST, _LINUX[0]))
    for port in random.sample(ports, _TRIES):
        if _is_free(port):
            return port
    raise OSError(f"no port of {ports.start} to {ports.stop - 1} is free on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return sys.platform != "linux" or _reserve(port)


def _reserve(port: int) -> bool:
    """Keep other callers, of other processes too, from a port whose server does not listen yet."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mark.bind(f"\0matrix-webchat port {port}")
    except OSError:
        mark.close()
        return False
    _RESERVED.append(mark.detach())
    if len(_RESERVED) > _KEPT:
        os.close(_RESERVED.popleft())
    return True
