"""What can be looked at on this machine: the registration file, the database, the clock."""

from __future__ import annotations

import os
import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import perf_counter

from bridge.app.settings import users_of
from bridge.cli.doctor.findings import Findings
from bridge.config import Config
from bridge.matrix.registration import (
    Registration,
    RegistrationError,
    RegistrationMissing,
    load_registration,
    make_registration,
)
from bridge.ops.clock import SystemClock
from bridge.rooms.store import StoreError
from bridge.storage.migrate import NewerSchemaError
from bridge.storage.query import database_is_corrupt
from bridge.storage.sqlstore import open_store, pending_migrations

MOST_SKEW = 60.0
"""Seconds. The clock stamps our frames and decides when a token is too old."""
READABLE = "let the bridge's user enter its folder and read it (`ls -ld` shows whose they are)"
_FACT = "doctor"


def check_registration(findings: Findings, config: Config, path: Path) -> None:
    """Compare the registration file with what the configuration would make of it today."""
    what = "registration file"
    try:
        written = load_registration(path)
    except RegistrationMissing:
        findings.skipped(what, f"there is no {path} here; name it with -r")
        return
    except RegistrationError as error:
        unread = isinstance(error.__cause__, OSError)
        findings.failed(what, str(error), READABLE if unread else "run `matrix-webchat register`")
        return
    wrong = differences(written, config)
    if wrong:
        findings.failed(
            what,
            f"{path}: {', '.join(wrong)} not as config.yaml has it",
            "run `matrix-webchat register` and restart the homeserver",
        )
    else:
        findings.passed(what, f"{path} matches the configuration")
    if written.rate_limited:
        findings.failed(
            "rate_limited",
            "the homeserver would slow us down like one user",
            f"set `rate_limited: false` in {path} and restart the homeserver",
        )
    else:
        findings.passed("rate_limited", "false: agents of many chats may write at once")


def differences(written: Registration, config: Config) -> list[str]:
    """The keys of a registration that do not fit the configuration; values stay unsaid."""
    appservice = config.appservice
    wanted = make_registration(
        appservice_id=appservice.id,
        url=appservice.address,
        users=users_of(config),
        as_token=appservice.as_token.get_secret_value(),
        hs_token=appservice.hs_token.get_secret_value(),
    )
    wrong = [
        key
        for key in ("id", "url", "as_token", "hs_token", "receive_ephemeral", "device_management")
        if getattr(written, key) != getattr(wanted, key)
    ]
    covered = [namespace.regex for namespace in written.namespaces.users]
    if any(namespace.regex not in covered for namespace in wanted.namespaces.users):
        wrong.append("namespaces.users")
    return wrong


async def check_database(findings: Findings, config: Config) -> None:
    """Open the database and write to it, unless its schema is still to be upgraded."""
    what, clock = "database", SystemClock()
    url = config.database.url.get_secret_value()
    kind = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
    began = perf_counter()
    try:
        pending = await pending_migrations(url, clock)
        if pending and (folder := _unwritable(url)):
            findings.failed(
                what,
                f"{kind}: no file can be made in {folder}",
                "let the folder of database.url exist and belong to the bridge's user",
            )
            return
        if pending:
            findings.passed(
                what,
                f"{kind}, reachable; the next start will bring its schema to version "
                f"{pending[-1].number}",
            )
            return
        async with open_store(url, clock) as store:
            await store.save_fact(_FACT, str(clock.now()))
    except (StoreError, ValueError) as error:
        findings.failed(what, f"{kind}: {_one_line(error)}", _database_fix(error, kind))
        return
    took = (perf_counter() - began) * 1000
    findings.passed(what, f"{kind}, opened and written to in {took:.0f} ms")


def _unwritable(url: str) -> Path | None:
    """The folder in which SQLite's file would be made, if it cannot be."""
    if not url.startswith("sqlite:"):
        return None
    folder = Path(url.removeprefix("sqlite:///")).absolute().parent
    return None if os.access(folder, os.W_OK | os.X_OK) else folder


def _database_fix(error: Exception, kind: str) -> str:
    if isinstance(error, NewerSchemaError):
        return "install the version of the bridge that wrote it, or a later one"
    if isinstance(error, StoreError) and database_is_corrupt(error):
        return "restore the backup (docs/operators.md, Database)"
    if "full" in str(error).lower():  # both engines' own word for it
        return "free space on the disk of database.url"
    if kind == "SQLite":
        return "let the folder of database.url exist and belong to the bridge's user"
    return "start PostgreSQL, and check host, name, user and password in database.url"


def check_clock(findings: Findings, date: str, whose: str) -> None:
    """Compare our clock with a server's `Date` header."""
    what = f"clock, against {whose}"
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        findings.skipped(what, "its answers carry no time")
        return
    # Their header has whole seconds: half of one is the best guess of what was cut off.
    skew = datetime.now(theirs.tzinfo).timestamp() - theirs.timestamp() - 0.5
    detail = f"{abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) > MOST_SKEW:
        findings.failed(what, f"ours is {detail}", "run an NTP client on both machines")
    else:
        findings.passed(what, "the same" if abs(skew) < 2 else f"ours is {detail}")


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
