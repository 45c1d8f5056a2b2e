"""The file config.yaml: read as plain data with the line of every key; secrets written into it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.util import load_yaml_guess_indent

# --- problems ------------------------------------------------------------------------------------

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of config.yaml to a value."""


def render_path(path: KeyPath) -> str:
    """Return a path as text: `queues[0].name`, `bridge.permissions."@a:b"`."""
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
    """The file cannot be read or is not a YAML mapping (exit code 10)."""


class ConfigInvalid(Exception):
    """A value in the file or the environment is invalid (exit code 11)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


# --- the file ------------------------------------------------------------------------------------

_DEEPEST = 20  # maximum nesting; far above that of any known key


@dataclass(frozen=True)
class Document:
    name: str
    data: dict[str, object]
    lines: Mapping[KeyPath, int]
    """Line of each key and list entry, counted from 1."""

    def line_of(self, path: KeyPath) -> int:
        """Return the line of a key, else of its innermost ancestor in the file, else 0."""
        above = (path[:length] for length in range(len(path), 0, -1))
        return next((self.lines[prefix] for prefix in above if prefix in self.lines), 0)


def read_document(path: Path) -> Document:
    """Read a YAML mapping; ConfigUnreadable names the file and, for a syntax error, the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigUnreadable(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigUnreadable(f"{path} line {line}: is not UTF-8: save it as UTF-8") from error
    yaml = YAML(typ="rt", pure=True)
    yaml.Constructor = _Constructor
    try:
        tree = parsed(yaml, text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}" if mark is not None else ""
        reason = _without_values(error.problem or error.context or "is not YAML")
        # Correct but unhelpful:
        if reason.startswith(("expected", "could not find", "mapping values")):
            reason += "; check this line and those above for a wrong quote, colon or indentation"
        raise ConfigUnreadable(f"{path.name}{where}: {reason}") from error
    except YAMLError as error:
        raise ConfigUnreadable(f"{path.name}: {str(error).splitlines()[0]}") from error
    lines: dict[KeyPath, int] = {}
    data = {} if tree is None else _plain(tree, (), lines, path.name)
    if not isinstance(data, dict):
        raise ConfigUnreadable(f"{path.name}: must be a mapping of keys to values")
    return Document(path.name, data, lines)


def _without_values(problem: str) -> str:
    """Return the first line of ruamel's error without quoted values, which may be secrets.

    What it expected and found instead are single characters and names such as '<scalar>'.
    """
    if twice := re.match('found duplicate key "(.*?)" with value "', problem):
        return f"duplicate key {twice[1]}"
    if "undefined alias" in problem:
        return "text that begins with * must be in quotes"
    if "'\\t'" in problem:
        return "a tab cannot be here: indent with spaces"
    if first := re.match("found character '([@%`])'", problem):
        return f"text that begins with {first[1]} must be in quotes"
    line = problem.splitlines()[0]
    if re.fullmatch(r"expected ([^'\"]|'(.|<[a-z ]+>)')*", line):
        return line
    return re.sub(r"""(["']).{2,}\1""", "…", line)


def parsed(yaml: YAML, text: str) -> object:
    """Parse YAML text; raises only YAMLError.

    ruamel lets other errors escape: ValueError for a date in month 13, AttributeError for a bad
    tag. The message that replaces theirs does not quote the text.
    """
    try:
        return yaml.load(text)
    except YAMLError:
        raise
    except RecursionError as error:
        raise YAMLError("is nested too deeply") from error
    except Exception as error:
        why = "contains an invalid tag (!!…), date or number"
        raise YAMLError(why) from error


class _Constructor(RoundTripConstructor):
    """Adds the line to the error for a malformed date or number."""

    def construct_object(self, node: Node, deep: bool = False) -> object:  # noqa: FBT001, FBT002 - ruamel's
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # from int(), float() or datetime()
            problem = "looks like a date or a number but is not valid: put it in quotes"
            raise ConstructorError(None, None, problem, node.start_mark) from error


def _plain(value: object, path: KeyPath, lines: dict[KeyPath, int], name: str) -> object:
    """Convert a ruamel value to plain Python; record the line of each key and entry in `lines`."""
    if len(path) > _DEEPEST:
        raise ConfigUnreadable(f"{name} line {lines.get(path[:1], 1)}: is nested too deeply")
    if isinstance(value, CommentedMap | CommentedSeq):
        plain: dict[str | int, object] = {}
        is_list = isinstance(value, CommentedSeq)
        pairs = enumerate(value) if isinstance(value, CommentedSeq) else value.items()
        for key, inner in pairs:
            # A non-string key (1:, true:) becomes text: the model reports it unless free-form.
            part = key if is_list else str(key)
            if value.lc.data and key in value.lc.data:  # unknown for keys from a merge (<<)
                lines[(*path, part)] = value.lc.data[key][0] + 1
            plain[part] = _plain(inner, (*path, part), lines, name)
        return list(plain.values()) if is_list else plain
    # ruamel's scalar subclasses keep their formatting: convert to the first plain type that fits.
    for kind, written in ((bool, bool | ScalarBoolean), (str, str), (int, int), (float, float)):
        if isinstance(value, written):
            return kind(value)
    return value


def insert(here: object, path: KeyPath, value: object) -> bool:
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
        if not insert(tree, key, value):
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
