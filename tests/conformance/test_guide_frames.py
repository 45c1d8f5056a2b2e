"""Every frame of the vendor's guide against the simulator.

Each request is accepted, and each answer and push has the keys of the guide. Only the token and
the ids are replaced, and for a strict server the base64 placeholders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import pytest

from bridge.webchat.frames import Received, Reply
from bridge.webchat.read import parse_frame
from tests.conformance.guide import FRAMES, cut
from tests.conformance.simulator_client import Json, Phone, Site, site

LOGIN, LOGGED_IN, UPLOADED = FRAMES[0], FRAMES[1], FRAMES[13]
CONTENTS = dict(enumerate(FRAMES[8:13], start=1))
"""Contents by message type: text, picture, file, place, voice."""
TYPED = [one for one in FRAMES[2:] if isinstance(one.get("type"), int)]
COMMANDS = {cast("int", one["type"]): one for one in TYPED if "token" in one}
ANSWERS = {cast("int", one["type"]): one for one in TYPED if "result" in one}
PUSHES = {cast("int", one["type"]): one for one in TYPED if "messageId" not in one}

SAMPLE = """
> 	{
> 		type: 1,//a comment, with {braces} and http://x/y
> 		name: 'it\u2019s', "other": "a\\"b" ，
> 		list: [ {n: -1.5} , {n: 2}], none: []
> 		last: {}
> 	}
call({url: there(1), method: "post"}) { and } no frame { at: all
"""


def test_frames_are_extracted_from_the_guides_notation() -> None:
    assert list(cut(SAMPLE)) == [
        {
            "type": 1,
            "name": "it\u2019s",
            "other": 'a"b',
            "list": [{"n": -1.5}, {"n": 2}],
            "none": [],
            "last": {},
        },
    ]


def test_the_guide_has_28_frames() -> None:
    assert set(COMMANDS) == set(ANSWERS) == {2, 101, 102, 103, 104, 110, 111}
    assert set(PUSHES) == {201, 202, 203, 204, 205, 210}
    assert len(FRAMES) == 3 + len(CONTENTS) + len(COMMANDS) + len(ANSWERS) + len(PUSHES) == 28


class Guide:
    """A client that sends only frames of the guide."""

    def __init__(self, phone: Phone, *, strict: bool) -> None:
        self.phone = phone
        self._strict = strict

    async def ask(self, kind: int, **ids: object) -> Json:
        """Send the guide's command; return the checked answer."""
        command = {**COMMANDS[kind], "token": self.phone.token, **ids}
        text = json.dumps(command)
        await self.phone.socket.send(text.replace('"xxxxx"', '"eHh4"') if self._strict else text)
        answer = await self.phone.reply(kind)
        check_keys(answer, ANSWERS[kind])
        assert (answer["result"], answer["messageId"]) == (1, command["messageId"]), answer
        return answer

    async def hear(self, kind: int) -> Json:
        told = await self.phone.push(kind)
        check_keys(told, PUSHES[kind])
        return told


def check_keys(told: Mapping[str, object], guide: Mapping[str, object]) -> None:
    """Assert that `told` has all keys of the guide's frame, with values of the same types."""
    for key, value in guide.items():
        assert type(told[key]) is type(value), key
        if isinstance(value, dict):
            check_keys(cast("Json", told[key]), value)
        elif isinstance(value, list):
            check_keys(cast("list[Json]", told[key])[0], cast("Json", value[0]))


async def log_in(here: Site) -> Phone:
    """Log in and upload a file as the guide's client does: with a form content type."""
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    base = here.simulator.base_url
    async with here.http.post(f"{base}/tpi", data=json.dumps(LOGIN), headers=form) as response:
        answer = await response.json(content_type=None)
    check_keys(answer, LOGGED_IN)
    async with here.http.post(f"{base}/tpiu?token={answer['token']}", data=b"file") as response:
        check_keys(await response.json(content_type=None), UPLOADED)
    return await here.phone(token=answer["token"])


@pytest.mark.asyncio
@pytest.mark.parametrize("strict", [False, True])
async def test_a_conversation_in_the_guides_own_frames(strict: bool) -> None:
    """Sections 1 to 3: a cancelled request, and a chat with all contents, rated and ended."""
    async with site(strict=strict) as here:
        client = Guide(await log_in(here), strict=strict)
        for given_up in (True, False):
            await client.ask(101)
            request = (await client.hear(201))["requestId"]
            await client.ask(111, requestId=request)
            if given_up:
                await client.ask(102, requestId=request)
                await client.hear(201)
        await here.simulator.do({"op": "accept"})
        session = (await client.hear(202))["sessionId"]
        for kind, content in CONTENTS.items():
            await client.ask(110, sessionId=session, msg={"type": kind, "content": content})
        for op, kind in (
            ({"op": "say", "text": "hello"}, 210),
            ({"op": "conference", "to": "A00002"}, 204),
            ({"op": "push_rating"}, 203),
        ):
            await here.simulator.do(op)
            await client.hear(kind)
        await client.ask(104, sessionId=session)
        await client.ask(103, sessionId=session)
        await client.ask(101)
        await here.simulator.do({"op": "accept"})
        await client.hear(202)
        await here.simulator.do({"op": "close"})
        await client.hear(205)
        await client.ask(2)
        heard = here.simulator.state()["customers"]
    (customer,) = cast("dict[str, dict[str, list[Json]]]", heard).values()
    kinds = [one["kind"] for one in customer["messages"]]
    assert kinds == ["text", "text", "text", "image", "file", "location", "voice"]
    assert customer["refused"] == []
    assert [one["rating"] for one in customer["ratings"]] == [1]


@pytest.mark.parametrize("told", [*ANSWERS.values(), *PUSHES.values()])
def test_the_bridge_reads_every_answer_and_push_of_the_guide(told: Json) -> None:
    assert isinstance(parse_frame(json.dumps(told)), Received | Reply)


@pytest.mark.asyncio
async def test_client_of_2016_12_without_message_ids() -> None:
    """No messageId and no epid, the time as text, contents as strings; the answers have no id."""
    async with site(strict=False) as here:
        login = {"type": 1, "loginName": "old", "password": ""}
        async with here.http.post(f"{here.simulator.base_url}/tpi", json=login) as response:
            phone = await here.phone(token=(await response.json())["token"])
        old = {"token": phone.token, "time": "1482740000.000000"}
        await phone.socket.send(json.dumps({**old, "type": 101, "queueId": 1, "from": "APP"}))
        assert "messageId" not in await phone.reply(101)
        await here.simulator.do({"op": "accept"})
        session = (await phone.push(202))["sessionId"]
        contents = [(1, "hello"), (1, "hello"), (5, {"length": 2, "url": "http://h/v.amr"})]
        for kind, content in contents:
            msg = {"type": kind, "content": content}
            await phone.socket.send(
                json.dumps({**old, "type": 110, "sessionId": session, "msg": msg})
            )
            assert (await phone.reply(110))["result"] == 1
        customer = cast("Json", here.simulator.state()["customers"])["old"]
    messages = cast("dict[str, list[Json]]", customer)["messages"]
    assert [one["text"] for one in messages] == ["hello", "hello", ""]
    assert not any(one["repeat"] for one in messages), "nothing says that it is one"
