"""How events change a room: invitations, joins, messages, commands, configuration."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest

from bridge.config.model import Permission
from bridge.conversation.model import (
    Args,
    Card,
    Conversation,
    CustomerMedia,
    CustomerText,
    Queued,
    Reported,
    Requesting,
    Say,
)
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, QueueId, UserId
from bridge.rooms.effects import Decline, EnterRoom, LeaveRoom, ShowBridge, ShowSettings
from bridge.rooms.people import GREET_AFTER, PARKED_LIMIT, Standing, due, entered, entry_failed
from bridge.rooms.ports import (
    AgentInvited,
    EncryptionOn,
    Meaning,
    MemberGone,
    Nothing,
    Reacted,
    RoomConfigured,
    Spoke,
    Unreadable,
)
from bridge.rooms.reader import Facts, needs_standing, read_command, receive
from bridge.rooms.record import Entered, Membership, Raw, RoomSettings
from bridge.rooms.rules import Rules
from bridge.rooms.visit import Visit
from bridge.texts import LANGUAGES, Texts, nearest
from tests.unit.rooms.guests import Guests
from tests.unit.rooms.visits import ADA, BOT, NEIGHBOUR, RULES, SALES_USER, STRANGER, House, answer

MEI = UserId("@webchat_k00017:example.org")

# --- invitations and joins ------------------------------------------------------------------------


def test_an_invitation_is_accepted() -> None:
    house = House()
    house.invite()
    assert house.effects == [EnterRoom(BOT, ADA)]
    assert house.membership() is Membership.ENTERING
    house.enter(Entered(displayname="Ada L."))
    assert house.membership() is Membership.JOINED
    assert house.record.customer == ADA
    assert house.record.displayname == "Ada L."
    assert house.notices == ["room.welcome"]


@pytest.mark.parametrize(("direct", "greeting"), [(True, []), (False, ["room.welcome_shared"])])
def test_who_has_asked_already_is_not_greeted(direct: bool, greeting: list[str]) -> None:
    """In a shared room they are, as people have to know who reads along."""
    house = House()
    house.invite(direct=direct)
    house.say("where is my parcel?")
    parked = house.enter(Entered(direct=direct))
    assert len(parked) == 1
    assert house.notices == greeting


def test_a_customer_who_writes_soon_after_the_join_is_not_greeted() -> None:
    """Apps create the room first, and send the question once they see it."""
    house = House()
    house.invite()
    entered(house.visit, Entered(), Standing.ORDINARY)
    assert house.notices == []
    assert due(house.record) == house.now + GREET_AFTER
    house.say("where is my parcel?")
    assert due(house.record) is None
    house.silence()
    assert house.notices == []
    assert len(house.carried) == 1


def test_a_second_invitation_at_once_is_greeted_once() -> None:
    house = House()
    house.invite()
    entered(house.visit, Entered(), Standing.ORDINARY)
    house.receive(MemberGone(ADA))
    house.invite(direct=False)
    house.enter(Entered(direct=False))
    assert house.notices == ["room.welcome_shared"]


def test_a_room_of_two_is_direct_even_if_its_invitation_does_not_say_so() -> None:
    house = House()
    house.invite(direct=False)
    house.enter(Entered(direct=True))
    assert house.notices == ["room.welcome"]


@pytest.mark.parametrize(
    ("by", "rooms", "key", "reason", "why"),
    [
        (NEIGHBOUR, 0, "refused.permission", "没有使用本服务的权限", "permissions gives none"),
        (ADA, 2, "refused.too_many_rooms", "每人最多 2 个房间", "limits.rooms_per_user is reached"),
    ],
)
def test_a_refused_invitation_says_why(
    by: UserId, rooms: int, key: str, reason: str, why: str
) -> None:
    house = House()
    house.invite(by, rooms=rooms)
    house.say("hello", by)
    assert house.enter() == ()
    assert house.notices == [key]
    leave = house.effects[-1]
    assert isinstance(leave, LeaveRoom)
    assert (leave.users, leave.inviter) == ((BOT,), by)
    assert reason in leave.reason
    assert why in leave.why
    assert house.membership() is Membership.LEFT
    assert house.record.customer == by


def test_the_invitation_of_another_servers_stranger_is_declined_without_joining() -> None:
    """A join of a room of that server's choice may cost the homeserver minutes."""
    house = House()
    house.invite(STRANGER)
    (leave,) = house.effects
    assert isinstance(leave, LeaveRoom)
    assert (leave.users, leave.inviter) == ((BOT,), STRANGER)
    assert "没有使用本服务的权限" in leave.reason
    assert leave.why == "bridge.permissions gives none"
    assert house.membership() is Membership.NONE


