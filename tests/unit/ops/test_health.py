"""Readiness: every peer has been reached within the grace period."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from bridge.ops.health import LIVE, READY, Health
from bridge.ops.logging import configure_logging
from bridge.rooms.ports import Unavailable
from bridge.rooms.store import StoreError


class TurnedClock:
    """Time that only tests move; a sleep ends when it has been moved far enough."""

    def __init__(self) -> None:
        self.time = 1_000_000
        self.sleepers = asyncio.Condition()

    def now(self) -> int:
        return self.time

    async def sleep(self, seconds: float) -> None:
        due = self.time + seconds * 1000
        async with self.sleepers:
            await self.sleepers.wait_for(lambda: self.time >= due)

    async def turn(self, seconds: float) -> None:
        async with self.sleepers:
            self.time += int(seconds * 1000)
            self.sleepers.notify_all()


class Peer:
    def __init__(self) -> None:
        self.up = True
        self.asked = 0
        self.error: Exception = ConnectionError("user:hunter2@host")

    async def probe(self) -> None:
        self.asked += 1
        if not self.up:
            raise self.error


@asynccontextmanager
async def served(health: Health) -> AsyncIterator[str]:
    application = web.Application()
    application.add_routes(web.get(path, page) for path, page in health.pages().items())
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def once(health: Health) -> None:
    await asyncio.gather(*map(health.probe, health._parts))


def watched(clock: TurnedClock) -> tuple[Health, dict[str, Peer], list[tuple[str, bool]]]:
    peers = {name: Peer() for name in ("database", "homeserver", "webchat")}
    changes: list[tuple[str, bool]] = []
    health = Health(
        {name: (f"http://{name}", peer.probe) for name, peer in peers.items()},
        clock,
        on_change=lambda part, up: changes.append((part, up)),
    )
    return health, peers, changes


@pytest.mark.asyncio
async def test_not_ready_before_everything_was_reached_once() -> None:
    health, peers, changes = watched(TurnedClock())
    peers["webchat"].up = False
    assert set(health.missing()) == {"database", "homeserver", "webchat"}
    await once(health)
    assert health.missing() == {
        "webchat": "unreachable for 0 s: http://webchat: the connection broke"
    }
    peers["webchat"].up = True
    await once(health)
    assert health.missing() == {}
    assert sorted(changes) == [
        ("database", True),
        ("homeserver", True),
        ("webchat", False),
        ("webchat", True),
    ]


@pytest.mark.asyncio
async def test_only_a_long_outage_changes_readiness() -> None:
    clock = TurnedClock()
    health, peers, changes = watched(clock)
    await once(health)
    peers["homeserver"].up = False
    await once(health)
    await clock.turn(29)
    await once(health)
    assert health.missing() == {}
    await clock.turn(1)
    assert health.missing() == {
        "homeserver": "unreachable for 30 s: http://homeserver: the connection broke"
    }
    peers["homeserver"].up = True
    await once(health)
    assert health.missing() == {}
    assert changes[3:] == [("homeserver", False), ("homeserver", True)]


@pytest.mark.asyncio
async def test_an_outage_counts_although_the_clock_is_set_back() -> None:
    clock = TurnedClock()
    health, peers, _ = watched(clock)
    await once(health)
    peers["webchat"].up = False
    await once(health)
    clock.time -= 3_600_000
    await once(health)
    assert (health.missing(), health.cut_off()) == ({}, 0)
    await clock.turn(30)
    await once(health)
    assert health.missing() == {
        "webchat": "unreachable for 30 s: http://webchat: the connection broke"
    }
    assert health.cut_off() == 30


@pytest.mark.asyncio
async def test_cut_off_is_the_longest_outage_of_a_needed_peer_but_the_database() -> None:
    clock = TurnedClock()
    health, peers, _ = watched(clock)
    peers["webchat"].up = False
    assert health.cut_off() == 0
    await once(health)
    assert health.cut_off() == math.inf, "never reached"
    peers["webchat"].up = True
    await once(health)
    assert health.cut_off() == 0
    peers["webchat"].up = peers["database"].up = False
    await once(health)
    await clock.turn(29)
    assert health.cut_off() == 0
    peers["homeserver"].up = False
    await once(health)
    await clock.turn(31)
    assert health.cut_off() == 60
    peers["webchat"].up = True
    await once(health)
    assert health.cut_off() == 31


@pytest.mark.asyncio
async def test_live_and_ready_over_http() -> None:
    clock = TurnedClock()
    health, peers, _ = watched(clock)
    await once(health)
    async with served(health) as base, ClientSession() as session:
        async with session.get(base + LIVE) as response:
            assert response.status == 200
        async with session.get(base + READY) as response:
            assert response.status == 200
            assert await response.json() == {"ready": True, "missing": {}}
        peers["database"].up = False
        await once(health)
        await clock.turn(31)
        async with session.get(base + READY) as response:
            assert response.status == 503
            text = await response.text()
            assert (
                '"database": "unreachable for 31 s: http://database: the connection broke"' in text
            )
            assert "hunter2" not in text
        async with session.get(base + LIVE) as response:
            assert response.status == 200


@pytest.mark.asyncio
async def test_ready_answer_has_additional_fields() -> None:
    health = Health({}, TurnedClock(), lambda _part, _up: None, lambda: {"shards": 128})
    async with (
        served(health) as base,
        ClientSession() as session,
        session.get(base + READY) as response,
    ):
        assert await response.json() == {"ready": True, "missing": {}, "shards": 128}


@pytest.mark.asyncio
async def test_stopping_is_not_ready() -> None:
    health, _, _ = watched(TurnedClock())
    await once(health)
    health.stop()
    assert health.missing() == {"bridge": "stopping"}


@pytest.mark.asyncio
async def test_a_hanging_probe_counts_as_unreachable_and_delays_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    peer = Peer()
    parts = {"database": ("db", hang), "webchat": ("http://x", peer.probe)}
    monkeypatch.setattr("bridge.ops.health.PATIENCE", 0.01)
    health = Health(parts, TurnedClock(), lambda _part, _reachable: None)
    await once(health)
    assert set(health.missing()) == {"database"}
    assert peer.asked == 1


@pytest.mark.asyncio
async def test_watching_probes_again_and_again() -> None:
    clock = TurnedClock()
    health, peers, _ = watched(clock)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        watcher = group.create_task(health.watch())
        while peers["database"].asked < 3:
            await asyncio.sleep(0)
            await clock.turn(5)
        watcher.cancel()
    assert health.missing() == {}


@pytest.mark.asyncio
async def test_ready_is_logged_once_it_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "text")
    clock = TurnedClock()
    health, peers, _ = watched(clock)
    peers["homeserver"].up = False
    await once(health)
    lost = capsys.readouterr().out
    assert "http://homeserver: the connection broke" in lost
    assert " ready " not in lost
    peers["homeserver"].up = True
    await clock.turn(7)
    for _ in range(2):
        await once(health)
    assert re.findall(r"\] ready +\[.*after_ms=(\d+)", capsys.readouterr().out) == ["7000"]


@pytest.mark.asyncio
async def test_changed_reason_is_logged_and_own_errors_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("INFO", "text")
    clock = TurnedClock()
    health, peers, changes = watched(clock)
    peers["webchat"].up = False
    full = StoreError("full")
    away = [StoreError(f"away; next try in {wait} s") for wait in (0.3, 12)]
    for error in (Unavailable("HTTP 502"), full, *away, ValueError("password=x"), full):
        peers["webchat"].error = error
        await clock.turn(1)
        await once(health)
        said = "unexpected error (ValueError)" if isinstance(error, ValueError) else str(error)
        assert health.missing()["webchat"].endswith(f"http://webchat: {said}")
    assert "for 5 s" in health.missing()["webchat"], "it is one outage"
    assert capsys.readouterr().out.count("peer unreachable") == 4, "each reason once"
    assert changes.count(("webchat", False)) == 1


@pytest.mark.asyncio
async def test_one_of_several_call_centres_is_enough() -> None:
    """Those that are away are still listed."""
    clock, peers = TurnedClock(), {name: Peer() for name in ("database", "webchat a", "webchat b")}
    parts = {name: (f"http://{name}", peer.probe) for name, peer in peers.items()}
    health = Health(parts, clock, lambda *_: None, any_of=("webchat a", "webchat b"))
    peers["webchat b"].up = False
    await once(health)
    assert health.missing() == {}
    async with served(health) as url, ClientSession() as session:
        async with session.get(url + READY) as response:
            told = await response.json()
            assert (response.status, list(told["away"])) == (200, ["webchat b"])
        peers["webchat a"].up = False
        await once(health)
        await clock.turn(31)
        await once(health)
        async with session.get(url + READY) as response:
            told = await response.json()
            assert (response.status, sorted(told["missing"])) == (503, ["webchat a", "webchat b"])
        peers["webchat a"].up = True
        peers["database"].up = False
        await once(health)
        await clock.turn(31)
        await once(health)
        assert list(health.missing()) == ["database"]
