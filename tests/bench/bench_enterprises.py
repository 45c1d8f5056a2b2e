"""What one call centre costs another in the same process, while it is dead, hangs or floods.

Run it as a program: `python -m tests.bench.bench_enterprises [messages] [rounds]`. One bridge with
SQLite serves `acme` and `best`; homeserver and call centres are stubs. Measured are messages of
acme's rooms, one each way every `GAP` seconds, each by itself; what best does meanwhile:

- quiet: its chats stand, nobody talks;
- dead: nothing listens at its address, all its rooms want their link, and customers write there;
- hanging: its address takes connections and answers nothing; the same besides;
- flooding: its agents and its customers write `FLOOD` times a second each, together with acme's as
  much as a Synapse beside it carries.

Rounds take turns, so that what the machine does beside falls upon all alike; the medians count.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from bridge.demo.child_process import free_port
from tests.bench.stubs import StubHomeserver, StubWebChat, wording
from tests.bench.subjects import Subject, bridge_program, client, open_chats, write_config

ACME, BEST = range(20), range(1000, 1200)
GAP = 0.025
FLOOD = 25
SETTLED = 10.0
"""Seconds after which a server that is away is tried no more all at once."""
BEST_USER = "@best_queue_1:localhost"
Times = dict[str, list[float]]


def write_both(folder: Path, homeserver: str, acme: str, best: str) -> Path:
    """The configuration for both call centres."""
    url = f"sqlite:///{folder}/bridge.db"
    path = write_config(folder, homeserver, acme, free_port(), url)
    yaml = YAML(typ="safe", pure=True)
    config = yaml.load(path)
    short = {key: config.pop(key) for key in ("webchat", "queues", "default_queue")}
    names = {
        "username_template": "best_{agent}",
        "queue_username_template": "best_queue_{queue}",
    }
    other = short | {"webchat": short["webchat"] | {"base_url": best}, "bridge": names}
    config["enterprises"] = [{"id": "acme", **short}, {"id": "best", **other}]
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(config, stream)
    return path


class Pair:
    """The bridge between its three peers."""

    def __init__(self, acme: Subject, best: Subject, server: StubWebChat) -> None:
        self.acme, self.best, self.server = acme, best, server
        self._runs = 0

    async def measured(self, messages: int) -> Times:
        """Seconds of each of acme's messages on its way, in both directions."""
        self._runs += 1
        sent: dict[str, list[float]] = {"question": [], "answer": []}
        runs = {kind: f"{kind[0]}{self._runs}x" for kind in sent}
        for number in range(messages):
            room = ACME[number % len(ACME)]
            sent["question"].append(time.monotonic())
            body = wording(runs["question"], number)
            await self.acme.put([self.acme.text(room, f"{runs['question']}{number}", body)])
            sent["answer"].append(time.monotonic())
            await self.acme.say(room, wording(runs["answer"], number))
            await asyncio.sleep(GAP)
        sides = {"question": self.acme.heard, "answer": self.acme.homeserver.shown}
        for kind, side in sides.items():
            await side.reach(runs[kind], messages)
        return {
            kind: [at - sent[kind][number] for number, at in side.times(runs[kind]).items()]
            for kind, side in sides.items()
        }

    async def seated_again(self) -> None:
        """Best's rooms have their links again, and say who they are."""
        self._runs += 1
        expected = self.server.heard.count("first") + len(BEST)
        for room in BEST:
            event = f"again{self._runs}x{room}"
            await self.best.put([self.best.text(room, event, wording("first", room))])
        await self.server.heard.reach("first", expected)

    async def write_on(self, *, agents: bool, a_second: int) -> None:
        """Best's customers write, for ever, and its agents too."""
        for number in range(1_000_000):
            room = BEST[number % len(BEST)]
            event = f"noise{self._runs}x{number}"
            await self.best.put([self.best.text(room, event, wording("noise", number))])
            if agents:
                with suppress(aiohttp.ClientError):  # its link is coming back
                    await self.best.say(room, wording("din", number))
            await asyncio.sleep(1 / a_second)


@asynccontextmanager
async def quiet(_: Pair) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        yield
        task.cancel()


@asynccontextmanager
async def dead(pair: Pair) -> AsyncIterator[None]:
    async with pair.server.away(forgetful=False), beside(pair.write_on(agents=False, a_second=20)):
        await asyncio.sleep(SETTLED)
        yield
    await pair.seated_again()


@asynccontextmanager
async def hanging(pair: Pair) -> AsyncIterator[None]:
    port = int(pair.server.base_url.rpartition(":")[2].partition("/")[0])
    async with pair.server.away(forgetful=False):
        loop = asyncio.get_running_loop()
        mute = await loop.create_server(asyncio.Protocol, "127.0.0.1", port)
        async with beside(pair.write_on(agents=False, a_second=20)):
            await asyncio.sleep(SETTLED)
            yield
        mute.close()
    await pair.seated_again()


@asynccontextmanager
async def flooding(pair: Pair) -> AsyncIterator[None]:
    async with beside(pair.write_on(agents=True, a_second=FLOOD)):
        await asyncio.sleep(1)
        yield
    await asyncio.sleep(2)


CASES: dict[str, Callable[[Pair], AbstractAsyncContextManager[None]]] = {
    "quiet": quiet,
    "flooding": flooding,
    "dead": dead,
    "hanging": hanging,
}


async def main(messages: int, rounds: int) -> None:
    figures: dict[str, Times] = {case: {} for case in CASES}
    homeserver, acme, best = StubHomeserver("__a00001"), StubWebChat(), StubWebChat()
    with tempfile.TemporaryDirectory() as name:
        async with homeserver.running(), acme.running(), best.running(), client() as session:
            path = write_both(Path(name), homeserver.address, acme.base_url, best.base_url)
            async with bridge_program(path, session) as (urls, pids):
                sides = [
                    Subject(urls, pids, session, homeserver, one.heard, one.say)
                    for one in (acme, best)
                ]
                sides[1]._numbers = sides[0]._numbers
                await open_chats(sides[0], acme, ACME)
                await open_chats(sides[1], best, BEST, BEST_USER)
                pair = Pair(sides[0], sides[1], best)
                await pair.measured(100)  # warms everything up
                for _ in range(rounds):
                    for case, during in CASES.items():
                        async with during(pair):
                            for kind, times in (await pair.measured(messages)).items():
                                cuts = statistics.quantiles(times, n=100)
                                for cut in (50, 99):
                                    kept = figures[case].setdefault(f"{kind} p{cut}", [])
                                    kept.append(cuts[cut - 1] * 1000)
    show(figures)


def show(figures: dict[str, Times]) -> None:
    """Medians of the rounds, in ms, and how far they are from those of quiet."""
    columns = list(figures["quiet"])
    table = Table("best is", *(f"{column} ms" for column in columns))
    base = {column: statistics.median(figures["quiet"][column]) for column in columns}
    for case, told in figures.items():
        cells = []
        for column in columns:
            value = statistics.median(told[column])
            cells.append(f"{value:.1f} ({value / base[column] - 1:+.0%})")
        table.add_row(case, *cells)
    Console().print(table)


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*(given or [400, 3])))
