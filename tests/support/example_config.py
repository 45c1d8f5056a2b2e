"""Generator of config.example.yaml: every key of the config model, with default and docstring.

The bridge ships the generated file. To regenerate it after the model has changed:

    python -m tests.support.example_config
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, SecretStr

from bridge.config.fields import EVER, MILLISECONDS
from bridge.config.known_keys import Shape, keys_of
from bridge.config.model import Config

ROOT = Path(__file__).parents[2]
TARGETS = (ROOT / "config.example.yaml", ROOT / "bridge" / "config" / "example.yaml")
"""The copy for readers of the repository, and the one that the program ships."""

_WIDTH = 100
_AGES = {"chats", "accounts", "ghosts", "audit"}
_DURATIONS = {"bodies", "rows", "retry_first", "retry_last", "give_up"} | _AGES
_MARKS = str.maketrans("", "", "-_/:.")
_HEAD = """\
# Configuration of matrix-webchat. Every key may also come from the environment: MATRIX_WEBCHAT_ +
# the path joined by __ (MATRIX_WEBCHAT_HOMESERVER__ADDRESS), with _FILE at the end from a file.
# Check it with: matrix-webchat check -c config.yaml

"""


def example_config() -> str:
    """Return the text of config.example.yaml."""
    return _HEAD + "\n".join(_section(Config, 0)) + "\n"


def _section(model: type[BaseModel], depth: int) -> Iterator[str]:
    for key in keys_of(model).values():
        indent = "  " * depth
        if depth == 0 and key.name != "homeserver":
            yield ""
        comment = key.info.description or (key.model.__doc__ if key.model else None) or ""
        if key.name == "enterprises":
            yield from _comment(comment, indent)
            yield f"{indent}# enterprises:"
            first, *rest = _entry(key.model)
            yield f"{indent}#   - {first}"
            yield from (f"{indent}#     {line}" for line in rest)
            continue
        needed = any(getattr(one, "min_length", 0) for one in key.info.metadata)
        several = key.shape is Shape.SECTIONS and needed
        if key.model is not None and (several or key.shape is Shape.SECTION):
            yield from _comment(comment, indent)
            yield f"{indent}{key.name}:"
            entry = list(_section(key.model, depth + (2 if several else 1)))
            if several:
                entry[0] = f"{indent}  - " + entry[0].lstrip()
            yield from entry
        else:
            default = key.info.examples[0] if key.info.examples else key.info.get_default()
            yield from _line(key.name, default, comment, indent)


def _entry(model: type[BaseModel] | None) -> Iterator[str]:
    """Yield a commented-out entry of `enterprises`, without repeating the top-level sections."""
    for key in keys_of(model or Config).values():
        comment = key.info.description or (key.model.__doc__ if key.model else None) or ""
        if key.name == "bridge":
            yield from _comment(comment, "")
            yield f"{key.name}:"
            yield from (f"  {line}" for line in _entry(key.model))
        elif key.info.examples:
            line = f"{key.name}: {_flow(key.info.examples[0])}"
            if len(beside := f"{line}  # {comment}") > _WIDTH - len("#       "):
                yield from (f"# {comment}", line)
            else:
                yield beside
        elif not (key.shape is Shape.SECTION or key.name == "texts"):
            yield from _line(key.name, key.info.get_default(), comment, "")


def _line(name: str, value: object, comment: str, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield from _comment(comment, indent)
        yield f"{indent}{name}:"
        for one, meaning in value.items():
            yield f"{indent}  {json.dumps(one)}: {scalar(meaning)}"
        return
    line = f"{indent}{name}: {scalar(readable(name, value))}"
    beside = f"{line}  # {comment}"
    if comment and len(beside) > _WIDTH:
        yield from _comment(comment, indent)
        yield line
    else:
        yield beside if comment else line


def _comment(text: str, indent: str) -> list[str]:
    mark = f"{indent}# "
    return textwrap.wrap(text, _WIDTH, initial_indent=mark, subsequent_indent=mark)


def readable(name: str, value: object) -> object:
    """Return sizes and durations with a unit, other values unchanged."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if name in _AGES and value == EVER:
        return "ever"
    if name in _DURATIONS:
        unit = next(unit for unit in ("d", "h", "m", "s", "ms") if value % MILLISECONDS[unit] == 0)
        return f"{value // MILLISECONDS[unit]}{unit}"
    return f"{value // 1024**2}MiB" if value >= 1024**2 else value


def scalar(value: object) -> str:
    """Return a value in YAML's flow style."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, list | tuple):
        return "[" + ", ".join(scalar(entry) for entry in value) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _flow(value: object) -> str:
    """Like `scalar`, for values that may contain mappings."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(one)}: {_flow(value[one])}" for one in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)


def _is_plain(text: str) -> bool:
    """True if YAML reads the unquoted text as the same string."""
    words = text.translate(_MARKS).isalnum() and text[:1].isalnum() and not text.endswith(":")
    known = {"true", "false", "null", "yes", "no", "on"}
    return words and not text.isdecimal() and text.lower() not in known


if __name__ == "__main__":
    for target in TARGETS:
        target.write_text(example_config(), encoding="utf-8")
