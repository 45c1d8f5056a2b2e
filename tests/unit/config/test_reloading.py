"""What a reload changes, what it must not, and that it shows no secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.loading import LONGEST_SHOWN, compare, take_over
from bridge.config.model import Config
from tests.unit.config.configs import SMALLEST, edited, load


@pytest.fixture
def old(tmp_path: Path) -> Config:
    return load(tmp_path, SMALLEST)


def test_nothing_changed(old: Config) -> None:
    assert compare(old, old) == {}
    assert take_over(old, old) == old


@pytest.mark.parametrize(
    ("line", "becomes", "says"),
    [
        (
            '"*": customer',
            '"*": customer, "@a:b": admin',
            'bridge.permissions."@a:b": (none) -> admin',
        ),
        ("bridge:\n", "bridge:\n  language: ja\n", "bridge.language: zh-CN -> ja"),
        (
            "bridge:\n",
            "bridge:\n  limits: {file: 1MiB}\n",
            "bridge.limits.file: 50MiB -> 1MiB",
        ),
        (
            "bridge:\n",
            "retention: {bodies: 1h}\nbridge:\n",
            "retention.bodies: 1d -> 1h",
        ),
        ("bridge:\n", "retention: {audit: 90d}\nbridge:\n", "retention.audit: ever -> 90d"),
        ("bridge:\n", "logging: {level: DEBUG}\nbridge:\n", "logging.level: INFO -> DEBUG"),
        ("Sales}", "Verkauf}", "queues[0].name: Sales -> Verkauf"),
        ("Sales}", "Sales, aliases: [a, b]}", "queues[0].aliases: [] -> [a, b]"),
        ("Sales}", "Sales, from: WECHAT}", "queues[0].from: (none) -> WECHAT"),
        ("webchat:\n", "webchat:\n  from: PC\n", "webchat.from: APP -> PC"),
        (
            "bridge:\n",
            "bridge:\n  tell_agents: {members: true}\n",
            "bridge.tell_agents.members: false -> true",
        ),
        (
            "bridge:\n",
            "texts: {queue.next: {en: Next!}}\nbridge:\n",
            'texts."queue.next".en: (none) -> Next!',
        ),
    ],
)
def test_live_keys(tmp_path: Path, old: Config, line: str, becomes: str, says: str) -> None:
    new = load(tmp_path, edited(line, becomes))
    assert compare(old, new) == {says: True}
    assert take_over(old, new) == new


@pytest.mark.parametrize(
    ("line", "becomes", "says"),
    [
        ("address: http://localhost:8008", "address: http://h:8008", "homeserver.address"),
        ("bridge:\n", "appservice: {bot: {username: bot}}\nbridge:\n", "appservice.bot.username"),
        ("bridge:\n", "database: {url: sqlite:///other.db}\nbridge:\n", "database.url"),
        ("bridge:\n", "bridge:\n  username_template: wc_{agent}\n", "bridge.username_template"),
        ("bridge:\n", "bridge:\n  encryption: {allow: false}\n", "bridge.encryption.allow"),
        ("bridge:\n", "logging: {format: json}\nbridge:\n", "logging.format"),
        ("webchat:\n", "webchat:\n  max_frame_bytes: 4000\n", "webchat.max_frame_bytes"),
        ("Sales}", "Sales}\n  - {id: 2, name: Two}", "queues"),
    ],
)
def test_restart_needed(tmp_path: Path, old: Config, line: str, becomes: str, says: str) -> None:
    new = load(tmp_path, edited(line, becomes))
    changes = compare(old, new)
    assert any(change.startswith(f"{says}: ") for change in changes)
    assert not any(changes.values())
    assert take_over(old, new) == old


def test_a_queue_that_goes_is_one_line(tmp_path: Path) -> None:
    """Else the next queue's values would be told as changes of its own."""
    two = edited("queues:\n", "queues:\n  - {id: 7, name: Returns}\n")
    old, new = load(tmp_path, two), load(tmp_path, SMALLEST)
    assert compare(old, new) == {"queues: [1, 7] -> [1]": False}
    assert compare(new, old) == {"queues: [1] -> [1, 7]": False}


def test_live_and_other_keys_change_together(tmp_path: Path, old: Config) -> None:
    text = SMALLEST.replace("domain: example.org", "domain: example.com")
    new = load(tmp_path, text.replace("bridge:\n", "bridge:\n  start: on_command\n"))
    taken = take_over(old, new)
    assert (taken.homeserver.domain, taken.bridge.start) == ("example.org", "on_command")
    assert sorted(compare(old, new).values()) == [False, True]


def test_secrets_are_not_shown(tmp_path: Path, old: Config) -> None:
    text = (
        SMALLEST.replace("webchat:\n", "webchat:\n  sign_key: hush-hush\n")
        + "database: {url: 'postgres://me:hush-hush@h/db'}\n"
        + "appservice: {as_token: hush-hush, hs_token: hush-hush-2}\n"
    )
    changes = compare(old, load(tmp_path, text))
    assert len(changes) == 4
    assert all(change.endswith(" -> (secret)") for change in changes)


def test_list_that_was_empty_is_shown_by_its_entries(tmp_path: Path, old: Config) -> None:
    options = "rating: {options: [{id: 5, labels: {en: Good}}]}\nbridge:\n"
    new = load(tmp_path, edited("bridge:\n", options))
    id_line, label = "rating.options[0].id", "rating.options[0].labels.en"
    assert list(compare(old, new)) == [f"{id_line}: (none) -> 5", f"{label}: (none) -> Good"]
    assert list(compare(new, old)) == [f"{id_line}: 5 -> (none)", f"{label}: Good -> (none)"]


def test_long_values_are_cut(tmp_path: Path, old: Config) -> None:
    long = "x" * 500
    new = load(tmp_path, edited("bridge:\n", f"texts: {{queue.next: {{en: {long}}}}}\nbridge:\n"))
    (change,) = compare(old, new)
    assert len(change.partition(" -> ")[2]) == LONGEST_SHOWN
