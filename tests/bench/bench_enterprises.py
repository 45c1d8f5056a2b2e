"""Cost of one call centre to another in the same process, while it is dead, hangs or floods.

Run it as a program:
`python -m tests.bench.bench_enterprises [messages] [rounds] [checkout] [states]`.
One bridge (of another checkout if one is given) with SQLite serves `acme` and `best`; homeserver
and call centres are stubs. It measures single messages in acme's rooms, one each way every `GAP`
seconds; another process (`Neighbour`) plays best, so as not to delay the measuring one:

- quiet: best's chats are open, nobody writes;
- flooding: its agents and its customers write `FLOOD` times a second each, together with acme's as
  much as a Synapse on the same machine can handle;
- dead: nothing listens at its address, all its rooms want their link, and customers write there;
- hanging: as dead, but its address accepts connections and answers nothing.

Each state is compared with the quiet ones before and after it: ratios of the p50 and the p99, with
a bootstrap interval (95 %) over the rounds. The ratio of the quiet slices after to those before
shows how reliable such an interval is on this machine. `ms` is the wait of people, including other
work of the machine. `cpu` is the bridge's processor time from sending a message to its arrival, for
this message or for others: the work queued before it, as long as the bridge gets CPU on demand.

The last figure depends on no other load: the bridge is suspended, gets `BURST` messages of best's
agents and then one of acme's, and resumes. Its CPU until that message arrives is the worst delay
that a neighbour can cause.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from itertools import count, product
from pathlib import Path
from typing import NamedTuple

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from tests.bench.stubs import StubHomeserver, StubWebChat, wording
from tests.bench.subjects import ROOT, Subject, bridge_program, client, open_chats, write_config
from tests.support.ports import free_port

ACME, BEST = range(20), range(1000, 1200)
GAP = 0.025
FLOOD = 25
BURST, TRIALS = 100, 40
SETTLED = 10.0
"""Seconds after which the rooms' reconnects to an absent server no longer coincide."""
BEST_USER = "@best_queue_1:localhost"
GOAL = 1.2
NEIGHBOUR = "neighbour"
FEWEST = 4
"""Minimum number of rounds for an interval."""
DRAWN = 200
"""Bootstrap samples per interval."""


def write_both(folder: Path, homeserver: str, acme: str, best: str) -> Path:
    """Write the configuration for both call centres; returns its path."""
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


# --- the neighbour, in a process of its own -------------------------------------------------------


class Best:
    """The customers, agents and server of `best`."""

    def __init__(self, best: Subject, server: StubWebChat) -> None:
        self._best, self._server = best, server
        self._runs = count(1)

    async def seated_again(self) -> None:
        """Have each of best's rooms send its name, and wait until all arrived over new links."""
        run = next(self._runs)
        expected = self._server.heard.count("first") + len(BEST)
        for room in BEST:
            await self._best.put([self._best.text(room, f"b{run}x{room}", wording("first", room))])
        await self._server.heard.reach("first", expected)

    async def write_on(self, *, agents: bool, a_second: int) -> None:
        """Write as best's customers until cancelled, and as its agents too if asked."""
        run = next(self._runs)
        for number in range(1_000_000):
            room = BEST[number % len(BEST)]
            text = wording("noise", number)
            await self._best.put([self._best.text(room, f"n{run}x{number}", text)])
            if agents:
                await self._say(room)
            await asyncio.sleep(random.uniform(0.5, 1.5) / a_second)  # noqa: S311

    async def _say(self, room: int) -> None:
        with suppress(aiohttp.ClientError):  # its link is reconnecting
            await self._best.say(room, wording("din", 0))

    @asynccontextmanager
    async def burst(self) -> AsyncIterator[None]:
        for room in BEST[:BURST]:
            await self._say(room)
        yield

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def flooding(self) -> AsyncIterator[None]:
        async with running_beside(self.write_on(agents=True, a_second=FLOOD)):
            await asyncio.sleep(1)
            yield
        await asyncio.sleep(2)

    @asynccontextmanager
    async def dead(self) -> AsyncIterator[None]:
        writing = self.write_on(agents=False, a_second=20)
        async with self._server.away(forgetful=False), running_beside(writing):
            await asyncio.sleep(SETTLED)
            yield
        await self.seated_again()

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        port = int(self._server.base_url.rpartition(":")[2].partition("/")[0])
        async with self._server.away(forgetful=False):
            loop = asyncio.get_running_loop()
            mute = await loop.create_server(asyncio.Protocol, "127.0.0.1", port)
            async with running_beside(self.write_on(agents=False, a_second=20)):
                await asyncio.sleep(SETTLED)
                yield
            mute.close()
        await self.seated_again()


