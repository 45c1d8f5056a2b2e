"""`trace`, `dead-letters`, `replicas`, `migrate`, `crypto reset`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result

from bridge.app.settings import FIRST, encryption_secret_of
from bridge.cli.database import with_store
from bridge.config.loading import load_config
from bridge.ids import RoomId
from bridge.matrix.crypto.devices import EPOCH, Epoch
from bridge.matrix.crypto.vault import Sealer, Vault
from bridge.rooms.record import MatrixEvent, dump_input
from bridge.rooms.store import Change, NewInput, SecretRow, StoredRoom
from bridge.rooms.surroundings import SystemClock
from bridge.storage.migrate import MOVED, SCHEMA_VERSION, UNFINISHED
from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes import flow
from tests.support.postgres import PostgresServer
from tests.unit.cli.runs import Folder
from tests.unit.config.configs import SMALLEST
from tests.unit.config.test_enterprises import TWO

ROOM = RoomId("!room:example.org")
UNREADABLE = (b"{{", b'{"is":"RoomRecord","room_id":"!room:example.org","version":99}')
"""Records: a damaged one, and one of a later version."""
EVENT = "$a-very-long-event-id-that-must-not-be-cut-or-folded-in-a-pipe:example.org"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.write()
    return folder


def do(folder: Folder, work: Callable[[SqlStore], Awaitable[object]]) -> None:
    folder.run_here("migrate")
    with_store(load_config(folder.config, {}), work)


async def receive_and_bury(store: SqlStore) -> None:
    new = NewInput(ROOM, b'{"type":"x"}', EVENT)
    (row,) = await flow.accept(store, [new], now=1_700_000_000_123)
    room = StoredRoom(ROOM, b"", live=False, phase="Idle")
    why = [(row.seq, "it cannot be read")]
    await flow.step(store, room, now=1_700_000_001_000, buried=why)


def only_letter(folder: Folder) -> str:
    listed = folder.run_here("dead-letters", "list").stdout.splitlines()
    assert len(listed) == 2, listed
    return listed[1].split()[0]


def test_lists_name_the_call_centre_if_there_are_several(folder: Folder) -> None:
    """A damaged record names none, so that its dead letter counts as the first one's."""
    folder.write(TWO)

    async def bury(store: SqlStore) -> None:
        await store.save_fact(FIRST, "acme")
        for name, record in (("a", UNREADABLE[0]), ("b", b'{"enterprise":"best"}')):
            room = StoredRoom(RoomId(f"!{name}:example.org"), record, live=False, phase="Idle")
            (row,) = await flow.accept(store, [NewInput(room.room_id, b"{}", name)], now=1)
            await flow.step(store, room, now=2, buried=[(row.seq, "why")])
            change = Change(1, "operator", "cli", "queue", "", "2", room.room_id, "best")
            if name == "b":
                await store.record_change(change)

    do(folder, bury)
    head, *lines = folder.run_here("dead-letters", "list").stdout.splitlines()
    assert head.endswith("call centre")
    assert [line.split()[-1] for line in lines] == ["acme", "best"]
    head, line = folder.run_here("changes").stdout.splitlines()
    assert (head.endswith("call centre"), line.split()[-1]) == (True, "best")


def test_trace_prints_what_happened(folder: Folder) -> None:
    do(folder, receive_and_bury)
    result = folder.run_here("trace", EVENT)
    assert result.exit_code == 0, result.output
    first = result.stdout.splitlines()[1]
    assert "2023-11-14 22:13:20.123" in first
    assert ROOM in first


def test_trace_of_an_unknown_event(folder: Folder) -> None:
    folder.run_here("migrate")
    for event_id, hint in (("$nothing", "rows\n"), ("J-iT", "begins with $: put it in '…'\n")):
        result = folder.run_here("trace", event_id)
        assert result.exit_code == 1
        assert "never seen" in result.stderr
        assert result.stderr.endswith(hint)


def test_dead_letters_are_listed_shown_and_put_back(folder: Folder) -> None:
    folder.run_here("migrate")
    assert folder.run_here("dead-letters", "list").stdout == "No dead letters.\n"
    do(folder, receive_and_bury)
    letter = only_letter(folder)
    shown = folder.run_here("dead-letters", "show", letter).stdout
    assert "it cannot be read" in shown
    assert ROOM in shown
    result = folder.run_here("dead-letters", "retry", letter)
    assert result.exit_code == 0
    assert "within seconds" in result.stdout
    assert folder.run_here("dead-letters", "list").stdout == "No dead letters.\n"


