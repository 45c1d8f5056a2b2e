"""Generate texts both ways in several chats at once, and check what arrived.

Texts are numbered by room and direction: lost, duplicate or reordered ones are easy to see.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from urllib.parse import quote

import aiohttp
from nio.exceptions import LocalProtocolError

from bridge.simulator.simulator import BadOpError
from tests.support.matrix_user import CustomerError, Event, content_of
from tests.support.stage import Stage
from tests.support.talk import MEI, Talk, chatting, wording

GHOSTS = "@webchat__"
"""Prefix of the user id of every ghost."""
RETRY = 0.25
"""Seconds between attempts to send to the homeserver."""


class Chat:
    """One chat under load.

    Attributes:
        asked: texts that the customer's homeserver has accepted, in order.
        events: the event id of each of them.
        answered: texts that the agent's server has accepted, in order.
    """

    def __init__(self, talk: Talk, ghosts: str = GHOSTS) -> None:
        self.talk = talk
        self._ghosts = ghosts
        self.asked: list[str] = []
        self.events: dict[str, str] = {}
        self._asked_one = asyncio.Event()
        self.answered: list[str] = []

    async def ask(self) -> None:
        """Send the customer's next text, repeated (same transaction id) until accepted."""
        number = len(self.asked) + 1
        text = f"question {number}"
        content: Event = {"msgtype": "m.text", "body": text}
        while True:
            try:
                event_id = await self.talk.customer.send(
                    self.talk.room, content, txn=f"load{number}"
                )
            except (aiohttp.ClientError, TimeoutError, OSError, LocalProtocolError):
                await asyncio.sleep(RETRY)
            except CustomerError as error:
                if 0 < error.status < 500:
                    raise
                await asyncio.sleep(RETRY)
            else:
                self.asked.append(text)
                self.events[text] = event_id
                self._asked_one.set()
                return

    async def until_asked(self, number: int) -> None:
        """Wait until the customer has sent `number` texts."""
        while len(self.asked) < number:
            self._asked_one.clear()
            await self._asked_one.wait()

    async def answer(self) -> None:
        """Send the agent's next text."""
        text = f"answer {len(self.answered) + 1}"
        await self.talk.desk("say", text=text)
        self.answered.append(text)

    async def everything_arrived(self, patience: float) -> None:
        """Wait for the last text of each direction while texts keep arriving.

        Raises:
            AssertionError: it is missing, and no text arrived for `patience` seconds.
        """
        while True:
            before = len(self.talk.messages()) + len(self.heard())
            try:
                if self.asked:
                    await self.talk.heard(self.asked[-1], patience)
                if self.answered:
                    await self.talk.reads_exactly(self.answered[-1], self._ghosts, patience)
            except AssertionError:
                if len(self.talk.messages()) + len(self.heard()) == before:
                    raise
            else:
                return

    async def everything_read(self, patience: float) -> None:
        """Wait for the ghost's read receipt on the customer's last text.

        Raises:
            AssertionError: there is none within `patience` seconds.
        """
        customer, last = self.talk.customer, self.events[self.asked[-1]]
        try:
            await customer.wait_until(
                lambda: customer.receipts.get((self.talk.room, MEI)) == last, patience
            )
        except TimeoutError:
            raise AssertionError(f"{last} is not read: {customer.receipts}") from None

    def heard(self) -> list[str]:
        """Return the customer's numbered texts at the desk, with duplicates."""
        person = self.talk.person
        assert person is not None
        return [text for text in person.texts if text.startswith("question ")]

    async def read(self) -> list[str]:
        """Return the agent's texts in the room."""
        return [
            wording(event)
            for event in await timeline(self.talk)
            if str(event.get("sender")).startswith(self._ghosts) and "body" in content_of(event)
        ]


async def open_chats(stage: Stage, count: int, name: str = "load") -> list[Chat]:
    """Sign up `count` customers and have each accepted by an agent."""
    return [Chat(await chatting(stage, f"{name}-{number}")) for number in range(count)]


async def converse(chat: Chat, texts: int, pause: float = 0) -> None:
    """Send `texts` texts from each side, concurrently."""

    async def asking() -> None:
        for _ in range(texts):
            await chat.ask()
            await asyncio.sleep(pause)

    async def answering() -> None:
        for _ in range(texts):
            await chat.answer()
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        group.create_task(asking())
        group.create_task(answering())


async def converse_until(chats: Sequence[Chat], stop: asyncio.Event, pause: float) -> None:
    """Send a text every `pause` seconds from both sides of every chat until `stop` is set."""

    async def asking(chat: Chat) -> None:
        while not stop.is_set():
            await chat.ask()
            await asyncio.sleep(pause)

    async def answering(chat: Chat) -> None:
        while not stop.is_set():
            try:
                await chat.answer()
            except BadOpError as error:
                raise AssertionError(f"the chat ended under load: {error}") from error
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        for chat in chats:
            group.create_task(asking(chat))
            group.create_task(answering(chat))


async def timeline(talk: Talk) -> list[Event]:
    """Return all events of a room from the homeserver, oldest first and decrypted."""
    events: list[Event] = []
    path, since = f"v3/rooms/{quote(talk.room, safe='')}/messages", ""
    while True:
        query = {"dir": "f", "limit": "500"} | ({"from": since} if since else {})
        reply = await talk.customer.call("GET", path, query=query)
        chunk = reply["chunk"]
        assert isinstance(chunk, list)
        events += talk.customer.opened(talk.room, chunk)
        since = str(reply.get("end") or "")
        if not since or not chunk:
            return events


async def check_arrivals(chats: Sequence[Chat], patience: float) -> None:
    """Wait for all texts; assert that each arrived once and in order, both ways."""
    for chat in chats:
        await chat.everything_arrived(patience)
    for chat in chats:
        heard, read = chat.heard(), await chat.read()
        assert heard == chat.asked, difference(chat.asked, heard, f"agent, {chat.talk.room}")
        assert read == chat.answered, difference(chat.answered, read, f"customer, {chat.talk.room}")


def difference(sent: Sequence[str], seen: Sequence[str], where: str) -> str:
    """Describe lost, duplicate and reordered texts."""
    lost = [text for text in sent if text not in set(seen)]
    doubled = [text for text, count in Counter(seen).items() if count > 1]
    placed = [text for text in seen if text in set(sent)]
    moved = [two for one, two in pairwise(placed) if sent.index(one) > sent.index(two)]
    return f"{where}: lost {lost}, more than once {doubled}, too late {moved}"
