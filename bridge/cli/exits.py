"""Exit codes, and which error ends in which. The numbers are those of mautrix bridges."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NoReturn

import click

from bridge.config import ConfigInvalid, ConfigUnreadable
from bridge.matrix.registration import RegistrationError
from bridge.rooms.store import StoreError
from bridge.storage.errors import database_is_corrupt


class ExitCode(IntEnum):
    """What a shell, systemd or an orchestrator is told."""

    OK = 0
    FAILED = 1
    """What was asked for did not happen (no such dead letter, a check of the demo)."""
    CONFIG_UNREADABLE = 10
    CONFIG_INVALID = 11
    DATABASE = 14
    """Unreachable, or its schema is newer than this program."""
    HOMESERVER = 16
    """No tokens yet, or the homeserver refused them."""
    DATABASE_CORRUPT = 18
    REGISTRATION = 20
    """The registration file cannot be read or written."""


def stop(code: ExitCode, message: str) -> NoReturn:
    """End the program with a message on the error output."""
    click.echo(message, err=True)
    sys.exit(code)


@contextmanager
def errors_become_exits() -> Iterator[None]:
    """Turn the errors that an operator can do something about into a message and a code."""
    try:
        yield
    except ConfigUnreadable as error:
        stop(ExitCode.CONFIG_UNREADABLE, str(error))
    except ConfigInvalid as error:
        stop(ExitCode.CONFIG_INVALID, str(error))
    except RegistrationError as error:
        stop(ExitCode.REGISTRATION, str(error))
    except StoreError as error:
        corrupt = database_is_corrupt(error)
        stop(ExitCode.DATABASE_CORRUPT if corrupt else ExitCode.DATABASE, f"database: {error}")
