"""From a file and an environment to a `Config`, or to every problem with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from bridge.config.document import Document, read_document
from bridge.config.environment import Overlay, overlay
from bridge.config.fields import SQLITE
from bridge.config.keys import advice
from bridge.config.model import Config, Database
from bridge.config.problems import ConfigInvalid, KeyPath, Problem
from bridge.config.rules import check_rules

Check = Callable[[Config], Iterable[Problem]]
"""A further check of a valid configuration; it gives paths, `load_config` adds the lines."""

_SENTENCES = {
    "missing": "must be given",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


def load_config(path: Path, environment: Mapping[str, str], checks: Sequence[Check] = ()) -> Config:
    """Read config.yaml, lay the environment over it, and check it.

    Args:
        path: the file.
        environment: variables; those named `MATRIX_WEBCHAT_…` count.
        checks: what outer rings know about values (override keys of texts, …).

    Raises:
        ConfigUnreadable: no such file, no YAML, no mapping.
        ConfigInvalid: with every problem found.
    """
    document = read_document(path)
    laid = overlay(document.data, environment)
    place = _Places(document, laid)
    if laid.problems:
        raise ConfigInvalid(laid.problems)
    try:
        config = Config.model_validate(laid.data)
    except ValidationError as error:
        problems = _problems(error.errors(include_url=False))
        raise ConfigInvalid(place.sort(problems)) from None  # its text could hold secrets
    problems = [problem for check in (check_rules, *checks) for problem in check(config)]
    if problems:
        raise ConfigInvalid(place.sort(problems))
    return _beside(config, path.absolute().parent)


def _beside(config: Config, folder: Path) -> Config:
    """Have a relative SQLite file lie beside config.yaml, in whatever folder a command is given."""
    url = config.database.url.get_secret_value()
    if not url.startswith(SQLITE):
        return config
    database = Database(url=SecretStr(f"{SQLITE}{folder / url.removeprefix(SQLITE)}"))
    return config.model_copy(update={"database": database})


class _Places:
    """Says where a value came from."""

    def __init__(self, document: Document, laid: Overlay) -> None:
        self._document = document
        self._origins = laid.origins
        webchat = laid.data.get("webchat")
        self._single = isinstance(webchat, dict)

    def sort(self, problems: Iterable[Problem]) -> list[Problem]:
        """The problems with their places, in the order of the file; the environment's last."""
        placed = [self._placed(problem) for problem in problems]
        return sorted(placed, key=lambda problem: (problem.line == 0, problem.line))

    def _placed(self, problem: Problem) -> Problem:
        path = self._as_written(problem.path)
        for length in range(len(path), 0, -1):
            variable = self._origins.get(path[:length])
            if variable is not None:
                return Problem(path, problem.message, f"environment {variable}")
        line = self._document.line_of(path)
        origin = f"{self._document.name} line {line}" if line else self._document.name
        return Problem(path, problem.message, origin, line)

    def _as_written(self, path: KeyPath) -> KeyPath:
        # The model always has a list; the file may have a single mapping.
        if self._single and path[:2] == ("webchat", 0):
            return ("webchat", *path[2:])
        return path


def _problems(errors: Sequence[ErrorDetails]) -> list[Problem]:
    paths: list[KeyPath] = [
        tuple(part for part in details["loc"] if part != "[key]") for details in errors
    ]
    return [
        Problem(path, _sentence(details, path))
        for details, path in zip(errors, paths, strict=True)
        # A list whose entries are all wrong counts as empty for pydantic; not for the operator.
        if details["type"] != "too_short"
        or not any(len(other) > len(path) and other[: len(path)] == path for other in paths)
    ]


def _sentence(details: ErrorDetails, path: KeyPath) -> str:
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if kind == "extra_forbidden":
        return advice(path)
    if value is None and kind != "missing":
        return "is empty: give it a value, or remove the key"
    if kind == "value_error":
        return str(context["error"])
    if kind in {"enum", "literal_error"}:
        return f"must be {context['expected']}"
    if kind == "string_type" and isinstance(value, int | float):
        return "must be text: put the value in quotes"
    if kind in _SENTENCES:
        return _SENTENCES[kind]
    message = details["msg"].removeprefix("Input should be ").removeprefix("Value ")
    return f"must be {message}" if message != details["msg"] else message
