"""Commands in a room: what they do and answer, and which texts are customers' messages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from bridge.config.model import Permission
from bridge.conversation.model import (
    Callback,
    CallWebChat,
    Chatting,
    Conversation,
    Ended,
    Idle,
    Phase,
    Queued,
    Rating,
    Requesting,
    Say,
)
from bridge.conversation.queue import callback_wanted
from bridge.conversation.turn import Policy
from bridge.ids import AgentId, EventId, QueueId, SessionId
from bridge.rooms.cards import FRESH
from bridge.rooms.commands import COMMANDS, TRANSCRIPT_EVERY, Reading, parse
from bridge.rooms.effects import SendTranscript, TellHistory
from bridge.rooms.people import Standing
from bridge.rooms.ports import Withdrew
from bridge.rooms.record import Chat, ChatAgent, Membership, RoomSettings
from bridge.texts import LANGUAGES
from bridge.webchat.codes import RobotUse
from tests.unit.rooms.visits import ADA, RULES, STRANGER, House, answer


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("help", "command.help"),
        ("version", "command.version"),
        ("status", "command.status_idle"),
        ("queue show", "command.queue"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "!wc "])
def test_commands_that_only_ask_are_answered(text: str, key: str, prefix: str) -> None:
    house = House().served()
    house.say(prefix + text)
    assert answer(house)[0] == key


# --- help ---------------------------------------------------------------------------------------

QUIET = Conversation()
WAITS = Conversation(phase=Queued(QueueId(2), 1))
TALKS = Conversation(phase=Chatting(SessionId(5), 1, QueueId(2)))
ROBOT = Conversation(phase=Chatting(SessionId(5), 1, QueueId(2), robot=True))
WANTED = Callback(QueueId(2), wanted=1)
EVERYTHING = replace(
    RULES, robot=True, seal=lambda _, __: b"", panel_url="https://example.org/room/"
)
"""Rules with every optional feature."""
OVER = Conversation(phase=Ended(SessionId(5), since=House().now), last_session=SessionId(5))


def helped(house: House, text: str = "!wc help") -> str:
    house.say(text, standing=Standing.ADMIN)
    key, args = answer(house)
    language = house.visit.rules.language_for(house.record)
    return house.visit.rules.texts.render(language, key, args)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("conversation", "settings", "verbs"),
    [
        (QUIET, {}, "start lang history"),
        (QUIET, {"start": "on_command"}, "start lang history"),
        (QUIET, {"paused": True}, "resume status history"),
        (replace(QUIET, callback=Callback(QueueId(2))), {}, "start callback history"),
        (WAITS, {}, "cancel status callback"),
        (WAITS, {"paused": True}, "cancel status history"),
        (replace(WAITS, callback=WANTED), {}, "cancel status history"),
        (replace(QUIET, callback=WANTED), {}, "cancel status history"),
        (TALKS, {}, "status close transcript"),
        (ROBOT, {}, "human close transcript"),
        (ROBOT, {"paused": True}, "status close transcript"),
        (OVER, {}, "rate transcript history"),
        (OVER, {"start": "on_command"}, "start rate transcript"),
    ],
)
@pytest.mark.parametrize("direct", [True, False])
def test_help_is_five_lines_that_fit_the_moment(
    conversation: Conversation,
    settings: dict[str, Any],
    verbs: str,
    language: str,
    direct: bool,
) -> None:
    house = House().served(direct=direct)
    chosen = RoomSettings(language=language, **settings)
    house.visit.set(conversation=conversation, settings=chosen)
    first, *lines = helped(house).splitlines()
    assert len(lines) == 4
    assert first.strip()
    bare = direct and conversation is not TALKS and not isinstance(conversation.phase, Chatting)
    for line, verb in zip(lines, [*verbs.split(), "help"], strict=True):
        word = dict(zip(("en", "zh-CN", "zh-TW", "ja"), words_of(verb), strict=False))[language]
        assert line.startswith(f"{word} " if bare else f"!wc {word} "), line
        written = line.split(" — ")[0]
        meant = parse(written, "!wc", prefix_needed=False)
        assert meant is None or meant.verb == verb, "what it shows is understood"
    assert "all" in lines[-1] or "全部" in lines[-1] or "すべて" in lines[-1]


@pytest.mark.parametrize(("first", "named"), [("help", True), ("帮助", False)])
def test_help_names_the_languages_until_one_is_known(first: str, *, named: bool) -> None:
    """The default is Chinese; "help" is written by speakers of any language."""
    house = House().served()
    assert ("\nEnglish: lang English · " in helped(house, first)) is named
    assert "lang English" not in helped(house, f"{first} all"), "there each has its usage"
    house.visit.set(language=(1, "en"))
    assert "\nlang <zh-CN|" in helped(house)


def test_help_and_status_while_the_chat_ends_say_so() -> None:
    house = House().served()
    closing = Chatting(SessionId(5), 1, QueueId(2), close=True)
    house.visit.set(conversation=Conversation(phase=closing))
    assert helped(house).startswith("本次对话正在结束。")
    house.say("!wc status")
    assert answer(house)[0] == "start.ending"
    house.visit.set(conversation=Conversation(phase=closing, trouble_since=1))
    house.say("!wc status")
    assert answer(house)[0] == "close.away"


def words_of(verb: str) -> list[str]:
    return [verb, *COMMANDS[verb].names.split()[:3]]


@pytest.mark.parametrize("text", ["!wc help", "!wc help all"])
@pytest.mark.parametrize("conversation", [QUIET, WAITS, TALKS, OVER])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"paused": True}, "This room is paused at the moment."),
        ({"start": "on_command"}, None),
        ({}, None),
    ],
)
def test_help_invites_to_write_only_where_messages_are_sent(
    text: str, conversation: Conversation, settings: dict[str, Any], says: str | None
) -> None:
    house = House().served()
    house.visit.set(conversation=conversation, settings=RoomSettings(language="en", **settings))
    first = helped(house, text).splitlines()[0]
    assert first == says or says is None
    listens = conversation in {WAITS, TALKS} or not settings
    assert listens or "Just write" not in first
    assert listens or "What you write" not in first


def test_help_promises_no_agent_where_nobody_was_there_and_tells_of_the_robot() -> None:
    house = House().served()
    offered = replace(QUIET, callback=Callback(QueueId(2)))
    house.visit.set(conversation=offered, settings=RoomSettings(language="en"))
    assert helped(house).startswith("Nobody was there when you last asked. Write, and we ask again")
    first = replace(RULES, policy=replace(RULES.policy, robot=RobotUse.FIRST))
    house.visit.rules = first
    assert helped(house).startswith("Hello! Just ask: a robot answers first.")
    house.visit.set(settings=RoomSettings(language="en", start="on_command"))
    assert helped(house).startswith("Hello! Just ask: "), "any message goes to the robot"


def test_help_while_a_callback_is_promised_says_how_to_end_it() -> None:
    house = House().served()
    house.say("callback")
    assert "取消" in helped(house)
    elsewhere = replace(QUIET, callback=replace(WANTED, queue_id=QueueId(1)))
    house.visit.set(conversation=elsewhere, settings=RoomSettings(language="en"))
    assert helped(house).startswith("You will be told here as soon as an agent of Sales is there.")


@pytest.mark.parametrize("text", ["help all", "帮助 全部", "!wc help all", "!wc ヘルプ すべて"])
def test_help_all_names_every_command(text: str) -> None:
    house = House(EVERYTHING).served()
    house.visit.set(settings=RoomSettings(language="en"))
    lines = helped(house, text).splitlines()[1:]
    assert [line.split(" ")[0] for line in lines] == list(COMMANDS)
    for verb, line in zip(COMMANDS, lines, strict=True):
        row = COMMANDS[verb]  # a command that only admins may give is shown to nobody else
        assert ("room admins" in line) is (row.for_admins(("set",)) and not row.for_admins(()))


@pytest.mark.parametrize("text", ["!wc help hours", "!wc 帮助 营业时间", "!wc ヘルプ 営業時間"])
def test_help_for_a_command_is_its_usage(text: str) -> None:
    house = House(EVERYTHING).served()
    house.visit.set(settings=RoomSettings(language="en"))
    assert helped(house, text).startswith("hours — opening hours; ")


def test_help_for_a_command_has_the_prefix() -> None:
    """Without it the words may be for an agent: "help login", "帮助 人工"."""
    assert parse("help hours", "!wc", prefix_needed=False) is None
    assert parse("!wc help me", "!wc", prefix_needed=True) == Reading("help", fault="usage.help")


@pytest.mark.parametrize(("paused", "verbs"), [(False, "start history"), (True, "status history")])
def test_help_offers_a_member_no_command_of_admins(verbs: str, *, paused: bool) -> None:
    house = House().served(direct=False)
    house.visit.set(settings=RoomSettings(language="en", paused=paused))
    house.say("!wc help")
    told = str(answer(house)[1]["commands"]).splitlines()
    assert [line.split()[1] for line in told] == [*verbs.split(), "help"]


@pytest.mark.parametrize("admin", [True, False])
@pytest.mark.parametrize(
    ("rules", "verbs"),
    [
        ({"robot": False}, {"ask", "solved"}),
        ({"seal": None}, {"login", "logout"}),
        ({"policy": Policy(callback=False)}, {"callback"}),
        ({"panel_url": ""}, {"panel"}),
    ],
)
def test_help_leaves_out_what_is_switched_off(
    rules: dict[str, Any], verbs: set[str], admin: bool
) -> None:
    house = House(replace(EVERYTHING, **rules)).served()
    house.visit.set(settings=RoomSettings(language="en"))
    house.say("help all", standing=Standing.ADMIN if admin else Standing.ORDINARY)
    told = {line.split()[0] for line in str(answer(house)[1]["commands"]).splitlines()}
    theirs = {verb for verb, row in COMMANDS.items() if admin or not row.for_admins(())}
    assert told == theirs - verbs


def test_help_offers_no_callback_where_there_is_none() -> None:
    house = House(replace(RULES, policy=Policy(callback=False))).served()
    house.visit.set(conversation=WAITS, settings=RoomSettings(language="en"))
    assert "callback" not in helped(house)


@pytest.mark.parametrize(
    "text",
    [
        "help me",
        "start over please",
        "from Beijing to Berlin",
        "lang Klingon please",
        "queue set up is broken",
        "rate 5 star hotels please",
    ],
)
def test_sentences_that_look_like_commands_are_messages(text: str) -> None:
    house = House().served()
    event = house.say(text)
    assert house.carried == [event]
    assert house.notices == []


def ended_chat() -> House:
    house = House().served().chat()
    ended = Ended(SessionId(5150), since=house.now)
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=ended))
    return house


def test_rating_after_the_end_in_a_dm_with_the_bot() -> None:
    house = ended_chat()
    house.say("rate 5 thanks")
    (call,) = (one for one in house.effects if isinstance(one, CallWebChat))
    assert getattr(call.command, "rating", None) == 5
    assert getattr(call.command, "comments", None) == "thanks"


@pytest.mark.parametrize(
    ("text", "hours"), [("rate 5 is too high", 1), ("rate 9 of your shops", 0)]
)
def test_a_sentence_about_a_rate_is_no_rating(text: str, hours: int) -> None:
    house = ended_chat()
    house.visit.now += hours * FRESH
    event = house.say(text)
    assert house.carried == [event]


@pytest.mark.parametrize("hours", [0, 100])
@pytest.mark.parametrize("words", ["rate 4 thanks", "rate 4", "rate 4 谢谢", "rate 4 Thank you!"])
def test_an_unknown_rating_is_answered_and_requests_no_agent(words: str, hours: int) -> None:
    """Ratings 1 and 0, as the vendor's own apps have them."""
    house = ended_chat()
    mei = (ChatAgent(AgentId("K00017"), "Mei"),)
    chat = Chat(1, QueueId(2), 1, session_id=SessionId(5150), agents=mei)
    two = msgspec.structs.replace(house.record.conversation, ratings=((1, "good"), (0, "bad")))
    house.visit.set(conversation=two, chats=(chat,))
    house.visit.now += hours * FRESH
    house.say(words)
    assert answer(house) == ("rating.unknown", {"value": 4, "options": "1 — good\n0 — bad"})
    assert house.carried == []
    assert isinstance(house.record.conversation.phase, Ended)
    by = house.say("rate 1 thanks")
    assert house.record.conversation.rating == Rating(SessionId(5150), 1, "thanks", said_by=by)


