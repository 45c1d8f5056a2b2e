"""Messages of encrypted rooms are sealed in the database, and read back unchanged."""

from __future__ import annotations

import msgspec
import pytest

from bridge.ids import EffectSeq, EventId
from bridge.matrix.crypto.vault import WORDS, Sealer
from bridge.rooms.store import (
    Commit,
    Entry,
    Lane,
    NewEffect,
    NewInput,
    Outcome,
    Settlement,
    StoredRoom,
)
from bridge.storage.query import Query, same
from bridge.storage.sql import LOST
from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes.memory import dead_letters
from tests.support.postgres import PostgresServer
from tests.unit.storage.conftest import FixedClock
from tests.unit.storage.rows import A

pytestmark = pytest.mark.asyncio
SECRET = b"my number is 4711 0815"
RAW = b'{"is":"MatrixEvent","raw":{"sender":"@ada:example.org"}}'
PUSH = b'{"is":"Pushed","push":"' + SECRET + b'"}'
EFFECT = NewEffect(Lane.WEBCHAT, b'{"is":"CallWebChat","text":"' + SECRET + b'"}', "$1")

RELAY = NewEffect(Lane.MATRIX, b'{"is":"Relay","text":"' + SECRET + b'"}')


def room(*, bare: bytes = b'{"place":"!b"}') -> StoredRoom:
    record = b'{"held":"' + SECRET + b'"}'
    return StoredRoom(A, record, live=False, phase="Idle", bare=bare)


def said(*, clear: bool = False, bare: bytes = b'{"place":"!b"}') -> Commit:
    entries = [
        Entry(NewInput(A, RAW, "$1"), EFFECT),
        Entry(NewInput(A, PUSH, "wc:1"), RELAY),
    ]
    waiting = [NewInput(A, PUSH, "wc:2"), NewInput(A, RAW, "$2")]
    return Commit(A, 1, room(bare=bare), entries, waiting, clear=clear)


async def lies(store: SqlStore) -> bytes:
    """Return all binary columns of journal and rooms."""
    rows = await store._engine.read(
        Query(same("SELECT body, effect FROM journal UNION ALL SELECT record, words FROM rooms"))
    )
    return b"\n".join(bytes(value) for row in rows for value in row if value is not None)


async def test_messages_are_sealed_and_read_back(url: str) -> None:
    async with open_store(url, FixedClock(), seal=Sealer("s", WORDS)) as store:
        answer = await store.commit(said())
        assert answer.effects[0].effect == EFFECT.effect
        assert answer.waiting[0].body == PUSH
        there = await lies(store)
        assert SECRET not in there
        assert RAW in there  # the homeserver has the same
        assert b'{"place":"!b"}' in there
        found = await store.load(A)
        assert found.room is not None
        assert found.room.record == room().record
        for seen in (await store.room(A), *await store.rooms("", 9, live=False)):
            assert seen is not None
            assert seen.record == room().record
        assert [row.body for row in found.inputs] == [PUSH, RAW]
        assert [row.effect for row in found.effects] == [EFFECT.effect, RELAY.effect]
        assert await store.body_of(A, EventId("wc:1")) == PUSH


async def test_sealed_dead_letters_and_posted_events_are_read_back(url: str) -> None:
    async with open_store(url, FixedClock(), seal=Sealer("s", WORDS)) as store:
        _, relay = (await store.commit(said())).effects
        dead = Settlement(relay.seq, Outcome.DEAD, 2, "M_FORBIDDEN")
        await store.commit(Commit(A, 2, settled=[dead]))
        (letter,) = await dead_letters(store)
        assert SECRET.decode() in letter.body
        await store.revive(letter.id, 3)
        told = Settlement(relay.seq, Outcome.DELIVERED, 4, event_id=EventId("$ours"))
        await store.commit(Commit(A, 4, settled=[told]))
        posted = await store.posted(A, EffectSeq(relay.seq + 1), 0)
        assert ("$ours", relay.effect) in [one[:2] for one in posted]
        assert SECRET not in await lies(store)


async def test_what_is_passed_on_to_another_process_is_sealed(
    postgres_server: PostgresServer,
) -> None:
    url, seal = postgres_server.new_schema(), Sealer("s", WORDS)
    async with open_store(url, FixedClock(), sole=True, shared=True, seal=seal) as store:
        assert store.shards is not None
        assert await store.shards.pass_on([NewInput(A, PUSH, "wc:1")], 1) == 1
        assert SECRET not in await lies(store)
        assert [row.body for row in (await store.load(A)).inputs] == [PUSH]


async def test_clear_room_is_not_sealed(url: str) -> None:
    async with open_store(url, FixedClock(), seal=Sealer("s", WORDS)) as store:
        await store.commit(said(clear=True, bare=b""))
        assert (await lies(store)).count(SECRET) == 5


async def test_rows_of_an_earlier_version_are_read_as_they_are(url: str) -> None:
    async with open_store(url, FixedClock()) as store:
        await store.commit(said(clear=True, bare=b""))
    async with open_store(url, FixedClock(), seal=Sealer("s", WORDS)) as store:
        found = await store.load(A)
        assert found.room is not None
        assert found.room.record == room().record
        assert found.inputs[0].body == PUSH


async def test_bare_record_is_read_without_the_key(url: str) -> None:
    async with open_store(url, FixedClock(), seal=Sealer("s", WORDS)) as store:
        await store.commit(said())
    async with open_store(url, FixedClock(), seal=Sealer("another", WORDS)) as store:
        found = await store.load(A)
        assert found.room is not None
        assert found.room.record == b'{"place":"!b"}'
        assert found.inputs[0].body == LOST


async def test_a_room_that_becomes_clear_again_keeps_no_sealed_copy(url: str) -> None:
    async with open_store(url, FixedClock(), seal=Sealer("s", WORDS)) as store:
        await store.commit(said())
        newer = msgspec.structs.replace(room(bare=b""), record=b"{}", revision=1)
        await store.commit(Commit(A, 2, newer, clear=True))
        found = await store.load(A)
        assert found.room is not None
        assert found.room.record == b""  # `sql.UNWRITTEN`
