"""Shared by all commands: flags for files, loading of the configuration, exit codes.

`-c`, `-r` and `-n` may come before or after a command's name; the latter wins. Exit codes are those
of mautrix bridges.
"""

from __future__ import annotations

import errno
import functools
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Concatenate, NoReturn, ParamSpec

import click
import msgspec

from bridge.app.settings import all_users_of
from bridge.config.document import ConfigInvalid, ConfigUnreadable, KeyPath, Problem
from bridge.config.fields import SQLITE
from bridge.config.loading import load_config, within
from bridge.config.model import Config, WebChat
from bridge.link.settings import trusted_by
from bridge.matrix.users import NameTaken, RegistrationError
from bridge.ops.logging import CONTROLS, printable
from bridge.rooms.store import StoreError
from bridge.storage.query import UNREADABLE, database_is_corrupt
from bridge.storage.transfer import DamagedBackup
from bridge.texts import BadOverride, check_overrides
from bridge.webchat.http import Endpoints

# --- files and flags -----------------------------------------------------------------------------

CONFIG = Path("config.yaml")
REGISTRATION = Path("registration.yaml")


@dataclass(frozen=True)
class Files:
    config: Path = CONFIG
    registration: Path = REGISTRATION
    update: bool = True
    """If False, config.yaml is never written (it may be mounted read-only)."""

    def load(self) -> Config:
        return load_config(self.config, os.environ, OUTER_CHECKS)


def _place(bad: BadOverride) -> KeyPath:
    return ("texts", bad.key, bad.language) if bad.language else ("texts", bad.key)


def _texts(config: Config) -> Iterator[Problem]:
    for bad in check_overrides(config.texts):
        yield Problem(_place(bad), bad.why)
    for enterprise, part in config.parts().items():
        for bad in check_overrides(part.texts) if enterprise else ():
            above, own = config.texts.get(bad.key), part.texts[bad.key]
            if above is None or above.get(bad.language) != own.get(bad.language):
                yield Problem(within(config, enterprise, _place(bad)), bad.why)


def _servers(config: Config) -> Iterator[Problem]:
    checks: tuple[Callable[[WebChat], object], ...] = (
        lambda server: Endpoints(server.base_url),
        trusted_by,
    )
    for enterprise, part in config.parts().items():
        for check in checks:
            try:
                check(part.webchat)
            except ValueError as error:
                key, _, why = str(error).partition(" ")  # these errors begin with the key
                yield Problem(within(config, enterprise, ("webchat", key)), why)


def _users(config: Config) -> Iterator[Problem]:
    try:
        all_users_of(config)
    except NameTaken as error:
        key, _, why = str(error).partition(" ")
        yield Problem(within(config, error.enterprise, ("bridge", key)), why)


OUTER_CHECKS = (_texts, _servers, _users)
"""Rules of outer rings: on texts, on server URLs and certificates, and on user names."""


def _override(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    files: Files = context.ensure_object(Files)
    if value is not None:
        context.obj = replace(files, **{str(parameter.name): value})


_option = functools.partial(click.option, expose_value=False, callback=_override)
# click does not check the path: loading it gives a better message and an exit code.
_file = functools.partial(_option, type=click.Path(readable=False, path_type=Path))
config_option = _file("-c", "--config", help=f"The configuration file.  [default: {CONFIG}]")
registration_option = _file(
    "-r", "--registration", help=f"The registration file.  [default: {REGISTRATION}]"
)
no_update_option = _option(
    "-n",
    "--no-update",
    "update",
    flag_value=False,
    default=None,
    help="Never write the configuration file.",
)
_IN_JSON = {code: f"\\u{code:04x}" for code in CONTROLS if code >= 0x7F}
"""Controls that JSON allows as they are -> their escapes."""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON (docs/operators.md, For scripts)."
)
Given = ParamSpec("Given")


