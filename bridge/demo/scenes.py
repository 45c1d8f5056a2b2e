"""The conversation that the demo plays: a customer and an agent, every word over the real thing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Callable

import msgspec
from PIL import Image

from bridge.demo.customer import Customer, Event, content_of, membership
from bridge.demo.stage import Stage
from bridge.demo.transcript import StepFailedError, Transcript, expect
from bridge.simulator.outgoing import Wire

PATIENCE = 20.0
"""Seconds after which something awaited is held not to come."""


class AtDeskMessage(msgspec.Struct):
    """A message as the simulated desk received it."""

    kind: str
    text: str
    repeat: bool


class AtDeskRating(msgspec.Struct):
    rating: int
    comments: str


class AtDesk(msgspec.Struct):
    """One customer as the simulated server sees her."""

    name: str
    messages: list[AtDeskMessage]
    ratings: list[AtDeskRating]


class AtDeskUpload(msgspec.Struct):
    sha256: str


class DeskView(msgspec.Struct):
    """The part of the simulator's state that the demo looks at."""

    customers: dict[str, AtDesk]
    uploads: list[AtDeskUpload]


class Scene:
    """One customer's room, and the agent's desk on the other side."""

    def __init__(self, stage: Stage, transcript: Transcript, customer: Customer) -> None:
        self.stage = stage
        self.transcript = transcript
        self.customer = customer
        self.room = ""
        self._name = customer.user_id[1:].partition(":")[0]
        self._told: set[str] = set()

    # --- the customer -----------------------------------------------------------------------

    async def open_dm(self, first: str) -> None:
        """As Element does: the room and the first message come together."""
        self.room = await self.customer.create_dm(self.stage.bot, first)

    async def say(self, text: str) -> None:
        self._sent(await self.customer.say(self.room, text), text)

    async def send_file(self, data: bytes, name: str, mime: str, kind: str) -> None:
        sent = await self.customer.send_file(self.room, data, name, mime, f"m.{kind}")
        self._sent(sent, f"[{kind}] {name}")

    def _sent(self, event_id: str, text: str) -> None:
        """Print what she sends when she sends it, not when it comes back by /sync."""
        self._told.add(event_id)
        self.transcript.said(self._name, text)

    async def sees(self, what: str, wanted: Callable[[Event], bool]) -> Event:
        """Wait for an event of the room; print what comes meanwhile."""
        try:
            event = await self.customer.wait_for(self.room, wanted, PATIENCE)
        except TimeoutError as error:
            raise StepFailedError(f"{what} was not seen within {PATIENCE:.0f} s") from error
        finally:
            self.print_new()
        return event

    async def reads(self, part: str, sender: str = "") -> Event:
        """Wait for a message that contains this text (the newest wording, if it was edited)."""
        return await self.sees(
            f"“{part}”",
            lambda event: sender in {"", event.get("sender")} and part in wording(event),
        )

    def print_new(self) -> None:
        """Print the messages of the room that have not been printed."""
        for event in self.customer.events(self.room):
            event_id = str(event.get("event_id"))
            if event.get("type") != "m.room.message" or event_id in self._told:
                continue
            self._told.add(event_id)
            who = str(event.get("sender"))[1:].partition(":")[0]
            edited = " (edited in place)" if "m.new_content" in content_of(event) else ""
            self.transcript.said(who, shown(event) + edited)

    # --- the desk ---------------------------------------------------------------------------

    @property
    def at_desk(self) -> AtDesk:
        """What the simulated server knows of this customer."""
        for customer in _desk_view(self.stage).customers.values():
            if customer.name == self._name:
                return customer
        raise StepFailedError(f"WebChat does not know {self._name}")

    @property
    def login(self) -> str:
        """This customer's login name at WebChat."""
        for login, customer in _desk_view(self.stage).customers.items():
            if customer.name == self._name:
                return login
        raise StepFailedError(f"WebChat does not know {self._name}")

    async def desk(self, op: str, **fields: object) -> Wire:
        """One move of the agent's."""
        return await self.stage.simulator.do({"op": op, "login": self.login, **fields})

    async def agent_gets(self, what: str, wanted: Callable[[AtDeskMessage], bool]) -> None:
        """Wait for a message of the customer's at the desk."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if any(wanted(message) for message in self.at_desk.messages):
                    self.transcript.said("desk", f"← {what}")
                    return
                await asyncio.sleep(0.05)


async def play(stage: Stage, transcript: Transcript) -> Scene:
    """Play the first chat; returns the scene, for whoever wants to go on in its room."""
    customer = await stage.customer("alice")
    scene = Scene(stage, transcript, customer)
    transcript.title("A customer asks for help")
    async with transcript.step("a customer signs up on the real Synapse"):
        await customer.sync()
    await _queue(scene)
    transcript.title("The agent answers")
    await _talk(scene)
    await _exchange_files(scene)
    transcript.title("The end, and a rating")
    await _end(scene)
    return scene


async def _queue(scene: Scene) -> None:
    transcript, stage = scene.transcript, scene.stage
    other = Scene(stage, transcript, await stage.customer("bob"))
    async with transcript.step("somebody else is in the queue already"):
        await other.open_dm("I was here first")
        await other.reads("number 1")
    async with transcript.step("she opens a direct chat with the bot; her first words are kept"):
        await scene.open_dm("My parcel is late")
        await scene.reads("Hello!")
    async with transcript.step("she sees her place in the queue"):
        await scene.reads("number 2")
    async with transcript.step("it changes in place when the other one gives up"):
        await other.say("!wc cancel")
        await scene.reads("number 1")
    async with transcript.step("what she writes while waiting is kept for the agent"):
        await scene.say("It is order 4711")
        await scene.agent_gets("pre-message: It is order 4711", text_is("It is order 4711"))


async def _talk(scene: Scene) -> None:
    transcript = scene.transcript
    async with transcript.step("an agent accepts and joins the room as herself"):
        await scene.desk("accept", agent="A00001")
        ghost = f"@webchat__a00001:{scene.stage.synapse.domain}"
        await scene.sees("the agent's arrival", membership(ghost, "join"))
        await scene.reads("Mei is here")
        texts = [message.text for message in scene.at_desk.messages]
        expect(
            texts == ["My parcel is late", "It is order 4711"],
            f"the agent should have both pre-messages once, in order; she has {texts}",
        )
    async with transcript.step("the agent's text arrives, formatted and with emoji"):
        await scene.desk("say", text='Hello /::) see <a href="https://example.org/faq">our FAQ</a>')
        event = await scene.reads("Hello 🙂 see our FAQ", ghost)
        html = str(content_of(event).get("formatted_body"))
        expect('href="https://example.org/faq"' in html, f"the link is missing in {html}")
    async with transcript.step("the customer's text reaches the agent"):
        await scene.say("Thanks, I read it. 谢谢！")
        await scene.agent_gets("Thanks, I read it. 谢谢！", text_is("Thanks, I read it. 谢谢！"))


async def _exchange_files(scene: Scene) -> None:
    transcript, customer = scene.transcript, scene.customer
    picture, document = (
        _picture((30, 120, 200)),
        b"terms and conditions, \xe7\xac\xac 1 page\n" * 50,
    )
    for kind, data, name, mime in (
        ("image", picture, "parcel.png", "image/png"),
        ("file", document, "receipt.txt", "text/plain"),
    ):
        async with transcript.step(f"the customer's {kind} reaches the agent, byte for byte"):
            await scene.send_file(data, name, mime, kind)
            await scene.agent_gets(f"{kind} {name}", kind_is(kind))
            digest = hashlib.sha256(data).hexdigest()
            uploads = _desk_view(scene.stage).uploads
            expect(digest in {one.sha256 for one in uploads}, "the bytes differ")
    async with transcript.step("the agent's image arrives, byte for byte"):
        back = _picture((200, 90, 30))
        await scene.desk("image", name="label.png", data=base64.b64encode(back).decode())
        event = await scene.sees("an image", msgtype_is("m.image", "@webchat_"))
        expect(await _bytes(customer, event) == back, "the bytes differ")
    async with transcript.step("the agent's file arrives, byte for byte"):
        await scene.desk("file", name="terms.txt", data=base64.b64encode(document).decode())
        event = await scene.sees("a file", msgtype_is("m.file", "@webchat_"))
        expect(await _bytes(customer, event) == document, "the bytes differ")


async def _end(scene: Scene) -> None:
    transcript = scene.transcript
    async with transcript.step("the agent closes the chat and leaves the room"):
        await scene.desk("close")
        await scene.reads("The agent has ended the chat")
        ghost = f"@webchat__a00001:{scene.stage.synapse.domain}"
        await scene.sees("the agent's leaving", membership(ghost, "leave"))
    async with transcript.step("the customer rates: rate 5 thanks"):
        await scene.say("rate 5 thanks")
        await scene.reads("Thank you for your rating")
        given = [(rating.rating, rating.comments) for rating in scene.at_desk.ratings]
        expect(given == [(5, "thanks")], f"WebChat should have (5, thanks), it has {given}")
    async with transcript.step("nothing was sent twice"):
        repeats = [message for message in scene.at_desk.messages if message.repeat]
        expect(not repeats, f"{len(repeats)} messages were repeated")


# --- looking at events ------------------------------------------------------------------------


def wording(event: Event) -> str:
    """What a client shows of an event: an edit shows its new text."""
    content = content_of(event)
    new = content.get("m.new_content")
    body = new.get("body") if isinstance(new, dict) else content.get("body")
    return body if isinstance(body, str) else ""


def shown(event: Event) -> str:
    """A line for the transcript."""
    kind = str(content_of(event).get("msgtype"))
    text = wording(event)
    return text if kind in {"m.text", "m.notice", "m.emote"} else f"[{kind[2:]}] {text}"


def msgtype_is(msgtype: str, sender: str) -> Callable[[Event], bool]:
    """A message of this type from a sender whose id begins so."""
    return lambda event: (
        content_of(event).get("msgtype") == msgtype and str(event.get("sender")).startswith(sender)
    )


def text_is(text: str) -> Callable[[AtDeskMessage], bool]:
    return lambda message: message.text == text


def kind_is(kind: str) -> Callable[[AtDeskMessage], bool]:
    return lambda message: message.kind == kind


def _desk_view(stage: Stage) -> DeskView:
    return msgspec.convert(stage.simulator.state(), DeskView)


async def _bytes(customer: Customer, event: Event) -> bytes:
    return await customer.download(str(content_of(event)["url"]))


def _picture(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(out, "PNG")
    return out.getvalue()