def test_the_invitation_of_an_ignored_user_is_declined_without_a_notice() -> None:
    house = House(msgspec.structs.replace(RULES, permission=lambda user: Permission.IGNORED))
    house.invite()
    why = "bridge.permissions gives ignore"
    assert house.effects == [LeaveRoom((BOT,), inviter=ADA, why=why)]
    assert house.membership() is Membership.NONE


@pytest.mark.parametrize(
    ("ages", "minutes"), [((50, 30, 10), 10), ((59, 50, 30, 10), 10), ((60, 0, 0), 1)]
)
def test_who_has_begun_too_many_rooms_is_told_when_there_may_be_another(
    ages: tuple[int, ...], minutes: int
) -> None:
    """Minutes since each of the rooms was begun; three an hour are allowed."""
    house = House()
    house.invite(begun=tuple(house.now - 60_000 * age for age in ages))
    house.enter()
    _, said, leave = house.effects
    assert said == Say("refused.too_many_new_rooms", {"limit": 3, "left": f"{minutes} 分钟"})
    assert isinstance(leave, LeaveRoom)
    assert leave.why == "bridge.limits.new_rooms_per_hour is reached"
    assert "3" in leave.reason


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Entered(muted=True), "抱歉，我在本房间没有发言权限。请允许我发送消息，然后再邀请我。"),
        (
            Entered(encrypted=True, unreadable=True),
            "抱歉，我不支持本房间的加密方式。请与我新建一个聊天。",
        ),
    ],
    ids=["muted", "unreadable"],
)
def test_a_room_in_which_the_bot_cannot_write_is_left_with_the_reason(
    entry: Entered, reason: str
) -> None:
    """Its answers would be refused, and the agents'."""
    house = House()
    house.invite()
    house.say("hello")
    assert house.enter(entry) == ()
    leave = house.effects[-1]
    assert isinstance(leave, LeaveRoom)
    assert leave.reason == reason
    assert house.membership() is Membership.LEFT
    house.invite()
    house.enter()
    assert house.membership() is Membership.JOINED


def test_the_limit_of_rooms_at_a_time_is_told_first() -> None:
    house = House()
    house.invite(rooms=2, begun=(house.now,) * 3)
    house.enter()
    assert house.notices == ["refused.too_many_rooms"]
    house.invite(begun=(house.now,) * 2)
    assert house.record.refusal == ""
    assert house.record.refused_until == 0


def test_the_first_messages_are_served_in_the_rooms_order() -> None:
    """Element sends them before anybody has joined; they may come in any order."""
    house = House()
    house.invite()
    second, first, third = house.say("two"), house.say("one"), house.say("three")
    assert house.carried == []
    parked = house.enter(Entered(order=(first, second)))
    assert [raw["event_id"] for raw in parked] == [first, second, third]
    assert house.record.parked == ()


def test_messages_beyond_the_limit_of_parked_events_are_reported() -> None:
    house = House()
    house.invite()
    for _ in range(PARKED_LIMIT):
        house.say("hello")
    assert house.reported == {}
    event = house.say("one more")
    assert house.reported == {event: "undelivered.too_many"}
    house.receive(RoomConfigured(house.event_id(), ADA, {"start": "on_command"}))
    house.receive(EncryptionOn())
    assert house.reported == {event: "undelivered.too_many"}, "of people's words alone"
    assert len(house.record.parked) == PARKED_LIMIT


def test_long_events_are_parked_up_to_a_megabyte() -> None:
    house = House()
    house.invite()
    for number in range(30):
        spoke = Spoke(EventId(f"${number}"), ADA, CustomerText("x"))
        raw: Raw = {"event_id": spoke.event_id, "content": "x" * 60_000}
        receive(house.visit, spoke, raw, Facts(house.now), command=None)
    assert len(house.record.parked) == 17
    assert set(house.reported) == {f"${number}" for number in range(17, 30)}


