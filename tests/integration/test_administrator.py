"""What a homeserver's administrator does to rooms behind the bridge's back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio

from bridge.demo.phone import password_of
from tests.support.client import set_state
from tests.support.matrix_user import Customer, Json, content_of
from tests.support.operator import dead_letters
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.synapse import register
from tests.support.talk import MEI, Talk, chatting, relation

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    quota = {"media_upload_limits": [{"time_period": "1h", "max_size": "100K"}]}
    config = {"bridge": bridge_section()}
    options = StageOptions(simulator=UNLIMITED, synapse=quota, config=config)
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(stage: Stage) -> Customer:
    await register(stage.synapse, stage.session, "root", password_of("root"), admin=True)
    return await Customer.sign_in(stage.session, stage.synapse, "root")


async def orders(admin: Customer, method: str, path: str, content: Json | None = None) -> Json:
    """Call Synapse's admin API."""
    return await admin.call(method, f"../../_synapse/admin/v1/{path}", content)


async def purge(admin: Customer, talk: Talk) -> None:
    """Have Synapse forget all that was said in a room until now."""
    # Synapse keeps a room's latest event.
    latest = await set_state(talk.customer, talk.room, "m.room.topic", {"topic": talk.room})
    path, order = f"purge_history/{quote(talk.room)}", {"purge_up_to_event_id": latest}
    begun = await orders(admin, "POST", path, {"delete_local_events": True, **order})
    status: object = "active"
    while status == "active":
        answer = await orders(admin, "GET", f"purge_history_status/{begun['purge_id']}")
        status = answer["status"]
    assert status == "complete"


async def test_a_card_that_was_purged_is_shown_anew(stage: Stage, admin: Customer) -> None:
    before = await Talk.open(stage, await stage.customer("earlier"), "hello")
    await before.reads("you are number 1", stage.bot)
    talk = await Talk.open(stage, await stage.customer("forgotten"), "hello")
    await talk.reads("you are number 2", stage.bot)
    await talk.heard("hello")
    await talk.sees(lambda event: event.get("type") == "m.reaction")
    await purge(admin, talk)
    await before.accept()
    card = await talk.reads("you are number 1", stage.bot)
    assert not relation(card)
    await talk.accept()
    edit = await talk.reads("Connected: Mei", stage.bot)
    assert relation(edit) == {"rel_type": "m.replace", "event_id": card["event_id"]}
    assert dead_letters(stage) == 0


async def test_an_agents_words_in_a_purged_thread_come_outside_of_it(
    stage: Stage, admin: Customer
) -> None:
    talk = await chatting(stage, "threaded")
    root = await talk.say("a question")
    within = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    await talk.say("more of it", **within)
    await talk.heard("In reply to “a question”:\nmore of it")
    await talk.desk("say", text="an answer")
    answer = await talk.reads_exactly("an answer", MEI)
    assert relation(answer)["event_id"] == root
    await purge(admin, talk)
    await talk.desk("say", text="another answer")
    answer = await talk.reads_exactly("another answer", MEI)
    assert not relation(answer)
    await talk.desk("file", name="terms.txt", text="all of them")
    file = await talk.sees(lambda event: content_of(event).get("filename") == "terms.txt")
    assert await talk.customer.read_file(file) == b"all of them"
    assert dead_letters(stage) == 0


async def test_a_transcript_of_a_partly_purged_chat(stage: Stage, admin: Customer) -> None:
    talk = await chatting(stage, "keeper")
    await talk.say("long ago")
    await talk.heard("long ago")
    await purge(admin, talk)
    await talk.say("just now")
    await talk.heard("just now")
    await talk.desk("say", text="and this")
    await talk.reads_exactly("and this", MEI)
    await talk.say("!wc transcript")
    file = await talk.sees(lambda event: str(content_of(event).get("body")).endswith(".html"))
    page = (await talk.customer.read_file(file)).decode()
    assert "no longer has the beginning of this chat" in page
    assert page.index("just now") < page.index("and this")
    assert "long ago" not in page


async def test_a_file_over_its_senders_upload_quota(stage: Stage) -> None:
    talk = await chatting(stage, "reader")
    await talk.desk("file", name="prices.txt", text="1" * 150_000)
    await talk.desk("say", text="Do you see them?")
    await talk.reads_exactly("Do you see them?", MEI)
    await talk.reads("“prices.txt”, but it is too large to show here", stage.bot)
    assert dead_letters(stage) == 0
