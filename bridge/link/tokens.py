"""Where a link's token comes from: the one it has, the stored one, or a new login."""

from __future__ import annotations

import structlog

from bridge.conversation.inputs import FailureReason
from bridge.ids import RoomId
from bridge.link.failures import OpenFailure
from bridge.link.limiter import Wait, patiently
from bridge.link.logins import Logins
from bridge.link.ports import Token, TokenStore
from bridge.rooms.ports import Account, Clock
from bridge.rooms.store import StoreError


class Tokens:
    """Reuses tokens for as long as the server takes them (protocol reference 3.6)."""

    def __init__(self, logins: Logins, store: TokenStore, clock: Clock, max_age: float) -> None:
        """Take `max_age` in seconds: an older token is replaced before the server refuses it."""
        self._logins = logins
        self._store = store
        self._clock = clock
        self._max_age = max_age * 1000

    async def obtain(self, account: Account, have: Token | None, wait: Wait = patiently) -> Token:
        """Return a token to connect with.

        Args:
            account: who logs in.
            have: the link's last token.
            wait: how a login, should one be needed, stands in line for its turn.

        Raises:
            OpenFailure: the login failed, or the store cannot be asked for the old token.
        """
        name = self._logins.login_name(account)
        # A token of another name is from before the room's account changed.
        token = have if have is not None and have.login_name == name else None
        token = token or await self._stored(account.room_id)
        if (
            token is not None
            and token.login_name == name
            and self._clock.now() - token.issued < self._max_age
        ):
            return token
        return await self.renew(account, wait)

    async def renew(self, account: Account, wait: Wait = patiently) -> Token:
        """Log in, whatever token there is, and keep the new one.

        Raises:
            OpenFailure: the login failed.
        """
        token = await self._logins.login(account, wait)
        try:
            await self._store.save(account.room_id, token)
        except StoreError as error:
            # It works until the next restart, which costs one login: no reason not to serve.
            _log().warning("token not stored", room_id=account.room_id, error=str(error))
        return token

    async def refuse(self, room_id: RoomId) -> None:
        """The server does not take this room's token any more."""
        try:
            await self._store.forget(room_id)
        except StoreError as error:
            # The stored token will be refused once more after a restart, and replaced then.
            _log().warning("token not forgotten", room_id=room_id, error=str(error))

    async def _stored(self, room_id: RoomId) -> Token | None:
        try:
            return await self._store.load(room_id)
        except StoreError as error:
            # Not a reason to log in anew: without a store nothing can be carried anyway.
            raise OpenFailure(
                FailureReason.UNREACHABLE, "the token store does not answer"
            ) from error


def _log() -> structlog.stdlib.BoundLogger:
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    return log
