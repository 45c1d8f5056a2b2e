"""One customer's room, and what is seen in it; with the desk on its other side."""

from __future__ import annotations

from collections.abc import Callable

from bridge.demo.agents import PATIENCE, Desk
from bridge.demo.customer import Customer, Event, content_of
from bridge.demo.stage import Stage
from bridge.demo.transcript import StepFailedError, Transcript
from bridge.texts import Texts

POLL = "org.matrix.msc3381.poll.start"


class Scene:
    """Plays one customer, and prints what she sees."""

    def __init__(self, stage: Stage, transcript: Transcript, customer: Customer) -> None:
        self.stage = stage
        self.transcript = transcript
        self.customer = customer
        self.room = ""
        self._name = customer.user_id[1:].partition(":")[0]
        self.desk = Desk(stage.simulator, transcript, self._name)
        self._told: set[str] = set()

    async def open_dm(self, first: str) -> None:
        """As Element does: the room and the first message come together."""
        self.room = await self.customer.create_dm(self.stage.bot, first)

    async def say(self, text: str) -> str:
        """Send a text; returns its event id."""
        return self._sent(await self.customer.say(self.room, text), text)

    async def send(self, shown: str, **content: object) -> str:
        """Send a message with this content; returns its event id."""
        return self._sent(await self.customer.send(self.room, content), shown)

    async def send_file(self, data: bytes, name: str, mime: str, kind: str, **more: object) -> str:
        """Send a file; returns its event id."""
        sent = await self.customer.send_file(self.room, data, name, mime, f"m.{kind}", **more)
        return self._sent(sent, f"[{kind}] {name}")

    async def react(self, event: Event, sign: str) -> None:
        await self.customer.react(self.room, str(event["event_id"]), sign)
        self.transcript.said(self._name, f"reacts with {sign}")

    def _sent(self, event_id: str, text: str) -> str:
        """Print what she sends when she sends it, not when it comes back by /sync."""
        self._told.add(event_id)
        self.transcript.said(self._name, text)
        return event_id

    async def sees(self, what: str, wanted: Callable[[Event], bool]) -> Event:
        """Wait for an event of the room; print what comes meanwhile."""
        try:
            event = await self.customer.wait_for(self.room, wanted, PATIENCE)
        except TimeoutError as error:
            raise StepFailedError(f"{what} was not seen within {PATIENCE:.0f} s") from error
        finally:
            self.print_new()
        return event

    async def notices(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what the customer's client has been told."""
        try:
            await self.customer.wait_until(holds, PATIENCE)
        except TimeoutError as error:
            raise StepFailedError(f"{what} was not seen within {PATIENCE:.0f} s") from error
        finally:
            self.print_new()

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
            if event.get("type") not in {"m.room.message", POLL} or event_id in self._told:
                continue
            self._told.add(event_id)
            who = self._named(str(event.get("sender")))
            edited = " (edited in place)" if "m.new_content" in content_of(event) else ""
            self.transcript.said(who, shown(event) + edited)

    def _named(self, user_id: str) -> str:
        """The name that clients show of a member."""
        for event in reversed(self.customer.events(self.room)):
            name = content_of(event).get("displayname")
            if event.get("state_key") == user_id and event.get("type") == "m.room.member" and name:
                return str(name)
        return user_id[1:].partition(":")[0]

    def ghost(self, agent: str) -> str:
        """The user id of an agent, such as A00001."""
        return f"@webchat__{agent.lower()}:{self.stage.synapse.domain}"


def words(key: str, **args: str | int) -> str:
    """The bridge's own sentence, as the stage's language has it."""
    return Texts({}).render("en", key, {"prefix": "!wc", **args})


# --- looking at events ------------------------------------------------------------------------


def wording(event: Event) -> str:
    """What a client shows of an event: an edit shows its new text."""
    content = content_of(event)
    new = content.get("m.new_content")
    body = new.get("body") if isinstance(new, dict) else content.get("body")
    return body if isinstance(body, str) else ""


def shown(event: Event) -> str:
    """A line for the transcript."""
    if event.get("type") == POLL:
        return f"[poll] {', '.join(label for _, label in answers_of(event))}"
    kind = str(content_of(event).get("msgtype"))
    text = wording(event)
    return text if kind in {"m.text", "m.notice", "m.emote"} else f"[{kind[2:]}] {text}"


def is_poll(event: Event) -> bool:
    return event.get("type") == POLL


def answers_of(poll: Event) -> list[tuple[str, str]]:
    """The answers of a poll: what to send, and what they are called."""
    start = content_of(poll).get(POLL)
    found = start.get("answers") if isinstance(start, dict) else None
    text = "org.matrix.msc1767.text"
    return [(str(one["id"]), str(one[text])) for one in found or []]


def msgtype_is(msgtype: str, sender: str) -> Callable[[Event], bool]:
    """A message of this type from a sender whose id begins so."""
    return lambda event: (
        content_of(event).get("msgtype") == msgtype and str(event.get("sender")).startswith(sender)
    )