def test_an_invitation_to_a_joined_room_is_accepted_again() -> None:
    """A homeserver that crashed may never have delivered the bot's removal."""
    house = House().served()
    house.invite()
    assert house.effects == [EnterRoom(BOT, ADA)]
    house.visit.effects.clear()
    house.invite()
    assert house.effects == [], "we are on our way"


def drawing(secret: str) -> Rules:
    return msgspec.structs.replace(RULES, login_key=lambda room: f"{secret} of {room}")


def test_a_new_room_is_given_a_key_for_its_login_names_and_keeps_it() -> None:
    house = House(drawing("one"))
    house.invite()
    assert house.record.key == "one of !room:example.org"
    house.enter()
    house.receive(MemberGone(BOT))
    house.visit = Visit(house.record, drawing("two"), house.now)
    house.invite()
    assert house.record.key == "one of !room:example.org"


@pytest.mark.parametrize("membership", [Membership.ENTERING, Membership.JOINED, Membership.LEFT])
def test_a_room_older_than_login_keys_gets_none(membership: Membership) -> None:
    house = House(drawing("one"))
    house.visit.set(membership=membership)
    house.invite()
    assert house.record.key == ""


def test_a_second_invited_bridge_user_leaves_a_served_room() -> None:
    house = House().served()
    house.invite(whom=SALES_USER)
    assert house.effects == [LeaveRoom((SALES_USER,)), Say("room.host_here")]


@pytest.mark.parametrize(
    ("by", "said"), [(ADA, f"请直接与 {BOT} 聊天"), (STRANGER, f"{STRANGER} 没有使用本服务的权限")]
)
def test_the_inviter_of_a_ghost_is_told_where_to_write(by: UserId, said: str) -> None:
    house = House()
    house.receive(AgentInvited(EventId("$i"), by, MEI))
    (decline,) = house.effects
    assert isinstance(decline, Decline)
    assert (decline.event_id, decline.user) == ("$i", MEI)
    assert said in decline.reason
    assert house.membership() is Membership.NONE


def test_a_ghost_speaks_to_a_customer_in_a_direct_room_without_the_bot() -> None:
    served = House().served()
    for house, by, direct in [
        (House(), ADA, True),
        (House(), ADA, False),
        (House(), STRANGER, True),
        (served, ADA, True),
    ]:
        house.effects.clear()
        house.receive(AgentInvited(EventId("$i"), by, MEI, direct))
        (decline,) = house.effects
        assert isinstance(decline, Decline)
        speaks = decline.enterprise is not None
        assert speaks == (direct and by == ADA and house is not served)


def test_an_ignored_user_who_invites_a_ghost_gets_no_answer() -> None:
    rules = msgspec.structs.replace(RULES, permission=lambda user: Permission.IGNORED)
    house = House(rules)
    house.receive(AgentInvited(EventId("$i"), ADA, MEI))
    assert house.effects == []


def test_an_invited_ghost_is_not_declined_while_a_chat_runs() -> None:
    house = House().served()
    house.receive(AgentInvited(EventId("$1"), ADA, MEI))
    assert [type(one) for one in house.effects] == [Decline]
    house.chat().effects.clear()
    house.receive(AgentInvited(EventId("$2"), ADA, MEI))
    assert house.effects == []


def test_a_room_that_cannot_be_entered_may_invite_again() -> None:
    house = House()
    house.invite()
    house.say("hello")
    entry_failed(house.visit)
    assert house.membership() is Membership.LEFT
    house.invite(whom=SALES_USER)
    assert house.membership() is Membership.ENTERING
    assert house.record.host == SALES_USER
    assert house.record.parked == ()


def test_the_outcome_of_a_join_changes_nothing_in_a_joined_room() -> None:
    house = House().served()
    entry_failed(house.visit)
    assert house.enter() == ()
    assert house.membership() is Membership.JOINED
    assert house.effects == []


def test_configuration_found_on_joining_is_applied() -> None:
    house = House()
    house.invite()
    house.enter(Entered(config={"queue": 1, "language": "en"}))
    assert house.record.settings.queue == QueueId(1)
    assert house.notices == ["config.taken", "room.welcome"]


