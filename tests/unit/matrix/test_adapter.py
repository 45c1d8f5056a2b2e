"""An agent's message is one request, once its ghost is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web

from bridge.ids import AgentId, RoomId, UserId
from bridge.matrix.adapter import MatrixAdapter
from bridge.rooms.ports import RelayedText
from bridge.webchat.frames import Agent
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.test_transport import USERS, homeserver

ROOM, HOST = RoomId("!r:a"), UserId("@webchatbot:a")


@pytest.mark.asyncio
async def test_a_ghost_is_seen_to_when_its_agent_is_new_or_has_another_name() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path.split("/")
        asked.append("send" if "send" in path else path[-1])
        return web.json_response({"event_id": "$e"})

    async with homeserver(answer) as transport:
        adapter = MatrixAdapter(
            transport,
            users=USERS,
            profiles=MemoryStore(),
            conversions=ThreadPoolExecutor(1),
        )
        for name in ("Mei", "Mei", "", "Mei Lin"):
            asked.append(f"<{name}>")
            agent = Agent(AgentId("a1"), name)
            (part,) = await adapter.relay(ROOM, HOST, agent, RelayedText("hello"), f"t{len(asked)}")
            assert (part.event_id, part.text) == ("$e", "hello")
    assert asked == [
        *("<Mei>", "register", "WEBCHAT", "displayname", "invite", "join", "send"),
        *("<Mei>", "send"),
        *("<>", "send"),
        *("<Mei Lin>", "displayname", "send"),
    ]
