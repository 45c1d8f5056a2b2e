"""`run`, `check`, `example-config`, and the start of the container image.

The container does each time the first thing that is still missing. First start: write config.yaml
into the volume and say what to edit. Second: write the registration and say where to put it. Third:
serve. A configuration that still names the example's servers is not registered: the registration's
patterns would be those of example.org.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
from ruamel.yaml import YAML

from bridge.cli.console import (
    CONFIG,
    REGISTRATION,
    ExitCode,
    Files,
    config_option,
    no_update_option,
    stop,
)
from bridge.cli.registering import register, tokens_of
from bridge.config import Config, ConfigUnreadable, example_config, json_schema
from bridge.texts import CATALOGUE
from bridge.webchat.codes import LoginType


def lacks_tokens(config: Config) -> bool:
    return not all(tokens_of(config).values())


@click.command()
@config_option
@no_update_option
@click.pass_obj
def run(files: Files) -> None:
    """Run the bridge (the default)."""
    config = files.load()
    if lacks_tokens(config):
        stop(
            ExitCode.HOMESERVER,
            f"{files.config}: appservice.as_token and hs_token are empty; run:"
            f" matrix-webchat register -c {files.config} -r {files.registration}",
        )
    # Imported late: `check`, `register` and the like need none of it and start at once.
    from bridge.app import process
    from bridge.ops.metrics import CannotListen

    try:
        sys.exit(process.run(config, files.load))
    except CannotListen as error:
        stop(ExitCode.FAILED, f"cannot listen: {error}")


@click.command()
@config_option
@click.pass_obj
def check(files: Files) -> None:
    """Check the configuration; every error names its key and line."""
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
    # Imported late, as in `run`.
    from bridge.app.settings import link_settings_of
    from bridge.link.login import shared

    accounts = link_settings_of(config).accounts
    for pattern in shared(accounts, config.bridge.limits.rooms_per_user):
        click.echo(
            f'{files.config}: webchat.accounts."{pattern}": several rooms could have this account'
            " at the same time, and the server knows one chat per account;"
            " put {room_key} into its name, or see docs/operators.md"
        )


@click.command("example-config")
@click.option("--schema", is_flag=True, help="Print the JSON Schema instead.")
@click.option("--texts", is_flag=True, help="Print the section `texts` with every sentence.")
def example(*, schema: bool, texts: bool) -> None:
    """Print an example configuration with comments."""
    if texts:
        yaml, out = YAML(pure=True), io.StringIO()
        yaml.width = 4096
        yaml.dump({"texts": {key: dict(sentence) for key, sentence in CATALOGUE.items()}}, out)
        text = out.getvalue()
    else:
        text = json_schema() if schema else example_config()
    click.echo(text, nl=False)


# --- the container image -------------------------------------------------------------------------

EXAMPLE_DOMAIN = "example.org"
EXAMPLE_WEBCHAT = "crm.example.org"


@click.command(hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("/data"))
@click.pass_context
def container(context: click.Context, folder: Path) -> None:
    """The command of the container image: write config, then registration, then serve."""
    files = context.obj = Files(config=folder / CONFIG, registration=folder / REGISTRATION)
    try:
        config = files.load()
    except ConfigUnreadable as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        _write_config(files.config)
        return
    if not lacks_tokens(config):
        # Tokens may come from the environment, with the registration kept elsewhere.
        context.invoke(run)
    elif config.homeserver.domain == EXAMPLE_DOMAIN or EXAMPLE_WEBCHAT in config.server.base_url:
        stop(
            ExitCode.CONFIG_INVALID,
            f"{files.config} still names the example's servers: set homeserver.domain,"
            " webchat.base_url and bridge.permissions, then start the container again.",
        )
    else:
        context.invoke(register)
        click.echo("Then start the container again.")


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
