from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import msgspec
import pytest

from bridge.app.settings import users_of
from bridge.cli.doctor import (
    check_database,
    check_registration,
    check_replicas,
    differences,
    migrated_store,
)
from bridge.cli.findings import Findings, Verdict, check_clock
from bridge.config.model import Config
from bridge.matrix.users import Namespaces, Registration, make_registration, save_registration
from bridge.rooms.surroundings import SystemClock
from bridge.storage.query import Query, Statement, Unreachable
from bridge.storage.sqlstore import SqlStore, open_store
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.unit.cli.doctor.installation import AS_TOKEN, HS_TOKEN, configured, the, told


def registered(config: Config) -> Registration:
    return make_registration(
        appservice_id="webchat",
        url=config.appservice.address,
        users=users_of(config),
        as_token=AS_TOKEN,
        hs_token=HS_TOKEN,
    )


def test_registration_that_matches(tmp_path: Path) -> None:
    config, findings = configured(tmp_path), Findings()
    save_registration(registered(config), tmp_path / "registration.yaml")
    check_registration(findings, config, tmp_path / "registration.yaml")
    assert told(findings) == ["PASS registration file", "PASS rate_limited"]


def test_registration_that_is_elsewhere(tmp_path: Path) -> None:
    """It may be on the homeserver's machine only, which is no failure."""
    findings = Findings()
    check_registration(findings, configured(tmp_path), tmp_path / "registration.yaml")
    assert told(findings) == ["SKIP registration file"]


def test_registration_that_cannot_be_read(tmp_path: Path) -> None:
    findings = Findings()
    (tmp_path / "registration.yaml").write_text("id: [", encoding="utf-8")
    check_registration(findings, configured(tmp_path), tmp_path / "registration.yaml")
    assert told(findings) == ["FAIL registration file"]
    assert "rename it" in findings.all[0].fix


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"id": "other"}, "id"),
        ({"url": "http://elsewhere:1"}, "url"),
        ({"as_token": "x" * 20}, "as_token"),
        ({"hs_token": "x" * 20}, "hs_token"),
        ({"device_management": False}, "device_management"),
        ({"receive_ephemeral": False}, "receive_ephemeral"),
        ({"namespaces": Namespaces()}, "namespaces.users"),
    ],
)
def test_each_difference_is_named_without_its_value(
    tmp_path: Path, change: dict[str, object], key: str
) -> None:
    config = configured(tmp_path)
    changed = msgspec.structs.replace(registered(config), **change)
    assert differences(changed, config) == [key]
    findings = Findings()
    save_registration(changed, tmp_path / "registration.yaml")
    check_registration(findings, config, tmp_path / "registration.yaml")
    finding = the(findings, "registration file")
    assert finding.verdict is Verdict.FAIL
    assert f" differs from config.yaml in {key}" in finding.detail
    assert "give the homeserver the new file" in finding.fix, "it may have a copy"
    assert "x" * 20 not in finding.detail


def test_rate_limited(tmp_path: Path) -> None:
    config, findings = configured(tmp_path), Findings()
    slow = msgspec.structs.replace(registered(config), rate_limited=True)
    save_registration(slow, tmp_path / "registration.yaml")
    check_registration(findings, config, tmp_path / "registration.yaml")
    assert "rate_limited: false" in the(findings, "rate_limited").fix


@pytest.mark.asyncio
async def test_database_before_the_first_start(tmp_path: Path) -> None:
    findings = Findings()
    await findings.of("database", check_database(configured(tmp_path)))
    assert told(findings) == ["PASS database"]
    expected = f"SQLite, empty: the next start creates the tables in {tmp_path}/bridge.db"
    assert findings.all[0].detail == expected
    assert not (tmp_path / "bridge.db").exists(), "looking must not make it"


