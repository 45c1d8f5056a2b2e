"""`matrix-webchat doctor`: test every part of an installation and say how to fix failures.

It works whether the bridge runs or not. Checked here is this machine: registration file, database,
encryption keys. `crypto reset` fixes any state of the keys, but gives each bridge user a new
identity, of which customers' clients warn: it is suggested only where nothing gentler helps.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from time import perf_counter

import click
from rich.console import Console
from rich.text import Text

from bridge.app.replica import ONE_ROLE, SILENT
from bridge.app.settings import encryption_secret_of, registration_of, tokens_of, users_of
from bridge.cli.call_centre import check_webchat
from bridge.cli.console import ExitCode, Files, one_line, print_json
from bridge.cli.findings import Failed, Finding, Findings, Verdict, check_slips, lacks_tokens
from bridge.cli.homeserver import check_homeserver
from bridge.config.document import ConfigInvalid, ConfigUnreadable
from bridge.config.fields import SQLITE
from bridge.config.model import Config
from bridge.ids import SHARDS
from bridge.matrix.client import Homeserver, new_session
from bridge.matrix.crypto.devices import Fit, Inspected, inspect
from bridge.matrix.crypto.vault import Sealer, Unsealable, Vault
from bridge.matrix.crypto.wire import KeyServer
from bridge.matrix.users import (
    Registration,
    RegistrationError,
    RegistrationMissing,
    load_registration,
)
from bridge.ops.logging import configure_logging
from bridge.rooms.ports import Refused, Unavailable, describe
from bridge.rooms.store import StoreError
from bridge.rooms.surroundings import SystemClock
from bridge.storage.migrate import (
    ForeignSchemaError,
    MovedError,
    NewerSchemaError,
    PartialError,
    UnfinishedError,
)
from bridge.storage.query import database_is_corrupt
from bridge.storage.sqlstore import SqlStore, described, open_store, pending_migrations

_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.SKIP: "yellow"}
_WIDTH = 28
_TESTING = "testing (a server that does not answer takes up to 20 s)"
READABLE = (
    "give the bridge's user read access to the file and its folder (`ls -ld` shows the owners)"
)
_TOO_NARROW = "cannot store every text: use UTF8"
_OUR_FOLDER = "make sure that the folder of database.url exists and belongs to the bridge's user"


def doctor(files: Files, *, as_json: bool = False) -> int:
    """Run and print all checks; return exit code 1 if one failed."""
    # Log lines of the parts would only interrupt the report.
    configure_logging("ERROR", "text", stream=io.StringIO())
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    findings = Findings() if as_json else Findings(on_finding=lambda one: _print(console, one))
    config = _load(findings, files)
    if config is not None:
        # Only on a terminal, and below the findings.
        with nullcontext() if as_json else console.status(_TESTING, spinner="line"):
            asyncio.run(_round(findings, files, config))
    passed, failed, skipped = (findings.count(verdict) for verdict in Verdict)
    if as_json:
        summary = {"passed": passed, "failed": failed, "skipped": skipped, "findings": findings.all}
        print_json(summary, pretty=True)
    else:
        click.echo(f"{passed} passed, {failed} failed, {skipped} not tried")
    return ExitCode.FAILED if failed else ExitCode.OK


def _load(findings: Findings, files: Files) -> Config | None:
    try:
        config = files.load()
    except ConfigUnreadable as error:
        fix = "correct that file"
        if isinstance(error.__cause__, FileNotFoundError):
            fix = "name another with -c, or run `matrix-webchat example-config > config.yaml`"
        elif isinstance(error.__cause__, OSError):
            fix = READABLE
        findings.failed("config", str(error), fix)
    except ConfigInvalid as error:
        for problem in error.problems:
            findings.failed("config", str(problem), "correct that line")
    else:
        findings.passed("config", f"{files.config} is valid")
        return config
    return None


async def _round(findings: Findings, files: Files, config: Config) -> None:
    if lacks_tokens(config):
        findings.failed(
            "tokens",
            "appservice.as_token and hs_token are empty",
            f"run `matrix-webchat register -c {files.config} -r {files.registration}`",
        )
    else:
        with findings.alone("registration file"):
            check_registration(findings, config, files.registration)
    with findings.alone("config"):
        check_slips(findings, files, config)
    usable = await findings.of("database", check_database(config))
    async with migrated_store(config) if usable else nullcontext() as store:
        before = findings.count(Verdict.FAIL)
        if not lacks_tokens(config):
            known = False
            with findings.alone("homeserver"):
                known = await check_homeserver(findings, config, store)
            if known and usable:
                await findings.of(ENCRYPTION, check_encryption(findings, config, store))
            elif known:
                findings.skipped(ENCRYPTION, "the database cannot be used")
        explained = findings.count(Verdict.FAIL) > before
        faulty = []
        for enterprise, part in config.parts().items():
            before = findings.count(Verdict.FAIL)
            about = findings.about(enterprise)
            await about.of("WebChat", check_webchat(about, part, store))
            faulty.append(findings.count(Verdict.FAIL) > before)
        # Of several call centres, one within reach is enough for them to keep their rooms.
        explained |= all(faulty)
        await findings.of("replicas", check_replicas(store, explained=explained))


def _print(console: Console, finding: Finding) -> None:
    line = Text(f"{finding.verdict:4}", style=_COLOURS[finding.verdict])
    console.print(line, f" {finding.what:{_WIDTH}}  {one_line(finding.detail)}")
    if finding.fix:
        console.print(Text(f"{'':4}  {'':{_WIDTH}}  fix: {finding.fix}"))


# --- this machine ---------------------------------------------------------------------------------


def check_registration(findings: Findings, config: Config, path: Path) -> None:
    """Compare the registration file with the one that the configuration gives now."""
    what = "registration file"
    try:
        written = load_registration(path)
    except RegistrationMissing:
        findings.skipped(what, f"{path} does not exist; give the file's path with -r")
        return
    except RegistrationError as error:
        unread = isinstance(error.__cause__, OSError)
        anew = "rename it, and run `matrix-webchat register`: the tokens in config.yaml are kept"
        findings.failed(what, str(error), READABLE if unread else anew)
        return
    if wrong := differences(written, config):
        fix = "run `matrix-webchat register`, give the homeserver the new file, and restart it"
        findings.failed(what, f"{path} differs from config.yaml in {', '.join(wrong)}", fix)
    else:
        findings.passed(what, f"{path} matches the configuration")
    if written.rate_limited:
        fix = f"set `rate_limited: false` in {path} and restart the homeserver"
        findings.failed(
            "rate_limited",
            "the homeserver would limit the bridge's messages like those of a single user",
            fix,
        )
    else:
        findings.passed(
            "rate_limited", "false: the homeserver does not limit the bridge's messages"
        )


def differences(written: Registration, config: Config) -> list[str]:
    """Return the keys (not the values) of a registration that differ from the configuration."""
    wanted = registration_of(config, tokens_of(config))
    wrong = [
        key
        for key in ("id", "url", "as_token", "hs_token", "receive_ephemeral", "device_management")
        if getattr(written, key) != getattr(wanted, key)
    ]
    covered, needed = (
        {namespace.regex for namespace in side.namespaces.users} for side in (written, wanted)
    )
    return wrong if needed <= covered else [*wrong, "namespaces.users"]


async def check_database(config: Config) -> str:
    """Open the database and write to it, unless its schema needs an upgrade."""
    url, clock = config.database.url.get_secret_value(), SystemClock()
    kind = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
    began = perf_counter()
    try:
        if pending := await pending_migrations(url, clock):
            folder = Path(url.removeprefix(SQLITE)).parent
            if url.startswith(SQLITE) and not os.access(folder, os.W_OK | os.X_OK):
                raise Failed(f"{kind}: cannot create files in {folder}", _OUR_FOLDER)
            if pending[0].number == 1:
                return f"{kind}, empty: the next start creates the tables in {described(url)}"
            version = pending[-1].number
            return f"{kind}, reachable; the next start upgrades its schema to version {version}"
        async with open_store(url, clock) as store:
            await store.save_fact("doctor", str(clock.now()))
            await store.check()
            if narrow := await store.narrow_encoding():
                raise StoreError(f"its encoding {narrow} {_TOO_NARROW}")  # noqa: TRY301 - as others
    except (StoreError, ValueError) as error:
        line = re.sub(r"\s+", " ", str(error)).strip() or describe(error)
        line = line if line.startswith(kind) else f"{kind}: {line}"
        raise Failed(line, _database_fix(error, kind)) from error
    return f"{kind}, opened and written to in {(perf_counter() - began) * 1000:.0f} ms"


@asynccontextmanager
async def migrated_store(config: Config) -> AsyncIterator[SqlStore | None]:
    """Open the bridge's database; yield None if it is empty, needs an upgrade or is unusable."""
    url, clock = config.database.url.get_secret_value(), SystemClock()
    async with AsyncExitStack() as stack:
        store = None
        with suppress(StoreError, ValueError):
            if not await pending_migrations(url, clock):
                store = await stack.enter_async_context(open_store(url, clock))
        yield store


