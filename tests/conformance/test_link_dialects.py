"""All revisions over a real socket: rows 43-46, 64, 66, 68, 69 and 80 of protocol reference 7.

The simulator speaks 2016 or 2019 and refuses the keys of the other; the link finds out which.
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
    RealClock,
    Tokens,
    WildServer,
    eventually,
    rig,
    settings_for,
)
from tests.unit.link.simulated import ADA, LOGIN, chat, commands, customer, said, simulated, text

PATIENT = replace(FAST, dialect_wait=5.0)


def contents(simulator: Simulator) -> list[dict[str, object]]:
    """The content of every 110 that the server was sent."""
    messages = [cast("dict[str, object]", frame["msg"]) for frame in commands(simulator, 110)]
    return [cast("dict[str, object]", message["content"]) for message in messages]


# --- dialects -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_43_text_seed() -> None:
    """Row 43: dialect 2016: the guide's keys, exactly, and nothing later."""
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
async def test_43b_auto_where_nothing_is_known() -> None:
    """Row 43, row 45: a server of 2016 tells nothing: the keys of both, and no later commands."""
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
    """Row 44: a 200 after opening: `text` from the first 110, remembered over a restart."""
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
async def test_44b_first_message_of_a_resumed_chat() -> None:
    """Row 44: the 110 itself opens the link: it is held until the 200 has told."""
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
async def test_44c_a_silent_server(dialect: str, code: int) -> None:
    """Reference 5: nothing told in time, and a server that refuses what it does not know: the keys
    of both, then of each; what it takes is remembered."""
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
async def test_44f_a_silent_server_that_picks_the_keys_it_knows(dialect: str) -> None:
    """Reference 5: it reads the keys of both at once, and nothing is refused."""
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
async def test_44e_a_picture_says_nothing_of_the_keys_of_texts() -> None:
    """Reference 5: pictures have the same names in both dialects, and a -14 on one may mean the
    empty fields that the later one leaves out: it is written again with them, and that is all."""
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
    """A named dialect that the server refuses: messages go through all the same."""
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
    """Row 45: both keys present; a server of either revision finds its own."""
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
    """Row 46: a zero is a rating in the later keys too."""
    async with simulated(dialect="2019") as simulator, rig(settings_for(simulator.base_url)) as r:
        session = await chat(r)
        assert (await r.call(ADA, 2, RateSession(SessionId(session), 0))).ok
        assert commands(simulator, 104)[0]["rating"] == {"ratingId": 0}


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", ["2016", "2019"])
async def test_80_ids_as_strings(dialect: str) -> None:
    """Row 80 on the socket: read as strings, written back as integers."""
    async with simulated(dialect=dialect, ids_as_strings=True) as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            session = await chat(rigged)
            assert (await rigged.call(ADA, 2, text("hello", session))).ok
        assert commands(simulator, 110)[0]["sessionId"] == session


# --- receipts -------------------------------------------------------------------------------------


class Storing(Events):
    """Stores pushes as the engine does."""

    def __init__(self, store: StorePort) -> None:
        super().__init__()
        self._store = store
        self.new: list[InputRow] = []

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        stored = NewInput(room_id, dump_input(Pushed(received.push)), key=key)
        self.new += await flow.accept(self._store, [stored], RealClock().now())
        await super().pushed(room_id, key, received)


@pytest.mark.asyncio
async def test_66_receipt_after_restart(tmp_path: Path) -> None:
    """Row 66, with a real database: receipts get lost, we restart, the push is delivered once."""
    url = f"sqlite:///{tmp_path}/bridge.db"
    tokens, facts = Tokens(), Facts()
    async with simulated(dialect="2019", resend_seconds=0.1, max_resends=1000) as simulator:
        settings = settings_for(simulator.base_url)
        async with open_store(url, RealClock()) as store:
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
        async with open_store(url, RealClock()) as store:
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
async def test_64b_a_push_of_an_unknown_type_is_receipted_too() -> None:
    """Reference 1.4: whatever carries an rsId gets its 120, or it comes again and again."""
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
async def test_68_heartbeat_2019() -> None:
    """Row 68: type 10 into the silence and again and again; answered, the link stays."""
    async with simulated(dialect="2019") as simulator:
        async with rig(settings_for(simulator.base_url, timing=BEATING)) as rigged:
            rigged.links.keep(ADA)
            await simulator.wait_for(lambda _: len(commands(simulator, 10)) >= 4)
            assert rigged.counts.connects == 1
        assert set(commands(simulator, 10)[0]) == {"messageId", "type"}


@pytest.mark.asyncio
async def test_68b_heartbeat_unanswered() -> None:
    """Row 68: pongs come, but no answer to type 10 within the limit: reconnect."""
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
async def test_68c_heartbeat_never_answered() -> None:
    """A server that answers none at all costs a few reconnects, not one a minute for ever."""
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
    """Row 69: link kept, no further type 10, on no link of this server; pings go on."""
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
