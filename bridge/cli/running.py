"""`run` and `check`."""

from __future__ import annotations

import click

from bridge.cli.exits import ExitCode, stop
from bridge.cli.files import Files
from bridge.config import Config


def lacks_tokens(config: Config) -> bool:
    appservice = config.appservice
    return not (appservice.as_token.get_secret_value() and appservice.hs_token.get_secret_value())


def run_bridge(files: Files) -> int:
    """Serve until a signal comes; returns the exit code."""
    config = files.load()
    if lacks_tokens(config):
        stop(
            ExitCode.HOMESERVER,
            f"{files.config}: appservice.as_token and hs_token are empty; run:"
            f" matrix-webchat register -c {files.config} -r {files.registration}",
        )
    # Imported late: `check`, `register` and the like need none of it and start at once.
    from bridge.app import run

    return run(config)


def check(files: Files) -> None:
    """Say that the configuration is valid; an invalid one raises."""
    config = files.load()
    click.echo(f"{files.config}: valid")
    if lacks_tokens(config):
        click.echo(f"{files.config}: no tokens yet; `matrix-webchat register` fills them")
