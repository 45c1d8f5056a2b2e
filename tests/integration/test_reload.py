"""SIGHUP to a real process: what changes, what is refused, and what a wrong file does."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from ruamel.yaml import YAML

from tests.support.matrix_user import PATIENCE
from tests.support.stage import Stage, pid_of
from tests.support.staging import bridge_section
from tests.support.talk import Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "hush-hush-hush"
QUEUES = [{"id": 1, "name": "Verkauf"}, {"id": 2, "name": "Service"}]


def log(stage: Stage) -> str:
    return (stage.folder / "bridge.log").read_text(encoding="utf-8")


async def reload(stage: Stage, says: str, **sections: object) -> str:
    """Write these sections into the configuration and send SIGHUP."""
    yaml = YAML(typ="safe", pure=True)
    document = yaml.load(stage.config.read_text(encoding="utf-8"))
    for name, section in sections.items():
        document[name] = (
            {**document.get(name, {}), **section} if isinstance(section, dict) else section
        )
    with stage.config.open("w", encoding="utf-8") as stream:
        yaml.dump(document, stream)
    return await hang_up(stage, says)


async def hang_up(stage: Stage, says: str) -> str:
    """Send SIGHUP and wait for the log to contain `says`; returns the new part of the log."""
    before = len(log(stage))
    os.kill(pid_of(stage.bridge), signal.SIGHUP)
    async with asyncio.timeout(PATIENCE):
        while says not in (said := log(stage)[before:]):  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.05)
    return said


async def test_rooms_follow_the_reloaded_configuration(stage: Stage) -> None:
    customer = await stage.customer("regular")
    talk = await Talk.open(stage, customer)
    await talk.reads("Sales will answer here", stage.bot)

    texts = {"command.queue_offer": {"ja": "キュー：{list}"}}
    bridge = bridge_section(language="ja", command_prefix="!help", limits={"rooms_per_user": 1})
    said = await reload(stage, "config reloaded", bridge=bridge, texts=texts, queues=QUEUES)
    assert "bridge.language: en -> ja" in said
    assert "queues[0].name: Sales -> Verkauf" in said
    assert "need_restart=0" in said

    path = f"v3/profile/@webchat_queue_1:{stage.synapse.domain}/displayname"
    async with asyncio.timeout(PATIENCE):
        while (await customer.call("GET", path))["displayname"] != "Verkauf":  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    await talk.say("!help queue list")
    await talk.reads("キュー：1 — Verkauf", stage.bot)
    other = await Talk.open(stage, customer)
    await other.reads("1", stage.bot)
    assert "ルーム" in other.shown()[-1]  # too many rooms, in Japanese


async def test_a_reload_refuses_keys_that_need_a_restart_and_logs_no_secret(stage: Stage) -> None:
    said = await reload(
        stage,
        "config reloaded",
        webchat={"sign_key": SECRET},
        metrics={"port": 4711},
        logging={"level": "DEBUG"},
    )
    assert "needs a restart" in said
    assert "webchat.sign_key: (secret) -> (secret)" in said
    assert "metrics.port: " in said
    assert "logging.level: INFO -> DEBUG" in said
    assert SECRET not in log(stage)


async def test_an_invalid_configuration_file_changes_nothing(stage: Stage) -> None:
    pid = pid_of(stage.bridge)
    await reload(stage, "config reloaded", queues=QUEUES)
    said = await reload(stage, "was not reloaded", default_queue=77)
    assert "default_queue: must be the id of a queue (1, 2)" in said
    stage.config.write_text("{", encoding="utf-8")
    await hang_up(stage, "was not reloaded")
    talk = await Talk.open(stage, await stage.customer("unimpressed"))
    await talk.reads("Verkauf", stage.bot)
    assert pid_of(stage.bridge) == pid