@pytest.mark.parametrize(("number", "taken"), [(0, True), (5, True), (6, False)])
def test_a_rating_outside_the_default_scale_is_unknown(number: int, taken: bool) -> None:
    """0 may be a rating: the server has named none (trap T21)."""
    house = ended_chat()
    house.say(f"!wc rate {number} thanks")
    assert any(isinstance(one, CallWebChat) for one in house.effects) is taken
    assert ("rating.unknown" in house.notices) is not taken


def test_only_ratings_named_by_the_server_are_accepted() -> None:
    house = ended_chat()
    told = msgspec.structs.replace(house.record.conversation, ratings=((7, "fine"), (8, "good")))
    house.visit.set(conversation=told)
    house.say("!wc rate 0")
    assert answer(house) == ("rating.unknown", {"value": 0, "options": "8 — good\n7 — fine"})


@pytest.mark.parametrize("value", [1_000_001, -1, 2**63 - 1, -(2**63)])
def test_a_rating_of_the_servers_may_have_any_number(value: int) -> None:
    house = ended_chat()
    told = msgspec.structs.replace(house.record.conversation, ratings=((0, "bad"), (value, "odd")))
    house.visit.set(conversation=told)
    by = house.say(f"rate {value} thanks")
    assert house.record.conversation.rating == Rating(SessionId(5150), value, "thanks", said_by=by)


