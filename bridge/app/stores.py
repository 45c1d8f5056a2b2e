"""The store, as the link and the matrix rings want to see it."""

from __future__ import annotations

from bridge.ids import RoomId
from bridge.link.settings import Token
from bridge.rooms.store import AccountRow, StorePort


class StoredTokens:
    """Implements `link.ports.TokenStore`."""

    def __init__(self, store: StorePort) -> None:
        self._store = store

    async def load(self, room_id: RoomId) -> Token | None:
        """The room's token, if it has one."""
        row = await self._store.account(room_id)
        if row is None or not row.token:
            return None
        return Token(row.login_name, row.token, row.issued, row.client_id, row.cookies)

    async def save(self, room_id: RoomId, token: Token) -> None:
        await self._store.save_account(
            AccountRow(
                room_id,
                token.login_name,
                token.value,
                token.issued,
                token.client_id,
                token.cookies,
            )
        )

    async def forget(self, room_id: RoomId) -> None:
        await self._store.forget_token(room_id)


class StoredFacts:
    """Implements `link.ports.Facts`."""

    def __init__(self, store: StorePort) -> None:
        self._store = store

    async def get(self, name: str) -> str | None:
        return await self._store.fact(name)

    async def put(self, name: str, value: str) -> None:
        await self._store.save_fact(name, value)
