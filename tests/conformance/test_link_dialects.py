"""Dialects over a real socket: rows 43-46, 64, 66, 68, 69 and 80 of protocol reference 7.

The simulator uses the keys of 2016 or 2019 and refuses the others; the link detects which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import structlog
from aiohttp import web

from bridge.conversation.model import Pushed
from bridge.ids import RoomId, SessionId
from bridge.rooms.record import dump_input
from bridge.rooms.store import InputRow, NewInput, StorePort
from bridge.simulator.simulator import Simulator
from bridge.storage.sqlstore import open_store
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import Image, MessageReceived, RateSession, Received, SendMessage
from tests.fakes import flow
from tests.unit.link.rig import (
    FAST,
    Events,
    Facts,
    LoopClock,
    Tokens,
    WildServer,
    eventually,
    rig,
    settings_for,
)
from tests.unit.link.simulated import ADA, LOGIN, chat, commands, customer, said, simulated, text

PATIENT = replace(FAST, dialect_wait=5.0)


def contents(simulator: Simulator) -> list[dict[str, object]]:
    """Return the content of every 110 that the server received."""
    messages = [cast("dict[str, object]", frame["msg"]) for frame in commands(simulator, 110)]
    return [cast("dict[str, object]", message["content"]) for message in messages]


# --- dialects -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_43_text_2016() -> None:
    """Row 43: dialect 2016 uses exactly the guide's keys, and no later commands."""
    async with simulated(foreign_keys="refuse") as simulator:
        timing = replace(FAST, ping_after=0.1)
        settings = settings_for(simulator.base_url, timing=timing, dialect=Dialect.Y2016)
        async with rig(settings) as rigged:
            session = await chat(rigged)
            rigged.links.keep(ADA)
            assert (await rigged.call(ADA, 2, text("hello", session))).ok
            assert (await rigged.call(ADA, 3, RateSession(SessionId(session), 0))).ok
            rigged.links.typing(ADA.room_id, SessionId(session))
            await asyncio.sleep(0.3)
            assert rigged.facts.learnt == {}
        assert contents(simulator) == [{"content": "hello", "extra": ""}]
        assert commands(simulator, 104)[0]["rating"] == {"id": 0, "comments": ""}
        assert [commands(simulator, kind) for kind in (10, 112, 113, 120)] == [[]] * 4


@pytest.mark.asyncio
async def test_43b_auto_sends_the_keys_of_both_dialects() -> None:
    """Row 43, row 45: the dialect is unknown: keys of both dialects, and no later commands."""
    async with simulated() as simulator:
        timing = replace(FAST, ping_after=0.1)
        async with rig(settings_for(simulator.base_url, timing=timing)) as rigged:
            session = await chat(rigged)
            rigged.links.keep(ADA)
            assert (await rigged.call(ADA, 2, text("hello", session))).ok
            assert (await rigged.call(ADA, 3, RateSession(SessionId(session), 0))).ok
            rigged.links.typing(ADA.room_id, SessionId(session))
            await asyncio.sleep(0.3)
            assert rigged.facts.learnt == {}
        assert contents(simulator) == [{"content": "hello", "text": "hello", "extra": ""}]
        rating = {"id": 0, "ratingId": 0, "comments": "", "ratingComments": ""}
        assert commands(simulator, 104)[0]["rating"] == rating
        assert [commands(simulator, kind) for kind in (10, 112, 113, 120)] == [[]] * 4


@pytest.mark.asyncio
async def test_44_auto_switch() -> None:
    """Row 44: a 200 shows dialect 2019: `text` from the first 110 on, also after a restart."""
    async with simulated(dialect="2019") as simulator:
        tokens, facts = Tokens(), Facts()
        settings = settings_for(simulator.base_url, timing=PATIENT)
        async with rig(settings, tokens=tokens, facts=facts) as rigged:
            session = await chat(rigged)
            assert (await rigged.call(ADA, 2, text("hello", session))).ok
        async with rig(settings, tokens=tokens, facts=facts) as rigged:
            assert rigged.links.learnt.known
            assert (await rigged.call(ADA, 3, text("hello", session))).ok
        assert contents(simulator) == [{"text": "hello"}, {"text": "hello"}]
        assert list(facts.learnt.values()) == ["2019"]