@pytest.mark.asyncio
async def test_database_that_works(tmp_path: Path) -> None:
    config, findings = configured(tmp_path), Findings()
    async with open_store(config.database.url.get_secret_value(), SystemClock()):
        # The bridge may be running at the same time.
        await findings.of("database", check_database(config))
    assert the(findings, "database").detail.startswith("SQLite, opened and written to in ")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("sqlite:///{0}/no/such/folder/bridge.db", "belongs to the bridge's user"),
        ("postgres://u:secret-word@127.0.0.1:9/x", "start PostgreSQL"),
    ],
)
async def test_database_that_is_not_there(tmp_path: Path, url: str, fix: str) -> None:
    more = f'database: {{url: "{url.format(tmp_path)}"}}'
    findings = Findings()
    await findings.of("database", check_database(configured(tmp_path, more=more)))
    finding = the(findings, "database")
    assert finding.verdict is Verdict.FAIL
    assert fix in finding.fix
    assert "secret-word" not in finding.detail
    assert "\n" not in finding.detail + finding.fix


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("SQLite: database or disk is full", "free space on the disk of database.url"),
        ("PostgreSQL: disk full (53100)", "free space on the disk of database.url"),
        ("SQLite: database is locked", "close the other program that has the file of database.url"),
    ],
)
async def test_database_that_takes_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, fix: str
) -> None:
    async def full(_store: SqlStore, _name: str, _value: str) -> None:
        raise Unreachable(said)

    config, findings = configured(tmp_path), Findings()
    async with open_store(config.database.url.get_secret_value(), SystemClock()):
        pass
    monkeypatch.setattr(SqlStore, "save_fact", full)
    await findings.of("database", check_database(config))
    assert the(findings, "database").fix.startswith(fix)


@pytest.mark.asyncio
async def test_database_without_a_connection_left(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    postgres_server.sql("CREATE ROLE crowd LOGIN CONNECTION LIMIT 0")
    url = postgres_server.url().replace("//postgres@", "//crowd:x@")
    findings = Findings()
    config = configured(tmp_path, more=f'database: {{url: "{url}"}}')
    await findings.of("database", check_database(config))
    finding = the(findings, "database")
    assert 'too many connections for role "crowd"' in finding.detail
    assert "max_connections" in finding.fix


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wrong", "detail", "fix"),
    [
        ("//nobody:x@/postgres?", 'role "nobody" does not exist (28000)', "correct user and pass"),
        ("//postgres@/nowhere?", 'database "nowhere" does not exist (3D000)', "`CREATE DATABASE`"),
        ("//postgres@/28000?", 'database "28000" does not exist (3D000)', "`CREATE DATABASE`"),
    ],
)
async def test_database_that_refuses_the_connection(
    postgres_server: PostgresServer, tmp_path: Path, wrong: str, detail: str, fix: str
) -> None:
    url = postgres_server.url().replace("//postgres@/postgres?", wrong)
    findings = Findings()
    config = configured(tmp_path, more=f'database: {{url: "{url}"}}')
    await findings.of("database", check_database(config))
    finding = the(findings, "database")
    assert finding.detail == f"PostgreSQL refuses the connection: {detail}"
    assert finding.fix.startswith(fix)


@pytest.mark.asyncio
async def test_database_proxy_with_no_server_behind_it(tmp_path: Path) -> None:
    """It accepts and hangs up, which is no refusal by PostgreSQL."""
    proxy = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port, findings = proxy.sockets[0].getsockname()[1], Findings()
    url = f"postgresql://postgres@127.0.0.1:{port}/db?sslmode=disable"
    async with proxy:
        config = configured(tmp_path, more=f'database: {{url: "{url}"}}')
        await findings.of("database", check_database(config))
    finding = the(findings, "database")
    assert finding.detail.startswith("PostgreSQL cannot be reached: connection was closed")
    assert finding.fix.startswith("start PostgreSQL")