STATES: dict[str, Callable[[Best], AbstractAsyncContextManager[None]]] = {
    "flooding": Best.flooding,
    "dead": Best.dead,
    "hanging": Best.hanging,
}


@asynccontextmanager
async def running_beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        yield
        task.cancel()


def tell(told: str) -> None:
    print(told, flush=True)  # noqa: T201 - to the process that started this one


async def run_neighbour() -> None:
    """Print the address of best's server, read the bridge's, then carry out orders."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    server = StubWebChat()
    async with server.running(), client() as session:
        tell(server.base_url)
        urls = json.loads(await lines.readline())
        best = Subject(urls, [], session, StubHomeserver(), server.heard, server.say)
        best._numbers = count(1_000_000)  # transaction ids above the other process's
        await open_chats(best, server, BEST, BEST_USER)
        tell("ready")
        while order := (await lines.readline()).decode().strip():
            async with STATES.get(order, Best.burst)(Best(best, server)):
                tell("now")
                await lines.readline()
            tell("over")


class Neighbour:
    """Handle of the process that plays best."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def told(self) -> str:
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode().strip()
        assert line, "the neighbour has ended"
        return line

    def order(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())

    @asynccontextmanager
    async def being(self, state: str) -> AsyncIterator[None]:
        self.order(state)
        assert await self.told() == "now"
        yield
        self.order("over")
        assert await self.told() == "over"


