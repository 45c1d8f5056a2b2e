"""Moving a database into another: every value, resumable at any point, all rows compared."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, closing

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bridge.rooms.store import GhostRow, NewInput, SecretRow, StoreError
from bridge.storage.migrate import SCHEMA_VERSION, MovedError, NewerSchemaError, UnfinishedError
from bridge.storage.query import AlreadyInUse, CorruptDatabaseError
from bridge.storage.sqlstore import SqlStore, described, open_store
from bridge.storage.transfer import move, take_back
from tests.fakes.flow import accept
from tests.unit.storage.conftest import FixedClock, NewUrl
from tests.unit.storage.contents import (
    Silent,
    columns_of,
    contents,
    fill,
    made_at,
    put,
    rows_in,
    run,
)
from tests.unit.storage.rows import A

CLOCK = FixedClock()
WAYS = [("sqlite", "postgres"), ("postgres", "sqlite"), ("postgres", "postgres")]
both_ways = pytest.mark.parametrize(("before", "after"), WAYS)
either = pytest.mark.parametrize("engine", ["sqlite", "postgres"])


def opened(url: str) -> AbstractAsyncContextManager[SqlStore]:
    return open_store(url, CLOCK, sole=True)


class Stopped(Exception):
    """Raised in place of a kill."""


class Stops(Silent):
    """Ends a run at one of its pages, or where a stage begins."""

    def __init__(self, page: int = -1, stage: str = "") -> None:
        super().__init__()
        self._page, self._stage = page, stage

    def begins(self, what: str, rows: int) -> None:
        super().begins(what, rows)
        if what == self._stage:
            raise Stopped

    def advances(self, rows: int) -> None:
        super().advances(rows)
        if self.pages == self._page:
            raise Stopped


# --- values --------------------------------------------------------------------------------------

_LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")
VALUES: dict[str, st.SearchStrategy[object]] = {
    "text": st.text(_LETTERS, max_size=40),
    "bytea": st.binary(max_size=60),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.integers(0, 1),
}
KEY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffd"))
KEYS = {
    "accounts": ["room_id"], "anchors": ["room_id", "name"], "chats": ["room_id", "number"],
    "facts": ["name"], "ghosts": ["user_id"], "journal": ["seq"], "rooms": ["room_id"],
    "secrets": ["name"],
}  # fmt: skip
_rows = st.data()


def some_rows(
    data: st.DataObject, table: str, columns: list[tuple[str, str, bool]], keys: list[str]
) -> list[dict[str, object]]:
    strategies: dict[str, st.SearchStrategy[object]] = {}
    for name, kind, nullable in columns:
        if name in keys and kind == "text":
            strategies[name] = KEY_TEXT.filter(lambda text: len(text) < 60)
        else:
            strategies[name] = st.none() | VALUES[kind] if nullable else VALUES[kind]
    unique = [lambda row: tuple(row[name] for name in keys)]
    if table == "journal":
        unique.append(lambda row: (row["key"] if row["key"] is not None else row["seq"],))
    rows = st.lists(st.fixed_dictionaries(strategies), max_size=3, unique_by=tuple(unique))
    return data.draw(rows, label=table)


@settings(max_examples=10, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(data=_rows)
def test_every_value_is_moved_there_and_back(new_url: NewUrl, data: st.DataObject) -> None:
    """NULL, bytes, numbers of 64 bits, any text; a NUL in a text becomes U+FFFD in PostgreSQL."""
    first, second, third = new_url("sqlite"), new_url("postgres"), new_url("sqlite")

    async def there_and_back() -> None:
        await made_at(first, SCHEMA_VERSION)
        await made_at(second, SCHEMA_VERSION)
        for table, columns in (await columns_of(second)).items():
            keys = KEYS.get(table) or await keys_of(first, table)
            await put(first, table, some_rows(data, table, columns, keys))
        wanted = {
            table: [
                tuple(one.replace("\0", "\ufffd") if isinstance(one, str) else one for one in row)
                for row in rows
            ]
            for table, rows in (await contents(first)).items()
        }
        wanted = {table: sorted(rows, key=repr) for table, rows in wanted.items()}
        before = await contents(first)
        moved = await move(first, second, CLOCK, Silent())
        assert await contents(second) == wanted
        assert await contents(first) == before
        assert sum(one.changed for one in moved) == sum(
            "\0" in "".join(one for one in row if isinstance(one, str))
            for rows in before.values()
            for row in rows
        )
        await move(second, third, CLOCK, Silent())
        assert await contents(third) == wanted

    asyncio.run(there_and_back())


async def keys_of(url: str, table: str) -> list[str]:
    rows = await run(url, f"SELECT name FROM pragma_table_info('{table}') WHERE pk > 0")  # noqa: S608
    return [name for (name,) in rows]


@pytest.mark.asyncio
async def test_a_nul_in_a_key_is_refused_with_its_row(new_url: NewUrl) -> None:
    first = new_url("sqlite")
    await made_at(first, SCHEMA_VERSION)
    await run(first, "INSERT INTO anchors VALUES ('!a', $1, '$e')", "sta\0rt")
    with pytest.raises(StoreError, match="anchors has a row whose key contains a NUL"):
        await move(first, new_url("postgres"), CLOCK, Silent())


@pytest.mark.asyncio
async def test_value_of_a_wrong_type_is_refused(new_url: NewUrl) -> None:
    """SQLite stores values of any type in any column."""
    first = new_url("sqlite")
    await made_at(first, SCHEMA_VERSION)
    await run(first, "INSERT INTO secrets VALUES ('name', 'a text', NULL)")
    with pytest.raises(
        CorruptDatabaseError, match="secrets has a row with str instead of bytes: nam"
    ):
        await move(first, new_url("postgres"), CLOCK, Silent())


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.asyncio
@both_ways
async def test_numbers_continue_after_the_last(new_url: NewUrl, before: str, after: str) -> None:
    """Also after deleted rows: their numbers are part of transaction ids."""
    first, second = new_url(before), new_url(after)
    async with opened(first) as store:
        rows = await accept(store, [NewInput(A, b"{}", f"${number}") for number in range(9)], 1)
    await run(first, "DELETE FROM journal WHERE seq > 2")
    await move(first, second, CLOCK, Silent())
    async with opened(second) as store:
        (new,) = await accept(store, [NewInput(A, b"{}", "$new")], 1)
    assert new.seq == rows[-1].seq + 1


@pytest.mark.asyncio
@both_ways
async def test_move_of_a_database_without_numbers(new_url: NewUrl, before: str, after: str) -> None:
    first, second = new_url(before), new_url(after)
    await made_at(first, SCHEMA_VERSION)
    await move(first, second, CLOCK, Silent())
    async with opened(second) as store:
        (new,) = await accept(store, [NewInput(A, b"{}", "$new")], 1)
    assert new.seq <= 2  # PostgreSQL's migrations use up one


# --- interrupted and resumed ---------------------------------------------------------------------


@pytest.mark.asyncio
@both_ways
async def test_move_is_resumed_wherever_it_was_interrupted(
    new_url: NewUrl, before: str, after: str
) -> None:
    first, second = new_url(before), new_url(after)
    await fill(first, rooms=30, each=10)
    wanted = await contents(first)
    whole = Silent()
    await move(first, new_url("sqlite"), CLOCK, whole)
    assert await take_back(first, CLOCK)
    copying = whole.pages // 2
    for page in range(1, copying + 1):
        with pytest.raises(Stopped):
            await move(first, second, CLOCK, Stops(page=page))
        with pytest.raises(UnfinishedError, match="the database is incomplete: copying from"):
            async with opened(second):
                pytest.fail("a bridge started on half of its rooms")
        async with opened(first):
            pass  # nothing is lost but time
    rest = Silent()
    assert rows_in(await move(first, second, CLOCK, rest))["journal"] == 300
    assert await contents(second) == wanted
    async with opened(second):
        pass


@pytest.mark.asyncio
async def test_resumed_move_does_not_write_rows_again(new_url: NewUrl) -> None:
    first, second = new_url("sqlite"), new_url("postgres")
    await fill(first, rooms=4, each=100)
    with pytest.raises(Stopped):
        await move(first, second, CLOCK, Stops(stage="comparing"))
    # Copied rows are not written a second time: that would change their xmin.
    ((written,),) = await run(second, "SELECT count(DISTINCT xmin::text) FROM journal")
    before = await run(second, "SELECT xmin::text, seq FROM journal ORDER BY seq")
    await move(first, second, CLOCK, Silent())
    assert await run(second, "SELECT xmin::text, seq FROM journal ORDER BY seq") == before
    assert written > 1


@pytest.mark.asyncio
async def test_a_kill_between_the_two_marks(
    new_url: NewUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is marked as moved, the target not yet as complete: neither can be used."""
    first, second = new_url("sqlite"), new_url("postgres")
    await fill(first, rooms=2, each=2)
    wanted = await contents(first)

    with monkeypatch.context() as patched:
        patched.setattr("bridge.storage.transfer._DROP_FACT", None)  # no statement
        with pytest.raises(AttributeError):
            await move(first, second, CLOCK, Silent())
    with pytest.raises(MovedError):
        async with opened(first):
            pytest.fail("it was moved")
    with pytest.raises(UnfinishedError):
        async with opened(second):
            pytest.fail("it is not finished")
    with pytest.raises(MovedError):
        await move(first, new_url("postgres"), CLOCK, Silent())
    await move(first, second, CLOCK, Silent())
    async with opened(second):
        pass
    assert await contents(second) == wanted


