"""Namespaces of users: one that Synapse has not loaded, and two bridges on one homeserver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from bridge.app.settings import registration_of, tokens_of
from bridge.config.loading import load_config
from bridge.demo.child_process import ChildProcess
from bridge.matrix.users import NOT_LOADED, load_registration, save_registration
from tests.support.client import restart
from tests.support.operator import examined, succeeds
from tests.support.ports import free_port
from tests.support.stage import Stage, ended
from tests.support.staging import bridge_like, staged
from tests.support.talk import MEI, Talk

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with staged(request, tmp_path_factory) as stage:
        yield stage


async def test_the_doctor_reports_a_namespace_that_synapse_has_not_loaded(stage: Stage) -> None:
    registration = stage.folder / "registration.yaml"
    whole = load_registration(registration)
    agents = whole.namespaces.users[0]
    older = msgspec.structs.replace(whole.namespaces, users=whole.namespaces.users[1:])
    save_registration(msgspec.structs.replace(whole, namespaces=older), registration)
    await restart(stage.synapse)
    save_registration(whole, registration)  # as `register` writes it, without a restart

    code, table = await examined(stage)
    failed = [line for line in table.splitlines() if line.startswith("FAIL")]
    assert (code, len(failed)) == (1, 1), table
    assert f"has not loaded the namespace {agents.regex}" in failed[0]

    talk = await Talk.open(stage, await stage.customer("ada"), "is anybody there?")
    await talk.queued()
    await talk.desk("accept", agent="A00001")
    await talk.desk("say", text="hello from Mei")
    await talk.reads_exactly("Mei: hello from Mei", stage.bot)
    log = stage.bridge.log_file.read_text(encoding="utf-8")
    assert NOT_LOADED in log
    assert "a bridge user was missing" not in log

    await restart(stage.synapse)
    code, table = await examined(stage)
    assert code == 0, table
    await talk.desk("say", text="now from me")
    await talk.reads_exactly("now from me", MEI)
    assert await succeeds(stage, "dead-letters", "list") == "No dead letters.\n"


async def test_two_bridges_on_one_homeserver(stage: Stage, tmp_path: Path) -> None:
    """A start fails if another bridge serves its queue users; with different names both run."""
    port = free_port()
    appservice: dict[str, object] = {
        "id": "crm2",
        "address": f"http://127.0.0.1:{port}",
        "port": port,
        "bot": {"username": "crm2bot"},
        "as_token": "crm2-as",
        "hs_token": "crm2-hs",
    }
    database: dict[str, object] = {"url": f"sqlite:///{tmp_path}/crm2.db"}

    def crm2(**names: str) -> ChildProcess:
        names |= {"username_template": "crm2_{agent}"}
        process = bridge_like(
            stage, tmp_path, appservice=appservice, database=database, bridge=dict(names)
        )
        config = load_config(tmp_path / "config.yaml", {})
        save_registration(registration_of(config, tokens_of(config)), registration)
        return process

    registration = tmp_path / "registration.yaml"
    same = crm2()
    stage.synapse._registrations += (registration,)
    await restart(stage.synapse)
    await same.start(ready=False)
    assert await ended(same) == 16
    log = same.log_file.read_text(encoding="utf-8")
    assert "@webchat_queue_1:localhost is served by the application service webchat" in log
    assert "bridge.queue_username_template" in log
    code, table = await examined(stage, tmp_path)
    assert (code, table.count("the application service webchat uses it")) == (1, 2), table

    own = crm2(queue_username_template="crm2_queue_{queue}")
    await restart(stage.synapse)
    async with own:
        ada = await stage.customer("ada")
        talk = await Talk.open(stage, ada, "sales?", host="@crm2_queue_1:localhost")
        await talk.reads("Waiting for Sales", "@crm2_queue_1:localhost")
        await (await Talk.open(stage, ada, "and the other?")).queued()
        customers = stage.simulator.state()["customers"]
        assert isinstance(customers, dict)
        asked = [name for name, customer in customers.items() if customer["request"]]
        assert len(asked) == 2, "one for each chat"