@pytest.mark.asyncio
async def test_44b_first_message_waits_for_the_dialect() -> None:
    """Row 44: a 110 that opens the link waits for the 200."""
    async with simulated(dialect="2019", reply_delay_ms=200) as simulator:
        tokens = Tokens()
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            session = await chat(rigged)
        settings = settings_for(simulator.base_url, timing=PATIENT)
        async with rig(settings, tokens=tokens, facts=Facts()) as rigged:
            assert (await rigged.call(ADA, 2, text("again", session))).ok
        assert contents(simulator) == [{"text": "again"}]


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", ["2016", "2019"])
@pytest.mark.parametrize("code", [-14, -8, -17, -100])
async def test_44c_auto_tries_the_keys_of_each_dialect(dialect: str, code: int) -> None:
    """Reference 5: no 200, and unknown keys are refused: try the keys of both dialects, then of
    each, and remember which were accepted."""
    server = simulated(
        dialect=dialect,
        init_config=False,
        receipts=False,
        foreign_keys="refuse",
        wrong_keys=code,
    )
    async with server as simulator:
        tokens, facts = Tokens(), Facts()
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            session = await chat(rigged)
        before = len(contents(simulator))
        async with rig(settings_for(simulator.base_url), tokens=tokens, facts=facts) as rigged:
            assert (await rigged.call(ADA, 2, text("one", session))).ok
            assert (await rigged.call(ADA, 3, text("two", session))).ok
        both = {"content": "one", "text": "one", "extra": ""}
        later: list[dict[str, object]] = [{"text": "one"}, {"text": "two"}]
        first = [{"content": word, "extra": ""} for word in ("one", "two")]
        expected = [both, first[0], *later] if dialect == "2019" else [both, *first]
        assert contents(simulator)[before:] == expected
        assert said(simulator) == ["one", "two"]
        assert list(facts.learnt.values()) == [dialect]


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", ["2016", "2019"])
async def test_44f_server_picks_the_keys_it_knows(dialect: str) -> None:
    """Reference 5: without a 200, the keys of both dialects are sent, and none is refused."""
    async with simulated(dialect=dialect, init_config=False, receipts=False) as simulator:
        tokens = Tokens()
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            session = await chat(rigged)
        async with rig(settings_for(simulator.base_url), tokens=tokens, facts=Facts()) as rigged:
            assert (await rigged.call(ADA, 2, text("one", session))).ok
            assert (await rigged.call(ADA, 3, RateSession(SessionId(session), 1, "good"))).ok
        assert contents(simulator) == [{"content": "one", "text": "one", "extra": ""}]
        assert (said(simulator), customer(simulator)["refused"]) == (["one"], [])
        (rated,) = cast("list[dict[str, object]]", customer(simulator)["ratings"])
        assert (rated["rating"], rated["comments"]) == (1, "good")


