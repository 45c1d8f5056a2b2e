"""Questions to the knowledge-base robot (guide 4): HTTP, signed, without a login."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from bridge.conversation.inputs import FailureReason
from bridge.link.door import Door
from bridge.link.http import Http
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import CallFailure, Unavailable
from bridge.webchat.codes import ResultCode
from bridge.webchat.errors import LocalProtocolError
from bridge.webchat.http import RobotReply, parse_robot_reply, robot_form
from bridge.webchat.urls import Endpoints

LONGEST_QUESTION = 1000
"""Characters."""
AT_ONCE = 20
"""Questions under way; more of them wait."""


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