async def check_replicas(store: SqlStore | None, *, explained: bool = False) -> str | None:
    """Check that the processes that share the database are alive and serve all shards.

    `explained`: another finding tells why none of them can reach the homeserver or call centre.
    """
    try:
        members = [member for member in await store.members() if member.present] if store else []
        if store is None or not members:
            return None
        roles, notices = await store.sessions(members)
    except StoreError as error:
        raise Failed(
            str(error), "grant the bridge's role read access to the database's tables"
        ) from error
    if len(roles) > 1:
        raise Failed(f"the replicas use several database roles: {', '.join(roles)}", ONE_ROLE)
    if silent := [member.name for member in members if member.age >= SILENT]:
        fix = "another replica takes over its rooms; find out why this process does not respond"
        raise Failed(f"no heartbeat from {', '.join(sorted(silent))}", fix)
    leaving = [member.name for member in members if member.leaving]
    if leaving and not (explained and len(leaving) == len(members)):
        fix = "if it is not being stopped, its log (`peer unreachable`) says what it cannot reach"
        why = "is being stopped, or cannot reach the homeserver or the call centre"
        raise Failed(f"{', '.join(sorted(leaving))} {why}", fix)
    if free := SHARDS - sum(len(member.shards) for member in members):
        fix = (
            "try again in half a minute; if this persists, see the replicas' logs (bridge.replica)"
        )
        raise Failed(f"{free} of the {SHARDS} shards of rooms are served by no replica", fix)
    slow = "; PostgreSQL's host lacks tcp_user_timeout: lost connections end after 25 s"
    return f"{len(members)} alive, all {SHARDS} shards are served{'' if notices else slow}"