def test_the_comment_of_a_redacted_rating_is_not_sent() -> None:
    house = ended_chat()
    away = msgspec.structs.replace(house.record.conversation, retry_at=house.now + 50_000)
    house.visit.set(conversation=away)
    event = house.say("!wc rate 1 Mei was rude")
    house.receive(Withdrew(EventId("$back"), ADA, event))
    rating = house.record.conversation.rating
    assert rating is not None
    assert (rating.value, rating.comment) == (1, "")


@pytest.mark.parametrize("prefix", ["", "!wc "])
def test_a_long_number_is_taken_as_a_rating_only_with_the_prefix(prefix: str) -> None:
    house = ended_chat()
    event = house.say(f"{prefix}rate 20241201001")
    assert house.carried == ([] if prefix else [event])
    assert ("rating.unknown" in house.notices) is bool(prefix)


@pytest.mark.parametrize("phase", [Idle(), Requesting(QueueId(2), 1), Queued(QueueId(2), 1)])
def test_rate_with_a_comment_counts_while_or_after_queueing_again(phase: Phase) -> None:
    house = ended_chat()
    state = msgspec.structs.replace(
        house.record.conversation, phase=phase, last_ended_at=house.now - FRESH + 1
    )
    house.visit.set(conversation=state)
    by = house.say("rate 5 thanks")
    assert house.record.conversation.rating == Rating(SessionId(5150), 5, "thanks", said_by=by)
    house.visit.now += 1
    event = house.say("rate 4 of your shops")
    assert event in house.carried


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        (Requesting(QueueId(2), 1), "start.other_queue"),
        (Queued(QueueId(2), 1), "start.other_queue"),
        (Queued(QueueId(2), 1, cancel_by=2), "start.leaving"),
        (Queued(QueueId(1), 1), "start.already_queued"),
    ],
)
def test_start_with_another_queue_while_waiting_changes_nothing(phase: Phase, told: str) -> None:
    """The notice names the current queue and how to change; the position is kept."""
    house = House().served()
    house.visit.set(conversation=Conversation(phase=phase, number=1))
    event = house.say("start sales")
    (said,) = (one for one in house.effects if isinstance(one, Say))
    assert said.key == told
    if told == "start.other_queue":
        args = {"queue": "Returns", "other": "Sales"}
        assert (said.args, said.reply_to) == (args, event)
    assert house.record.conversation.phase == phase


