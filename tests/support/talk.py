"""One room with access to both ends: the customer's client and the agent's desk.

Every wait has a time limit and is for an event in the room or a state of the simulator.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Self
from urllib.parse import quote

import msgspec

from bridge.app.settings import encryption_secret_of, login_keys
from bridge.config.loading import load_config
from bridge.ids import RoomId
from bridge.simulator.state import Wire
from tests.support.client import room_call
from tests.support.matrix_user import PATIENCE, Customer, Event, content_of, membership
from tests.support.stage import Stage

MEI = "@webchat__a00001:localhost"
"""Ghost of agent A00001."""
JUN = "@webchat__a00002:localhost"


class DeskMessage(msgspec.Struct, rename="camel"):
    """A customer's message as received at the desk; a duplicate is listed again."""

    n: int
    type: int
    kind: str
    text: str
    message_id: int
    repeat: bool
    content: object = None
    session_id: int | None = None


class DeskRating(msgspec.Struct):
    rating: int
    comments: str


class DeskRequest(msgspec.Struct, rename="camel"):
    id: int
    queue_id: int


class DeskPerson(msgspec.Struct):
    """A customer in the state of the simulated server."""

    name: str
    logins: int
    linked: bool
    request: DeskRequest | None
    session: dict[str, object] | None
    messages: list[DeskMessage]
    refused: list[dict[str, object]]
    ratings: list[DeskRating]
    signals: list[dict[str, object]]
    """Typing signals: each frame 112 and 113."""

    @property
    def texts(self) -> list[str]:
        """Texts of all messages, with duplicates."""
        return [message.text for message in self.messages]


class Talk:
    """A room, its customer, and the customer's account at the desk."""

    def __init__(self, stage: Stage, customer: Customer, room: str) -> None:
        self.stage = stage
        self.customer = customer
        self.room = room
        self._login = ""

    @property
    def login(self) -> str:
        """Login name of the room at the call centre, from the bridge's secret at first use."""
        if not self._login:
            secret = encryption_secret_of(load_config(self.stage.config, {}))
            self._login = f"mx-{login_keys(secret)(RoomId(self.room))}"
        return self._login

    @login.setter
    def login(self, name: str) -> None:
        self._login = name

    @classmethod
    async def open(
        cls, stage: Stage, customer: Customer, first: str = "", *, host: str = "", **options: object
    ) -> Self:
        """Create a direct room with the bot as Element does, with a first message."""
        room = await customer.create_dm(host or stage.bot, first, **options)
        return cls(stage, customer, room)

    # --- the customer -----------------------------------------------------------------------

    async def say(self, text: str, **more: object) -> str:
        return await self.customer.say(self.room, text, **more)

    async def send(self, **content: object) -> str:
        """Send a message with this content."""
        return await self.customer.send(self.room, content)

    async def sees(self, wanted: Callable[[Event], bool], patience: float = PATIENCE) -> Event:
        """Wait for the room's first wanted event.

        Raises:
            AssertionError: it did not come; the message lists the room's messages.
        """
        try:
            return await self.customer.wait_for(self.room, wanted, patience)
        except TimeoutError:
            raise AssertionError(
                f"not seen within {patience} s; the room: {self.shown()}"
            ) from None

    async def reads(self, part: str, sender: str = "", patience: float = PATIENCE) -> Event:
        """Wait for a message that contains this text; an edit counts with its new text."""
        try:
            return await self.sees(
                lambda event: sender in {"", event.get("sender")} and part in wording(event),
                patience,
            )
        except AssertionError as error:
            raise AssertionError(f"“{part}” {error}") from None

    async def reads_exactly(self, text: str, sender: str, patience: float = PATIENCE) -> Event:
        """Wait for a message with exactly this text, by a sender with this id prefix."""
        return await self.sees(
            lambda event: str(event.get("sender")).startswith(sender) and wording(event) == text,
            patience,
        )

    async def reads_reply(self, part: str, to: str) -> Event:
        """Wait for a reply to event `to` that contains this text."""
        return await self.sees(lambda event: reply_to(event) == to and part in wording(event))

    async def history(self) -> list[Event]:
        """Return the room's latest events from the homeserver, newest first."""
        path = f"v3/rooms/{quote(self.room, safe='')}/messages"
        reply = await self.customer.call("GET", path, query={"dir": "b", "limit": "200"})
        return msgspec.convert(reply["chunk"], list[dict[str, object]])

    def shown(self) -> list[str]:
        """Return the room's messages as "sender: text"."""
        return [f"{e.get('sender')}: {wording(e)}" for e in self.messages()]

    def messages(self, sender: str = "") -> list[Event]:
        """Return the messages seen so far."""
        return [
            event
            for event in self.customer.events(self.room)
            if event.get("type") == "m.room.message" and sender in {"", event.get("sender")}
        ]

    # --- the desk ---------------------------------------------------------------------------

    @property
    def person(self) -> DeskPerson | None:
        """The customer's present state at the desk, None before the first login."""
        return person_in(self.stage.simulator.state(), self.login)

    async def at_desk(
        self, wanted: Callable[[DeskPerson], bool], patience: float = PATIENCE
    ) -> DeskPerson:
        """Wait until the customer's state at the desk is as wanted; return it."""

        def seen(state: Wire) -> bool:
            person = person_in(state, self.login)
            return person is not None and wanted(person)

        with contextlib.suppress(TimeoutError):
            await self.stage.simulator.wait_for(seen, patience)
        person = self.person
        assert person is not None, f"the desk never met {self.login}; room: {self.shown()}"
        assert wanted(person), f"not so within {patience} s: {person}; room: {self.shown()}"
        return person

    async def heard(self, text: str, patience: float = PATIENCE) -> DeskMessage:
        """Wait until the desk has the customer's message with this text; return it."""
        person = await self.at_desk(lambda one: text in one.texts, patience)
        return next(message for message in person.messages if message.text == text)

    async def got(self, kind: str) -> DeskMessage:
        """Wait until the desk has a message of this kind; return the newest."""
        person = await self.at_desk(lambda one: any(m.kind == kind for m in one.messages))
        return [message for message in person.messages if message.kind == kind][-1]

    async def desk(self, op: str, **fields: object) -> Wire:
        """Perform an agent's operation on this customer."""
        return await self.stage.simulator.do({"op": op, "login": self.login, **fields})

    async def queued(self) -> DeskPerson:
        return await self.at_desk(lambda person: person.request is not None)

    async def accept(self, agent: str = "A00001", ghost: str = MEI) -> None:
        """Accept the customer's queue request; return once the ghost is in the room."""
        await self.queued()
        await self.desk("accept", agent=agent)
        await self.sees(membership(ghost, "join"))


