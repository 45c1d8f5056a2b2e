"""`run`, `check`, and the sentences that an operator may replace."""

from __future__ import annotations

import io

import click
from ruamel.yaml import YAML

from bridge.cli.exits import ExitCode, stop
from bridge.cli.files import Files
from bridge.config import Config
from bridge.config.webchat import LoginType
from bridge.texts import CATALOGUE


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
    from bridge.app.process import run
    from bridge.ops.server import CannotListen

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
    for pattern in _shared_accounts(config):
        click.echo(
            f'{files.config}: webchat.accounts."{pattern}": several rooms could have this account'
            " at the same time, and the server knows one chat per account;"
            " put {room_key} into its name, or see docs/operators.md"
        )


def _shared_accounts(config: Config) -> list[str]:
    # Imported late, as in `run_bridge`.
    from bridge.app.settings import link_settings_of
    from bridge.link.login import shared

    return shared(link_settings_of(config).accounts, config.bridge.limits.rooms_per_user)


def every_sentence() -> str:
    """The section `texts` of config.yaml with every sentence as it is shipped."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 4096
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    out = io.StringIO()
    yaml.dump({"texts": {key: dict(sentence) for key, sentence in CATALOGUE.items()}}, out)
    return out.getvalue()
