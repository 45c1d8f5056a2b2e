"""Sign-in to the console: links that work once, and sessions.

`matrix-webchat console-link` draws a link; whoever opens it gets a session. Both are 256 random
bits and our signature (HMAC) of them, by which a made-up one is known without the database. That
has the SHA-256 alone, so that a copy of it lets nobody in: rows of `secrets`, which have an end,
and which only one process can take from one value to another (compare and swap). So a link works
once, whichever process is asked, and the command line needs none of them to run.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256

import msgspec
from cachetools import LRUCache

from bridge.rooms.ports import Clock
from bridge.rooms.store import SecretRow, Stale, StoreError, StorePort

LINK_LIFE = 10 * 60_000
SESSION_LIFE = 12 * 3_600_000
"""ms."""
_SIGNATURE = 64
"""Characters of it, at the end of a link's or a session's secret."""
_KEPT = 1_000
"""Sessions that are remembered here."""


class Pass(msgspec.Struct, frozen=True):
    """A link or a session, as it is stored."""

    who: str
    """For the audit: as `console-link` was told."""
    until: int
    """ms since the epoch."""
    used: bool = False


class NotLetIn(Exception):
    """Somebody may not use the page; `status` is of HTTP, `key` of the page's sentences."""

    def __init__(self, status: int, key: str) -> None:
        super().__init__(key)
        self.status = status
        self.key = key


class SignIn:
    """Links and sessions in the database. Raises StoreError where that does not answer."""

    def __init__(self, store: StorePort, clock: Clock, key: bytes) -> None:
        """`key` signs links and sessions."""
        self._store = store
        self._clock = clock
        self._key = key
        self._seen: LRUCache[str, Pass] = LRUCache(_KEPT)
        """Sessions that were found, for when the database is away: health is wanted just then."""

    async def link(self, who: str) -> str:
        """Draw the secret of a link."""
        secret = self._signed(secrets.token_urlsafe(32))
        link = Pass(who, self._clock.now() + LINK_LIFE)
        await self._store.save_secrets([_row(_name("link", secret), link)])
        return secret

    async def sign_in(self, secret: str) -> str:
        """Make a session of a link; returns the session's secret."""
        name, now = _name("link", secret), self._clock.now()
        stored = await self._store.secret(name) if self._is_ours(secret) else None
        link = None if stored is None else _read(stored)
        if link is None or link.until <= now:
            raise NotLetIn(401, "linkExpired")
        session = self._signed(secrets.token_urlsafe(32))
        rows = (
            _row(name, msgspec.structs.replace(link, used=True), stored),
            _row(_name("session", session), Pass(link.who, now + SESSION_LIFE)),
        )
        used = NotLetIn(401, "linkUsed")
        if link.used:
            raise used
        try:
            await self._store.save_secrets(rows)
        except Stale:
            raise used from None
        return session

    async def who(self, session: str) -> str | None:
        """Who has this session; None: it is none, or over."""
        if not self._is_ours(session):
            return None
        name = _name("session", session)
        try:
            stored = await self._store.secret(name)
        except StoreError:
            if name not in self._seen:
                raise
            found: Pass | None = self._seen[name]
        else:
            found = None if stored is None else _read(stored)
        if found is None or found.until <= self._clock.now():
            self._seen.pop(name, None)
            return None
        self._seen[name] = found
        return found.who

    async def sign_out(self, session: str) -> None:
        if not self._is_ours(session):
            return
        name = _name("session", session)
        self._seen.pop(name, None)
        await self._store.save_secrets([SecretRow(name, None)])

    def _signed(self, drawn: str) -> str:
        return drawn + hmac.digest(self._key, drawn.encode("utf-8", "replace"), "sha256").hex()

    def _is_ours(self, secret: str) -> bool:
        signed = self._signed(secret[:-_SIGNATURE])
        return hmac.compare_digest(signed.encode(), secret.encode("utf-8", "replace"))


def _name(kind: str, secret: str) -> str:
    return f"console/{kind}/{sha256(secret.encode('utf-8', 'replace')).hexdigest()}"


def _row(name: str, value: Pass, was: bytes | None = None) -> SecretRow:
    return SecretRow(name, msgspec.json.encode(value), value.until, was)


def _read(stored: bytes) -> Pass:
    return msgspec.json.decode(stored, type=Pass)
