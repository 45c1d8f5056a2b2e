"""Suggestions for mistyped commands."""

from __future__ import annotations

import pytest

from bridge.rooms.commands import _VERBS as VERBS
from bridge.rooms.commands import COMMANDS, Reading, nearest_verb, parse
from bridge.rooms.rules import folded


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
def test_the_command_nearest_to_a_word(word: str, verb: str | None) -> None:
    assert nearest_verb(word) == verb


def test_every_synonym_belongs_to_one_command_only() -> None:
    words = [word for command in COMMANDS.values() for word in command.others.split()]
    assert len(words) == len(set(words))
    assert not set(words) & set(VERBS)
    assert all(word == folded(word) for word in words)


def test_every_command_has_a_name_in_each_language_that_is_unique() -> None:
    for verb, command in COMMANDS.items():
        names = command.names.split()
        assert len(names) >= 3, verb
        for name, charset in zip(names, ("gb2312", "big5", "shift_jis"), strict=False):
            assert name.encode(charset), (verb, name)
        for name in names:
            assert folded(name) == name
            assert not name.isascii()
            assert nearest_verb(name) == verb, f"{name} is of two commands"
            parsed = parse(f"!wc {name}", "!wc", prefix_needed=True)
            assert parsed is not None
            assert parsed.verb == verb
            parsed = parse(f"！wc{name}", "!wc", prefix_needed=True)
            assert parsed is not None
            assert parsed.verb == verb, "written without a blank"


def test_an_unknown_command_names_the_nearest_one() -> None:
    found = parse("!wc cancle", "!wc", prefix_needed=True)
    assert found == Reading("cancel", fault="command.unknown_near")
    assert parse("!wc weather", "!wc", prefix_needed=True) == Reading("", fault="command.unknown")
