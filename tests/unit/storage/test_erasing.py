"""Erased data is in no byte of SQLite's files, and in no row of PostgreSQL's tables."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

from bridge.ids import EventId, RoomId
from bridge.rooms.erasure import Report, Wish, erase
from bridge.rooms.store import (
    ChatRow,
    Commit,
    Cutoffs,
    Entry,
    GhostRow,
    Lane,
    NewEffect,
    NewInput,
    Outcome,
    SecretRow,
    Settlement,
    StoredRoom,
    Token,
)
from bridge.storage import erasing, sql, sqlstore
from bridge.storage.query import Query, Unreachable, same
from bridge.storage.sql import Write
from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes.flow import accept, step
from tests.unit.storage.conftest import FixedClock, NewUrl, SqlOpener

pytestmark = pytest.mark.asyncio
OF_ADA = RoomId("!ada-s-room:example.org")
OF_BEN = RoomId("!ben-s-room:example.org")
WORDS = "an elephant in the garden"
TRACES = ("elephant", "@ada:", "ada-s-room", "opening-token-ada", "mx-ada")
TABLES = (
    "rooms", "journal", "chats", "anchors", "accounts", "facts", "secrets", "changes", "ghosts",
)  # fmt: skip


async def talk(store: SqlStore, room_id: RoomId, who: str, words: str, number: int) -> None:
    """Store an event with its effect, which fill part of a database page, or several."""
    words *= 20 if number % 5 else 400
    raw = f'{{"is":"MatrixEvent","raw":{{"sender":"{who}","body":"{words}"}}}}'.encode()
    wish = NewEffect(Lane.WEBCHAT, f'{{"is":"Say","text":"{words}"}}'.encode(), "$x")
    entry = Entry(NewInput(room_id, raw, f"${who[1:4]}{number}"), wish)
    (row,) = (await store.commit(Commit(room_id, number, entries=[entry]))).effects
    if number % 3:
        told = Settlement(row.seq, Outcome.DELIVERED, number, event_id=EventId(f"$o{number}"))
        await store.commit(Commit(room_id, number, settled=[told]))


async def fill(store: SqlStore, rounds: int = 150) -> None:
    for room_id, who in ((OF_ADA, "@ada:x.org"), (OF_BEN, "@ben:x.org")):
        record = f'{{"is":"RoomRecord","room_id":"{room_id}","customer":"{who}"}}'.encode()
        room = StoredRoom(room_id, record, live=False, phase="Idle", customer=who)
        chat = ChatRow(1, f'{{"is":"Chat","agents":["{who}"]}}'.encode(), 5)
        await step(store, room, chats=[chat])
        await store.save_token(Token(room_id, f"mx-{who[1:4]}", f"opening-token-{who[1:4]}", 5))
        await store.save_secrets([SecretRow(f"in/{room_id}/{n}/{who}", b"k") for n in range(3)])
    for number in range(rounds):
        await talk(store, OF_ADA, "@ada:x.org", WORDS, number)
        await talk(store, OF_BEN, "@ben:x.org", "tea", number)


async def lying(store: SqlStore) -> str:
    """Return all values of all tables as a text."""
    values: list[object] = []
    for table in TABLES:
        rows = await store._engine.read(Query(same(f"SELECT * FROM {table}")))  # noqa: S608
        values += [value for row in rows for value in row]
    return "\n".join(v.decode() if isinstance(v, bytes) else str(v) for v in values)


@pytest.mark.parametrize("subject", [OF_ADA, "@ada:x.org"])
async def test_erasure_leaves_no_trace_of_a_room_or_person(
    open_sql: SqlOpener, url: str, tmp_path: Path, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "STRETCH", 70)  # so that there are several
    async with open_sql() as store:
        await fill(store)
        assert [one for one in TRACES if one in await lying(store)] == list(TRACES)
        report = await erased(store, subject)
        assert report.done, report
        assert report.found["ledger lines"] == 150
        assert report.found["encryption keys"] == (3 if subject == OF_ADA else 6)
        assert [one for one in TRACES if one in await lying(store)] == []
        for known in ("tea", "@ben:", "ben-s-room", "opening-token-ben", "mx-ben"):
            assert known in await lying(store)
        assert len(await store.trace(EventId("$ada7"))) == 2  # received, erased: it is known
        if url.startswith("sqlite"):
            for name in ("bridge.db", "bridge.db-wal"):
                lies = (tmp_path / name).read_bytes()
                assert [one for one in TRACES if one.encode() in lies] == [], name


@pytest.mark.parametrize("record", [True, False])
async def test_events_that_the_owner_does_not_know_are_kept(
    open_sql: SqlOpener, *, record: bool
) -> None:
    """Whatever the clock says of the process that stored them."""
    async with open_sql() as store:
        await fill(store, 3)
        names = "$heard", "$unheard", "order:1", "$last"
        rows = await accept(store, [NewInput(OF_ADA, WORDS.encode(), one) for one in names], 1)
        known = rows[0].seq
        await store.eraser.erase_room(OF_ADA, [OF_ADA], 9, record=record, known=known)
        found = await store.load(OF_ADA)
    assert [row.key for row in found.inputs] == ["$unheard", "$last"]
    assert (found.room is None, found.effects) == (record, [])


async def erased(store: SqlStore, subject: str = OF_ADA) -> Report:
    wish = Wish(subject=subject, by=("operator", "cli"))
    return await erase(store, wish, lambda _: False, FixedClock())


async def test_uncommitted_rows_of_another_connection_are_erased_too(
    new_url: NewUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row has a number within a stretch already, but is invisible before the commit."""
    url = new_url("postgres")
    async with open_store(url, FixedClock()) as store:
        await fill(store, 3)
        other = await asyncpg.connect(url)
        late = other.transaction()
        await late.start()
        row = OF_ADA, "$late", WORDS.encode()
        await other.execute(
            "INSERT INTO journal (room_id, key, body, received) VALUES ($1, $2, $3, 1)", *row
        )
        await talk(store, OF_BEN, "@ben:x.org", "tea", 99)

        async def end(_: float) -> None:
            await late.commit()

        monkeypatch.setattr(erasing, "asyncio", SimpleNamespace(sleep=end))
        report = await erased(store)
        if other.is_in_transaction():  # nobody has waited for it
            await late.commit()
        await other.close()
        assert report.done, report
        assert [one for one in TRACES if one in await lying(store)] == []


