"""The tree of known keys, read off the model: for variables, suggestions, example and JSON Schema.

config.example.yaml and the schema are written from the same tree, so that neither can lack a key.
"""

from __future__ import annotations

import difflib
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from bridge.config.document import KeyPath, render_path
from bridge.config.fields import MILLISECONDS, ONE_OR_MANY
from bridge.config.model import Config

Shape = Enum("Shape", "SECTION SECTIONS MAPPING LIST VALUE")
"""Of a key's value: a section, a list of those, keys that the operator invents, a list, a value."""


@dataclass(frozen=True)
class Key:
    name: str
    info: FieldInfo
    shape: Shape
    model: type[BaseModel] | None
    """Of SECTION, SECTIONS and of a MAPPING's values, if those are sections."""

    @property
    def single(self) -> bool:
        return ONE_OR_MANY in self.info.metadata


@cache
def keys_of(model: type[BaseModel]) -> dict[str, Key]:
    keys = {}
    for attribute, info in model.model_fields.items():
        origin, arguments = get_origin(info.annotation), get_args(info.annotation)
        inner, shapes = info.annotation, (Shape.SECTION, Shape.VALUE)
        if origin is dict:
            inner, shapes = arguments[-1], (Shape.MAPPING, Shape.MAPPING)
        elif origin is tuple:
            inner, shapes = arguments[0], (Shape.SECTIONS, Shape.LIST)
        held = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
        name = info.alias or attribute
        keys[name] = Key(name, info, shapes[held is None], held)
    return keys


def section_at(path: KeyPath) -> type[BaseModel] | None:
    """The section whose keys stand at `path` of the file."""
    model: type[BaseModel] = Config
    rest = list(path)
    while rest:
        key = keys_of(model).get(str(rest.pop(0)))
        if key is None or key.model is None or (key.shape is Shape.MAPPING and not rest):
            return None
        # The next part names one of several: a key that the operator invented, or a position.
        if key.shape is Shape.MAPPING or (rest and isinstance(rest[0], int)):
            rest.pop(0)
        model = key.model
    return model


def known_paths(model: type[BaseModel] = Config, above: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key of the file; lists of sections are written without a position."""
    for key in keys_of(model).values():
        path = (*above, key.name)
        yield path
        if key.model is not None and key.shape is not Shape.MAPPING:
            yield from known_paths(key.model, path)


def advice(path: KeyPath) -> str:
    """The error for an unknown key with the nearest known one, as a whole sentence."""
    name = str(path[-1])
    section = section_at(path[:-1])
    siblings = list(keys_of(section)) if section is not None else []
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    elsewhere = [render_path(known) for known in known_paths() if known[-1] == name]
    if elsewhere:
        return f"unknown key here; it belongs at {elsewhere[0]}"
    if not siblings:
        return "unknown key"
    (nearest,) = difflib.get_close_matches(name, siblings, n=1, cutoff=0.0)
    return f'unknown key; the nearest is "{nearest}" (known here: {", ".join(siblings)})'


# --- config.example.yaml and its JSON Schema -----------------------------------------------------

_WIDTH = 100
_DURATIONS = {"bodies", "rows", "retry_first", "retry_last", "give_up"}
_MARKS = str.maketrans("", "", "-_/:.")
_HEAD = """\
# Configuration of matrix-webchat. Every key may also come from the environment: MATRIX_WEBCHAT_ +
# the path joined by __ (MATRIX_WEBCHAT_HOMESERVER__ADDRESS), with _FILE at the end from a file.
# Check it with: matrix-webchat check -c config.yaml

"""


def example_config(values: Mapping[KeyPath, object] | None = None) -> str:
    """The text of config.example.yaml, with these values instead of the model's, by path."""
    lines = list(_section(Config, (), 0, values or {}))
    return _HEAD + "\n".join(lines) + "\n"


def json_schema() -> str:
    """The JSON Schema of config.yaml, for editors."""
    schema = Config.model_json_schema(mode="validation")
    # A single mapping is taken as a list of one.
    server = schema["properties"]["webchat"]
    schema["properties"]["webchat"] = {
        "description": server.get("description", ""),
        "anyOf": [server["items"], {key: server[key] for key in ("type", "items", "minItems")}],
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "config.yaml of matrix-webchat"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _section(
    model: type[BaseModel], above: KeyPath, depth: int, values: Mapping[KeyPath, object]
) -> Iterator[str]:
    for key in keys_of(model).values():
        path = (*above, key.name)
        indent = "  " * depth
        if depth == 0 and path != ("homeserver",):
            yield ""
        comment = key.info.description or (key.model.__doc__ if key.model else None) or ""
        several = key.shape is Shape.SECTIONS and key.info.is_required()
        if key.model is not None and (several or key.shape is Shape.SECTION):
            yield from _comment(comment, indent)
            yield f"{indent}{key.name}:"
            # One mapping where that is allowed, else a list of one.
            listed = several and not key.single
            entry = list(_section(key.model, path, depth + (2 if listed else 1), values))
            if listed:
                entry[0] = f"{indent}  - " + entry[0].lstrip()
            yield from entry
        else:
            default = key.info.examples[0] if key.info.examples else key.info.get_default()
            yield from _line(key.name, values.get(path, default), comment, indent)


def _line(name: str, value: object, comment: str, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield from _comment(comment, indent)
        yield f"{indent}{name}:"
        for one, meaning in value.items():
            yield f"{indent}  {json.dumps(one)}: {_scalar(meaning)}"
        return
    line = f"{indent}{name}: {_scalar(_readable(name, value))}"
    beside = f"{line}  # {comment}"
    if comment and len(beside) > _WIDTH:
        yield from _comment(comment, indent)
        yield line
    else:
        yield beside if comment else line


def _comment(text: str, indent: str) -> list[str]:
    mark = f"{indent}# "
    return textwrap.wrap(text, _WIDTH, initial_indent=mark, subsequent_indent=mark)


def _readable(name: str, value: object) -> object:
    """Sizes and durations as people write them."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if name in _DURATIONS:
        unit = next(unit for unit in ("d", "h", "m", "s", "ms") if value % MILLISECONDS[unit] == 0)
        return f"{value // MILLISECONDS[unit]}{unit}"
    return f"{value // 1024**2}MiB" if value >= 1024**2 else value


def _scalar(value: object) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(entry) for entry in value) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _is_plain(text: str) -> bool:
    """True if YAML reads the unquoted text as this very text."""
    words = text.translate(_MARKS).isalnum() and text[:1].isalnum() and not text.endswith(":")
    known = {"true", "false", "null", "yes", "no", "on"}
    return words and not text.isdecimal() and text.lower() not in known