# By what PostgreSQL says: words, or the error's code (in parentheses: a name may have its digits).
_POSTGRES_FIXES = {
    "too many c|connection slots": (  # clients, connections
        "let PostgreSQL accept more: max_connections, or the role's CONNECTION LIMIT"
    ),
    r"\(28P01\)|\(28000\)": (
        "correct user and password (database.url, PGPASSWORD), or pg_hba.conf"
    ),
    r"\(3D000\)": (
        "`CREATE DATABASE` (docs/operators.md, Database), or correct the name in database.url"
    ),
    "does not offer TLS": "let PostgreSQL offer TLS (`ssl = on`), or relax sslmode in database.url",
    r"\(42501\)": (  # insufficient_privilege
        "let the role create tables: `ALTER DATABASE <name> OWNER TO <role>`, as a superuser"
    ),
    r"\(3F000\)": (  # invalid_schema_name
        "create the schema, `GRANT USAGE` on it, or correct the search_path (URL, role)"
    ),
    _TOO_NARROW: (
        "`CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`, then `migrate-db` if in use"
    ),
    r"\(25006\)": "set database.url to the primary server (a standby is read-only)",
    "": "start PostgreSQL, and check host, name, user, password and sslmode in database.url",
}


def _database_fix(error: Exception, kind: str) -> str:
    if isinstance(error, ForeignSchemaError):
        return "set database.url to a database of the bridge's own"
    if isinstance(error, NewerSchemaError):
        return "install the version of the bridge that wrote it, or a later one"
    if isinstance(error, MovedError | PartialError | UnfinishedError):
        return "follow the message (docs/operators.md, Move, back up, restore)"
    if isinstance(error, StoreError) and database_is_corrupt(error):
        return "restore the backup (docs/operators.md, Database)"
    if re.search("is full|53100", str(error)):  # disk_full
        return "free space on the disk of database.url"
    if "database is locked" in str(error):
        return "close the other program that has the file of database.url open"
    if kind == "SQLite":
        return _OUR_FOLDER
    return next(fix for pattern, fix in _POSTGRES_FIXES.items() if re.search(pattern, str(error)))


# --- encryption's keys ---------------------------------------------------------------------------