def on_config(work: Callable[Concatenate[Config, Given], None]) -> Callable[Given, None]:
    """Decorate a command: add the flag `-c` and pass the loaded configuration."""

    @config_option
    @functools.wraps(work)
    def command(*args: Given.args, **kwargs: Given.kwargs) -> None:
        work(click.get_current_context().ensure_object(Files).load(), *args, **kwargs)

    return command


def local_address(hostname: str, port: int) -> str:
    """Return the `host:port` at which clients on this machine reach a server that listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(hostname, hostname)  # noqa: S104 - not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def exposed(files: Files, config: Config) -> str:
    """Return the files with secrets that any local user can read, quoted for a shell."""
    database = config.database.url.get_secret_value().removeprefix(SQLITE)
    ours = (files.config, files.registration, Path(database), Path(f"{database}-wal"))
    return shlex.join(str(file) for file in map(Path.absolute, ours) if _open_to_all(file))


def _open_to_all(file: Path) -> bool:
    try:
        if file.with_name("..data").is_symlink():  # a Kubernetes volume: only its pod has access
            return False
        ways = all(folder.stat().st_mode & stat.S_IXOTH for folder in file.parents)
        return ways and file.stat().st_mode & stat.S_IROTH != 0
    except (OSError, ValueError):  # missing, or not a valid path
        return False


# --- exit codes ----------------------------------------------------------------------------------


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    """The command did not succeed (no such dead letter, a failed check of the demo)."""
    CONFIG_UNREADABLE = 10
    CONFIG_INVALID = 11
    DATABASE = 14
    """Unreachable, or its schema is newer than this program."""
    HOMESERVER = 16
    """No tokens, tokens that the homeserver refuses, or a bot user that belongs to others."""
    DATABASE_CORRUPT = 18
    """Or the backup to restore from."""
    REGISTRATION = 20


def print_json(value: object, *, pretty: bool = False) -> None:
    """Print a value as JSON; its texts may be strangers', so controls are escaped."""
    text = msgspec.json.encode(value).decode()
    click.echo((msgspec.json.format(text) if pretty else text).translate(_IN_JSON))


def stop(code: ExitCode, message: str) -> NoReturn:
    click.echo(printable(message), err=True)  # it may name rooms, users, files
    sys.exit(code)


def one_line(text: str) -> str:
    """Return a text of strangers (an id, a name, an error) as one line, controls escaped."""
    return printable(text).replace("\n", "\\n")


def _give_up_output() -> None:
    """Drop unwritten output, so that Python does not try to flush it again at its exit."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def errors_become_exits() -> Iterator[None]:
    """Turn errors that an operator can fix into a message and an exit code."""
    try:
        yield
    except ConfigUnreadable as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        fix = ": name another with -c, or run: matrix-webchat example-config > config.yaml"
        stop(ExitCode.CONFIG_UNREADABLE, f"{error}{fix if missing else ''}")
    except ConfigInvalid as error:
        stop(ExitCode.CONFIG_INVALID, str(error))
    except RegistrationError as error:
        stop(ExitCode.REGISTRATION, str(error))
    except OSError as error:
        # No errno: not a system error but a bug. EPIPE: the reader closed our output; click's job.
        if error.errno in {None, errno.EPIPE}:
            raise
        # Code that knows what a file is for raises one of the more specific errors handled here.
        _give_up_output()
        why = error.strerror or str(error)
        stop(ExitCode.FAILED, why if error.filename is None else f"{error.filename}: {why}")
    except msgspec.MsgspecError as error:  # what else is decoded has errors of its own
        stop(ExitCode.DATABASE_CORRUPT, f"database: {UNREADABLE}: {error}")
    except DamagedBackup as error:
        stop(ExitCode.DATABASE_CORRUPT, str(error))
    except StoreError as error:
        corrupt = database_is_corrupt(error)
        stop(ExitCode.DATABASE_CORRUPT if corrupt else ExitCode.DATABASE, f"database: {error}")
