"""`run`, `check`, the sentences that an operator may replace, and the start of the container image.

The container does each time the first thing that is still missing. First start: write config.yaml
into the volume and say what to edit. Second: write the registration and say where to put it. Third:
serve. A configuration that still names the example's servers is not registered: the registration's
patterns would be those of example.org.
"""

from __future__ import annotations

import io
from pathlib import Path

import click
from ruamel.yaml import YAML

from bridge.cli.console import ExitCode, Files, stop
from bridge.cli.registering import register, tokens_of
from bridge.config import Config, ConfigUnreadable, example_config
from bridge.texts import CATALOGUE
from bridge.webchat.codes import LoginType


def lacks_tokens(config: Config) -> bool:
    return not all(tokens_of(config).values())


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
    from bridge.app.process import run
    from bridge.ops.metrics import CannotListen

    try:
        return run(config, files.load)
    except CannotListen as error:
        stop(ExitCode.FAILED, f"cannot listen: {error}")


def check(files: Files) -> None:
    """Say that the configuration is valid; an invalid one raises."""
    config = files.load()
    click.echo(f"{files.config}: valid")
    if lacks_tokens(config):
        click.echo(f"{files.config}: no tokens yet; `matrix-webchat register` fills them")
    login = config.server.login
    if login.type is LoginType.PASSWORD and not (
        login.password.get_secret_value() or config.server.accounts
    ):
        click.echo(
            f"{files.config}: webchat.login.type is password, and there is none: set"
            " webchat.login.password, or list accounts in webchat.accounts"
        )
    # Imported late, as in `run_bridge`.
    from bridge.app.settings import link_settings_of
    from bridge.link.login import shared

    accounts = link_settings_of(config).accounts
    for pattern in shared(accounts, config.bridge.limits.rooms_per_user):
        click.echo(
            f'{files.config}: webchat.accounts."{pattern}": several rooms could have this account'
            " at the same time, and the server knows one chat per account;"
            " put {room_key} into its name, or see docs/operators.md"
        )


def every_sentence() -> str:
    """The section `texts` of config.yaml with every sentence as it is shipped."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    out = io.StringIO()
    yaml.dump({"texts": {key: dict(sentence) for key, sentence in CATALOGUE.items()}}, out)
    return out.getvalue()


# --- the container image -------------------------------------------------------------------------

EXAMPLE_DOMAIN = "example.org"
EXAMPLE_WEBCHAT = "crm.example.org"


def start_container(files: Files) -> int:
    """Do the next step; returns the exit code. Raises if there is a config that cannot be used."""
    try:
        config = files.load()
    except ConfigUnreadable as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        _write_config(files.config)
        return ExitCode.OK
    if not lacks_tokens(config):
        # Tokens may come from the environment, with the registration kept elsewhere.
        return run_bridge(files)
    if config.homeserver.domain == EXAMPLE_DOMAIN or EXAMPLE_WEBCHAT in config.server.base_url:
        stop(
            ExitCode.CONFIG_INVALID,
            f"{files.config} still names the example's servers: set homeserver.domain,"
            " webchat.base_url and bridge.permissions, then start the container again.",
        )
    register(files)
    click.echo("Then start the container again.")
    return ExitCode.OK


def _write_config(path: Path) -> None:
    text = example_config(
        {
            ("homeserver", "address"): "http://synapse:8008",
            ("appservice", "address"): "http://matrix-webchat:29340",
            ("appservice", "hostname"): "0.0.0.0",  # noqa: S104 - the container's own network
            ("database", "url"): f"sqlite:///{path.parent.resolve() / 'bridge.db'}",
            ("metrics", "hostname"): "0.0.0.0",  # noqa: S104 - as above; published on purpose only
        }
    )
    try:
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        stop(
            ExitCode.CONFIG_UNREADABLE,
            f"{path}: cannot be written: {error.strerror}. The folder must belong to"
            " the user that the container runs as (1337 unless told otherwise).",
        )
    click.echo(f"Wrote {path}. Edit it, then start the container again.")
