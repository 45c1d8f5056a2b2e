"""Logging in without being thrown out.

All logins of a server pass its `Door`, and a refused account is left alone for a minute and then
ever longer: a retry loop gets the whole bridge onto the server's blacklist (reference 3.7).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from bridge.conversation.inputs import FailureReason
from bridge.link.accounts import Accounts, Credentials
from bridge.link.door import Door
from bridge.link.failures import OpenFailure
from bridge.link.http import Http
from bridge.link.learnt import Learnt
from bridge.link.ports import LinkMetrics, Token
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import Account, Clock, Unavailable
from bridge.webchat.codes import ResultCode
from bridge.webchat.errors import LocalProtocolError
from bridge.webchat.http import LoginReply, dump_login, parse_login_reply
from bridge.webchat.signing import login_sign
from bridge.webchat.urls import Endpoints


@dataclass(frozen=True)
class _Refusal:
    failure: OpenFailure
    until: float
    pause: float


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
        self._refusals: dict[tuple[str, str], _Refusal] = {}

    def login_name(self, account: Account) -> str:
        """Return the name under which the room logs in.

        Raises:
            OpenFailure: there is no account for this room.
        """
        return self._accounts.credentials(account).login_name

    async def login(self, account: Account) -> Token:
        """Log a room in.

        Raises:
            OpenFailure: LOGIN_REFUSED (-20, -6, no account), SIGN_REFUSED (-30) or UNREACHABLE;
                `pause` says how long to leave it.
        """
        credentials = self._accounts.credentials(account)
        self._recall(credentials)
        async with self._door.knock():
            # What was learnt while we waited for our turn counts.
            self._recall(credentials)
            reply = await self._request(credentials)
        self._judge(credentials, reply)
        return Token(credentials.login_name, reply.token, self._clock.now(), reply.client_id)

    def _recall(self, credentials: Credentials) -> None:
        now = asyncio.get_running_loop().time()
        refusal = self._refusals.get(_key(credentials))
        if refusal is not None and now < refusal.until:
            raise OpenFailure(
                refusal.failure.reason,
                str(refusal.failure),
                code=refusal.failure.code,
                pause=refusal.until - now,
            )

    async def _request(self, credentials: Credentials) -> LoginReply:
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
        return reply

    def _judge(self, credentials: Credentials, reply: LoginReply) -> None:
        code = reply.result
        if code == ResultCode.SUCCESS:
            self._refusals.pop(_key(credentials), None)
            return
        if code in (ResultCode.INVALID_LOGIN, ResultCode.INVALID_CLIENT_ID):
            raise self._refuse(credentials, FailureReason.LOGIN_REFUSED, code)
        if code == ResultCode.INVALID_SIGN:
            raise self._refuse(credentials, FailureReason.SIGN_REFUSED, code)
        raise OpenFailure(
            FailureReason.UNREACHABLE, f"login answered {code} without a token", code=code
        )

    def _refuse(self, credentials: Credentials, reason: FailureReason, code: int) -> OpenFailure:
        timing, key = self._settings.timing, _key(credentials)
        now = asyncio.get_running_loop().time()
        earlier = self._refusals.get(key)
        pause = timing.refusal_first
        if earlier is not None:
            pause = min(timing.refusal_last, 2 * earlier.pause)
        failure = OpenFailure(reason, f"login refused with {code}", code=code, pause=pause)
        # Old refusals are dropped here, so that the table never outgrows the accounts in trouble.
        self._refusals = {
            name: refusal
            for name, refusal in self._refusals.items()
            if now < refusal.until + timing.refusal_last
        }
        self._refusals[key] = _Refusal(failure, now + pause, pause)
        log: structlog.stdlib.BoundLogger = structlog.get_logger()
        if credentials.attempt and reason is FailureReason.LOGIN_REFUSED:
            # A customer has mistyped: nothing for an operator, and no name that was meant for us.
            log.info("webchat login of a customer's own refused", code=code, retry_in=pause)
        else:
            name = credentials.login_name
            log.error("webchat login refused", login_name=name, code=code, retry_in=pause)
        return failure


def _key(credentials: Credentials) -> tuple[str, str]:
    """A refusal holds for a name; for one that was typed, only with the password typed with it."""
    return credentials.login_name, credentials.attempt
