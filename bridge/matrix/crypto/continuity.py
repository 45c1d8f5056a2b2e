"""Is this database its newest state? The homeserver bears witness.

A database that was restored from a backup looks from inside like any other. But its olm ratchets
stand where they stood, and to use them again would encrypt two texts with one key; and the private
halves of one-time keys that were published since are lost. So a mark that changes with the
ratchets, at most once in `EVERY`, stands both here and in the bot's account data. A database that
does not know the homeserver's mark is an older copy of itself. (It is taken for one, too, if the
homeserver was restored or if a second bridge works with the same users; nothing is lost by that.)

The row names every mark that the homeserver may have, for a crash may come between the two writes.
"""

from __future__ import annotations

import asyncio
import secrets

import msgspec
import structlog

from bridge.ids import UserId
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.ports import Clock, Refused, Unavailable

EVERY = 60_000
"""ms. A copy that is younger than this may not be told from the newest state."""
MARKS = "marks"


class Marks(msgspec.Struct, frozen=True):
    """The row; `possible` is all that may stand on the homeserver."""

    possible: tuple[str, ...]


class Continuity:
    """Keeps the mark moving.

    Args:
        vault: one of the two places.
        server: the other.
        bot: whose account data bears the mark.
        clock: the time.
    """

    def __init__(self, vault: Vault, server: KeyServer, bot: UserId, clock: Clock) -> None:
        self._vault = vault
        self._server = server
        self._bot = bot
        self._clock = clock
        self._there = ""
        """The last mark that is known to stand on the homeserver."""
        self._next = ""
        """One that may have got there."""
        self._lock = asyncio.Lock()
        self._moved = 0
        self._turns = 0
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def check(self) -> bool:
        """False if the homeserver has seen a newer state of this database.

        Raises:
            Unavailable, StoreError: to be asked again.
        """
        self._there = await read_mark(self._server, self._bot)
        return is_newest(await self._vault.load(MARKS, Marks), self._there)

    async def advance(self) -> None:
        """Set a new mark.

        Raises:
            StoreError: the database does not answer.
        """
        async with self._lock:
            await self._advance()

    async def follow(self) -> None:
        """Set a new mark if a ratchet was turned since, and it is time.

        Raises:
            StoreError: the database does not answer.
        """
        async with self._lock:
            turned = self._vault.turns != self._turns
            if turned and not 0 <= self._clock.now() - self._moved < EVERY:
                await self._advance()

    async def _advance(self) -> None:
        turns = self._vault.turns
        self._moved = self._clock.now()
        if not self._next:
            self._next = secrets.token_hex(8)
            row = self._vault.row(MARKS, Marks((self._there, self._next)))
            await self._vault.save([row])
        try:
            await self._server.set_mark(self._bot, self._next)
        except (Unavailable, Refused) as error:
            self._log.info("the mark cannot be set yet", why=str(error))
        else:
            self._there, self._next, self._turns = self._next, "", turns


async def read_mark(server: KeyServer, bot: UserId) -> str:
    """The homeserver's mark; empty if it has none, or keeps none.

    Raises:
        Unavailable: it does not answer.
    """
    try:
        return await server.mark(bot)
    except Refused:
        return ""


def is_newest(marks: Marks | None, there: str) -> bool:
    """Compare the row with the homeserver's mark.

    A row without a mark is that of a new database, or of a version that had no marks.
    """
    return not there or marks is None or there in marks.possible
