"""Parsing of commands, and telling them from customers' messages."""

from __future__ import annotations

from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.config.model import Encryption
from bridge.conversation.model import (
    Conversation,
    Ended,
    Idle,
    Phase,
    Queued,
    Reported,
    Requesting,
    Say,
)
from bridge.ids import QueueId, SessionId
from bridge.rooms import arguments
from bridge.rooms.commands import COMMANDS, Reading, buried_login, foreign_login, parse
from bridge.rooms.effects import AskQueue
from bridge.rooms.rules import Rules, folded
from bridge.rooms.visit import undelivered
from bridge.texts import CATALOGUE
from tests.unit.rooms.visits import RULES, House


@pytest.mark.parametrize(
    ("text", "verb", "words"),
    [
        ("!wc", "help", ()),
        ("!WC Help", "help", ()),
        ("！wc help", "help", ()),
        ("！ｗｃ　login ada S3cret", "login", ("ada", "S3cret")),
        ("  !wc   start  ", "start", ()),
        ("!wc start Customer Service", "start", ("Customer Service",)),
        ("!wc rate 5", "rate", ("5",)),
        ("!wc rate 0 not\ngood", "rate", ("0", "not", "good")),
        ("!wc queue", "queue", ()),
        ("!wc queue LIST", "queue", ("list",)),
        ("!wc queue set After Sales", "queue", ("set", "After Sales")),
        ("!wc lang en", "lang", ("en",)),
        ("!wc from PC", "from", ("PC",)),
        ("!wc cancel", "cancel", ()),
        ("!wc close", "close", ()),
        ("!wc status", "status", ()),
        ("!wc pause", "pause", ()),
        ("!wc resume", "resume", ()),
        ("!wc version", "version", ()),
        ("!wc history", "history", ()),
        ("!wc history 20", "history", ("20",)),
        ("!wc transcript", "transcript", ()),
        ("!wc transcript 3", "transcript", ("3",)),
        ("!wc login ada S3cret", "login", ("ada", "S3cret")),
        ("!wc logout", "logout", ()),
        ("!wcStatus", "status", ()),
        ("！ｗｃ　ｓｔａｔｕｓ", "status", ()),
        ("！ｗｃｓｔａｔｕｓ", "status", ()),
        ("！wc rate ５ ｇｏｏｄ", "rate", ("5", "ｇｏｏｄ")),
        ("！wc ｒａｔｅ 5", "rate", ("5",)),
        ("！wc history ３", "history", ("3",)),
        ("！wc ｔｒａｎｓｃｒｉｐｔ ３", "transcript", ("3",)),
        ("！wc ｑｕｅｕｅ ｌｉｓｔ", "queue", ("list",)),
        ("！wc ｌａｎｇ ｅｎ", "lang", ("en",)),
        ("！wc retry ａｌｌ", "retry", ("ａｌｌ",)),
        ("！wc ｌｏｇｉｎ ada ｓ３ｃｒｅｔ", "login", ("ada", "ｓ３ｃｒｅｔ")),
        ("！wc ａｓｋ ｗｈｙ？", "ask", ("ｗｈｙ？",)),
        ("！wclogin ada S3cret", "login", ("ada", "S3cret")),
        ("!wc 帮助", "help", ()),
        ("！wc　取消", "cancel", ()),
        ("！wc取消", "cancel", ()),
        ("!wc 评价5", "rate", ("5",)),
        ("!wc评价５分 谢谢", "rate", ("5", "谢谢")),
        ("!wc 评分5", "rate", ("5",)),
        ("!wc評分４分", "rate", ("4",)),
        ("!wc 評価 4", "rate", ("4",)),
        ("!wc 队列 列表", "queue", ("list",)),
        ("!wc 窓口 変更 After Sales", "queue", ("set", "After Sales")),
        ("!wc 設定 リセット", "config", ("reset",)),
        ("!wc 再送 すべて", "retry", ("すべて",)),
        ("!wc help all", "help", ("all",)),
        ("!wc 帮助 全部", "help", ("全部",)),
        ("!wc 评价 五 谢谢", "rate", ("5", "谢谢")),
        ("!wc 统计 七天", "stats", ("7",)),
        ("!wc 历史 三", "history", ("3",)),
        ("!wc 营业时间 重设", "hours", ("reset",)),
        ("!wc 设置 还原 队列", "config", ("reset", "queue")),
        ("/wc", "help", ()),
        ("/WC rate 5 great", "rate", ("5", "great")),
        ("／wc 取消", "cancel", ()),
        ("/wc login ada S3cret", "login", ("ada", "S3cret")),
    ],
)
@pytest.mark.parametrize("prefix_needed", [True, False])
def test_with_the_prefix(text: str, verb: str, words: tuple[str, ...], prefix_needed: bool) -> None:
    expected = Reading(verb, words, secret=verb == "login")
    assert parse(text, "!wc", prefix_needed=prefix_needed) == expected


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("!wc strat", "command.unknown_near"),
        ("!wc 你好", "command.unknown"),
        ("!wcstaus", "command.unknown_near"),
        ("!wcfoo", "command.unknown"),
        ("!wc取消吧", "command.unknown_near"),
        ("！wc ｓｔｒａｔ", "command.unknown_near"),
        ("!wc rate", "usage.rate"),
        ("!wc rate five", "usage.rate"),
        ("!wc rate --1", "usage.rate"),
        ("!wc rate 12345678901234567890", "usage.rate"),
        ("!wc rate ５つ星", "usage.rate"),
        ("!wc queue set", "usage.queue"),
        ("!wc queue list all", "usage.queue"),
        ("!wc lang", "usage.lang"),
        ("!wc from the PC", "usage.from"),
        ("!wc close now", "usage.close"),
        ("!wc history of it all", "usage.history"),
        ("!wc transcript three", "usage.transcript"),
        ("!wc transcript json 3", "usage.transcript"),
        ("!wc transcript 3 json json", "usage.transcript"),
        ("!wc login ada", "usage.login"),
        ("!wc logout now", "usage.logout"),
    ],
)
def test_a_malformed_command_names_its_error_text(text: str, key: str) -> None:
    parsed = parse(text, "!wc", prefix_needed=True)
    assert parsed is not None
    assert parsed.fault == key
    assert key in CATALOGUE


