"""Which links there are, and that none of them harms another."""

from __future__ import annotations

import asyncio

import pytest

from bridge.ids import SessionId
from bridge.link import LinkState, Token
from bridge.link.links import Roster
from bridge.rooms.ports import CallFailure
from bridge.webchat.frames import AgentText, CloseSession, MessageReceived
from tests.unit.link.rig import Tokens, WildServer, account, eventually, rig, settings_for
from tests.unit.link.simulated import ADA, ASK, LOGIN, chat, simulated, text


@pytest.mark.asyncio
async def test_a_roster_that_is_not_open_holds_nothing() -> None:
    roster = Roster()
    assert roster.states() == {}
    assert roster.known(ADA.room_id) is None
    with pytest.raises(CallFailure, match="not running"):
        roster.get(ADA)
    await roster.close()
    assert roster.closed
    with pytest.raises(CallFailure, match="not running"):
        roster.get(ADA)


@pytest.mark.asyncio
async def test_one_link_for_a_room_however_many_ask() -> None:
    async with WildServer().running() as server, rig(settings_for(server.base_url)) as rigged:
        async with asyncio.TaskGroup() as tasks:
            for number in range(10):
                tasks.create_task(rigged.call(ADA, number, ASK))
            tasks.create_task(rigged.call(account("b"), 1, ASK))
        assert rigged.links.states() == dict.fromkeys(
            (ADA.room_id, account("b").room_id), LinkState.UP
        )
        assert len(server.logins) == 2


@pytest.mark.asyncio
async def test_a_crash_in_one_link_is_survived() -> None:
    """A bug must not take the other rooms along: here the token store raises what it must not."""

    class Buggy(Tokens):
        async def load(self, room_id: object) -> Token | None:
            if room_id == ADA.room_id and not self.kept:
                raise ZeroDivisionError
            return None

    async with (
        WildServer().running() as server,
        rig(settings_for(server.base_url), tokens=Buggy()) as rigged,
    ):
        rigged.links.keep(ADA)
        assert (await rigged.call(account("b"), 1, ASK)).ok
        await eventually(lambda: rigged.counts.connects == 2)
        assert (await rigged.call(ADA, 1, ASK)).ok, "once the bug is gone"


@pytest.mark.asyncio
async def test_a_link_that_is_made_anew_does_not_count_its_pushes_again() -> None:
    """The engine takes a key that it knows for a repeat: a second chat would not be heard."""
    async with (
        simulated(dialect="2016") as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        for number in (1, 3):
            session = await chat(rigged, call_id=number)
            assert (await rigged.call(ADA, number + 1, CloseSession(SessionId(session)))).ok
            await eventually(lambda: rigged.links.states() == {})
        keys = [key for key, _ in rigged.events.pushes]
        assert len(set(keys)) == len(keys) >= 2


@pytest.mark.asyncio
async def test_a_stop_stores_what_was_read() -> None:
    """A server of 2016 has no receipts: it takes for told whatever it could write."""
    async with (
        simulated(dialect="2016") as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        session = await chat(rigged)
        rigged.links.keep(ADA)
        rigged.events.gate.clear()
        for number in range(10):
            await simulator.do({"op": "say", "login": LOGIN, "text": f"{number}"})
        # What the server writes afterwards has been read: so has all of that.
        assert (await rigged.call(ADA, 2, text("and?", session))).ok
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rigged.links.aclose())
            await eventually(lambda: rigged.links.states() == {})
            rigged.events.gate.set()
    pushes = [received.push for _, received in rigged.events.pushes]
    contents = [push.content for push in pushes if isinstance(push, MessageReceived)]
    words = [content.html for content in contents if isinstance(content, AgentText)]
    assert words[-10:] == [f"{number}" for number in range(10)]
