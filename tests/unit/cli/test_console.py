"""Flags for files, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bridge.cli.console import (
    ExitCode,
    Files,
    config_option,
    errors_become_exits,
    no_update_option,
    print_json,
    registration_option,
)
from bridge.config.document import ConfigInvalid, ConfigUnreadable, Problem
from bridge.matrix.users import RegistrationError
from bridge.rooms.store import StoreError
from bridge.storage.migrate import NewerSchemaError
from bridge.storage.query import CorruptDatabaseError, Unreachable
from tests.unit.config.configs import edited


@click.command()
@config_option
@registration_option
@no_update_option
@click.pass_obj
def show(paths: Files) -> None:
    click.echo(f"{paths.config} {paths.registration} {paths.update}")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], "config.yaml registration.yaml True"),
        (["-c", "a.yaml"], "a.yaml registration.yaml True"),
        (["--config", "a.yaml", "--registration", "b.yaml"], "a.yaml b.yaml True"),
        (["-n"], "config.yaml registration.yaml False"),
        (["-r", "b.yaml", "--no-update", "-c", "a.yaml"], "a.yaml b.yaml False"),
    ],
)
def test_flags(arguments: list[str], shown: str) -> None:
    assert CliRunner().invoke(show, arguments).output == shown + "\n"


def test_missing_flag_keeps_the_value_of_the_outer_command() -> None:
    result = CliRunner().invoke(show, ["-r", "b.yaml"], obj=Files(Path("x.yaml"), update=False))
    assert result.output == "x.yaml b.yaml False\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            edited("bridge:\n", "texts: {nope: {}}\nbridge:\n"),
            "line 9: texts.nope: no sentence has",
        ),
        (
            edited("bridge:\n", 'bridge:\n  username_template: "web{agent}"\n'),
            "line 10: bridge.username_template: would give an agent the name",
        ),
        (
            edited("bridge:\n", "appservice: {bot: {username: webchat_bot}}\nbridge:\n"),
            "bridge.username_template: would give an agent the name @webchat_bot:example.org",
        ),
        (edited("bridge:\n", 'bridge:\n  username_template: "{agent}"\n'), "needs a prefix or suf"),
        (edited("bridge:\n", 'bridge:\n  username_template: "a{agent}{agent}"\n'), "{agent} once"),
        (
            edited("bridge:\n", 'bridge:\n  queue_username_template: "{queue}"\n'),
            "line 10: bridge.queue_username_template: needs a prefix or suffix beside {queue}",
        ),
        (
            edited("bridge:\n", 'bridge:\n  queue_username_template: "webchatbo{queue}T"\n'),
            "line 10: bridge.queue_username_template: may contain only a-z",
        ),
    ],
)
def test_checks_of_outer_rings_are_applied(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigInvalid) as caught:
        Files(config=path).load()
    assert said in str(caught.value)


def test_all_problems_of_outer_rings_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = edited("bridge:\n", 'bridge:\n  username_template: "{agent}"\n')
    path.write_text(text.replace("webchat:\n", "webchat:\n  ca_file: none.pem\n"), encoding="utf-8")
    with pytest.raises(ConfigInvalid) as caught:
        Files(config=path).load()
    keys = {problem.path[-1] for problem in caught.value.problems}
    assert keys == {"username_template", "ca_file"}


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


def test_an_error_does_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), errors_become_exits():
        raise StoreError("rooms: 1 rows (!\x1b[2J\u202e:b)\nnext")
    assert capsys.readouterr().err == "database: rooms: 1 rows (!\\x1b[2J\\u202e:b)\nnext\n"


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


@pytest.mark.parametrize("pretty", [False, True])
def test_json_with_the_texts_of_strangers_leaves_the_terminal_alone(
    pretty: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"name": "\x1b[31m\x7f\x9b31m\u202e\u2066é中😀", "lines": "a\nb"}
    print_json(told, pretty=pretty)
    printed = capsys.readouterr().out
    assert json.loads(printed) == told
    assert not any(0x7F <= ord(one) < 0xA0 or one in "\u202e\u2066" for one in printed)
    assert "é中😀" in printed