def test_lines_are_not_folded_for_scripts(folder: Folder) -> None:
    why = "/".join(["the homeserver refuses it"] * 20)

    async def bury(store: SqlStore) -> None:
        (row,) = await flow.accept(store, [NewInput(ROOM, b'{"type":"x"}', EVENT)], now=1)
        room = StoredRoom(ROOM, b"", live=False, phase="Idle")
        await flow.step(store, room, now=2, buried=[(row.seq, why)])

    do(folder, bury)
    _, line = folder.run_here("dead-letters", "list").stdout.splitlines()
    assert line.endswith(why)


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_what_becomes_of_a_dead_letter_is_audited(folder: Folder, verb: str) -> None:
    do(folder, receive_and_bury)
    letter = only_letter(folder)
    assert folder.run_here("dead-letters", verb, letter).exit_code == 0
    assert folder.run_here("dead-letters", verb, letter).exit_code == 1, "it is gone"
    (change,) = json.loads(folder.run_here("changes", "--json").stdout)
    assert (change["actor"], change["way"], change["key"]) == (
        "operator",
        "cli",
        f"dead-letters {verb}",
    )
    assert (change["before"], change["room_id"]) == (letter, ROOM)


def test_strangers_do_not_control_the_terminal(folder: Folder) -> None:
    """A homeserver chooses its rooms' ids and users' names."""

    async def bury(store: SqlStore) -> None:
        evil = RoomId("!\x1b[2J\x9b31m\u202e\ni1  forged:b")
        (row,) = await flow.accept(store, [NewInput(evil, "\u2066\x07".encode(), EVENT)], now=1)
        room = StoredRoom(evil, b"", live=False, phase="Idle")
        await flow.step(store, room, now=2, buried=[(row.seq, "\x1b]0;title\x07")])

    do(folder, bury)
    letter = only_letter(folder)
    for command in (("trace", EVENT), ("dead-letters", "list"), ("dead-letters", "show", letter)):
        lines = folder.run_here(*command).stdout.splitlines()
        assert all(line.isprintable() for line in lines), lines
        assert any("!\\x1b[2J\\x9b31m\\u202e\\ni1  forged:b" in line for line in lines), lines


def test_a_password_is_not_shown(folder: Folder) -> None:
    content = {"body": "!wc login ada letmein"}
    body = dump_input(MatrixEvent({"type": "m.room.message", "content": content}))

    async def bury(store: SqlStore) -> None:
        (row,) = await flow.accept(store, [NewInput(ROOM, body, EVENT)], now=1)
        room = StoredRoom(ROOM, b"", live=False, phase="Idle")
        await flow.step(store, room, now=2, buried=[(row.seq, "KeyError")])

    do(folder, bury)
    shown = folder.run_here("dead-letters", "show", only_letter(folder)).stdout
    assert "letmein" not in shown
    assert "not shown: it may hold a password" in shown


async def refuse_for_the_registration(store: SqlStore) -> None:
    (row,) = await flow.accept(store, [NewInput(ROOM, b'{"type":"x"}', EVENT)], now=1)
    room = StoredRoom(ROOM, b"", live=False, phase="Idle")
    await flow.step(store, room, now=2, buried=[(row.seq, "M_EXCLUSIVE")])


def test_a_dead_letter_of_a_registration_that_is_not_loaded_says_so(folder: Folder) -> None:
    do(folder, refuse_for_the_registration)
    listed = folder.run_here("dead-letters", "list").stdout
    cause = "M_EXCLUSIVE: the homeserver does not assign this user to the bridge"
    assert cause in listed
    letter = listed.splitlines()[1].split()[0]
    shown = folder.run_here("dead-letters", "show", letter).stdout
    assert cause in shown
    assert "fix:  copy registration.yaml to the homeserver" in shown
    assert f"then `dead-letters retry {letter}`" in shown


def test_a_dead_letter_is_discarded(folder: Folder) -> None:
    do(folder, receive_and_bury)
    letter = only_letter(folder)
    assert folder.run_here("dead-letters", "discard", letter).exit_code == 0
    assert folder.run_here("dead-letters", "list").stdout == "No dead letters.\n"


