"""The bridge as a child process, started as an operator starts it, and killed as fate does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from bridge.demo.synapse import die_with_parent

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0


class BridgeError(Exception):
    """The bridge did not start, or ended by itself; the message names its log."""


class BridgeProcess:
    """One `matrix-webchat run`.

    Args:
        config: its configuration file.
        port: where it listens, on the loopback interface.
        log_file: gets everything it prints.
        environment: beside our own.
    """

    def __init__(
        self,
        config: Path,
        port: int,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log_file = log_file
        self.url = f"http://127.0.0.1:{port}"
        self._config = config
        self._environment = dict(environment or {})
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return None if self._process is None else self._process.pid

    async def start(self, *, ready: bool = True) -> None:
        """Start it; with `ready`, return once it answers that it can serve.

        Raises:
            BridgeError: it ended, or was not ready within a minute.
        """
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bridge",
                "run",
                "-c",
                str(self._config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        if ready:
            await self.wait_until("ready")

    async def wait_until(self, state: str) -> None:
        """Wait for `live` or `ready`."""
        process = self._process
        if process is None:
            raise BridgeError("the bridge does not run")
        try:
            async with asyncio.timeout(START_TIMEOUT), aiohttp.ClientSession() as session:
                while process.returncode is None:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"{self.url}/_matrix/mau/{state}") as response:
                            if response.status == 200:
                                return
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise BridgeError(f"the bridge is not {state} yet: see {self.log_file}") from error
        raise BridgeError(f"the bridge ended with {process.returncode}: see {self.log_file}")

    async def ended(self) -> int:
        """Wait until it ends by itself; returns the exit code.

        Raises:
            TimeoutError: it still runs after a minute.
        """
        process = self._process
        if process is None:
            raise BridgeError("the bridge does not run")
        async with asyncio.timeout(START_TIMEOUT):
            code = await process.wait()
        self._process = None
        return code

    async def stop(self) -> int:
        """SIGTERM, and the exit code; by force after 20 seconds."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        return process.returncode or 0

    async def kill(self) -> None:
        """SIGKILL: as a power cut would end it."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
