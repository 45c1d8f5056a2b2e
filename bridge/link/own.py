"""Customers' own accounts: trying one out before a room is held under it."""

from __future__ import annotations

from bridge.link.tokens import Tokens
from bridge.rooms.ports import Account


class OwnAccounts:
    """The part of `LinkPort` that logs a customer in.

    Args:
        tokens: where the token of an account that the server took is kept.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def log_in(self, account: Account) -> None:
        """Try an account; the token is kept, so that the room's next link costs no login.

        Whatever link the room has goes on until an account is named with a call (`Roster.get`).

        Raises:
            CallFailure: see `LinkPort.log_in`.
        """
        await self._tokens.renew(account)