@pytest.mark.parametrize(
    ("text", "verb", "words"),
    [
        ("！wc结束。", "close", ()),
        ("!wc状态。", "status", ()),
        ("!wc 取消。", "cancel", ()),
        ("!wc 取消 。", "cancel", ()),
        ("!wc cancel.", "cancel", ()),
        ("!wc?", "help", ()),
        ("!wc ？", "help", ()),
        ("!wc：帮助！", "help", ()),
        ("!wc, status", "status", ()),
        ("!wc 队列 设为 Service。", "queue", ("set", "Service")),
        ("!wc 队列 设置 2", "queue", ("set", "2")),
        ("!wc queue set After Sales.", "queue", ("set", "After Sales")),
        ("!wc start Sales!", "start", ("Sales",)),
        ("!wc rate 5!", "rate", ("5",)),
        ("!wc rate 5。", "rate", ("5",)),
        ("!wc rate:5", "rate", ("5",)),
        ("!wc评价5分。", "rate", ("5",)),
        ("!wc rate <5> <thanks>", "rate", ("5", "<thanks>")),
        ("!wc lang <en>", "lang", ("en",)),
        ("!wc history [3]", "history", ("3",)),
        ("!wc stats [30d]", "stats", ("30",)),
        ("!wc rate 5 thanks!", "rate", ("5", "thanks!")),
        ("!wc ask why?", "ask", ("why?",)),
        ("!wc login ada S3cret!", "login", ("ada", "S3cret!")),
        ("!wc transcript 3?", "transcript", ("3",)),
        ("!wc lang en.", "lang", ("en",)),
        ("!wc config set queue Sales.", "config", ("set", "queue", "Sales")),
        ("!wc config set text.closed Bye!", "config", ("set", "text.closed", "Bye!")),
        ("!wc call back", "callback", ()),
        ("「!wc 取消」", "cancel", ()),
        ("“!wc status”", "status", ()),
        ("!wc “status”", "status", ()),
        ("!wc；状态～", "status", ()),
        ("!wc config set start “on_command”", "config", ("set", "start", "on_command")),
        ("!wc 设置 设为 text。closed 再见！", "config", ("set", "text.closed", "再见！")),
        ("!wc 队列 设为：售后：二", "queue", ("set", "售后：二")),
        ("!wc 队列 设为“售后服务”", "queue", ("set", "“售后服务")),
        ("!wc 设置 设为：暂停：是", "config", ("set", "paused", "是")),
        (
            "!wc config set hours=Mon 9:00-10:00 UTC",
            "config",
            ("set", "hours", "Mon 9:00-10:00 UTC"),
        ),
        *(
            (f"!wc config set{text}", "config", ("set", "text.closed", "“再见！”"))
            for text in (
                " text.closed=“再见！”",
                "：text.closed “再见！”",
                "：text.closed：“再见！”",
            )
        ),
        ("!wc config reset text.closed.", "config", ("reset", "text.closed")),
        ("!wc login ada “S3cret”", "login", ("ada", "“S3cret”")),
        ("“!wc login ada S3cret!”", "login", ("ada", "S3cret!")),
        ("!wc “login ada S3cret!”", "login", ("ada", "S3cret!")),
    ],
)
def test_marks_at_the_end_of_a_command_change_nothing(
    text: str, verb: str, words: tuple[str, ...]
) -> None:
    assert parse(text, "!wc", prefix_needed=True) == Reading(verb, words, secret=verb == "login")


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("队列 佇列 窓口 queue", "queue"),
        ("来源 來源 接続元 from", "from"),
        ("语言 語言 言語 lang Language", "language"),
        ("开始方式 開始方式 開始方法 开始 start", "start"),
        ("暂停 暫停 一時停止 pause paused", "paused"),
        ("营业时间 營業時間 営業時間", "hours"),
    ],
)
def test_a_setting_is_named_in_any_language(words: str, key: str) -> None:
    for word in words.split():
        assert parse(f"设置 设为 {word} x", "!wc", prefix_needed=False) == Reading(
            "config", ("set", key, "x"), bare=True
        )
        assert parse(f"!wc config reset {word}", "!wc", prefix_needed=True) == Reading(
            "config", ("reset", key)
        )


