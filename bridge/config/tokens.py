"""Writes the secrets that `register` has drawn into config.yaml; all else in it stays as it is."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.util import load_yaml_guess_indent

from bridge.config.document import read_document
from bridge.config.environment import variable_of
from bridge.config.problems import ConfigUnreadable, KeyPath

_NAMES = ("as_token", "hs_token")
PICKLE_KEY = ("bridge", "encryption", "pickle_key")


def tokens_from_environment(environment: Mapping[str, str]) -> list[str]:
    """The variables that set tokens; those tokens are never written to a file."""
    variables = [variable_of(("appservice", name)) for name in _NAMES]
    return [
        name
        for variable in variables
        for name in (variable, variable + "_FILE")
        if name in environment
    ]


def pickle_key_from_environment(environment: Mapping[str, str]) -> bool:
    """True if a variable sets what seals the keys of encryption."""
    variable = variable_of(PICKLE_KEY)
    return variable in environment or variable + "_FILE" in environment


def fill_secrets(path: Path, values: Mapping[KeyPath, str]) -> None:
    """Set keys in the file; only its owner can read it afterwards.

    Args:
        path: an existing config.yaml.
        values: path of a key -> its value.

    Raises:
        ConfigUnreadable: the file cannot be read, written, or is no mapping.
    """
    read_document(path)  # says what is wrong with it, and where
    text = path.read_text(encoding="utf-8")
    _, indent, offset = load_yaml_guess_indent(text)
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=indent or 4, offset=2 if offset is None else offset)
    tree = yaml.load(text)
    if not isinstance(tree, CommentedMap):
        raise ConfigUnreadable(f"{path}: must be a mapping of keys to values")
    for key, value in values.items():
        section = tree
        for number, name in enumerate(key[:-1], start=1):
            section = section.setdefault(name, CommentedMap())
            if not isinstance(section, CommentedMap):
                where = ".".join(map(str, key[:number]))
                raise ConfigUnreadable(f"{path}: {where} must be a mapping")
        section[key[-1]] = value
    out = io.StringIO()
    yaml.dump(tree, out)
    try:
        _replace(path, out.getvalue())
    except OSError as error:
        raise ConfigUnreadable(f"{path}: cannot be written: {error.strerror}") from error


def _replace(path: Path, text: str) -> None:
    """Swap the file for one of mode 0600 in one move; a crash leaves the old or the new."""
    target = path.resolve()
    before = target.stat()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(PermissionError):
            os.chown(temporary, before.st_uid, before.st_gid)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
