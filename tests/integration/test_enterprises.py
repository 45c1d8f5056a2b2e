"""Two call centres in one bridge, with the same queue and agent ids; one is away at first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from ruamel.yaml import YAML

from bridge.app.settings import encryption_secret_of, login_keys, registration_of, tokens_of
from bridge.config.loading import load_config
from bridge.demo.child_process import SynapseServer
from bridge.ids import RoomId
from bridge.matrix.users import save_registration
from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.support.load import Chat, converse, converse_until
from tests.support.logs import show_on_failure
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.replicas import LASTING, judge, sharing, taken_over
from tests.support.stage import Stage, bridge_process
from tests.support.staging import UNLIMITED, bridge_section
from tests.support.synapse import SYNAPSE_KEYS, lay_out
from tests.support.talk import MEI, Talk

BEST_MEI = "@best__a00001:localhost"
"""Agent A00001 of the other call centre."""


@dataclass(frozen=True)
class Both:
    """A stage for each call centre; they differ only in the simulator."""

    acme: Stage
    best: Stage
    port: int
    """Port on which the second simulator will listen."""
    with_next: Path
    """Configuration with a third call centre at the second one's server."""

    async def open(self, name: str) -> tuple[Talk, Talk]:
        """Open a room with each call centre."""
        ada = await self.acme.customer(f"{name}a")
        acme = await Talk.open(self.acme, ada, "hello", host="@webchat_queue_1:localhost")
        return acme, await self.open_at("best", f"{name}b")

    async def open_at(self, enterprise: str, name: str) -> Talk:
        """Open a room with a call centre at the second server."""
        customer, host = await self.best.customer(name), f"@{enterprise}_queue_1:localhost"
        talk = await Talk.open(self.best, customer, "hello", host=host)
        secret = encryption_secret_of(load_config(self.best.config, {}))
        talk.login = f"mx-{login_keys(secret, enterprise)(RoomId(talk.room))}"
        return talk

    async def ready(self) -> tuple[int, dict[str, dict[str, str]]]:
        async with self.acme.session.get(f"{self.acme.bridge.url}/_matrix/mau/ready") as response:
            return response.status, await response.json()


@asynccontextmanager
async def two_call_centres(
    folder: Path, database: str, options: SimulatorOptions = UNLIMITED
) -> AsyncIterator[Both]:
    """Run Synapse, the bridge, and both simulators, of which only the first listens."""
    acme, best, best_port = Simulator(options), Simulator(options), free_port()
    await acme.start()
    port, registration = free_port(), folder / "registration.yaml"
    await lay_out(folder / "synapse")
    synapse = SynapseServer(
        folder / "synapse", port=free_port(), registrations=(registration,), extra=SYNAPSE_KEYS
    )
    queue = {"queues": [{"id": 1, "name": "Sales"}], "default_queue": 1}
    webchat = {"login_rate": {"count": 1000, "per_seconds": 1}}
    away = f"http://127.0.0.1:{best_port}/webchat"

    def at_best(name: str) -> dict[str, object]:
        ours = {"username_template": "_{agent}", "queue_username_template": "_queue_{queue}"}
        names = {key: f"{name}{template}" for key, template in ours.items()}
        return {"id": name, "webchat": webchat | {"base_url": away}, **queue, "bridge": names}

    enterprises = [
        {"id": "acme", "webchat": webchat | {"base_url": acme.base_url}, **queue},
        at_best("best"),
    ]
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
        "enterprises": enterprises,
    }
    path, with_next = folder / "config.yaml", folder / "next.yaml"
    for written in (path, with_next):
        written.touch(mode=0o600)
        with written.open("w", encoding="utf-8") as stream:
            YAML(typ="safe", pure=True).dump(config, stream)
        enterprises.append(at_best("next"))
    loaded = load_config(with_next, {})
    save_registration(registration_of(loaded, tokens_of(loaded)), registration)
    bridge = bridge_process(path, port, folder / "bridge.log")
    try:
        async with synapse, bridge, aiohttp.ClientSession() as session:
            stage = Stage(folder, synapse, acme, bridge, path, session)
            yield Both(stage, replace(stage, simulator=best), best_port, with_next)
    finally:
        await acme.stop()
        await best.stop()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.asyncio
async def test_two_call_centres_are_separate_and_an_outage_of_one_delays_no_other(
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


@pytest.mark.asyncio
async def test_three_processes_share_the_rooms_of_two_call_centres(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """One call centre is down, a process is killed, and a third call centre is added by restarts.

    Chats with the first go on; customers of the second get their chats once it is up.
    """
    show_on_failure(request, *(tmp_path / f"bridge{index}.log" for index in range(3)))
    url = postgres_server.new_database()
    async with (
        two_call_centres(tmp_path, url, LASTING) as both,
        sharing(both.acme, url) as shared,
    ):
        pairs = [await both.open(str(number)) for number in range(3)]
        living = [Chat(acme) for acme, _ in pairs]
        waiting = [Chat(best, "@best__") for _, best in pairs]
        for chat in living:
            await chat.talk.heard("hello")
            await chat.talk.accept()
        owners = {chat: await shared.owner(chat.talk.room) for chat in (*living, *waiting)}
        killed = max(
            range(3),
            key=lambda one: min(
                sum(owners[chat] == one for chat in rooms) for rooms in (living, waiting)
            ),
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(converse_until(living, stop, 1))
            for chat in waiting:
                await chat.ask()
            await shared.bridges[killed].kill()
            for chat in waiting:
                await chat.ask()
            owned = [chat for chat in living if owners[chat] == killed]
            await taken_over(shared, owned, killed)
            both.acme.config.write_bytes(both.with_next.read_bytes())
            await shared.bridges[killed].start()
            await shared.until_shared(3)
            for other in {0, 1, 2} - {killed}:
                assert await shared.bridges[other].stop() == 0
                await shared.bridges[other].start()
                await shared.until_shared(3)
            await both.best.simulator.start(port=both.port)
            for chat in waiting:
                await chat.talk.heard(chat.asked[-1])
                await chat.talk.accept(ghost=BEST_MEI)
            stop.set()
        await asyncio.gather(*(converse(chat, 2) for chat in waiting))
        await judge(shared, [*living, *waiting], 1)
        for chat in waiting:
            assert chat.talk.person is not None
            assert chat.talk.person.texts[0] == "hello"
        third = await both.open_at("next", "late")
        await third.heard("hello")
        await third.accept(ghost="@next__a00001:localhost")
