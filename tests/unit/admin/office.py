"""A bridge in memory, and its operations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from bridge.admin.operations import Dispatcher, Request
from bridge.admin.views import Bridge, Caller
from bridge.conversation.model import Queued
from bridge.ids import QueueId, RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.ports import LinkState
from bridge.rooms.record import (
    Chat,
    ChatAgent,
    Ending,
    MatrixEvent,
    OwnLogin,
    Raw,
    dump_chat,
    dump_input,
    dump_record,
)
from bridge.rooms.store import ChatRow, Lane, NewEffect, NewInput, Outcome, Settlement, Token
from bridge.texts import Texts
from tests.fakes.clock import quiet
from tests.fakes.flow import accept, settle, step
from tests.fakes.house import MEI, ROOM, SESSION, World
from tests.unit.rooms.visits import ADA

OPERATOR = Caller("api:alice", "api")
QUEUED = RoomId("!queued:example.org")
SECRETS = ("t0ken", "c00kie", "mx-0123456789abcdef", "sealed", "letmein")
"""Values that must not appear in any answer."""


class Health:
    def __init__(self) -> None:
        self.lacks: dict[str, str] = {}
        self.gone: dict[str, str] = {}
        """Parts that are unreachable, but not needed."""

    def missing(self) -> dict[str, str]:
        return {**self.lacks}

    def away(self) -> dict[str, str]:
        return self.lacks | self.gone


class Office(NamedTuple):
    world: World
    engine: Engine
    bridge: Bridge
    operations: Dispatcher
    health: Health

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        caller: Caller = OPERATOR,
        query: Mapping[str, object] | None = None,
    ) -> tuple[int, Any]:
        """Send a request; return status and decoded answer."""
        sent = b"" if body is None else msgspec.json.encode(body)
        given = [(name, str(value)) for name, value in (query or {}).items()]
        outcome = await self.operations.carry_out(Request(method, path, given, sent), caller)
        await quiet()
        return outcome.status, msgspec.json.decode(outcome.body)

    async def get(self, path: str, **query: object) -> Any:
        status, answer = await self.ask("GET", path, query=query)
        assert status == 200, answer
        return answer


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    """Run a bridge with a chatting and a waiting room, accounts and dead letters."""
    world, health = World(), Health()
    world.speak(Texts())
    await furnish(world)
    now = world.clock.now()
    async with world.running() as engine:
        bridge = Bridge(
            {"": world.around},
            orders=engine,
            missing=health.missing,
            away=health.away,
            links=lambda: [
                LinkState(ROOM, "up", now),
                LinkState(QUEUED, "waiting", now, "handshake: HTTP 502", "best"),
            ],
            busy=world.store.busy,
            recent=lambda: [("", chat(1)), ("", replace(chat(2), started=None))],
            advice=lambda why: "load it" if why == "not loaded" else "",
        )
        yield Office(world, engine, bridge, Dispatcher(bridge), health)


def chat(number: int) -> Chat:
    return Chat(
        number,
        QueueId(1),
        1_000,
        started=31_000,
        ended=91_000,
        ending=Ending.AGENT,
        session_id=SESSION,
        agents=(ChatAgent(MEI.id, "Mei"),),
        rating=5,
    )


async def furnish(world: World) -> None:
    store, now = world.writing, world.clock.now()
    await world.chatting()
    await world.record(QUEUED, Queued(QueueId(1), now, position=3))
    found = await store.load(ROOM)
    assert found.room is not None
    record = replace(await world.stored(), login=OwnLogin("ada", b"sealed"), displayname="Ada")
    rows = [ChatRow(number, dump_chat(chat(number))) for number in (1, 2, 3)]
    room = replace(found.room, record=dump_record(record))
    effect = NewEffect(Lane.WEBCHAT, b'{"type":"Call"}', "$lost")
    (row,) = await step(store, room, effects=[effect], now=now, chats=rows)
    await settle(store, ROOM, Settlement(row.seq, Outcome.DEAD, now, "not loaded"))
    await store.save_token(Token(ROOM, "ada", "t0ken", now, cookies="c00kie"))
    await store.save_token(Token(QUEUED, "mx-0123456789abcdef", "t0ken", now))
    for number, text in enumerate(("hello", "!wc login ada letmein")):
        content = {"msgtype": "m.text", "body": text}
        event_id = f"$dead{number}"
        raw: Raw = {"type": "m.room.message", "event_id": event_id, "content": content}
        raw |= {"kind": "say", "sender": ADA, "text": text}  # as `FakeMatrix` reads it
        body = dump_input(MatrixEvent(raw))
        (waiting,) = await accept(store, [NewInput(QUEUED, body, event_id)], now)
        found = await store.load(QUEUED)
        assert found.room is not None
        room = replace(found.room, live=True)
        await step(store, room, now=now + number, buried=[(waiting.seq, "KeyError")])