@pytest.mark.parametrize("text", ["!!!", "!important", "！取消我的订单"])
def test_a_prefix_of_punctuation_may_begin_a_customers_message(text: str) -> None:
    assert parse(text, "!", prefix_needed=True) is None


def test_a_prefix_of_letters_must_stand_alone() -> None:
    assert parse("re: my order", "re", prefix_needed=True) is None
    assert parse("restart it", "re", prefix_needed=True) is None
    assert parse("re start", "re", prefix_needed=True) == Reading("start")
    assert parse("!help", "!", prefix_needed=True) == Reading("help")
    assert parse("/e start", "re", prefix_needed=True) is None
    assert parse("/ start", "!", prefix_needed=True) is None


def test_every_command_has_its_usage() -> None:
    assert {f"usage.{verb}" for verb in COMMANDS} <= set(CATALOGUE)


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "hello", "start", "please !wc help", "!w", "wc", "/", "/start", "/wcs"),
        *("/wc/tmp", '"!wc rate" 5 stars is what I wrote', "“!wc 结束”是什么意思？", '"!wc'),
        *("“!wc login ada “S3cret””", "「!wc 取消」と「!wc 開始」の違い"),
    ],
)
def test_text_without_the_prefix_is_no_command_where_it_is_needed(text: str) -> None:
    assert parse(text, "!wc", prefix_needed=True) is None


@pytest.mark.parametrize(
    "text",
    [
        *("help me", "close the case please", "rate", "hello", "cancel\nmy order", "queue up"),
        *(
            "取消我的订单",
            "取消 订单",
            "评价",
            "请帮助我",
            "取消\n订单",
            "结束了吗",
            "人工服务费是多少",
        ),
        *("人工？", "取消?", "取消……", "help!", "cancel...", "human?", "。", "!"),
        *('"cancel" was what I meant', "「人工？」", '"rate 5" or "rate 4"'),
    ],
)
def test_sentences_are_no_commands_where_no_prefix_is_needed(text: str) -> None:
    assert parse(text, "!wc", prefix_needed=False) is None


@pytest.mark.parametrize(
    ("text", "verb", "words"),
    [
        ("help", "help", ()),
        ("Rate 5 thanks", "rate", ("5", "thanks")),
        ("ｒａｔｅ　５", "rate", ("5",)),
        ("queue set sales", "queue", ("set", "sales")),
        ("帮助", "help", ()),
        ("取消", "cancel", ()),
        ("キャンセル", "cancel", ()),
        ("狀態", "status", ()),
        ("排队", "start", ()),
        ("评价 5 谢谢", "rate", ("5", "谢谢")),
        ("评价5分", "rate", ("5",)),
        ("佇列 設為 sales", "queue", ("set", "sales")),
        ("佇列 設爲 sales", "queue", ("set", "sales")),
        ("佇列 設成 sales", "queue", ("set", "sales")),
        ("佇列 改成 sales", "queue", ("set", "sales")),
        ("設定 改爲 語言 台灣", "config", ("set", "language", "台灣")),
        ("聊天室頁面", "panel", ()),
        ("取消。", "cancel", ()),
        ("人工！", "human", ()),
        ("キャンセル。", "cancel", ()),
        ("评价5。", "rate", ("5",)),
        ("start.", "start", ()),
        ("start。", "start", ()),
        ("「人工」", "human", ()),
        ("取消～", "cancel", ()),
    ],
)
def test_commands_without_a_prefix(text: str, verb: str, words: tuple[str, ...]) -> None:
    expected = Reading(verb, words, bare=True, secret=verb == "login")
    assert parse(text, "!wc", prefix_needed=False) == expected


