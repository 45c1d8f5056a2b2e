"""The bridge's database is restored from a backup, or the homeserver's is lost.

Old sessions are not used again; a new device under the old identity warns no customer.
"""

from __future__ import annotations

import pytest

from bridge.demo.child_process import SynapseServer
from tests.support.encrypted import Phones, both_ways, keys_of
from tests.support.matrix_user import PATIENCE, membership
from tests.support.operator import Backup, failures
from tests.support.stage import Stage
from tests.support.talk import JUN, MEI, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS = 4
"""New customers in the lost time, and after the restore."""


async def test_a_restored_homeserver_gets_its_agents_again_while_the_bridge_runs(
    stage: Stage, phones: Phones
) -> None:
    talk, phone = await phones.talk("restored0")
    await talk.queued()
    backup = await backup_of(stage.synapse)
    await talk.accept()
    await both_ways(talk, "in the lost time")
    await restore(stage.synapse, backup)
    await talk.desk("say", text="here again")
    await talk.reads("here again", MEI)
    found = (await keys_of(phone, [MEI]))[MEI]
    assert found.signed == found.devices


async def test_keys_sent_to_a_restored_homeserver_before_the_bridge_starts_are_read(
    stage: Stage, phones: Phones
) -> None:
    """It deletes to-device messages up to the bridge's token, which is of the lost time."""
    talk, phone = await phones.chatting("restored6")
    backup = await backup_of(stage.synapse)
    for agent in ("A00003", "A00004"):  # the device of each sets a mark that the backup lacks
        known = {"id": agent, "name": f"Agent {agent}"}
        await stage.simulator.do({"op": "sign_on", "agent": known})
        await talk.desk("conference", to=agent)
        await talk.desk("say", text=f"I am {agent}", agent=agent)
        await talk.reads(f"I am {agent}")
        phone.nio.invalidate_outbound_session(talk.room)
        await talk.say(f"hello {agent}")
        await talk.heard(f"hello {agent}")
    await stage.bridge.stop()
    await restore(stage.synapse, backup)
    phone.nio.invalidate_outbound_session(talk.room)
    await talk.say("with a key of its own")
    await stage.bridge.start()
    await talk.heard("with a key of its own")


async def test_keys_that_a_restored_homeserver_hands_out_again_are_replaced(
    stage: Stage, phones: Phones
) -> None:
    """While the bridge runs. New customers are heard, and a sleeping device reads the agent."""
    talk, phone = await phones.chatting("restored7")
    asleep = await phones.of("restored7", new=False)
    await phone.learns_of(phone.nio.user_id, {asleep.nio.device_id})
    backup = await backup_of(stage.synapse)
    await both_ways(talk, "in the lost time")  # the key of Mei's words to the other device is lost
    for number in range(CUSTOMERS):
        lost, _ = await phones.talk(f"lost{number}", f"lost {number}")
        await lost.heard(f"lost {number}")
    written = len(stage.bridge.log_file.read_text())
    await restore(stage.synapse, backup)

    def replaced() -> bool:
        log = stage.bridge.log_file.read_text()[written:]
        return "one-time keys replaced" in log

    await phone.wait_until(replaced, PATIENCE)
    for number in range(CUSTOMERS):
        new, _ = await phones.talk(f"new{number}", f"new {number}")
        await new.heard(f"new {number}")
    await both_ways(talk, "afterwards")
    await Talk(stage, asleep, talk.room).reads("yes, afterwards", MEI)
    assert phone.unreadable(talk.room) == []


async def backup_of(synapse: SynapseServer) -> dict[str, bytes]:
    """Return the files of Synapse's database, which is stopped for that."""
    await synapse.stop()
    found = {file.name: file.read_bytes() for file in synapse.folder.glob("homeserver.db*")}
    await synapse.start()
    return found


async def restore(synapse: SynapseServer, backup: dict[str, bytes]) -> None:
    await synapse.stop()
    for file in synapse.folder.glob("homeserver.db*"):
        file.unlink()
    for name, data in backup.items():
        (synapse.folder / name).write_bytes(data)
    await synapse.start()


