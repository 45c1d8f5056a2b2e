"""What events in a room mean for it: coming, going, talking, commanding, configuring."""

from __future__ import annotations

import random

import msgspec
import pytest

from bridge.conversation.effects import CallWebChat, Reported, Say
from bridge.conversation.model import Chatting, CustomerMedia, CustomerText, Idle, Queued
from bridge.conversation.transitions import all_pieces
from bridge.ids import EventId, QueueId, RequestId, UserId
from bridge.rooms.effects import EnterRoom, LeaveRoom
from bridge.rooms.inputs import (
    EncryptionOn,
    Entered,
    EntryFailed,
    Invited,
    Meaning,
    MemberGone,
    MemberJoined,
    Nothing,
    RoomConfigured,
    Spoke,
    Unreadable,
    Upgraded,
)
from bridge.rooms.reception import (
    PARKED_LIMIT,
    Facts,
    Standing,
    entry_failed,
    needs_standing,
    receive,
)
from bridge.rooms.record import Membership
from bridge.texts import LANGUAGES, Texts
from tests.unit.rooms.visits import ADA, BOT, SALES_USER, STRANGER, House

# --- coming -------------------------------------------------------------------------------------


def test_an_invitation_is_accepted() -> None:
    house = House()
    house.invite()
    assert house.effects == [EnterRoom(BOT, ADA)]
    assert house.membership is Membership.ENTERING
    house.enter(Entered(displayname="Ada L."))
    assert house.membership is Membership.JOINED
    assert house.record.customer == ADA
    assert house.record.displayname == "Ada L."
    assert house.notices == ["room.welcome"]


@pytest.mark.parametrize(
    ("by", "rooms", "key"),
    [(STRANGER, 0, "refused.permission"), (ADA, 2, "refused.too_many_rooms")],
)
def test_a_refused_invitation_says_why(by: UserId, rooms: int, key: str) -> None:
    house = House()
    house.invite(by, rooms=rooms)
    house.say("hello", by)
    assert house.enter() == ()
    assert house.notices == [key]
    assert house.effects[-1] == LeaveRoom((BOT,))
    assert house.membership is Membership.LEFT
    assert house.record.customer == ""


def test_the_first_words_are_served_in_the_rooms_order() -> None:
    """Element sends them before anybody has joined; they may come in any order."""
    house = House()
    house.invite()
    second, first, third = house.say("two"), house.say("one"), house.say("three")
    assert house.carried == []
    parked = house.enter(Entered(order=(first, second)))
    assert [raw["event_id"] for raw in parked] == [first, second, third]
    assert house.record.parked == ()


def test_more_than_can_be_parked_is_reported() -> None:
    house = House()
    house.invite()
    for _ in range(PARKED_LIMIT):
        house.say("hello")
    assert house.reported == {}
    event = house.say("one more")
    assert house.reported == {event: "undelivered.too_many"}


def test_one_host_is_enough() -> None:
    house = House().served()
    house.invite(whom=SALES_USER)
    assert house.effects == [LeaveRoom((SALES_USER,)), Say("room.host_here")]
    house.visit.effects.clear()
    house.invite(whom=BOT)
    assert house.effects == []


def test_a_room_that_cannot_be_entered_may_invite_again() -> None:
    house = House()
    house.invite()
    house.say("hello")
    entry_failed(house.visit, EntryFailed("M_FORBIDDEN"))
    assert house.membership is Membership.LEFT
    house.invite(whom=SALES_USER)
    assert house.membership is Membership.ENTERING
    assert house.record.host == SALES_USER
    assert house.record.parked == ()


def test_news_of_an_entry_that_nobody_awaits() -> None:
    house = House().served()
    entry_failed(house.visit, EntryFailed())
    assert house.enter() == ()
    assert house.membership is Membership.JOINED
    assert house.effects == []


def test_a_configuration_that_was_there_before_us() -> None:
    house = House()
    house.invite()
    house.enter(Entered(config={"queue": 1, "language": "en"}))
    assert house.record.settings.queue == QueueId(1)
    assert house.notices == ["config.taken", "room.welcome"]


def test_an_encrypted_room_is_told() -> None:
    house = House()
    house.invite()
    house.enter(Entered(encrypted=True))
    assert house.notices == ["encrypted.unsupported"]
    house.receive(EncryptionOn())
    assert house.notices == ["encrypted.unsupported"]
    house.receive(Unreadable(EventId("$x"), ADA, "unreadable.encrypted"))
    assert house.reported == {EventId("$x"): "unreadable.encrypted"}


def test_a_room_that_becomes_encrypted_is_told() -> None:
    house = House().served()
    house.receive(EncryptionOn())
    assert house.notices == ["encrypted.unsupported"]
    assert house.record.encrypted


# --- going --------------------------------------------------------------------------------------


def test_the_customer_leaves_a_direct_room() -> None:
    house = House().served().chat()
    house.receive(MemberGone(ADA, ADA))
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    assert phase.close
    assert LeaveRoom((BOT,)) in house.effects
    assert house.membership is Membership.LEFT


