"""Where a link's token comes from: the one it has, the stored one, or a new login.

`Tokens` reuses them for as long as the server takes them; `Logins` logs in without being thrown
out. All logins of a server pass its `Door`. A refused account is left alone until a person acts:
by us for an hour, and whatever its customer does, for a minute and then ever longer; a retry loop
gets the whole bridge onto the server's blacklist (reference 3.7). A refused sign holds for all
accounts.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass

import structlog

from bridge.conversation.inputs import FailureReason
from bridge.ids import RoomId
from bridge.link.accounts import Accounts, Credentials
from bridge.link.door import Door
from bridge.link.failures import OpenFailure
from bridge.link.http import Http
from bridge.link.learnt import Learnt
from bridge.link.limiter import Visitor, Wait, patiently
from bridge.link.ports import LinkMetrics, Token, TokenStore
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import Account, Clock, Unavailable
from bridge.rooms.store import StoreError
from bridge.webchat.codes import ResultCode
from bridge.webchat.http import Endpoints, LoginReply, dump_login, login_sign, parse_login_reply
from bridge.webchat.write import LocalProtocolError

_Key = tuple[str, str]
_ALL: _Key = ("", "")
"""The key of what holds for every account of the server. No login name is empty."""


@dataclass(frozen=True)
class _Refusal:
    reason: FailureReason
    code: int
    pause: float
    until: float
    """Nobody may try before, in loop time."""
    rests_until: float
    """Nor we ourselves before this."""

    def failure(self, now: float) -> OpenFailure:
        """What it means for who asks now."""
        return OpenFailure(
            self.reason,
            f"login refused with {self.code}",
            code=self.code,
            pause=max(0.0, self.until - now),
            rest=max(0.0, self.rests_until - now),
        )


class Logins:
    """Gives tokens for accounts, one HTTP request each."""

    def __init__(
        self,
        settings: LinkSettings,
        http: Http,
        *,
        door: Door,
        learnt: Learnt,
        clock: Clock,
        metrics: LinkMetrics,
    ) -> None:
        self._settings = settings
        self._http = http
        self._door = door
        self._learnt = learnt
        self._clock = clock
        self._metrics = metrics
        self._accounts = Accounts(settings)
        self._refusals: dict[_Key, _Refusal] = {}
        self._alone = asyncio.Lock()

    def login_name(self, account: Account) -> str:
        """Return the name under which the room logs in.

        Raises:
            OpenFailure: there is no account for this room.
        """
        return self._accounts.credentials(account).login_name

    async def login(self, account: Account, wait: Wait = patiently) -> Token:
        """Log a room in; `wait` is how it stands in line for its turn.

        Raises:
            OpenFailure: LOGIN_REFUSED (-20, -6, no account), SIGN_REFUSED (-30) or UNREACHABLE;
                `pause` says how long to leave it, `rest` how long unless somebody asks.
            Exception: what `wait` raises.
        """
        credentials = self._accounts.credentials(account)
        self._recall(credentials)
        # Where all were refused together, one tries for all.
        async with self._alone if _ALL in self._refusals else nullcontext():
            async with self._door.knock(Visitor(account.customer, account.running, wait)):
                # What was learnt while we waited for our turn counts.
                self._recall(credentials)
                reply, cookies = await self._request(credentials)
            self._judge(credentials, reply)
        now = self._clock.now()
        return Token(credentials.login_name, reply.token, now, reply.client_id, cookies)

    def _recall(self, credentials: Credentials) -> None:
        now = asyncio.get_running_loop().time()
        for key in (_ALL, _key(credentials)):
            refusal = self._refusals.get(key)
            if refusal is not None and now < refusal.until:
                raise refusal.failure(now)

    async def _request(self, credentials: Credentials) -> tuple[LoginReply, str]:
        """Return the answer, and the cookies that came with it."""
        try:
            body = dump_login(credentials.login, self._learnt.keys)
        except LocalProtocolError as error:
            raise OpenFailure(FailureReason.LOGIN_REFUSED, str(error)) from error
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        if self._settings.sign_key:
            # The sign covers exactly these bytes (protocol reference 3.2).
            headers["sign"] = login_sign(body, self._settings.sign_key)
        url = Endpoints(self._settings.base_url).login
        try:
            answer = await self._http.post(url, body, headers, total=self._settings.timing.reply)
        except Unavailable as error:
            self._metrics.logged_in(None)
            self._door.unanswered()
            raise OpenFailure(FailureReason.UNREACHABLE, f"login: {error}") from error
        # The vendor's clients parse the body whatever the HTTP status is.
        reply = parse_login_reply(answer.body)
        self._metrics.logged_in(None if reply is None else reply.result)
        if reply is None:
            raise self._door.foreign(answer, "login")
        self._door.answered()
        return reply, answer.cookies

    def _judge(self, credentials: Credentials, reply: LoginReply) -> None:
        code = reply.result
        if code == ResultCode.SUCCESS:
            self._refusals.pop(_key(credentials), None)
            self._refusals.pop(_ALL, None)
            return
        if code in (ResultCode.INVALID_LOGIN, ResultCode.INVALID_CLIENT_ID):
            raise self._refuse(credentials, FailureReason.LOGIN_REFUSED, code)
        if code == ResultCode.INVALID_SIGN:
            raise self._refuse(credentials, FailureReason.SIGN_REFUSED, code)
        raise OpenFailure(
            FailureReason.UNREACHABLE, f"login answered {code} without a token", code=code
        )

    def _refuse(self, credentials: Credentials, reason: FailureReason, code: int) -> OpenFailure:
        timing = self._settings.timing
        key = _ALL if reason is FailureReason.SIGN_REFUSED else _key(credentials)
        now = asyncio.get_running_loop().time()
        earlier = self._refusals.get(key)
        if earlier is not None and now < earlier.until:
            return earlier.failure(now)  # both were on their way at the same time
        pause = timing.refusal_first
        if earlier is not None:
            pause = min(timing.refusal_last, 2 * earlier.pause)
        rest = max(pause, timing.refusal)
        refusal = _Refusal(reason, code, pause, now + pause, now + rest)
        # Old refusals are dropped here, so that the table never outgrows the accounts in trouble.
        self._refusals = {
            name: old
            for name, old in self._refusals.items()
            if now < old.rests_until + timing.refusal_last
        }
        self._refusals[key] = refusal
        log = _log()
        told = {"code": code, "retry_in": rest, "if_asked_in": pause}
        if credentials.attempt and reason is FailureReason.LOGIN_REFUSED:
            # A customer has mistyped: nothing for an operator, and no name that was meant for us.
            log.info("webchat login of a customer's own refused", **told)
        else:
            log.error("webchat login refused", login_name=credentials.login_name, **told)
        return refusal.failure(now)


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


def _key(credentials: Credentials) -> _Key:
    """A refusal holds for a name; for one that was typed, only with the password typed with it."""
    return credentials.login_name, credentials.attempt


def _log() -> structlog.stdlib.BoundLogger:
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    return log
