"""Database commands.

`trace`, `dead-letters`, `console-link`, `order` (a command in a room, from outside it), `changes`
(the audit trail), `replicas`, `migrate`, `erase`, `crypto`; `migrate-db`, `backup`, `restore`,
which copy all rows to another database, or to a file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import TypeVar

import click
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bridge import __version__
from bridge.admin.signin import LINK_LIFE, SignIn
from bridge.admin.views import Caller, Verb, decide_letter, may_hold_password
from bridge.app import settings
from bridge.cli.console import (
    ExitCode,
    Files,
    config_option,
    json_option,
    local_address,
    on_config,
    one_line,
    print_json,
    stop,
)
from bridge.config.fields import SQLITE
from bridge.config.loading import MIGRATE_TO
from bridge.config.model import Config
from bridge.ids import EventId, RoomId
from bridge.matrix.crypto.devices import reset_rows
from bridge.matrix.crypto.vault import WORDS, Sealer, Vault
from bridge.matrix.users import LOAD_IT, NOT_LOADED, not_loaded
from bridge.rooms import erasure
from bridge.rooms.engine import order_for
from bridge.rooms.record import Order, RoomInput, dump_input
from bridge.rooms.rules import BadOrder, Rules
from bridge.rooms.store import Change, Commit, DeadLetter, NewInput, StorePort
from bridge.rooms.surroundings import SystemClock, Upgrades
from bridge.storage import transfer
from bridge.storage.migrate import SCHEMA_VERSION
from bridge.storage.query import AlreadyInUse
from bridge.storage.sqlstore import (
    SqlStore,
    described,
    engine_for,
    missing_file,
    open_store,
    pending_migrations,
)
from bridge.storage.transfer import BackupFile, Compared, Sum

Answer = TypeVar("Answer")
About = TypeVar("About", Change, DeadLetter)
OPERATOR = Caller("operator", "cli")
_ALL = 100_000
"""Maximum number of dead letters listed."""


def existing(url: str) -> str:
    """Return the URL; exit if it names an SQLite file that does not exist."""
    if missing := missing_file(url):
        stop(ExitCode.DATABASE, f"there is no database at {missing}")
    return url


def with_store(
    config: Config,
    ask: Callable[[SqlStore], Awaitable[Answer]],
    *,
    sole: bool = False,
    wait: bool = True,
) -> Answer:
    """Run `ask` on the configured database; `sole` and `wait`: see `open_store`.

    Exits if there is no database file: answers from a new, empty one would mislead.
    """
    url = existing(config.database.url.get_secret_value())
    seal = Sealer(settings.encryption_secret_of(config), WORDS)

    async def session() -> Answer:
        async with open_store(url, SystemClock(), sole=sole, wait=wait, seal=seal) as store:
            return await ask(store)

    try:
        return asyncio.run(session())
    except AlreadyInUse:
        raise AlreadyInUse(f"a bridge is using {described(url)}: stop it first") from None


async def hand_in(store: StorePort, new: NewInput) -> None:
    """Store an input; a running bridge handles it within seconds."""
    await store.commit(Commit(new.room_id, SystemClock().now(), waiting=[new]))
    await store.notify_owner(new.room_id)


@click.command()
@on_config
@click.argument("event_id")
def trace(config: Config, event_id: str) -> None:
    """Print the history of a Matrix event, with times."""
    rows = with_store(config, lambda store: store.trace(EventId(event_id)))
    if not rows:
        # The shell takes `$abc` without quotes for a variable of its own.
        hint = "" if event_id.startswith("$") else "; an event id begins with $: put it in '…'"
        stop(ExitCode.FAILED, f"{event_id}: never seen, or older than retention.rows{hint}")
    lines = []
    for row in rows:
        what = f"{row.what} (possible double)" if row.repeat else row.what
        lines.append((utc(row.at), what, row.room_id, row.detail))
    print_table(("time (UTC)", "what", "room", "detail"), lines)


@click.group("dead-letters")
@config_option
def dead_letters() -> None:
    """List, show, retry or discard what has failed for good."""


@dead_letters.command("list")
@on_config
def list_dead_letters(config: Config) -> None:
    """List all dead letters, newest last."""
    letters = with_store(config, lambda store: _named(config, store, store.letters((0, 0), _ALL)))
    heads = ("id", "time (UTC)", "room", "why", *_of_several(config))
    lines = [(row.id, utc(row.at), row.room_id, _why(row), row.enterprise) for row in letters]
    print_table(heads, lines, none="No dead letters.")


def _of_several(config: Config) -> tuple[str, ...]:
    """Return the head of a list's last column; none if there is only one call centre."""
    return ("call centre",) if config.enterprises else ()


