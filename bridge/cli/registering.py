"""`register`: the registration file, and its tokens in the configuration."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import click
import msgspec

from bridge.cli.console import ExitCode, Files, stop
from bridge.config import (
    PICKLE_KEY,
    Config,
    KeyPath,
    fill_secrets,
    pickle_key_from_environment,
    tokens_from_environment,
)
from bridge.matrix.registration import (
    Registration,
    RegistrationMissing,
    load_registration,
    make_registration,
    save_registration,
)


@dataclass(frozen=True)
class Registered:
    """The result of `register`."""

    filled: tuple[str, ...]
    """The secrets that were written into the configuration."""
    unfilled: bool
    """The configuration lacks the tokens, and we were told not to write it."""


def register(files: Files, environment: Mapping[str, str], *, rotate: bool = False) -> Registered:
    """Write the registration, then fill the tokens into the configuration.

    Tokens that exist stay: those of the configuration first, then those of an earlier
    registration. The order of the two writes means that a crash in between leaves a registration
    whose tokens the next call finds again.

    Raises:
        ConfigUnreadable, ConfigInvalid, RegistrationError: as their modules say.
    """
    # Imported late, as in `console`.
    from bridge.app.settings import users_of

    config = files.load()
    given = tokens_from_environment(environment)
    if rotate and given:
        stop(ExitCode.CONFIG_INVALID, f"{given[0]} sets the token: rotate it there")
    if rotate and not files.update:
        stop(ExitCode.CONFIG_INVALID, "--rotate needs to write the configuration; drop -n")
    try:
        earlier = load_registration(files.registration)
    except RegistrationMissing:
        earlier = None
    present = _present(config, earlier, rotate=rotate)
    registration = make_registration(
        appservice_id=config.appservice.id,
        url=config.appservice.address,
        users=users_of(config),
        **present,
    )
    if earlier is not None:
        # The homeserver made this user; a new name would leave the old one behind.
        registration = msgspec.structs.replace(
            registration, sender_localpart=earlier.sender_localpart
        )
    save_registration(registration, files.registration)
    known = _tokens_of(config)
    missing = {
        name: token for name in known if (token := getattr(registration, name)) != known[name]
    }
    if not files.update:
        return Registered((), unfilled=bool(missing))
    values: dict[KeyPath, str] = {
        ("appservice", name): token for name, token in missing.items()
    } | _pickle_key(config, environment, rotate=rotate)
    if values:
        fill_secrets(files.config, values)
    return Registered(tuple(str(path[-1]) for path in values), unfilled=False)


def _pickle_key(
    config: Config, environment: Mapping[str, str], *, rotate: bool
) -> dict[KeyPath, str]:
    """The secret that seals encryption's keys from now on, if it has to be written down.

    Without a secret of its own the as_token serves: what that has sealed must stay readable when
    the token is rotated.
    """
    own = config.bridge.encryption.pickle_key.get_secret_value()
    if own or pickle_key_from_environment(environment):
        return {}
    as_token = config.appservice.as_token.get_secret_value()
    if not as_token:
        return {PICKLE_KEY: secrets.token_hex(32)}
    return {PICKLE_KEY: as_token} if rotate else {}


def _tokens_of(config: Config) -> dict[str, str]:
    return {
        "as_token": config.appservice.as_token.get_secret_value(),
        "hs_token": config.appservice.hs_token.get_secret_value(),
    }


def _present(config: Config, earlier: Registration | None, *, rotate: bool) -> dict[str, str]:
    if rotate:
        return {name: secrets.token_hex(32) for name in ("as_token", "hs_token")}
    return {
        name: token or (getattr(earlier, name) if earlier is not None else "")
        for name, token in _tokens_of(config).items()
    }


def report(files: Files, done: Registered) -> None:
    """Tell the operator what was written and what comes next."""
    click.echo(f"Wrote {files.registration}.")
    if done.filled:
        click.echo(f"Filled {_listed(done.filled)} into {files.config}.")
    if done.unfilled:
        click.echo(
            f"{files.config} was not changed (-n): copy as_token and hs_token from"
            f" {files.registration} into its section appservice."
        )
    click.echo(
        f"Next: name {files.registration} in the homeserver's app_service_config_files and"
        " restart the homeserver."
    )


def _listed(names: tuple[str, ...]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def register_and_report(files: Files, *, rotate: bool = False) -> None:
    """The command, as the program and the container run it."""
    report(files, register(files, os.environ, rotate=rotate))
