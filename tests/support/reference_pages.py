"""Generator of reference pages in docs/. To regenerate them:

python -m tests.support.reference_pages

docs/config.md comes from the config model, docs/command-line.md from the click program,
docs/commands.md from the table of room commands and the texts of each language.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel, SecretStr

from bridge.cli.program import program
from bridge.config.document import KeyPath, render_path
from bridge.config.fields import Reload
from bridge.config.known_keys import Key, Shape, keys_of
from bridge.config.model import Config
from bridge.rooms.commands import COMMANDS, Command
from bridge.texts import shipped
from tests.support.example_config import readable, scalar

DOCS = Path(__file__).parents[2] / "docs"
WRITTEN = (
    "<!-- Written by tests/support/reference_pages.py; tests/shape/test_docs.py compares. -->\n\n"
)
LANGUAGES = {"en": "English", "zh-CN": "简体中文", "zh-TW": "繁體中文", "ja": "日本語"}

# --- docs/config.md -------------------------------------------------------------------------------

CONFIG = f"""\
# Every key of the configuration

{WRITTEN}Guides: [configure](configure.md), [the call centre's side](call-centre.md),
[homeservers](homeservers.md). Any key may also be set by an environment variable (`MATRIX_WEBCHAT_`
and the path, joined by `__`: `MATRIX_WEBCHAT_HOMESERVER__ADDRESS`); with the suffix `_FILE`, the
variable names a file that contains the value (blanks around it are ignored).
`matrix-webchat example-config` prints all keys with these descriptions as comments,
`example-config --schema` prints a JSON Schema for editors.
↻: a SIGHUP applies changes, without a restart.
"""


def config_page() -> str:
    return CONFIG + "".join(_section(key) for key in keys_of(Config).values())


def _section(key: Key) -> str:
    rows = list(_keys(key, ()))
    if key.model is None and key.shape is not Shape.MAPPING:
        return "" if not rows else f"\n## {key.name}\n\n{_table('key', 'default', rows)}"
    about = _words(key)
    return f"\n## {key.name}\n\n{about + chr(10) * 2 if about else ''}" + _table(
        "key", "default", rows if key.shape is Shape.MAPPING else rows[1:]
    )


def _keys(key: Key, above: KeyPath, *, is_live: bool = False) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of a key and those below it; `is_live`: SIGHUP applies all below `above`."""
    path = (*above, key.name)
    is_live = is_live or any(mark in key.info.metadata for mark in Reload)
    listed = "[]" if key.shape is Shape.SECTIONS else ""
    name = f"`{render_path(path)}{listed}`{' ↻' if is_live else ''}"
    yield name, _default(key), _meaning(key)
    if path in {("enterprises", "webchat"), ("enterprises", "queues"), ("enterprises", "rating")}:
        return  # documented with the keys of the top level
    if key.model is not None and key.shape is not Shape.MAPPING:
        for inner in keys_of(key.model).values():
            yield from _keys(inner, path, is_live=is_live)


def _words(key: Key) -> str:
    return " ".join(
        (key.info.description or (key.model.__doc__ if key.model else "") or "").split()
    )


def _meaning(key: Key) -> str:
    allowed = ", ".join(f"`{one}`" for one in _choices(key.info.annotation))
    words = escaped(_words(key))
    return f"{words} One of {allowed}." if allowed and "|" not in _words(key) else words


def _choices(kind: object) -> list[str]:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(one.value) for one in kind]
    if get_origin(kind) is Literal:
        return [str(one) for one in get_args(kind)]
    if get_origin(kind) in {Union, UnionType}:
        return [one for part in get_args(kind) for one in _choices(part)]
    return []


def _default(key: Key) -> str:
    if key.info.is_required() or key.name in {"default_queue", "permissions"}:
        return "required"
    value = key.info.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, BaseModel) or key.shape in {Shape.SECTIONS, Shape.MAPPING}:
        return "" if not isinstance(value, Mapping) or not value else f"`{json.dumps(value)}`"
    return "" if value in ("", ()) or value is None else f"`{scalar(readable(key.name, value))}`"


# --- docs/command-line.md -------------------------------------------------------------------------

COMMAND_LINE = f"""\
# Every command

{WRITTEN}Exit codes and signals: [for operators](operators.md#exit-codes).

All commands take `-h`. Those that read the configuration take `-c` (`--config`), before or after
their name. The tables below leave both out.
"""


def command_line_page() -> str:
    return COMMAND_LINE + "".join(_command(("matrix-webchat",), program))


def _command(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path))
    values = [
        one.make_metavar(context) for one in command.params if isinstance(one, click.Argument)
    ]
    about = " ".join((command.help or "").split())
    yield f"\n## {' '.join([*path, *values])}\n\n{escaped(about)}\n"
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    if len(path) > 1:  # the page's head has it for all
        options = [one for one in options if one.name != "config"]
    rows = [_option(one, context) for one in options if one.get_help_record(context) is not None]
    if rows:
        yield "\n" + _table("flag", "default", rows)
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            if not inner.hidden:
                yield from _command((*path, name), inner)


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    kind = option.type.choices if isinstance(option.type, click.Choice) else ()
    default = option.get_default(context) if option.show_default else None
    about, _, written = (option.help or "").removesuffix("]").partition("  [default: ")
    told = "" if default in (None, (), False) else f"`{default}`"
    allowed = f" One of {', '.join(f'`{one}`' for one in kind)}." if kind else ""
    return flags, f"`{written}`" if written else told, escaped(about) + allowed


# --- docs/commands.md -----------------------------------------------------------------------------

COMMANDS_HEAD = f"""\
# Commands in a room · 命令 · 指令 · コマンド

{WRITTEN}Commands begin with `!wc`, or another prefix that your operator has chosen. In a direct
chat with the bot, the prefix may be omitted while no agent is in the chat. The words of all
languages work in every room. *In clear*: also works unencrypted where encryption is required.

"""


def commands_page() -> str:
    """Return the table of all commands, then their usage in each language."""
    rows = "".join(
        f"| `{verb}` | {_listed(row.names)} | {_who(row)} | {'yes' if row.in_clear else ''} |\n"
        for verb, row in COMMANDS.items()
    )
    page = COMMANDS_HEAD + "| command | other words | who may | in clear |\n" + "| --- " * 4 + "|\n"
    return page + rows + "".join(_usages(language) for language in LANGUAGES)


def _usages(language: str) -> str:
    position, sentences = list(LANGUAGES).index(language), shipped(language)
    usages = (
        sentences[f"usage.{verb}"].format(command=(verb, *row.names.split())[position])
        for verb, row in COMMANDS.items()
    )
    lines = "".join(f"- {usage.replace('<', '&lt;')}\n" for usage in usages)
    return f"\n## {LANGUAGES[language]}\n\n{lines}"


def _who(row: Command) -> str:
    if row.for_admins(()):
        return "room admins"
    changing = [f"`{word}`" for word in ("set", "reset") if row.for_admins((word,))]
    return f"everybody; {', '.join(changing)}: room admins" if changing else "everybody"


def _listed(words: str) -> str:
    return " ".join(f"`{word}`" for word in dict.fromkeys(words.split()))


# --- all pages ------------------------------------------------------------------------------------


def _table(first: str, second: str, rows: list[tuple[str, str, str]]) -> str:
    head = f"| {first} | {second} | |\n| --- | --- | --- |\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def escaped(text: str) -> str:
    """Escape a text for a table cell; inside code, only the column separator."""
    parts = text.replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


PAGES: Mapping[str, Callable[[], str]] = {
    "config.md": config_page,
    "command-line.md": command_line_page,
    "commands.md": commands_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