@pytest.mark.asyncio
async def test_database_without_tls(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # SSLRequest
        writer.write(b"N")
        await writer.drain()
        writer.close()

    findings = Findings()
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgres://u:secret-word@127.0.0.1:{port}/x?sslmode=require"
        config = configured(tmp_path, more=f'database: {{url: "{url}"}}')
        await findings.of("database", check_database(config))
    finding = the(findings, "database")
    assert f"127.0.0.1:{port}: it does not offer TLS, which sslmode requires" in finding.detail
    assert finding.fix.startswith("let PostgreSQL offer TLS")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("told", "detail", "fix"),
    [
        (
            "search_path=nowhere",
            "no schema of the search_path can be used",
            "create the schema, `GRANT USAGE` on it, or correct the search_path",
        ),
        (
            "default_transaction_read_only=on",
            "this server accepts no writes",
            "set database.url to the primary",
        ),
        ("sslmode=verify-ful", "must be one of: disable,", "user, password and sslmode"),
    ],
)
async def test_database_that_takes_no_tables(
    postgres_server: PostgresServer, tmp_path: Path, told: str, detail: str, fix: str
) -> None:
    url = f"{postgres_server.new_database()}&{told}"
    findings = Findings()
    more = f'database: {{url: "{url}"}}'
    await findings.of("database", check_database(configured(tmp_path, more=more)))
    finding = the(findings, "database")
    assert detail in finding.detail
    assert finding.detail.count("PostgreSQL") == 1
    assert fix in finding.fix


@pytest.mark.asyncio
@pytest.mark.parametrize("used", [False, True])
async def test_database_whose_encoding_cannot_store_chinese(
    postgres_server: PostgresServer, tmp_path: Path, used: bool
) -> None:
    url = postgres_server.new_database()
    if used:
        async with open_store(url, SystemClock()):
            pass
    postgres_server.make_narrow(url)
    findings, config = Findings(), configured(tmp_path, more=f'database: {{url: "{url}"}}')
    await findings.of("database", check_database(config))
    finding = the(findings, "database")
    assert finding.verdict is Verdict.FAIL
    assert finding.detail == "PostgreSQL: its encoding LATIN1 cannot store every text: use UTF8"
    assert "ENCODING 'UTF8'" in finding.fix


@pytest.mark.asyncio
async def test_database_of_another_program(tmp_path: Path) -> None:
    """Synapse's has a table of the same name as ours."""
    config, findings = configured(tmp_path), Findings()
    with closing(sqlite3.connect(tmp_path / "bridge.db")) as other:
        other.execute("CREATE TABLE schema_version (version INTEGER, upgraded BOOLEAN)")
    await findings.of("database", check_database(config))
    finding = the(findings, "database")
    assert finding.detail == "SQLite: the database has the schema of another program"
    assert finding.fix == "set database.url to a database of the bridge's own"


@pytest.mark.asyncio
async def test_database_of_a_later_version(tmp_path: Path) -> None:
    config, findings = configured(tmp_path), Findings()
    async with open_store(config.database.url.get_secret_value(), SystemClock()):
        pass
    with closing(sqlite3.connect(tmp_path / "bridge.db")) as database, database:
        database.execute("INSERT INTO schema_version VALUES (999, 'future', 0)")
    await findings.of("database", check_database(config))
    assert "or a later one" in the(findings, "database").fix


@pytest.mark.asyncio
@pytest.mark.parametrize("whole", [True, False])
async def test_database_that_is_damaged(tmp_path: Path, whole: bool) -> None:
    """As a whole, or in a page that no start reads."""
    path, config = tmp_path / "bridge.db", configured(tmp_path)
    if whole:
        path.write_bytes(b"no database at all" * 1000)
    else:
        async with open_store(f"sqlite:///{path}", SystemClock()):
            pass
        with closing(sqlite3.connect(path)) as file:
            ((root,),) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'anchors'")
        with path.open("r+b") as pages:
            pages.seek((root - 1) * 4096)
            pages.write(b"\xff" * 100)
    findings = Findings()
    await findings.of("database", check_database(config))
    assert "restore the backup" in the(findings, "database").fix