async def _named(config: Config, store: SqlStore, asked: Awaitable[Sequence[About]]) -> list[About]:
    """Return rows with the configured names of their call centres."""
    own = partial(settings.named, config, await store.fact(settings.FIRST) or "")
    return [
        replace(row, enterprise=own(row.enterprise) if row.room_id else "") for row in await asked
    ]


@dead_letters.command("show")
@on_config
@click.argument("letter_id")
def show_dead_letter(config: Config, letter_id: str) -> None:
    """Show a dead letter with its content."""
    letter = with_store(config, lambda store: store.letter(letter_id))
    if letter is None:
        stop(ExitCode.FAILED, f"there is no dead letter {letter_id}")
    click.echo(f"id:   {letter.id}\nroom: {one_line(letter.room_id)}\ntime: {utc(letter.at)}")
    click.echo(f"why:  {one_line(_why(letter))}")
    if not_loaded(letter.why):
        click.echo(f"fix:  {LOAD_IT}; then `dead-letters retry {letter.id}`")
    prefixes = {part.bridge.command_prefix for part in config.parts().values()}
    body = (
        "(not shown: it may hold a password)"
        if may_hold_password(letter, prefixes)
        else letter.body
    )
    click.echo(f"body: {one_line(body) or '(erased)'}")


@dead_letters.command("retry")
@on_config
@click.argument("letter_ids", nargs=-1, required=True)
def revive_dead_letters(config: Config, letter_ids: tuple[str, ...]) -> None:
    """Retry dead letters."""
    _decide(
        config, letter_ids, "retry", "{} will be retried; a running bridge does so within seconds."
    )


@dead_letters.command("discard")
@on_config
@click.argument("letter_ids", nargs=-1, required=True)
def discard_dead_letters(config: Config, letter_ids: tuple[str, ...]) -> None:
    """Discard dead letters; their content is never delivered."""
    _decide(config, letter_ids, "discard", "Discarded {}.")


def _decide(config: Config, letter_ids: Sequence[str], verb: Verb, message: str) -> None:
    """Decide each letter and print `message` about it; exit in the end if an id has none."""

    async def work(store: SqlStore) -> list[str]:
        gone = []
        for letter_id in dict.fromkeys(letter_ids):
            if await decide_letter(store, OPERATOR, letter_id, verb, SystemClock().now()) is None:
                gone.append(letter_id)
            else:
                click.echo(message.format(letter_id))
        return gone

    if gone := with_store(config, work):
        stop(ExitCode.FAILED, f"there is no dead letter {', '.join(gone)}")


@click.command("console-link")
@on_config
@click.option("--name", default=OPERATOR.actor, help="Name of the operator, for the audit trail.")
def console_link(config: Config, name: str) -> None:
    """Print a link that signs in to the web console. It works once, for ten minutes."""
    console, clock, key = config.console, SystemClock(), settings.console_key_of(config)
    if not console.enabled:
        stop(ExitCode.FAILED, "console.enabled is false: set it to true and restart the bridge")
    if not settings.encryption_secret_of(config):  # the link's HMAC key derives from it
        stop(
            ExitCode.FAILED,
            "appservice.as_token is empty: use the configuration and environment of the bridge",
        )
    who = name.strip() or OPERATOR.actor
    secret = with_store(config, lambda store: SignIn(store, clock, key).link(who))
    address = console.public_url or f"http://{local_address(console.hostname, console.port)}"
    click.echo(f"{address}/admin/#sign-in={secret}")
    click.echo(f"It works once, for {LINK_LIFE // 60_000} minutes.", err=True)


