"""The door of the server: who may knock when, and when it is closed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bridge.link.door import STARTING, SUSPICIONS, Door, Health
from bridge.link.failures import OpenFailure
from bridge.link.http import Answer
from bridge.link.limiter import Visitor
from tests.unit.link.rig import FAST, Facts, RealClock, account, settings_for

ADA = Visitor("@ada:example.org")
FORBIDDEN = Answer(403, b"<html>no</html>")


def door(blacklist: float = 600.0, facts: Facts | None = None) -> tuple[Door, Health]:
    clock = RealClock()
    health = Health(clock)
    timing = replace(FAST, blacklist=blacklist)
    settings = settings_for("http://crm/webchat", timing=timing, login_count=1, login_seconds=0.05)
    return Door(settings, health, facts or Facts(), clock), health


@pytest.mark.asyncio
async def test_answers_that_are_not_webchat_s_close_it() -> None:
    closing, health = door()
    for number in range(1, SUSPICIONS + 1):
        failure = closing.foreign(FORBIDDEN, "login")
        assert failure.pause == (0 if number < SUSPICIONS else 600)
        assert "login: HTTP 403" in str(failure)
    assert health.failing_since is not None
    with pytest.raises(OpenFailure, match="blacklisted") as caught:
        closing.check()
    assert 599 < caught.value.pause <= 600
    with pytest.raises(OpenFailure, match="blacklisted"):
        async with closing.knock(ADA):
            pytest.fail("it is closed")


@pytest.mark.asyncio
async def test_a_server_that_is_starting_is_not_suspected() -> None:
    patient, _ = door()
    for status in STARTING:
        for _ in range(SUSPICIONS):
            assert patient.foreign(Answer(status, b""), "login").pause == 0
    patient.check()


@pytest.mark.asyncio
async def test_one_proper_answer_clears_the_suspicion() -> None:
    cleared, health = door()
    for _ in range(10 * SUSPICIONS):
        cleared.foreign(FORBIDDEN, "login")
        cleared.answered()
    cleared.check()
    assert health.failing_since is None
    cleared.unanswered()
    assert health.failing_since is not None


@pytest.mark.asyncio
async def test_it_opens_again() -> None:
    opening, _ = door(blacklist=0.05)
    for _ in range(SUSPICIONS):
        opening.foreign(FORBIDDEN, "login")
    await asyncio.sleep(0.06)
    async with opening.knock(ADA):
        opening.check()


@pytest.mark.asyncio
async def test_who_stands_in_line_when_it_closes_is_sent_away() -> None:
    closing, _ = door()
    inside, leave = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with closing.knock(ADA):
            inside.set()
            await leave.wait()

    async def late() -> str:
        try:
            async with closing.knock(ADA):
                return "let in"
        except OpenFailure as failure:
            return str(failure)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first())
        await inside.wait()
        waiting = tasks.create_task(late())
        await asyncio.sleep(0)
        for _ in range(SUSPICIONS):
            closing.foreign(FORBIDDEN, "login")
        leave.set()
    assert "blacklisted" in waiting.result()


@pytest.mark.asyncio
async def test_sockets_that_are_refused_close_it_too() -> None:
    """Three rooms' do; logins that are answered meanwhile say nothing of the sockets."""
    closing, health = door()
    for number in range(1, SUSPICIONS + 1):
        closing.answered()
        assert closing.closed_for == 0
        for _ in range(5):
            closing.suspect(account(str(number)).room_id, 403)
        assert (health.failing_since is None) == (number < SUSPICIONS)
    assert 599 < closing.closed_for <= 600
    with pytest.raises(OpenFailure, match="blacklisted"):
        closing.check()


@pytest.mark.asyncio
async def test_a_socket_that_opens_clears_the_suspicion() -> None:
    cleared, _ = door()
    for number in range(10 * SUSPICIONS):
        cleared.suspect(account(str(number)).room_id, 401)
        cleared.let_in()
    cleared.check()


@pytest.mark.asyncio
async def test_who_knocked_before_a_restart_has_knocked() -> None:
    facts = Facts()
    before, _ = door(facts=facts)
    await before.load()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with before.knock(ADA):
        assert len(facts.kept) == 1, "noted before anything is sent"
    after, _ = door(facts=facts)
    await after.load()
    async with after.knock(ADA):
        assert loop.time() - began >= 0.045