@pytest.mark.parametrize(
    ("skew", "verdict", "detail"),
    [
        (0, Verdict.PASS, "the same"),
        (20, Verdict.PASS, "behind"),
        (90, Verdict.FAIL, "behind"),
        (-90, Verdict.FAIL, "ahead"),
    ],
)
def test_clock(skew: int, verdict: Verdict, detail: str) -> None:
    findings = Findings()
    theirs = datetime.now(UTC) + timedelta(seconds=skew)
    check_clock(findings, format_datetime(theirs, usegmt=True), "them")
    finding = the(findings, "clock, against them")
    assert finding.verdict is verdict
    assert detail in finding.detail


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_clock_of_a_server_without_a_usable_date(date: str) -> None:
    findings = Findings()
    check_clock(findings, date, "them")
    assert told(findings) == ["SKIP clock, against them"]


# --- several processes ----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_replicas(postgres_server: PostgresServer, tmp_path: Path) -> None:
    url, clock = postgres_server.new_schema(), SystemClock()
    schema = url.rpartition("=")[2]
    config = configured(tmp_path, more=f'database: {{url: "{url}"}}')

    async def line(*, explained: bool = False) -> str:
        """Return the verdict, with the fix of a failure."""
        findings = Findings()
        async with migrated_store(config) as store:
            await findings.of("replicas", check_replicas(store, explained=explained))
        return next((f"{one.verdict} {one.detail} {one.fix}" for one in findings.all), "")

    async with AsyncExitStack() as stack:
        assert await line() == ""  # nothing is there
        await stack.enter_async_context(open_store(url, clock))
        assert await line() == ""  # it is alone, or does not run
        ours = []
        for name in ("one", "other"):
            store = await stack.enter_async_context(open_store(url, clock, sole=True, shared=True))
            assert store.shards is not None
            await store.shards.beat(name, leaving=False)
            ours.append(store.shards)
        await ours[0].take(range(100))
        assert (await line()).startswith("FAIL 156 of the 256 shards of rooms are served by")
        await ours[1].take(range(256))
        assert await line() == "PASS 2 alive, all 256 shards are served "
        await ours[1].beat("other", leaving=True)
        assert (await line()).startswith("FAIL other is being stopped, or cannot reach the homes")
        assert await line(explained=True) == await line()  # it is one of several
        await ours[0].beat("one", leaving=True)
        assert (await line()).startswith("FAIL one, other is being stopped, or cannot reach")
        assert (await line(explained=True)).startswith("PASS 2 alive")
        aged = f"UPDATE {schema}.replicas SET seen = seen - interval '9 s' WHERE name = 'other'"  # noqa: S608
        postgres_server.sql(aged)
        assert (await line()).startswith("FAIL no heartbeat from other another replica")
        postgres_server.sql(
            f"CREATE ROLE stranger LOGIN; GRANT ALL ON SCHEMA {schema} TO stranger; "
            f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO stranger"
        )
        theirs = url.replace("//postgres@", "//stranger@")
        third = await stack.enter_async_context(open_store(theirs, clock, sole=True, shared=True))
        assert third.shards is not None
        await third.shards.beat("third", leaving=False)
        several = (
            "FAIL the replicas use several database roles: postgres, stranger use the same role"
        )
        assert (await line()).startswith(several)


@pytest.mark.asyncio
async def test_tcp_keepalives_are_set_for_each_session() -> None:
    """By default, the locks of a vanished host stay for two hours, or for ever."""
    server = PostgresServer(port=free_port())
    try:
        server.start()
        async with open_store(server.url(), SystemClock()) as store:
            assert await store.sessions([]) == ([], True)
            asked = "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"
            rows = await store._engine.read(
                Query(Statement("", "SELECT current_setting(unnest($1::text[]))"), (list(asked),))
            )
            assert [value for (value,) in rows] == ["10", "5", "3"]
    finally:
        server.remove()
