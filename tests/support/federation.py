"""Homeservers that federate on one machine: keys of homeserver.yaml for each of them.

A server named `localhost:PORT` is found without DNS and .well-known. Federation requires TLS, so
each has a second listener, with a certificate that the others do not verify. `hostile` puts a
proxy before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.support.certificates import signed, tls_before
from tests.support.ports import free_port
from tests.support.proxy import Proxy, running


class Hostile(Proxy):
    """A homeserver that refuses other homeservers its users' keys while `slow`, after a while."""

    slow = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.slow and "/v1/user/" in request.path:
            await asyncio.sleep(25)  # below Synapse's own limit, after which it would ask no more
            return web.json_response({"errcode": "M_UNKNOWN"}, status=400)
        return await super().handle(request)


@asynccontextmanager
async def hostile(folder: Path, port: int) -> AsyncIterator[tuple[Hostile, dict[str, object]]]:
    """Run a proxy; yield it and the keys (as `federating`) for the server behind it."""
    inner = free_port()
    async with running(inner, Hostile) as proxy:
        behind, tls = int(proxy.address.rpartition(":")[2]), signed("localhost").server(folder)
        async with tls_before(behind, tls) as front:
            here = {"type": "http", "bind_addresses": ["127.0.0.1"]}
            listeners = [
                {**here, "port": port, "resources": [{"names": ["client"]}]},
                {**here, "port": inner, "resources": [{"names": ["federation"]}]},
            ]
            keys = {"server_name": f"localhost:{front}", "listeners": listeners}
            assert isinstance(proxy, Hostile)
            yield proxy, federating(folder, port) | keys


def federating(folder: Path, port: int) -> dict[str, object]:
    """Return the keys for a server whose clients use `port`; its certificate goes into `folder`."""
    secure, certificate = free_port(), folder / "federation.pem"
    certificate.write_bytes(signed("localhost").with_key())
    here = {"type": "http", "bind_addresses": ["127.0.0.1"]}
    return {
        "server_name": f"localhost:{secure}",
        "listeners": [
            {**here, "port": port, "resources": [{"names": ["client"]}]},
            {**here, "port": secure, "tls": True, "resources": [{"names": ["federation"]}]},
        ],
        "tls_certificate_path": str(certificate),
        "tls_private_key_path": str(certificate),
        "federation_verify_certificates": False,
        "send_federation": True,
        "federation_domain_whitelist": None,
        "ip_range_blacklist": [],
    }