async def test_transaction_that_does_not_end_fails_the_erasure(
    new_url: NewUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_url("postgres")
    async with open_store(url, FixedClock()) as store:
        await fill(store, 3)
        other = await asyncpg.connect(url)
        await other.execute("BEGIN; LOCK TABLE journal IN ROW EXCLUSIVE MODE")
        monkeypatch.setattr(erasing, "MOST_LOOKS", 2)
        with pytest.raises(Unreachable, match="did not end in time"):
            await erased(store)
        await other.close()
        assert len(await store.chats(OF_ADA, 9)) == 1
        assert (await erased(store)).done


async def test_large_sqlite_file_is_overwritten_only_at_all_cost(
    open_sql: SqlOpener, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "LARGEST", 1)
    monkeypatch.setattr(sqlstore, "READ_SECONDS", 0.0)  # no timeout applies
    async with open_sql() as store:
        assert await store.eraser.overwrite(at_all_cost=True)
        assert await store.eraser.overwrite(at_all_cost=False) is url.startswith("postgres")


async def test_large_texts_are_erased_a_few_at_a_time(
    open_sql: SqlOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of long texts must neither fill the memory nor hold up the writer."""
    monkeypatch.setattr(sql, "MOST_BYTES", 21_000)
    sizing = f"SELECT seq, {sql.CONTENT} FROM journal WHERE "  # noqa: S608 - our own
    at_once: list[int] = []
    async with open_sql() as store:
        await fill(store, 90)
        write, sizes = store._write, dict[int, int]()

        async def watched(one: Write) -> object:
            if isinstance(one, Query) and one.statement in {erasing.KEEP_KEYS, sql.ERASE_BODIES}:
                first, last, *_ = one.params
                at_once.append(sum(size for seq, size in sizes.items() if first <= seq <= last))
            return await write(one)

        monkeypatch.setattr(store, "_write", watched)
        monkeypatch.setattr(store.eraser, "_write", watched)
        for work, which in (
            (lambda: erased(store), "true"),
            (lambda: store.prune(10**9, 0, Cutoffs()), "settled IS NOT NULL"),
        ):
            sizes = dict(await store._engine.read(Query(same(sizing + which))))
            await work()
            assert len(at_once) > 1
            assert max(at_once) <= 21_000
            at_once.clear()


async def test_pruning_deletes_old_chats_tokens_and_ghosts(open_sql: SqlOpener) -> None:
    async with open_sql() as store:
        await fill(store, 2)
        await store.save_ghost(GhostRow("@ghost:x.org", "Mei", seen=5))
        await store.save_ghost(GhostRow("@newer:x.org", "Jun", seen=50))
        live = StoredRoom(OF_BEN, b"{}", live=True, phase="Chatting", revision=1)
        await step(store, live)
        assert await store.prune(0, 0, Cutoffs()) == 0  # kept for ever by default
        assert await store.prune(0, 0, Cutoffs(6, 6, 6, 6)) == 2 + 1 + 1
        assert await store.chats(OF_ADA, 9) == []
        assert await store.token(OF_ADA) is None
        assert await store.token(OF_BEN) is not None  # its chat goes on
        assert await store.ghost("@ghost:x.org") is None
        assert await store.ghost("@newer:x.org") is not None