async def _stored_id(store: SqlStore, room_id: str) -> RoomId:
    """Return the id under which a room is stored: its first one, also after an upgrade."""
    upgrades = Upgrades()
    await upgrades.load(store)
    return upgrades.stored_id(RoomId(room_id))


@click.command()
@on_config
@click.argument("room_id")
@click.argument("words", nargs=-1, required=True)
def order(config: Config, room_id: str, words: tuple[str, ...]) -> None:
    """Run a command in a room. Example: `order '!room:example.org' queue set 2`."""
    rules = settings.all_rules_of(config)
    some = next(iter(rules.values()))
    given = Order(OPERATOR.actor, OPERATOR.way, " ".join(words))

    async def store_order(store: SqlStore) -> None:
        where = await _stored_id(store, room_id)
        first = await store.fact(settings.FIRST) or ""

        def of_room(enterprise: str) -> Rules:
            return rules.get(enterprise or first, some)

        await hand_in(store, await order_for(store, where, given, of_room, SystemClock().now()))

    try:
        with_store(config, store_order)
    except BadOrder as bad:
        stop(ExitCode.FAILED, bad.sentence(some))
    click.echo("Stored; a running bridge carries it out within seconds.")


@click.command()
@on_config
@json_option
@click.option(
    "-n",
    "--limit",
    default=50,
    type=click.IntRange(1, 10_000),
    show_default=True,
    help="Maximum number of rows.",
)
@click.argument("room_id", required=False)
def changes(config: Config, room_id: str | None, limit: int, *, as_json: bool) -> None:
    """Print who changed what in a room or in all, newest first."""
    if room_id is not None and not room_id.startswith("!"):
        stop(ExitCode.FAILED, f"{room_id} is not a room (!…)")

    async def ask(store: SqlStore) -> list[Change]:
        where = None if room_id is None else await _stored_id(store, room_id)
        return await _named(config, store, store.changes(where, limit=limit))

    found = with_store(config, ask)
    if as_json:
        print_json(found)
        return
    heads = ("time (UTC)", "who", "way", "what", "before", "after", "room", *_of_several(config))
    rest = attrgetter("actor", "way", "key", "before", "after", "room_id", "enterprise")
    print_table(heads, [(utc(change.at), *rest(change)) for change in found], none="No changes.")


@click.command()
@on_config
@json_option
def replicas(config: Config, *, as_json: bool) -> None:
    """List the processes that share the rooms. Each serves some of the 256 shards."""
    if config.database.url.get_secret_value().startswith("sqlite"):
        stop(
            ExitCode.FAILED,
            "replicas need PostgreSQL; a SQLite database is used by one process only",
        )
    members = with_store(config, lambda store: store.members())
    if as_json:
        print_json(members)
        return
    lines = []
    for replica in sorted(members, key=lambda member: member.name):
        state = "gone" if not replica.present else "leaving" if replica.leaving else "serves"
        shards, seen = str(len(replica.shards)), f"{max(0, round(replica.age))} s ago"
        lines.append((replica.name, shards, utc(replica.started), seen, state))
    none = "No replicas: the bridge is not running, or it runs as a single process."
    print_table(("replica", "shards", "since (UTC)", "seen", "state"), lines, none=none)


@click.command()
@on_config
@click.option("--dry-run", is_flag=True, help="Only list the pending upgrades.")
def migrate(config: Config, *, dry_run: bool) -> None:
    """Upgrade the database's schema. The bridge does so at its start, too."""
    url = config.database.url.get_secret_value()
    steps = asyncio.run(pending_migrations(url, SystemClock()))
    if not steps:
        click.echo(f"The schema is up to date (version {SCHEMA_VERSION}).")
        return
    for step in steps:
        click.echo(f"{step.number:03d} {step.name}")
    if dry_run:
        click.echo("Nothing was changed (--dry-run).")
        return

    async def upgrade() -> None:
        async with open_store(url, SystemClock()):
            pass

    asyncio.run(upgrade())
    click.echo(f"Upgraded the schema to version {SCHEMA_VERSION}.")


