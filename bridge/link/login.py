"""Logins and tokens: the WebChat account of a room, and the token to connect with.

The server allows one chat per customer, so the login name must be unique per *room*, not per Matrix
user (protocol reference 4): the templates use a short hash of the room id, which the room's record
keeps (`RoomRecord.key`).

All logins of a server pass its `Door`. After a refused login the bridge does not retry by itself
for an hour, nor at a customer's request for a minute, then ever longer: a retry loop would get the
whole bridge blacklisted (reference 3.7). A refused sign (-30) stops the logins of all accounts.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import msgspec
import structlog

from bridge.config.model import AccountEntry
from bridge.ids import RoomId
from bridge.link.http_client import Door, OpenFailure, Visitor, Wait
from bridge.link.settings import Learnt, LinkMetrics, LinkSettings, TokenStore
from bridge.rooms.ports import Account, Clock
from bridge.rooms.store import StoreError, Token
from bridge.webchat import http
from bridge.webchat.codes import FailureReason, LoginType, ResultCode, meaning
from bridge.webchat.protocol import LocalProtocolError

_Key = tuple[str, str]
_ALL: _Key = ("", "")
"""Key of refusals that affect every account of the server; no login name is empty."""
_REASONS: Mapping[int, FailureReason] = {
    ResultCode.INVALID_LOGIN: FailureReason.LOGIN_REFUSED,
    ResultCode.INVALID_CLIENT_ID: FailureReason.LOGIN_REFUSED,
    ResultCode.INVALID_SIGN: FailureReason.SIGN_REFUSED,
}
"""Login results that only a person can fix."""
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger()


class _Refusal(msgspec.Struct, frozen=True):
    reason: FailureReason
    code: int
    pause: float
    until: float
    """Earliest next login, in loop time."""
    rests_until: float
    """Earliest next login that nobody asks for, in loop time."""

    def failure(self, now: float) -> OpenFailure:
        return OpenFailure(
            self.reason,
            f"login refused with {self.code}",
            code=self.code,
            pause=max(0.0, self.until - now),
            rest=max(0.0, self.rests_until - now),
        )


@dataclass(eq=False, repr=False)
class Logins:
    """Obtains tokens: stored ones while the server accepts them (reference 3.6), else by login."""

    settings: LinkSettings
    store: TokenStore
    door: Door
    learnt: Learnt
    clock: Clock
    metrics: LinkMetrics
    refused: str = ""
    """Why the server refused the operator's credentials at their last login; "" if it did not."""
    _refusals: dict[_Key, _Refusal] = field(default_factory=dict)
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    _refused: dict[RoomId, str] = field(default_factory=dict)
    """Refused tokens that the store may still hold."""

    async def obtain(self, account: Account, wait: Wait | None = None) -> Token:
        """Return a token to connect with: the stored one, or a new login's.

        Raises OpenFailure as `login`, or if the store cannot be read: another process may serve the
        room by then, whose link would be closed.
        """
        name = self._apart(credentials_of(self.settings, account).login_name)
        token = await self._stored(account.room_id)
        oldest = self.clock.now() - self.settings.timing.token_age * 1000
        # A token with another name is from before the room's account changed.
        if token is not None and token.login_name == name and token.issued > oldest:
            return token
        try:
            return await self.login(account, wait)
        except OpenFailure:
            if account.room_id in self._refused:
                forget = self.store.forget_token(account.room_id)
                await self._store(account.room_id, forget, "token not deleted")
            raise

    def refuse(self, room_id: RoomId, token: Token) -> None:
        """Forget a refused token: a second refusal would count as a sign of blacklisting.

        The store's copy is replaced by the next login, or deleted if that fails. A crash before
        costs one more refusal at the restart.
        """
        self._refused[room_id] = token.value

    async def _store(self, room_id: RoomId, change: Awaitable[None], event: str) -> None:
        try:
            await change
        except StoreError as error:
            _LOG.warning(event, room=room_id, error=str(error))
        else:
            self._refused.pop(room_id, None)

    async def _stored(self, room_id: RoomId) -> Token | None:
        try:
            token = await self.store.token(room_id)
        except StoreError as error:
            message = "the database did not answer"
            raise OpenFailure(FailureReason.UNREACHABLE, message) from error
        usable = token is not None and token.value not in {"", self._refused.get(room_id)}
        return token if usable else None

    async def login(self, account: Account, wait: Wait | None = None) -> Token:
        """Log a room in, whatever token it has; `wait` waits for its turn in the queue.

        Raises OpenFailure: LOGIN_REFUSED (-20, -6, no account), SIGN_REFUSED (-30) or UNREACHABLE;
        its `pause` and `rest` tell when to retry.
        """
        credentials = credentials_of(self.settings, account)
        self._recall(credentials)
        # If all accounts are refused (sign), one at a time tries.
        async with self._alone if _ALL in self._refusals else nullcontext():
            async with self.door.knock(Visitor(account.customer, account.running, wait)):
                # Another login may have been refused while this one waited.
                self._recall(credentials)
                reply, cookies = await self._request(credentials, account.customer)
            if reply.result != ResultCode.SUCCESS:
                raise self._refusal(account.room_id, credentials, reply.result)
            self._refusals.pop(credentials.key, None)
            signed = self._refusals.pop(_ALL, None) is not None  # any success proves the sign
            if signed or not credentials.attempt:
                self.refused = ""
        name, now = self._apart(credentials.login_name), self.clock.now()
        token = Token(account.room_id, name, reply.token, now, reply.client_id, cookies)
        # If this fails, the link works until it is lost.
        await self._store(account.room_id, self.store.save_token(token), "token not stored")
        return token

    def _apart(self, login_name: str) -> str:
        """Return a login name as stored: marked, to tell enterprises' tokens apart."""
        mark = self.settings.mark
        return f"{mark}\n{login_name}" if mark else login_name

    def _recall(self, credentials: Credentials) -> None:
        now = asyncio.get_running_loop().time()
        for key in (_ALL, credentials.key):
            refusal = self._refusals.get(key)
            if refusal is not None and now < refusal.until:
                raise refusal.failure(now)

    async def _request(self, credentials: Credentials, person: str) -> tuple[http.LoginReply, str]:
        try:
            ip = self.settings.server.login.ip
            body = http.dump_login(credentials.login, self.learnt.keys, ip)
        except LocalProtocolError as error:
            raise OpenFailure(FailureReason.LOGIN_REFUSED, str(error)) from error
        try:
            reply, cookies = await self.door.post("login", person, body, http.parse_login_reply)
        except OpenFailure:
            self.metrics.logged_in(None)
            raise
        self.metrics.logged_in(reply.result)
        return reply, cookies

    def _refusal(self, room: RoomId, credentials: Credentials, code: int) -> OpenFailure:
        timing, reason = self.settings.timing, _REASONS.get(code)
        if reason is None:
            message = f"login answered {code} without a token"
            return OpenFailure(FailureReason.UNREACHABLE, message, code=code)
        key = _ALL if reason is FailureReason.SIGN_REFUSED else credentials.key
        now = asyncio.get_running_loop().time()
        earlier = self._refusals.get(key)
        if earlier is not None and now < earlier.until:
            return earlier.failure(now)  # two logins ran at the same time
        pause = timing.refusal_first
        if earlier is not None:
            pause = min(timing.refusal_last, 2 * earlier.pause)
        rest = max(pause, timing.refusal)
        refusal = _Refusal(reason, code, pause, now + pause, now + rest)
        # Drop old refusals, so that the table does not outgrow the accounts in trouble.
        self._refusals = {
            name: old
            for name, old in self._refusals.items()
            if now < old.rests_until + timing.refusal_last
        }
        self._refusals[key] = refusal
        fields = {"code": code, "retry_in": rest, "if_asked_in": pause, **self.settings.tags}
        if credentials.attempt and reason is FailureReason.LOGIN_REFUSED:
            # A customer's typing error: nothing for the operator. The name is the customer's own.
            _LOG.info("webchat login with a customer's own account refused", **fields)
        else:
            # Without a password, the login name itself is the secret.
            if credentials.login.type is LoginType.PASSWORD and not credentials.attempt:
                fields["login_name"] = credentials.login_name
            _LOG.error("webchat login refused", room=room, **fields)
            self.refused = f"login refused with {code}: {meaning(code).says}"
        return refusal.failure(now)


