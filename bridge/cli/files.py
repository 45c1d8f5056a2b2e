"""Which files a command works on, and reading the configuration with everybody's checks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bridge.config import Config, Problem, load_config
from bridge.texts import check_overrides
from bridge.webchat.http import Endpoints

CONFIG = Path("config.yaml")
REGISTRATION = Path("registration.yaml")


_UNCHECKED = click.Path(readable=False, path_type=Path)
"""Who reads it says what is wrong with it, in an exit code of its own."""


@dataclass(frozen=True)
class Files:
    """The flags that every bridge of this kind has."""

    config: Path = CONFIG
    registration: Path = REGISTRATION
    update: bool = True
    """False: config.yaml is never written (it may be mounted read-only)."""

    def load(self) -> Config:
        """Read the configuration; see `load_config` for what it raises."""
        return load_config(self.config, os.environ, [outer_checks])


def outer_checks(config: Config) -> Iterator[Problem]:
    """What the rings around the configuration know about its values."""
    # Imported late: the whole bridge hangs on it, and `--version` should not wait for that.
    from bridge.app.settings import link_settings_of, users_of

    for bad in check_overrides(config.texts):
        path = ("texts", bad.key, bad.language) if bad.language else ("texts", bad.key)
        yield Problem(path, str(bad))
    try:
        users_of(config)
    except ValueError as error:
        message = str(error).removeprefix("username_template ")
        yield Problem(("bridge", "username_template"), message)
    try:
        link_settings_of(config)
    except ValueError as error:
        yield Problem(("webchat", 0), str(error))
    try:
        Endpoints(config.server.base_url)
    except ValueError as error:
        yield Problem(("webchat", 0, "base_url"), str(error))


Command = Callable[..., Any]


def config_option(command: Command) -> Command:
    """`-c` of a command; it wins over the one before the command's name."""
    return click.option(
        "-c",
        "--config",
        type=_UNCHECKED,
        expose_value=False,
        callback=_override("config"),
        help="The configuration file.  [default: config.yaml]",
    )(command)


def registration_option(command: Command) -> Command:
    return click.option(
        "-r",
        "--registration",
        type=_UNCHECKED,
        expose_value=False,
        callback=_override("registration"),
        help="The registration file.  [default: registration.yaml]",
    )(command)


def no_update_option(command: Command) -> Command:
    return click.option(
        "-n",
        "--no-update",
        is_flag=True,
        expose_value=False,
        callback=_override("update"),
        help="Never write the configuration file.",
    )(command)


def _override(name: str) -> Callable[[click.Context, click.Parameter, object], None]:
    def take(context: click.Context, _parameter: click.Parameter, value: object) -> None:
        paths: Files = context.ensure_object(Files)
        if value is None or value is False:
            return
        # -n says "do not": the flag's truth is the field's falsehood.
        given = {name: False if name == "update" else value}
        context.obj = Files(**{**vars(paths), **given})

    return take
