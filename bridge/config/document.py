"""config.yaml as plain data with the line of every key, and the problems that name such a place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node
from ruamel.yaml.scalarbool import ScalarBoolean

# --- problems ------------------------------------------------------------------------------------

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of config.yaml to a value."""


def render_path(path: KeyPath) -> str:
    """`queues[0].name`; keys that are no words are quoted: `bridge.permissions."@a:b"`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if re.fullmatch(r"[\w-]+", part) else f'"{part}"'
            text += f".{shown}" if text else shown
    return text


@dataclass(frozen=True)
class Problem:
    """One error of an operator."""

    path: KeyPath
    message: str
    """A sentence without subject ("must be …"); never contains the value of a secret."""
    origin: str = ""
    """Where the value came from: `config.yaml line 12`, or the variable's name."""
    line: int = 0

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.origin, render_path(self.path)) if part)
        return f"{where}: {self.message}" if where else self.message


class ConfigUnreadable(Exception):
    """The file cannot be read or is no YAML mapping (exit code 10)."""


class ConfigInvalid(Exception):
    """The file, or a variable of the environment, breaks the rules (exit code 11)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


# --- the file ------------------------------------------------------------------------------------

_DEEPEST = 20  # far deeper than any key of ours


@dataclass(frozen=True)
class Document:
    name: str
    data: dict[str, object]
    lines: Mapping[KeyPath, int]
    """Line of each key and list entry, counted from 1."""

    def line_of(self, path: KeyPath) -> int:
        """The line of a key, or of the innermost part of the file that would hold it; 0: none."""
        above = (path[:length] for length in range(len(path), 0, -1))
        return next((self.lines[one] for one in above if one in self.lines), 0)


def read_document(path: Path) -> Document:
    """A YAML mapping; ConfigUnreadable has the file's name and, for bad YAML, the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigUnreadable(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigUnreadable(f"{path}: is not UTF-8 text") from error
    yaml = YAML(typ="rt", pure=True)
    yaml.Constructor = _Constructor
    try:
        tree = parsed(yaml, text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}" if mark is not None else ""
        reason = _without_values(error.problem or error.context or "is not YAML")
        if reason.startswith(("expected", "could not find")):  # true, and no help
            reason += "; look here and above for a quote, a bracket or an indentation that is wrong"
        raise ConfigUnreadable(f"{path.name}{where}: {reason}") from error
    except YAMLError as error:
        raise ConfigUnreadable(f"{path.name}: {str(error).splitlines()[0]}") from error
    lines: dict[KeyPath, int] = {}
    data = {} if tree is None else _plain(tree, (), lines, path.name)
    if not isinstance(data, dict):
        raise ConfigUnreadable(f"{path.name}: must be a mapping of keys to values")
    return Document(path.name, data, lines)


def _without_values(problem: str) -> str:
    """What ruamel says of a fault, its first line; a value that it quotes may be a secret."""
    if twice := re.match('found duplicate key "(.*?)" with value "', problem):
        return f"the key {twice[1]} stands here twice"
    if "undefined alias" in problem:
        return "a text that begins with * has to stand in quotes"
    return re.sub(r"""(["']).{2,}\1""", "…", problem.splitlines()[0])


def parsed(yaml: YAML, text: str) -> object:
    """The value of a YAML text.

    Raises nothing but YAMLError, whatever ruamel let through: a date in a thirteenth month is a
    ValueError of Python's, a wrong tag an AttributeError. What the text says is not shown.
    """
    try:
        return yaml.load(text)
    except YAMLError:
        raise
    except RecursionError as error:
        raise YAMLError("nests too deeply") from error
    except Exception as error:
        why = "has something that cannot be read: a tag (!!…), or a date or number that is none"
        raise YAMLError(why) from error


class _Constructor(RoundTripConstructor):
    """Knows where a value stands that looks like a date or a number and is none."""

    def construct_object(self, node: Node, deep: bool = False) -> object:  # noqa: FBT001, FBT002 - ruamel's
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # of int(), float() and datetime()
            problem = "looks like a date or a number, and is none: put it in quotes"
            raise ConstructorError(None, None, problem, node.start_mark) from error


def _plain(value: object, path: KeyPath, lines: dict[KeyPath, int], name: str) -> object:
    """A value of ruamel's as one of Python's; notes the lines of all that is in it."""
    if len(path) > _DEEPEST:
        raise ConfigUnreadable(f"{name} line {lines.get(path[:1], 1)}: nests too deeply")
    if isinstance(value, CommentedMap | CommentedSeq):
        plain: dict[str | int, object] = {}
        is_list = isinstance(value, CommentedSeq)
        pairs = enumerate(value) if isinstance(value, CommentedSeq) else value.items()
        for key, inner in pairs:
            # A key that is no text (1:, true:) is unknown or a pattern anyway: the model says so.
            part = key if is_list else str(key)
            if value.lc.data and key in value.lc.data:  # not if it came through a merge (<<)
                lines[(*path, part)] = value.lc.data[key][0] + 1
            plain[part] = _plain(inner, (*path, part), lines, name)
        return list(plain.values()) if is_list else plain
    # ruamel's scalars remember how they were written; the first kind that fits makes them plain.
    for kind, written in ((bool, bool | ScalarBoolean), (str, str), (int, int), (float, float)):
        if isinstance(value, written):
            return kind(value)
    return value
