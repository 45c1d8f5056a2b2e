"""An installation for the doctor to check: a fake homeserver, configurations."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from bridge.cli.console import Files
from bridge.cli.findings import Finding, Findings, check_slips
from bridge.config.loading import load_config
from bridge.config.model import Config
from bridge.matrix.client import OWNER
from tests.support.ports import free_port

AS_TOKEN = "a" * 20
HS_TOKEN = "h" * 20


def configured(
    folder: Path,
    *,
    homeserver: str = "http://127.0.0.1:9",
    webchat: str = "http://127.0.0.1:9/webchat",
    port: int = 29340,
    more: str = "",
    login: str = "",
) -> Config:
    """A valid configuration, with tokens; `more` is appended, `login` goes into `webchat`."""
    path = folder / "config.yaml"
    path.write_text(
        f"""\
homeserver: {{address: "{homeserver}", domain: example.org}}
appservice:
  address: http://127.0.0.1:{port}
  port: {port}
  as_token: {AS_TOKEN}
  hs_token: {HS_TOKEN}
webchat:
  base_url: {webchat}
{login}
queues:
  - {{id: 1, name: Sales}}
  - {{id: 2, name: Service}}
default_queue: 1
bridge:
  permissions: {{"*": customer}}
  limits: {{file: 1MiB}}
{more or f'database: {{url: "sqlite:///{folder}/bridge.db"}}'}
""",
        encoding="utf-8",
    )
    return load_config(path, {})


@dataclass
class FakeHomeserver:
    """Answers like a homeserver; every answer can be replaced."""

    port: int = 0
    bridge_port: int = field(default_factory=free_port)
    versions: object = field(default_factory=lambda: {"versions": ["v1.6", "v1.7"]})
    register: tuple[int, dict[str, object]] = (400, {"errcode": "M_USER_IN_USE"})
    queues: tuple[int, dict[str, object]] = (200, {"user_id": "@x:example.org"})
    whoami: tuple[int, dict[str, object]] = (200, {"user_id": "@webchatbot:example.org"})
    ghost: tuple[int, dict[str, object]] = (
        403,
        {
            "errcode": "M_FORBIDDEN",
            "error": "Application service has not registered this user (@webchat_doctor:…)",
        },
    )
    keys: dict[str, object] = field(default_factory=dict)
    """Master key by user."""
    devices: dict[str, list[str]] = field(default_factory=dict)
    """Device ids by user."""
    owners: dict[str, str] = field(default_factory=dict)
    """Application service by user."""
    sync: tuple[int, dict[str, object]] = (200, {"next_batch": "s1"})
    upload: tuple[int, dict[str, object]] = (200, {"content_uri": "mxc://example.org/x"})
    upload_size: int = 50_000_000
    ping: tuple[int, dict[str, object]] | None = None
    """Answer to a ping; None to really ping the bridge."""
    date: str = ""
    seen: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_matrix/client/versions", self._versions),
            web.post("/_matrix/client/v3/register", self._register),
            web.get("/_matrix/client/v3/account/whoami", self._whoami),
            web.post("/_matrix/client/v3/keys/query", self._keys),
            web.get("/_matrix/client/v3/devices", self._devices),
            web.get("/_matrix/client/v3/sync", self._sync),
            web.get("/_matrix/client/v3/user/{user}/account_data/{type}", self._mark),
            web.post("/_matrix/client/v1/appservice/webchat/ping", self._ping),
            web.post("/_matrix/media/v3/upload", self._upload),
            web.get("/_matrix/client/v1/media/config", self._limits),
        ]

    async def _versions(self, request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        headers = {"Date": self.date} if self.date else {}
        return web.json_response(self.versions, headers=headers)

    async def _register(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {AS_TOKEN}"
        name = (await request.json())["username"]
        self.seen.append(name)
        status, body = self.queues if "queue" in name else self.register
        return web.json_response(body, status=status)

    async def _whoami(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {AS_TOKEN}"
        self.seen.append(f"whoami {request.query['user_id']}")
        status, body = self.ghost if "webchat_" in request.query["user_id"] else self.whoami
        return web.json_response(body, status=status)

    async def _keys(self, _request: web.Request) -> web.Response:
        return web.json_response({"master_keys": self.keys})

    async def _devices(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {AS_TOKEN}"
        devices = self.devices.get(request.query["user_id"], [])
        return web.json_response({"devices": [{"device_id": one} for one in devices]})

    async def _sync(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {AS_TOKEN}"
        # As no device, whose messages would be deleted, without waiting, and not seen online.
        asked = dict(request.query)
        del asked["filter"]
        user = "@webchatbot:example.org"
        assert asked == {"user_id": user, "timeout": "0", "set_presence": "offline"}
        status, body = self.sync
        return web.json_response(body, status=status)

    async def _mark(self, request: web.Request) -> web.Response:
        assert request.match_info["user"] == request.query["user_id"]
        assert request.match_info["type"] == OWNER
        owner = self.owners.get(request.query["user_id"])
        if owner is None:
            return web.json_response({"errcode": "M_NOT_FOUND"}, status=404)
        return web.json_response({"appservice": owner})

    async def _ping(self, _request: web.Request) -> web.Response:
        if self.ping is not None:
            status, body = self.ping
            return web.json_response(body, status=status)
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"http://127.0.0.1:{self.bridge_port}/_matrix/app/v1/ping",
                json={},
                headers={"Authorization": f"Bearer {HS_TOKEN}"},
            ) as response,
        ):
            assert response.status == 200
            # A transaction meanwhile must not get lost: if refused, the homeserver keeps it.
            async with session.put(
                f"http://127.0.0.1:{self.bridge_port}/_matrix/app/v1/transactions/1",
                json={
                    "events": [
                        {
                            "event_id": "$e",
                            "room_id": "!r:example.org",
                            "type": "m.room.message",
                            "sender": "@ada:example.org",
                            "content": {},
                        }
                    ]
                },
                headers={"Authorization": f"Bearer {HS_TOKEN}"},
            ) as transaction:
                self.seen.append(f"transaction {transaction.status}")
        return web.json_response({"duration_ms": 7})

    async def _upload(self, request: web.Request) -> web.Response:
        await request.read()
        status, body = self.upload
        return web.json_response(body, status=status)

    async def _limits(self, _request: web.Request) -> web.Response:
        return web.json_response({"m.upload.size": self.upload_size})


@asynccontextmanager
async def serving(
    routes: list[web.RouteDef],
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[int]:
    """Serve some routes on the loopback interface; yields the port."""
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def slips(config: Config, folder: Path) -> list[Finding]:
    """Return the findings on valid settings that are probably mistakes."""
    findings = Findings()
    check_slips(findings, Files(folder / "config.yaml", folder / "none"), config)
    return findings.all


def told(findings: Findings) -> list[str]:
    """Return `VERDICT what` of the findings, in order."""
    return [f"{finding.verdict} {finding.what}" for finding in findings.all]


def the(findings: Findings, what: str) -> Finding:
    """Return the only finding of this name."""
    found = [finding for finding in findings.all if finding.what == what]
    assert len(found) == 1, findings.all
    return found[0]
