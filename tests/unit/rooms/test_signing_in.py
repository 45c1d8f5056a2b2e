"""`login` and `logout`: attempts, storage, and where a password may stay."""

from __future__ import annotations

import msgspec
import pytest

from bridge.config.model import Encryption
from bridge.conversation.model import Args, CustomerMedia, CustomerText, Ended, Say, Start
from bridge.ids import EventId, RoomId, SessionId, UserId
from bridge.rooms import own_account
from bridge.rooms.effects import Conceal, TryLogin
from bridge.rooms.ports import Account, CallFailure, MemberJoined, Spoke
from bridge.rooms.record import LoginTried, LookedUp, Membership, OwnLogin, dump_record
from bridge.rooms.rules import Rules
from bridge.rooms.visit import undelivered
from bridge.webchat.codes import FailureReason
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World
from tests.fakes.reading import ReadingWorld
from tests.unit.rooms.visits import ADA, RULES, SALES_USER, STRANGER, House

SECRET = "pässw0rd"


def seal(room_id: RoomId, password: str) -> bytes:
    return f"{room_id}{password[::-1]}".encode()


TAKING = msgspec.structs.replace(RULES, seal=seal)
LOGIN = OwnLogin("ada", seal(ROOM, SECRET))


def said(house: House) -> dict[str, Args]:
    return {one.key: one.args for one in house.effects if isinstance(one, Say)}


def test_a_login_is_tried_with_a_sealed_password_and_its_message_redacted() -> None:
    house = House(TAKING).served()
    event_id = house.say(f"login ada {SECRET}")
    assert house.effects == [Conceal(event_id), TryLogin(event_id, LOGIN)]
    assert SECRET.encode() not in dump_record(house.record)
    assert house.record.login is None  # only once the call centre has accepted it


@pytest.mark.parametrize(
    "text",
    [
        "login not working",
        "login doesn't work!",
        "login doesn’t work...",
        "Login error 404",
        "login code: 1234.",
        "login 密码 忘了？",
        "login now ???",
        "login re-trying again",
    ],
)
def test_a_sentence_that_begins_with_login_is_neither_deleted_nor_tried(text: str) -> None:
    house = House(TAKING).served()
    event_id = house.say(text)
    assert house.reported == {event_id: "undelivered.like_login"}
    assert [one for one in house.effects if isinstance(one, Conceal | TryLogin)] == []
    house.say("!wc login not working")
    assert [type(one) for one in house.effects if isinstance(one, Conceal | TryLogin)] == [
        Conceal,
        TryLogin,
    ]


def test_login_is_a_message_where_nobody_can_log_in() -> None:
    house = House().served()
    event_id = house.say("login ada x1")
    assert house.reported == {}
    assert [piece.event_id for piece in house.record.conversation.held] == [event_id]


@pytest.mark.parametrize("text", ["!wc login", "!wc lgin"])
def test_login_without_arguments_is_not_redacted(text: str) -> None:
    house = House(TAKING).served()
    house.say(text)
    (said,) = house.effects
    assert isinstance(said, Say)
    assert said.key in {"usage.login", "command.unknown_near"}


@pytest.mark.parametrize("text", ["login", "登录", "Login."])
def test_login_alone_is_explained_and_goes_to_no_agent(text: str) -> None:
    house = House(TAKING).served()
    event_id = house.say(text)
    assert house.reported == {event_id: "undelivered.like_command"}
    event_id = (house := House().served()).say(text)
    assert house.carried == [event_id], "nobody can log in there"


@pytest.mark.parametrize("text", ["!wc login ada", "!wc login a b c", "!wc lgin a b"])
def test_a_malformed_login_that_may_hold_a_password_is_redacted(text: str) -> None:
    house = House(TAKING).served()
    event_id = house.say(text)
    assert house.effects[0] == Conceal(event_id)
    assert len(house.notices) == 1


