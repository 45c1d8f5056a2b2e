"""A real Synapse on this machine, for the demo and for tests: no TLS, no federation, no telemetry.

It is a child process that dies with its parent; its port is known before the start and kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import importlib.util
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

import aiohttp

from bridge.demo.child_process import ChildProcess, ServerError, free_port

_STOP_TIMEOUT = 15.0
_SAME_FOR_ALL = Path(__file__).with_name("homeserver.yaml")
_LOG_CONFIG = Path(__file__).with_name("homeserver_log.yaml")


class SynapseServer:
    """One homeserver on SQLite; an async context manager.

    `folder` holds configuration, database, media and log, and is reused if it exists. `port` None
    takes a free one; keys in `extra` override those of homeserver.yaml.
    """

    domain = "localhost"

    def __init__(
        self,
        folder: Path,
        *,
        registrations: tuple[Path, ...] = (),
        port: int | None = None,
        extra: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._registrations = registrations
        self._extra = extra
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
            patience=_STOP_TIMEOUT,
            environment=quiet,
        )
        self.stop = self._child.stop
        self.kill = self._child.kill

    @property
    def pid(self) -> int | None:
        return self._child.pid

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
        try:
            await self._child.start()
        except ServerError:
            await self.kill()
            raise

    async def register(
        self, session: aiohttp.ClientSession, localpart: str, password: str, *, admin: bool = False
    ) -> str:
        """Register a user with no device by Synapse's shared-secret registration; return its id."""
        url = f"{self.address}/_synapse/admin/v1/register"
        async with session.get(url) as response:
            nonce: str = (await response.json())["nonce"]
        fields = (nonce, localpart, password, "admin" if admin else "notadmin")
        mac = hmac.new(self._secret.encode(), "\0".join(fields).encode(), hashlib.sha1)
        content = {
            "nonce": nonce,
            "username": localpart,
            "password": password,
            "admin": admin,
            "mac": mac.hexdigest(),
            "inhibit_login": True,  # else Synapse creates a device that nobody uses
        }
        async with session.post(url, json=content) as response:
            reply: dict[str, object] = await response.json()
            if response.status != 200:
                raise ServerError(f"{localpart} not registered: {reply.get('error')}")
            return str(reply["user_id"])

    def _write_config(self) -> None:
        """Write homeserver.yaml; keep an earlier run's secret, so that its logins stay valid."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.folder / "secret"
        if kept.exists():
            self._secret = kept.read_text()
        else:
            kept.touch(mode=0o600)
            kept.write_text(self._secret)
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
            "registration_shared_secret": self._secret,
            "macaroon_secret_key": self._secret,
            "form_secret": self._secret,
            "app_service_config_files": [str(path) for path in self._registrations],
        }
        self._config.touch(mode=0o600)
        # JSON is valid YAML.
        self._config.write_text(json.dumps({**config, **self._extra}), encoding="utf-8")
