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

from bridge.conversation.events import FailureReason
from bridge.link.http_client import Door, Http, TokenRefused, Visitor, no_turn, surely
from bridge.link.learnt import Feature, Learnt
from bridge.link.settings import LinkSettings, Token
from bridge.rooms.ports import Unavailable
from bridge.webchat.codes import ResultCode, meaning
from bridge.webchat.http import (
    Endpoints,
    HistoryEntry,
    RobotReply,
    dump_history,
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


class Requests:
    """Requests to one server."""

    def __init__(
        self,
        settings: LinkSettings,
        endpoints: Endpoints,
        http: Http,
        *,
        door: Door,
        learnt: Learnt,
    ) -> None:
        self._settings = settings
        self._timing = settings.timing
        self._robot = endpoints.robot
        self._http = http
        self._door = door
        self._learnt = learnt
        self._turn = asyncio.Lock()
        self._histories = asyncio.Semaphore(AT_ONCE)
        self._questions = asyncio.Semaphore(AT_ONCE)

    async def history(
        self, token: Token, count: int, visitor: Visitor
    ) -> tuple[HistoryEntry, ...] | None:
        """Return the last messages, newest last; None if the server has no history.

        Raises:
            TokenRefused: -15.
            CallFailure: always certain: NO_TURN, it did not come in time; UNREACHABLE; or REFUSED
                with the server's code.
        """
        body = dump_history(token.value, min(max(1, count), MOST_ENTRIES))
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._timing.connect):
                    await stack.enter_async_context(self._histories)
                    async with self._turn:
                        await stack.enter_async_context(self._door.knock(visitor))
            except TimeoutError:
                raise no_turn("history: no turn in time") from None
            reply, _ = await self._door.post(
                "history",
                body,
                parse_history_reply,
                longest=LONGEST_HISTORY,
                cookies=token.cookies,
            )
        if reply.result == ResultCode.SUCCESS:
            return reply.entries
        if reply.result == ResultCode.INVALID_TOKEN:
            raise TokenRefused("history: -15")
        if meaning(reply.result).no_history:
            self._learnt.has_not(Feature.HISTORY)
            return None
        raise surely(FailureReason.REFUSED, "history refused", reply.result)

    async def ask_robot(self, question: str) -> RobotReply:
        """Return what the robot found, which may be nothing.

        Raises:
            CallFailure: always certain: TOO_BIG; SIGN_REFUSED (-30); REFUSED, with the server's
                code, or without one for a blank question; UNREACHABLE.
        """
        if len(question) > LONGEST_QUESTION:
            message = f"a question has at most {LONGEST_QUESTION} characters"
            raise surely(FailureReason.TOO_BIG, message)
        settings, total = self._settings, self._timing.reply
        try:
            form = robot_form(settings.enterprise_id, question, settings.robot_key)
        except LocalProtocolError as error:
            raise surely(FailureReason.REFUSED, str(error)) from error
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
        try:
            async with asyncio.timeout(total), self._questions:
                self._door.check()
                answer = await self._http.post(
                    self._robot, urlencode(form).encode(), headers, total=total
                )
        except (TimeoutError, Unavailable) as error:
            why = str(error) or "no answer in time"
            raise surely(FailureReason.UNREACHABLE, f"robot: {why}") from error
        reply = parse_robot_reply(answer.body)
        if reply is None:
            # Many servers have no robot: that says nothing about their health.
            message = f"robot: HTTP {answer.status} without WebChat's JSON"
            raise surely(FailureReason.UNREACHABLE, message)
        if reply.result == ResultCode.SUCCESS:
            return reply
        sign = reply.result == ResultCode.INVALID_SIGN
        reason = FailureReason.SIGN_REFUSED if sign else FailureReason.REFUSED
        raise surely(reason, "the robot refused the question", reply.result)