def test_the_host_is_sent_away_while_queued() -> None:
    house = House().served()
    queued = Queued(QueueId(2), house.now, RequestId(9001))
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=queued))
    house.receive(MemberGone(BOT, ADA))
    (call,) = (one for one in house.effects if isinstance(one, CallWebChat))
    assert type(call.command).__name__ == "CancelRequest"
    assert house.membership is Membership.LEFT


def test_what_was_kept_does_not_outlive_the_room() -> None:
    house = House().served()
    house.receive(RoomConfigured(EventId("$c"), ADA, {"start": "on_command"}), Standing.ADMIN)
    event = house.say("hello")
    assert isinstance(house.record.conversation.phase, Idle)
    house.receive(MemberGone(ADA, ADA))
    assert house.carried == []
    assert house.reported == {event: "undelivered.cancelled"}


@pytest.mark.parametrize(("who", "direct"), [(ADA, False), (STRANGER, True)])
def test_others_may_come_and_go(who: UserId, direct: bool) -> None:
    house = House().served(direct=direct)
    house.receive(MemberJoined(who))
    house.receive(MemberGone(who, who))
    house.receive(Nothing())
    assert house.effects == []
    assert house.membership is Membership.JOINED


def test_who_is_gone_is_gone() -> None:
    house = House().served()
    house.receive(MemberGone(BOT, ADA))
    house.visit.effects.clear()
    house.receive(MemberGone(ADA, ADA))
    house.receive(Upgraded("!new:example.org"))
    house.receive(EncryptionOn())
    house.receive(RoomConfigured(EventId("$c"), ADA, {}), Standing.ADMIN)
    house.say("hello")
    house.receive(Unreadable(EventId("$x"), ADA, "unreadable.kind"))
    assert house.effects == []


def test_an_upgraded_room_ends_its_chat() -> None:
    house = House().served().chat()
    house.receive(Upgraded("!new:example.org"))
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    assert phase.close
    assert house.notices == ["room.upgraded"]


# --- talking ------------------------------------------------------------------------------------


def test_words_go_to_the_conversation() -> None:
    house = House().served()
    event = house.say("hello")
    assert house.carried == [event]


def test_a_caption_goes_with_its_file() -> None:
    house = House().served()
    media = CustomerMedia("image", "a.png", "mxc://example.org/1")
    house.receive(Spoke(EventId("$m"), ADA, media, plain="look"))
    pieces = [piece.content for piece in all_pieces(house.record.conversation)]
    assert pieces == [media, CustomerText("look")]


def test_who_may_not_is_told() -> None:
    house = House().served(direct=False)
    event = house.say("hello", STRANGER)
    assert house.reported == {event: "refused.permission"}
    assert house.carried == []


def test_a_paused_room() -> None:
    house = House().served()
    house.say("pause", standing=Standing.ADMIN)
    event = house.say("hello")
    assert house.reported == {event: "undelivered.paused"}
    house.say("resume", standing=Standing.ADMIN)
    assert house.carried == []
    assert house.say("hello again") in house.carried


def test_too_fast() -> None:
    house = House().served()
    events = [house.say(f"word {number}") for number in range(6)]
    assert house.reported == {events[5]: "undelivered.too_fast"}
    house.now += 60_000
    assert house.say("later") in house.carried


@pytest.mark.parametrize(("whom", "direct"), [(SALES_USER, True), (BOT, False)])
def test_the_prefix_is_needed_elsewhere(whom: UserId, direct: bool) -> None:
    house = House().served(whom, direct=direct)
    assert house.say("help") in house.carried
    house.say("!wc help")
    assert house.notices == ["command.help"]
    house.say("!wc hlep")
    assert house.notices[-1] == "command.unknown_near"


# --- configuring --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standing", "key"),
    [
        (Standing.ORDINARY, "refused.not_admin"),
        (Standing.UNKNOWN, "refused.standing_unknown"),
        (Standing.ADMIN, "config.queue_set"),
    ],
)
def test_who_may_configure(standing: Standing, key: str) -> None:
    house = House().served()
    house.say("!wc queue set sales", standing=standing)
    assert house.notices == [key]
    assert (house.record.settings.queue == 1) is (standing is Standing.ADMIN)


def test_a_room_admin_need_not_be_a_customer() -> None:
    house = House().served(direct=False)
    house.say("!wc queue set sales", STRANGER, Standing.ADMIN)
    assert house.notices == ["config.queue_set"]
    event = house.say("!wc queue set sales", STRANGER)
    assert house.reported == {event: "refused.permission"}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"queue": 1}, "config.taken"),
        ({"queue": 99}, "config.bad_queue"),
        ({"queu": 1}, "config.bad_key"),
        ({"paused": "x"}, "config.bad_value"),
    ],
)
def test_the_state_event(content: dict[str, object], key: str) -> None:
    house = House().served()
    before = house.record.settings
    house.receive(RoomConfigured(EventId("$c"), ADA, content), Standing.ADMIN)
    assert house.notices == [key]
    assert (house.record.settings == before) is (key != "config.taken")


