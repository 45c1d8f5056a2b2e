"""`migrate-db`, `backup`, `restore`: copy all rows of a database to another, or to a file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from time import monotonic
from typing import TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge import __version__
from bridge.cli.console import ExitCode, Files, config_option, json_option, on_config, stop
from bridge.cli.database import existing, print_table
from bridge.config import Config
from bridge.config.fields import SQLITE
from bridge.config.known_keys import MIGRATE_TO
from bridge.rooms.surroundings import SystemClock
from bridge.storage import transfer
from bridge.storage.backup import BackupFile, Sum
from bridge.storage.sqlstore import described, engine_for
from bridge.storage.transfer import Compared

Answer = TypeVar("Answer")
_QUIET_SECONDS = 2.0
"""Seconds after which progress is shown."""

replace_option = click.option(
    "--replace", is_flag=True, help="Overwrite the target database if it is not empty."
)


class _Shown:
    """Progress bar on the terminal, if there is one (implements `transfer.Progress`)."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        )
        self._began = monotonic()
        self._task = self._bar.add_task("")

    def begins(self, what: str, rows: int) -> None:
        self._bar.reset(self._task, description=what, total=rows)

    def advances(self, rows: int) -> None:
        self._bar.advance(self._task, rows)
        if monotonic() - self._began > _QUIET_SECONDS:
            self._bar.start()  # idempotent

    def close(self) -> None:
        if self._bar.live.is_started:
            self._bar.stop()


def _with_progress(work: Callable[[_Shown], Coroutine[None, None, Answer]]) -> Answer:
    shown = _Shown()
    try:
        return asyncio.run(work(shown))
    finally:
        shown.close()


def _placed(url: str, files: Files) -> str:
    """Return a URL of the command line with a relative SQLite file placed beside config.yaml."""
    try:
        engine_for(url, SystemClock())
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if url.startswith(SQLITE):
        url = f"{SQLITE}{files.config.absolute().parent / url.removeprefix(SQLITE)}"
    return url


def _given_to() -> str:
    """Return the target URL from the environment, where its password is not shown by `ps`."""
    if url := os.environ.get(MIGRATE_TO, ""):
        return url
    if path := os.environ.get(f"{MIGRATE_TO}_FILE", ""):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            raise click.UsageError(f"{MIGRATE_TO}_FILE: {path} is not UTF-8 text") from None
    raise click.UsageError(f"no target: give its URL, or set {MIGRATE_TO} (or …_FILE)")


_WARNING = (
    "Data written since the move exists only in the other database, and the bridge will treat the"
    " one in database.url as a restored backup. Use it again?"
)


@click.command("migrate-db")
@config_option
@click.argument("urls", nargs=-1, metavar="[FROM] [TO]")
@replace_option
@click.option(
    "--take-back", is_flag=True, help="Undo the move: let the bridge use the old database again."
)
@click.option("--yes", is_flag=True, help="With --take-back: do not ask.")
@json_option
@click.pass_obj
def migrate_db(
    files: Files,
    urls: Sequence[str],
    *,
    replace: bool,
    take_back: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Move everything from one database into another, SQLite or PostgreSQL.

    FROM and TO are URLs as in database.url. FROM defaults to database.url, TO to the variable
    MATRIX_WEBCHAT_MIGRATE_TO, or the content of the file that MATRIX_WEBCHAT_MIGRATE_TO_FILE
    names. Stop the bridge first. If it is interrupted, run the same command again.
    """
    clock = SystemClock()
    if len(urls) > 2 or (take_back and (urls or replace)):
        raise click.UsageError("give FROM and TO, only TO, or --take-back")
    to = "" if take_back else _placed(urls[-1] if urls else _given_to(), files)
    if len(urls) == 2:
        source = _placed(urls[0], files)
    else:
        source = files.load().database.url.get_secret_value()
    existing(source)
    if take_back:
        if not asyncio.run(transfer.take_back(source, clock, look=True)):
            stop(ExitCode.FAILED, f"{described(source)} has not been moved")
        if not yes:
            click.confirm(_WARNING, abort=True)
        asyncio.run(transfer.take_back(source, clock))
        click.echo(f"The bridge can use {described(source)} again.")
        return
    tables = _with_progress(
        lambda progress: transfer.move(source, to, clock, progress, replace=replace)
    )
    _report(
        tables,
        f"Moved everything to {described(to)}, compared row by row.\n"
        "Set database.url to it and start the bridge. The old database is marked as moved.",
        as_json=as_json,
    )


@click.command()
@on_config
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def backup(config: Config, file: Path, *, as_json: bool) -> None:
    """Write the whole database into a new FILE, whether the bridge runs or not.

    FILE can be restored into SQLite or PostgreSQL. It contains keys and messages: keep it secret.
    Keep config.yaml with it.
    """
    url = existing(config.database.url.get_secret_value())
    if file.exists():
        stop(ExitCode.FAILED, f"{file} already exists")
    sums = _with_progress(
        lambda progress: transfer.backup(url, file, SystemClock(), progress, __version__)
    )
    told = f"Wrote {file}, {file.stat().st_size} bytes, and verified it."
    _report(sums, told, as_json=as_json)


@click.command()
@on_config
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@replace_option
@click.option("--dry-run", is_flag=True, help="Only verify FILE by its digests; change nothing.")
@json_option
def restore(config: Config, file: Path, *, replace: bool, dry_run: bool, as_json: bool) -> None:
    """Fill the configured database, which must be empty, from a FILE that `backup` wrote.

    Stop the bridge first. If it is interrupted, run the same command again.
    """
    url = config.database.url.get_secret_value()
    if dry_run:
        told = f"{file} is complete and intact. Nothing was changed (--dry-run)."
        _report(BackupFile(file).check(), told, as_json=as_json)
        return
    tables = _with_progress(
        lambda progress: transfer.restore(file, url, SystemClock(), progress, replace=replace)
    )
    told = f"Restored {file} to {described(url)}, compared row by row."
    _report(tables, told, as_json=as_json)


def _report(tables: Sequence[Compared] | Sequence[Sum], told: str, *, as_json: bool) -> None:
    """Print each table's rows and digest (the same on both engines and in a backup), and `told`."""
    if as_json:
        click.echo(msgspec.json.encode(tables))
        return
    lines = ((one.table, str(one.rows), one.sha256[:16]) for one in tables)
    print_table(("table", "rows", "sha256"), lines)
    for one in tables:
        if isinstance(one, Compared) and one.changed:
            click.echo(
                f"{one.table}: {one.changed} rows have U+FFFD in place of NUL, which PostgreSQL"
                " does not support"
            )
    click.echo(told)