def test_start_with_another_queue_during_a_callback_attempt() -> None:
    """That request is hidden; it becomes the customer's own."""
    house = House().served()
    quiet = Requesting(QueueId(2), house.now, quiet=True)
    house.visit.set(conversation=Conversation(phase=quiet, number=1))
    house.say("start sales")
    assert house.notices == ["start.already_queued"]


def test_rate_without_a_comment_rates_the_last_chat_for_ever() -> None:
    house = ended_chat()
    house.visit.now += 100 * FRESH
    house.say("rate 4")
    (call,) = (one for one in house.effects if isinstance(one, CallWebChat))
    assert getattr(call.command, "rating", None) == 4


def test_rating_during_the_chat_needs_the_prefix() -> None:
    house = House().served().chat()
    event = house.say("rate 5 thanks")
    assert event in house.carried


@pytest.mark.parametrize(("text", "queue"), [("start", 2), ("start shop", 1), ("!wc start 1", 1)])
def test_start_requests_the_default_or_the_named_queue(text: str, queue: int) -> None:
    house = House().served()
    house.say(text)
    phase = house.record.conversation.phase
    assert isinstance(phase, Requesting)
    assert phase.queue_id == queue


def test_start_with_a_queue_that_does_not_exist() -> None:
    house = House().served()
    house.say("!wc start nowhere")
    assert answer(house)[0] == "config.bad_queue"
    assert house.carried == []