@pytest.mark.parametrize(
    ("standing", "said"),
    [(Standing.ORDINARY, "refused.not_admin"), (Standing.UNKNOWN, "refused.standing_unknown")],
)
def test_configuration_by_a_non_admin_is_refused_on_joining(standing: Standing, said: str) -> None:
    house = House()
    house.invite()
    house.enter(Entered(config={"queue": 1, "language": "en"}), standing)
    assert house.record.settings == RoomSettings()
    assert house.notices == [said, "room.welcome"]


def test_a_configuration_that_changes_nothing_is_not_refused() -> None:
    house = House()
    house.invite()
    house.visit.set(settings=RoomSettings(queue=QueueId(1)))
    house.enter(Entered(config={"queue": 1}), Standing.ORDINARY)
    assert house.record.settings == RoomSettings(queue=QueueId(1))
    assert house.notices == ["room.welcome"]


def test_an_invalid_configuration_of_a_non_admin_is_not_explained() -> None:
    house = House()
    house.invite()
    house.enter(Entered(config={"queue": 99}), Standing.ORDINARY)
    assert house.notices == ["refused.not_admin", "room.welcome"]


def test_an_encrypted_room_is_told() -> None:
    house = House()
    house.invite()
    house.enter(Entered(encrypted=True))
    assert house.notices == ["encrypted.unsupported"]
    house.receive(EncryptionOn())
    assert house.notices == ["encrypted.unsupported"]
    house.receive(Unreadable(EventId("$x"), ADA, "unreadable.encrypted"))
    assert house.reported == {EventId("$x"): "unreadable.encrypted"}


def test_a_call_is_answered_once_although_it_is_announced_twice() -> None:
    house = House().served()
    for after in (0, 1_000, 30_000):
        house.visit.now += after
        house.receive(Unreadable(house.event_id(), ADA, "unreadable.call"))
    assert [*house.reported.values()] == ["unreadable.call"] * 2, "the third is another call"


def test_a_call_that_is_announced_again_is_only_declined() -> None:
    house = House().served()
    for rings in (Args(), Args(rings=1)):
        house.receive(Unreadable(house.event_id(), ADA, "unreadable.call", rings))
    told = [one.args for one in house.visit.effects if isinstance(one, Reported)]
    assert told == [{}, {"rings": 1, "told": 1}]


def test_a_room_that_becomes_encrypted_is_told() -> None:
    house = House().served()
    house.receive(EncryptionOn())
    assert house.notices == ["encrypted.unsupported"]
    assert house.record.encrypted


# --- messages -------------------------------------------------------------------------------------


def test_the_last_customer_who_wrote_is_remembered() -> None:
    house = House().served(direct=False)
    bob = UserId("@bob:example.org")
    house.say("hello", by=bob)
    house.say("hello", by=STRANGER)
    assert (house.record.customer, house.record.speaker) == (ADA, bob)


def test_messages_go_to_the_conversation() -> None:
    house = House().served()
    event = house.say("hello")
    assert house.carried == [event]


def test_a_caption_goes_with_its_file() -> None:
    house = House().served()
    media = CustomerMedia("image", "a.png", "mxc://example.org/1")
    house.receive(Spoke(EventId("$m"), ADA, media, plain="look"))
    pieces = [piece.content for piece in all_pieces(house.record.conversation)]
    assert pieces == [media, CustomerText("look")]


def test_a_message_of_somebody_without_permission_is_reported() -> None:
    house = House().served(direct=False)
    event = house.say("hello", STRANGER)
    assert house.reported == {event: "refused.permission"}
    assert house.carried == []


def test_messages_in_a_paused_room_are_reported() -> None:
    house = House().served()
    house.say("pause", standing=Standing.ADMIN)
    event = house.say("hello")
    assert house.reported == {event: "undelivered.paused"}
    house.say("resume", standing=Standing.ADMIN)
    assert house.carried == []
    assert house.say("hello again") in house.carried


def test_messages_beyond_the_rate_limit_are_reported() -> None:
    house = House().served()
    events = [house.say(f"word {number}") for number in range(6)]
    assert house.reported == {events[5]: "undelivered.too_fast"}
    house.now += 60_000
    assert house.say("later") in house.carried


