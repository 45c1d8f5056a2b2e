"""Sign-in to the console: one-time links and sessions.

`matrix-webchat console-link` creates a link; opening it creates a session. Both secrets are 256
random bits with an HMAC, so that forgeries are rejected without the database. The database has only
their SHA-256, so a copy of it gives no access: rows of `secrets` with an expiry, changed by compare
and swap. So a link works once among all processes, and needs no running bridge to be created.
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
"""Lifetimes of links and sessions in ms."""
_SIGNATURE = 64
"""Characters of the HMAC at the end of a secret."""
_KEPT = 1_000
"""Maximum number of cached sessions."""


class Pass(msgspec.Struct, frozen=True):
    """A link or a session, as stored."""

    who: str
    """Name for the audit trail, as given to `console-link`."""
    until: int
    """Expiry, ms since the epoch."""
    used: bool = False


class NotLetIn(Exception):
    """Access to the page is denied; `status` is HTTP's, `key` selects the page's sentence."""

    def __init__(self, status: int, key: str) -> None:
        super().__init__(key)
        self.status = status
        self.key = key


class SignIn:
    """Links and sessions in the database. Methods raise StoreError if it does not answer."""

    def __init__(self, store: StorePort, clock: Clock, key: bytes) -> None:
        """`key` signs links and sessions."""
        self._store = store
        self._clock = clock
        self._key = key
        self._seen: LRUCache[str, Pass] = LRUCache(_KEPT)
        """Cache of sessions, used only while the database is down: health is needed just then."""

    async def link(self, who: str) -> str:
        """Create a link and return its secret."""
        secret = self._signed(secrets.token_urlsafe(32))
        link = Pass(who, self._clock.now() + LINK_LIFE)
        await self._store.save_secrets([_row(_name("link", secret), link)])
        return secret

    async def sign_in(self, secret: str) -> str:
        """Exchange a link for a session; return the session's secret."""
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
        """Return the session's owner; None if it is invalid or has expired."""
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