@pytest.mark.parametrize("text", [f"login ada {SECRET}", "!wc login ada x y"])
def test_no_login_in_clear_where_encryption_is_required(text: str) -> None:
    required = Encryption(allow=True, require=True)
    house = House(msgspec.structs.replace(TAKING, encryption=required)).served()
    event_id = house.say(text)
    assert Conceal(event_id) in house.effects
    assert not [one for one in house.effects if isinstance(one, TryLogin)]
    words = house.say("login not working")
    assert Conceal(words) not in house.effects


def test_no_login_beyond_the_rate_limit() -> None:
    house = House(TAKING).served()
    for _ in range(TAKING.limits.messages_per_minute + 1):
        house.say("!wc status")
    house.effects.clear()
    event_id = house.say(f"!wc login ada {SECRET}")
    assert house.effects == [Conceal(event_id)]


def test_no_login_without_permission() -> None:
    house = House(TAKING).served(direct=False)
    event_id = house.say(f"!wc login ada {SECRET}", STRANGER)
    assert house.reported == {event_id: "refused.permission"}
    assert house.effects.count(Conceal(event_id)) == 1


def test_a_login_in_a_notice_in_a_shared_room_is_ignored() -> None:
    house = House(TAKING).served(direct=False)
    words = "!wc login NAME PASSWORD"
    told = Spoke(house.event_id(), ADA, CustomerText(words), plain=words, notice=True)
    house.receive(told)
    assert house.effects == []


MISSPELT = (
    *(f"!wc登陆 ada {SECRET}", f"！wc登錄　ada {SECRET}", f"!wc登录：ada {SECRET}"),
    *(f"!wc: login ada {SECRET}", f"!wc，login ada {SECRET}", f"!wc 登录： ada {SECRET}"),
    *(f"!wc log in ada {SECRET}", f"!wc サインイン ada {SECRET}", f"！ｗｃ：Login:ada {SECRET}"),
)
"""Logins with common variants of spelling."""
UNLIKE = (
    *(f"!wc sign in ada {SECRET}", f"!wc登录ada {SECRET}", f"!wc 登禄 ada {SECRET}"),
    *(f"!wclogn ada {SECRET}", f"!wc singin ada {SECRET}", f"!wc 登录ada：{SECRET}"),
    *(f"!wc login ada:{SECRET}", f"!wcログイソ ada {SECRET}"),
)
"""Texts that are only probably logins."""


@pytest.mark.parametrize("text", MISSPELT)
def test_a_login_with_a_common_variant_of_spelling_is_tried(text: str) -> None:
    house = House(TAKING).served()
    event_id = house.say(text)
    assert house.effects == [Conceal(event_id), TryLogin(event_id, LOGIN)]


@pytest.mark.parametrize("text", UNLIKE)
def test_a_probable_login_is_redacted(text: str) -> None:
    house = House(TAKING).served()
    event_id = house.say(text)
    assert house.effects[0] == Conceal(event_id)
    assert house.notices in (["command.unknown_near"], ["usage.login"])


@pytest.mark.parametrize("text", [*MISSPELT, *UNLIKE])
@pytest.mark.parametrize("rules", [RULES, TAKING])
def test_no_agent_reads_a_login_with_the_prefix(text: str, rules: Rules) -> None:
    house = House(rules).served().chat()
    event_id = house.say(text)
    assert house.carried == []
    assert Conceal(event_id) in house.effects
    assert len(house.notices) == 1


BARE = (
    *(f"logn ada {SECRET}", f"login: ada {SECRET}", f"登录：ada {SECRET}"),
    *(f"log in ada {SECRET}", f"Sign in ada {SECRET}", f"登录\nada\n{SECRET}"),
    *(f'"login ada {SECRET}', f"“login” “ada” “{SECRET}”"),
)


@pytest.mark.parametrize("text", BARE)
def test_a_probable_login_without_the_prefix_is_held_back(text: str) -> None:
    house = House(TAKING).served()
    event_id = house.say(text)
    assert house.reported == {event_id: "undelivered.like_login"}
    assert house.carried == []
    assert undelivered(house.record, event_id) is not None, (
        "it may be sent to an agent all the same"
    )