@pytest.mark.parametrize(
    ("text", "admins"),
    [
        ("queue set sales", True),
        ("queue list", False),
        ("lang en", True),
        ("from PC", True),
        ("pause", True),
        ("resume", True),
        ("rate 5", False),
        ("close", False),
    ],
)
def test_which_commands_are_for_admins_only(text: str, admins: bool) -> None:
    parsed = parse(text, "!wc", prefix_needed=False)
    assert parsed is not None
    assert not parsed.fault
    assert parsed.for_admins is admins


# --- mistyped settings ----------------------------------------------------------------------------

SLIPS = (
    *("lang", "lang fr", "lang set fr", "from", "from phone", "from Berlin", "ＦＲＯＭ　phone"),
    *("queue set", "queue set xyz", "queue foo", "Queue show 2", "config set", "config foo"),
    *("config set queue", "config reset now"),
)
"""Mistyped commands for the room's settings."""
SAYINGS = (
    *("queue is long today", "from where do you ship", "from Berlin to Paris", "from?"),
    *("lang is a strange word", "config files are missing", "queue set up is broken"),
    *("the queue", "langs fr", "lang\nfr", "from\nBerlin", "queue set After Sales"),
)
"""Customers' messages that begin like such a command."""
OUTSIDE_A_CHAT = (
    *(Idle(), Ended(SessionId(5150)), Queued(QueueId(2), 1), Requesting(QueueId(2), 1)),
)


def at(phase: Phase, rules: Rules = RULES) -> House:
    house = House(rules).served()
    house.visit.set(conversation=Conversation(phase=phase))
    return house


@pytest.mark.parametrize("phase", OUTSIDE_A_CHAT)
@pytest.mark.parametrize("text", SLIPS)
def test_a_mistyped_setting_requests_no_agent_and_is_not_lost(text: str, phase: Phase) -> None:
    house = at(phase)
    event = house.say(text)
    assert house.carried == []
    assert house.reported == {event: "undelivered.like_command"}
    (told,) = (one for one in house.effects if isinstance(one, Reported))
    verb = folded(text.split(maxsplit=1)[0])
    word = COMMANDS[verb].names.split()[0]
    assert told.args == {"usage": RULES.texts.render("zh-CN", f"usage.{verb}", {"command": word})}
    assert undelivered(house.record, event) is not None, "it may be sent to an agent all the same"


@pytest.mark.parametrize("phase", OUTSIDE_A_CHAT)
@pytest.mark.parametrize("text", SAYINGS)
def test_a_sentence_that_begins_like_a_setting_is_a_message(text: str, phase: Phase) -> None:
    house = at(phase)
    event = house.say(text)
    assert house.carried == [event]
    assert house.reported == {}


@pytest.mark.parametrize(
    "text", [*SLIPS, *SAYINGS, "cancel", "取消", "帮助", "ヘルプ", "hlep", "评价"]
)
def test_during_a_chat_every_bare_text_goes_to_the_agent(text: str) -> None:
    house = House().served().chat()
    event = house.say(text)
    assert house.carried == [event]


@given(
    st.sampled_from(["lang", "from", "queue", "config", "hours"]),
    st.sampled_from(["", "set", "show", "reset"]),
    st.lists(st.text("abxyz漢é", min_size=1, max_size=4), max_size=4),
)
def test_whatever_begins_with_a_setting_has_an_answer_or_goes_to_an_agent(
    verb: str, action: str, words: list[str]
) -> None:
    house = House().served()
    event = house.say(" ".join(filter(None, [verb, action, *words])))
    answered = any(isinstance(one, Say) and one.reply_to == event for one in house.effects)
    answered = answered or AskQueue(event) in house.effects
    assert [event in house.carried, event in house.reported, answered].count(True) == 1
    assert len(words) < 2 or event not in house.reported


def test_a_mistyped_setting_in_clear_where_encryption_is_demanded() -> None:
    house = at(
        Idle(), msgspec.structs.replace(RULES, encryption=Encryption(allow=False, require=True))
    )
    event = house.say("from Berlin")
    assert house.reported == {event: "encrypting.refused"}, "🔁 must not carry it in clear"