def test_every_file_of_a_gallery_counts() -> None:
    house = House().served()
    picture = CustomerMedia("image", "a.png", "mxc://h/a")
    four = msgspec.structs.replace(picture, more=(picture,) * 3)
    house.receive(Spoke(EventId("$four"), ADA, four))
    house.receive(Spoke(EventId("$more"), ADA, four))
    assert house.reported == {EventId("$more"): "undelivered.too_fast"}
    assert set(house.carried) == {EventId("$four")}
    assert house.say("a fifth message") in house.carried


def test_processes_whose_clocks_differ_count_messages_together() -> None:
    house = House().served()
    house.now = 60_000_000 - 1000
    events = []
    for turn in range(60):  # by turns, before and after a full minute
        house.now += -2000 if turn % 2 else 2000
        events.append(house.say(f"word {turn}"))
    assert house.carried == events[:5]


def test_messages_are_accepted_after_the_clock_was_set_back() -> None:
    house = House().served()
    for _ in range(6):
        house.say("hello")
    house.now -= 120_000
    assert house.say("hello again") in house.carried


def test_commands_that_come_too_fast_are_answered_once_a_minute() -> None:
    house = House().served()
    for _ in range(2):
        house.visit.effects.clear()
        for _ in range(20):
            house.say("status")
        told = [one.key for one in house.effects if isinstance(one, Say)]
        assert (len(told), told[-1]) == (6, "refused.too_fast")
        assert house.reported == {}
        assert house.say("words") in house.reported
        house.now += 60_000


def test_a_command_behind_too_many_messages_is_answered_all_the_same() -> None:
    house = House().served()
    for number in range(20):
        house.say(f"word {number}")
    house.visit.effects.clear()
    for _ in range(2):
        house.say("close")
    assert [one.key for one in house.effects if isinstance(one, Say)] == ["refused.too_fast"]


def test_reactions_that_come_too_fast_are_answered_once_a_minute() -> None:
    house = House().served()
    asked = house.say("hello")
    house.visit.effects.clear()
    for number in range(20):
        house.receive(Reacted(EventId(f"$r{number}"), ADA, asked, "👍"))
    assert [one.key for one in house.effects if isinstance(one, Say)] == ["refused.too_fast"]


def test_settings_by_state_event_count_towards_the_rate_limit() -> None:
    """Beyond it the former settings stay, and each event is replaced by them."""
    house = House().served()
    for number in range(20):
        content: dict[str, object] = {"from": "PC", "queue": 9 if number else 1}
        house.receive(RoomConfigured(EventId(f"$s{number}"), ADA, content), Standing.ADMIN)
    told = [one.key for one in house.effects if isinstance(one, Say)]
    assert told == ["config.taken", *["config.bad_queue"] * 4, "refused.too_fast"]
    assert house.effects.count(ShowSettings()) == 15
    house.say("words")
    assert "undelivered.too_fast" in house.reported.values()
    house.now += 60_000
    house.receive(RoomConfigured(EventId("$later"), ADA, {"from": "WECHAT"}), Standing.ADMIN)
    assert house.record.settings.source == "WECHAT"


@pytest.mark.parametrize(("whom", "direct"), [(SALES_USER, True), (BOT, False)])
def test_the_prefix_is_needed_except_in_a_direct_bot_chat(whom: UserId, direct: bool) -> None:
    house = House().served(whom, direct=direct)
    assert house.say("help") in house.carried
    house.say("!wc help")
    assert house.notices == ["command.help"]
    house.say("!wc hlep")
    assert house.notices[-1] == "command.unknown_near"


# --- language -------------------------------------------------------------------------------------