async def test_a_restored_database_uses_no_session_twice(stage: Stage, phones: Phones) -> None:
    talk, phone = await phones.chatting("restored1")
    await both_ways(talk, "before the backup")
    await stage.bridge.stop()
    backup = Backup(stage)
    backup.make()
    await stage.bridge.start()
    for number in range(3):
        await both_ways(talk, f"of the lost time {number}")
    before = await keys_of(phone, [stage.bot, MEI])
    sessions = await sessions_of(talk)

    await stage.bridge.stop()
    stranger = await stage.customer("stranger")
    for number in range(101):  # more than a homeserver delivers at a time
        path = f"v3/sendToDevice/m.dummy/{number}"
        await stranger.call("PUT", path, {"messages": {stage.bot: {"*": {}}}})
    await talk.say("said while it is being restored")
    late, _ = await phones.talk("restored4", "hello?")
    backup.restore()
    await stage.bridge.start()
    # The key to this one was sent to a device that has been deleted since.
    await talk.heard("said while it is being restored")
    await late.heard("hello?")
    await talk.desk("say", text="read by all the same")
    await talk.reads("read by all the same", MEI)
    after = await keys_of(phone, [stage.bot, MEI])
    for user in (stage.bot, MEI):
        assert after[user].master == before[user].master
        assert len(after[user].devices) == 1
        assert not after[user].devices & before[user].devices
        assert after[user].signed == after[user].devices
    await phone.learns_of(stage.bot, after[stage.bot].devices)
    phone.nio.invalidate_outbound_session(talk.room)  # Element does so when a device is gone
    await both_ways(talk, "afterwards")
    anew, _ = await phones.chatting("restored2")
    await both_ways(anew, "for somebody new")

    assert phone.unreadable(talk.room) == []
    assert "restored from an older copy" in stage.bridge.log_file.read_text()
    written = [index for session, index in await sessions_of(talk) if session]
    assert len(await sessions_of(talk)) == len(written) > len(sessions)


async def test_an_agent_who_has_not_spoken_since_the_restoring_leaves(
    stage: Stage, phones: Phones
) -> None:
    """Her old device is deleted, and she has no new one yet."""
    talk, _ = await phones.chatting("restored5")
    await both_ways(talk, "before the backup")
    await stage.bridge.stop()
    backup = Backup(stage, "before-silence")
    backup.make()
    await stage.bridge.start()
    await both_ways(talk, "of the lost time")
    await stage.bridge.stop()
    backup.restore()
    await stage.bridge.start()
    await talk.desk("close")
    await talk.sees(membership(MEI, "leave"))


async def sessions_of(talk: Talk) -> set[tuple[str, str]]:
    """Return the session id and event id of each encrypted message of Mei."""
    return {
        (str(event["content"]["session_id"]), str(event["event_id"]))  # type: ignore[index]  # the homeserver's
        for event in await talk.history()
        if event["type"] == "m.room.encrypted" and event["sender"] == MEI
    }


async def test_a_homeserver_with_an_empty_database(stage: Stage, phones: Phones) -> None:
    """With the same name and registration: all bridge users and devices are created again."""
    await stage.bridge.stop()
    await stage.synapse.stop()
    for path in stage.synapse.folder.glob("homeserver.db*"):
        path.unlink()
    await stage.synapse.start()
    found = await failures(stage)
    assert "has no keys on the homeserver" in found["encryption, keys"]
    await stage.bridge.start()
    talk, phone = await phones.chatting("moved1")
    await both_ways(talk, "on the new one")
    published = await keys_of(phone, [stage.bot, MEI, f"@webchat_queue_1:{stage.synapse.domain}"])
    for user, keys in published.items():
        assert len(keys.devices) == 1, user
        assert keys.signed == keys.devices, user
    assert await failures(stage) == {}


async def test_an_agent_created_since_the_backup_gets_new_keys(
    stage: Stage, phones: Phones
) -> None:
    """Their keys are lost, so they get a new identity; no `crypto reset` is needed."""
    talk, phone = await phones.chatting("restored3")
    await both_ways(talk, "before the backup")
    await stage.bridge.stop()
    backup = Backup(stage, "before-jun")
    backup.make()
    await stage.bridge.start()
    await talk.desk("conference", to="A00002")
    await talk.sees(membership(JUN, "join"))
    await talk.desk("say", text="new here", agent="A00002")
    await talk.reads("new here", JUN)
    lost = (await keys_of(phone, [JUN]))[JUN]
    await stage.bridge.stop()
    backup.restore()
    assert list(await failures(stage)) == ["encryption, database"]
    await stage.bridge.start()
    await talk.desk("say", text="here again", agent="A00002")
    await talk.reads("here again", JUN)
    found = (await keys_of(phone, [JUN]))[JUN]
    assert found.master != lost.master
    assert not found.devices & lost.devices
    assert found.signed == found.devices
    assert await failures(stage) == {}
