"""What the link keeps over a restart comes back as it was."""

from __future__ import annotations

import pytest

from bridge.app.serving import StoredTokens
from bridge.ids import RoomId
from bridge.link import Token
from tests.fakes.memory import MemoryStore

ROOM = RoomId("!a:example.org")


@pytest.mark.asyncio
async def test_a_token_is_kept_with_its_cookies_and_forgotten_with_them() -> None:
    store = MemoryStore()
    tokens = StoredTokens(store)
    token = Token("mx-1", "SECRET", 7, "client", "SERVERID=n1; JSESSIONID=x")
    await tokens.save(ROOM, token)
    assert await tokens.load(ROOM) == token
    assert "SERVERID" not in repr(token)
    await tokens.forget(ROOM)
    assert await tokens.load(ROOM) is None
    row = await store.account(ROOM)
    assert row is not None
    assert (row.login_name, row.token, row.cookies) == ("mx-1", "", "")