def test_cancel_and_close_reach_the_conversation() -> None:
    house = House().served()
    house.say("cancel")
    house.say("close")
    assert house.notices == ["cancel.nothing", "close.nothing"]


@pytest.mark.parametrize(
    ("text", "key", "field", "value"),
    [
        ("queue set sales", "config.queue_set", "queue", 1),
        ("lang EN", "config.language_set", "language", "en"),
        ("lang zh-tw", "config.language_set", "language", "zh-TW"),
        ("lang 繁體中文", "config.language_set", "language", "zh-TW"),
        ("lang zh_Hans", "config.language_set", "language", "zh-CN"),
        ("!wc lang 日本語", "config.language_set", "language", "ja"),
        ("config set language English", "config.taken", "language", "en"),
        ("from wechat", "config.from_set", "source", "WECHAT"),
        ("pause", "config.paused", "paused", True),
        ("resume", "config.not_paused", "paused", False),
        ("config set paused ＴＲＵＥ", "config.taken", "paused", True),
        ("config set start ｏｎ＿ｃｏｍｍａｎｄ", "config.taken", "start", "on_command"),
    ],
)
def test_settings_by_command(text: str, key: str, field: str, value: object) -> None:
    house = House().served()
    house.say(text, standing=Standing.ADMIN)
    assert answer(house)[0] == key
    assert getattr(house.record.settings, field) == value


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("!wc queue set nowhere", "config.bad_queue"),
        ("!wc from TV", "config.bad_value"),
        ("!wc lang fr", "config.bad_value"),
    ],
)
def test_bad_settings_change_nothing(text: str, key: str) -> None:
    house = House().served()
    before = house.record.settings
    house.say(text, standing=Standing.ADMIN)
    assert answer(house)[0] == key
    assert house.record.settings == before


def test_a_changed_setting_is_answered_with_all_effective_settings() -> None:
    house = House().served()
    house.say("lang en", standing=Standing.ADMIN)
    shown = answer(house)[1]
    assert shown == {
        "queue": "Returns",
        "source": "PC",
        "language": "en",
        "start": "on_message",
        "paused": "no",
        "hours": "",
        "more": "",
    }
    house.say("config set hours Mon-Fri 09:00-17:00 UTC", standing=Standing.ADMIN)
    house.say("config set text.greeting hello", standing=Standing.ADMIN)
    more = "\nhours: Mon-Fri 09:00-17:00 UTC\ntext.greeting: hello"
    assert answer(house)[1]["more"] == more


@pytest.mark.parametrize(
    ("phase", "key"),
    [
        (Idle(), "config.paused"),
        (Ended(SessionId(5150)), "config.paused"),
        (Requesting(QueueId(1), 1, quiet=True), "config.paused"),
        (Requesting(QueueId(1), 1), "config.paused_meanwhile"),
        (Queued(QueueId(1), 1), "config.paused_meanwhile"),
        (Chatting(SessionId(5150), 1, QueueId(1)), "config.paused_meanwhile"),
    ],
)
def test_pause_says_whether_a_chat_goes_on(phase: Phase, key: str) -> None:
    house = House().served()
    house.visit.set(conversation=Conversation(phase=phase))
    house.say("!wc pause", standing=Standing.ADMIN)
    assert answer(house)[0] == key
    assert house.record.settings.paused


def test_resuming_a_paused_room() -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(paused=True))
    house.say("resume", standing=Standing.ADMIN)
    assert house.notices == ["config.resumed"]
    assert not house.record.settings.paused


def test_no_chat_is_started_while_paused() -> None:
    house = House().served()
    house.say("pause", standing=Standing.ADMIN)
    house.say("start")
    assert answer(house) == ("config.paused", {})
    house.say("human")
    assert house.notices == ["config.paused"] * 3
    assert house.reported == {}  # a command is no message that could be sent again