@pytest.mark.parametrize(("verb", "told"), [("retry", "will be retried"), ("discard", "Discarded")])
def test_many_dead_letters_are_decided_at_once(folder: Folder, verb: str, told: str) -> None:
    async def bury(store: SqlStore) -> None:
        news = [NewInput(ROOM, b'{"type":"x"}', f"{EVENT}{number}") for number in range(3)]
        rows = await flow.accept(store, news, now=1)
        room = StoredRoom(ROOM, b"", live=False, phase="Idle")
        await flow.step(store, room, now=2, buried=[(row.seq, "refused") for row in rows])

    do(folder, bury)
    listed = folder.run_here("dead-letters", "list").stdout.splitlines()[1:]
    letters = [line.split()[0] for line in listed]
    twice = [letters[0], "i999", letters[0], "all", *letters[1:]]
    result = folder.run_here("dead-letters", verb, *twice)
    assert [told in line for line in result.stdout.splitlines()] == [True] * 3
    assert (result.exit_code, result.stderr) == (1, "there is no dead letter i999, all\n")
    assert folder.run_here("dead-letters", "list").stdout == "No dead letters.\n"


@pytest.mark.parametrize("what", ["show", "retry", "discard"])
def test_unknown_dead_letter(folder: Folder, what: str) -> None:
    folder.run_here("migrate")
    result = folder.run_here("dead-letters", what, "i999")
    assert result.exit_code == 1
    assert "there is no dead letter i999" in result.stderr


def test_migrate(folder: Folder) -> None:
    database = folder.path / "bridge.db"
    dry = folder.run_here("migrate", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "001 " in dry.stdout
    assert "Nothing was changed" in dry.stdout
    assert not database.exists()
    assert f"to version {SCHEMA_VERSION}." in folder.run_here("migrate").stdout
    assert database.exists()
    assert "up to date" in folder.run_here("migrate").stdout


@pytest.mark.parametrize("command", [("migrate",), ("trace", "$x"), ("dead-letters", "list")])
def test_a_newer_schema_is_14(folder: Folder, command: tuple[str, ...]) -> None:
    folder.run_here("migrate")
    with closing(sqlite3.connect(folder.path / "bridge.db")) as database, database:
        database.execute("INSERT INTO schema_version VALUES (99, 'future', 0)")
    result = folder.run_here(*command)
    assert result.exit_code == 14
    assert "upgrade the program" in result.stderr


def test_a_file_that_is_no_database_is_18(folder: Folder) -> None:
    (folder.path / "bridge.db").write_bytes(b"this is no database, " * 500)
    result = folder.run_here("trace", "$x")
    assert result.exit_code == 18


@pytest.mark.parametrize("record", UNREADABLE)
def test_a_record_that_cannot_be_read_is_18(folder: Folder, record: bytes) -> None:
    do(folder, partial(spoil, record))
    result = folder.run_here("order", ROOM, "status")
    assert result.exit_code == 18, result.output
    assert result.stderr.startswith("database: a stored value cannot be read")


@pytest.mark.parametrize("record", UNREADABLE)
def test_a_room_whose_record_cannot_be_read_is_erased(folder: Folder, record: bytes) -> None:
    do(folder, partial(spoil, record))
    result = folder.run_here("erase", ROOM, "--yes", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["done"], report["rooms"], report["left"]) == (True, [ROOM], {})
    assert "cannot be read" not in result.stdout


@pytest.mark.parametrize("mark", [UNFINISHED, MOVED])
@pytest.mark.parametrize(
    "command", [("migrate",), ("trace", "$x"), ("migrate-db", "sqlite:///new")]
)
def test_a_mark_that_cannot_be_read_is_18(
    folder: Folder, mark: str, command: tuple[str, ...]
) -> None:
    do(folder, lambda store: store.save_fact(mark, "{"))
    result = folder.run_here(*command)
    assert result.exit_code == 18, result.output
    assert result.stderr.startswith("database: a stored value cannot be read")
    assert "the mark of a moved or incomplete database" in result.stderr


async def spoil(record: bytes, store: SqlStore) -> None:
    room = StoredRoom(ROOM, record, live=False, phase="Idle", customer="@ada:example.org")
    await flow.step(store, room, now=1)


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "postgres://u:secret-word@db..example.org/x"]
)
def test_a_database_that_cannot_be_reached_is_14(folder: Folder, url: str) -> None:
    folder.environment["MATRIX_WEBCHAT_DATABASE__URL"] = url
    result = folder.run_here("trace", "$x")
    assert result.exit_code == 14
    assert "secret-word" not in result.output


