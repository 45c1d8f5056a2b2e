"""The operator's rules as they apply to one room."""

from __future__ import annotations

import msgspec
import pytest

from bridge.config.model import Permission, Queue
from bridge.conversation.turn import Policy
from bridge.ids import QueueId, RoomId
from bridge.rooms.record import RoomRecord, RoomSettings
from bridge.rooms.rules import SOURCES
from bridge.texts import CLEAR
from tests.unit.rooms.visits import ADA, BOT, RETURNS, RULES, SALES, SALES_USER

ROOM = RoomRecord(RoomId("!room:example.org"), host=BOT)


def configured(settings: RoomSettings) -> RoomRecord:
    return msgspec.structs.replace(ROOM, settings=settings)


@pytest.mark.parametrize(
    "text", ["1", "sales", "SALES", " shop ", "1番です。", "<Sales>", "<1>", "Salesです"]
)
def test_a_queue_is_found_by_id_name_or_alias(text: str) -> None:
    assert RULES.find_queue(text) == SALES


def test_a_queue_of_taiwan_is_found_by_both_forms_of_its_first_sign() -> None:
    taiwan = Queue(id=3, name="臺北客服", aliases=("台中",))
    rules = msgspec.structs.replace(RULES, queues=(SALES, taiwan))
    assert rules.find_queue("台北客服") == rules.find_queue("臺中") == taiwan


def test_a_missing_queue_is_none_and_named_by_its_id() -> None:
    assert RULES.find_queue("9") is None
    assert RULES.queue(9) is None
    assert RULES.queue_name(9) == "9"


def test_the_queue_of_a_room_is_its_setting_then_its_hosts_then_the_default() -> None:
    assert RULES.queue_for(ROOM) == 2
    invited = msgspec.structs.replace(ROOM, host=SALES_USER)
    assert RULES.queue_for(invited) == 1
    chosen = msgspec.structs.replace(invited, settings=RoomSettings(queue=QueueId(2)))
    assert RULES.queue_for(chosen) == 2


def test_the_policy_of_a_room() -> None:
    policy = RULES.policy_for(ROOM)
    assert (policy.queue_id, policy.source, policy.to_agent) == (2, "PC", RETURNS.to_agent)
    assert policy.start_on_message


def test_the_settings_of_room_admins_come_first() -> None:
    settings = RoomSettings(QueueId(1), "WECHAT", "en", "on_command")
    policy = RULES.policy_for(configured(settings))
    assert (policy.queue_id, policy.source, policy.to_agent) == (1, "WECHAT", "")
    assert not policy.start_on_message
    assert RULES.language_for(ROOM) == "zh-CN"
    room = msgspec.structs.replace(ROOM, language=(CLEAR, "ja"))
    assert RULES.language_for(room) == "ja"
    assert RULES.agents_language(room.settings) == "zh-CN", "the desk's language is its own"
    room = msgspec.structs.replace(room, settings=settings)
    assert RULES.language_for(room) == "en", "as somebody chose"


def test_a_voice_clip_may_fill_a_frame_where_texts_are_written_twice() -> None:
    assert RULES.clip_bytes() == RULES.policy_for(ROOM).max_text_bytes
    rules = msgspec.structs.replace(RULES, longest_text=lambda: 3_700, longest_clip=lambda: 7_400)
    assert (rules.policy_for(ROOM).max_text_bytes, rules.clip_bytes()) == (3_700, 7_400)


def test_a_room_whose_queue_was_removed_uses_the_default_queue() -> None:
    room = configured(RoomSettings(queue=QueueId(9)))
    policy = RULES.policy_for(room)
    assert (policy.queue_id, policy.source, policy.to_agent) == (2, "PC", RETURNS.to_agent)
    assert RULES.queue_for(msgspec.structs.replace(room, host=SALES_USER)) == 1
    alone = msgspec.structs.replace(RULES, queues=(), default_queue=QueueId(2))
    assert alone.policy_for(room).queue_id == 2
    assert RULES.policy_for(configured(RoomSettings(queue=QueueId(1)))).queue_id == 1


def test_a_cached_policy_depends_on_rules_room_and_learnt_limits() -> None:
    longest = [3_700]
    rules = msgspec.structs.replace(RULES, longest_text=lambda: longest[0])
    first = rules.policy_for(ROOM)
    assert rules.policy_for(ROOM) is first
    longest[0] = 7_400  # the link has learned of another dialect
    assert rules.policy_for(ROOM).max_text_bytes == 7_400
    assert rules.policy_for(configured(RoomSettings(paused=True))).paused
    assert rules.policy_for(msgspec.structs.replace(ROOM, host=SALES_USER)).queue_id == 1
    changed = msgspec.structs.replace(rules, policy=Policy(source="WECHAT"), queues=())
    assert (changed.policy_for(ROOM).source, rules.policy_for(ROOM).source) == ("WECHAT", "PC")


def test_the_policy_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.rooms.rules.KNOWN", 2)
    rules = msgspec.structs.replace(RULES)
    for source in SOURCES:
        assert rules.policy_for(configured(RoomSettings(source=source))).source == source


def test_a_permission_is_computed_once_per_rules() -> None:
    asked: list[str] = []

    def permission(user: str) -> Permission:
        asked.append(user)
        return Permission.CUSTOMER

    rules = msgspec.structs.replace(RULES, permission=permission)
    assert {rules.permission(user) for user in (ADA, ADA, BOT)} == {Permission.CUSTOMER}
    assert asked == [ADA, BOT]
    refusing = msgspec.structs.replace(rules, permission=lambda _: Permission.NONE)
    assert refusing.permission(ADA) is Permission.NONE