@pytest.mark.parametrize("text", [*BARE, f"login ada {SECRET}", "login failed E42"])
def test_a_probable_login_in_a_queue_is_held_back(text: str) -> None:
    """Nobody can log in there, so the words may be for the agent."""
    house = House(TAKING).served()
    house.visit.step(Start())
    house.effects.clear()
    event_id = house.say(text)
    assert house.reported == {event_id: "undelivered.like_login"}
    assert undelivered(house.record, event_id) is not None


@pytest.mark.parametrize("text", [*BARE, f"login ada {SECRET}", f"登陆 ada {SECRET}"])
def test_a_probable_login_during_a_chat_is_held_back(text: str) -> None:
    house = House(TAKING).served().chat()
    event_id = house.say(text)
    assert house.reported == {event_id: "undelivered.like_login"}
    assert house.carried == []
    house = House().served().chat()
    event_id = house.say(text)
    assert house.carried == [event_id], "nobody can log in"
    house = House(TAKING).served(SALES_USER).chat()
    event_id = house.say(text)
    assert house.carried == [event_id]


@pytest.mark.parametrize(
    "text",
    [
        *("login not working", "login error 404", "登录 失败 了", "login", "login ada"),
        *("I cannot login since 10:30", "logo ada 2x", "my login is ada x1", "please login ada x1"),
        *("登录", "log in please now 2x", "登记 编号 A1234"),
    ],
)
def test_other_sentences_about_login_go_to_the_agent(text: str) -> None:
    house = House(TAKING).served().chat()
    event_id = house.say(text)
    assert house.carried == [event_id]


BURIED = (
    *(
        f"WebChat: !wc login ada {SECRET}",
        f"hello\n!wc login ada {SECRET}",
        f"`!wc 登录 ada {SECRET}`",
    ),
    *(
        f"> !wc login ada {SECRET}\n\nis wrong?",
        f"\u200b！ｗｃ login ada {SECRET}",
        f"wc login ada {SECRET}",
    ),
    *(f"! wc login ada {SECRET}", f"/login ada {SECRET}", f"* !wc login ada {SECRET}"),
)
"""Logins that are not commands: behind other words, or with a miswritten prefix."""


@pytest.mark.parametrize("text", BURIED)
def test_no_agent_reads_a_login_behind_other_words(text: str) -> None:
    for house in (House(TAKING).served(), House(TAKING).served().chat()):
        event_id = house.say(text)
        assert house.reported == {event_id: "undelivered.like_login"}
        assert house.carried == []
        assert Conceal(event_id) not in house.effects, "it may be a question about the command"
        kept = undelivered(house.record, event_id)
        assert kept is not None
        assert kept.private, "`retry all` leaves it out"


@pytest.mark.parametrize("text", BURIED)
def test_nor_in_a_shared_room_or_where_nobody_can_log_in(text: str) -> None:
    shared = House(TAKING).served(direct=False).chat()
    if not text.startswith("/"):  # there, a prefix is needed for all commands
        event_id = shared.say(text)
        assert shared.reported == {event_id: "undelivered.like_login"}
        event_id = (off := House().served()).say(text)
        assert off.carried == []


def test_nor_in_a_caption() -> None:
    house = House(TAKING).served().chat()
    words, event_id = f"!wc login ada {SECRET}", house.event_id()
    picture = CustomerMedia("image", "a.png", "mxc://example.org/a", "image/png", 1)
    house.receive(Spoke(event_id, ADA, picture, plain=words))
    assert house.reported == {event_id: "undelivered.like_login"}


@pytest.mark.parametrize("text", ["the wc is dirty", "what does !wc login do?", "a wc, login: no"])
def test_other_words_about_it_go_to_the_agent(text: str) -> None:
    house = House(TAKING).served().chat()
    assert [house.say(text)] == house.carried


