"""The provisioning API of a real bridge: reading, orders, dead letters, erasure."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from bridge.rooms.record import MatrixEvent, Raw, dump_input
from tests.support.matrix_user import PATIENCE
from tests.support.postgres import PostgresServer
from tests.support.replicas import replicas
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, chatting

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "0123456789abcdef0123456789abcdef"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    config = {
        "bridge": bridge_section(),
        "provisioning": {"enabled": True, "secret": SECRET},
    }
    options = StageOptions(simulator=UNLIMITED, config=config)
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


class Api:
    """An operator's program."""

    def __init__(self, stage: Stage, url: str = "") -> None:
        self._session = stage.session
        self._base = f"{url or stage.bridge.url}/_matrix/provision/v1"

    async def ask(self, method: str, path: str, body: object = None, **query: str) -> Any:
        headers = {"Authorization": f"Bearer {SECRET}", "X-Actor": "crm"}
        async with self._session.request(
            method, self._base + path, json=body, params=query, headers=headers
        ) as response:
            answer = await response.json()
            assert response.ok, answer
            return answer

    async def done(self, room: str, order: str) -> None:
        """Wait until an order is carried out."""
        async with asyncio.timeout(PATIENCE):
            while True:
                state = await self.ask("GET", f"/rooms/{quote(room)}/orders/{order}")
                if state["state"] != "waiting":
                    assert state["state"] == "done", state
                    return
                await asyncio.sleep(0.05)


async def test_an_operators_program_reads_orders_retries_and_erases(stage: Stage) -> None:
    api = Api(stage)
    other = await chatting(stage, "grace")
    talk = await Talk.open(stage, await stage.customer("ada"))
    await talk.reads("Sales will answer here", stage.bot)

    rooms = (await api.ask("GET", "/rooms"))["rooms"]
    assert {one["room_id"] for one in rooms} == {other.room, talk.room}
    going_on = (await api.ask("GET", "/chats"))["rooms"]
    assert [(one["room_id"], one["phase"]) for one in going_on] == [(other.room, "Chatting")]
    (sales, service) = (await api.ask("GET", "/queues"))["queues"]
    assert (sales["chatting"], service["chatting"]) == (1, 0)
    (link,) = (await api.ask("GET", "/links"))["links"]
    assert (link["room_id"], link["state"]) == (other.room, "up")

    # A change of the queue: the room is told, and the next chat goes there.
    ordered = await api.ask(
        "POST", f"/rooms/{quote(talk.room)}/orders", {"words": "queue set Service"}
    )
    await api.done(talk.room, ordered["order"])
    await talk.reads("Service", stage.bot)
    room = await api.ask("GET", f"/rooms/{quote(talk.room)}")
    assert (room["queue"], room["settings"]["queue"]) == (2, 2)
    (change,) = (await api.ask("GET", f"/rooms/{quote(talk.room)}/changes"))["changes"]
    assert (change["actor"], change["way"], change["after"]) == ("api:crm", "api", "2")
    said = await talk.say("is anybody there?")
    request = (await talk.queued()).request
    assert request is not None
    assert request.queue_id == 2
    await talk.accept()
    trace = await api.ask("GET", f"/deliveries/{quote(said)}")
    assert trace["lines"][0]["what"] == "received"

    # A dead letter, as after a bug of the bridge, is retried and reaches the agent.
    bury(stage, talk, "$given-up", "the lost question")
    (letter,) = (await api.ask("GET", "/dead-letters"))["dead_letters"]
    opened = await api.ask("GET", f"/dead-letters/{letter['id']}")
    assert "the lost question" in opened["body"]
    await api.ask("POST", f"/dead-letters/{letter['id']}/retry")
    await talk.heard("the lost question")
    assert (await api.ask("GET", "/dead-letters"))["dead_letters"] == []
    (retried, *_) = (await api.ask("GET", "/changes"))["changes"]
    assert (retried["key"], retried["room_id"]) == ("dead-letters retry", talk.room)

    # The room is erased, after its chat was ended.
    wish = {"subject": talk.room, "force": True}
    async with asyncio.timeout(90):
        while not (erased := await api.ask("POST", "/erase", wish))["done"]:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    assert erased["left"] == {}
    assert [one["room_id"] for one in (await api.ask("GET", "/rooms"))["rooms"]] == [other.room]

    # The other room's chat goes on.
    await other.say("still here")
    await other.heard("still here")
    await other.desk("say", text="so am I")
    await other.reads("so am I", MEI)