@pytest.mark.asyncio
async def test_44e_refused_picture_does_not_change_the_dialect() -> None:
    """Reference 5: the -14 may be about empty fields that the later dialect omits: the picture is
    sent again with them, and the dialect stays."""
    seen: list[dict[str, object]] = []

    async def choosy(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": 200, "ratings": [], "fileAcceptExtensionsArr": "png"})
        async for message in socket:
            frame = message.json()
            content = frame["msg"]["content"]
            seen.append(content)
            result = -14 if frame["msg"]["type"] == 2 and "thumbData" not in content else 1
            answer = {"type": frame["type"], "messageId": frame["messageId"], "result": result}
            await socket.send_json(answer)

    picture = SendMessage(SessionId(5), Image("a.png", "http://crm/a.png"))
    async with WildServer(socket=choosy).running() as server:
        settings = settings_for(server.base_url, timing=PATIENT)
        async with rig(settings) as rigged:
            for number, command in enumerate((text("one", 5), picture, text("two", 5)), 1):
                assert (await rigged.call(ADA, number, command)).ok
            await rigged.links.learnt.save()
            assert rigged.links.learnt.keys is Dialect.Y2019
            assert list(rigged.facts.learnt.values()) == ["2019"]
    assert [sorted(content) for content in seen] == [
        ["text"],
        ["imageUri", "name", "thumbUri"],
        ["extra", "imageUri", "name", "thumbData"],
        ["text"],
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", ["2016", "2019"])
@pytest.mark.parametrize("code", [-14, -8, -17, -100])
async def test_44d_a_misconfigured_dialect(dialect: str, code: int) -> None:
    """Messages are delivered although the server refuses the configured dialect."""
    async with simulated(dialect=dialect, wrong_keys=code) as simulator:
        wrong = Dialect.Y2019 if dialect == "2016" else Dialect.Y2016
        settings = settings_for(simulator.base_url, dialect=wrong)
        async with rig(settings) as rigged:
            session = await chat(rigged)
            with structlog.testing.capture_logs() as logs:
                assert (await rigged.call(ADA, 2, text("one", session))).ok
                assert (await rigged.call(ADA, 3, text("two", session))).ok
            assert (await rigged.call(ADA, 4, RateSession(SessionId(session), 1))).ok
        assert [frame["messageId"] for frame in commands(simulator, 110)] == [2, 2, 3]
        assert len(commands(simulator, 104)) == 1
        assert said(simulator) == ["one", "two"]
    warned = [(entry["configured"], entry["takes"]) for entry in logs if "takes" in entry]
    assert warned == [(wrong.value, dialect)]


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", ["2016", "2019"])
async def test_45_dual(dialect: str) -> None:
    """Row 45: both keys are sent; servers of either dialect find theirs."""
    async with simulated(dialect=dialect) as simulator:
        settings = settings_for(simulator.base_url, dialect=Dialect.DUAL)
        async with rig(settings) as rigged:
            session = await chat(rigged)
            assert (await rigged.call(ADA, 2, text("hello", session))).ok
            assert (await rigged.call(ADA, 3, RateSession(SessionId(session), 1, "c"))).ok
        assert contents(simulator) == [{"content": "hello", "text": "hello", "extra": ""}]
        assert commands(simulator, 104)[0]["rating"] == {
            "id": 1,
            "ratingId": 1,
            "comments": "c",
            "ratingComments": "c",
        }
        assert said(simulator) == ["hello"]


@pytest.mark.asyncio
async def test_46_rating_2019() -> None:
    """Row 46: 0 is a valid rating in the later dialect too."""
    async with simulated(dialect="2019") as simulator, rig(settings_for(simulator.base_url)) as r:
        session = await chat(r)
        assert (await r.call(ADA, 2, RateSession(SessionId(session), 0))).ok
        assert commands(simulator, 104)[0]["rating"] == {"ratingId": 0}


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", ["2016", "2019"])
async def test_80_ids_as_strings(dialect: str) -> None:
    """Row 80 on the socket: ids are read as strings and written as integers."""
    async with simulated(dialect=dialect, ids_as_strings=True) as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            session = await chat(rigged)
            assert (await rigged.call(ADA, 2, text("hello", session))).ok
        assert commands(simulator, 110)[0]["sessionId"] == session


# --- receipts -------------------------------------------------------------------------------------


class Storing(Events):
    """An `Events` that stores pushes like the engine."""

    def __init__(self, store: StorePort) -> None:
        super().__init__()
        self._store = store
        self.new: list[InputRow] = []

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        stored = NewInput(room_id, dump_input(Pushed(received.push)), key=key)
        self.new += await flow.accept(self._store, [stored], LoopClock().now())
        await super().pushed(room_id, key, received)


@pytest.mark.asyncio
async def test_66_receipt_after_restart(tmp_path: Path) -> None:
    """Row 66, with a real database: receipts are lost and the bridge restarts; one delivery."""
    url = f"sqlite:///{tmp_path}/bridge.db"
    tokens, facts = Tokens(), Facts()
    async with simulated(dialect="2019", resend_seconds=0.1, max_resends=1000) as simulator:
        settings = settings_for(simulator.base_url)
        async with open_store(url, LoopClock()) as store:
            events = Storing(store)
            async with rig(settings, tokens=tokens, facts=facts, events=events) as rigged:
                rigged.links.keep(ADA)
                await chat(rigged)
                await simulator.wait_for(lambda _: _pending(simulator) == 0)
                ignored = {"fault": "ignore", "type": 120, "count": 1000}
                await simulator.do({"op": "set", "faults": [ignored]})
                await simulator.do({"op": "say", "text": "only once"})
                await events.until(lambda: _times(events.pushes) >= 3)
            new = list(events.new)
        assert _pending(simulator) == 1, "the server still waits for a receipt"
        receipts = len(commands(simulator, 120))
        async with open_store(url, LoopClock()) as store:
            events = Storing(store)
            async with rig(settings, tokens=tokens, facts=facts, events=events) as rigged:
                rigged.links.keep(ADA)
                await events.until(lambda: _times(events.pushes) >= 1)
                await simulator.wait_for(lambda _: len(commands(simulator, 120)) > receipts)
                await simulator.do({"op": "set", "faults": []})
                await simulator.wait_for(lambda _: _pending(simulator) == 0)
            new += events.new
    bodies = [row.body for row in new if b"only once" in row.body]
    assert len(bodies) == 1, "received often, stored once"


def _pending(simulator: Simulator) -> int:
    return int(cast("int", customer(simulator)["pending_pushes"]))


def _times(pushes: Sequence[tuple[str, Received]]) -> int:
    return sum(isinstance(received.push, MessageReceived) for _, received in pushes)


@pytest.mark.asyncio
async def test_64b_push_of_an_unknown_type_is_acknowledged() -> None:
    """Reference 1.4: any push with an rsId is acknowledged by 120, lest the server resend it."""
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        await chat(rigged)
        rigged.links.keep(ADA)
        strange: dict[str, object] = {"type": 299, "rsId": "r-77", "x": [1]}
        await simulator.do({"op": "push", "login": LOGIN, "frame": strange})
        await simulator.wait_for(lambda _: len(commands(simulator, 120)) == 1)
        assert commands(simulator, 120)[0]["rsId"] == "r-77"
        assert rigged.links.learnt.keys is Dialect.Y2019, "the rsId has proved it"
        blank: dict[str, object] = {"type": 203, "sessionId": 1, "agentId": "a", "rsId": " "}
        await simulator.do({"op": "push", "login": LOGIN, "frame": blank})
        await rigged.events.until(lambda: rigged.events.kinds[-1] == "RatingPushed")
        assert rigged.counts.connects == 1
        assert len(commands(simulator, 120)) == 1


# --- heartbeat ------------------------------------------------------------------------------------

BEATING = replace(FAST, ping_after=0.1, ping_wait=0.2)


@pytest.mark.asyncio
async def test_68_idle_link_sends_heartbeats() -> None:
    """Row 68: an idle link sends heartbeats (type 10), and stays open if they are answered."""
    async with simulated(dialect="2019") as simulator:
        async with rig(settings_for(simulator.base_url, timing=BEATING)) as rigged:
            rigged.links.keep(ADA)
            await simulator.wait_for(lambda _: len(commands(simulator, 10)) >= 4)
            assert rigged.counts.connects == 1
        assert set(commands(simulator, 10)[0]) == {"messageId", "type"}


@pytest.mark.asyncio
async def test_68b_unanswered_heartbeat_causes_a_reconnect() -> None:
    """Row 68: no answer to type 10 within the limit, despite pongs: reconnect."""
    async with (
        simulated(dialect="2019") as simulator,
        rig(settings_for(simulator.base_url, timing=BEATING)) as rigged,
    ):
        rigged.links.keep(ADA)
        await simulator.wait_for(lambda _: len(commands(simulator, 10)) >= 2)
        await simulator.do({"op": "set", "options": {"heartbeat": "silent"}})
        await eventually(lambda: rigged.counts.reconnects >= 1)
        await simulator.do({"op": "set", "options": {"heartbeat": "ok"}})
        await rigged.events.until(lambda: len(rigged.events.back) >= 2)
        assert rigged.counts.logins == 1


@pytest.mark.asyncio
async def test_68c_reconnects_for_heartbeats_are_limited() -> None:
    """A server that never answers heartbeats causes only a few reconnects."""
    async with simulated(dialect="2019", heartbeat="silent") as simulator:
        async with rig(settings_for(simulator.base_url, timing=BEATING)) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.reconnects == 3)
            await asyncio.sleep(0.6)
            assert rigged.counts.reconnects == 3
        assert len(commands(simulator, 10)) == 3


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-12, -19])
async def test_69_heartbeat_refused(code: int) -> None:
    """Row 69: no further heartbeats on any link of the server; pings continue."""
    async with simulated(dialect="2019", heartbeat="refuse", unknown_type=code) as simulator:
        async with rig(settings_for(simulator.base_url, timing=BEATING)) as rigged:
            rigged.links.keep(ADA)
            await simulator.wait_for(lambda _: len(commands(simulator, 10)) == 1)
            await asyncio.sleep(0.4)
            await simulator.do({"op": "kick", "login": LOGIN})
            await rigged.events.until(lambda: len(rigged.events.back) == 2)
            await asyncio.sleep(0.3)
            assert rigged.counts.connects == 2
        assert len(commands(simulator, 10)) == 1
