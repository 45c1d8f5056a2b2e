"""Requests to the server beside the socket: a customer's history, and questions to the robot.

A customer's history: the agents' messages that were missed while the link was down (reference 3.8).
It is asked for at the address of the logins, so it passes the same `Door`, and only one room's
request at a time stands in line there: after an outage, thousands of rooms that want their history
must not keep others from logging in. Once it has its turn the next one stands in line, so that a
server without a limit answers several at a time. A room whose turn does not come in time is told so
(NO_TURN), which is no failure of anything: it asks again later.

The knowledge-base robot (guide 4) is asked by HTTP, signed, without a login.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from urllib.parse import urlencode

from bridge.conversation.model import FailureReason
from bridge.link.http_client import Door, Http, TokenRefused, Visitor
from bridge.link.learnt import Feature, Learnt
from bridge.link.settings import LinkSettings, Token
from bridge.rooms.ports import CallFailure, Unavailable
from bridge.webchat.codes import ResultCode, meaning
from bridge.webchat.http import (
    Endpoints,
    HistoryEntry,
    HistoryReply,
    RobotReply,
    dump_history,
    login_sign,
    parse_history_reply,
    parse_robot_reply,
    robot_form,
)
from bridge.webchat.write import LocalProtocolError

MOST_ENTRIES = 100
"""Messages that are asked for at once, at most."""
LONGEST_HISTORY = 8 * 1024 * 1024
"""Bytes of an answer that are read."""
LONGEST_QUESTION = 1000
"""Characters."""
AT_ONCE = 20
"""Requests for a history, and questions, that are under way; more of them wait."""


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
        self._turn = asyncio.Lock()
        self._places = asyncio.Semaphore(AT_ONCE)

    async def fetch(
        self, token: Token, count: int, visitor: Visitor
    ) -> tuple[HistoryEntry, ...] | None:
        """Return the last messages, newest last; None if the server has no history.

        Raises:
            TokenRefused: -15.
            CallFailure: always certain: NO_TURN, it did not come in time; UNREACHABLE; or REFUSED
                with the server's code.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._timing.connect):
                    await stack.enter_async_context(self._places)
                    async with self._turn:
                        await stack.enter_async_context(self._door.knock(visitor))
            except TimeoutError:
                raise CallFailure(
                    FailureReason.NO_TURN, certain=True, message="history: no turn in time"
                ) from None
            reply = await self._request(token, min(max(1, count), MOST_ENTRIES))
        if reply.result == ResultCode.SUCCESS:
            return reply.entries
        if reply.result == ResultCode.INVALID_TOKEN:
            raise TokenRefused("history: -15")
        if meaning(reply.result).no_history:
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


class Robot:
    """Asks one server's robot."""

    def __init__(
        self, settings: LinkSettings, endpoints: Endpoints, http: Http, door: Door
    ) -> None:
        self._url = endpoints.robot
        self._enterprise_id = settings.enterprise_id
        self._key = settings.robot_key
        self._total = settings.timing.reply
        self._http = http
        self._door = door
        self._places = asyncio.Semaphore(AT_ONCE)

    async def ask(self, question: str) -> RobotReply:
        """Return what the robot found, which may be nothing.

        Raises:
            CallFailure: always certain: TOO_BIG; SIGN_REFUSED (-30); REFUSED, with the server's
                code, or without one for a blank question; UNREACHABLE.
        """
        if len(question) > LONGEST_QUESTION:
            message = f"a question has at most {LONGEST_QUESTION} characters"
            raise CallFailure(FailureReason.TOO_BIG, certain=True, message=message)
        try:
            form = robot_form(self._enterprise_id, question, self._key)
        except LocalProtocolError as error:
            raise CallFailure(FailureReason.REFUSED, certain=True, message=str(error)) from error
        try:
            async with asyncio.timeout(self._total), self._places:
                reply = await self._request(urlencode(form).encode())
        except TimeoutError:
            raise _unreachable("no answer in time") from None
        if reply.result == ResultCode.SUCCESS:
            return reply
        sign = reply.result == ResultCode.INVALID_SIGN
        raise CallFailure(
            FailureReason.SIGN_REFUSED if sign else FailureReason.REFUSED,
            certain=True,
            code=reply.result,
            message="the robot refused the question",
        )

    async def _request(self, body: bytes) -> RobotReply:
        self._door.check()
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
        try:
            answer = await self._http.post(self._url, body, headers, total=self._total)
        except Unavailable as error:
            raise _unreachable(str(error)) from error
        reply = parse_robot_reply(answer.body)
        if reply is None:
            # Many servers have no robot: that says nothing about their health.
            raise _unreachable(f"HTTP {answer.status} without WebChat's JSON")
        return reply


def _unreachable(message: str) -> CallFailure:
    return CallFailure(FailureReason.UNREACHABLE, certain=True, message=f"robot: {message}")