def bury(stage: Stage, talk: Talk, event_id: str, text: str) -> None:
    """Put an event into the journal as a dead letter."""
    raw: Raw = {
        "type": "m.room.message",
        "event_id": event_id,
        "room_id": talk.room,
        "sender": talk.customer.user_id,
        "origin_server_ts": 1,
        "content": {"msgtype": "m.text", "body": text},
    }
    body = dump_input(MatrixEvent(raw))
    path = stage.folder / "bridge.db"
    with closing(sqlite3.connect(path, timeout=5)) as database, database:
        database.execute(
            "INSERT INTO journal (room_id, key, body, received, outcome, settled, detail) "
            "VALUES (?, ?, ?, 1, 'dead', 2, 'KeyError')",
            (talk.room, event_id, body),
        )


@asynccontextmanager
async def with_api(stage: Stage, index: int, port: int) -> AsyncIterator[Mapping[str, str]]:
    """Return the environment variables of each of several bridges."""
    yield {
        "MATRIX_WEBCHAT_PROVISIONING__ENABLED": "true",
        "MATRIX_WEBCHAT_PROVISIONING__SECRET": SECRET,
    }


async def test_any_of_several_processes_accepts_an_order(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    database = postgres_server.new_database()
    async with replicas(tmp_path, database, 2, wiring=with_api) as shared:
        talk = await chatting(shared.stage, "ada")
        apis = [Api(shared.stage, bridge.url) for bridge in shared.bridges]
        for queue, api in zip((2, 1), apis, strict=True):
            words = {"settings": {"queue": queue, "from": None}}
            ordered = await api.ask("PATCH", f"/rooms/{quote(talk.room)}/settings", words)
            await api.done(talk.room, ordered["order"])
        # Sent to both, as after a lost answer: the order is stored once.
        again = {"words": "lang en", "request_id": "0b6e5f"}
        path = f"/rooms/{quote(talk.room)}/orders"
        given = await asyncio.gather(*(api.ask("POST", path, again) for api in apis))
        assert given[0] == given[1]
        await apis[0].done(talk.room, given[0]["order"])
        told = []
        for api in apis:
            assert len((await api.ask("GET", "/replicas"))["replicas"]) == 2
            room = await api.ask("GET", f"/rooms/{quote(talk.room)}")
            queues = (await api.ask("GET", "/queues"))["queues"]
            changes = (await api.ask("GET", "/changes"))["changes"]
            told.append((room, queues, changes))
        assert told[0] == told[1]
        room, queues, changes = told[0]
        assert (room["settings"]["queue"], room["phase"]) == (1, "Chatting")
        assert [one["chatting"] for one in queues] == [1, 0]
        assert [one["after"] for one in changes] == ["en", "1", "2"]
        for number, api in enumerate(apis):
            async with asyncio.timeout(PATIENCE):  # the owner reports with its heartbeat
                while not (links := await api.ask("GET", "/links"))["links"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                while not (waits := await api.ask("GET", "/waits"))["waits"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            (link,), (wait,) = links["links"], waits["waits"]
            assert (link["room_id"], link["state"]) == (talk.room, "up")
            assert (wait["answered"], wait["replica"]) == (True, link["replica"])
            reports = {one["replica"]: one for one in links["reports"]}
            assert reports[f"r{number}"]["seconds"] == 0
            assert reports[link["replica"]]["up"] == 1
        await talk.say("still here")
        await talk.heard("still here")


async def test_calls_with_a_wrong_secret_are_refused_and_chats_go_on(stage: Stage) -> None:
    address = f"{stage.bridge.url}/_matrix/provision/v1/rooms"
    for _ in range(20):
        headers = {"Authorization": "Bearer guess"}
        async with stage.session.get(address, headers=headers) as response:
            assert response.status == 401
    talk = await chatting(stage, "lin")
    await talk.say("unmoved")
    await talk.heard("unmoved")
    log = (stage.folder / "bridge.log").read_text(encoding="utf-8")
    assert "provisioning call with a wrong secret" in log
    assert SECRET not in log
