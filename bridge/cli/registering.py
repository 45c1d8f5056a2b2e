"""`register`: the registration file, and its tokens in the configuration.

Tokens that exist stay: those of the configuration first, then those of an earlier registration. The
order of the two writes means that a crash in between leaves a registration whose tokens the next
call finds again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

import click
import msgspec

from bridge.cli.console import (
    ExitCode,
    Files,
    config_option,
    no_update_option,
    registration_option,
    stop,
)
from bridge.config import Config, KeyPath
from bridge.config.environment import PICKLE_KEY, fill_secrets, set_by
from bridge.matrix.registration import (
    Registration,
    RegistrationMissing,
    load_registration,
    make_registration,
    save_registration,
)


def tokens_of(config: Config) -> dict[str, str]:
    """The tokens of the configuration, empty where it has none."""
    return {
        "as_token": config.appservice.as_token.get_secret_value(),
        "hs_token": config.appservice.hs_token.get_secret_value(),
    }


def registration_of(config: Config, tokens: Mapping[str, str]) -> Registration:
    # Imported late, as in `console`.
    from bridge.app.settings import users_of

    users, ours = users_of(config), config.appservice
    return make_registration(appservice_id=ours.id, url=ours.address, users=users, **tokens)


@click.command()
@config_option
@registration_option
@no_update_option
@click.option("--rotate", is_flag=True, help="Draw new tokens even if there are some.")
@click.pass_obj
def register(files: Files, *, rotate: bool) -> None:
    """Write the registration file and fill its tokens into the configuration."""
    config = files.load()
    known = tokens_of(config)
    if rotate and (
        given := [one for name in known for one in set_by(("appservice", name), os.environ)]
    ):
        stop(ExitCode.CONFIG_INVALID, f"{given[0]} sets the token: rotate it there")
    if rotate and not files.update:
        stop(ExitCode.CONFIG_INVALID, "--rotate needs to write the configuration; drop -n")
    try:
        earlier = load_registration(files.registration)
    except RegistrationMissing:
        earlier = None
    # Those that are empty are drawn.
    tokens = {name: "" if rotate else known[name] or getattr(earlier, name, "") for name in known}
    registration = registration_of(config, tokens)
    if earlier is not None:
        # The homeserver made this user; a new name would leave the old one behind.
        sender = earlier.sender_localpart
        registration = msgspec.structs.replace(registration, sender_localpart=sender)
    save_registration(registration, files.registration)
    values: dict[KeyPath, str] = {
        ("appservice", name): token
        for name in known
        if (token := getattr(registration, name)) != known[name]
    }
    if files.update and (values := values | _pickle_key(config, rotate=rotate)):
        fill_secrets(files.config, values)
    click.echo(f"Wrote {files.registration}.")
    if values and files.update:
        *first, last = (str(path[-1]) for path in values)
        names = f"{', '.join(first)} and {last}" if first else last
        click.echo(f"Filled {names} into {files.config}.")
    elif values:
        click.echo(
            f"{files.config} was not changed (-n): copy as_token and hs_token from"
            f" {files.registration} into its section appservice."
        )
    click.echo(
        f"Next: name {files.registration} in the homeserver's app_service_config_files and"
        " restart the homeserver."
    )


def _pickle_key(config: Config, *, rotate: bool) -> dict[KeyPath, str]:
    """The secret that seals encryption's keys from now on, if it has to be written down.

    Without a secret of its own the as_token serves: what that has sealed must stay readable when
    the token is rotated.
    """
    if config.bridge.encryption.pickle_key or set_by(PICKLE_KEY, os.environ):
        return {}
    as_token = config.appservice.as_token.get_secret_value()
    if not as_token:
        return {PICKLE_KEY: secrets.token_hex(32)}
    return {PICKLE_KEY: as_token} if rotate else {}