def language_in(house: House) -> str:
    return house.visit.rules.language_for(house.record)


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["请问在吗"], "zh-CN"),
        (["4711", "請問有人嗎"], "zh-TW"),
        (["Hello"], "en"),
        (["OK"], "zh-CN"),  # too few letters
        (["hi", "it is late"], "en"),
        (["hi", "荷物が届きません", "请问"], "ja"),
        (["4711"], "zh-CN"),
        (["help"], "zh-CN"),  # the same word in every language
        (["帮助"], "zh-CN"),
        (["幫助", "hello"], "zh-TW"),
        (["你好", "OK", "請問", "嗎", "请问"], "zh-TW"),  # the first clear variant stays
        (["予約確認", "お願いします", "请问"], "ja"),
        (["hi", "你好", "hello"], "zh-CN"),
        (["I have a question about my invoice", "李明", "!wc 状态"], "en"),  # a name is no language
        (["I have a question about my invoice", "我想问发票"], "zh-CN"),
        (["hello", "I have a question about my invoice", "李明"], "en"),
        (["我的打印机", "cannot connect to the printer"], "zh-CN"),  # quoted
        (["有人吗", "!wc help me with this"], "zh-CN"),
    ],
)
def test_a_room_follows_its_customers_words(texts: list[str], language: str) -> None:
    house = House().served()
    for text in texts:
        house.say(text)
    assert language_in(house) == language


@pytest.mark.parametrize(("phase", "keys"), [(Queued, ["queue.position"]), (Requesting, [])])
def test_the_card_of_a_queue_follows_at_once(
    phase: type[Queued | Requesting], keys: list[str]
) -> None:
    house = House(msgspec.structs.replace(RULES, language="en")).served()
    place = phase(QueueId(1), house.now)
    if isinstance(place, Queued):
        place = msgspec.structs.replace(place, position=2)
    house.visit.set(conversation=Conversation(phase=place))
    house.say("4711")
    house.say("請問有人嗎")
    house.say("好的")
    assert [one.key for one in house.visit.effects if isinstance(one, Card)] == keys


def test_a_language_that_somebody_chose_stays() -> None:
    house = House().served()
    house.say("lang ja", standing=Standing.ADMIN)
    house.say("Hello, is anybody there?")
    assert language_in(house) == "ja"
    house.say("config reset", standing=Standing.ADMIN)
    assert language_in(house) == "en", "what was written is remembered all the same"


@pytest.mark.parametrize(
    "text",
    [
        "!wc config set text.greeting 您好！请留言，我们会尽快回复",
        "!wc lang 日本語",
        "!wc queue set 售后服务",
        "!wc config 您好，设置一下",
        "!wc hours set 周一至周五九点到六点",
        "lang 日本語",
    ],
)
def test_the_value_of_a_setting_does_not_change_the_detected_language(text: str) -> None:
    house = House(msgspec.structs.replace(RULES, language="en")).served()
    house.say(text, standing=Standing.ADMIN)
    house.visit.set(settings=RoomSettings())
    assert language_in(house) == "en"
    house.say("!wc 设置 查看", standing=Standing.ADMIN)
    assert language_in(house) == "zh-CN", "a command's own word does"


def test_messages_without_permission_do_not_change_the_language() -> None:
    house = House().served(direct=False)
    house.say("hello", STRANGER)
    assert language_in(house) == "zh-CN"


@pytest.mark.parametrize(
    ("prepare", "direct", "also", "lang"),
    [
        (lambda _: None, True, "room.languages", "lang"),
        (lambda _: None, False, "room.languages", "!wc lang"),
        (lambda house: house.say("hello"), False, "", "!wc lang"),  # the message tells it
        (lambda house: house.visit.set(settings=RoomSettings(language="ja")), True, "", "lang"),
        (lambda house: house.visit.set(language=(1, "en")), True, "", "lang"),
    ],
    ids=["no word yet", "shared", "words came along", "chosen", "known"],
)
def test_a_greeting_before_any_word_says_how_to_change_the_language(
    prepare: Callable[[House], object], direct: bool, also: str, lang: str
) -> None:
    house = House()
    house.invite(direct=direct)
    prepare(house)
    house.visit.effects.clear()
    house.enter(Entered(direct=direct))
    (greeting,) = (one for one in house.effects if one != ShowBridge())
    assert isinstance(greeting, Say)
    assert (greeting.also, greeting.args["lang"]) == (also, lang)
    for language in LANGUAGES:
        tail = Texts().render(language, "room.languages", greeting.args)
        assert {*map(nearest, re.findall(rf"{lang} (\S+)", tail)), language} == set(LANGUAGES)


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
def test_the_configuration_state_event_of_an_admin(content: dict[str, object], key: str) -> None:
    house = House().served()
    before = house.record.settings
    house.receive(RoomConfigured(EventId("$c"), ADA, content), Standing.ADMIN)
    assert house.notices == [key]
    assert answer(house)[1].get("key") in {None, *content}, "as in the event, in any language"
    assert (house.record.settings == before) is (key != "config.taken")


