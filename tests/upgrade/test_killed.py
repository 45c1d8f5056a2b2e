"""The bridge resumes from a database of schema 6 that a kill under load left behind."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from bridge.rooms.surroundings import SystemClock
from bridge.simulator.simulator import Simulator
from tests.bench.subjects import text
from tests.unit.cli.runs import Folder
from tests.upgrade.database import Row, read, restore
from tests.upgrade.peers import ROOMS, Homeserver, Killed, bridge, heard, options, sessions_again


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(600):
        if reached():
            return
        await asyncio.sleep(0.05)
    pytest.fail("it never comes")


def answers(rows: list[Row]) -> list[str]:
    """Return the agents' texts that the killed bridge had stored."""
    bodies = [json.loads(row["body"]) for row in rows if row["table"] == "inbox"]
    contents = [body["push"]["content"] for body in bodies if "content" in body.get("push", {})]
    return [content["html"] for content in contents if content["is"] == "AgentText"]


def of_room(room: int, texts: Iterable[str]) -> list[str]:
    return [one for one in texts if one.startswith(f"{room} ")]


def asked_of(calls: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """Strip the sender's name of each text; drop the first text of each room."""
    plain = [(number, text.partition("：")[2]) for number, text in calls]
    return [(number, text) for number, text in plain if text != "hello"]


@pytest.mark.asyncio
async def test_bridge_resumes_without_loss_or_unmarked_duplicates(url: str, tmp_path: Path) -> None:
    before, rows = read("killed", Killed, SystemClock().now())
    homeserver, simulator = Homeserver(before.posted), Simulator(options())
    new = [f"{room} new" for room in range(ROOMS)]
    shown = [*answers(rows), *new]
    await simulator.start()
    try:
        async with homeserver.running(), sessions_again(simulator, before.sessions) as tokens:
            for row in rows:
                if row["table"] == "accounts":
                    row["token"] = tokens[row["login_name"]]
            await restore(url, rows)
            async with bridge(tmp_path, homeserver, simulator, url) as subject:
                await subject.put(repeated(before))
                for room in range(ROOMS):
                    await subject.put([text(room, f"new{room}", f"{room} new")])
                    await subject.say(room, f"{room} new")
                await until(lambda: {*new} <= {said for _, said in asked_of(heard(simulator))})
                await until(lambda: {*shown} <= {*homeserver.from_ghosts()})
                await asyncio.sleep(1.0)  # time for unexpected messages
            after = asked_of(heard(simulator))
        marked = await asyncio.to_thread(looked_up, tmp_path, before.asked)
    finally:
        await simulator.stop()
    for room in range(ROOMS):
        assert of_room(room, homeserver.from_ghosts()) == of_room(room, shown)
        check_desk(room, asked_of(before.heard), after, [*before.asked, *new], marked)


def repeated(before: Killed) -> list[dict[str, object]]:
    """Return all events again, as if the homeserver had got no acknowledgement."""
    return [
        text(int(said.split()[0]), f"q{number}", said) for number, said in enumerate(before.asked)
    ]


def check_desk(
    room: int,
    before: list[tuple[int, str]],
    after: list[tuple[int, str]],
    asked: list[str],
    marked: set[str],
) -> None:
    """Assert that texts arrived once and in order; duplicates have their old call id and a mark."""
    calls = [(number, said) for number, said in [*before, *after] if said in of_room(room, asked)]
    assert list(dict.fromkeys(said for _, said in calls)) == of_room(room, asked)
    numbers = Counter(number for number, _ in set(calls))
    assert set(numbers.values()) == {1}, "a call id for two texts"
    assert len(set(calls)) == len({said for _, said in calls}), "two call ids for one text"
    doubles = [said for (_, said), times in Counter(calls).items() if times > 1]
    assert len(doubles) <= 1, "more than what was under way"
    assert set(doubles) <= marked


def looked_up(folder: Path, asked: list[str]) -> set[str]:
    """Check dead letters and traces on the command line; return texts marked as duplicates."""
    here = Folder(folder)
    assert here.run_here("dead-letters", "list").stdout == "No dead letters.\n"
    marked = set()
    for number, said in enumerate(asked):
        traced = here.run_here("trace", f"$q{number}")
        assert traced.exit_code == 0, traced.output
        assert "delivered" in traced.stdout
        if "possible double" in traced.stdout:
            marked.add(said)
    return marked
