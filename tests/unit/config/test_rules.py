"""Rules that span keys, and settings that would do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.configs import SMALLEST, edited, problems

LATER = "with a later version"
REFUSED = [
    (
        "webchat:\n",
        "webchat:\n  robot: {enabled: true}\n",
        "robot.mode: must be command, first or when_no_agent if robot.enabled is true, else off",
    ),
    (
        "webchat:\n",
        "webchat:\n  robot: {mode: first}\n",
        "robot.mode: must be command, first or when_no_agent if robot.enabled is true, else off",
    ),
    (
        "bridge:\n",
        "rating:\n  options: [{id: 1, labels: {en: a}}, {id: 1, labels: {en: b}}]\nbridge:\n",
        "rating.options[1].id: is there twice",
    ),
    (
        "bridge:\n",
        "bridge:\n  encryption: {allow: false, default: true}\n",
        "bridge.encryption.default: needs bridge.encryption.allow: true",
    ),
    (
        "bridge:\n",
        "bridge:\n  encryption: {allow: false, require: true}\n",
        "bridge.encryption.require: needs bridge.encryption.allow: true",
    ),
    (
        "webchat:\n  base_url: https://crm.example.org/webchat\n",
        "webchat:\n  - base_url: https://a.test/w\n  - base_url: https://b.test/w\n",
        f"line 6: webchat[1]: a second WebChat server comes {LATER}",
    ),
    (
        "default_queue: 1",
        "default_queue: 2",
        "line 8: default_queue: must be the id of a queue (1)",
    ),
    ("Sales}", "Sales}\n  - {id: 1, name: B}", "queues[1].id: is also the id of queues[0]"),
    ("Sales}", "Sales}\n  - {id: 2, name: sales}", 'the word "sales" also means queues[0]'),
    ("Sales}", 'Sales, aliases: ["2"]}', 'the word "2" would be read as a queue id'),
    (
        '"*": customer',
        '"*": customer, "@ada": admin, "@bot*": ignore',
        'bridge.permissions."@ada": is nobody: a user id has a server',
    ),
    ('"*": customer', '"*": none', "bridge.permissions: lets nobody use the bridge"),
    (
        '"*": customer',
        '"exmaple.org": customer',
        "line 10: bridge.permissions: serves nobody of homeserver.domain, example.org: give it",
    ),
    (
        '"*": customer',
        '"*": customer, "@*:example.org": none',
        'are to be served, say so with "example.org": none',
    ),
    (
        "bridge:\n",
        'appservice: {bot: {username: webchat_bot}}\nbridge:\n  language: "en"\n',
        "appservice.bot.username: could be the user of an agent",
    ),
    (
        "bridge:\n",
        "appservice: {as_token: same, hs_token: same}\nbridge:\n",
        "appservice.hs_token: must differ from as_token",
    ),
    ("bridge:\n", "retention: {rows: 1h}\nbridge:\n", "must not be shorter than retention.bodies"),
    (
        "bridge:\n",
        "bridge:\n  callback: {retry_last: 1m}\n",
        "bridge.callback.retry_last: must not be shorter than retry_first",
    ),
    ("bridge:\n", "metrics: {port: 29340}\nbridge:\n", "must differ from appservice.port"),
    (
        "webchat:\n",
        'webchat:\n  accounts: {"*": {name: n}}\n',
        "webchat.accounts: needs webchat.login.type: password",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSED)
def test_what_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    all_said = problems(tmp_path, edited(old, new))
    assert len(all_said) == 1, all_said
    assert said in all_said[0]
    assert "config.yaml line " in all_said[0]


def test_a_queue_may_be_an_alias_of_itself(tmp_path: Path) -> None:
    assert problems(tmp_path, edited("Sales}", 'Sales, aliases: [sales, "1"]}')) == []


@pytest.mark.parametrize("dialect", ["auto", "2016", "2019", '"2019"', "dual"])
def test_every_dialect_may_be_named(tmp_path: Path, dialect: str) -> None:
    changed = edited("webchat:\n", f"webchat:\n  dialect: {dialect}\n")
    assert problems(tmp_path, changed) == []


def test_metrics_that_are_off_need_no_port(tmp_path: Path) -> None:
    assert problems(tmp_path, SMALLEST + "metrics: {enabled: false, port: 29340}\n") == []


@pytest.mark.parametrize("nobody", ["none", "ignore"])
def test_serving_other_servers_only_can_be_meant(tmp_path: Path, nobody: str) -> None:
    rules = f'"*": customer, "@*:example.org": none, "example.org": {nobody}'
    assert problems(tmp_path, edited('"*": customer', rules)) == []