ENCRYPTION = "encryption"
_NAMED = 5
_NONE_YET = "the database has no keys yet: the bridge creates them when it starts"
_NOT_YET = (
    "not checked until the database has its new schema: start the bridge, or run"
    " `matrix-webchat migrate`"
)
_RESET = "stop the bridge and run `matrix-webchat crypto reset`"
_RESTART = (
    "restart the bridge, which publishes them again (an agent's with their next message); if that"
    f" does not help, {_RESET}"
)
_RESTORE = (
    "the database was lost or restored, or another bridge uses the same users: restore the"
    f" newest database; if there is none, {_RESET}"
)
_STATES = {
    Fit.NO_DEVICE: ("the device {device} has no keys on the homeserver", _RESTART),
    Fit.NO_IDENTITY: ("there are no cross-signing keys on the homeserver", _RESTART),
    Fit.UNSIGNED: (
        "the device {device} is not cross-signed on the homeserver: strict clients reject it",
        _RESTART,
    ),
    Fit.FOREIGN_IDENTITY: (
        "the cross-signing keys on the homeserver are not those of this database",
        _RESTORE,
    ),
    Fit.FOREIGN_DEVICE: (
        "the device {device} has other keys on the homeserver than in this database",
        _RESTORE,
    ),
}


async def check_encryption(findings: Findings, config: Config, store: SqlStore | None) -> None:
    """Compare the keys here with those on the homeserver, which must know the bridge's users."""
    if not config.bridge.encryption.allow:
        findings.skipped(ENCRYPTION, "bridge.encryption.allow is false")
        return
    url, users = config.database.url.get_secret_value(), users_of(config)
    try:
        steps = [] if store else await pending_migrations(url, SystemClock())
        if steps and steps[0].number > 1:
            findings.skipped(ENCRYPTION, _NOT_YET)
            return
        async with new_session(verify_tls=config.homeserver.verify_ssl) as session:
            token = config.appservice.as_token.get_secret_value()
            transport = Homeserver(session, config.homeserver.address, token, users)
            vault = None if store is None else Vault(store, Sealer(encryption_secret_of(config)))
            found = await inspect(KeyServer(transport), vault, users.hosts)
    except Unsealable as error:
        own = config.bridge.encryption.pickle_key
        key = "bridge.encryption.pickle_key" if own else "appservice.as_token (or the pickle_key)"
        fix = f"restore the previous {key}; if it is lost, {_RESET}"
        findings.failed(ENCRYPTION, str(error).partition(". ")[0], fix)
    except (StoreError, ValueError):
        findings.skipped(ENCRYPTION, "the database cannot be read")
    except (Unavailable, Refused) as error:
        why = f"cannot query the keys: {error}"
        findings.failed(ENCRYPTION, why, "see the homeserver's log")
    else:
        judge(findings, found)


def judge(findings: Findings, found: Inspected | None) -> None:
    """Add a finding for each state of the keys; `found` is None if the database has none."""
    if found is None:
        findings.skipped(ENCRYPTION, _NONE_YET)
        return
    what, before = f"{ENCRYPTION}, keys", len(findings.all)
    if not found.newest:
        findings.failed(
            f"{ENCRYPTION}, database",
            "this is an older copy: the homeserver has seen a newer state of it (or another bridge"
            " has used the same users meanwhile)",
            "stop the bridge and restore the newest database; or start the bridge with this one:"
            " its users get new devices, and customers see no warning",
        )
    for fit, (state, fix) in _STATES.items():
        those = [keys.user for keys in found.users if keys.fit is fit]
        # For an older copy, the finding above already says what becomes of its devices.
        if those and (found.newest or fit is not Fit.NO_DEVICE):
            detail = f"{_named_users(those)}: {state.format(device=found.device_id)}"
            new = "" if found.device_id else "; this database is new: start the bridge once first"
            findings.failed(what, detail, fix + new)
    if len(findings.all) == before:
        detail = "none yet: the bridge creates them when it starts"
        if found.users:
            good = sum(keys.fit is Fit.GOOD for keys in found.users)
            users, former = "1 user" if good == 1 else f"{good} users", len(found.users) - good
            detail = (
                f"{users} with the device {found.device_id}, cross-signed, same as the database"
            )
            detail += f"; {former} more get it with their next message" if former else ""
        findings.passed(what, detail)
    what = f"{ENCRYPTION}, one-time keys"
    left = {keys.user: keys.one_time_keys for keys in found.users if keys.one_time_keys is not None}
    if none := [user for user, count in left.items() if count == 0]:
        findings.failed(
            what,
            f"{_named_users(none)}: none left, so the next sender gets the fallback key",
            f"start the bridge, which creates new ones; if there are still none, {_RESET}",
        )
    elif left:
        findings.passed(what, f"at least {min(left.values())} left for each user")


def _named_users(users: Sequence[str]) -> str:
    more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
    return ", ".join(users[:_NAMED]) + more
