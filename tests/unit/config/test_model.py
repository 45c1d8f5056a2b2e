"""Sections, defaults and permissions."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from bridge.config.model import (
    Config,
    Permission,
    WebChat,
    is_pattern,
    permission_of,
    rule_matches,
    serves_somebody_of,
)
from bridge.webchat import codes
from bridge.webchat.codes import RobotUse
from tests.unit.config.configs import SMALLEST


def smallest() -> dict[str, object]:
    tree = YAML(typ="safe", pure=True).load(SMALLEST)
    assert isinstance(tree, dict)
    return tree


def test_the_names_and_defaults_of_the_contract() -> None:
    config = Config.model_validate(smallest())
    assert config.appservice.address == "http://localhost:29340"
    assert (config.appservice.hostname, config.appservice.port) == ("127.0.0.1", 29340)
    assert (config.appservice.id, config.appservice.bot.username) == ("webchat", "webchatbot")
    assert config.bridge.username_template == "webchat_{agent}"
    assert config.bridge.command_prefix == "!wc"
    assert config.bridge.start == "on_message"
    limits = config.bridge.limits
    assert (limits.file, limits.messages_per_minute, limits.rooms_per_user) == (50 * 1024**2, 60, 5)
    assert limits.new_rooms_per_hour == 10
    assert (config.metrics.enabled, config.metrics.port) == (True, 8000)
    assert (config.logging.level, config.logging.format) == ("INFO", "text")
    assert (config.retention.bodies, config.retention.rows) == (86_400_000, 7 * 86_400_000)


def test_one_server_may_be_a_mapping_or_a_list() -> None:
    one = smallest()
    many = {**one, "webchat": [one["webchat"]]}
    assert Config.model_validate(one) == Config.model_validate(many)


def test_configuration_is_frozen() -> None:
    config = Config.model_validate(smallest())
    with pytest.raises(ValidationError, match="frozen"):
        config.default_queue = 2


URL = "https://crm.example.org/webchat"


def section(**values: object) -> WebChat:
    return WebChat.model_validate({"base_url": URL, **values})


def test_defaults_of_the_webchat_section() -> None:
    webchat = section()
    assert webchat.dialect == "auto"
    assert webchat.source == "APP"
    assert webchat.login.name == "mx-{room_key}"
    assert (webchat.login_rate.count, webchat.login_rate.per_seconds) == (8, 60)
    assert webchat.max_frame_bytes == 8000


@pytest.mark.parametrize("value", ["2016", 2016])
def test_a_dialect_may_come_as_a_number(value: object) -> None:
    assert section(dialect=value).dialect == "2016"


def test_off_is_a_word_although_old_yaml_makes_it_false() -> None:
    assert section(robot={"mode": False}).robot.mode is RobotUse.OFF


def test_source_is_written_as_from() -> None:
    assert section(**{"from": "PC"}).source == "PC"
    with pytest.raises(ValidationError):
        section(source="PC")


def test_the_dialects_are_those_of_the_protocol() -> None:
    for dialect in codes.Dialect:
        assert section(dialect=dialect.value).dialect == dialect.value


@pytest.mark.parametrize(
    "values",
    [
        {"dialect": True},
        {"from": "FAX"},
        {"max_frame_bytes": 100},
        {"login_rate": {"count": 0}},
        {"login_rate": "8"},
        {"login": {"name": "same-for-all"}},
        {"login": {"display_name": "{who}"}},
        {"accounts": {"*": {}}},
        {"accounts": {"*": {"name": ""}}},
        {"allowed_media_hosts": ["http://host"]},
        {"allowed_media_hosts": ["user@host"]},
        {"allowed_media_hosts": ["a b/c"]},
        {"allowed_media_hosts": [""]},
        {"allowed_media_hosts": ["10.0.0.1/8"]},
        {"allowed_media_hosts": ["host:99999"]},
        {"upload_mode": "ftp"},
    ],
)
def test_bad_values(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        section(**values)


def test_media_hosts() -> None:
    hosts = ("cdn.example.org", "cdn.example.org:8443", "10.0.0.0/8", "[::1]:80", "fd00::/8")
    assert section(allowed_media_hosts=hosts).allowed_media_hosts == hosts


NONE, CUSTOMER, ADMIN = Permission.NONE, Permission.CUSTOMER, Permission.ADMIN
IGNORE = Permission.IGNORED


@pytest.mark.parametrize(
    ("rules", "user", "expected"),
    [
        ({}, "@a:example.org", NONE),
        ({"*": CUSTOMER}, "@a:example.org", CUSTOMER),
        ({"example.org": CUSTOMER}, "@a:example.org", CUSTOMER),
        ({"example.org": CUSTOMER}, "@a:evil-example.org", NONE),
        ({"example.org": CUSTOMER}, "@example.org:evil", NONE),
        ({"example.org": CUSTOMER}, "@a:example.org:8448", NONE),
        ({"example.org:8448": CUSTOMER}, "@a:example.org:8448", CUSTOMER),
        ({"*": CUSTOMER, "example.org": NONE}, "@a:example.org", NONE),
        ({"example.org": CUSTOMER, "@a:example.org": ADMIN}, "@a:example.org", ADMIN),
        ({"example.org": ADMIN, "@a:example.org": NONE}, "@a:example.org", NONE),
        ({"*.example.org": CUSTOMER}, "@a:eu.example.org", CUSTOMER),
        ({"*.example.org": CUSTOMER}, "@a:example.org", NONE),
        # A user pattern is more specific than the whole server, a longer pattern more than a short.
        ({"@bot*:example.org": NONE, "example.org": CUSTOMER}, "@bot1:example.org", NONE),
        ({"@bot*": IGNORE, "example.org": CUSTOMER}, "@bob:example.org", CUSTOMER),
        ({"@bot*": IGNORE, "@bot1:example.org": ADMIN}, "@bot1:example.org", ADMIN),
        ({"*.org": CUSTOMER, "example.org": NONE}, "@a:example.org", NONE),
        ({"*": ADMIN, "@b?t:*": CUSTOMER, "@b*:*": NONE}, "@bot:x.y", CUSTOMER),
        ({"[::1]:8448": CUSTOMER}, "@a:[::1]:8448", CUSTOMER),
        ({"[::1]*": CUSTOMER}, "@a:[::1]:8448", CUSTOMER),
        ({"*": CUSTOMER}, "nonsense", CUSTOMER),
        ({"example.org": CUSTOMER}, "nonsense", NONE),
    ],
)
def test_user_permission(rules: dict[str, Permission], user: str, expected: Permission) -> None:
    assert permission_of(rules, user) is expected
    # The order of the file does not matter.
    assert permission_of(dict(reversed(rules.items())), user) is expected


def test_only_stars_and_question_marks_make_a_pattern() -> None:
    assert is_pattern("a?")
    assert not is_pattern("[ab].org")
    assert not rule_matches("[ab].org", "@x:a.org")
    assert not rule_matches("example.org", "@x:exampleXorg")


@pytest.mark.parametrize(
    ("rules", "served"),
    [
        ({}, False),
        ({"own.test": CUSTOMER}, True),
        ({"own.tset": CUSTOMER}, False),
        ({"OWN.test": CUSTOMER}, False),
        ({"*": CUSTOMER}, True),
        ({"*.test": ADMIN}, True),
        ({"?wn.test": ADMIN}, True),
        ({"*.own.test": CUSTOMER}, False),
        ({"@ada:own.test": CUSTOMER}, True),
        ({"@ada:own.test:8448": CUSTOMER}, False),
        ({"@ada:example.org": ADMIN}, False),
        ({"@*:*": CUSTOMER}, True),
        ({"@*": CUSTOMER}, True),
        ({"@ada:*": ADMIN, "@ada:own.test": NONE}, False),
        ({"@ad?:own.test": ADMIN, "@ada:own.test": NONE}, True),
        # Localparts are not empty: `*` without `??*` leaves those of one letter.
        ({"@*:own.test": CUSTOMER, "@??*:own.test": NONE}, True),
        ({"@?:*": CUSTOMER, "@*?:own.test": NONE}, False),
        ({"own.test": CUSTOMER, "@*:own.test": NONE}, False),
        ({"own.test": CUSTOMER, "@b*:own.test": IGNORE}, True),
        ({"*": CUSTOMER, "own.*": NONE}, False),
        ({"*": CUSTOMER, "own.test": NONE, "@staff_*:own.test": CUSTOMER}, True),
        # Each alone leaves somebody, both together nobody.
        ({"@a*:own.test": CUSTOMER, "@a*b:own.test": NONE}, True),
        ({"@a?:own.test": CUSTOMER, "@aa:own.test": NONE, "@?a*:own.test": NONE}, True),
        ({f"@bot{n}:own.test": NONE for n in range(500)} | {"other.test": CUSTOMER}, False),
        ({f"@bot{n}:other.test": CUSTOMER for n in range(500)}, False),
    ],
)
def test_permissions_serve_somebody_of_the_homeserver_or_nobody(
    rules: dict[str, Permission],
    served: bool,
) -> None:
    assert serves_somebody_of(rules, "own.test") is served
