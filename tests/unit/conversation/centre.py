"""A scene whose server keeps a history, and whose agent is Mei."""

from __future__ import annotations

from bridge.conversation.model import FetchHistory, LinkRestored, Pushed, Recalled
from bridge.conversation.turn import Policy
from bridge.ids import AgentId, SessionId
from bridge.webchat.frames import AgentMedia, AgentText, MessageReceived
from bridge.webchat.http import HistoryEntry
from tests.support.scene import MEI, SESSION, Scene

AGENT = AgentId(str(MEI["id"]))


def entry(number: int, html: str, posted: int, **told: object) -> HistoryEntry:
    """A line of the history, by Mei unless told otherwise."""
    known = {"agent_id": AGENT, "name": "Mei", "user_type": 2}
    return HistoryEntry(str(number), html=html, posted=posted, **(known | told))  # type: ignore[arg-type] # by name, as told


class Centre(Scene):
    """A scene in the middle of a chat, whose server keeps a history."""

    def __init__(self, policy: Policy | None = None) -> None:
        super().__init__(policy)
        self.entries: list[HistoryEntry] = []

    def said(self, text: str, *, heard: bool = True, skew: int = 0) -> None:
        """Let the agent write a message; `heard`: it is pushed."""
        self.entries.append(entry(len(self.entries) + 1, text, self.now + skew))
        if heard:
            self.pushed(text)

    def pushed(self, text: str, *, numbered: bool = False) -> None:
        push = MessageReceived(SessionId(SESSION), AGENT, AgentText(text))
        self.happen(Pushed(push, self.now, numbered=numbered))

    def pushed_file(self, url: str) -> None:
        """Push a file without adding its line to the history."""
        content = AgentMedia("file", url=url)
        self.happen(Pushed(MessageReceived(SessionId(SESSION), AGENT, content), self.now))

    @property
    def files(self) -> list[str]:
        """Addresses of the files shown."""
        shown = (one.content for one in self.relayed)
        return [content.url for content in shown if isinstance(content, AgentMedia)]

    def link_back(self, *, brief: bool = False) -> None:
        self.happen(LinkRestored(self.now, brief))

    @property
    def asked_for(self) -> list[FetchHistory]:
        return [one for one in self.effects if isinstance(one, FetchHistory)]

    def tell(self, *, failed: bool = False) -> None:
        """Answer the newest request for the history."""
        ask = self.asked_for[-1]
        entries = () if failed else tuple(self.entries)
        self.happen(Recalled(ask.session_id, ask.since, entries, failed=failed))

    @property
    def words(self) -> list[str]:
        return [one.content.html for one in self.relayed if isinstance(one.content, AgentText)]


def chat() -> Centre:
    centre = Centre()
    centre.begin()
    centre.now += 60_000
    return centre


def after_an_outage(*missed: str, skew: int = 0) -> Centre:
    """A chat after a cut link: the agent wrote "hello" before it, and `missed` during it."""
    centre = chat()
    centre.said("hello", skew=skew)
    for text in missed:
        centre.now += 20_000
        centre.said(text, heard=False, skew=skew)
    centre.now += 20_000
    centre.link_back()
    return centre
