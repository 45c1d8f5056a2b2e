"""What somebody meant."""

from __future__ import annotations

import pytest

from bridge.rooms.commands import COMMANDS, Malformed, nearest_verb, parse


@pytest.mark.parametrize(
    ("word", "verb"),
    [
        ("stauts", "status"),
        ("HLEP", "help"),
        ("cancle", "cancel"),
        ("call-back", "callback"),
        ("callbak", "callback"),
        ("transcirpt", "transcript"),
        ("trans", "transcript"),
        ("histroy", "history"),
        ("retyr", "retry"),
        ("exit", "close"),
        ("Leave", "cancel"),
        ("language", "lang"),
        ("取消", "cancel"),
        ("轉人工", "human"),
        ("キャンセル", "cancel"),
        ("x", None),
        ("tr", None),
        ("weather", None),
        ("", None),
    ],
)
def test_what_was_meant(word: str, verb: str | None) -> None:
    assert nearest_verb(word) == verb


def test_every_other_word_is_of_a_command_and_of_one_only() -> None:
    words = [word for command in COMMANDS.values() for word in command.others.split()]
    assert len(words) == len(set(words))
    assert not set(words) & set(COMMANDS)
    assert all(word == word.casefold() for word in words)


def test_the_room_is_told() -> None:
    found = parse("!wc 取消", "!wc", prefix_needed=True)
    assert found == Malformed("command.unknown_near", {"near": "cancel"})
    assert parse("!wc weather", "!wc", prefix_needed=True) == Malformed("command.unknown")