# --- typing errors -------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", OUTSIDE_A_CHAT)
@pytest.mark.parametrize(
    ("text", "verb"),
    [
        *(("hlep", "help"), ("Hepl", "help"), ("helpp", "help"), ("cancle", "cancel")),
        *(("cncel", "cancel"), ("cancwl", "cancel"), ("stauts", "status"), ("strat", "start")),
        *(
            ("histroy", "history"),
            ("retyr", "retry"),
            ("callbak", "callback"),
            ("ｈｌｅｐ", "help"),
        ),
    ],
)
def test_a_lone_mistyped_command_requests_no_agent_and_is_not_lost(
    text: str, verb: str, phase: Phase
) -> None:
    house = at(phase)
    event = house.say(text)
    assert house.carried == []
    assert house.reported == {event: "undelivered.near_command"}
    (told,) = (one for one in house.effects if isinstance(one, Reported))
    assert told.args["command"] == COMMANDS[verb].names.split()[0]
    assert undelivered(house.record, event) is not None, "it may be sent to an agent all the same"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "hello",
            "hallo",
            "hell",
            "hey",
            "stop",
            "late",
            "date",
            "rated",
            "form",
            "star",
            "smart",
        ),
        *("closed", "chose", "lose", "human?", "paused", "cause", "cancer", "cancelled", "cancels"),
        *("hlep me", "hlep\nme", "parcel", "refund", "victory", "statue", "logic", "帮组", "tel"),
    ],
)
def test_a_word_that_only_resembles_a_command_is_a_message(text: str) -> None:
    house = House().served()
    event = house.say(text)
    assert house.carried == [event]


def test_a_rating_without_its_number_after_a_chat_requests_no_agent() -> None:
    house = House().served()
    event = house.say("评价")
    assert house.carried == [event], "there is nothing to be rated"
    house = at(Ended(SessionId(5150)))
    house.visit.set(
        conversation=Conversation(phase=Ended(SessionId(5150)), last_session=SessionId(5150))
    )
    event = house.say("评价")
    assert house.reported == {event: "undelivered.like_command"}
    assert house.carried == []


def test_in_a_room_of_several_people_a_bare_word_is_said_to_the_agent() -> None:
    house = House().served(direct=False)
    for text in ("帮助", "hlep", "取消"):
        event = house.say(text)
        assert house.carried[-1] == event


@pytest.mark.parametrize("word", ["status", "状态", "狀態", "状況", "状態"])
def test_each_word_for_status_is_the_status_command(word: str) -> None:
    assert parse(f"!wc {word}", "!wc", prefix_needed=True) == Reading("status")


def test_of_many_arguments_two_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    action_of = Mock(return_value="all")
    monkeypatch.setattr(arguments, "action_of", action_of)
    assert arguments.maybe_all(["\ufdfa"] * 10_000) is None
    assert action_of.call_count == 2


@pytest.mark.parametrize("prefix", ["!wc", "！ｗｃ", "！WC，"])
def test_a_prefix_begins_a_command_without_blanks_of_any_length(prefix: str) -> None:
    """As Chinese is written; a full-width one was no prefix before more than 98 signs."""
    login = parse(f"{prefix}登录，ada，{'S3cret' * 20}", "!wc", prefix_needed=True)
    assert login is not None
    assert (login.verb, login.secret) == ("login", True)
    question = parse(f"{prefix}提问我的包裹在哪里{'？' * 100}", "!wc", prefix_needed=True)
    assert question is not None
    assert question.verb == "ask"


PREFIXES = ("!wc", "wc", "!!", "!", "客服", "#Ｗc", "ß", "ﬁ.", "c\u0327")
SPELLINGS = (*PREFIXES, "/wc", "/!", "！ｗｃ", "！！", "SS", "FI", "fi", "ç", "\u0327", "x" * 499)


@given(
    st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from((*SPELLINGS, *' \n"「」.', "login ada S3cret", "登录 ")), max_size=9),
)
@example(["c\u0327"], [" " * 499, "c\u0327"])  # a border of `narrow` within the prefix
@example(["!wc"], ["!wc", "\u0327", "x" * 499])  # "!wç"
def test_the_quick_test_lets_no_command_pass(prefixes: list[str], parts: list[str]) -> None:
    first, *others = prefixes
    rules = msgspec.structs.replace(
        RULES, prefix=first, other_prefixes=tuple(folded(one) for one in others)
    )
    text = "".join(parts)
    found = (
        parse(text, first, prefix_needed=True),
        foreign_login(rules, text),
        buried_login(rules, text),
    )
    assert rules.may_command(text) or found == (None, None, None)
