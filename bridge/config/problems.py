"""What can be wrong with a configuration, and how it is said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of config.yaml to a value."""

_PLAIN_KEY = re.compile(r"[\w-]+")


def render_path(path: KeyPath) -> str:
    """`queues[0].name`; keys that are no words are quoted: `bridge.permissions."@a:b"`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if _PLAIN_KEY.fullmatch(part) else f'"{part}"'
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
    """The file, or a variable of the environment, breaks the rules (exit code 11).

    Attributes:
        problems: all of them, in the order of the file.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