@asynccontextmanager
async def neighbour() -> AsyncIterator[Neighbour]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.bench_enterprises", NEIGHBOUR),
        stdin=pipe,
        stdout=pipe,
        cwd=ROOT,
    )
    try:
        yield Neighbour(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# --- measuring ------------------------------------------------------------------------------------


class Slice(NamedTuple):
    """A run of acme's messages: a value per message for each column; `busy`: CPU per second."""

    values: dict[str, list[float]]
    busy: float


COLUMNS = ("c→a ms", "a→c ms", "c→a cpu", "a→c cpu")


async def said(acme: Subject, kind: str, mark: str, number: int) -> None:
    """Send a message of acme of this kind."""
    room, text = ACME[number % len(ACME)], wording(mark, number)
    if kind == "question":
        await acme.put([acme.text(room, f"{mark}x{number}", text)])
    else:
        await acme.say(room, text)


async def measured(acme: Subject, run: int, messages: int) -> Slice:
    """Measure messages of acme in both directions."""
    sides = {"question": acme.heard, "answer": acme.homeserver.shown}
    sent: dict[str, list[tuple[float, float]]] = {kind: [] for kind in sides}
    began = time.monotonic(), acme.cpu()
    for number in range(messages):
        for kind in sides:
            sent[kind].append((time.monotonic(), acme.cpu()))
            await said(acme, kind, f"{kind[0]}{run}x", number)
            left = sent[kind][-1][0] + random.uniform(0.25, 0.75) * GAP - time.monotonic()  # noqa: S311
            await asyncio.sleep(max(0.0, left))
    busy = (acme.cpu() - began[1]) / 1e6 / (time.monotonic() - began[0])
    found: dict[str, list[float]] = {}
    for kind, side in sides.items():
        mark = f"{kind[0]}{run}x"
        await side.reach(mark, messages)
        way = "c→a" if kind == "question" else "a→c"
        pairs = side.metered(mark)
        assert len(pairs) == messages, f"{messages - len(pairs)} of {kind} are lost"
        found[f"{way} ms"] = [(pairs[one][0] - sent[kind][one][0]) * 1000 for one in pairs]
        found[f"{way} cpu"] = [(pairs[one][1] - sent[kind][one][1]) / 1000 for one in pairs]
        side.forget(mark)
    return Slice(found, busy)


async def behind(acme: Subject, best: Neighbour, run: int, *, burst: bool) -> list[list[float]]:
    """Return ms of the bridge's CPU until a message arrives that came after a burst, each way."""
    sides = {"question": acme.heard, "answer": acme.homeserver.shown}
    spent: dict[str, list[float]] = {kind: [] for kind in sides}
    shown = acme.homeserver.shown
    came = shown.count("din")
    for number, (kind, side) in product(range(TRIALS), sides.items()):
        mark = f"behind{kind}{run}"
        os.kill(acme.pids[0], signal.SIGSTOP)
        async with best.being("burst") if burst else nullcontext(), asyncio.TaskGroup() as tasks:
            began = acme.cpu()
            tasks.create_task(said(acme, kind, mark, number))
            await asyncio.sleep(0.05)  # until all of it is in the sockets' buffers
            os.kill(acme.pids[0], signal.SIGCONT)
            await side.reach(mark, number + 1)
        spent[kind].append((side.metered(mark)[number][1] - began) / 1000)
        came += BURST * burst
        await shown.reach("din", came)
        await asyncio.sleep(0.2)
    return [*spent.values()]


Rounds = dict[str, list[tuple[Slice, Slice, Slice]]]
"""By state and round: the quiet slice before, the state's slice, the quiet one after."""


async def main(
    messages: str = "400", rounds: str = "5", checkout: str = str(ROOT), *states: str
) -> None:
    homeserver, server, runs = StubHomeserver("__a00001"), StubWebChat(), count(1)
    taken: Rounds = {state: [] for state in states or STATES}
    with tempfile.TemporaryDirectory() as name:
        async with homeserver.running(), server.running(), neighbour() as best, client() as session:
            url = await best.told()
            path = write_both(Path(name), homeserver.address, server.base_url, url)
            async with bridge_program(path, session, Path(checkout)) as (urls, pids):
                acme = Subject(urls, pids, session, homeserver, server.heard, server.say)
                server.heard.meter = homeserver.shown.meter = acme.cpu
                await open_chats(acme, server, ACME)
                best.order(json.dumps(urls))
                assert await best.told() == "ready"
                await measured(acme, next(runs), 100)  # warm-up
                for _ in range(int(rounds)):
                    before = await measured(acme, next(runs), int(messages))
                    for state, kept in taken.items():
                        async with best.being(state):
                            during = await measured(acme, next(runs), int(messages))
                        after = await measured(acme, next(runs), int(messages))
                        kept.append((before, during, after))
                        before = after
                worst = [await behind(acme, best, next(runs), burst=one) for one in (False, True)]
    if int(rounds):
        show(taken)
    for name, ways in zip(("alone", f"behind {BURST}"), worst, strict=True):
        told = (f"{statistics.median(one):.1f}, at most {max(one):.1f}" for one in ways)
        tell(f"{name}, ms of the bridge's CPU until it is there: c→a {{}}; a→c {{}}".format(*told))


def quantile(slices: Sequence[Slice], column: str, percent: int) -> float:
    """Return a percentile of a column over all messages of the slices."""
    every = [value for one in slices for value in one.values[column]]
    return statistics.quantiles(every, n=100)[percent - 1]


Pairs = Sequence[tuple[Sequence[Slice], Sequence[Slice]]]


def ratio(taken: Pairs, column: str, percent: int) -> tuple[float, float, float]:
    """Return the ratio of the pairs' second slices to the first, and its bootstrap interval."""

    def of(rounds: Pairs) -> float:
        first = [one for pair in rounds for one in pair[0]]
        second = [one for pair in rounds for one in pair[1]]
        return quantile(second, column, percent) / quantile(first, column, percent)

    drawn = sorted(of(random.choices(taken, k=len(taken))) for _ in range(DRAWN))  # noqa: S311
    return of(taken), drawn[DRAWN // 40], drawn[-DRAWN // 40 - 1]


def verdict(low: float, high: float, rounds: int) -> str:
    """Return whether a p99's ratio meets the goal; "open" if the interval does not decide it."""
    if rounds < FEWEST:
        return "open"
    if high <= GOAL:
        return "holds"
    return "fails" if low > GOAL else "open"


def show(taken: Rounds) -> None:
    """Print percentiles of each state, and its ratios to the quiet slices around it."""
    table = Table("best is", "CPU s/s", *(f"{one} p{p}" for one in COLUMNS for p in (50, 99)))
    every = [one for rounds in taken.values() for one in rounds]
    cases = {"quiet": [one for before, _, after in every for one in (before, after)]}
    cases |= {state: [during for _, during, _ in kept] for state, kept in taken.items()}
    for state, slices in cases.items():
        values = [f"{quantile(slices, one, p):.2f}" for one in COLUMNS for p in (50, 99)]
        table.add_row(state, f"{statistics.mean(one.busy for one in slices):.3f}", *values)
    Console(width=140).print(table)
    table = Table("against quiet", *(f"{one} p{p}" for one in COLUMNS for p in (50, 99)))
    compared: dict[str, Pairs] = {
        "quiet after": [((before,), (after,)) for before, _, after in every]
    }
    for state, kept in taken.items():
        compared[state] = [((before, after), (during,)) for before, during, after in kept]
    for state, pairs in compared.items():
        cells = []
        for column in COLUMNS:
            for percent in (50, 99):
                value, low, high = ratio(pairs, column, percent)
                told = f"{value:.2f} ({low:.2f}…{high:.2f})"
                cells.append(f"{told} {verdict(low, high, len(pairs))}" if percent == 99 else told)
        table.add_row(state, *cells)
    Console(width=200).print(table)


if __name__ == "__main__":
    told = sys.argv[1:]
    work = run_neighbour() if told == [NEIGHBOUR] else main(*told)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
