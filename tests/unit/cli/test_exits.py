"""Which error ends in which code."""

from __future__ import annotations

import pytest

from bridge.cli.console import ExitCode, errors_become_exits
from bridge.config import ConfigInvalid, ConfigUnreadable, Problem
from bridge.matrix.registration import RegistrationError
from bridge.rooms.store import StoreError
from bridge.storage.errors import CorruptDatabaseError, NewerSchemaError, Unreachable


def corrupt_below() -> StoreError:
    error = StoreError("cannot read")
    error.__cause__ = CorruptDatabaseError("damaged")
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigUnreadable("x"), 10),
        (ConfigInvalid([Problem(("a",), "x")]), 11),
        (StoreError("x"), 14),
        (Unreachable("x"), 14),
        (NewerSchemaError(3, 2), 14),
        (CorruptDatabaseError("x"), 18),
        (corrupt_below(), 18),
        (RegistrationError("x"), 20),
    ],
)
def test_an_error_ends_the_program_with_a_message(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, errors_become_exits():
        raise error
    assert caught.value.code == code
    assert str(error) in capsys.readouterr().err


def test_a_bug_stays_a_traceback() -> None:
    with pytest.raises(LookupError), errors_become_exits():
        raise LookupError("ours")


def test_the_codes_of_the_contract() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "CONFIG_UNREADABLE": 10,
        "CONFIG_INVALID": 11,
        "DATABASE": 14,
        "HOMESERVER": 16,
        "DATABASE_CORRUPT": 18,
        "REGISTRATION": 20,
    }