def test_other_mistyped_commands_are_not_redacted() -> None:
    house = House(TAKING).served()
    house.say("!wc histry 3")
    assert house.notices == ["command.unknown_near"]
    assert len(house.effects) == 1


def test_no_login_in_a_shared_room() -> None:
    house = House(TAKING).served(direct=False)
    house.say("!wc login ada x")
    assert house.notices == ["login.direct_only"]
    assert isinstance(house.effects[0], Conceal)


@pytest.mark.parametrize("text", ["!wc login", "!wc login ada", "!wc lgin", "!wc login a b c"])
def test_nobody_is_told_to_write_a_password_in_a_shared_room(text: str) -> None:
    house = House(TAKING).served(direct=False)
    house.say(text)
    assert house.notices == ["login.direct_only"]


def test_help_names_login_only_in_a_direct_chat() -> None:
    for direct in (True, False):
        house = House(TAKING).served(direct=direct)
        house.say("!wc help all")
        (told,) = said(house).values()
        assert ("登录 <账号>" in str(told["commands"])) == direct


def test_no_login_in_a_direct_room_that_became_shared() -> None:
    house = House(TAKING).served()
    house.receive(MemberJoined(UserId("@bob:example.org"), "Bob"))
    house.say("!wc login ada x")
    assert house.notices == ["room.shared", "login.direct_only"]


def test_no_login_if_the_operator_disabled_it() -> None:
    for text in ("!wc login ada x1", "!wc login"):
        house = House().served()
        house.say(text)
        assert house.notices == ["login.off"]


def test_no_login_or_logout_during_a_chat_or_queue() -> None:
    for house in (House(TAKING).served().chat(), House(TAKING).served()):
        house.visit.step(Start())
        house.effects.clear()
        house.say("!wc login ada x")
        house.say("!wc logout")
        assert house.notices == ["login.chatting", "logout.nobody"]
        house.visit.set(login=LOGIN)
        house.say("!wc logout")
        assert house.notices[-1] == "login.chatting"
        assert house.record.login == LOGIN


def test_no_second_login_at_once() -> None:
    house = House(TAKING).served()
    house.say("login ada x1")
    house.say("login ada y1")
    assert house.notices == ["login.too_soon"]
    house.visit.now += own_account.LOGIN_EVERY
    house.say("login ada y1")
    assert sum(isinstance(one, TryLogin) for one in house.effects) == 2


def test_a_login_is_tried_after_the_clock_was_set_back() -> None:
    house = House(TAKING).served()
    house.say("login ada x1")
    house.visit.now -= 3_600_000
    house.say("login ada y1")
    assert sum(isinstance(one, TryLogin) for one in house.effects) == 2


def test_login_needs_the_prefix_in_a_direct_room_with_a_queue_user() -> None:
    house = House(TAKING).served(SALES_USER)
    house.say("login ada x1")
    assert house.carried
    house = House(TAKING).served(SALES_USER)
    house.say("!wc login ada x")
    assert isinstance(house.effects[1], TryLogin)


# --- results of a login ---------------------------------------------------------------------------


def came(house: House, reason: str | None = None, code: int | None = None) -> dict[str, Args]:
    own_account.login_tried(house.visit, LoginTried(EventId("$1"), LOGIN, reason, code))
    return said(house)


def test_an_accepted_login_is_stored_and_can_be_removed() -> None:
    house = House(TAKING).served()
    assert came(house)["login.done"]["name"] == "ada"
    assert dump_record(house.record).count(b"OwnLogin") == 1
    house.say("logout")
    assert house.record.login is None
    assert said(house)["logout.done"] == {"name": "ada"}


def test_a_refused_login_is_told_with_its_reason() -> None:
    house = House(TAKING).served()
    args = came(house, "login.refused", -20)["login.refused"]
    assert args == {"reason": house.visit.for_agent("result.-20", {})}
    assert house.record.login is None
    assert "-77" in str(came(House(TAKING).served(), "login.refused", -77)["login.refused"])
    assert "login.unreachable" in came(House(TAKING).served(), "login.unreachable")


