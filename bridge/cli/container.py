"""What the container image does when it starts: each time the first thing that is still missing.

First start: write config.yaml into the volume and say what to edit. Second: write the registration
and say where to put it. Third: serve. A configuration that still names the example's servers is not
registered: the registration's patterns would be those of example.org.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import click

from bridge.cli.exits import ExitCode, stop
from bridge.cli.files import Files
from bridge.cli.registering import register_and_report
from bridge.cli.running import lacks_tokens, run_bridge
from bridge.config import Config, ConfigUnreadable, KeyPath, example_config

EXAMPLE_DOMAIN = "example.org"
EXAMPLE_WEBCHAT = "crm.example.org"


class Step(Enum):
    """What is to be done next."""

    WRITE_CONFIG = "write config"
    EDIT_CONFIG = "edit config"
    REGISTER = "register"
    SERVE = "serve"


def next_step(files: Files) -> Step:
    """Look at the volume.

    Raises:
        ConfigUnreadable, ConfigInvalid: there is a configuration, but it cannot be used.
    """
    try:
        config = files.load()
    except ConfigUnreadable as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return Step.WRITE_CONFIG
        raise
    if not lacks_tokens(config):
        # Tokens may come from the environment, with the registration kept elsewhere.
        return Step.SERVE
    return Step.EDIT_CONFIG if _is_example(config) else Step.REGISTER


def _is_example(config: Config) -> bool:
    return config.homeserver.domain == EXAMPLE_DOMAIN or EXAMPLE_WEBCHAT in config.server.base_url


def container_values(folder: Path) -> dict[KeyPath, object]:
    """What differs from config.example.yaml inside a container."""
    return {
        ("homeserver", "address"): "http://synapse:8008",
        ("appservice", "address"): "http://matrix-webchat:29340",
        ("appservice", "hostname"): "0.0.0.0",  # noqa: S104 - the container's own network
        ("database", "url"): f"sqlite:///{folder / 'bridge.db'}",
        ("metrics", "hostname"): "0.0.0.0",  # noqa: S104 - as above; published only on purpose
    }


def start(files: Files) -> int:
    """Do the next step; returns the exit code."""
    step = next_step(files)
    if step is Step.WRITE_CONFIG:
        text = example_config(container_values(files.config.parent.resolve()))
        try:
            files.config.touch(mode=0o600)
            files.config.write_text(text, encoding="utf-8")
        except OSError as error:
            stop(
                ExitCode.CONFIG_UNREADABLE,
                f"{files.config}: cannot be written: {error.strerror}. The folder must belong to"
                " the user that the container runs as (1337 unless told otherwise).",
            )
        click.echo(f"Wrote {files.config}. Edit it, then start the container again.")
        return ExitCode.OK
    if step is Step.EDIT_CONFIG:
        stop(
            ExitCode.CONFIG_INVALID,
            f"{files.config} still names the example's servers: set homeserver.domain,"
            " webchat.base_url and bridge.permissions, then start the container again.",
        )
    if step is Step.REGISTER:
        register_and_report(files)
        click.echo("Then start the container again.")
        return ExitCode.OK
    return run_bridge(files)