async def chatting(stage: Stage, name: str) -> Talk:
    """Create a customer who said "hello" and was accepted by Mei."""
    talk = await Talk.open(stage, await stage.customer(name), "hello")
    await talk.heard("hello")  # so that it is a pre-message: it must not race with `accept`
    await talk.accept()
    return talk


async def upgraded(talk: Talk, version: str = "11") -> Talk:
    """Upgrade the room as the customer; return the new room, which the bot has not joined yet."""
    new = await room_call(talk.customer, "upgrade", talk.room, {"new_version": version})
    there = Talk(talk.stage, talk.customer, str(new["replacement_room"]))
    there.login = talk.login
    return there


async def into(talk: Talk, who: Customer) -> None:
    """Invite another customer, who joins the room."""
    await room_call(talk.customer, "invite", talk.room, {"user_id": who.user_id})
    await room_call(who, "join", talk.room)
    await talk.sees(membership(who.user_id, "join"))


async def announced(talk: Talk, data: bytes) -> DeskMessage:
    """Wait for the message that links to an upload of exactly these bytes."""
    digest = hashlib.sha256(data).hexdigest()

    def find(person: DeskPerson) -> DeskMessage | None:
        for upload in uploads(talk.stage):
            if (upload["sha256"], upload["size"]) == (digest, len(data)):
                for message in person.messages:
                    if str(upload["address"]) in str(message.content):
                        return message
        return None

    found = find(await talk.at_desk(lambda person: find(person) is not None))
    assert found is not None
    return found


def uploads(stage: Stage) -> list[dict[str, object]]:
    found = stage.simulator.state()["uploads"]
    assert isinstance(found, list)
    return found


# --- helpers ------------------------------------------------------------------------------------


def person_in(state: Wire, login: str) -> DeskPerson | None:
    """Return a customer in the simulator's state, None if unknown."""
    customers = state["customers"]
    assert isinstance(customers, dict)
    found = customers.get(login)
    return None if found is None else msgspec.convert(found, DeskPerson)


def in_html(card: Event) -> None:
    """Assert that a message has HTML: else Element shows an edit with stale text, or none."""
    content = content_of(card)
    new = content.get("m.new_content", content)
    assert isinstance(new, dict)
    for version in (content, new):
        assert version["format"] == "org.matrix.custom.html"
        assert str(version["formatted_body"]).replace("<br>", "\n") == version["body"]


def wording(event: Event) -> str:
    """Return the body of a message, of an edit its new one."""
    content = content_of(event)
    new = content.get("m.new_content")
    body = new.get("body") if isinstance(new, dict) else content.get("body")
    return body if isinstance(body, str) else ""


def relation(event: Event) -> dict[str, object]:
    """Return the event's `m.relates_to`, empty if it has none."""
    found = content_of(event).get("m.relates_to")
    return found if isinstance(found, dict) else {}


def annotates(event: Event, target: str, key: str) -> bool:
    """True if the event is a reaction with `key` to `target`."""
    wanted = {"rel_type": "m.annotation", "event_id": target, "key": key}
    return event.get("type") == "m.reaction" and relation(event) == wanted


def reply_to(event: Event) -> str | None:
    """Return the id of the event that this one replies to."""
    found = relation(event).get("m.in_reply_to")
    return str(found.get("event_id")) if isinstance(found, dict) else None


def info_of(event: Event) -> dict[str, object]:
    """Return the `info` of a media event."""
    info = content_of(event)["info"]
    assert isinstance(info, dict)
    return info