_MOVER = """
import asyncio, os, signal, sys
from bridge.storage.transfer import move
from tests.unit.storage.conftest import FixedClock

class Kills:
    left = int(sys.argv[3])
    def begins(self, *_): self.advances(0)
    def advances(self, _):
        self.left -= 1
        if not self.left: os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(move(sys.argv[1], sys.argv[2], FixedClock(), Kills()))
"""


@pytest.mark.asyncio
@both_ways
async def test_move_is_resumed_after_kill_9(new_url: NewUrl, before: str, after: str) -> None:
    first, second = new_url(before), new_url(after)
    await fill(first, rooms=20, each=100)
    wanted = await contents(first)
    for steps in (2, 9, 14):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _MOVER, first, second, str(steps)
        )
        assert await process.wait() == -signal.SIGKILL
        with pytest.raises(UnfinishedError):
            async with opened(second):
                pytest.fail("half of it")
    await move(first, second, CLOCK, Silent())
    assert await contents(second) == wanted


# --- compared ------------------------------------------------------------------------------------


class Meddles(Silent):
    """Changes the target before it is compared."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        super().__init__()
        self._meddle = meddle

    def begins(self, what: str, rows: int) -> None:
        super().begins(what, rows)
        if what == "comparing":
            self._meddle()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "UPDATE journal SET body = CAST('Words 0 中' AS BLOB) WHERE seq = 7",
            "journal: 1 rows (7)",
        ),
        ("UPDATE rooms SET deadline = 0 WHERE room_id = '!0é:example.org'", "rooms: 1 rows (!0é:"),
        ("DELETE FROM journal WHERE seq IN (3, 4)", "journal: 2 rows (3, 4)"),
        ("INSERT INTO facts VALUES ('zz', '')", "facts: 1 rows (zz)"),
        ("UPDATE rooms SET room_id = '!1' WHERE room_id LIKE '!1é%'", "rooms: 2 rows (!1, !1é:"),
    ],
)
async def test_row_that_differs_is_found(new_url: NewUrl, statement: str, named: str) -> None:
    first, second = new_url("postgres"), new_url("sqlite")
    await fill(first, rooms=2, each=5)

    def meddle() -> None:
        import sqlite3

        path = second.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as connection, connection:
            assert connection.execute(statement).rowcount > 0

    with pytest.raises(StoreError, match="source and target differ") as caught:
        await move(first, second, CLOCK, Meddles(meddle))
    assert named in str(caught.value)
    async with opened(first):
        pass  # it is still in use
    with pytest.raises(UnfinishedError):
        async with opened(second):
            pytest.fail("it is not what it should be")
    with pytest.raises(
        StoreError, match="source and target differ"
    ):  # it is not copied a second time
        await move(first, second, CLOCK, Silent())
    await move(first, second, CLOCK, Silent(), replace=True)
    assert await contents(second) == await contents(first)


@pytest.mark.asyncio
@both_ways
async def test_what_a_command_stores_during_a_move_is_not_left_behind(
    new_url: NewUrl, before: str, after: str
) -> None:
    first, second = new_url(before), new_url(after)
    await fill(first, rooms=2, each=5)

    async def order() -> None:
        async with open_store(first, CLOCK) as store:
            await accept(store, [NewInput(A, b"{}", "order:1")], 5)

    def meddle() -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, order()).result()

    with pytest.raises(StoreError, match="was changed during the move"):
        await move(first, second, CLOCK, Meddles(meddle))
    await move(first, second, CLOCK, Silent(), replace=True)
    async with opened(second) as store:
        (row,) = (await store.load(A)).inputs
        assert row.key == "order:1"


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.asyncio
@both_ways
async def test_bridge_does_not_start_on_a_moved_database(
    new_url: NewUrl, before: str, after: str
) -> None:
    first, second = new_url(before), new_url(after)
    await fill(first, rooms=1, each=1)
    await move(first, second, CLOCK, Silent())
    with pytest.raises(MovedError) as caught:
        async with opened(first):
            pytest.fail("two would answer")
    assert described(second) in str(caught.value)
    assert "--take-back" in str(caught.value)
    with pytest.raises(MovedError):
        await move(first, new_url(after), CLOCK, Silent())
    assert await take_back(first, CLOCK)
    assert not await take_back(first, CLOCK)
    async with opened(first):
        pass


@pytest.mark.asyncio
@either
async def test_database_with_chats_is_not_filled_unasked(new_url: NewUrl, engine: str) -> None:
    first, second = new_url("sqlite"), new_url(engine)
    await fill(first, rooms=1, each=1)
    await fill(second, rooms=3, each=1)
    before = await contents(second)
    with pytest.raises(StoreError, match=r"already contains data.*--replace"):
        await move(first, second, CLOCK, Silent())
    assert await contents(second) == before
    await move(first, second, CLOCK, Silent(), replace=True)
    assert await contents(second) == await contents(first)


@pytest.mark.asyncio
@either
async def test_database_that_no_room_has_used_counts_as_empty(new_url: NewUrl, engine: str) -> None:
    """Used by `doctor`, or by a bridge whose former database was lost, and which refused it."""
    first, second = new_url("sqlite"), new_url(engine)
    await fill(first, rooms=1, each=1)
    async with open_store(second, CLOCK) as store:
        await store.save_fact("doctor", "1")
        await store.save_secrets([SecretRow("epoch", b"1")])
        await store.save_ghost(GhostRow("@webchatbot:example.org", device=True))
    await move(first, second, CLOCK, Silent())
    assert await contents(second) == await contents(first)


@pytest.mark.asyncio
async def test_incomplete_copy_of_another_database_is_refused(new_url: NewUrl) -> None:
    first, other, second = new_url("sqlite"), new_url("sqlite"), new_url("sqlite")
    await fill(first, rooms=3, each=1)
    await fill(other, rooms=3, each=1)
    with pytest.raises(Stopped):
        await move(first, second, CLOCK, Stops(page=2))
    with pytest.raises(UnfinishedError, match=described(first)):
        await move(other, second, CLOCK, Silent())
    await move(other, second, CLOCK, Silent(), replace=True)


@pytest.mark.asyncio
@either
@pytest.mark.usefixtures("impatient")
async def test_database_in_use_on_either_side_is_refused(new_url: NewUrl, engine: str) -> None:
    first, second = new_url(engine), new_url(engine)
    await fill(first, rooms=1, each=1)
    for busy in (first, second):
        async with opened(busy):
            with pytest.raises(AlreadyInUse) as caught:
                await move(first, second, CLOCK, Silent())
        assert f"a bridge is using {described(busy)}" in str(caught.value)


@pytest.mark.asyncio
@either
async def test_databases_of_other_schemas(new_url: NewUrl, engine: str) -> None:
    older, newer, empty, sound = (new_url(engine) for _ in range(4))
    await made_at(older, SCHEMA_VERSION - 1)
    with pytest.raises(StoreError, match="`matrix-webchat migrate` first"):
        await move(older, new_url(engine), CLOCK, Silent())
    with pytest.raises(StoreError, match="nothing to copy"):
        await move(empty, new_url(engine), CLOCK, Silent())
    await made_at(newer, SCHEMA_VERSION)
    await run(newer, "INSERT INTO schema_version VALUES (999, 'later', 0)")
    with pytest.raises(NewerSchemaError):
        await move(newer, new_url(engine), CLOCK, Silent())
    await fill(sound, rooms=1, each=1)
    with pytest.raises(NewerSchemaError):
        await move(sound, newer, CLOCK, Silent(), replace=True)
    # An older one without a room in it is made anew.
    await move(sound, older, CLOCK, Silent())
    async with opened(older):
        pass


@pytest.mark.asyncio
async def test_move_into_the_same_database_is_refused(new_url: NewUrl) -> None:
    url = new_url("sqlite")
    await fill(url, rooms=1, each=1)
    with pytest.raises(StoreError, match="are the same database"):
        await move(url, url.replace("/1.db", "/x/../1.db"), CLOCK, Silent())


def test_described_url_contains_no_password() -> None:
    url = "postgres://me:secret@db1:5432,db2/chats?password=secret&sslmode=require"
    assert described(url) == "postgres://me@db1:5432,db2/chats?sslmode=require"
    assert described("sqlite:////data/bridge.db") == "/data/bridge.db"
