"""Bridge users' names that somebody else registered, and rooms' login names at the call centre."""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from bridge.link.login import room_key
from tests.support.client import room_call
from tests.support.ledger import heard_at_last
from tests.support.matrix_user import PATIENCE
from tests.support.operator import Backup, examined
from tests.support.stage import Stage, StageOptions, ended
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.synapse import register
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


# --- the bridge's users on the homeserver -------------------------------------------------------

QUEUES = [
    {"id": 1, "name": "Sales", "aliases": ["sales"]},
    {"id": 2, "name": "Service", "aliases": ["service"]},
    {"id": 3, "name": "Returns", "aliases": ["returns"]},
]
RETURNS = "@webchat_queue_3:localhost"


async def take_over(stage: Stage, user: str, password: str, *, logout: bool) -> None:
    """Reset a user's password as an administrator of Synapse."""
    name = f"root{secrets.token_hex(4)}"
    await register(stage.synapse, stage.session, name, "root-secret", admin=True)
    administrator = await log_in(stage, name, "root-secret")
    taken = {"password": password, "logout_devices": logout, "threepids": [], "external_ids": []}
    async with stage.session.put(
        f"{stage.synapse.address}/_synapse/admin/v2/users/{user}",
        json=taken,
        headers={"Authorization": f"Bearer {administrator}"},
    ) as response:
        assert response.status == 200, await response.text()


async def log_in(stage: Stage, name: str, password: str) -> str:
    """Log in with a password; returns the access token."""
    async with stage.session.post(
        f"{stage.synapse.address}/_matrix/client/v3/login",
        json={
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": password,
        },
    ) as response:
        assert response.status == 200, await response.text()
        return str((await response.json())["access_token"])


def log_of(stage: Stage) -> str:
    return stage.bridge.log_file.read_text(encoding="utf-8")


async def until_left(stage: Stage, room: str) -> None:
    """Wait until the bridge has handled its invitation and is not in the room."""
    async with asyncio.timeout(PATIENCE):
        while True:
            database = sqlite3.connect(stage.folder / "bridge.db")
            rows = database.execute("SELECT record FROM rooms WHERE room_id = ?", (room,))
            found = [json.loads(row[0])["membership"] for row in rows]
            database.close()
            if found == ["left"]:
                return
            await asyncio.sleep(0.05)


async def test_a_queue_that_a_stranger_registered_first(stage: Stage) -> None:
    """The bridge neither accepts nor declines its invitations; all other queues are served."""
    stranger, bob = await stage.customer("webchat_queue_3"), await stage.customer("bob")
    assert stranger.user_id == RETURNS
    early = await bob.create_dm(RETURNS, "hello?")
    other = await Talk.open(stage, bob, "is anybody there?")
    await other.queued()

    await stage.bridge.stop()
    change(stage, "", queues=QUEUES)
    await stage.bridge.start()
    room = await bob.create_dm(RETURNS, "my card number is 4711")
    await until_left(stage, room)
    assert "somebody else has registered this user, so it is not served" in log_of(stage)
    assert RETURNS in log_of(stage)
    await stranger.wait_until(lambda: {early, room} <= set(stranger.invitations))
    code, table = await examined(stage)
    assert code == 1
    (failed,) = [line for line in table.splitlines() if line.startswith("FAIL")]
    assert failed[6:34].strip() == "queue users"
    assert f"{RETURNS} is registered by somebody else" in failed
    await other.say("still here")
    await other.heard("still here")
    served = await Talk.open(stage, bob, "to service", host="@webchat_queue_2:localhost")
    await served.queued()

    # The fix in docs/homeservers.md: take over the account.
    await take_over(stage, RETURNS, secrets.token_hex(16), logout=True)
    await room_call(bob, "invite", room, {"user_id": RETURNS})
    await Talk(stage, bob, room).reads("Returns will answer here", RETURNS)
    code, table = await examined(stage)
    assert code == 0, table


async def test_a_bot_name_that_somebody_else_registered_ends_the_start(stage: Stage) -> None:
    """The start fails, unless the bridge's own database knows that it registered the bot."""
    assert await stage.bridge.stop() == 0
    known = Backup(stage)
    known.make()
    for path in stage.folder.glob("bridge.db*"):
        path.unlink()
    await stage.bridge.start()  # a new database, with bridge users from before
    assert await stage.bridge.stop() == 0

    await take_over(stage, stage.bot, "known to somebody", logout=False)
    await log_in(stage, "webchatbot", "known to somebody")
    await stage.bridge.start(ready=False)
    assert await ended(stage.bridge) == 16
    assert f"somebody else has registered {stage.bot} on the homeserver" in log_of(stage)
    code, table = await examined(stage)
    assert code == 1
    assert f"{stage.bot} is registered by somebody else" in table

    known.restore()
    await stage.bridge.start()
    talk = await Talk.open(stage, await stage.customer("late"), "hello")
    await talk.queued()


# --- rooms at the call centre -------------------------------------------------------------------


def make_record_older(stage: Stage, room: str) -> None:
    """Remove the room's login key from its record, and its login from the accounts."""
    with sqlite3.connect(stage.folder / "bridge.db") as database:
        (row,) = database.execute("SELECT record FROM rooms WHERE room_id = ?", (room,))
        record = json.loads(row[0])
        assert len(record.pop("key")) == 16
        changed = json.dumps(record).encode()
        database.execute("UPDATE rooms SET record = ? WHERE room_id = ?", (changed, room))
        database.execute("DELETE FROM accounts WHERE room_id = ?", (room,))
    database.close()


async def test_a_room_keeps_its_login_name(stage: Stage) -> None:
    """Both an old, guessable name and a secret one: a restart with another key changes neither."""
    new = await Talk.open(stage, await stage.customer("newcomer"), "hello")
    old = await Talk.open(stage, await stage.customer("regular"), "hello")
    for talk in (new, old):
        await talk.queued()
        assert talk.login != f"mx-{room_key(talk.room)}"
        await talk.say("!wc cancel")
        await talk.at_desk(lambda one: one.request is None)
    await stage.bridge.stop()
    make_record_older(stage, old.room)
    old.login = f"mx-{room_key(old.room)}"
    change(stage, "bridge", encryption={"allow": False, "pickle_key": "another" * 5})
    await stage.bridge.start()
    for talk in (new, old):
        await talk.say("it is me again")
    await heard_at_last(stage, (new, old), "it is me again")
