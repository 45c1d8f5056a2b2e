"""The command itself: its lines, its summary, its exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import Result

from bridge.cli.call_centre import KEY
from bridge.ids import SHARDS
from bridge.link.http_client import VISITS
from bridge.rooms.surroundings import SystemClock
from bridge.storage.sqlstore import SqlStore, open_store
from bridge.webchat.http import Endpoints
from tests.support.postgres import PostgresServer
from tests.unit.cli.doctor.installation import FakeHomeserver, configured, serving
from tests.unit.cli.runs import Folder
from tests.unit.link.simulated import simulated


async def examined(folder: Folder) -> Result:
    """Run the command in a thread with a loop of its own; the fake servers stay in this loop."""
    return await asyncio.to_thread(folder.run_here, "doctor", "-r", str(folder.registration))


@pytest.mark.asyncio
async def test_all_well(tmp_path: Path) -> None:
    folder, fake = Folder(tmp_path), FakeHomeserver()
    async with serving(fake.routes()) as fake.port, simulated() as simulator:
        configured(
            tmp_path,
            homeserver=fake.address,
            webchat=simulator.base_url,
            port=fake.bridge_port,
        )
        assert folder.run_here("register", "-r", str(folder.registration)).exit_code == 0
        result = await examined(folder)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[-1] == "19 passed, 0 failed, 1 not tried"
    assert lines[0] == f"PASS  {'config':28}  {folder.config} is valid"
    untried = [line for line in lines[:-1] if not line.startswith("PASS  ")]
    assert [line[:16] for line in untried] == ["SKIP  encryption"], "the bridge never ran"


@pytest.mark.asyncio
async def test_unreachable_servers(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    configured(tmp_path)
    result = await examined(folder)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    failed = [number for number, line in enumerate(lines) if line.startswith("FAIL")]
    assert len(failed) == 2
    assert all("fix: " in lines[number + 1] for number in failed), "each FAIL has its fix below"
    assert lines[-1] == "2 passed, 2 failed, 1 not tried"


@pytest.mark.asyncio
@pytest.mark.parametrize("terminal", [True, False])
async def test_a_terminal_shows_that_the_checks_are_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    """A server that hangs keeps the command silent for twenty seconds."""
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    folder = Folder(tmp_path)
    configured(tmp_path)
    result = await examined(folder)
    assert ("testing (a server" in result.output) is terminal
    assert result.output.splitlines()[-1].endswith("2 passed, 2 failed, 1 not tried")


@pytest.mark.asyncio
async def test_unusable_database_is_not_reported_as_lost_keys(tmp_path: Path) -> None:
    folder, fake = Folder(tmp_path), FakeHomeserver(keys={"@webchatbot:example.org": {}})
    async with serving(fake.routes()) as fake.port:
        more = 'database: {url: "sqlite:////nowhere/bridge.db"}'
        configured(tmp_path, homeserver=fake.address, port=fake.bridge_port, more=more)
        result = await examined(folder)
    assert f"SKIP  {'encryption':28}  the database cannot be used" in result.output
    assert "FAIL  encryption" not in result.output


@pytest.mark.asyncio
@pytest.mark.parametrize("one_answers", [True, False])
async def test_one_lost_call_centre_of_two_does_not_explain_why_rooms_are_left(
    tmp_path: Path, postgres_server: PostgresServer, *, one_answers: bool
) -> None:
    folder, url = Folder(tmp_path), postgres_server.new_schema()
    async with simulated() as simulator, replica(url, leaving=True):
        away = "http://127.0.0.1:9/webchat"
        best = simulator.base_url if one_answers else away
        folder.config.write_text(two_centres(url, away, best))
        result = await examined(folder)
    assert "FAIL  acme: WebChat server" in result.output
    assert ("FAIL  replicas" in result.output) is one_answers, result.output


@pytest.mark.asyncio
async def test_a_check_that_breaks_off_is_one_failure_and_the_others_run(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    folder, url = Folder(tmp_path), postgres_server.new_schema()
    async with simulated() as simulator, replica(url, leaving=False) as store:
        folder.config.write_text(two_centres(url, simulator.base_url, simulator.base_url))
        times = "9" * 5000  # Python refuses to read a number of so many digits
        # For both, at one address.
        await store.save_fact(f"{KEY} {VISITS} {Endpoints(simulator.base_url).login}", times)
        result = await examined(folder)
    lines = [line for line in result.output.splitlines() if "WebChat" in line or "repl" in line]
    broken = "the check broke off: unexpected error (ValueError) (http_client.py line "
    failed = [line for line in lines if line.startswith("FAIL")]
    assert [line.partition("line ")[0] + "line " for line in failed] == [
        f"FAIL  {f'{name}: WebChat':28}  {broken}" for name in ("acme", "best")
    ], result.output
    assert lines[-1].startswith("PASS  replicas"), result.output


@asynccontextmanager
async def replica(url: str, *, leaving: bool) -> AsyncIterator[SqlStore]:
    """Open the database of a running process that serves all rooms, or is about to leave them."""
    async with open_store(url, SystemClock(), sole=True, shared=True) as store:
        assert store.shards is not None
        await store.shards.take(range(SHARDS))
        await store.shards.beat("r1", leaving=leaving)
        yield store


def two_centres(database: str, acme: str, best: str) -> str:
    """Return a configuration of two call centres at these addresses."""
    return f"""\
homeserver: {{address: http://127.0.0.1:9, domain: example.org}}
bridge: {{permissions: {{"*": customer}}}}
database: {{url: "{database}"}}
enterprises:
  - id: acme
    webchat: {{base_url: {acme}}}
    queues: [{{id: 1, name: Sales}}]
    default_queue: 1
  - id: best
    webchat: {{base_url: {best}}}
    queues: [{{id: 1, name: Repairs}}]
    default_queue: 1
    bridge: {{username_template: "best_{{agent}}", queue_username_template: "best_q_{{queue}}"}}
"""


@pytest.mark.asyncio
async def test_no_tokens_yet(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write()
    result = await examined(folder)
    assert result.exit_code == 1
    assert "FAIL  tokens" in result.output
    assert f"matrix-webchat register -c {folder.config}" in result.output


def test_no_configuration(tmp_path: Path) -> None:
    result = Folder(tmp_path).run_here("doctor")
    assert result.exit_code == 1
    assert "FAIL  config" in result.output
    assert "0 passed, 1 failed, 0 not tried" in result.output


def test_invalid_configuration(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("homserver: {}\n")
    result = folder.run_here("doctor")
    assert result.exit_code == 1
    assert "config.yaml line 1" in result.output


@pytest.mark.asyncio
async def test_json_output(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    configured(tmp_path)
    registration = ("-r", str(folder.registration))
    result = await asyncio.to_thread(folder.run_here, "doctor", "--json", *registration)
    told = json.loads(result.output)
    assert (result.exit_code, told["passed"], told["failed"], told["skipped"]) == (1, 2, 2, 1)
    assert len(told["findings"]) == 5
    assert told["findings"][0] == {
        "verdict": "PASS",
        "what": "config",
        "detail": f"{folder.config} is valid",
        "fix": "",
    }
    assert all(one["fix"] for one in told["findings"] if one["verdict"] == "FAIL")
