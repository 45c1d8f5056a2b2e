"""Faulty peers (slow, failing, away, restarted): other rooms go on, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio

from bridge.simulator.simulator import SimulatorOptions
from tests.support.client import restart
from tests.support.ledger import (
    check_towards_the_agent,
    check_towards_the_customer,
    database_of,
    everything_settled,
)
from tests.support.load import GHOSTS, Chat, open_chats
from tests.support.ports import free_port
from tests.support.proxy import Proxy, running, sends_into
from tests.support.stage import Stage, StageOptions
from tests.support.staging import bridge_section, staged
from tests.support.talk import Talk, chatting

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 120.0
"""Seconds to wait for a message: an unanswered request times out after 60."""


@pytest.fixture(scope="module")
def synapse_port() -> int:
    return free_port()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(synapse_port: int) -> AsyncIterator[Proxy]:
    async with running(synapse_port) as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    proxy: Proxy,
    synapse_port: int,
) -> AsyncIterator[Stage]:
    """The bridge reaches Synapse through the proxy; Synapse reaches the bridge directly."""
    options = StageOptions(
        ports=(synapse_port, free_port()),
        simulator=SimulatorOptions(strict=True, login_limit=0, receipts=True, missed_pushes="kept"),
        config={
            "homeserver": {"address": proxy.address, "domain": "localhost"},
            "bridge": bridge_section(),
        },
    )
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def check_all_arrived(stage: Stage, chats: list[Chat], in_doubt: dict[str, int]) -> None:
    """Check that everything arrives; `in_doubt`: maximum number of repeats per room."""
    for chat in chats:
        await chat.everything_arrived(PATIENCE)
    database = database_of(stage)
    await everything_settled(database, PATIENCE)
    for chat in chats:
        allowed = in_doubt.get(chat.talk.room, 0)
        await check_towards_the_agent(chat, database, allowed)
        await check_towards_the_customer(chat)


async def check_both_ways(chat: Chat) -> None:
    """Check that this chat works both ways without delay."""
    await chat.ask()
    await chat.answer()
    await chat.talk.heard(chat.asked[-1])
    await chat.talk.reads_exactly(chat.answered[-1], GHOSTS)


# --- the homeserver -----------------------------------------------------------------------------


async def test_errors_in_single_rooms_do_not_affect_other_rooms(stage: Stage, proxy: Proxy) -> None:
    """Homeserver and WebChat at once: each has a request that times out after a minute."""
    async with asyncio.TaskGroup() as group:
        group.create_task(homeserver_trouble(stage, proxy))
        group.create_task(webchat_trouble(stage))


async def homeserver_trouble(stage: Stage, proxy: Proxy) -> None:
    """429, 500, no answer, and a lost answer, each in a room of its own."""
    chats = await open_chats(stage, 5, "hs")
    limited, failing, hanging, losing, healthy = chats
    asked_to_wait = 2.0
    limit = proxy.trouble(
        "limit", sends_into(limited.talk.room), count=2, retry_after=asked_to_wait
    )
    fail = proxy.trouble("fail", sends_into(failing.talk.room), count=3)
    hang = proxy.trouble("hang", sends_into(hanging.talk.room))
    lose = proxy.trouble("lose", sends_into(losing.talk.room), count=2)
    for _ in range(5):
        for chat in chats:
            await chat.answer()
            await chat.ask()
    for chat in chats:  # towards the agents nothing is wrong
        await chat.talk.heard(chat.asked[-1])
    await check_both_ways(healthy)
    assert hang.met, "the trouble has begun"
    assert not await hanging.read(), "and is not over"
    await check_all_arrived(stage, chats, {})
    assert [len(trouble.met) for trouble in (limit, fail, hang, lose)] == [2, 3, 1, 2]
    assert limit.met[1] - limit.met[0] >= asked_to_wait


async def test_a_media_repository_that_is_away_does_not_hold_up_agents_words(
    stage: Stage, proxy: Proxy
) -> None:
    """Only its uploads fail, as with a worker of its own or a full disk: the customer is told."""
    (chat,) = await open_chats(stage, 1, "store")
    away = proxy.trouble("fail", lambda request: "/upload" in request.path, count=1000)
    await chat.talk.desk("image")
    await chat.talk.desk("say", text="Did you get it?")
    await chat.talk.reads("could not be fetched", patience=PATIENCE)
    await chat.talk.reads_exactly("Did you get it?", GHOSTS, PATIENCE)
    assert away.met
    proxy.troubles.remove(away)
    await check_both_ways(chat)


async def test_homeserver_restarted_twice(stage: Stage) -> None:
    """Agents go on writing meanwhile; a text in transit is not posted twice."""
    chats = await open_chats(stage, 2, "restart")
    for _ in range(2):
        for chat in chats:
            await check_both_ways(chat)

        async def talking() -> None:
            for _ in range(5):
                for chat in chats:
                    await chat.answer()
                    await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            group.create_task(talking())
            await restart(stage.synapse)
        for chat in chats:
            await chat.ask()
    await check_all_arrived(stage, chats, {})


async def test_transactions_and_events_handled_once(stage: Stage) -> None:
    """Synapse may repeat both, and number its transactions anew (reference matrix.md 1.2)."""
    talk = await chatting(stage, "repeated")
    event_id = await talk.say("only once")
    await talk.heard("only once")
    path = f"v3/rooms/{quote(talk.room, safe='')}/event/{quote(event_id, safe='')}"
    event = await talk.customer.call("GET", path) | {"room_id": talk.room}
    for number in (1, 1, 2):
        assert await put(stage, f"again{number}", [event, event]) == 200
    await follow_up(talk, "second")
    assert await stage.bridge.stop() == 0
    await stage.bridge.start()
    for number in (1, 3):
        assert await put(stage, f"again{number}", [event]) == 200
    await follow_up(talk, "third")
    person = talk.person
    assert person is not None
    assert person.texts == ["hello", "only once", "second", "third"]


async def follow_up(talk: Talk, text: str) -> None:
    """Wait until a new message arrives: everything before it has been handled then."""
    await talk.say(text)
    await talk.heard(text)


async def put(stage: Stage, transaction: str, events: list[dict[str, object]]) -> int:
    """Send the bridge a transaction, as the homeserver does; returns the status."""
    async with stage.session.put(
        f"{stage.bridge.url}/_matrix/app/v1/transactions/{transaction}",
        json={"events": events},
        headers={"Authorization": "Bearer demo-hs-token"},
    ) as response:
        return response.status


# --- WebChat ------------------------------------------------------------------------------------


async def webchat_trouble(stage: Stage) -> None:
    """-100, no answer, and a socket cut before or after the message was processed."""
    chats = await open_chats(stage, 5, "wc")
    busy, silent, cut, cut_after, healthy = chats
    faults = [
        {"fault": "answer", "type": 110, "result": -100, "count": 2, "login": busy.talk.login},
        {"fault": "ignore", "type": 110, "login": silent.talk.login},
        {"fault": "cut", "type": 110, "carried_out": False, "login": cut.talk.login},
        {"fault": "cut", "type": 110, "login": cut_after.talk.login},
    ]
    await stage.simulator.do({"op": "set", "faults": faults})
    for _ in range(4):
        for chat in chats:
            await chat.ask()
            await chat.answer()
    for chat in chats:  # towards the customers nothing is wrong
        await chat.talk.reads_exactly(chat.answered[-1], GHOSTS)
    await check_both_ways(healthy)
    assert not silent.heard(), "no answer yet, so nothing after it either"
    doubtful = (silent, cut, cut_after)
    await check_all_arrived(stage, chats, {chat.talk.room: 1 for chat in doubtful})
    assert stage.simulator.state()["faults"] == []


@pytest.mark.parametrize("code", [1001, 1006, 1008, 1011, 4000])
async def test_webchat_closes_the_socket(stage: Stage, code: int) -> None:
    chat, other = await open_chats(stage, 2, f"close-{code}")
    await check_both_ways(chat)
    await stage.simulator.do({"op": "kick", "login": chat.talk.login, "code": code})
    await chat.ask()
    await chat.answer()
    await check_both_ways(other)
    await check_all_arrived(stage, [chat, other], {chat.talk.room: 1})


async def test_webchat_answers_503_with_html(stage: Stage) -> None:
    """At login and upload: the rooms that need these are served later, others at once."""
    chat, other = await open_chats(stage, 2, "pages")
    faults = [{"fault": "http", "path": path, "count": 2} for path in ("tpi", "tpiu")]
    await stage.simulator.do({"op": "set", "faults": faults})
    data = b"page by page " * 500
    await chat.talk.customer.send_file(chat.talk.room, data, "pages.txt", "text/plain")
    await chat.ask()
    newcomer = await Talk.open(stage, await stage.customer("pages-newcomer"), "good morning")
    await check_both_ways(other)
    await newcomer.heard("good morning", PATIENCE)
    await chat.talk.heard(chat.asked[-1], PATIENCE)
    person = chat.talk.person
    assert person is not None
    assert [message.kind for message in person.messages] == ["text", "file", "text"]
    assert stage.simulator.state()["faults"] == []


async def test_webchat_restarted(stage: Stage) -> None:
    """Away for some seconds, and its tokens are lost: the chats go on."""
    chats = await open_chats(stage, 3, "away")
    await stage.simulator.do({"op": "restart", "seconds": 3, "forget": ["tokens"]})
    for _ in range(3):
        for chat in chats:
            await chat.ask()
            await chat.answer()
    await check_all_arrived(stage, chats, {chat.talk.room: 1 for chat in chats})
