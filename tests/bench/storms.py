"""Time until all sessions are back after an outage of the call centre, compared with a bare client.

The bare client (this file as a program) has no Matrix side and stores nothing: a login and a socket
for each session, with the bridge's back-off and limit of concurrent reconnects. The login rate
limit is lifted for both. A session is back once its socket is open.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bridge.link.http_client import Backoff
from bridge.link.settings import LinkSettings, Timing
from tests.bench.stubs import StubWebChat
from tests.bench.subjects import ROOT, process_cpu, program

AWAY = 3.0
"""Seconds that the call centre is away."""
PATIENCE = 300.0
QUIET = 5.0
STABLE = Timing().stable + QUIET
"""Seconds of uptime after which the loss of a link restarts its back-off from the beginning."""
Say = Callable[[str], None]


class Storm(msgspec.Struct, frozen=True):
    """One return of all sessions.

    Attributes:
        lost: True if the call centre has lost its tokens too, so that each session needs a login.
        half: seconds from when it listens again until half of the sessions are back; None if that
            takes more than five minutes.
        whole: seconds until all are; None if that takes another five minutes.
        cpu: ms per session.
        warnings: log lines at warning or above meanwhile; a bare client writes none.
    """

    sessions: int
    lost: bool
    half: float | None
    whole: float | None
    cpu: float
    warnings: int = 0


async def bare_storms(folder: Path, sessions: int, say: Say) -> list[Storm]:
    """Measure the returns of a bare client."""
    webchat, log = StubWebChat(), folder / "bare.log"
    async with webchat.running():
        command = [sys.executable, "-m", "tests.bench.storms", webchat.base_url, str(sessions)]
        async with program(command, log, {"PYTHONPATH": str(ROOT)}) as process:
            await webchat.connected(sessions, PATIENCE)
            await asyncio.sleep(QUIET)
            return await storms(webchat, sessions, process.pid, log, say, pause=QUIET)


async def storms(
    webchat: StubWebChat, sessions: int, pid: int, log: Path, say: Say, *, pause: float = STABLE
) -> list[Storm]:
    """Measure a return with the tokens kept, and one with them lost.

    Args:
        pid: the process with the live sessions, all of which have been up for `pause` seconds.
        log: its log file.
        pause: seconds before the second outage.
    """
    found: list[Storm] = []
    for lost in (False, True):
        if lost:
            await asyncio.sleep(pause)
        warned, cpu = _warnings(log), process_cpu(pid)
        async with webchat.away(forgetful=lost):
            await asyncio.sleep(AWAY)
        began = time.monotonic()
        half = await _back(webchat, sessions // 2, began)
        whole = await _back(webchat, sessions, began)
        await asyncio.sleep(2)
        each = (process_cpu(pid) - cpu) / sessions / 1000
        found.append(Storm(sessions, lost, half, whole, each, _warnings(log) - warned))
        say(_brief(found[-1]))
    return found


async def _back(webchat: StubWebChat, number: int, began: float) -> float | None:
    in_time = await webchat.connected(number, PATIENCE)
    return time.monotonic() - began if in_time else None


def _warnings(log: Path) -> int:
    text = log.read_text(encoding="utf-8", errors="replace")
    return len(re.findall(r"^\S+ +\[(?:warning|error|critical) *\]", text, re.MULTILINE))


def _brief(storm: Storm) -> str:
    tokens = "tokens lost" if storm.lost else "tokens kept"
    return (
        f"{storm.sessions} sessions, {tokens}: half back after {told(storm.half)} s, all after "
        f"{told(storm.whole)} s, {storm.cpu:.1f} ms each, {storm.warnings} warnings"
    )


def told(seconds: float | None) -> str:
    """Return the duration of a return as text."""
    return f"> {PATIENCE:.0f}" if seconds is None else f"{seconds:.1f}"


# --- the bare client ----------------------------------------------------------------------------


async def keep(
    number: int, session: aiohttp.ClientSession, base_url: str, dialling: asyncio.Semaphore
) -> None:
    """Keep one session up until cancelled."""
    timing, token = Timing(), ""
    backoff = Backoff(timing.backoff_first, timing.backoff_last, random.Random(number))  # noqa: S311
    socket_url = base_url.replace("http", "ws", 1) + "/cws?token="
    while True:
        try:
            if not token:
                async with session.post(f"{base_url}/tpi", json={"name": f"n{number}"}) as answer:
                    token = (await answer.json())["token"]
            async with dialling:
                socket = await connect(socket_url + token, compression=None, ping_interval=None)
        except InvalidStatus:
            token = ""
            continue
        except (OSError, aiohttp.ClientError):
            await asyncio.sleep(backoff.next())
            continue
        backoff.reset()
        try:
            async for _ in socket:
                pass
        except ConnectionClosed:
            pass
        await asyncio.sleep(backoff.next())


async def main(base_url: str, sessions: int) -> None:
    dialling = asyncio.Semaphore(LinkSettings.reconnect_limit)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for number in range(sessions):
            group.create_task(keep(number, session, base_url, dialling))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
