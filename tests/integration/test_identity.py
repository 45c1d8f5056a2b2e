"""Who is who: rooms at the call centre, and our own users on the homeserver."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from bridge.demo.stage import Stage, StageOptions
from bridge.link.accounts import room_key
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    bridge = bridge_section(encryption={"allow": False})
    options = StageOptions(simulator=UNLIMITED, config={"bridge": bridge})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


def change(stage: Stage, section: str, **keys: object) -> None:
    """Change keys of a section of the bridge's configuration."""
    yaml = YAML(typ="safe", pure=True)
    config = yaml.load(stage.config)
    if section == "":
        config |= keys
    else:
        config[section] |= keys
    with stage.config.open("w", encoding="utf-8") as stream:
        yaml.dump(config, stream)


# --- rooms at the call centre -------------------------------------------------------------------


def as_a_version_before_wrote_it(stage: Stage, room: str) -> None:
    """Take out of a room's record what it did not know; of the login nothing is left."""
    with sqlite3.connect(stage.folder / "bridge.db") as database:
        (row,) = database.execute("SELECT record FROM rooms WHERE room_id = ?", (room,))
        record = json.loads(row[0])
        assert len(record.pop("key")) == 16
        changed = json.dumps(record).encode()
        database.execute("UPDATE rooms SET record = ? WHERE room_id = ?", (changed, room))
        database.execute("DELETE FROM accounts WHERE room_id = ?", (room,))
    database.close()


async def test_a_room_keeps_its_login_name(stage: Stage) -> None:
    """One that was known before names were secret, and one that has a secret one.

    Neither a restart changes it nor another secret; and nobody can work out the new one.
    """
    new = await Talk.open(stage, await stage.customer("newcomer"), "hello")
    old = await Talk.open(stage, await stage.customer("regular"), "hello")
    for talk in (new, old):
        await talk.queued()
        assert talk.login != f"mx-{room_key(talk.room)}"
        await talk.say("!wc cancel")
        await talk.at_desk(lambda one: one.request is None)
    await stage.bridge.stop()
    as_a_version_before_wrote_it(stage, old.room)
    old.login = f"mx-{room_key(old.room)}"
    change(stage, "bridge", encryption={"allow": False, "pickle_key": "another" * 5})
    await stage.bridge.start()
    for talk in (new, old):
        await talk.say("it is me again")
        await talk.heard("it is me again")
