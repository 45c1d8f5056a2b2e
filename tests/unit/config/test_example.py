"""config.example.yaml and the JSON Schema come from the model, and say what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.config import example_config, json_schema, load_config
from bridge.config.document import read_document, render_path
from bridge.config.known_keys import known_paths, section_at
from tests.unit.config.configs import load

ROOT = Path(__file__).parents[3]


def test_the_file_is_what_the_model_writes() -> None:
    text = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
    assert text == example_config(), "run: matrix-webchat example-config > config.example.yaml"


def test_the_file_is_valid() -> None:
    config = load_config(ROOT / "config.example.yaml", {})
    assert config.homeserver.domain == "example.org"


def test_the_file_holds_every_key_once() -> None:
    document = read_document(ROOT / "config.example.yaml")
    written = {tuple(part for part in path if not isinstance(part, int)) for path in document.lines}
    for path in known_paths():
        if path[:-1] == ("rating", "options"):
            continue  # an option written there would count; the comment beside the list shows one
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


def test_the_values_are_the_defaults(tmp_path: Path) -> None:
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
    text = example_config({("appservice", "bot", "displayname"): value})
    assert load(tmp_path, text).appservice.bot.displayname == value


def test_the_schema_knows_every_section() -> None:
    schema = json.loads(json_schema())
    assert set(schema["properties"]) == {path[0] for path in known_paths() if len(path) == 1}
    assert schema["additionalProperties"] is False
    assert schema["properties"]["default_queue"]["type"] == "integer"
    single, many = schema["properties"]["webchat"]["anyOf"]
    assert many["items"] == single
    assert "from" in schema["$defs"]["WebChat"]["properties"]