def test_the_state_event_of_somebody() -> None:
    house = House().served()
    house.receive(RoomConfigured(EventId("$c"), ADA, {"queue": 1}))
    assert house.notices == ["refused.not_admin"]


def test_a_state_event_that_changes_nothing_is_no_news() -> None:
    house = House().served()
    house.receive(RoomConfigured(EventId("$c"), ADA, {}), Standing.ADMIN)
    assert house.effects == []


def test_whose_standing_is_asked_for() -> None:
    house = House().served()
    configured = RoomConfigured(EventId("$c"), ADA, {})
    order = Spoke(EventId("$o"), ADA, CustomerText("x"), plain="!wc pause")
    word = Spoke(EventId("$w"), ADA, CustomerText("x"), plain="hello")
    assert needs_standing(house.visit, configured) == ADA
    assert needs_standing(house.visit, order) == ADA
    assert needs_standing(house.visit, word) is None
    assert needs_standing(house.visit, Nothing()) is None
    assert needs_standing(House().visit, configured) is None


# --- anything at all ----------------------------------------------------------------------------


class Guests:
    """Random events of a room; every sentence is rendered."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self.house = House()
        self.texts = Texts()
        self.events = 0

    def event_id(self) -> EventId:
        self.events += 1
        return EventId(f"$g{self.events}")

    def meaning(self) -> Meaning:
        who = self.random.choice([ADA, ADA, ADA, STRANGER])
        ours = self.random.choice([BOT, BOT, SALES_USER])
        text = self.random.choice(
            ["hello", " ", "help", "!wc", "!wc nonsense", "rate 5 thanks", "close", "!wc start 9",
             "pause", "resume", "queue set sales", "cancel", "status", "!wc queue list"]
        )  # fmt: skip
        media = CustomerMedia("image", "a.png", f"mxc://h/{self.events}")
        content = self.random.choice([{}, {"queue": 1}, {"x": 1}, {"start": "on_command"}])
        options: list[tuple[int, Meaning]] = [
            (3, Invited(self.event_id(), who, ours, self.random.random() < 0.7)),
            (1, MemberJoined(who)),
            (1, MemberGone(self.random.choice([who, ours]), who)),
            (20, Spoke(self.event_id(), who, CustomerText(text), plain=text)),
            (4, Spoke(self.event_id(), who, media, plain=self.random.choice(["", "look"]))),
            (3, Unreadable(self.event_id(), who, "unreadable.kind")),
            (2, RoomConfigured(self.event_id(), who, content)),
            (1, EncryptionOn()),
            (1, Upgraded("!new:example.org")),
            (1, Nothing()),
        ]
        return self.random.choices([one for _, one in options], [w for w, _ in options])[0]

    def receive(self, meaning: Meaning, raw: dict[str, object]) -> None:
        """One event, and what has to be true of it afterwards."""
        house = self.house
        before = house.membership
        house.visit.effects.clear()
        facts = Facts(self.random.choice(list(Standing)), self.random.randrange(4))
        receive(house.visit, meaning, raw, house.now, facts)
        self.render()
        if not isinstance(meaning, Spoke | Unreadable) or meaning.sender != ADA:
            return
        if before in {Membership.JOINED, Membership.ENTERING}:
            parked = meaning.event_id in {one.get("event_id") for one in house.record.parked}
            heard = parked or meaning.event_id in {*house.reported, *house.carried}
            answered = isinstance(meaning, Spoke) and self.was_command(meaning)
            assert heard or answered, f"{meaning} fell on deaf ears"

    def was_command(self, spoke: Spoke) -> bool:
        """Commands are answered: in words, or by what the conversation does."""
        if not isinstance(spoke.content, CustomerText) or spoke.plain in {"hello", " "}:
            return False
        return bool(self.house.effects) or spoke.plain in {"close", "cancel", "rate 5 thanks"}

    def render(self) -> None:
        for effect in self.house.effects:
            if isinstance(effect, Say | Reported):
                for language in LANGUAGES:
                    self.texts.render(language, effect.key, {"prefix": "!wc", **effect.args})

    def enter(self, parked: dict[EventId, Meaning]) -> None:
        config = self.random.choice([None, {}, {"queue": 99}])
        entry = Entered(encrypted=self.random.random() < 0.2, config=config)
        for raw in self.house.enter(entry):
            self.receive(parked[EventId(str(raw["event_id"]))], raw)
        self.render()


@pytest.mark.parametrize("seed", range(20))
def test_nobody_speaks_to_deaf_ears(seed: int) -> None:
    guests = Guests(seed)
    seen: dict[EventId, Meaning] = {}
    for _ in range(500):
        guests.house.now += guests.random.randrange(20_000)
        if guests.random.random() < 0.05:
            guests.enter(seen)
            continue
        if guests.random.random() < 0.01:
            entry_failed(guests.house.visit, EntryFailed())
            continue
        meaning = guests.meaning()
        event_id = getattr(meaning, "event_id", None)
        if event_id is not None:
            seen[event_id] = meaning
        guests.receive(meaning, {"event_id": event_id})
