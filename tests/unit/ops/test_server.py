"""/metrics over HTTP, on a port of its own."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession

from bridge.ops.metrics import CannotListen, Metrics, metrics_server


@pytest.mark.asyncio
async def test_metrics_are_served_and_nothing_else() -> None:
    metrics = Metrics()
    metrics.opened(again=False)
    async with metrics_server(metrics, "127.0.0.1", 0) as port, ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 200
            assert response.content_type == "text/plain"
            assert "bridge_logged_in 1.0" in await response.text()
        async with session.get(f"http://127.0.0.1:{port}/_matrix/mau/ready") as response:
            assert response.status == 404


@pytest.mark.asyncio
async def test_a_taken_port_is_an_error() -> None:
    async with metrics_server(Metrics(), "127.0.0.1", 0) as port:
        said = f"metrics.hostname 127.0.0.1, metrics.port {port}: Address already in use"
        with pytest.raises(CannotListen, match=said):
            async with metrics_server(Metrics(), "127.0.0.1", port):
                pytest.fail("two servers on one port")


@pytest.mark.asyncio
@pytest.mark.parametrize("hostname", ["not a host", "a..b"])
async def test_an_address_that_is_none_is_named_with_its_key(hostname: str) -> None:
    with pytest.raises(CannotListen, match=f"metrics.hostname {hostname}, metrics.port 1: "):
        async with metrics_server(Metrics(), hostname, 1):
            pytest.fail("listening")
