"""Servers as child processes that die with the parent, and free loopback ports for them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp

_PR_SET_PDEATHSIG = 1
_START_TIMEOUT = 60.0
"""Seconds to become ready. Synapse takes 1.6 to 3; a first start on a busy machine takes longer."""
_PAUSE = 0.05
"""Seconds between two readiness checks."""


class ServerError(Exception):
    """A server is not installed, did not start, or ended by itself; the message names its log."""


@dataclass(kw_only=True, eq=False)
class ChildProcess:
    """A server that runs as a Python module in a child process; an async context manager."""

    name: str
    command: tuple[str, ...]
    """Arguments of `python -m`."""
    url: str
    ready: str
    """Path that answers 200 once the server is ready."""
    log_file: Path
    """File to which stdout and stderr are appended."""
    patience: float
    """Seconds from SIGTERM to SIGKILL."""
    environment: Mapping[str, str] | None = None
    """None to inherit the parent's."""
    _process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, *, ready: bool = True) -> None:
        """Start the process; if `ready`, wait until it can serve (see `wait_until`)."""
        # The child has its own handle of the log.
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *self.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        if ready:
            await self.wait_until(self.ready)

    async def wait_until(self, path: str) -> None:
        """Poll a path until it answers 200; ServerError if the process ends, or after a minute."""
        process = self._process
        try:
            async with asyncio.timeout(_START_TIMEOUT), aiohttp.ClientSession() as session:
                while process is not None and process.returncode is None:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"{self.url}{path}") as response:
                            if response.status == 200:
                                return
                    await asyncio.sleep(_PAUSE)
        except TimeoutError as error:
            raise ServerError(f"{self.name} is not ready yet: see {self.log_file}") from error
        code = None if process is None else process.returncode
        raise ServerError(f"{self.name} ended with {code or 0}: see {self.log_file}")

    async def ended(self) -> int:
        """Wait up to a minute for the process to exit by itself, and return its exit code."""
        if self._process is not None:
            async with asyncio.timeout(_START_TIMEOUT):
                await self._process.wait()
        return await self.stop()

    async def stop(self) -> int:
        """Send SIGTERM, and after `patience` seconds SIGKILL; return the exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        # It may end by itself at any moment, also when its time is up.
        with contextlib.suppress(ProcessLookupError):
            if process.returncode is None:
                process.terminate()
            try:
                async with asyncio.timeout(self.patience):
                    await process.wait()
            except TimeoutError:
                process.kill()
        await process.wait()
        return process.returncode or 0

    async def kill(self) -> None:
        """Send SIGKILL, to simulate a power cut."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def die_with_parent() -> Callable[[], object] | None:
    """Return a `preexec_fn` (Linux only): the child is killed when its parent ends, even by -9."""
    if sys.platform != "linux":
        return None
    # Loaded before the fork: between fork and exec nothing may be loaded.
    return functools.partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, signal.SIGKILL)


# --- ports ---------------------------------------------------------------------------------------

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LINUX = 32_768, 60_999
"""First and last ephemeral port of Linux by default."""
_LOWEST = 10_000
"""Lowest port that is preferred: above common development servers."""
_TRIES = 200


def free_port() -> int:
    """Return a free loopback port outside the ephemeral ones; OSError if none was found.

    A client may get an ephemeral port before the server listens, or while it restarts. Where the
    kernel gives out nearly all ports, it is one of them.
    """
    first, last = _ephemeral()
    outside = (range(_LOWEST, first), range(last + 1, 65_536), range(1024, first))
    enough = (ports for ports in outside if len(ports) >= _TRIES)
    ports = next(enough, range(_LOWEST, _LINUX[0]))
    for port in random.sample(ports, _TRIES):
        if _is_free(port):
            return port
    raise OSError(f"no port of {ports.start} to {ports.stop - 1} is free on 127.0.0.1")


def _ephemeral() -> tuple[int, int]:
    with contextlib.suppress(OSError, ValueError):
        first, last = _EPHEMERAL.read_text().split()
        return int(first), int(last)
    return _LINUX


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
