"""Random events by people in a room, and the invariants checked after each.

A permitted customer's message in a room that the bridge is in, or entering, is parked, reported,
answered, or in the conversation.
"""

from __future__ import annotations

import random

from bridge.conversation.model import (
    Args,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Reported,
    Say,
)
from bridge.ids import EventId, RoomId
from bridge.rooms.people import Standing, entry_failed, followed, invited
from bridge.rooms.ports import (
    Corrected,
    EncryptionOn,
    Invited,
    Meaning,
    MemberGone,
    MemberJoined,
    Nothing,
    Reacted,
    RoomConfigured,
    Spoke,
    Unreadable,
    Upgraded,
    Withdrew,
)
from bridge.rooms.reader import Facts, read_command, receive
from bridge.rooms.record import Entered, Membership
from bridge.rooms.references import Earlier
from bridge.texts import LANGUAGES, Texts
from tests.unit.rooms.visits import ADA, BOT, RULES, SALES_USER, STRANGER, House

NEXT = RoomId("!next:example.org")


class Guests:
    """Feed random events to a room; render every sentence in every language."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self.house = House()
        self.texts = Texts()
        self.events = 0
        self.seen: dict[EventId, Meaning] = {}

    def do_anything(self) -> None:
        self.house.now += self.random.randrange(20_000)
        if self.random.random() < 0.05:
            self.enter()
            return
        if self.random.random() < 0.01:
            entry_failed(self.house.visit)
            return
        if self.house.record.upgrade is not None and self.random.random() < 0.2:
            invited = Invited(ADA, BOT, direct=False)
            followed(self.house.visit, invited, NEXT)
            return
        meaning = self.meaning()
        event_id = getattr(meaning, "event_id", None) or self.event_id()
        self.seen[event_id] = meaning
        self.receive(meaning, {"event_id": event_id})

    def event_id(self) -> EventId:
        self.events += 1
        return EventId(f"$g{self.events}")

    def known(self) -> EventId:
        """Event id of an event so far, or `$g0`, which no event has."""
        return EventId(f"$g{self.random.randint(0, self.events)}")

    def earlier(self) -> Earlier | None:
        text = self.random.choice(["hello", "!wc help", "a longer text of several words", ""])
        content = self.random.choice([None, CustomerText(text), CustomerMedia("file", "a", "mxc")])
        whole = Earlier(text, content, correction=self.random.random() < 0.2)
        return self.random.choice([whole, whole, None])

    def meaning(self) -> Meaning:
        who = self.random.choice([ADA, ADA, ADA, STRANGER])
        ours = self.random.choice([BOT, BOT, SALES_USER])
        text = self.random.choice(
            ["hello", " ", "help", "!wc", "!wc nonsense", "rate 5 thanks", "close", "!wc start 9",
             "pause", "resume", "queue set sales", "cancel", "status", "!wc queue list"]
        )  # fmt: skip
        media = CustomerMedia("image", "a.png", f"mxc://h/{self.events}")
        content: dict[str, object] = self.random.choice(
            [{}, {"queue": 1}, {"x": 1}, {"start": "on_command"}]
        )
        options: list[tuple[int, Meaning]] = [
            (3, Invited(who, ours, self.random.random() < 0.7)),
            (1, MemberJoined(who)),
            (1, MemberGone(self.random.choice([who, ours]))),
            (20, Spoke(self.event_id(), who, CustomerText(text), plain=text)),
            (4, Spoke(self.event_id(), who, media, plain=self.random.choice(["", "look"]))),
            (4, Spoke(self.event_id(), who, CustomerLocation(31.2, 121.5, "here"))),
            (2, Spoke(self.event_id(), who, CustomerText(text), text, reply_to=self.known())),
            (3, Corrected(self.event_id(), who, self.known(), CustomerText(text), text)),
            (1, Corrected(self.event_id(), who, self.known(), media, "look")),
            (3, Withdrew(self.event_id(), who, self.known())),
            (2, Reacted(self.event_id(), who, self.known(), "👍")),
            (3, Unreadable(self.event_id(), who, "unreadable.kind")),
            (2, RoomConfigured(self.event_id(), who, content)),
            (1, EncryptionOn(unreadable=self.random.random() < 0.2)),
            (1, Upgraded(self.random.choice([None, NEXT]))),
            (1, Nothing()),
        ]
        return self.random.choices([one for _, one in options], [w for w, _ in options])[0]

    def receive(self, meaning: Meaning, raw: dict[str, object]) -> None:
        """Handle one event and check the invariants."""
        house = self.house
        before = house.membership()
        house.visit.effects.clear()
        standing = self.random.choice(list(Standing))
        facts, rooms = Facts(house.now, standing, self.earlier()), self.random.randrange(4)
        if isinstance(meaning, Invited):
            invited(house.visit, meaning, rooms, ())
        else:
            command = read_command(house.visit, meaning)
            receive(house.visit, meaning, raw, facts, command=command)
        self.render()
        if not isinstance(meaning, Spoke | Unreadable) or meaning.sender != ADA:
            return
        if before in {Membership.JOINED, Membership.ENTERING}:
            parked = meaning.event_id in {one.get("event_id") for one in house.record.parked}
            heard = parked or meaning.event_id in {*house.reported, *house.carried}
            answered = isinstance(meaning, Spoke) and self.was_command(meaning)
            assert heard or answered, f"{meaning} fell on deaf ears"

    def was_command(self, spoke: Spoke) -> bool:
        """Whether it is a command that was answered, or exceeds the rate limit."""
        if not isinstance(spoke.content, CustomerText) or spoke.plain in {"hello", " "}:
            return False
        if self.house.record.spoken > RULES.limits.messages_per_minute:
            return True
        return bool(self.house.effects) or spoke.plain in {"close", "cancel", "rate 5 thanks"}

    def render(self) -> None:
        for effect in self.house.effects:
            if isinstance(effect, Say | Reported):
                for language in LANGUAGES:
                    known: Args = {"prefix": "!wc", "count": 1}
                    self.texts.render(language, effect.key, known | effect.args)

    def enter(self) -> None:
        options: list[dict[str, object] | None] = [None, {}, {"queue": 99}]
        config = self.random.choice(options)
        entry = Entered(encrypted=self.random.random() < 0.2, config=config)
        for raw in self.house.enter(entry):
            self.receive(self.seen[EventId(str(raw["event_id"]))], raw)
        self.render()
