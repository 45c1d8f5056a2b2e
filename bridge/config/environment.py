"""Override config.yaml from environment variables; write secrets into the file.

A variable is `MATRIX_WEBCHAT_` + the key's path in capitals, joined by `__`. With the suffix
`_FILE` it names a file that holds the value (Docker and systemd secrets). List positions are
numbers; a whole list or mapping is YAML or JSON. An unknown variable is an error; an empty one
counts as unset, because compose files pass unset variables on as empty.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.util import load_yaml_guess_indent

from bridge.config.document import (
    ConfigInvalid,
    ConfigUnreadable,
    KeyPath,
    Problem,
    parsed,
    read_document,
    render_path,
)
from bridge.config.known_keys import Key, Shape, keys_of, known_paths
from bridge.config.model import Config

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
    # Shorter paths first: a whole list before its entries.
    for variable in sorted(environment, key=lambda name: (name.count("__"), name)):
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
            names = (variable_of(known).removeprefix(PREFIX) for known in known_paths())
            near = difflib.get_close_matches(rest, list(names), n=1)
            wrong = "is not the variable of any key"
            if near:
                wrong += f"; the nearest is {PREFIX}{near[0]}"
            if near == [rest]:  # known_paths leaves list positions out
                wrong = f"lacks the position in a list, as in {PREFIX}QUEUES__0__NAME"
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
    if _insert(data, path, given):
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


def _insert(here: object, path: KeyPath, value: object) -> bool:
    """Set a value in nested dicts and lists; return False if the path does not fit them."""
    for part, following in zip(path, (*path[1:], None), strict=True):
        last = following is None
        fresh: object = value if last else [] if isinstance(following, int) else {}
        if isinstance(here, list) and here and isinstance(part, str):
            here = here[0]  # a section that is written as a list of one
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


# --- secrets written into the file ---------------------------------------------------------------

PICKLE_KEY = ("bridge", "encryption", "pickle_key")
API_SECRET = ("provisioning", "secret")


def set_by(path: KeyPath, environment: Mapping[str, str]) -> list[str]:
    """Return the environment variables that set a key; such a secret is not written to the file."""
    variable = variable_of(path)
    return [name for name in (variable, variable + _FILE) if name in environment]


def fill_secrets(path: Path, values: Mapping[KeyPath, str]) -> None:
    """Set keys in an existing file, keep all else, and make it readable by its owner only.

    Raises ConfigUnreadable if the file cannot be read or written, or is not a mapping.
    """
    read_document(path)  # for its error messages with lines
    try:
        replace_secret(path, filled(path.read_text(encoding="utf-8"), values))
    except OSError as error:
        raise ConfigUnreadable(f"{path}: cannot be written: {error.strerror}") from error
    except KeyError as error:
        raise ConfigUnreadable(f"{path}: {error.args[0]} must be a mapping") from error


def filled(text: str, values: Mapping[KeyPath, str]) -> str:
    """Return a YAML text with keys set; comments and formatting are kept.

    Raises KeyError with the path of a parent that is not a mapping.
    """
    _, indent, offset = load_yaml_guess_indent(text)
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=indent or 4, offset=2 if offset is None else offset)
    tree = yaml.load(text)
    for key, value in values.items():
        if not _insert(tree, key, value):
            raise KeyError(render_path(key[:-1]))
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def replace_secret(path: Path, text: str) -> None:
    """Atomically replace a file with one of mode 0600; raises OSError."""
    target = path.resolve()
    # mkstemp creates the file with mode 0600: it is never readable by others.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(PermissionError, FileNotFoundError):
            before = target.stat()
            os.chown(temporary, before.st_uid, before.st_gid)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
