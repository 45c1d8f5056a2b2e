"""Sign-in to the console: a link works once and for minutes, a session for hours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bridge.admin.signin import LINK_LIFE, SESSION_LIFE, NotLetIn, SignIn
from bridge.rooms.store import StoreError
from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes.clock import ManualClock
from tests.unit.storage.conftest import url

__all__ = ["url"]
KEY = b"key"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[SqlStore]:
    async with open_store(url, clock) as store:
        yield store


@pytest.mark.asyncio
async def test_a_link_works_once_whichever_process_is_asked(
    store: SqlStore, clock: ManualClock
) -> None:
    command_line, one, other = (SignIn(store, clock, KEY) for _ in range(3))
    link = await command_line.link("mei")
    tries = await asyncio.gather(one.sign_in(link), other.sign_in(link), return_exceptions=True)
    (session,) = (tried for tried in tries if isinstance(tried, str))
    (refusal,) = (tried for tried in tries if isinstance(tried, NotLetIn))
    assert str(refusal) == "linkUsed"
    assert await other.who(session) == await one.who(session) == "mei"
    with pytest.raises(NotLetIn, match="linkUsed"):
        await one.sign_in(link)


@pytest.mark.asyncio
async def test_a_link_and_a_session_expire(store: SqlStore, clock: ManualClock) -> None:
    sign_in = SignIn(store, clock, KEY)
    late, link = await sign_in.link("mei"), await sign_in.link("mei")
    await clock.turn(LINK_LIFE / 1000 - 1)
    session = await sign_in.sign_in(link)
    await clock.turn(1)
    with pytest.raises(NotLetIn, match="linkExpired"):
        await sign_in.sign_in(late)
    await clock.turn(SESSION_LIFE / 1000 - 2)
    assert await sign_in.who(session) == "mei"
    await clock.turn(1)
    assert await sign_in.who(session) is None


@pytest.mark.asyncio
async def test_invalid_links_and_sessions_are_refused(store: SqlStore, clock: ManualClock) -> None:
    sign_in = SignIn(store, clock, KEY)
    link = await sign_in.link("mei")
    session = await sign_in.sign_in(await sign_in.link("jun"))
    for wrong in ("", "x", link[:-1], session, "\ud800"):
        with pytest.raises(NotLetIn, match="linkExpired"):
            await sign_in.sign_in(wrong)
    for wrong in ("", link, session[:-1]):
        assert await sign_in.who(wrong) is None
    await sign_in.sign_out(session)
    assert await sign_in.who(session) is None
    await sign_in.sign_out("never was")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.asyncio
async def test_guesses_do_not_reach_the_database(
    store: SqlStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, foreign = "x" * 107, await SignIn(store, clock, b"another key").link("mei")
    for name in ("secret", "save_secrets"):
        monkeypatch.setattr(store, name, _unasked)
    sign_in = SignIn(store, clock, KEY)
    for wrong in (link, foreign, ""):
        with pytest.raises(NotLetIn, match="linkExpired"):
            await sign_in.sign_in(wrong)
        assert await sign_in.who(wrong) is None
        await sign_in.sign_out(wrong)


async def _unasked(*_: object) -> None:
    raise AssertionError


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.asyncio
async def test_database_contains_no_usable_link_or_session(
    store: SqlStore, clock: ManualClock, tmp_path: Path
) -> None:
    sign_in = SignIn(store, clock, KEY)
    link = await sign_in.link("mei")
    session = await sign_in.sign_in(link)
    kept = _bytes_in(tmp_path)
    assert b"mei" in kept
    assert link.encode() not in kept
    assert session.encode() not in kept


@pytest.mark.asyncio
async def test_session_stays_valid_while_the_database_is_away(
    store: SqlStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = SignIn(store, clock, KEY), SignIn(store, clock, KEY)
    session = await here.sign_in(await here.link("mei"))
    assert await here.who(session) == "mei"

    async def away(name: str) -> bytes | None:
        raise StoreError(f"no {name}")

    monkeypatch.setattr(store, "secret", away)
    assert await here.who(session) == "mei"
    with pytest.raises(StoreError):
        await elsewhere.who(session)
    await clock.turn(SESSION_LIFE / 1000)
    assert await here.who(session) is None


def _bytes_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())
