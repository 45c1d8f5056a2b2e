"""The section `webchat`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bridge.config.model import WebChat
from bridge.conversation.policy import RobotUse
from bridge.webchat import codes

URL = "https://crm.example.org/webchat"


def section(**values: object) -> WebChat:
    return WebChat.model_validate({"base_url": URL, **values})


def test_the_defaults() -> None:
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


def test_from_is_written_from() -> None:
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
        {"allowed_media_hosts": ["10.0.0.1/8"]},
        {"upload_mode": "ftp"},
    ],
)
def test_bad_values(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        section(**values)


def test_media_hosts() -> None:
    hosts = ("cdn.example.org", "cdn.example.org:8443", "10.0.0.0/8", "[::1]:80", "fd00::/8")
    assert section(allowed_media_hosts=hosts).allowed_media_hosts == hosts
