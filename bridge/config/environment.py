"""Values from the environment, laid over those of the file. Pure but for `_FILE`.

`MATRIX_WEBCHAT_` + the key's path joined by `__`, in capitals: the value. The same + `_FILE`: the
file that holds it (Docker and systemd secrets). List positions are numbers; a whole list or
mapping is given as YAML or JSON. A variable that names no key is an error, as in the file; an empty
one counts as unset, since compose files pass on unset variables like that.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bridge.config.document import parsed
from bridge.config.keys import Key, Shape, keys_of, known_paths
from bridge.config.model import Config
from bridge.config.problems import KeyPath, Problem

PREFIX = "MATRIX_WEBCHAT_"
_FILE = "_FILE"
# Kubernetes sets such variables in every pod beside a Service named matrix-webchat.
_SERVICE_LINK = re.compile(r"SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?")


@dataclass
class Overlay:
    """The file's data with the environment's laid over."""

    data: dict[str, object]
    origins: dict[KeyPath, str] = field(default_factory=dict)
    """Which variable set the value at a path."""
    problems: list[Problem] = field(default_factory=list)


def variable_of(path: KeyPath) -> str:
    """The variable that sets the key at `path`."""
    return PREFIX + "__".join(str(part) for part in path).upper()


def overlay(data: dict[str, object], environment: Mapping[str, str]) -> Overlay:
    """Lay the environment over a file's data, which is not changed."""
    result = Overlay(_copy(data))
    seen: dict[KeyPath, str] = {}
    # Shorter paths first: a whole list, then entries of it.
    for variable in sorted(environment, key=lambda name: (name.count("__"), name)):
        rest = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or _SERVICE_LINK.fullmatch(rest):
            continue
        found = _find(rest, result.data)
        from_file = found is None and rest.endswith(_FILE)
        if from_file:
            found = _find(rest.removesuffix(_FILE), result.data)
        if found is None:
            result.problems.append(Problem((), _unknown(variable), variable))
            continue
        path, key = found
        if not environment[variable]:
            continue
        if path in seen:
            result.problems.append(
                Problem(path, f"is set by {seen[path]} too; unset one of them", variable)
            )
            continue
        seen[path] = variable
        _set(result, path, key, environment[variable], variable, from_file=from_file)
    return result


def _set(
    result: Overlay, path: KeyPath, key: Key, value: str, variable: str, *, from_file: bool
) -> None:
    text = value
    if from_file:
        try:
            text = Path(value).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8 text"
            result.problems.append(Problem(path, f"cannot read {value}: {reason}", variable))
            return
    given: object = text
    if key.shape is not Shape.VALUE:
        try:
            given = parsed(YAML(typ="safe", pure=True), text)
        except YAMLError:
            result.problems.append(Problem(path, "must be YAML or JSON", variable))
            return
    if not _insert(result.data, path, given):
        result.problems.append(
            Problem(path, "has nowhere to go: list positions start at 0 without gaps", variable)
        )
        return
    result.origins[path] = variable


def _find(name: str, data: Mapping[str, object]) -> tuple[KeyPath, Key] | None:
    """The path and key that a variable's name stands for."""
    segments = name.lower().split("__")
    path: KeyPath = ()
    model: type[BaseModel] = Config
    key: Key | None = None
    here: object = data
    while segments:
        key = keys_of(model).get(segments.pop(0))
        if key is None:
            return None
        path = (*path, key.name)
        here = here.get(key.name) if isinstance(here, Mapping) else None
        if not segments:
            break
        if key.model is None or key.shape is Shape.MAPPING:
            return None
        if key.shape is Shape.SECTIONS:
            if segments[0].isdecimal() and len(segments) > 1:
                index = int(segments.pop(0))
            elif key.single:
                index = 0
            else:
                return None
            # A single mapping stands for a list of one.
            if not (key.single and index == 0 and not isinstance(here, list)):
                path = (*path, index)
                here = here[index] if isinstance(here, list) and index < len(here) else None
        model = key.model
    return (path, key) if key is not None else None


def _insert(data: dict[str, object], path: KeyPath, value: object) -> bool:
    """Put a value into nested dicts and lists; False if there is no place for it."""
    here: object = data
    for part, following in zip(path, (*path[1:], None), strict=True):
        last = following is None
        fresh: object = value if last else [] if isinstance(following, int) else {}
        if isinstance(here, dict):
            if last or here.get(part) is None:
                here[part] = fresh
            here = here[part]
        elif isinstance(here, list) and isinstance(part, int) and part <= len(here):
            if part == len(here):
                here.append(fresh)
            elif last:
                here[part] = fresh
            here = here[part]
        else:
            return False
    return True


def _copy(data: Mapping[str, object]) -> dict[str, object]:
    def copied(value: object) -> object:
        if isinstance(value, dict):
            return _copy(value)
        return [copied(entry) for entry in value] if isinstance(value, list) else value

    return {key: copied(value) for key, value in data.items()}


def _unknown(variable: str) -> str:
    names = [variable_of(path) for path in known_paths()]
    near = difflib.get_close_matches(variable, names, n=1, cutoff=0.0)
    return f"stands for no key; the nearest is {near[0]}"
