"""Configurations for tests: the smallest that is valid, and a way to write one to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bridge.config.document import ConfigInvalid
from bridge.config.loading import load_config
from bridge.config.model import Config

SMALLEST = """\
homeserver:
  address: http://localhost:8008
  domain: example.org
webchat:
  base_url: https://crm.example.org/webchat
queues:
  - {id: 1, name: Sales}
default_queue: 1
bridge:
  permissions: {"*": customer}
"""


def load(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environment or {})


def problems(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the problems of an invalid configuration."""
    try:
        load(folder, text, environment)
    except ConfigInvalid as error:
        return [str(problem) for problem in error.problems]
    return []


def edited(old: str, new: str) -> str:
    """SMALLEST with one change, which must apply."""
    assert old in SMALLEST
    return SMALLEST.replace(old, new)
