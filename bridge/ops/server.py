"""Serves /metrics on a port of its own, away from what the homeserver can reach."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from bridge.ops.metrics import Metrics


class CannotListen(OSError):
    """An address of the configuration cannot be had; the text names its keys."""


async def listen(runner: web.AppRunner, section: str, hostname: str, port: int) -> int:
    """Listen where a section of the configuration says; return the port (useful with port 0).

    Raises:
        CannotListen: the port is taken, or the name stands for no address of this machine.
    """
    try:
        await web.TCPSite(runner, hostname, port).start()
    except (OSError, UnicodeError) as error:  # the latter from a name that can be none
        # Its own text repeats the address; the numbers of an unknown name are below zero.
        number = getattr(error, "errno", None) or 0
        why = os.strerror(number) if number > 0 else getattr(error, "strerror", str(error))
        where = f"{section}.hostname {hostname}, {section}.port {port}"
        raise CannotListen(f"{where}: {why}") from error
    return int(runner.addresses[0][1])


@asynccontextmanager
async def metrics_server(metrics: Metrics, hostname: str, port: int) -> AsyncIterator[int]:
    """Serve /metrics while the block runs; yields the port (useful with port 0).

    Raises:
        CannotListen: the port cannot be had.
    """

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": Metrics.CONTENT_TYPE})

    application = web.Application()
    application.add_routes([web.get("/metrics", scrape)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        yield await listen(runner, "metrics", hostname, port)
    finally:
        await runner.cleanup()
