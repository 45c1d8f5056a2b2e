"""Each agent's message is shown exactly once, whatever the order of pushes, cuts and histories.

If the history omits messages, the customer is told that some may be missing.
"""

from __future__ import annotations

import os
import random
from collections import Counter, deque

import msgspec
import pytest

from bridge.conversation.history import mark_of, shown_lately
from bridge.conversation.machine import deadline
from bridge.conversation.model import FetchHistory, Input, Pushed, Recalled, Tick
from bridge.ids import SessionId
from bridge.webchat.frames import AgentContent, AgentMedia, AgentText, MessageReceived
from bridge.webchat.http import HistoryEntry
from tests.support.scene import SESSION
from tests.unit.conversation.centre import AGENT, Centre, entry

SEEDS = int(os.environ.get("MISSED_SEEDS", "60"))
FILE, PLACEHOLDER = "/up/", "[图片]"


class Chance(Centre):
    """A server that keeps a history, and may also push again; a link that is cut at any moment."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.dice = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self.skew = self.dice.choice([0, 0, 800, -90_000, 90_000])
        self.repeats = self.dice.random() < 0.5
        self.repetition = self.dice.choice([0, 0.3, 0.8])
        self.wordless = self.dice.choice([0, 0.2, 0.7])
        self.numbered = self.dice.random() < 0.8
        self.up = True
        self.wire: list[str] = []
        """Messages under way: lost if the link breaks now."""
        self.inbox: deque[Pushed | Recalled] = deque()
        """Inputs stored and not handled yet; handled in order, as the engine does."""
        self.kept: list[str] = []
        self.fetched = 0
        self.said_files = 0
        self.pushed_files: list[str] = []
        self.begin()
        self.now += 300_000

    def go_on(self) -> None:
        passes = self.dice.choice([10, 400, 1_500, 7_000])
        self.now += passes
        if passes > 1_000 or self.dice.random() < 0.5:
            self.arrive()
        self.dice.choices(
            [self.speak, self.handle, self.fetch, self.cut, self.restore], [4, 8, 4, 1, 2]
        )[0]()
        self.wake()

    def wake(self) -> None:
        due = deadline(self.state, self.policy)
        if due is not None and due <= self.now:
            self.happen(Tick())

    def speak(self) -> None:
        self.arrive()
        often = self.dice.random() < self.repetition
        text = f"word {self.dice.randrange(3) if often else len(self.entries) + 10}"
        if self.dice.random() < self.wordless:
            number = len(self.entries)
            text = self.dice.choice(
                [f"{FILE}{number}", f"[{number}] note", f"<img src='/{number}'>"]
                if self.dice.random() < 0.7
                else [f"see <img src='/{number}'>"]
            )
        line = PLACEHOLDER if text.startswith(FILE) else text
        told = entry(len(self.entries) + 1, line, self.now + self.skew)
        self.entries.append(told if self.numbered else msgspec.structs.replace(told, id=""))
        self.said_files += text.startswith(FILE)
        if self.up:
            self.wire.append(text)
        elif self.repeats:
            self.kept.append(text)

    def cut(self) -> None:
        self.up = False
        if self.repeats:
            self.kept += self.wire
        self.wire.clear()

    def restore(self) -> None:
        if not self.up:
            self.up = True
            self.link_back()  # a signal, handled before stored inputs
            self.wire += self.kept
            self.kept.clear()
            self.arrive()

    def arrive(self) -> None:
        for text in self.wire:
            content: AgentContent = AgentText(text)
            if text.startswith(FILE):
                content = AgentMedia("file", url=text)
                self.pushed_files.append(text)
            push = MessageReceived(SessionId(SESSION), AGENT, content)
            self.inbox.append(Pushed(push, self.now))
        self.wire.clear()

    def handle(self) -> None:
        if self.inbox:
            self.happen(self.inbox.popleft())

    def fetch(self) -> None:
        """Read the history; later messages are not in this answer."""
        if len(self.asked_for) > self.fetched:
            ask = self.asked_for[self.fetched]
            self.fetched += 1
            failed = self.dice.random() < 0.1
            entries = () if failed else self.told(ask)
            if self.dice.random() < 0.5:
                self.arrive()  # else the history overtakes what is under way
            self.inbox.append(Recalled(ask.session_id, ask.since, entries, failed=failed))

    def told(self, ask: FetchHistory) -> tuple[HistoryEntry, ...]:
        """The history as the server gives it."""
        return tuple(self.entries[-100:])

    def rest(self) -> None:
        self.restore()
        for _ in range(60):
            for step in (self.arrive, self.fetch, self.handle, self.handle):
                step()
            self.later(40)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_message_is_shown_exactly_once(seed: int) -> None:
    centre = Chance(seed)
    said = 0
    while said < 30:
        centre.go_on()
        said = len(centre.entries)
    centre.rest()
    words, lines = Counter(centre.words), Counter(line.html for line in centre.entries)
    assert centre.files == centre.pushed_files, "whatever else was said or told"
    assert words.pop(PLACEHOLDER, 0) >= centre.said_files - len(centre.pushed_files)
    lines.pop(PLACEHOLDER, None)
    for text in [one for one in lines if one.startswith(("[", "<"))]:
        assert words.pop(text, 0) >= lines.pop(text), "rather too much than too little"
    assert words == lines
    assert centre.state.recall is None
    assert "outage.unsure" not in centre.notices


class Forgetful(Chance):
    """A server whose history lacks the newest messages for a time, even shown ones: those of the
    running chat, or of the last minutes. All messages differ."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.repetition = self.wordless = 0
        self.sound = self.dice.choice([0.0, 0.5])
        """Probability that the history is complete."""
        self.read = self.doubted = 0
        """Number of lines when the history was read last, and when the customer was told last that
        some may be missing."""

    def told(self, ask: FetchHistory) -> tuple[HistoryEntry, ...]:
        told = super().told(ask)
        self.read = len(self.entries)
        pushed = {
            mark.mark for mark in shown_lately(self.state) if mark.exact and mark.at <= ask.since
        }
        shown = [n for n, one in enumerate(told) if mark_of(AGENT, one.html) in pushed]
        if not shown or self.dice.random() < self.sound:
            return told
        return told[: self.dice.choice([0, self.dice.choice(shown), shown[-1]])]

    def happen(self, happened: Input) -> None:
        super().happen(happened)
        if isinstance(happened, Recalled) and self.state.unsure_at:
            self.doubted = self.read  # told now, or before and nothing was shown since


@pytest.mark.parametrize("seed", range(SEEDS))
def test_messages_that_a_history_omits_are_told_as_possibly_missing(seed: int) -> None:
    centre = Forgetful(seed)
    while len(centre.entries) < 30:
        centre.go_on()
    centre.rest()
    words = Counter(centre.words)
    assert set(words.values()) == {1}, "shown once"
    lost = [n for n, line in enumerate(centre.entries) if line.html not in words]
    assert all(n < centre.doubted for n in lost), "shown, or told of afterwards"
    assert centre.state.recall is None