@dataclass(frozen=True)
class Credentials:
    login_name: str
    login: http.Login = field(repr=False)
    attempt: str = ""
    """Digest of the customer's sealed password, which differs for each entry; "" for operators'."""

    @property
    def key(self) -> _Key:
        """Key of these credentials' refusals."""
        return self.login_name, self.attempt


def room_key(room_id: str, secret: bytes = b"") -> str:
    """Return 16 hex digits that stand for the room: BLAKE2b keyed with `secret`, up to 64 bytes (a
    MAC, RFC 7693). A registered name (login type 3) needs no password, so anybody who could guess
    it could use it. Rooms from before names were secret keep theirs.
    """
    return hashlib.blake2b(room_id.encode(), key=secret, digest_size=8).hexdigest()


def visitor_id(login_name: str) -> str:
    """Return the GUID with which an anonymous visitor of this name logs in (login type 4)."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, login_name))


def matching_rule(
    accounts: Mapping[str, AccountEntry], room_id: str, user_id: str
) -> AccountEntry | None:
    """Return the rule for the room id, user id, or the glob with the most literal characters."""
    for exact in (room_id, user_id):
        if exact in accounts:
            return accounts[exact]
    globs = [glob for glob in accounts if fnmatchcase(room_id, glob) or fnmatchcase(user_id, glob)]
    # Ties are broken by the pattern's text, not by the order in the file.
    return accounts[max(globs, key=lambda glob: (_literals(glob), glob))] if globs else None


def shared(accounts: Mapping[str, AccountEntry], rooms_per_user: int) -> list[str]:
    """Return the keys of `accounts` whose login several rooms could use at the same time: the
    server allows one chat per login, so one room would get the other's.
    """

    def is_one_room(pattern: str, name: str) -> bool:
        exact = _literals(pattern) == len(pattern)
        own = "{room_key}" in name or "{room_id}" in name
        return own or (exact and (pattern.startswith("!") or rooms_per_user == 1))

    return [key for key, rule in accounts.items() if not is_one_room(key, rule.name)]


def _literals(pattern: str) -> int:
    return sum(char not in "*?[]" for char in pattern)


def credentials_of(settings: LinkSettings, account: Account) -> Credentials:
    """Return a room's credentials by the operator's settings. OpenFailure (LOGIN_REFUSED): no
    account is configured for the room, or the customer's own password cannot be unsealed any more.
    """
    server, enterprise = settings.server, settings.server.enterprise_id
    if account.login is not None and settings.unseal is not None:
        try:
            opened = settings.unseal(account.room_id, account.login.password)
        except StoreError as error:
            message = "the customer has to log in again"
            raise OpenFailure(FailureReason.LOGIN_REFUSED, message) from error
        own = http.Login(LoginType.PASSWORD, account.login.name, opened, enterprise)
        # A password is sealed differently each time it is entered.
        attempt = hashlib.sha256(account.login.password).hexdigest()
        return Credentials(account.login.name, own, attempt)

    def fill(template: str) -> str:
        return template.format(
            room_key=account.key or room_key(account.room_id),
            room_id=account.room_id,
            displayname=account.displayname,
        )

    kind, name, password = server.login.type, fill(server.login.name), server.login.password
    if kind is LoginType.PASSWORD and server.accounts:
        rule = matching_rule(server.accounts, account.room_id, account.customer)
        if rule is None:
            message = "webchat.accounts has no account for this room"
            raise OpenFailure(FailureReason.LOGIN_REFUSED, message)
        name, password = fill(rule.name), rule.password
    login = http.Login(
        kind,
        visitor_id(name) if kind is LoginType.VISITOR else name,
        password.get_secret_value(),
        enterprise,
        fill(server.login.display_name),
        fill(server.login.portrait),
    )
    return Credentials(name, login)
