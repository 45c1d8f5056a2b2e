"""Each room has its own language, from the welcome to the rating, with the operator's texts."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge.texts import LANGUAGES, Texts
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import Talk, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = "org.matrix_webchat.room"
BOUGHT = "ご購入ありがとうございました。"
"""The operator's own Japanese text for `rating.thanks`."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    sections: dict[str, object] = {
        "bridge": bridge_section(language="zh-TW", tell_agents={"language": "en"}),
        "texts": {"rating.thanks": {"ja": BOUGHT}},
        "rating": {
            "options": [
                {"id": 1, "labels": {"en": "Good", "zh-CN": "很好", "ja": "よかった"}},
                {"id": 0, "labels": {"en": "Bad", "zh-CN": "不好"}},
            ]
        },
    }
    options = StageOptions(simulator=UNLIMITED, config=sections)
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


def said_by(talk: Talk, bot: str) -> str:
    return "\n".join(wording(event) for event in talk.messages(bot))


async def test_a_room_that_is_made_japanese(stage: Stage) -> None:
    """By a state event at its creation: every text of the bridge is Japanese."""
    settings = {"type": SETTINGS, "state_key": "", "content": {"language": "ja"}}
    customer = await stage.customer("hanako")
    talk = await Talk.open(stage, customer, "荷物が届きません", initial_state=[settings])
    await talk.reads("「Sales」の順番待ち：ただいま1番目です。", stage.bot)
    await talk.accept()
    await talk.reads("Mei", stage.bot)
    await talk.desk("say", text="配送中です")
    answer = (await talk.reads("配送中です"))["event_id"]
    thumb = {"rel_type": "m.annotation", "event_id": answer, "key": "👍"}
    await customer.send(talk.room, {"m.relates_to": thumb}, "m.reaction")
    await talk.heard("👍 (in reaction to “配送中です”)")  # `tell_agents.language`
    await talk.desk("close")
    await talk.reads("担当者がチャットを終了しました。", stage.bot)
    # The operator's labels, or the fallback language's where one is missing.
    await talk.reads("今回の対応はいかがでしたか？\n1 — よかった\n0 — Bad", stage.bot)
    await talk.say("rate 1")
    await talk.reads(BOUGHT, stage.bot)
    assert not re.search("[吗请您對]|Waiting|agent", said_by(talk, stage.bot))


@pytest.mark.parametrize(
    ("first", "language", "cancel"),
    [
        ("荷物が届きません", "ja", "キャンセル"),
        ("Where is my parcel?", "en", "cancel"),
        ("请问我的包裹在哪里", "zh-CN", "取消"),
    ],
)
async def test_a_room_speaks_as_its_customer_does(
    stage: Stage, first: str, language: str, cancel: str
) -> None:
    """In answers from the first message on, and in the words of commands."""
    talk = await Talk.open(stage, await stage.customer(f"speaker-{language.lower()}"), first)
    args: dict[str, str | int] = {"queue": "Sales", "position": 1, "prefix": "!wc"}
    await talk.reads(Texts().render(language, "queue.position", args), stage.bot)
    await talk.say(cancel)
    await talk.at_desk(lambda one: one.request is None)


async def test_an_admin_sets_a_room_up_in_chinese(stage: Stage) -> None:
    """With the words that its answers show, as an input method writes them."""
    talk = await Talk.open(stage, await stage.customer("mandarin"))
    await talk.say("！wc　语言　简体中文")
    await talk.reads("语言已设为简体中文", stage.bot)
    for words, answer in (
        (
            "！wc 营业时间 设为 周一至周五 ９：００～１８：００ 北京时间",
            "周一至周五 9:00～18:00 北京时间",
        ),
        ("！wc 设置 设为 暂停 是", "开始方式 发消息，暂停 是。"),
        ("！wc 设置 设为 暂停 否", "开始方式 发消息，暂停 否。"),
        ("！wc 设置 设为：开始方式：发命令", "开始方式 发命令，暂停 否。"),
        ("！wc 设置 设为 开始方式 自动", "可用的值：发消息、发命令。"),
        ("！wc 设置 重置 语种", "没有设置项「语种」"),
        ("「！wc 状态」", "当前没有对话。"),
    ):
        asked = await talk.say(words)
        await talk.reads_reply(answer, asked)


async def test_the_language_command_accepts_every_usual_name_of_a_language(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("polyglot"))
    await talk.reads("「Sales」會在這裡回覆您。", stage.bot)
    await talk.reads("English: lang English · 简体中文：lang 简体中文", stage.bot)
    for name, language in (
        ("日本語", "ja"),
        ("English", "en"),
        ("zh_hans", "zh-CN"),
        ("繁體中文", "zh-TW"),
        ("JA", "ja"),
    ):
        await talk.say(f"!wc lang {name}")
        answer = Texts().render(language, "config.language_set", {"language": language})
        await talk.reads(answer, stage.bot)
    slip = await talk.say("lang fr")  # not a supported language, but hardly meant for an agent
    await talk.reads_reply("コマンドのように見えるため", slip)
    await talk.customer.react(talk.room, slip, "🔁")  # send it all the same
    await talk.reads("「Sales」の順番待ち：ただいま1番目です。", stage.bot)
    refused = await talk.say("!wc lang fr")
    await talk.reads_reply(f"使える値：{'、'.join(LANGUAGES)}", refused)
    await talk.say("!wc cancel")
    await talk.reads("順番待ちをやめました。", stage.bot)