def test_a_login_accepted_during_a_chat_is_discarded() -> None:
    """A chat has begun under the former account while the call centre was asked."""
    house = House(TAKING).served().chat()
    assert "login.chatting" in came(house)
    assert house.record.login is None


def test_a_login_after_a_chat_is_tried() -> None:
    house = House(TAKING).served()
    conversation = msgspec.structs.replace(house.record.conversation, phase=Ended(SessionId(5150)))
    house.visit.set(conversation=conversation)
    house.say("login ada x1")
    assert isinstance(house.effects[1], TryLogin)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("failure", "reason", "code"),
    [
        (None, None, None),
        (CallFailure(FailureReason.LOGIN_REFUSED, certain=True, code=-20), "login.refused", -20),
        (CallFailure(FailureReason.LOGIN_REFUSED, certain=True), "login.refused", 0),
        (CallFailure(FailureReason.SIGN_REFUSED, certain=True, code=-30), "login.refused", -30),
        (CallFailure(FailureReason.UNREACHABLE, certain=True, code=-4), "login.refused", -4),
        (CallFailure(FailureReason.UNREACHABLE, certain=True), "login.unreachable", None),
        (CallFailure(FailureReason.NO_TURN, certain=True), "login.unreachable", None),
    ],
)
async def test_the_result_of_a_login_attempt(
    failure: CallFailure | None, reason: str | None, code: int | None
) -> None:
    world = World()
    if failure is not None:
        world.link.before.append(failure)
    account = Account(ROOM, ADA, "Ada")
    order = TryLogin(EventId("$1"), LOGIN)
    tried = await own_account.try_login(world.around, account, order)
    assert tried == LoginTried(order.event_id, LOGIN, reason, code)
    assert world.link.logins == [msgspec.structs.replace(account, login=LOGIN)]


@pytest.mark.asyncio
async def test_a_login_message_is_redacted_or_its_sender_asked_to_delete_it() -> None:
    world = World()
    await world.chatting()
    record = await world.stored()
    world.matrix.level = 100
    assert await own_account.conceal(world.around, record, Conceal(EventId("$1"))) is None
    assert world.matrix.redacted == ["$1"]
    world.matrix.level = 0
    told = await own_account.conceal(world.around, record, Conceal(EventId("$2")))
    assert told == LookedUp(EventId("$2"), "login.delete")


def test_a_stored_login_is_not_used_for_another_inviter() -> None:
    """Somebody who invites the bot again is not logged in as the former customer."""
    for by, login in ((ADA, LOGIN), (UserId("@bo:example.org"), None)):
        house = House(TAKING).served()
        house.visit.set(login=LOGIN, membership=Membership.LEFT)
        house.invite(by)
        assert house.record.login == login


@pytest.mark.asyncio
async def test_a_reply_to_a_message_that_looks_like_a_login_does_not_quote_it() -> None:
    """An agent reads it only once its sender has sent it again."""
    limits = RULES.limits.model_copy(update={"messages_per_minute": 10})
    world = ReadingWorld(msgspec.structs.replace(TAKING, limits=limits))
    await world.chatting()

    async def happens(event_id: str, text: str, about: str = "") -> None:
        relation = {"m.in_reply_to": {"event_id": about}} if about else {}
        content = {"msgtype": "m.text", "body": text, "m.relates_to": relation}
        await engine.accept_events([world.message(event_id, **content)])
        await quiet()

    async with world.running() as engine:
        await happens("$1", f"login ada {SECRET}")
        await happens("$2", f"Mei: !wc login ada {SECRET}")
        picture = {"url": "mxc://example.org/a", "body": "!wc login a b", "filename": "a.png"}
        await engine.accept_events([world.message("$5", msgtype="m.image", **picture)])
        await happens("$3", "why not?", about="$1")
        await happens("$4", "nor this?", about="$2")
        await happens("$6", "nor that?", about="$5")
    assert world.link.texts(ROOM) == ["why not?", "nor this?", "nor that?"]