def _why(letter: DeadLetter) -> str:
    return f"{letter.why}: {NOT_LOADED}" if not_loaded(letter.why) else letter.why


def print_table(
    heads: Sequence[str], lines: Collection[Sequence[str]], *, none: str = "", err: bool = False
) -> None:
    """Print lines, cut to as many columns as there are heads; `none` if there are none."""
    if none and not lines:
        click.echo(none)
        return
    table = Table(*heads, box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for line in lines:
        table.add_row(*map(one_line, line[: len(heads)]))
    console = Console(stderr=err, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 100_000  # do not wrap lines for scripts
    console.print(table)


def utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d %H:%M:%S}.{ms % 1000:03d}"


# --- erase ---------------------------------------------------------------------------------------

_ERASURE = "This permanently erases all data of the bridge about {}. Continue?"


@click.command()
@on_config
@click.argument("subject")
@click.option(
    "--dry-run", is_flag=True, help="Only print what would be erased, and what would be kept."
)
@click.option(
    "--force", is_flag=True, help="End current chats first; without it, they stop the command."
)
@click.option(
    "--stay", is_flag=True, help="Keep serving erased rooms, as new ones; else leave them."
)
@click.option(
    "--redact", is_flag=True, help="Also redact the latest events on Matrix, where allowed."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def erase(
    config: Config,
    subject: str,
    *,
    dry_run: bool,
    force: bool,
    stay: bool,
    redact: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase all data of a room (!…) or a person (@name:server). The bridge may run or not."""
    is_ours = settings.users_of(config).is_ours
    try:
        if dry_run or not yes:
            report = with_store(config, lambda store: erasure.survey(store, subject, is_ours))
            if dry_run:
                _show(report, as_json=as_json, title="Found")
                return
            if report.chatting and not force:
                raise erasure.StillChatting(report.chatting)  # noqa: TRY301 - handled as the other's
            if report.found:
                _show(report, as_json=False, title="Found", err=True)
                click.confirm(_ERASURE.format(one_line(subject)), abort=True, err=True)
        by = OPERATOR.actor, OPERATOR.way
        wish = erasure.Wish(subject=subject, by=by, force=force, stay=stay, redact=redact)
        gone = partial(erasure.erase, wish=wish, is_ours=is_ours, clock=SystemClock())
        try:
            report = with_store(config, gone, sole=True, wait=False)
        except AlreadyInUse:
            if not as_json:
                click.echo("The bridge is running: it has to erase the data itself.", err=True)
            report = with_store(config, lambda store: gone(store, tell=partial(_tell, store)))
    except erasure.BadSubject as error:
        stop(ExitCode.FAILED, str(error))
    except erasure.StillChatting as error:
        stop(ExitCode.FAILED, f"{error}: nothing was erased; use --force to end it first")
    _show(report, as_json=as_json, title="Erased")
    if not report.done:
        stop(ExitCode.FAILED, "Not everything is erased yet: the bridge continues; run this again.")


async def _tell(store: StorePort, room_id: RoomId, order: RoomInput, key: str) -> None:
    await hand_in(store, NewInput(room_id, dump_input(order), key))


def _show(report: erasure.Report, *, as_json: bool, title: str, err: bool = False) -> None:
    if as_json:
        print_json(report)
        return
    if not report.found:
        click.echo(f"The bridge has no data about {one_line(report.subject)}.")
    for room_id in report.chatting:
        click.echo(f"There is a current chat or request in {one_line(room_id)}.", err=err)
    if report.accounts:
        click.echo(f"Accounts at the call centre: {one_line(', '.join(report.accounts))}", err=err)
    if report.found:
        counts = [(kind, str(n), str(report.left.get(kind, 0))) for kind, n in report.found.items()]
        print_table((title.lower(), "rows", "left"), counts, err=err)
    kept = [item for item in report.kept if report.found or item not in erasure.KEPT]
    if kept:
        stays = [(item.what, item.where, item.why) for item in kept]
        print_table(("kept", "where", "why"), stays, err=err)


# --- crypto reset --------------------------------------------------------------------------------

_WARNING = (
    "Stop the bridge first. At its next start, each of its users gets a new device and a new"
    " cross-signing identity; customers' apps will warn that the identity has changed. Continue?"
)


@click.group()
@config_option
def crypto() -> None:
    """Manage the keys of end-to-end encryption."""


@crypto.command("reset")
@on_config
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset_crypto(config: Config, *, yes: bool) -> None:
    """Make new devices at the next start. Helps if keys are lost, or not the homeserver's."""

    async def forget(store: SqlStore) -> int:
        dropped = await store.drop_secrets()
        vault = Vault(store, Sealer(settings.encryption_secret_of(config)))
        await store.save_secrets(reset_rows(vault))
        return dropped

    if not yes:
        with_store(config, lambda store: store.ping(), sole=True)  # fail before the question
        click.confirm(_WARNING, abort=True)
    dropped = with_store(config, forget, sole=True)
    click.echo(
        f"Deleted {dropped} encrypted rows. The bridge creates new devices at its next start."
    )


# --- move, back up, restore -----------------------------------------------------------------------

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


_TAKE_BACK = (
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
    files: Files, urls: Sequence[str], *, replace: bool, take_back: bool, yes: bool, as_json: bool
) -> None:
    """Move everything into another database.

    FROM and TO are URLs as in database.url, SQLite or PostgreSQL. FROM defaults to database.url, TO
    to the variable MATRIX_WEBCHAT_MIGRATE_TO, or the content of the file that
    MATRIX_WEBCHAT_MIGRATE_TO_FILE names. Stop the bridge first, and repeat an interrupted move.
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
            click.confirm(_TAKE_BACK, abort=True)
        asyncio.run(transfer.take_back(source, clock))
        click.echo(f"The bridge can use {described(source)} again.")
        return
    with closing(_Shown()) as progress:
        tables = asyncio.run(transfer.move(source, to, clock, progress, replace=replace))
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
    """Write the whole database into a new FILE.

    The bridge may run or not. FILE can be restored into SQLite or PostgreSQL. It contains keys and
    messages: keep it secret. Keep config.yaml with it.
    """
    url = existing(config.database.url.get_secret_value())
    if file.exists():
        stop(ExitCode.FAILED, f"{file} already exists")
    with closing(_Shown()) as progress:
        sums = asyncio.run(transfer.backup(url, file, SystemClock(), progress, __version__))
    message = f"Wrote {file}, {file.stat().st_size} bytes, and verified it."
    _report(sums, message, as_json=as_json)


@click.command()
@on_config
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@replace_option
@click.option("--dry-run", is_flag=True, help="Only verify FILE by its digests; change nothing.")
@json_option
def restore(config: Config, file: Path, *, replace: bool, dry_run: bool, as_json: bool) -> None:
    """Fill the empty database from a FILE that `backup` wrote.

    Stop the bridge first. If it is interrupted, run the same command again.
    """
    url = config.database.url.get_secret_value()
    if dry_run:
        message = f"{file} is complete and intact. Nothing was changed (--dry-run)."
        _report(BackupFile(file).check(), message, as_json=as_json)
        return
    with closing(_Shown()) as progress:
        restoring = transfer.restore(file, url, SystemClock(), progress, replace=replace)
        tables = asyncio.run(restoring)
    message = f"Restored {file} to {described(url)}, compared row by row."
    _report(tables, message, as_json=as_json)


def _report(tables: Sequence[Compared] | Sequence[Sum], message: str, *, as_json: bool) -> None:
    """Print each table's rows and digest (alike on both engines and in a backup), and `message`."""
    if as_json:
        print_json(tables)
        return
    lines = [(item.table, str(item.rows), item.sha256[:16]) for item in tables]
    print_table(("table", "rows", "sha256"), lines)
    for item in tables:
        if isinstance(item, Compared) and item.changed:
            click.echo(
                f"{item.table}: {item.changed} rows have U+FFFD in place of NUL, which PostgreSQL"
                " does not support"
            )
    click.echo(message)
