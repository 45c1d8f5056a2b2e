"""Serves /metrics on a port of its own, away from what the homeserver can reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from bridge.ops.metrics import Metrics


@asynccontextmanager
async def metrics_server(metrics: Metrics, hostname: str, port: int) -> AsyncIterator[int]:
    """Serve /metrics while the block runs; yields the port (useful with port 0).

    Raises:
        OSError: the port cannot be had.
    """

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": Metrics.CONTENT_TYPE})

    application = web.Application()
    application.add_routes([web.get("/metrics", scrape)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, hostname, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