def test_the_configuration_state_event_of_a_non_admin_is_refused() -> None:
    house = House().served()
    house.receive(RoomConfigured(EventId("$c"), ADA, {"queue": 1}))
    assert house.notices == ["refused.not_admin"]
    house.visit.admins = (UserId("@bob:example.org"),)
    house.receive(RoomConfigured(EventId("$d"), ADA, {"queue": 1}))
    assert answer(house) == ("refused.not_admin_named", {"names": ("bob",)})


def test_a_refusal_does_not_name_an_ignored_bot_as_admin() -> None:
    bot, bob = UserId("@hookshot:example.org"), UserId("@bob:example.org")
    serves = {bot: Permission.IGNORED}
    rules = msgspec.structs.replace(
        RULES, permission=lambda user: serves.get(UserId(user), Permission.CUSTOMER)
    )
    for admins, key in (((bot, bob), "refused.not_admin_named"), ((bot,), "refused.not_admin")):
        house = House(rules).served(direct=False)
        house.visit.admins = admins
        house.say("!wc pause")
        assert answer(house) == (key, {"names": ("bob",) if bob in admins else ()})


def test_a_state_event_that_changes_nothing_is_not_answered() -> None:
    house = House().served()
    house.receive(RoomConfigured(EventId("$c"), ADA, {}), Standing.ADMIN)
    assert house.effects == [ShowSettings()]


def standing_for(visit: Visit, meaning: Meaning) -> UserId | None:
    return needs_standing(visit, meaning, read_command(visit, meaning))


def test_which_events_need_the_senders_power_level() -> None:
    house = House().served()
    configured = RoomConfigured(EventId("$c"), ADA, {})
    order = Spoke(EventId("$o"), ADA, CustomerText("x"), plain="!wc pause")
    word = Spoke(EventId("$w"), ADA, CustomerText("x"), plain="hello")
    assert standing_for(house.visit, configured) == ADA
    assert standing_for(house.visit, order) == ADA
    assert standing_for(house.visit, word) is None
    assert standing_for(house.visit, Nothing()) is None
    assert standing_for(House().visit, configured) is None


LOOKED_AT = ("config show", "queue show", "queue list", "hours show", "status", "audit", "stats")
"""Commands that only show something."""


@pytest.mark.parametrize("words", LOOKED_AT)
def test_a_room_admin_need_not_be_a_customer_to_look_at_settings(words: str) -> None:
    order = Spoke(EventId("$o"), STRANGER, CustomerText("x"), plain=f"!wc {words}")
    house = House().served(direct=False)
    assert standing_for(house.visit, order) == STRANGER
    house.receive(order, Standing.ADMIN)
    assert house.reported == {}
    assert house.effects
    house.visit.effects.clear()
    house.receive(order, Standing.ORDINARY)
    assert house.reported == {EventId("$o"): "refused.permission"}


@pytest.mark.parametrize("words", ["start", "close", "cancel", "rate 5", "retry", "transcript"])
def test_a_room_admin_who_is_no_customer_has_no_chat_commands(words: str) -> None:
    order = Spoke(EventId("$o"), STRANGER, CustomerText("x"), plain=f"!wc {words}")
    house = House().served(direct=False)
    assert standing_for(house.visit, order) is None
    house.receive(order, Standing.ADMIN)
    assert house.reported == {EventId("$o"): "refused.permission"}


@pytest.mark.parametrize("words", ["config show", "status"])
def test_a_customers_query_needs_no_power_level(words: str) -> None:
    order = Spoke(EventId("$o"), ADA, CustomerText("x"), plain=f"!wc {words}")
    assert standing_for(House().served().visit, order) is None


# --- random events --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_every_customers_message_is_sent_parked_reported_or_answered(seed: int) -> None:
    guests = Guests(seed)
    for _ in range(500):
        guests.do_anything()
