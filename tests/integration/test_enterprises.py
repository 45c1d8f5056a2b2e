"""Two call centres in one bridge: the same queue and agent in both, one of them away at first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from ruamel.yaml import YAML

from bridge.app.settings import encryption_secret_of, login_keys, registration_of, tokens_of
from bridge.config import load_config
from bridge.demo.child_process import free_port
from bridge.demo.synapse import SynapseServer
from bridge.ids import RoomId
from bridge.matrix.registration import save_registration
from bridge.simulator.simulator import Simulator
from tests.support.logs import show_on_failure
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, bridge_process
from tests.support.staging import UNLIMITED, bridge_section
from tests.support.synapse import lay_out
from tests.support.talk import MEI, Talk

BEST_QUEUE = "@best_queue_1:localhost"
BEST_MEI = "@best__a00001:localhost"
"""Agent A00001 of the other call centre."""


@dataclass(frozen=True)
class Both:
    """The stage as each of the call centres sees it: they differ in the simulator alone."""

    acme: Stage
    best: Stage
    port: int
    """Where the second one will listen."""

    async def open(self, name: str) -> tuple[Talk, Talk]:
        """A customer of each."""
        ada, bob = await self.acme.customer(f"{name}a"), await self.acme.customer(f"{name}b")
        acme = await Talk.open(self.acme, ada, "hello", host="@webchat_queue_1:localhost")
        best = await Talk.open(self.best, bob, "hello", host=BEST_QUEUE)
        secret = encryption_secret_of(load_config(self.best.config, {}))
        best.login = f"mx-{login_keys(secret, 'best')(RoomId(best.room))}"
        return acme, best

    async def ready(self) -> tuple[int, dict[str, dict[str, str]]]:
        async with self.acme.session.get(f"{self.acme.bridge.url}/_matrix/mau/ready") as response:
            return response.status, await response.json()


@asynccontextmanager
async def two_call_centres(folder: Path, database: str) -> AsyncIterator[Both]:
    """Synapse, the bridge, and both simulators, of which only the first listens."""
    acme, best, best_port = Simulator(UNLIMITED), Simulator(UNLIMITED), free_port()
    await acme.start()
    port, registration = free_port(), folder / "registration.yaml"
    await lay_out(folder / "synapse")
    synapse = SynapseServer(folder / "synapse", registrations=(registration,))
    queue = {"queues": [{"id": 1, "name": "Sales"}], "default_queue": 1}
    webchat = {"login_rate": {"count": 1000, "per_seconds": 1}}
    names = {"username_template": "best_{agent}", "queue_username_template": "best_queue_{queue}"}
    away = f"http://127.0.0.1:{best_port}/webchat"
    config = {
        "homeserver": {"address": synapse.address, "domain": synapse.domain},
        "appservice": {
            "address": f"http://127.0.0.1:{port}",
            "port": port,
            "as_token": "as-token-of-both",
            "hs_token": "hs-token-of-both",
        },
        "database": {"url": database or f"sqlite:///{folder}/bridge.db"},
        "bridge": bridge_section(),
        "metrics": {"enabled": False},
        "enterprises": [
            {"id": "acme", "webchat": webchat | {"base_url": acme.base_url}, **queue},
            {"id": "best", "webchat": webchat | {"base_url": away}, **queue, "bridge": names},
        ],
    }
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(config, stream)
    loaded = load_config(path, {})
    save_registration(registration_of(loaded, tokens_of(loaded)), registration)
    bridge = bridge_process(path, port, folder / "bridge.log")
    try:
        async with synapse, bridge, aiohttp.ClientSession() as session:
            stage = Stage(folder, synapse, acme, bridge, session, path)
            yield Both(stage, replace(stage, simulator=best), best_port)
    finally:
        await acme.stop()
        await best.stop()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.asyncio
async def test_each_has_its_own_and_none_waits_for_the_other(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    show_on_failure(request, tmp_path / "bridge.log")
    url = postgres_server.new_database() if kind == "postgres" else ""
    async with two_call_centres(tmp_path, url) as both:
        status, told = await both.ready()
        assert status == 200
        acme, best = await both.open("x")
        await acme.heard("hello")
        await acme.accept()
        await acme.desk("say", text="Mei of acme")
        await acme.reads_exactly("Mei of acme", MEI)
        status, told = await both.ready()
        assert (status, list(told["away"])) == (200, ["webchat best"]), told

        await both.best.simulator.start(port=both.port)
        await best.heard("hello")
        await best.accept(ghost=BEST_MEI)
        await best.desk("say", text="Mei of best")
        await best.reads_exactly("Mei of best", BEST_MEI)

        await both.acme.bridge.kill()
        for talk in (acme, best):
            await talk.say("while it was dead")
        await both.acme.bridge.start()
        for talk, ghost in ((acme, MEI), (best, BEST_MEI)):
            await talk.heard("while it was dead")
            await talk.desk("say", text="here again")
            await talk.reads_exactly("here again", ghost)

        for talk in (acme, best):
            person = talk.person
            assert person is not None
            texts = [one.text for one in person.messages if not one.repeat]
            assert texts == ["hello", "while it was dead"]
            customers = talk.stage.simulator.state()["customers"]
            assert isinstance(customers, dict)
            assert list(customers) == [talk.login]
        for talk, stranger in ((acme, BEST_MEI), (best, MEI)):
            senders = {event["sender"] for event in await talk.history()}
            assert stranger not in senders
