"""Questions to the robot: the signed form, the answers, and what each failure means."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from bridge.conversation.events import FailureReason
from bridge.link.api import AT_ONCE, LONGEST_QUESTION
from bridge.rooms.ports import CallFailure
from bridge.webchat.http import RobotAnswer
from tests.unit.link.rig import FAST, Rig, WildServer, eventually, rig, settings_for


async def failure(rigged: Rig, question: str) -> CallFailure:
    with pytest.raises(CallFailure) as caught:
        await rigged.links.ask_robot(question)
    assert caught.value.certain
    return caught.value


def saying(body: dict[str, object]) -> WildServer:
    async def robot(_: web.Request) -> web.StreamResponse:
        return web.json_response(body)

    return WildServer(robot=robot)


@pytest.mark.asyncio
async def test_the_guide_s_own_example() -> None:
    found = {"searchResult": {"srs": [{"title": "t", "preview": "<b>p</b>"}]}, "result": 1}
    async with saying(found).running() as server:
        settings = settings_for(server.base_url, enterprise_id="E00001", robot_key="123456")
        async with rig(settings) as rigged:
            reply = await rigged.links.ask_robot("测试")
        assert reply.answers == (RobotAnswer("t", "<b>p</b>"),)
        assert parse_qs(server.questions[0].decode()) == {
            "epid": ["E00001"],
            "action": ["search"],
            "question": ["测试"],
            "sign": ["78f2252ff6452a870574b1a51f85a08f"],
        }
        assert server.logins == [], "it needs no link"
        assert "123456" not in repr(settings)


@pytest.mark.asyncio
async def test_nothing_found_is_an_answer() -> None:
    async with (
        saying({"result": 1}).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert (await rigged.links.ask_robot("x")).answers == ()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-30, FailureReason.SIGN_REFUSED),
        (-100, FailureReason.REFUSED),
        (0, FailureReason.REFUSED),
    ],
)
async def test_refused(code: int, reason: FailureReason) -> None:
    async with (
        saying({"result": code}).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        refused = await failure(rigged, "x")
    assert (refused.reason, refused.code) == (reason, code)


@pytest.mark.asyncio
async def test_what_is_never_asked() -> None:
    async with saying({"result": 1}).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            assert (await failure(rigged, "  ")).reason is FailureReason.REFUSED
            long = "问" * (LONGEST_QUESTION + 1)
            assert (await failure(rigged, long)).reason is FailureReason.TOO_BIG
            await rigged.links.ask_robot("问" * LONGEST_QUESTION)
        assert len(server.questions) == 1


@pytest.mark.asyncio
async def test_a_server_without_a_robot_is_healthy_all_the_same() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="<html>", content_type="text/html")

    async with (
        WildServer(robot=page).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        for _ in range(5):
            assert (await failure(rigged, "x")).reason is FailureReason.UNREACHABLE
        assert rigged.links.health.failing_since is None


@pytest.mark.asyncio
async def test_nobody_there() -> None:
    async with rig(settings_for("http://127.0.0.1:1/webchat")) as rigged:
        assert (await failure(rigged, "x")).reason is FailureReason.UNREACHABLE


@pytest.mark.asyncio
async def test_too_many_at_once_are_told_in_time() -> None:
    hung = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await hung.wait()
        return web.Response()

    async with WildServer(robot=hang).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, reply=1.0))
        async with rig(settings) as rigged, asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(failure(rigged, "x")) for _ in range(AT_ONCE + 1)]
            await eventually(lambda: len(server.questions) == AT_ONCE)
            await asyncio.sleep(0.1)
            # Later the last one may take a place that has just become free.
            assert len(server.questions) == AT_ONCE
        assert {task.result().reason for task in asked} == {FailureReason.UNREACHABLE}
        hung.set()
