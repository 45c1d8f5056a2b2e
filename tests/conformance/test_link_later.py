"""Long frames, typing, robot and history: rows 74, 75, 82, 83 of protocol reference 7, and 3.8."""

from __future__ import annotations

import asyncio

import pytest

from bridge.ids import SessionId
from bridge.link.settings import TOMCAT_LIMIT
from bridge.rooms.ports import CallFailure
from bridge.webchat.codes import Dialect, FailureReason
from bridge.webchat.frames import InitConfig, Preview
from bridge.webchat.words import split_text
from tests.unit.link.rig import Facts, LoopClock, Rig, Tokens, rig, settings_for
from tests.unit.link.simulated import ADA, chat, commands, said, simulated, text

# --- long frames ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_74c_close_1009_is_learnt() -> None:
    """Row 74 and trap T23: close code 1009 lowers the frame limit, also after a restart."""
    async with simulated() as simulator:
        settings = settings_for(simulator.base_url, max_frame_bytes=100_000)
        tokens, facts = Tokens(), Facts()
        async with rig(settings, tokens=tokens, facts=facts) as rigged:
            session = await chat(rigged)
            assert await _too_big(rigged, 9, session) == 1009
            assert rigged.links.learnt.longest_frame == TOMCAT_LIMIT
            assert await _too_big(rigged, 10, session) is None
            long = "x" * rigged.links.learnt.longest_text
            assert (await rigged.call(ADA, 11, text(long, session))).ok
            assert rigged.counts.connects == 2
        async with rig(settings, tokens=tokens, facts=facts) as rigged:
            assert await _too_big(rigged, 12, session) is None
        assert [frame["messageId"] for frame in commands(simulator, 110)] == [11]


async def _too_big(rigged: Rig, call_id: int, session: int) -> int | None:
    """Send a text of 9,000 bytes; return the code of its failure."""
    with pytest.raises(CallFailure) as caught:
        await rigged.call(ADA, call_id, text("x" * 9000, session))
    assert (caught.value.reason, caught.value.certain) == (FailureReason.TOO_BIG, True)
    return caught.value.code


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", Dialect)
async def test_75_long_text(dialect: Dialect) -> None:
    """Row 75 on the socket: 20,000 characters in frames that the server accepts, in order."""
    options = {"dialect": "2019" if dialect is Dialect.Y2019 else "2016"}
    long = "客服你好" * 5000
    async with simulated(**options) as simulator:
        async with rig(settings_for(simulator.base_url, dialect=dialect)) as rigged:
            session = await chat(rigged)
            parts = split_text(long, rigged.links.learnt.longest_text)
            async with asyncio.TaskGroup() as tasks:
                calls = [
                    tasks.create_task(rigged.call(ADA, 10 + n, text(part, session)))
                    for n, part in enumerate(parts)
                ]
            assert all(call.result().ok for call in calls)
            assert rigged.counts.connects == 1
        assert "".join(str(part) for part in said(simulator)) == long


# --- typing, robot, history -----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_112_and_113_in_the_later_dialect() -> None:
    """Reference 1.2: a server of the later dialect gets both."""
    async with simulated(dialect="2019") as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            session = SessionId(await chat(rigged))
            rigged.links.keep(ADA)
            rigged.links.typing(ADA.room_id, session)
            assert (await rigged.call(ADA, 20, Preview(session, "my par"))).ok
            await simulator.wait_for(lambda _: len(commands(simulator, 112)) == 1)
            await simulator.wait_for(lambda _: len(commands(simulator, 113)) == 1)
        preview, typing = commands(simulator, 112), commands(simulator, 113)
        assert set(preview[0]) == {"messageId", "type", "token", "sessionId", "content"}
        assert set(typing[0]) == {"messageId", "type", "token", "sessionId"}


@pytest.mark.asyncio
async def test_82_robot_sign() -> None:
    """Row 82: the sign is accepted by a server that checks it; -30 is reported as a wrong sign."""
    answers = {"退货 & 换货?": "<b>yes</b>"}
    async with simulated(robot_key="K1", robot_answers=answers) as simulator:
        async with rig(settings_for(simulator.base_url, robot_key="K1")) as rigged:
            reply = await rigged.links.ask_robot("退货 & 换货?")
            assert [answer.preview for answer in reply] == ["<b>yes</b>"]
        async with rig(settings_for(simulator.base_url, robot_key="K2")) as rigged:
            with pytest.raises(CallFailure) as caught:
                await rigged.links.ask_robot("x")
            assert caught.value.reason is FailureReason.SIGN_REFUSED


@pytest.mark.asyncio
async def test_83_robot_search_empty() -> None:
    """Row 83: an empty result is valid."""
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        assert await rigged.links.ask_robot("x") == ()


@pytest.mark.asyncio
@pytest.mark.parametrize("style", ["named", "rows"])
async def test_history_in_both_formats(style: str) -> None:
    """Reference 3.8: messages of both sides, newest last, in both formats."""
    async with simulated(dialect="2019", history_style=style) as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            session = await chat(rigged)
            assert (await rigged.call(ADA, 2, text("hello", session))).ok
            for number in range(3):
                await simulator.do({"op": "say", "text": f"<b>{number}</b>"})
            told = await rigged.links.history(ADA, 3)
            whole = await rigged.links.history(ADA, 50)
        assert told is not None
        assert whole is not None
        assert [entry.html for entry in told] == ["<b>0</b>", "<b>1</b>", "<b>2</b>"]
        assert whole[0].html == "hello"
        assert whole[0].by_customer
        assert not told[0].by_customer
        assert told[0].agent_id == "A00001"
        assert told[0].name == ("Mei" if style == "named" else "")
        assert len({entry.id for entry in whole}) == len(whole)
        assert all(LoopClock().now() - entry.posted < 60_000 for entry in whole)


@pytest.mark.asyncio
async def test_no_history_in_2016() -> None:
    """Reference 3.8: a server of 2016 has no history."""
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        await chat(rigged)
        assert await rigged.links.history(ADA, 10) is None
        assert await rigged.links.history(ADA, 10) is None


@pytest.mark.asyncio
async def test_200_init_config_reaches_the_engine() -> None:
    """Reference 1.4: ratings and extensions are passed on, not only used to detect the dialect."""
    async with simulated(dialect="2019", allowed_extensions=("png",)) as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            await chat(rigged)
            config = rigged.events.pushes[0][1].push
        assert config == InitConfig(("png",), ((1, "满意"), (0, "不满意")))
