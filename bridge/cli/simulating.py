"""`simulate`: the WebChat simulator as a command."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from contextlib import suppress

import click
import msgspec

from bridge.simulator.options import SimulatorOptions


def parse_options(
    dialect: str, script: str, queues: Sequence[int], settings: Sequence[str]
) -> SimulatorOptions:
    """Options of a simulator from the command line.

    Args:
        dialect: `2016` or `2019`.
        script: `hand`, `accept`, `echo` or `refuse`.
        queues: known queue ids; empty for "all".
        settings: `name=value`; a value is JSON, or else a text.

    Raises:
        click.UsageError: which one is wrong, and why.
    """
    values: dict[str, object] = {"dialect": dialect, "script": script, "queues": list(queues)}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: must be name=value")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    try:
        return msgspec.convert(values, SimulatorOptions)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"--set: {error}") from error


def simulate(options: SimulatorOptions, host: str, port: int) -> None:
    """Run the simulator until Ctrl-C or SIGTERM."""
    # Imported late: the server pulls in aiohttp, which no other command here needs.
    from bridge.simulator.simulator import serve

    async def until_stopped() -> None:
        task = asyncio.current_task()
        if task is not None:
            # Ctrl-C already ends in a cancellation; SIGTERM (make, containers) shall as well.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with suppress(asyncio.CancelledError):
            await serve(options, host, port)

    try:
        asyncio.run(until_stopped())
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error
