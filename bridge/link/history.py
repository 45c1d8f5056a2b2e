"""A customer's history: the agents' messages that were missed while the link was down (ref. 3.8).

It is asked for at the address of the logins, so it passes the same `Door`, and only one room's
request at a time stands in line there: after an outage, thousands of rooms that want their history
must not keep others from logging in.
"""

from __future__ import annotations

import asyncio

from bridge.conversation.inputs import FailureReason
from bridge.link.door import Door
from bridge.link.failures import TokenRefused
from bridge.link.http import Http
from bridge.link.learnt import Feature, Learnt
from bridge.link.limiter import Visitor
from bridge.link.ports import Token
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import CallFailure, Unavailable
from bridge.webchat.codes import ResultCode
from bridge.webchat.http import HistoryEntry, HistoryReply, dump_history, parse_history_reply
from bridge.webchat.signing import login_sign
from bridge.webchat.urls import Endpoints

MOST_ENTRIES = 100
"""Messages that are asked for at once, at most."""
LONGEST_HISTORY = 8 * 1024 * 1024
"""Bytes of an answer that are read."""
_UNKNOWN = frozenset(
    {
        ResultCode.REQUEST_ERROR,
        ResultCode.INVALID_MESSAGE_TYPE,
        ResultCode.INVALID_PARAMETER,
        ResultCode.INVALID_REQUEST_TYPE,
    }
)
"""What a server without history says to a request that it does not know."""


class Histories:
    """Asks one server for history."""

    def __init__(
        self,
        settings: LinkSettings,
        endpoints: Endpoints,
        http: Http,
        *,
        door: Door,
        learnt: Learnt,
    ) -> None:
        self._sign_key = settings.sign_key
        self._url = endpoints.login
        self._http = http
        self._door = door
        self._learnt = learnt
        self._timing = settings.timing
        self._turn = asyncio.Semaphore(1)

    async def fetch(
        self, token: Token, count: int, visitor: Visitor
    ) -> tuple[HistoryEntry, ...] | None:
        """Return the last messages, newest last; None if the server has no history.

        Raises:
            TokenRefused: -15.
            CallFailure: always certain: UNREACHABLE, also if our turn did not come in time, or
                REFUSED with the server's code.
        """
        try:
            async with asyncio.timeout(self._timing.connect), self._turn, self._door.knock(visitor):
                reply = await self._request(token, min(max(1, count), MOST_ENTRIES))
        except TimeoutError:
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message="history: no turn in time"
            ) from None
        if reply.result == ResultCode.SUCCESS:
            return reply.entries
        if reply.result == ResultCode.INVALID_TOKEN:
            raise TokenRefused("history: -15")
        if reply.result in _UNKNOWN:
            self._learnt.has_not(Feature.HISTORY)
            return None
        raise CallFailure(
            FailureReason.REFUSED, certain=True, code=reply.result, message="history refused"
        )

    async def _request(self, token: Token, count: int) -> HistoryReply:
        body = dump_history(token.value, count)
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        if self._sign_key:  # a server that wants it on logins looks at this address, not at types
            headers["sign"] = login_sign(body, self._sign_key)
        try:
            answer = await self._http.post(
                self._url,
                body,
                headers,
                total=self._timing.reply,
                longest=LONGEST_HISTORY,
                cookies=token.cookies,
            )
        except Unavailable as error:
            self._door.unanswered()
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message=f"history: {error}"
            ) from error
        reply = parse_history_reply(answer.body)
        if reply is None:
            raise self._door.foreign(answer, "history")
        self._door.answered()
        return reply
