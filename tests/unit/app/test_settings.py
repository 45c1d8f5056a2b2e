"""From the config to the settings of each ring."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bridge.app.settings import (
    Passwords,
    all_rules_of,
    link_settings_of,
    rules_of,
    secrets_of,
    users_of,
)
from bridge.config.hours import parse_hours
from bridge.config.model import Permission
from bridge.ids import QueueId, RoomId, UserId
from bridge.link.login import room_key
from bridge.link.settings import Learnt
from bridge.rooms.record import RoomSettings
from bridge.rooms.rules import GONE, unconfigured_rules
from bridge.rooms.store import StoreError
from tests.unit.config.configs import SMALLEST, load
from tests.unit.config.test_enterprises import TWO
from tests.unit.link.rig import Facts, LoopClock

HOURS = "Mon-Fri 09:00-18:00 Asia/Shanghai"


def test_hours_reach_the_queue_and_the_life_cycle(tmp_path: Path) -> None:
    text = SMALLEST.replace(
        "{id: 1, name: Sales}", f'{{id: 1, name: Sales, hours: "{HOURS}"}}\n  - {{id: 2, name: B}}'
    )
    config = load(tmp_path, text)
    rules = rules_of(config, users_of(config))
    sales, other = rules.queues
    assert sales.hours == HOURS
    assert rules.policy.hours == {QueueId(1): parse_hours(HOURS)}
    assert other.hours == ""
    assert str(rules.zone_of(1, RoomSettings())) == "Asia/Shanghai"
    assert rules.zone_of(2, RoomSettings()) is None
    assert rules.zone_of(3, RoomSettings()) is None


def test_callback_settings_reach_the_policy(tmp_path: Path) -> None:
    wish = "callback: {enabled: false, retry_first: 1m, retry_last: 2m, give_up: 1d}"
    config = load(tmp_path, SMALLEST.replace("bridge:\n", f"bridge:\n  {wish}\n"))
    policy = rules_of(config, users_of(config)).policy
    assert not policy.callback
    times = (policy.callback_first, policy.callback_last, policy.callback_limit)
    assert times == (60_000, 120_000, 86_400_000)


def test_settings_of_outgoing_texts_and_videos(tmp_path: Path) -> None:
    """Each key reaches its own rule, and all are off as shipped."""
    keys = {
        "escape_outgoing: true": "escape_html",
        "jsonlib_guard: true": "guard_json",
        "videos: true": "videos",
        "emoji_mode: qq": "emoji_codes",
    }
    for key in (None, *keys):
        told = "" if key is None else f"  {key}\n"
        config = load(tmp_path, SMALLEST.replace("webchat:\n", f"webchat:\n{told}"))
        policy = rules_of(config, users_of(config)).policy
        on = {rule for rule in keys.values() if getattr(policy, rule)}
        assert on == ({keys[key]} if key else set())


def test_settings_of_what_the_call_centre_learns_of_customers(tmp_path: Path) -> None:
    keys = "brand: element\n  tracks: '[]'\n  long_voices: {}\n  dialect: 2019\n"
    keys += "  login: {{portrait: 'https://h/{{room_key}}', ip: 203.0.113.9}}"
    for long_voices in (True, False):
        told = keys.format(str(long_voices).lower())
        config = load(tmp_path, SMALLEST.replace("webchat:\n", f"webchat:\n  {told}\n"))
        link = link_settings_of(config)
        login = link.server.login
        assert (login.portrait, login.ip) == ("https://h/{room_key}", "203.0.113.9")
        rules = rules_of(config, users_of(config), Learnt(link, Facts(), LoopClock()))
        assert (rules.policy.brand, rules.policy.tracks) == ("element", "[]")
        assert rules.long_voices() is long_voices


def test_login_names_of_new_rooms_depend_on_the_bridges_secret(tmp_path: Path) -> None:
    room = RoomId("!a:example.org")

    def drawn(as_token: str, pickle_key: str) -> str:
        text = SMALLEST.replace(
            "bridge:\n", f"bridge:\n  encryption: {{pickle_key: {pickle_key}}}\n"
        )
        text += f"appservice: {{as_token: {as_token}, hs_token: {'h' * 32}}}\n"
        config = load(tmp_path, text)
        draw = rules_of(config, users_of(config)).login_key
        assert draw is not None
        return draw(room)

    one, other, none = "p" * 32, "q" * 32, '""'
    assert drawn("a" * 32, one) == drawn("b" * 32, one)
    names = [drawn("a" * 32, one), drawn("a" * 32, other), drawn("a" * 32, none)]
    names += [drawn("b" * 32, none), room_key(room)]
    assert len(set(names)) == len(names)


HERE, THERE = RoomId("!here:example.org"), RoomId("!there:example.org")


@pytest.mark.parametrize("password", ["s3cret", "пароль 密码 🔑", "x" * 10_000])
def test_sealed_password_can_be_opened(password: str) -> None:
    box = Passwords("operator's")
    sealed = box.seal(HERE, password)
    assert password.encode() not in sealed
    assert Passwords("operator's").unseal(HERE, sealed) == password
    assert box.seal(HERE, password) != sealed


def test_lone_surrogate_in_a_password_is_replaced() -> None:
    box = Passwords("operator's")
    assert box.unseal(HERE, box.seal(HERE, "a\ud800")) == "a?"


def test_password_of_another_room_or_secret_cannot_be_opened() -> None:
    sealed = Passwords("operator's").seal(HERE, "s3cret")
    for box, room in ((Passwords("operator's"), THERE), (Passwords("another's"), HERE)):
        with pytest.raises(StoreError):
            box.unseal(room, sealed)
    with pytest.raises(StoreError):
        Passwords("operator's").unseal(HERE, b"garbage")


def test_rules_of_several_call_centres_know_one_another(tmp_path: Path) -> None:
    config = load(tmp_path, TWO)
    rules = all_rules_of(config, first="acme")
    acme, best = rules["acme"], rules["best"]
    assert (acme.enterprise, best.enterprise) == ("acme", "best")
    assert (acme.bot, best.bot) == ("@webchatbot:example.org", "@bestbot:example.org")
    assert (acme.choices, best.choices) == ((), ())
    assert acme.rules_of("best") is best
    assert best.rules_of("") is acme
    assert best.rules_of("former") is None
    assert acme.enterprises_of("@best_queue_1:example.org") == ("best",)
    room = RoomId("!a:b")
    assert acme.login_key is not None
    assert best.login_key is not None
    assert acme.login_key(room) != best.login_key(room)
    alone = rules_of(load(tmp_path, SMALLEST), users_of(load(tmp_path, SMALLEST)))
    assert alone.login_key is not None
    assert alone.login_key(room) == acme.login_key(room), "the first one's rooms keep their names"


def test_call_centres_that_share_the_bot_can_be_chosen(tmp_path: Path) -> None:
    config = load(tmp_path, TWO.replace("      bot: {username: bestbot}\n", ""))
    rules = all_rules_of(config, first="acme")
    assert {one.choices for one in rules.values()} == {("acme", "best")}
    assert {one.bot for one in rules.values()} == {"@webchatbot:example.org"}


def test_rooms_of_a_removed_call_centre_can_choose_whatever_bot_the_first_one_has(
    tmp_path: Path,
) -> None:
    rules = all_rules_of(load(tmp_path, TWO.replace("bot: {username: bestbot}", "")))
    alone = replace(rules["acme"], bot=UserId("@acmebot:example.org"), choices=())
    gone = unconfigured_rules([alone, rules["best"]])
    assert (gone.enterprise, gone.bot) == (GONE, "@webchatbot:example.org")
    assert gone.of_room(RoomSettings(enterprise="best")) is rules["best"]
    assert (gone.queues, gone.permission("@ada:example.org")) == ((), Permission.NONE)


def test_each_call_centre_knows_the_other_ones_prefixes(tmp_path: Path) -> None:
    for prefix, known in (("!wc", [(), ()]), ("!WC", [(), ()]), ("!B", [("!b",), ("!wc",)])):
        text = TWO.replace("bot: {username: bestbot}", f"command_prefix: '{prefix}'")
        every = all_rules_of(load(tmp_path, text)).values()
        assert [one.other_prefixes for one in every] == known


def test_secrets_that_log_lines_must_not_show(tmp_path: Path) -> None:
    def secrets(url: str) -> set[str]:
        text = f'{SMALLEST}database: {{url: "{url}"}}\nappservice: {{as_token: as-token}}\n'
        return set(secrets_of(load(tmp_path, text)))

    assert secrets("sqlite:////data/bridge.db") == {"as-token", ""}, "it says which disk is full"
    assert secrets("postgres://me@db/name") == {"as-token", ""}, "as with PGPASSWORD, and compose"
    url = "postgres://me:s%40e@db/name"
    assert secrets(url) == {"as-token", "", url, "s%40e", "s@e"}
    url = "postgres:///name?host=/run/pg&password=x"
    assert secrets(url) == {"as-token", "", url}
