"""The tree of keys, and the files generated from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.config.document import filled, read_document, render_path
from bridge.config.known_keys import (
    Shape,
    advice,
    example_config,
    json_schema,
    keys_of,
    known_paths,
    section_at,
)
from bridge.config.loading import load_config
from bridge.config.model import AccountEntry, Config, Login
from tests.support import example_config as written
from tests.unit.config.configs import load


def test_keys_have_the_names_of_the_file() -> None:
    keys = keys_of(Config)
    assert list(keys)[:4] == ["homeserver", "appservice", "database", "webchat"]
    webchat = keys["webchat"]
    assert webchat.model is not None
    assert "from" in keys_of(webchat.model)
    assert "source" not in keys_of(webchat.model)


def test_shapes() -> None:
    keys = keys_of(Config)
    assert keys["homeserver"].shape is Shape.SECTION
    assert keys["webchat"].shape is Shape.SECTION
    assert keys["queues"].shape is Shape.SECTIONS
    assert keys["texts"].shape is Shape.MAPPING
    assert keys["default_queue"].shape is Shape.VALUE
    queue = keys["queues"].model
    assert queue is not None
    assert keys_of(queue)["aliases"].shape is Shape.LIST


def test_every_key_has_one_path() -> None:
    paths = list(known_paths())
    assert len(paths) == len(set(paths))
    assert ("webchat", "login", "name") in paths
    assert ("queues", "hours") in paths


def test_sections_are_found_by_path() -> None:
    assert section_at(()) is Config
    assert section_at(("webchat", 0, "login")) is Login
    assert section_at(("webchat", "login")) is Login
    assert section_at(("webchat", "accounts")) is None
    assert section_at(("webchat", "accounts", "@a:b")) is AccountEntry
    assert section_at(("nothing",)) is None
    assert section_at(("default_queue",)) is None


def test_advice() -> None:
    assert advice(("homeserver", "adress")) == 'unknown key; did you mean "address"?'
    assert advice(("webchat", 0, "domain")) == "unknown key here; it belongs at homeserver.domain"
    assert advice(("encryption",)) == "unknown key here; it belongs at bridge.encryption"
    assert advice(("permissions",)) == "unknown key here; it belongs at bridge.permissions"
    assert advice(("bridge", "enterprises")) == "unknown key here; it belongs at enterprises"
    assert advice(("webchat", "login", "displayname")).endswith('did you mean "display_name"?')
    assert advice(("logging", "port")).endswith("appservice.port or metrics.port or console.port")
    assert advice(("rating", "enabled")).endswith("(known here: options)"), "a key of six sections"
    assert advice(("metrics", "zzz")).endswith("(known here: enabled, hostname, port)")
    assert advice(("texts", "x", "fr")) == "unknown key"


ROOT = Path(__file__).parents[3]


def test_example_file_is_current() -> None:
    texts = {file.read_text(encoding="utf-8") for file in written.TARGETS}
    assert texts == {written.example_config()}, "run: python -m tests.support.example_config"
    assert texts == {example_config()}


def test_example_file_is_valid() -> None:
    config = load_config(ROOT / "config.example.yaml", {})
    assert config.homeserver.domain == "example.org"


def test_example_file_has_every_key() -> None:
    document = read_document(ROOT / "config.example.yaml")
    written = {tuple(part for part in path if not isinstance(part, int)) for path in document.lines}
    for path in known_paths():
        if path[:-1] == ("rating", "options") or path[0] == "enterprises":
            continue  # an option written there would count; comments show one of either
        assert path in written, render_path(path)


def test_no_line_is_too_long_and_every_key_is_explained() -> None:
    for line in example_config().splitlines():
        assert len(line) <= 100
    for path in known_paths():
        section = section_at(path[:-1])
        assert section is not None
        info = next(
            field
            for name, field in section.model_fields.items()
            if (field.alias or name) == path[-1]
        )
        inner = section_at(path)
        assert info.description or (inner is not None and inner.__doc__), render_path(path)


def test_values_of_the_example_are_the_defaults(tmp_path: Path) -> None:
    """An operator who deletes a line changes nothing, but for those that must be given."""
    example = load(tmp_path, example_config()).model_dump(
        exclude={
            "homeserver": True,
            "queues": True,
            "bridge": {"permissions"},
            "default_queue": True,
        }
    )
    smallest = load(
        tmp_path,
        "homeserver: {address: 'http://x', domain: x}\n"
        "webchat: {base_url: 'https://crm.example.org/webchat'}\n"
        "queues: [{id: 1, name: a}]\ndefault_queue: 1\nbridge: {permissions: {'*': admin}}\n",
    ).model_dump(
        exclude={
            "homeserver": True,
            "queues": True,
            "bridge": {"permissions"},
            "default_queue": True,
        }
    )
    assert example == smallest


@pytest.mark.parametrize("value", ["a b", "yes", "*", "1", 'say "hi"', "x: y", "# no", "中文", ""])
def test_other_values_survive_being_written(tmp_path: Path, value: str) -> None:
    text = filled(example_config(), {("appservice", "bot", "displayname"): value})
    assert load(tmp_path, text).appservice.bot.displayname == value


def test_the_schema_knows_every_section() -> None:
    schema = json.loads(json_schema())
    assert set(schema["properties"]) == {path[0] for path in known_paths() if len(path) == 1}
    assert schema["additionalProperties"] is False
    assert schema["properties"]["default_queue"]["type"] == "integer"
    single, many = schema["properties"]["webchat"]["anyOf"]
    assert many["items"] == single
    assert "from" in schema["$defs"]["WebChat"]["properties"]
