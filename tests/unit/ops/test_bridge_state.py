"""What is reported to `homeserver.status_endpoint`, when, and that nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from bridge.ops.health import FIRST_PAUSE, LOOK_EVERY, REFUSED, REPEAT, TTL, Health, report_states
from bridge.rooms.ports import Unavailable
from tests.fakes.clock import ManualClock
from tests.unit.ops.test_health import Peer, once

PLACE = "http://webchat"


class Desk:
    """An endpoint, the peers of a bridge, and the clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.peers = {name: Peer() for name in ("database", "homeserver", "webchat")}
        self.health = Health(
            {name: (f"http://{name}", peer.probe) for name, peer in self.peers.items()},
            self.clock,
            on_change=lambda *_: None,
        )
        self.asked = 0
        self.told: list[dict[str, object]] = []
        self.status, self.mine = 200, True
        self.refused = ""
        self.came = asyncio.Condition()

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer secret"
        async with self.came:
            self.asked += 1
            if self.status == 200:
                self.told.append(await request.json())
            self.came.notify_all()
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})

    async def heard(self, asked: int) -> list[dict[str, object]]:
        """Wait for `asked` requests in all; return the reports since the last call."""
        async with asyncio.timeout(30), self.came:
            await self.came.wait_for(lambda: self.asked >= asked)
        async with asyncio.timeout(30):
            while not self.clock._sleepers:  # noqa: ASYNC110 - until the last answer is taken in
                await asyncio.sleep(0.001)
        told, self.told = self.told, []
        assert self.asked == asked
        return told

    async def look(self, seconds: float = LOOK_EVERY) -> None:
        await self.clock.turn(seconds)


@asynccontextmanager
async def reporting() -> AsyncIterator[Desk]:
    desk = Desk()
    runner = web.ServerRunner(web.Server(desk.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/state"
    mine, refused = lambda: desk.mine, lambda _: desk.refused
    told = report_states(endpoint, "secret", desk.health, desk.clock, mine, refused=refused)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(told)
            await asyncio.sleep(0)
            yield desk
            running.cancel()
    finally:
        await runner.cleanup()


def states(told: list[dict[str, object]]) -> list[tuple[object, object, object]]:
    return [(one.get("remote_id"), one["state_event"], one.get("error")) for one in told]


@pytest.mark.asyncio
async def test_changes_are_reported_once_and_repeated_before_they_expire() -> None:
    async with reporting() as desk:
        await desk.look()
        assert states(await desk.heard(2)) == [
            (None, "STARTING", None),
            ("webchat", "CONNECTING", None),
        ]
        await once(desk.health)
        await desk.look()
        whole, remote = await desk.heard(4)
        assert whole == {
            "state_event": "RUNNING",
            "source": "bridge",
            "timestamp": desk.clock.now() // 1000,
            "ttl": TTL,
        }
        assert remote["state_event"] == "CONNECTED"
        assert remote["remote_name"] == PLACE
        desk.peers["webchat"].up = False
        await once(desk.health)
        await desk.look()
        (lost,) = await desk.heard(5)
        assert states([lost]) == [("webchat", "TRANSIENT_DISCONNECT", "webchat-unreachable")]
        assert lost["message"] == "http://webchat: the connection broke"
        desk.peers["webchat"].error = Unavailable("connection reset after 31 s")
        await once(desk.health)
        await desk.look()
        assert desk.asked == 5, "the same trouble, worded otherwise"
        # Each by its own age: the call centre's is one look younger.
        await desk.look(REPEAT - 2 * LOOK_EVERY)
        assert states(await desk.heard(6)) == [(None, "RUNNING", None)]
        await desk.look()
        assert states(await desk.heard(7)) == states([lost])
        assert REPEAT + 5 * FIRST_PAUSE < TTL


@pytest.mark.asyncio
async def test_states_are_reported_again_after_the_clock_is_set_back() -> None:
    """Otherwise they would expire long before the clock reaches the time of the last report."""
    async with reporting() as desk:
        await once(desk.health)
        await desk.look()
        told = states(await desk.heard(2))
        desk.clock.set_back(3_600_000)
        await desk.look()
        assert states(await desk.heard(4)) == told
        await desk.look()
        assert desk.asked == 4


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("part", "error", "expected"),
    [
        ("database", ConnectionError(), ("UNKNOWN_ERROR", "database-unreachable")),
        ("homeserver", Unavailable("502"), ("UNKNOWN_ERROR", "homeserver-unreachable")),
        (
            "homeserver",
            Unavailable(f"{REFUSED} (M_UNKNOWN_TOKEN)"),
            ("BAD_CREDENTIALS", "homeserver-refused"),
        ),
    ],
)
async def test_trouble_of_the_bridge_is_reported(
    part: str, error: Exception, expected: tuple[str, str]
) -> None:
    async with reporting() as desk:
        desk.peers[part].up, desk.peers[part].error = False, error
        await once(desk.health)
        await desk.look()
        whole, remote = await desk.heard(2)
        assert (whole["state_event"], whole["error"]) == expected
        assert remote["state_event"] == "CONNECTED"


@pytest.mark.asyncio
async def test_call_centre_that_refuses_the_credentials() -> None:
    """It answers, so it is no outage; a later outage takes precedence."""
    async with reporting() as desk:
        await once(desk.health)
        desk.refused = "login refused with -20"
        await desk.look()
        whole, remote = await desk.heard(2)
        assert whole["state_event"] == "RUNNING"
        assert states([remote]) == [("webchat", "BAD_CREDENTIALS", "webchat-refused")]
        assert remote["message"] == f"{PLACE}: login refused with -20"
        desk.peers["webchat"].up = False
        await once(desk.health)
        await desk.look()
        assert states(await desk.heard(3)) == [
            ("webchat", "TRANSIENT_DISCONNECT", "webchat-unreachable")
        ]
        desk.peers["webchat"].up, desk.refused = True, ""
        await once(desk.health)
        await desk.look()
        assert states(await desk.heard(4)) == [("webchat", "CONNECTED", None)]


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [302, 401, 500])
async def test_refused_report_is_repeated_later_with_the_current_state(status: int) -> None:
    async with reporting() as desk:
        desk.status = status
        await desk.look()
        await desk.heard(1)
        await desk.look(FIRST_PAUSE)
        await desk.heard(2)
        await desk.look(FIRST_PAUSE)
        assert desk.asked == 2, "the pause has doubled"
        await once(desk.health)
        desk.status = 200
        await desk.look(FIRST_PAUSE)
        told = await desk.heard(4)
        assert [one["state_event"] for one in told] == ["RUNNING", "CONNECTED"]


@pytest.mark.asyncio
async def test_only_one_process_reports() -> None:
    async with reporting() as desk:
        desk.mine = False
        await desk.look()
        await desk.look()
        assert desk.asked == 0
        desk.mine = True
        await desk.look()
        await desk.heard(2)


@pytest.mark.asyncio
async def test_process_that_reports_again_says_so() -> None:
    """Another one, which could not reach the call centre, has reported that meanwhile."""
    async with reporting() as desk:
        await once(desk.health)
        await desk.look()
        await desk.heard(2)
        desk.mine = False
        await desk.look()
        desk.mine = True
        await desk.look()
        told = await desk.heard(4)
        assert [one["state_event"] for one in told] == ["RUNNING", "CONNECTED"]
