"""Exit codes, and which error ends in which. The numbers are those of mautrix bridges."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import NoReturn

import click

from bridge.config import ConfigInvalid, ConfigUnreadable
from bridge.matrix.registration import RegistrationError
from bridge.rooms.store import StoreError
from bridge.storage.query import database_is_corrupt


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
    """No tokens yet, or the homeserver refused them, or the bot is somebody else's account."""
    DATABASE_CORRUPT = 18
    REGISTRATION = 20
    """The registration file cannot be read or written."""


def stop(code: ExitCode, message: str) -> NoReturn:
    """End the program with a message on the error output."""
    click.echo(message, err=True)
    sys.exit(code)


def sentence_of(error: OSError) -> str:
    """A fault of a file, a folder or the system in one line."""
    why = error.strerror or str(error)
    return f"{error.filename}: {why}" if error.filename is not None else why


def _give_up_output() -> None:
    """What could not be written to the standard output is not tried once more at the end."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    except OSError as error:
        # Without a number it is not the system's: a bug. EPIPE: whoever read our output wants no
        # more of it, which is no fault, and click's to deal with.
        if error.errno in {None, errno.EPIPE}:
            raise
        # The places that know what a file is for say it better, and end in the codes around this.
        _give_up_output()
        stop(ExitCode.FAILED, sentence_of(error))
    except StoreError as error:
        corrupt = database_is_corrupt(error)
        stop(ExitCode.DATABASE_CORRUPT if corrupt else ExitCode.DATABASE, f"database: {error}")
