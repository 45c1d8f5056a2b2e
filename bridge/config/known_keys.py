"""Tree of known keys, from the model: for environment variables, suggestions and JSON Schema.

A variable that overrides config.yaml is `MATRIX_WEBCHAT_` + the key's path in capitals, joined by
`__`. With the suffix `_FILE` it names a file that holds the value (Docker and systemd secrets).
List positions are numbers; a whole list or mapping is YAML or JSON. An unknown variable is an
error; an empty one counts as unset, because compose files pass unset variables on as empty.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bridge.config.document import ConfigInvalid, KeyPath, Problem, insert, parsed, render_path
from bridge.config.fields import LISTED
from bridge.config.model import SHORT_FORM, Config

Shape = Enum("Shape", "SECTION SECTIONS MAPPING LIST VALUE")
"""Kind of a key's value: section, list of sections, free-form keys, list of values, one value."""


@dataclass(frozen=True)
class Key:
    name: str
    info: FieldInfo
    shape: Shape
    model: type[BaseModel] | None
    """Model of a SECTION, of an entry of SECTIONS, or of a MAPPING's values; else None."""

    @property
    def listed(self) -> bool:
        """True for a section that may also be written as a list of one."""
        return LISTED in self.info.metadata


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
    """Return the section at `path` of the file; None if there is none."""
    model: type[BaseModel] = Config
    rest = list(path)
    while rest:
        key = keys_of(model).get(str(rest.pop(0)))
        if key is None or key.model is None or (key.shape is Shape.MAPPING and not rest):
            return None
        # Skip the part that selects an entry: a free-form key or a list position.
        if key.shape is Shape.MAPPING or (rest and isinstance(rest[0], int)):
            rest.pop(0)
        model = key.model
    return model


def known_paths(
    model: type[BaseModel] = Config, above: KeyPath = (), *, entry: KeyPath = ()
) -> Iterator[KeyPath]:
    """Yield the path of every key; `entry` is the position in a list of sections, if it has one."""
    for key in keys_of(model).values():
        path = (*above, key.name)
        yield path
        if key.model is not None and key.shape is not Shape.MAPPING:
            within = (*path, *entry) if key.shape is Shape.SECTIONS else path
            yield from known_paths(key.model, within, entry=entry)


def advice(path: KeyPath) -> str:
    """Return the error message for an unknown key, suggesting a known one if it is near."""
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
    return f"unknown key (known here: {', '.join(siblings)})"


# --- environment variables -----------------------------------------------------------------------

PICKLE_KEY = ("bridge", "encryption", "pickle_key")
API_SECRET = ("provisioning", "secret")
PREFIX = "MATRIX_WEBCHAT_"
_FILE = "_FILE"
MIGRATE_TO = f"{PREFIX}MIGRATE_TO"
"""Target database URL of `migrate-db`, not a configuration key; `_FILE` works too."""
# Kubernetes sets the SERVICE and PORT variables in every pod beside a Service matrix-webchat.
_NO_KEYS = re.compile(
    r"MIGRATE_TO(_FILE)?|SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?"
)


def variable_of(path: KeyPath) -> str:
    return PREFIX + "__".join(str(part) for part in path).upper()


def overlay(data: dict[str, object], environment: Mapping[str, str]) -> dict[KeyPath, str]:
    """Apply the environment to a file's data; return path -> the variable that set it.

    Raises ConfigInvalid for an unknown variable, or a value that cannot be read or placed.
    """
    origins: dict[KeyPath, str] = {}
    problems: list[Problem] = []
    # A whole list comes before its entries, and entry 2 before entry 10.
    for variable in sorted(environment, key=lambda name: re.sub(r"\d+", _padded, name)):
        rest = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or _NO_KEYS.fullmatch(rest):
            continue
        found = _find(rest)
        from_file = found is None and rest.endswith(_FILE)
        if from_file:
            found = _find(rest.removesuffix(_FILE))
        path: KeyPath = ()
        wrong = ""
        if found is None:
            paths = known_paths(entry=(0,))
            names = (variable_of(known).removeprefix(PREFIX) for known in paths)
            near = difflib.get_close_matches(rest, list(names), n=1)
            wrong = "is not the variable of any key"
            if near:
                wrong += f"; the nearest is {PREFIX}{near[0]}"
        elif environment[variable]:
            path, key = found
            if path in origins:
                wrong = f"is also set by {origins[path]}; unset one of them"
            else:
                origins[path] = variable
                wrong = _set(data, path, key, environment[variable], from_file=from_file)
        if wrong:
            problems.append(Problem(path, wrong, variable))
    if problems:
        raise ConfigInvalid(problems)
    return origins


def _padded(number: re.Match[str]) -> str:
    return number[0].zfill(9)


def _set(data: dict[str, object], path: KeyPath, key: Key, value: str, *, from_file: bool) -> str:
    """Set a key to a variable's value; return an error message, or "" on success."""
    given: object = value
    try:
        if from_file:
            given = Path(value).read_text(encoding="utf-8").rstrip("\r\n")
        if key.shape is not Shape.VALUE:
            given = parsed(YAML(typ="safe", pure=True), str(given))
    except OSError as error:
        return f"cannot read {value}: {error.strerror}"
    except UnicodeDecodeError:
        return f"cannot read {value}: is not UTF-8 text"
    except YAMLError:
        return "must be YAML or JSON"
    if insert(data, path, given):
        return ""
    return "cannot be set: a key above it is no section, or an earlier list position is missing"


def _find(name: str) -> tuple[KeyPath, Key] | None:
    """Return the path and key of a variable name without its prefix; None if unknown."""
    segments = name.lower().split("__")
    path: KeyPath = ()
    model: type[BaseModel] = Config
    while True:
        key = keys_of(model).get(segments.pop(0))
        if key is None:
            return None
        path = (*path, key.name)
        if not segments:
            return path, key
        if key.model is None or key.shape is Shape.MAPPING:
            return None
        if key.shape is Shape.SECTIONS:
            if not segments[0].isdecimal() or len(segments) == 1:
                return None
            path = (*path, int(segments.pop(0)))
        elif key.listed and segments[0] == "0" and len(segments) > 1:
            segments.pop(0)
        model = key.model


def set_by(path: KeyPath, environment: Mapping[str, str]) -> list[str]:
    """Return the environment variables that set a key; such a secret is not written to the file."""
    variable = variable_of(path)
    return [name for name in (variable, variable + _FILE) if environment.get(name)]


# --- config.example.yaml and its JSON Schema -----------------------------------------------------


def example_config() -> str:
    """Return config.example.yaml as text; `tests.support.example_config` generates it."""
    return (resources.files("bridge.config") / "example.yaml").read_text("utf-8")


def json_schema() -> str:
    """Return the JSON Schema of config.yaml, for editors."""
    schema = Config.model_json_schema(mode="validation")
    server = {"$ref": "#/$defs/WebChat"}
    schema["properties"]["webchat"] = {
        "description": schema["$defs"]["WebChat"]["description"],
        "anyOf": [server, {"type": "array", "items": server, "minItems": 1}],
    }
    schema["oneOf"] = [{"required": [*SHORT_FORM, "bridge"]}, {"required": ["enterprises"]}]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "config.yaml of matrix-webchat"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
