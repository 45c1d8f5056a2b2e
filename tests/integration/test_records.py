"""The commands `history` and `transcript` for past chats, and `login` and `logout`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from html.parser import HTMLParser
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
import pytest_asyncio

from bridge.ids import EventId, RoomId
from bridge.rooms.surroundings import SystemClock
from bridge.rooms.transcripts import Transcript
from bridge.simulator.simulator import SimulatorOptions
from bridge.storage.sqlstore import open_store
from tests.support.encrypted import EncryptedCustomer, Phones
from tests.support.matrix_user import Customer, Event, content_of
from tests.support.stage import Stage, StageOptions
from tests.support.staging import bridge_section, staged
from tests.support.talk import MEI, Talk, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCOUNTS = {"carla": "s3cret-of-carla"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    simulator = SimulatorOptions(strict=True, login_limit=0, accounts=ACCOUNTS)
    config: Mapping[str, object] = {"bridge": bridge_section()}
    options = StageOptions(simulator=simulator, config=config, synapse={"push": {"enabled": True}})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


class Page(HTMLParser):
    """The text of a page, and the addresses that it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        self.articles: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "article":
            self.articles.append("")
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.articles:
            self.articles[-1] += data


async def in_clear(customer: Customer, event: Event) -> bytes:
    return await customer.download(str(content_of(event)["url"]))


async def decrypted(customer: Customer, event: Event) -> bytes:
    assert isinstance(customer, EncryptedCustomer)
    assert "url" not in content_of(event)
    return await customer.read_file(event)


Read = Callable[[Customer, Event], Awaitable[bytes]]


def is_file(prefix: str, suffix: str, event: Event) -> bool:
    return wording(event).startswith(prefix) and wording(event).endswith(suffix)


async def files(talk: Talk, read: Read, number: int) -> tuple[Page, Transcript]:
    """Fetch and parse the two files of a transcript."""
    found: list[bytes] = []
    for suffix in (".html", ".json"):
        event = await talk.sees(partial(is_file, f"chat-{number}.", suffix))
        assert event["sender"] == talk.stage.bot
        found.append(await read(talk.customer, event))
    page = Page(found[0].decode())
    assert not page.tags & {"script", "img", "link", "iframe", "object", "form"}
    assert all(link.startswith("https://matrix.to/#/") for link in page.links)
    return page, msgspec.json.decode(found[1], type=Transcript)


async def a_rated_chat(talk: Talk) -> list[str]:
    """Hold a chat with texts, an edit, a file and a rating; returns its texts in order."""
    await talk.accept()
    await talk.desk("say", text="Hello <b>dear</b> customer")
    await talk.reads("Hello dear customer", MEI)
    await talk.say("<script>alert('شكرا')</script>")
    await talk.heard("<script>alert('شكرا')</script>")
    mistaken = await talk.say("it is order 4710")
    await talk.heard("it is order 4710")
    await talk.send(
        msgtype="m.text",
        body="* it is order 4711",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "it is order 4711"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": mistaken},
        },
    )
    await talk.at_desk(lambda one: any("4711" in text for text in one.texts))
    await talk.customer.send_file(talk.room, b"x,y\n1,2\n", "bill.csv", "text/csv")
    await talk.got("file")
    await talk.desk("say", text="Thank you, bye")
    await talk.reads("Thank you, bye", MEI)
    await talk.desk("close")
    await talk.reads("The agent has ended the chat", talk.stage.bot)
    await talk.say("!wc rate 5")
    await talk.reads("Thank you for your rating", talk.stage.bot)
    return [
        "my parcel is late",
        "Hello dear customer",
        "<script>alert('شكرا')</script>",
        "it is order 4711",
        "",
        "Thank you, bye",
    ]


def check(page: Page, found: Transcript, said: list[str]) -> None:
    assert found.complete, found
    assert (found.chat.number, found.chat.queue.name) == (1, "Sales")
    assert [agent.name for agent in found.chat.agents] == ["Mei"]
    assert found.chat.rating is not None
    assert found.chat.rating.value == 5
    assert found.chat.ending == "agent"
    people = [line for line in found.messages if line.role != "service"]
    assert [line.text for line in people] == said
    assert [line.role for line in people] == [
        "customer", "agent", "customer", "customer", "customer", "agent"
    ]  # fmt: skip
    assert people[3].edited
    assert people[4].file is not None
    assert people[4].file.name == "bill.csv"
    assert {line.name for line in people if line.role == "agent"} == {"Mei"}
    assert not any("4712" in line.text for line in found.messages)  # of the second chat
    shown = [text for text in page.articles if any(one and one in text for one in said)]
    assert len(shown) == len(said) - 1
    for one, text in zip([one for one in said if one], shown, strict=True):
        assert one in text
    assert "bill.csv" in page.text


async def opens(talk: Talk, link: str) -> Event:
    """Return the event of a permalink, as a client opens it."""
    parts = urlsplit(link.replace("/#/", "/", 1))
    room, event_id = (unquote(part) for part in parts.path.strip("/").split("/"))
    assert room == talk.room
    assert parse_qs(parts.query)["via"] == ["localhost"]
    return await talk.customer.call("GET", f"v3/rooms/{room}/event/{event_id}")


