"""Messages of an agent while the link is down: request 5003 of protocol reference 3.8.

The link talks to the simulator; its pushes go through the conversation, as in the engine.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bridge.conversation.model import Pushed, Recalled
from bridge.link import link
from bridge.link.settings import Feature
from bridge.simulator.simulator import Simulator
from bridge.simulator.state import Wire
from bridge.webchat.frames import Received
from tests.unit.conversation.centre import Centre
from tests.unit.link.rig import Rig, rig, settings_for
from tests.unit.link.simulated import ADA, LOGIN, chat, customer, simulated

NO_RECEIPTS: dict[str, object] = {"dialect": "2019", "receipts": False}


async def say(simulator: Simulator, text: str) -> None:
    await simulator.do({"op": "say", "text": text})


async def over_a_cut(simulator: Simulator, rigged: Rig) -> Centre:
    """Let the agent say "hello", and "here it is" while the link is down.

    Returns:
        The conversation after the pushes and the answer to its history request.
    """
    await chat(rigged)
    rigged.links.keep(ADA)
    await say(simulator, "hello")
    await rigged.events.until(lambda: rigged.events.kinds[-1] == "MessageReceived")
    before = len(rigged.events.pushes)
    refusal: Wire = {"fault": "http", "path": "cws", "status": 503, "count": 1000}
    await simulator.do({"op": "set", "faults": [refusal]})
    await simulator.do({"op": "kick", "login": LOGIN})
    await simulator.wait_for(lambda state: state["open_sockets"] == 0)
    await say(simulator, "here it is")
    restored = len(rigged.events.back)
    await simulator.do({"op": "set", "faults": []})
    await rigged.events.until(lambda: len(rigged.events.back) > restored)
    if simulator.options.has("receipts"):
        await simulator.wait_for(lambda _: customer(simulator)["pending_pushes"] == 0)
    entries = await rigged.links.history(ADA, 100)

    centre = Centre()
    centre.queue_up()
    stored = dict(rigged.events.pushes)  # once each, as in the store
    cut = len(dict(rigged.events.pushes[:before]))
    take(centre, list(stored.values())[:cut])
    centre.link_back(brief=rigged.events.brief[-1])
    take(centre, list(stored.values())[cut:])
    (ask,) = centre.asked_for
    told = Recalled(ask.session_id, ask.since, entries or (), kept=entries is not None)
    centre.happen(told)
    return centre


def take(centre: Centre, pushes: Sequence[Received]) -> None:
    """Pass pushes to the conversation."""
    for received in pushes:
        centre.now += 1
        centre.happen(Pushed(received.push, centre.now, numbered=bool(received.rs_id)))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "words", "unsure"),
    [
        ({}, ["hello", "here it is"], 0),
        ({"running_history": "asked"}, ["hello", "here it is"], 0),
        ({"running_history": "never"}, ["hello"], 1),
        ({"history_behind": 2}, ["hello"], 1),
    ],
    ids=["told", "only if it is asked for", "left out", "behind"],
)
async def test_messages_sent_while_the_link_is_down(
    options: dict[str, object], words: list[str], unsure: int
) -> None:
    """They are recovered from the history; if it omits them, the customer gets a notice."""
    server = simulated(**NO_RECEIPTS, **options)
    async with server as simulator, rig(settings_for(simulator.base_url)) as rigged:
        centre = await over_a_cut(simulator, rigged)
    assert centre.words == words
    assert centre.notices.count("outage.unsure") == unsure


@pytest.mark.asyncio
@pytest.mark.parametrize("options", [{"running_history": "never"}, {"history_behind": 2}])
async def test_receipts_recover_messages_missing_in_the_history(
    options: dict[str, object],
) -> None:
    """A server with receipts resends unacknowledged pushes, so no notice is needed."""
    server = simulated(dialect="2019", resend_seconds=0.05, **options)
    async with server as simulator, rig(settings_for(simulator.base_url)) as rigged:
        centre = await over_a_cut(simulator, rigged)
    assert centre.words == ["hello", "here it is"]
    assert "outage.unsure" not in centre.notices


@pytest.mark.asyncio
@pytest.mark.parametrize(("seconds", "unsure"), [(0.01, 1), (link.BRIEF, 0)])
async def test_loss_is_announced_if_the_server_has_no_history(
    monkeypatch: pytest.MonkeyPatch, seconds: float, unsure: int
) -> None:
    """A short interruption, such as a token change, causes no notice."""
    monkeypatch.setattr(link, "BRIEF", seconds)
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        centre = await over_a_cut(simulator, rigged)
        assert not rigged.links.learnt.has(Feature.HISTORY)
    assert centre.words == ["hello"]
    assert centre.notices.count("outage.unsure") == unsure
