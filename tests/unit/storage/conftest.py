"""Stores to test: each engine as a factory, so that a test can close and open it again."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes.memory import MemoryStore
from tests.support.postgres import PostgresServer

SqlOpener = Callable[[], AbstractAsyncContextManager[SqlStore]]
Opener = SqlOpener


class FixedClock:
    """A clock that stands still."""

    def now(self) -> int:
        return 1_700_000_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database of either engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bridge.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_schema()


def make_impatient(patch: pytest.MonkeyPatch) -> None:
    """Do not wait for a claim that another process holds."""
    for engine in ("sqlite", "postgres"):
        patch.setattr(f"bridge.storage.{engine}.CLAIM_SECONDS", 0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    make_impatient(monkeypatch)


NewUrl = Callable[[str], str]


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """Return a function that makes a new, empty database of an engine."""
    numbers = itertools.count(1)

    def make(engine: str) -> str:
        if engine == "sqlite":
            return f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.new_schema()

    return make


async def _migrate(url: str) -> None:
    async with open_store(url, FixedClock()):
        pass


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the schema and nothing else, to be copied."""
    path = tmp_path_factory.mktemp("schema") / "bridge.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_dump(postgres_server: PostgresServer) -> str:
    """The same as `sqlite_file`, as SQL for the schema `%s`."""
    url = postgres_server.new_schema()
    asyncio.run(_migrate(url))
    schema = url.rpartition("=")[2]
    return postgres_server.dump(schema).replace(schema, "%s")


def _opener(request: pytest.FixtureRequest, url: str) -> SqlOpener:
    """Put the schema into an empty database; return the function that opens it."""
    if url.startswith("sqlite:///"):
        shutil.copy(request.getfixturevalue("sqlite_file"), url.removeprefix("sqlite:///"))
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        dump: str = request.getfixturevalue("postgres_dump")
        server.sql(dump.replace("%s", url.rpartition("=")[2]))
    return lambda: open_store(url, FixedClock())


@pytest.fixture
def open_sql(request: pytest.FixtureRequest, url: str) -> SqlOpener:
    return _opener(request, url)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_any(request: pytest.FixtureRequest, new_url: NewUrl) -> Opener:
    """All three stores; the memory store keeps its rows when it is opened again."""
    if request.param == "memory":
        store = MemoryStore()

        @asynccontextmanager
        async def lent() -> AsyncIterator[SqlStore]:
            yield store

        return lent
    return _opener(request, new_url(request.param))