@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "encrypted"])
async def test_a_chat_is_in_the_history_and_in_a_transcript(
    stage: Stage, phones: Phones, encrypted: bool
) -> None:
    read = decrypted if encrypted else in_clear
    if encrypted:
        customer: Customer = await phones.of("keeper-enc")
    else:
        customer = await stage.customer("keeper")
    talk = await Talk.open(stage, customer, "my parcel is late")
    await talk.heard("my parcel is late")
    said = await a_rated_chat(talk)
    await talk.say("again about order 4712")
    await talk.heard("again about order 4712")
    await stage.bridge.kill()  # the keys for reading the room again are stored
    await stage.bridge.start()
    asked = await talk.say("!wc history 2")
    told = await talk.reads_reply("the latest first", asked)
    lines = wording(told).splitlines()
    rings = await customer.call("GET", "v3/notifications", query={"limit": "50"})
    assert encrypted or str(told["event_id"]) not in str(rings["notifications"])
    assert lines[1].startswith("2. ")
    assert lines[1].endswith("Sales · waiting for an agent")
    assert lines[3].startswith("1. ")
    assert "Mei, " in lines[3]
    assert lines[3].endswith("rated 5 — Very satisfied")
    for line in (lines[2], lines[4]):
        assert (await opens(talk, line))["sender"] == talk.customer.user_id

    wanted = await talk.say("!wc transcript 1 json")
    page, found = await files(talk, read, 1)
    check(page, found, said)
    for message in found.messages:
        assert (await opens(talk, message.link))["event_id"] == message.event_id
    database = f"sqlite:///{stage.folder / 'bridge.db'}"
    async with open_store(database, SystemClock()) as store, asyncio.timeout(30):
        trace: list[tuple[str, str]] = []
        while len(trace) < 4:  # an outcome is written with the next commit
            trace = [(one.what, one.detail) for one in await store.trace(EventId(wanted))]
            await asyncio.sleep(0.02)
    assert [what for what, _ in trace] == ["received", "handled", "stored", "delivered"]
    assert trace[2] == ("stored", "aside")
    refused = await talk.say("!wc transcript 2")
    await talk.reads_reply("A transcript was made a moment ago", refused)


async def test_history_and_transcript_without_a_past_chat(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("newcomer"))
    await talk.reads("will answer here", stage.bot)
    await talk.reads_reply("There has been no chat", await talk.say("history"))
    await talk.reads_reply("There has been no chat", await talk.say("transcript"))
    await talk.say("!wc transcript everything")
    await talk.reads("transcript [number of the chat]", stage.bot)


# --- the customer's own account -----------------------------------------------------------------


async def gone(talk: Talk, event_id: str) -> bool:
    found = await talk.customer.call("GET", f"v3/rooms/{talk.room}/event/{event_id}")
    return content_of(found) == {}


async def test_logging_in_and_out(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("carla"))
    await talk.reads("will answer here", stage.bot)
    secret = await talk.say("login carla s3cret-of-carla")
    await talk.reads_reply("You are logged in as carla", secret)
    await talk.sees(lambda one: one.get("type") == "m.room.redaction")
    assert await gone(talk, secret)
    database = f"sqlite:///{stage.folder / 'bridge.db'}"
    async with open_store(database, SystemClock()) as store:
        assert await store.body_of(RoomId(talk.room), EventId(secret)) is None
        assert next(line.what for line in await store.trace(EventId(secret))) == "received"
    for file in stage.folder.glob("bridge.db*"):
        # SQLite's WAL is overwritten in time; the database itself must not hold it any more.
        assert file.name.endswith("-wal") or b"s3cret-of-carla" not in file.read_bytes()
    assert "s3cret-of-carla" not in (stage.folder / "bridge.log").read_text()

    await stage.bridge.kill()
    await stage.bridge.start()
    own = Talk(stage, talk.customer, talk.room)
    own.login = "carla"
    await own.say("hello from carla")
    await own.heard("hello from carla")
    assert talk.person is None
    await own.reads_reply("cannot change while", await own.say("!wc logout"))
    await own.accept()
    await own.desk("close")
    await own.reads("The agent has ended the chat", stage.bot)
    await own.reads_reply("You are logged out of carla", await own.say("logout"))
    await talk.say("hello from the room")
    await talk.heard("hello from the room")


async def test_login_with_a_wrong_password(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("mistaken"))
    await talk.reads("will answer here", stage.bot)
    wrong = await talk.say("!wc login carla wrong-password")
    await talk.reads_reply("Not logged in: ", wrong)
    await talk.sees(lambda one: one.get("type") == "m.room.redaction")
    assert await gone(talk, wrong)
    await talk.reads_reply("please wait a minute", await talk.say("!wc login carla wrong-again"))
    misspelt = await talk.say("!wc logn carla s3cret-of-carla")
    await talk.reads_reply("login", misspelt)
    await talk.sees(lambda one: one.get("type") == "m.room.redaction" and misspelt in str(one))


async def test_login_where_the_bridge_may_not_redact_the_password(stage: Stage) -> None:
    """In a room with several people, without the power: the customer is told what to do."""
    owner, guest = await stage.customer("hostess"), await stage.customer("guest")
    room = await owner.create_dm(
        stage.bot, preset="private_chat", is_direct=False, invite=[stage.bot, guest.user_id]
    )
    talk = Talk(stage, owner, room)
    await talk.reads("This room reaches the agents", stage.bot)
    secret = await talk.say("!wc login carla s3cret-of-carla")
    await talk.reads_reply("I may not remove it here", secret)