@pytest.mark.parametrize(
    "command",
    [
        ("trace", "$x"),
        ("dead-letters", "list"),
        ("dead-letters", "show", "i1"),
        ("dead-letters", "retry", "i1"),
        ("dead-letters", "discard", "i1"),
        ("crypto", "reset", "--yes"),
        ("crypto", "reset"),
    ],
)
def test_missing_database_is_reported_not_created(folder: Folder, command: tuple[str, ...]) -> None:
    """“No dead letters.” from a new, empty file would look like the bridge's."""
    result = folder.run_here(*command)
    assert result.exit_code == 14
    assert result.stderr == f"there is no database at {folder.path}/bridge.db\n"
    assert [path.name for path in folder.path.iterdir()] == ["config.yaml"]


def test_the_database_is_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = Folder(tmp_path / "bridge"), tmp_path / "elsewhere"
    for path in (folder.path, elsewhere):
        path.mkdir()
    folder.config.write_text(SMALLEST, encoding="utf-8")  # database.url as shipped: relative
    monkeypatch.chdir(folder.path)
    assert folder.run("migrate").exit_code == 0
    do(folder, receive_and_bury)
    monkeypatch.chdir(elsewhere)
    only_letter(folder)
    assert list(elsewhere.iterdir()) == []


def test_replicas_are_listed(folder: Folder, postgres_server: PostgresServer) -> None:
    assert folder.run_here("replicas").exit_code == 1  # not with SQLite
    url = postgres_server.new_database()
    text = SMALLEST + f'database: {{url: "{url}"}}\n'
    folder.config.write_text(text, encoding="utf-8")
    assert folder.run_here("replicas").stdout.startswith("No replicas")

    async def look() -> tuple[Result, Result]:
        async with open_store(url, SystemClock(), sole=True, shared=True) as store:
            assert store.shards is not None
            await store.shards.take(range(100))
            await store.shards.beat("a", leaving=False)
            return await asyncio.to_thread(folder.run_here, "replicas"), await asyncio.to_thread(
                folder.run_here, "replicas", "--json"
            )

    told, as_json = asyncio.run(look())
    assert told.stdout.splitlines()[1].split()[:2] == ["a", "100"]
    assert told.stdout.split()[-1] == "serves"
    (one,) = json.loads(as_json.stdout)
    assert (one["name"], one["shards"], one["present"]) == ("a", list(range(100)), True)
    assert folder.run_here("replicas").stdout.split()[-1] == "gone"


def test_crypto_reset_asks_before_it_deletes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write()
    url = f"sqlite:///{tmp_path}/bridge.db"
    secret = encryption_secret_of(load_config(folder.config, {}))

    async def fill() -> None:
        async with open_store(url, SystemClock()) as store:
            await store.save_secrets([SecretRow(name, b"x") for name in ("a", "b")])

    async def look() -> tuple[bytes | None, Epoch | None]:
        async with open_store(url, SystemClock()) as store:
            vault = Vault(store, Sealer(secret))
            return await store.secret("a"), await vault.load(EPOCH, Epoch)

    asyncio.run(fill())
    asked = folder.run_here("crypto", "reset")
    assert (asked.exit_code, "Continue?" in asked.output) == (1, True)
    assert asyncio.run(kept_row(url)) == b"x"
    result = folder.run_here("crypto", "reset", "--yes")
    assert result.exit_code == 0, result.output
    assert "Deleted 2 encrypted rows" in result.output
    kept, epoch = asyncio.run(look())
    assert kept is None
    assert epoch is not None
    assert epoch.replace


def test_crypto_reset_is_refused_while_the_bridge_runs(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.storage.sqlite.CLAIM_SECONDS", 0.05)

    async def beside_it() -> Result:
        async with open_store(f"sqlite:///{folder.path}/bridge.db", SystemClock(), sole=True):
            return await asyncio.to_thread(folder.run_here, "crypto", "reset")

    result = asyncio.run(beside_it())
    assert result.exit_code == 14
    assert f"a bridge is using {folder.path}/bridge.db: stop it first" in result.stderr
    assert "waiting for its end" in result.stderr
    assert result.stdout == ""
    assert "Continue?" not in result.output


async def kept_row(url: str) -> bytes | None:
    async with open_store(url, SystemClock()) as store:
        return await store.secret("a")
