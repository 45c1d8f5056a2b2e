"""The control API at `/_sim`, for scripts in another process and for the desk in the browser."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from bridge.simulator.http import answer
from bridge.simulator.journal import Journal
from bridge.simulator.ops import BadOpError
from bridge.simulator.outgoing import Wire
from bridge.simulator.pulse import Pulse

_LONGEST_WAIT = 300.0


class ControlSide:
    """`GET state`, `GET frames`, `POST do`.

    Args:
        state: describes the simulation.
        do: carries out one operation; raises BadOpError.
        journal: the frames.
        pulse: beats at every change.
    """

    def __init__(
        self,
        state: Callable[[], Wire],
        do: Callable[[Mapping[str, object]], Awaitable[Wire]],
        journal: Journal,
        pulse: Pulse,
    ) -> None:
        self._state = state
        self._do = do
        self._journal = journal
        self._pulse = pulse

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/state", self._get_state),
            web.get("/_sim/frames", self._get_frames),
            web.post("/_sim/do", self._post_do),
        ]

    async def _get_state(self, request: web.Request) -> web.Response:
        return answer(self._state())

    async def _get_frames(self, request: web.Request) -> web.Response:
        """The frames after number `since`; with `wait`, up to so many seconds for the first."""
        try:
            since = int(request.query.get("since", "0"))
            wait = min(float(request.query.get("wait", "0")), _LONGEST_WAIT)
        except ValueError:
            return _bad("since must be an integer and wait a number of seconds")
        try:
            async with asyncio.timeout(wait):
                while wait > 0 and self._journal.last <= since:
                    await self._pulse.wait()
        except TimeoutError:
            pass
        return answer({"last": self._journal.last, "frames": self._journal.since(since)})

    async def _post_do(self, request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, object])
            return answer(await self._do(body))
        except msgspec.MsgspecError as error:
            return _bad(f"the body must be a JSON object: {error}")
        except BadOpError as error:
            return _bad(str(error))


def _bad(sentence: str) -> web.Response:
    return web.Response(
        status=400,
        body=msgspec.json.encode({"ok": False, "error": sentence}),
        content_type="application/json",
        charset="UTF-8",
    )
