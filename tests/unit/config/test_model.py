"""The whole of config.yaml as a value."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from bridge.config.model import Config
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


def test_the_one_server() -> None:
    config = Config.model_validate(smallest())
    assert config.server is config.webchat[0]


def test_one_server_may_be_a_mapping_or_a_list() -> None:
    one = smallest()
    many = {**one, "webchat": [one["webchat"]]}
    assert Config.model_validate(one) == Config.model_validate(many)


def test_it_is_frozen() -> None:
    config = Config.model_validate(smallest())
    with pytest.raises(ValidationError, match="frozen"):
        config.default_queue = 2
