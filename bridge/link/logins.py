"""Logging in without being thrown out.

The server blacklists an address that knocks too often, and all our customers share one (protocol
reference 3.7). So all logins of a server pass one window limiter, a refused account is left alone
for a minute and then ever longer, and an answer that looks like a blacklist's closes the door for
everybody for ten minutes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from bridge.conversation.inputs import FailureReason
from bridge.link.accounts import Accounts, Credentials
from bridge.link.failures import OpenFailure
from bridge.link.health import Health
from bridge.link.http import Answer, Http
from bridge.link.limiter import WindowLimiter
from bridge.link.ports import LinkMetrics, Token
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import Account, Clock, Unavailable
from bridge.webchat.codes import ResultCode
from bridge.webchat.errors import LocalProtocolError
from bridge.webchat.http import LoginReply, dump_login, parse_login_reply
from bridge.webchat.signing import login_sign
from bridge.webchat.urls import Endpoints

STARTING = frozenset({404, 408, 500, 502, 503, 504})
"""HTTP statuses of a server that is starting, or of the proxy before it (row 38)."""
SUSPICIONS = 3
"""So many answers in a row that are neither WebChat's nor a starting server's: a blacklist."""


@dataclass(frozen=True)
class _Refusal:
    failure: OpenFailure
    until: float
    pause: float


class Logins:
    """Gives tokens for accounts, one HTTP request each."""

    def __init__(
        self, settings: LinkSettings, http: Http, health: Health, clock: Clock, metrics: LinkMetrics
    ) -> None:
        self._settings = settings
        self._http = http
        self._health = health
        self._clock = clock
        self._metrics = metrics
        self._accounts = Accounts(settings)
        self._limiter = WindowLimiter(settings.login_count, settings.login_seconds)
        self._refusals: dict[str, _Refusal] = {}
        self._suspicions = 0
        self._closed_until = 0.0

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
        self._recall(credentials.login_name)
        async with self._limiter:
            # What was learnt while we waited for our turn counts.
            self._recall(credentials.login_name)
            reply = await self._request(credentials)
        self._judge(credentials.login_name, reply)
        return Token(credentials.login_name, reply.token, self._clock.now(), reply.client_id)

    def _recall(self, login_name: str) -> None:
        now = asyncio.get_running_loop().time()
        refusal = self._refusals.get(login_name)
        if refusal is not None and now < refusal.until:
            raise OpenFailure(
                refusal.failure.reason,
                str(refusal.failure),
                code=refusal.failure.code,
                pause=refusal.until - now,
            )
        if now < self._closed_until:
            raise OpenFailure(
                FailureReason.UNREACHABLE,
                "the server seems to have blacklisted this address",
                pause=self._closed_until - now,
            )

    async def _request(self, credentials: Credentials) -> LoginReply:
        try:
            body = dump_login(credentials.login)
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
            self._health.missed()
            raise OpenFailure(FailureReason.UNREACHABLE, f"login: {error}") from error
        # The vendor's clients parse the body whatever the HTTP status is.
        reply = parse_login_reply(answer.body)
        self._metrics.logged_in(None if reply is None else reply.result)
        if reply is None:
            raise self._foreign(answer)
        self._health.reached()
        self._suspicions = 0
        return reply

    def _foreign(self, answer: Answer) -> OpenFailure:
        """Something else than WebChat answered: say what that means."""
        self._health.missed()
        pause = 0.0
        if answer.status not in STARTING:
            self._suspicions += 1
            if self._suspicions >= SUSPICIONS:
                pause = self._settings.timing.blacklist
                self._closed_until = asyncio.get_running_loop().time() + pause
                log: structlog.stdlib.BoundLogger = structlog.get_logger()
                log.error("blacklisted by the webchat server?", status=answer.status, pause=pause)
        return OpenFailure(
            FailureReason.UNREACHABLE,
            f"login: HTTP {answer.status} without WebChat's JSON",
            pause=pause,
        )

    def _judge(self, login_name: str, reply: LoginReply) -> None:
        code = reply.result
        if code == ResultCode.SUCCESS:
            self._refusals.pop(login_name, None)
            return
        if code in (ResultCode.INVALID_LOGIN, ResultCode.INVALID_CLIENT_ID):
            raise self._refuse(login_name, FailureReason.LOGIN_REFUSED, code)
        if code == ResultCode.INVALID_SIGN:
            raise self._refuse(login_name, FailureReason.SIGN_REFUSED, code)
        raise OpenFailure(
            FailureReason.UNREACHABLE, f"login answered {code} without a token", code=code
        )

    def _refuse(self, login_name: str, reason: FailureReason, code: int) -> OpenFailure:
        timing = self._settings.timing
        now = asyncio.get_running_loop().time()
        earlier = self._refusals.get(login_name)
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
        self._refusals[login_name] = _Refusal(failure, now + pause, pause)
        log: structlog.stdlib.BoundLogger = structlog.get_logger()
        log.error("webchat login refused", login_name=login_name, code=code, retry_in=pause)
        return failure
