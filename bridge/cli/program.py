"""The command line program `matrix-webchat`; most commands are defined in other files.

The flags `-g` and `-e` before a command are those of other Matrix bridges.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import click

from bridge import __version__
from bridge.cli import console, database, moves, running
from bridge.cli.console import ExitCode, Files, errors_become_exits, stop
from bridge.simulator.options import SimulatorOptions

_FLAGS = {"help_option_names": ["-h", "--help"]}


@click.group(invoke_without_command=True, context_settings=_FLAGS)
@console.config_option
@console.registration_option
@console.no_update_option
@click.option("-g", "--generate-registration", is_flag=True, help="The same as `register`.")
@click.option("-e", "--generate-example-config", is_flag=True, help="The same as `example-config`.")
@click.version_option(__version__, "-v", "--version", message="matrix-webchat-bridge %(version)s")
@click.pass_context
def program(
    context: click.Context, *, generate_registration: bool, generate_example_config: bool
) -> None:
    """Bridge Matrix rooms to an EliteCRM WebChat call centre.

    Without a command: run the bridge.
    """
    context.with_resource(errors_become_exits())
    if context.invoked_subcommand is None:
        aliased = running.register if generate_registration else running.run
        context.invoke(running.example if generate_example_config else aliased)


for command in (
    *(running.run, running.check, running.register, running.example, running.container),
    *(database.trace, database.migrate, database.crypto, database.dead_letters),
    *(database.replicas, database.console_link, database.order, database.changes, database.erase),
    *(moves.migrate_db, moves.backup, moves.restore),
):
    program.add_command(command)


@program.command()
@console.config_option
@console.registration_option
@console.json_option
@click.pass_obj
def doctor(paths: Files, *, as_json: bool) -> None:
    """Test the whole installation (database, homeserver, WebChat), with a fix for each failure."""
    # Imported late: it imports the whole bridge, which would slow down the other commands.
    from bridge.cli.doctor import doctor as examine

    sys.exit(examine(paths, as_json=as_json))


def parse_options(
    dialect: str, script: str, queues: Sequence[int], settings: Sequence[str]
) -> SimulatorOptions:
    """Return simulator options from the command line; the value of `--set` is text or JSON."""
    values: dict[str, object] = {"dialect": dialect, "script": script, "queues": list(queues)}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: must be name=value")
        try:
            values[name] = json.loads(value) if value[:1] in '[{"' else value
        except ValueError:
            values[name] = value
    try:
        return SimulatorOptions.read(values, strict=False)  # numbers are still strings
    except ValueError as error:
        raise click.UsageError(f"--set: {error}") from error


option = partial(click.option, show_default=True)


@program.command()
@option("--host", default="127.0.0.1", help="Address to listen on.")
@option(
    "--port",
    default=8980,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0: any free one.",
)
@option(
    "--dialect",
    type=click.Choice(["2016", "2019"]),
    default="2016",
    help="Revision of the WebChat guide to follow.",
)
@option(
    "--script",
    type=click.Choice(["hand", "accept", "echo", "refuse"]),
    default="hand",
    help="Agents: played by you at /desk, accept at once, also repeat every message, or refuse.",
)
@click.option(
    "--queue",
    "queues",
    type=int,
    multiple=True,
    help="Id of a queue that exists (repeatable); default: all.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any switch of docs/simulator.md, lists as JSON (repeatable).",
)
def simulate(  # noqa: PLR0917 - click's, by name
    host: str, port: int, dialect: str, script: str, queues: Sequence[int], settings: Sequence[str]
) -> None:
    """Run a simulated WebChat server with a desk for its agents, to try the bridge with."""
    # Imported late: the server pulls in aiohttp, which no other command here needs.
    from bridge.simulator.simulator import serve

    options = parse_options(dialect, script, queues, settings)

    async def until_stopped() -> None:
        if (task := asyncio.current_task()) is not None:
            # Ctrl-C already cancels the task; let SIGTERM (make, containers) do so too.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with suppress(asyncio.CancelledError):
            await serve(options, host, port)

    try:
        asyncio.run(until_stopped())
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error


@program.command()
@click.option(
    "--check", is_flag=True, help="Play it in both dialects, then exit; fail if a step failed."
)
def demo(*, check: bool) -> None:
    """Play a whole conversation through a real Synapse and the simulator."""
    # Imported late: only the demo needs the extra `demo`.
    try:
        from bridge.demo.play import main
    except ModuleNotFoundError as error:
        if error.name != "nio":
            raise
        stop(
            ExitCode.FAILED,
            'The demo needs more packages: pip install "matrix-webchat-bridge[demo]"',
        )
    sys.exit(main(check=check))
