"""Starting and stopping: duration, exit codes, readiness, and work in progress."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from bridge.demo.child_process import ChildProcess
from bridge.matrix.users import load_registration, save_registration
from bridge.simulator.simulator import SimulatorOptions
from tests.support.client import restart
from tests.support.filling import fill
from tests.support.ledger import (
    all_handed_over,
    check_towards_the_agent,
    check_towards_the_customer,
    database_of,
    everything_settled,
)
from tests.support.load import converse_until, open_chats
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, StageOptions, ended
from tests.support.staging import bridge_like, bridge_section, staged
from tests.support.talk import MEI, chatting

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOMS = 10_000
CHATTING = 50
PATIENCE = 90.0
IN_CLEAR: dict[str, object] = {"encryption": {"allow": False}}
"""For bridges on a new database: with encryption they would notice that there is another one."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    options = StageOptions(
        simulator=SimulatorOptions(strict=True, login_limit=0, receipts=True, missed_pushes="kept"),
        config={"bridge": bridge_section()},
    )
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


# --- stopping -----------------------------------------------------------------------------------


async def test_sigterm_under_load(stage: Stage) -> None:
    """Exit code 0 each time; work in progress goes on after the next start."""
    chats = await open_chats(stage, 3, "term")
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(converse_until(chats, stop, 0.4))
        for _ in range(3):
            await asyncio.gather(*(chat.until_asked(len(chat.asked) + 4) for chat in chats))
            assert await stage.bridge.stop() == 0
            await stage.bridge.start()
        stop.set()
    await all_handed_over(stage, chats)
    for chat in chats:
        await chat.everything_arrived(PATIENCE)
    database = database_of(stage)
    await everything_settled(database, PATIENCE)
    for chat in chats:
        # Calls get ten seconds for their replies, so an orderly stop leaves none in doubt.
        assert await check_towards_the_agent(chat, database, 0) == 0
        await check_towards_the_customer(chat)


# --- health -------------------------------------------------------------------------------------


async def unready(stage: Stage, says: str, bridge: ChildProcess | None = None) -> None:
    """Wait until /ready gives this reason."""
    url = f"{(bridge or stage.bridge).url}/_matrix/mau/ready"
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(aiohttp.ClientError):
                async with stage.session.get(url) as response:
                    if any(says in why for why in (await response.json())["missing"].values()):
                        assert response.status == 503
                        return
            await asyncio.sleep(0.5)


async def test_not_ready_while_the_homeserver_cannot_reach_the_bridge(stage: Stage) -> None:
    """The homeserver answers, but sends its transactions to a wrong address."""
    path = stage.folder / "registration.yaml"
    whole = load_registration(path)
    await stage.synapse.stop()
    await unready(stage, f"{stage.synapse.address}: GET failed: ")
    save_registration(msgspec.structs.replace(whole, url="http://127.0.0.1:9"), path)
    await stage.synapse.start()
    try:
        await unready(
            stage,
            f"{stage.synapse.address}: the homeserver cannot reach the bridge at {whole.url}: ",
        )
    finally:
        save_registration(whole, path)
        await restart(stage.synapse)
    await stage.bridge.wait_until("/_matrix/mau/ready")


async def test_agents_words_wait_while_the_homeserver_knows_another_token(stage: Stage) -> None:
    """As after `register --rotate`, until both sides were restarted."""
    talk = await chatting(stage, "rotated")
    path = stage.folder / "registration.yaml"
    whole = load_registration(path)
    await stage.synapse.stop()
    save_registration(msgspec.structs.replace(whole, as_token="another-token"), path)
    await stage.synapse.start()
    try:
        await talk.desk("say", text="said meanwhile")
        await unready(stage, "the homeserver refuses the bridge (M_UNKNOWN_TOKEN ")
        await stage.bridge.stop()
        await stage.bridge.start(ready=False)
        assert await ended(stage.bridge) == 16
    finally:
        save_registration(whole, path)
        await restart(stage.synapse)
        await stage.bridge.start()
    await talk.reads("said meanwhile", MEI)


async def test_an_idle_bridge_is_not_ready_while_webchat_is_unreachable(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A healthy start logs no warning, and reports "ready" to the log and to systemd."""
    nowhere: dict[str, object] = {"base_url": f"http://127.0.0.1:{free_port()}/webchat"}
    url = f"sqlite:///{tmp_path}/other.db"
    await stage.bridge.stop()
    bridge = bridge_like(stage, tmp_path, database={"url": url}, webchat=nowhere, bridge=IN_CLEAR)
    try:
        await bridge.start(ready=False)
        refused = "Connection refused"
        await unready(stage, f"{nowhere['base_url']}: {refused}", bridge)
    finally:
        await bridge.stop()
        stage.bridge.log_file.write_text("")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(f"{tmp_path}/notify")
            monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
            await stage.bridge.start()
            systemd.settimeout(PATIENCE)
            assert systemd.recv(100) == b"READY=1"
    assert " ready " not in bridge.log_file.read_text(encoding="utf-8")
    log = stage.bridge.log_file.read_text(encoding="utf-8")
    assert " ready " in log
    assert "peer unreachable" not in log


# --- starting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_start_with_10_000_rooms(
    stage: Stage,
    tmp_path: Path,
    kind: str,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """The time from exec to ready is printed, not checked; the goal is 3 s."""
    url = f"sqlite:///{tmp_path}/bridge.db"
    if kind == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.new_database()
    await fill(url, ROOMS, chatting=CHATTING)
    await stage.bridge.stop()
    bridge = bridge_like(stage, tmp_path, database={"url": url}, bridge=IN_CLEAR)
    try:
        began = time.monotonic()
        await bridge.start()
        took = time.monotonic() - began
    finally:
        code = await bridge.stop()
        await stage.bridge.start()
    assert code == 0
    record_property("seconds_to_ready", round(took, 2))
    print(f"{kind}: exec to ready with {ROOMS} rooms, {CHATTING} chatting: {took:.2f} s")  # noqa: T201 - a figure


async def test_exit_code_without_database(stage: Stage, tmp_path: Path) -> None:
    url = f"postgres://nobody@127.0.0.1:{free_port()}/nothing"
    changed: dict[str, object] = {"port": free_port()}
    bridge = bridge_like(stage, tmp_path, database={"url": url}, appservice=changed)
    await bridge.start(ready=False)
    assert await ended(bridge) == 14


async def test_exit_code_with_refused_token(stage: Stage, tmp_path: Path) -> None:
    changed: dict[str, object] = {"as_token": "not-the-one", "port": free_port()}
    url = f"sqlite:///{tmp_path}/other.db"
    bridge = bridge_like(stage, tmp_path, database={"url": url}, appservice=changed)
    await bridge.start(ready=False)
    assert await ended(bridge) == 16
    assert "registration.yaml" in bridge.log_file.read_text(encoding="utf-8")
