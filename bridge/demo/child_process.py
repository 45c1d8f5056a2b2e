"""Servers as child processes that die with the parent.

One of them is a real Synapse, for the demo and for tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import importlib.util
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
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

    async def start(self, *, ready: bool = True) -> None:
        """Start the process; if `ready`, wait until it can serve (see `wait_until`), or kill it."""
        self._process = await spawn(self.command, self.log_file, self.environment)
        if ready:
            try:
                await self.wait_until(self.ready)
            except ServerError:
                await self.kill()
                raise

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


async def spawn(
    command: tuple[str, ...], log_file: Path, environment: Mapping[str, str] | None
) -> asyncio.subprocess.Process:
    """Start a child process; see `ChildProcess` for the parameters."""
    with log_file.open("ab") as log:  # the child has its own handle
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )


def die_with_parent() -> Callable[[], object] | None:
    """Return a `preexec_fn` (Linux only): the child is killed when its parent ends, even by -9."""
    if sys.platform != "linux":
        return None
    # Loaded before the fork: between fork and exec nothing may be loaded.
    return functools.partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, signal.SIGKILL)


# --- Synapse --------------------------------------------------------------------------------------

_SYNAPSE_STOPS = 15.0
"""Seconds that Synapse gets to stop."""
_SAME_FOR_ALL = Path(__file__).with_name("homeserver.yaml")
_LOG_CONFIG = Path(__file__).with_name("homeserver_log.yaml")


class SynapseServer:
    """One homeserver on SQLite, without TLS, federation and telemetry; an async context manager.

    It dies with its parent; its port is known before the start and kept.

    `folder` holds configuration, database, media and log, and may exist. Keys in `extra` override
    those of homeserver.yaml.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        registrations: tuple[Path, ...] = (),
        extra: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.port = port
        self.address = f"http://127.0.0.1:{self.port}"
        self._registrations = registrations
        self._extra = extra
        self.domain = str(extra.get("server_name", "localhost"))
        self._secret = secrets.token_hex(32)
        self._config = folder / "homeserver.yaml"
        self.log_file = folder / "homeserver.log"
        # Its output goes into its log, without the warnings that our PYTHONWARNINGS may ask for.
        quiet = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
        self._child = ChildProcess(
            name="Synapse",
            command=("synapse.app.homeserver", "-c", str(_SAME_FOR_ALL), "-c", str(self._config)),
            url=self.address,
            ready="/_matrix/client/versions",
            log_file=self.log_file,
            patience=_SYNAPSE_STOPS,
            environment=quiet,
        )
        self.stop = self._child.stop
        self.kill = self._child.kill

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start Synapse and wait for it; ServerError if it is missing, ends or does not answer."""
        if importlib.util.find_spec("synapse") is None:
            raise ServerError(
                'Synapse is not installed here: pip install "matrix-webchat-bridge[demo]"'
            )
        await asyncio.to_thread(self._write_config)
        await self._child.start()

    def _write_config(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        listener = {"port": self.port, "type": "http", "bind_addresses": ["127.0.0.1"]}
        database = str(self.folder / "homeserver.db")
        config: dict[str, object] = {
            "server_name": self.domain,
            "public_baseurl": f"{self.address}/",
            "pid_file": str(self.folder / "homeserver.pid"),
            "listeners": [{**listener, "resources": [{"names": ["client"]}]}],
            "database": {"name": "sqlite3", "args": {"database": database}},
            "log_config": str(_LOG_CONFIG),
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "macaroon_secret_key": self._secret,
            "form_secret": self._secret,
            "app_service_config_files": [str(path) for path in self._registrations],
        }
        self._config.touch(mode=0o600)
        # JSON is valid YAML.
        self._config.write_text(json.dumps({**config, **self._extra}), encoding="utf-8")
