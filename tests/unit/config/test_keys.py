"""The tree of known keys."""

from __future__ import annotations

from bridge.config.known_keys import Shape, advice, keys_of, known_paths, section_at
from bridge.config.model import AccountEntry, Config, Login


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
    assert (keys["webchat"].shape, keys["webchat"].single) == (Shape.SECTIONS, True)
    assert (keys["queues"].shape, keys["queues"].single) == (Shape.SECTIONS, False)
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
    assert advice(("metrics", "zzz")).endswith("(known here: enabled, hostname, port)")
    assert advice(("texts", "x", "fr")) == "unknown key"