@pytest.mark.parametrize(
    ("text", "notice", "settings"),
    [
        ("config set queue sales", "config.taken", RoomSettings(queue=QueueId(1), language="en")),
        ("config set paused TRUE", "config.taken", RoomSettings(paused=True, language="en")),
        ("config set language EN", "config.shown", RoomSettings(language="en")),
        ("config reset queue", "config.shown", RoomSettings(language="en")),
        ("config reset text.ended", "config.shown", RoomSettings(language="en")),
        ("config set paused maybe", "config.bad_value", RoomSettings(language="en")),
        ("config set colour red", "config.bad_key", RoomSettings(language="en")),
        ("config reset text.colour", "config.bad_key", RoomSettings(language="en")),
        ("!wc config reset colour", "config.bad_key", RoomSettings(language="en")),
        ("config reset", "config.taken", RoomSettings()),
        ("config", "config.shown", RoomSettings(language="en")),
        ("config show", "config.shown", RoomSettings(language="en")),
        ("!wc config set queue", "usage.config", RoomSettings(language="en")),
        ("!wc config sow", "usage.config", RoomSettings(language="en")),
    ],
)
def test_config(text: str, notice: str, settings: RoomSettings) -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(language="en"))
    house.say(text, standing=Standing.ADMIN)
    assert house.notices == [notice]
    assert house.record.settings == settings


def test_only_admins_change_the_config() -> None:
    house = House().served()
    house.say("!wc config reset")
    house.say("!wc config show")
    assert house.notices == ["refused.not_admin", "config.shown"]


def test_commands_of_an_ignored_bot_are_ignored_whatever_its_power_level() -> None:
    """Bridge bots have high power levels, and others speak through them."""
    rules = replace(
        RULES,
        permission=lambda user: Permission.IGNORED if user == STRANGER else Permission.CUSTOMER,
    )
    house = House(rules).served(direct=False)
    house.say("!wc pause", by=STRANGER, standing=Standing.ADMIN)
    house.say("!wc config set queue 99", by=STRANGER, standing=Standing.ADMIN)
    assert house.effects == []
    assert not house.record.settings.paused


def test_call_back_reaches_the_conversation() -> None:
    house = House().served()
    house.say("callback")
    assert callback_wanted(house.record.conversation)
    assert house.record.membership is Membership.JOINED


def test_callback_is_refused_in_a_paused_room() -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(paused=True))
    house.say("!wc callback")
    assert answer(house)[0] == "config.paused"
    assert not callback_wanted(house.record.conversation)


def test_history_and_transcript() -> None:
    house = House().served()
    house.visit.set(conversation=Conversation(Idle(), number=3))
    first, second = house.say("history"), house.say("!wc history 20")
    third = house.say("!wc transcript 3")
    assert house.effects == [
        TellHistory(first),
        TellHistory(second, 20),
        SendTranscript(third, 3, by=ADA),
    ]
    house.say("transcript")
    assert answer(house) == ("transcript.too_soon", {})
    house.now = house.visit.now = house.now + TRANSCRIPT_EVERY
    fourth = house.say("transcript")
    assert house.effects[-1] == SendTranscript(fourth, by=ADA)
    fifth = house.say("transcript 4")
    assert house.effects[-1] == SendTranscript(fifth, 4, by=ADA), (
        "there is none, which costs nothing to say"
    )
    for words, number in (("transcript json", None), ("!wc transcript 3 JSON", 3)):
        house.now = house.visit.now = house.now + TRANSCRIPT_EVERY
        asked = house.say(words)
        assert house.effects[-1] == SendTranscript(asked, number, json=True, by=ADA)


@pytest.mark.parametrize("words", ["transcript", "stats 7"])
def test_rate_limited_commands_work_again_after_the_clock_was_set_back(words: str) -> None:
    house = House().served()
    house.say(f"!wc {words}", standing=Standing.ADMIN)
    house.now = house.visit.now = house.now - 3_600_000
    house.say(f"!wc {words}", standing=Standing.ADMIN)
    assert len(house.effects) == 2
    assert house.notices == []


@pytest.mark.parametrize("text", ["start ２", "start Ｓales", "queue set ＳＡＬＥＳ"])
def test_queues_may_be_named_in_fullwidth_letters(text: str) -> None:
    house = House().served()
    house.say(text, standing=Standing.ADMIN)
    assert house.reported == {}
    assert house.carried == []
    assert "config.bad_queue" not in house.notices


@pytest.mark.parametrize("text", ["history lesson", "transcript please", "login", "login now"])
def test_sentences_that_begin_with_history_or_login_are_messages(text: str) -> None:
    house = House().served()
    event_id = house.say(text)
    assert house.carried == [event_id]
