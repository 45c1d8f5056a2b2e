"""A real Synapse on this machine, for the demo and for tests: no TLS, no federation, no telemetry.

It runs as a child process, dies with us, and is told everything by a configuration made for it.
Like every server here it is told its port before it starts, and comes back on it.
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
_UNLIMITED = {"per_second": 100_000, "burst_count": 100_000}
_LIMITS: dict[str, object] = {
    "rc_message": _UNLIMITED,
    "rc_registration": _UNLIMITED,
    "rc_admin_redaction": _UNLIMITED,
    "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), _UNLIMITED),
    "rc_joins": dict.fromkeys(("local", "remote"), _UNLIMITED),
    "rc_joins_per_room": _UNLIMITED,
    "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), _UNLIMITED),
    "rc_media_create": _UNLIMITED,
    "rc_room_creation": _UNLIMITED,
    "rc_presence": {"per_user": _UNLIMITED},
}
"""Rate limits, lifted: one machine plays everybody."""


class SynapseServer:
    """One homeserver on SQLite; an async context manager.

    Args:
        folder: holds configuration, database, media and log; an earlier run in it is continued.
        registrations: registration files of application services.
        port: the loopback port; chosen if None.
        extra: further keys of homeserver.yaml, which win.
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
        self.log_file = folder / "homeserver.log"
        # Its start-up chatter goes where its log goes.
        quiet = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
        self._child = ChildProcess(
            name="Synapse",
            command=("synapse.app.homeserver", "-c", str(folder / "homeserver.yaml")),
            url=self.address,
            ready="/_matrix/client/versions",
            log_file=self.log_file,
            patience=_STOP_TIMEOUT,
            environment=quiet,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            ServerError: it is not installed, or ended, or did not answer within a minute.
        """
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

    async def stop(self) -> None:
        """End it in good order, and by force when that takes longer than 15 seconds."""
        await self._child.stop()

    async def kill(self) -> None:
        await self._child.kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def register(
        self, session: aiohttp.ClientSession, localpart: str, password: str, *, admin: bool = False
    ) -> str:
        """Make a user by the shared secret, without any device, and return its user id.

        Source: Synapse's admin documentation, "Shared-Secret Registration".

        Raises:
            ServerError: Synapse refused.
        """
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
            "inhibit_login": True,  # else the user has a device that nobody holds
        }
        async with session.post(url, json=content) as response:
            reply: dict[str, object] = await response.json()
            if response.status != 200:
                raise ServerError(f"{localpart} not registered: {reply.get('error')}")
            return str(reply["user_id"])

    def _write_config(self) -> None:
        """Write what Synapse reads. Secrets of an earlier run are kept, so that logins stay."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.folder / "secret"
        if kept.exists():
            self._secret = kept.read_text()
        else:
            kept.touch(mode=0o600)
            kept.write_text(self._secret)
        path = self.folder / "homeserver.yaml"
        path.touch(mode=0o600)
        # JSON is YAML, too.
        path.write_text(json.dumps({**self._config(), **self._extra}), encoding="utf-8")
        plain = "%(asctime)s %(levelname)s %(name)s %(message)s"
        file = {"class": "logging.FileHandler", "filename": str(self.log_file)}
        log_config = {
            "version": 1,
            "formatters": {"plain": {"format": plain}},
            "handlers": {"file": file | {"formatter": "plain"}},
            "root": {"level": "WARNING", "handlers": ["file"]},
            "disable_existing_loggers": False,
        }
        (self.folder / "log.yaml").write_text(json.dumps(log_config), encoding="utf-8")

    def _config(self) -> dict[str, object]:
        folder = self.folder
        listener = {"port": self.port, "type": "http", "bind_addresses": ["127.0.0.1"]}
        return {
            "server_name": self.domain,
            "public_baseurl": f"{self.address}/",
            "pid_file": str(folder / "homeserver.pid"),
            "listeners": [{**listener, "resources": [{"names": ["client"]}]}],
            "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
            "log_config": str(folder / "log.yaml"),
            "media_store_path": str(folder / "media"),
            "signing_key_path": str(folder / "signing.key"),
            "registration_shared_secret": self._secret,
            "macaroon_secret_key": self._secret,
            "form_secret": self._secret,
            "app_service_config_files": [str(path) for path in self._registrations],
            "user_directory": {"enabled": True, "search_all_users": True},
            "report_stats": False,
            "suppress_key_server_warning": True,
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "allow_public_rooms_over_federation": False,
            "enable_metrics": False,
            "presence": {"enabled": False},
            "password_config": {"enabled": True},
            "bcrypt_rounds": 4,
            **_LIMITS,
        }
