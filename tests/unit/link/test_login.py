"""Accounts, logins and stored tokens, also with a failing server or store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from dataclasses import replace as changed
from functools import partial

import msgspec
import pytest
from aiohttp import web
from pydantic import SecretStr
from structlog.testing import capture_logs

from bridge.config.model import AccountEntry, Login
from bridge.ids import QueueId, RoomId
from bridge.link.http_client import NOBODY, SUSPICIONS, Door, Http, OpenFailure
from bridge.link.link import LATE, STORE_AGAIN
from bridge.link.login import Logins, credentials_of, matching_rule, room_key, shared, visitor_id
from bridge.link.settings import USER_AGENT, Learnt, LinkSettings, TokenStore
from bridge.rooms.ports import Account, CallFailure
from bridge.rooms.record import OwnLogin
from bridge.rooms.store import StoreError, Token
from bridge.webchat.codes import FailureReason, LoginType
from bridge.webchat.frames import RequestChat
from bridge.webchat.http import Login as Sent
from tests.fakes.memory import MemoryStore
from tests.unit.link.rig import (
    FAST,
    Facts,
    LinkCounts,
    LoopClock,
    WildServer,
    account,
    eventually,
    rig,
    settings_for,
)
from tests.unit.link.rig import Tokens as KeptTokens

ADA = account()
DAY = 24 * 3_600_000


@asynccontextmanager
async def logging_in(
    settings: LinkSettings, store: TokenStore | None = None
) -> AsyncIterator[tuple[Logins, Door, LinkCounts]]:
    http, clock, counts = Http(settings.timing, None), LoopClock(), LinkCounts()
    door = Door(settings, http, Facts(), clock)
    async with http.running():
        logins = Logins(
            settings,
            store or KeptTokens(),
            door=door,
            learnt=Learnt(settings, Facts(), clock),
            clock=clock,
            metrics=counts,
        )
        yield logins, door, counts


def answering(*bodies: dict[str, object]) -> WildServer:
    """Answer with these bodies in turn, then always with the last."""
    left = list(bodies)

    async def login(_: web.Request) -> web.StreamResponse:
        return web.json_response(left.pop(0) if len(left) > 1 else left[0])

    return WildServer(login=login)


@pytest.mark.asyncio
async def test_token_of_a_login_has_its_client_id_name_and_time() -> None:
    server = answering({"result": 1, "token": "T", "clientId": "C"})
    async with server.running(), logging_in(settings_for(server.base_url)) as (logins, door, _):
        token = await logins.login(ADA)
        assert (token.value, token.client_id) == ("T", "C")
        assert token.login_name == f"mx-{room_key(ADA.room_id)}"
        assert abs(token.issued - LoopClock().now()) < 5000
        assert door.trouble == ""
    assert "T" not in repr(token).replace("Token", "")


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [0, -100, -1, -15, 42])
async def test_other_refusals_of_a_login_are_temporary(code: int) -> None:
    server = answering({"result": code, "message": "secret?"})
    async with (
        server.running(),
        logging_in(settings_for(server.base_url)) as (logins, door, counts),
    ):
        for _ in range(2):
            with pytest.raises(OpenFailure) as caught:
                await logins.login(ADA)
            assert caught.value.reason is FailureReason.UNREACHABLE
            assert (caught.value.code, caught.value.pause) == (code, 0)
        assert counts.logins_refused == len(server.logins) == 2
        assert door.trouble == "", "it did answer"


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_on_the_server_is_followed(status: int) -> None:
    """With the same body and sign, as a POST; the User-Agent does not name the language."""

    async def login(request: web.Request) -> web.StreamResponse:
        if request.query:
            return web.json_response({"result": 1, "token": "T"})
        return web.Response(status=status, headers={"Location": "tpi?moved=1"})

    async with WildServer(login=login).running() as server:
        async with logging_in(settings_for(server.base_url, sign_key="K")) as (logins, _, _):
            assert (await logins.login(ADA)).value == "T"
        assert len(set(server.login_bodies)) == 1 < len(server.login_bodies)
        assert len({headers["sign"] for headers in server.login_headers}) == 1
        assert {headers["User-Agent"] for headers in server.login_headers} == {USER_AGENT}
        assert not any(word in USER_AGENT.lower() for word in ("python", "aiohttp"))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://crm.example.org:8443/tpi?token=x", "login: HTTP 301 redirects to https://crm.ex"),
        ("http://[/tpi", "login: HTTP 301 redirects to an invalid URL"),
        ("//crm.example.org/tpi", "login: HTTP 301 redirects to http://crm.example.org"),
        ("tpi", "login: more than 5 redirects"),
    ],
)
async def test_a_redirect_that_leads_elsewhere_is_named(location: str, where: str) -> None:
    """It does not count as blacklisting, which would stop all logins for ten minutes."""

    async def login(_: web.Request) -> web.StreamResponse:
        return web.Response(status=301, headers={"Location": location})

    async with (
        WildServer(login=login).running() as server,
        logging_in(settings_for(server.base_url)) as (logins, _, _),
    ):
        for _ in range(SUSPICIONS + 1):
            with pytest.raises(OpenFailure) as caught:
                await logins.login(ADA)
            assert str(caught.value).startswith(where)
            assert caught.value.pause == 0
            assert "token" not in str(caught.value)


@pytest.mark.asyncio
async def test_all_redirects_of_a_request_share_its_timeout() -> None:
    async def login(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return web.Response(status=307, headers={"Location": "tpi"})

    async with WildServer(login=login).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, mute=0.3))
        async with logging_in(settings) as (logins, _, _):
            with pytest.raises(OpenFailure, match="login: no answer in time"):
                await logins.login(ADA)
        assert len(server.logins) == 2


@pytest.mark.asyncio
async def test_login_to_an_unreachable_server() -> None:
    async with logging_in(settings_for("http://127.0.0.1:1/webchat")) as (logins, door, counts):
        with pytest.raises(OpenFailure, match="login: Connection refused") as caught:
            await logins.login(ADA)
        assert caught.value.reason is FailureReason.UNREACHABLE
        assert counts.logins == 1
        assert door.trouble


@pytest.mark.asyncio
async def test_a_login_that_hangs_is_given_up() -> None:
    stuck = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await stuck.wait()
        return web.Response()

    async with WildServer(login=hang).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, mute=0.1))
        async with logging_in(settings) as (logins, _, _):
            with pytest.raises(OpenFailure, match="no answer in time"):
                await logins.login(ADA)
        stuck.set()


@pytest.mark.asyncio
async def test_a_slow_server_has_as_long_for_a_login_as_for_a_message() -> None:
    """Each login counts towards the blacklist, also one whose answer is not awaited."""

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.json_response({"result": 1, "token": "T"})

    async with WildServer(login=slow).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, reply=0.05, mute=20.0))
        async with logging_in(settings) as (logins, _, _):
            assert (await logins.login(ADA)).value == "T"
        assert len(server.logins) == 1


@pytest.mark.asyncio
async def test_each_refusal_is_remembered_longer() -> None:
    server = answering({"result": -20})
    timing = replace(FAST, refusal_first=0.1, refusal_last=0.3)
    pauses: list[float] = []
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, timing=timing)) as (logins, _, _),
    ):
        for number in range(1, 5):
            with pytest.raises(OpenFailure) as caught:
                await logins.login(ADA)
            pauses.append(round(caught.value.pause, 3))
            assert caught.value.rest == pytest.approx(3600), "by ourselves, not for an hour"
            with pytest.raises(OpenFailure) as remembered:
                await logins.login(ADA)
            assert remembered.value.code == -20
            assert 0 < remembered.value.pause <= pauses[-1] + 0.001
            assert len(server.logins) == number
            await asyncio.sleep(pauses[-1] + 0.01)
    assert pauses == [0.1, 0.2, 0.3, 0.3]


@pytest.mark.asyncio
async def test_a_success_forgets_the_refusal() -> None:
    good: dict[str, object] = {"result": 1, "token": "T"}
    server = answering({"result": -20}, good, {"result": -20})
    timing = replace(FAST, refusal_first=0.05)
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, timing=timing)) as (logins, _, _),
    ):
        with pytest.raises(OpenFailure):
            await logins.login(ADA)
        await asyncio.sleep(0.06)
        await logins.login(ADA)
        with pytest.raises(OpenFailure) as caught:
            await logins.login(ADA)
        assert caught.value.pause == pytest.approx(0.05)


@pytest.mark.asyncio
async def test_a_refused_sign_is_refused_for_all() -> None:
    """-30 concerns all accounts: one login tries again for all, and a success ends the pause."""
    no: dict[str, object] = {"result": -30}
    server = answering(no, no, {"result": 1, "token": "T"})
    timing = replace(FAST, refusal_first=0.1)
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, timing=timing)) as (logins, _, _),
    ):
        for visits in (1, 2):
            for together in (range(1), range(5)):
                outcomes = await asyncio.gather(
                    *(logins.login(account(str(n))) for n in together), return_exceptions=True
                )
                for outcome in outcomes:
                    assert isinstance(outcome, OpenFailure)
                    assert outcome.reason is FailureReason.SIGN_REFUSED
                    assert 0 < outcome.pause < 0.1 * visits + 0.01
                    assert 3590 < outcome.rest < 3600.01
                assert len(server.logins) == visits
            await asyncio.sleep(0.1 * visits + 0.01)
        await asyncio.gather(*(logins.login(account(str(n))) for n in range(5)))
        assert len(server.logins) == 7


@pytest.mark.asyncio
@pytest.mark.parametrize(("code", "why"), [(-20, "wrong login name"), (-30, "check the key")])
async def test_refused_credentials_are_reported_until_a_login_succeeds(code: int, why: str) -> None:
    server = answering({"result": code}, {"result": 1, "token": "T"})
    timing = replace(FAST, refusal_first=0.01)
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, timing=timing)) as (logins, _, _),
    ):
        assert logins.refused == ""
        with pytest.raises(OpenFailure):
            await logins.login(ADA)
        assert logins.refused.startswith(f"login refused with {code}: ")
        assert why in logins.refused
        await asyncio.sleep(0.02)
        await logins.login(ADA)
        assert logins.refused == ""


@pytest.mark.asyncio
async def test_concurrent_refusals_count_once() -> None:
    server = answering({"result": -30})
    async with server.running(), logging_in(settings_for(server.base_url)) as (logins, _, _):
        outcomes = await asyncio.gather(
            *(logins.login(account(str(n))) for n in range(5)), return_exceptions=True
        )
        assert len(server.logins) == 5
        pauses = [outcome.pause for outcome in outcomes if isinstance(outcome, OpenFailure)]
        assert len(pauses) == 5
        assert max(pauses) < 60.01


@pytest.mark.asyncio
async def test_waiting_logins_fail_once_the_bridge_is_blacklisted() -> None:
    """The fourth is never sent, although it was waiting: the door has closed after nobody's."""

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text="<html>")

    async with WildServer(login=page).running() as server:
        settings = settings_for(server.base_url, login_count=1, login_seconds=0.01)
        async with logging_in(settings) as (logins, _, _):
            results = await asyncio.gather(
                *(logins.login(account(str(n), str(n))) for n in range(6)), return_exceptions=True
            )
        assert all(isinstance(result, OpenFailure) for result in results)
        assert [NOBODY in body.decode() for body in server.login_bodies] == [False] * 3 + [True]


@pytest.mark.asyncio
async def test_a_server_that_is_starting_is_no_blacklist() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="<html>")

    async with WildServer(login=page).running() as server:
        async with logging_in(settings_for(server.base_url)) as (logins, _, _):
            for _ in range(6):
                with pytest.raises(OpenFailure) as caught:
                    await logins.login(ADA)
                assert caught.value.pause == 0
        assert len(server.logins) == 6


@pytest.mark.asyncio
async def test_blank_login_name_is_refused_without_asking() -> None:
    server = answering({"result": 1, "token": "T"})
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, name=" ")) as (logins, _, _),
    ):
        with pytest.raises(OpenFailure) as caught:
            await logins.login(ADA)
        assert caught.value.reason is FailureReason.LOGIN_REFUSED
        assert server.logins == []


@pytest.mark.asyncio
async def test_token_is_used_unless_it_is_aged_or_of_another_login() -> None:
    server, store, now = WildServer(), KeptTokens(), LoopClock().now()
    async with server.running(), logging_in(settings_for(server.base_url), store) as (logins, _, _):
        name = f"mx-{room_key(ADA.room_id)}"
        stored = store.kept[ADA.room_id] = Token(ADA.room_id, name, "stored", now)
        assert await logins.obtain(ADA) is stored
        assert server.logins == []
        store.kept[ADA.room_id] = msgspec.structs.replace(stored, issued=now - DAY)
        assert (await logins.obtain(ADA)).value == "T1"
        assert store.kept[ADA.room_id].value == "T1"
        store.kept[ADA.room_id] = Token(ADA.room_id, "other", "y", now)
        assert (await logins.obtain(ADA)).value == "T2"
        logins.refuse(ADA.room_id, store.kept[ADA.room_id])
        assert (await logins.obtain(ADA)).value == "T3"
        assert store.kept[ADA.room_id].value == "T3"


@pytest.mark.asyncio
async def test_a_token_of_a_customers_own_login_replaces_the_refused_one() -> None:
    """The command `login` has stored it while the link was up."""
    server, store, now = WildServer(), KeptTokens(), LoopClock().now()
    own = msgspec.structs.replace(ADA, login=OwnLogin("ada", b"sealed"))
    async with server.running(), logging_in(settings_for(server.base_url), store) as (logins, _, _):
        logins.refuse(ADA.room_id, Token(ADA.room_id, "ada", "old", now))
        store.kept[ADA.room_id] = Token(ADA.room_id, "ada", "new", now)
        logins.settings = replace(logins.settings, unseal=lambda *_: "password")
        assert (await logins.obtain(own)).value == "new"
        assert server.logins == []


@pytest.mark.asyncio
async def test_a_token_is_kept_with_its_cookies_and_forgotten_with_them() -> None:
    """It is forgotten once the login that should replace it fails."""
    store, server, now = MemoryStore(), WildServer(), LoopClock().now()
    name = f"mx-{room_key(ADA.room_id)}"
    token = Token(ADA.room_id, name, "SECRET", now, "client", "SERVERID=n1; JSESSIONID=x")
    await store.save_token(token)
    assert "SERVERID" not in repr(token)
    async with server.running(), logging_in(settings_for(server.base_url), store) as (logins, _, _):
        assert await logins.obtain(ADA) == token
        logins.refuse(ADA.room_id, token)
        assert await store.token(ADA.room_id) == token
    with pytest.raises(OpenFailure):
        await logins.obtain(ADA)
    row = await store.token(ADA.room_id)
    assert row is not None
    assert (row.login_name, row.value, row.cookies) == (name, "", "")


@pytest.mark.asyncio
async def test_store_that_fails_between_logins() -> None:
    server, store = WildServer(), KeptTokens()
    async with server.running(), logging_in(settings_for(server.base_url), store) as (logins, _, _):
        store.broken = True
        with pytest.raises(OpenFailure, match="database did not answer"):
            await logins.obtain(ADA)
        assert server.logins == []
        logins.refuse(ADA.room_id, Token(ADA.room_id, "", "old", 0))
        with pytest.raises(OpenFailure, match="database did not answer"):
            await logins.obtain(ADA)
        assert server.logins == []


@pytest.mark.asyncio
async def test_a_lost_link_is_not_opened_again_while_the_store_is_down() -> None:
    """Another process may serve the room by then: the server would close its link for this one."""
    async with (
        WildServer().running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        rigged.links.keep(ADA)
        await eventually(lambda: rigged.counts.open_links == 1)
        rigged.tokens.broken = True
        await server.opened[0].close()
        await eventually(lambda: rigged.counts.open_failures > 2)
        assert len(server.opened) == 1
        rigged.tokens.broken = False
        await eventually(lambda: rigged.counts.open_links == 1)
        assert (len(server.opened), rigged.counts.logins) == (2, 1)


@pytest.mark.asyncio
async def test_a_link_is_back_soon_after_a_long_outage_of_the_database() -> None:
    """The back-off, which grows while the call centre is away, does not grow meanwhile."""
    slow = replace(FAST, backoff_first=0.01, backoff_last=60.0)
    async with (
        WildServer().running() as server,
        rig(settings_for(server.base_url, timing=slow)) as rigged,
    ):
        rigged.links.keep(ADA)
        await eventually(lambda: rigged.counts.open_links == 1)
        rigged.tokens.broken = True
        await server.opened[0].close()
        link = rigged.links._links[ADA.room_id]
        for count in range(1, 13):  # the next pause of the back-off would be at least 20 s
            await eventually(partial(lambda n: rigged.counts.open_failures == n, count))
            assert link.gate.pause_left() <= STORE_AGAIN
            link.gate.hold(LATE, 0.0)  # the pause is over
        rigged.tokens.broken = False
        await eventually(lambda: rigged.counts.open_links == 1)


def settings(**changes: object) -> LinkSettings:
    return settings_for("http://crm/webchat", enterprise_id="E1", **changes)


def test_a_room_key_is_short_stable_and_different() -> None:
    assert room_key("!a:example.org") == room_key("!a:example.org")
    assert room_key("!a:example.org") != room_key("!b:example.org")
    assert len(room_key("!a:example.org")) == 16


def test_room_key_with_a_secret() -> None:
    rooms, secrets = ("!a:example.org", "!b:example.org"), (b"", b"one", b"two")
    drawn = {room_key(room, secret) for room in rooms for secret in secrets}
    assert len(drawn) == 6
    assert {len(key) for key in drawn} == {16}
    # Earlier versions generated this key, and their rooms still have it.
    assert room_key("!a:example.org") == "50b1cd92e41df97a"


def test_login_names_contain_the_rooms_own_key() -> None:
    who = msgspec.structs.replace(account(), key="0123456789abcdef")
    for kind in LoginType:
        made = credentials_of(settings(login_type=kind), who)
        assert made.login_name == "mx-0123456789abcdef"


def test_85_two_rooms_of_one_user_have_two_login_names() -> None:
    names = {credentials_of(settings(), account(room)).login_name for room in ("a", "b")}
    assert len(names) == 2


def test_register_login_has_the_rooms_key_and_the_display_name() -> None:
    credentials = credentials_of(settings(), account())
    key = room_key("!a:example.org")
    assert credentials.login == Sent(LoginType.REGISTER, f"mx-{key}", "", "E1", "Ada")


@pytest.mark.asyncio
async def test_configured_picture_and_ip_address_are_sent() -> None:
    server = answering({"result": 1, "token": "T"})
    async with server.running():
        told = settings_for(server.base_url, portrait="https://h/{room_key}.png", ip="203.0.113.9")
        async with logging_in(told) as (logins, _, _):
            await logins.login(ADA)
    body = msgspec.json.decode(server.login_bodies[0])
    picture = f"https://h/{room_key(ADA.room_id)}.png"
    assert (body["portraitUri"], body["ip"]) == (picture, "203.0.113.9")


def test_a_display_name_with_braces_is_only_text() -> None:
    who = account()
    login = credentials_of(settings(), type(who)(who.room_id, who.customer, "{room_key.__class__}"))
    assert login.login.type is LoginType.REGISTER
    assert login.login.display_name == "{room_key.__class__}"


def test_visitor_is_a_stable_guid() -> None:
    login = credentials_of(settings(login_type=LoginType.VISITOR), account()).login
    guid = visitor_id(f"mx-{room_key('!a:example.org')}")
    assert login == Sent(LoginType.VISITOR, guid, "", "E1", "Ada")
    assert len(visitor_id("x")) == 36


def test_password_without_a_list_uses_the_template() -> None:
    made = credentials_of(settings(login_type=LoginType.PASSWORD, password="pw"), account())
    assert made.login == Sent(
        LoginType.PASSWORD, f"mx-{room_key('!a:example.org')}", "pw", "E1", "Ada"
    )


def rule(name: str, password: str = "") -> AccountEntry:
    return AccountEntry.model_construct(name=name, password=SecretStr(password))


RULES = {
    "*": rule("any-{room_key}", "0"),
    "@*:example.org": rule("org", "1"),
    "@ada:*": rule("ada-anywhere", "2"),
    "@ada:example.org": rule("ada", "3"),
    "!a:example.org": rule("room-a", "4"),
}


def test_the_most_specific_rule_wins() -> None:
    user, room = "@ada:example.org", "!a:example.org"

    def chosen(*left_out: str) -> str:
        rules = {key: one for key, one in RULES.items() if key not in left_out}
        found = matching_rule(rules, room, user)
        assert found is not None
        return found.name

    assert chosen() == "room-a"
    assert chosen(room) == "ada"
    assert chosen(room, user) == "org"
    assert chosen(room, user, "@*:example.org") == "ada-anywhere"
    assert chosen(*set(RULES) - {"*"}) == "any-{room_key}"
    assert matching_rule({}, room, user) is None


def test_a_room_without_an_account_is_refused_without_asking() -> None:
    others = settings(login_type=LoginType.PASSWORD, accounts={"!other:x": rule("o", "p")})
    with pytest.raises(OpenFailure) as caught:
        credentials_of(others, account())
    assert caught.value.reason is FailureReason.LOGIN_REFUSED
    assert caught.value.certain


@pytest.mark.parametrize("template", ["{nope}", "{", "{0}", "{room_key.nope}"])
def test_a_template_with_an_unknown_name_is_an_error(template: str) -> None:
    with pytest.raises(ValueError, match=r"may use|unbalanced|only plain"):
        Login(name=template)


@pytest.mark.asyncio
async def test_the_log_of_a_refusal_names_no_secret_login() -> None:
    """A login by REGISTER has no password: its name is the secret."""
    for kind, names in ((LoginType.REGISTER, False), (LoginType.PASSWORD, True)):
        server = answering({"result": -30})
        async with server.running():
            given = settings_for(server.base_url, login_type=kind)
            async with logging_in(given) as (logins, _, _):
                with capture_logs() as logs, pytest.raises(OpenFailure):
                    await logins.login(ADA)
        name = credentials_of(given, ADA).login_name
        (told,) = [one for one in logs if one["event"] == "webchat login refused"]
        assert (told["room"], name in str(told)) == (ADA.room_id, names)


def test_no_secret_shows_in_a_repr() -> None:
    shown = repr(
        settings(
            login_type=LoginType.PASSWORD,
            password="secret-1",
            sign_key="secret-2",
            accounts={"*": rule("n", "secret-3")},
        )
    )
    assert "secret" not in shown
    made = credentials_of(settings(login_type=LoginType.PASSWORD, password="secret-1"), account())
    assert "secret" not in repr(made)


@pytest.mark.parametrize(
    ("pattern", "name", "rooms_per_user", "several"),
    [
        ("@ada:example.org", "ada", 5, True),
        ("@ada:example.org", "ada", 1, False),
        ("@ada:example.org", "ada-{room_key}", 5, False),
        ("@ada:example.org", "ada-{displayname}", 5, True),
        ("@*:example.org", "one", 1, True),
        ("!room:example.org", "one", 5, False),
        ("!*", "one", 1, True),
        ("!*", "{room_id}", 5, False),
    ],
)
def test_accounts_that_several_rooms_could_share(
    pattern: str, name: str, rooms_per_user: int, several: bool
) -> None:
    found = shared({pattern: rule(name)}, rooms_per_user)
    assert found == ([pattern] if several else [])


OWN = msgspec.structs.replace(ADA, login=OwnLogin("ada", b"good"))
TYPO = msgspec.structs.replace(ADA, login=OwnLogin("ada", b"typo"))
ASK = RequestChat(QueueId(1))


def unseal(room_id: RoomId, sealed: bytes) -> str:
    assert room_id == ADA.room_id
    if sealed == b"broken":
        raise StoreError("sealed with another secret")
    return sealed.decode()


class Server(WildServer):
    """Accepts the password "good" and all logins by REGISTER; each login gets a new token.

    Attributes:
        bodies: bodies of the logins.
        open: logins wait until it is set.
    """

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.open = asyncio.Event()
        self.open.set()

        async def login(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            self.bodies.append(body)
            await self.open.wait()
            if body["type"] == 1 and body["password"] != "good":
                return web.json_response({"result": -20, "message": "no"})
            return web.json_response({"result": 1, "token": f"T{len(self.bodies)}"})

        super().__init__(login=login)

    @property
    def names(self) -> list[object]:
        return [body["loginName"] for body in self.bodies]


def own_accounts(server: WildServer) -> LinkSettings:
    return settings_for(server.base_url, unseal=unseal)


def credentials(who: Account, **changes: object) -> Sent:
    plain = settings_for("http://crm", enterprise_id="E", unseal=unseal)
    return credentials_of(changed(plain, **changes), who).login  # type: ignore[arg-type]  # names


def test_own_account_of_a_customer_is_preferred() -> None:
    assert credentials(OWN) == Sent(LoginType.PASSWORD, "ada", "good", "E")
    assert credentials(ADA).type is LoginType.REGISTER
    assert credentials(OWN, unseal=None).type is LoginType.REGISTER  # switched off since
    assert "good" not in repr(credentials(OWN))


def test_undecryptable_password_is_refused() -> None:
    broken = msgspec.structs.replace(ADA, login=OwnLogin("ada", b"broken"))
    with pytest.raises(OpenFailure, match="log in again") as caught:
        credentials(broken)
    assert caught.value.reason is FailureReason.LOGIN_REFUSED


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("who", "code", "told", "next_one", "afterwards"),
    [
        (ADA, -20, "refused with -20", ADA, ""),
        (ADA, -20, "refused with -20", OWN, "refused with -20"),
        (OWN, -20, "", OWN, ""),
        (OWN, -30, "refused with -30", OWN, ""),
    ],
)
async def test_refused_credentials_of_a_customer_are_not_the_operators(
    who: Account, code: int, told: str, next_one: Account, afterwards: str
) -> None:
    """The bridge's state shows refused credentials of the operator, and a refused sign of any."""
    server = answering({"result": code}, {"result": 1, "token": "T"})
    timing = replace(FAST, refusal_first=0)
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, unseal=unseal, timing=timing)) as (logins, _, _),
    ):
        with pytest.raises(OpenFailure):
            await logins.login(who)
        assert (told in logins.refused, bool(logins.refused)) == (True, bool(told))
        await logins.login(next_one)
        assert (afterwards in logins.refused, bool(logins.refused)) == (True, bool(afterwards))


@pytest.mark.asyncio
async def test_token_of_a_customers_own_login_is_used() -> None:
    server = Server()
    async with server.running(), rig(own_accounts(server)) as rigged:
        await rigged.links.log_in(OWN)
        assert rigged.tokens.kept[ADA.room_id].value == "T1"
        assert (await rigged.call(OWN, 1, ASK)).ok
        assert server.names == ["ada"]


@pytest.mark.asyncio
async def test_wrong_password_does_not_block_the_right_one() -> None:
    server = Server()
    async with server.running(), rig(own_accounts(server)) as rigged:
        with pytest.raises(CallFailure) as caught:
            await rigged.links.log_in(TYPO)
        assert (caught.value.reason, caught.value.code) == (FailureReason.LOGIN_REFUSED, -20)
        with pytest.raises(CallFailure):
            await rigged.links.log_in(TYPO)  # the same password: not sent again
        assert rigged.links.logins.refused == "", "a customer's own are not the operator's"
        await rigged.links.log_in(OWN)
        assert len(server.bodies) == 2


@pytest.mark.asyncio
async def test_socket_of_the_former_account_is_closed() -> None:
    server = Server()
    async with server.running(), rig(own_accounts(server)) as rigged:
        rigged.links.keep(ADA)
        assert (await rigged.call(ADA, 1, ASK)).ok
        assert (await rigged.call(OWN, 2, ASK)).ok
        assert server.names[-1] == "ada"
        assert (await rigged.call(OWN, 3, ASK)).ok
        assert len(server.bodies) == 2
        assert (await rigged.call(ADA, 4, ASK)).ok
        assert server.names[-1] == server.names[0]
        await eventually(lambda: rigged.counts.open_links == 1)


@pytest.mark.asyncio
async def test_new_account_does_not_wait_for_the_refusal_of_the_former_one() -> None:
    server = Server()
    async with server.running(), rig(own_accounts(server)) as rigged:
        rigged.links.keep(TYPO)
        await eventually(lambda: rigged.counts.open_failures == 1)
        rigged.links.keep(OWN)
        await eventually(lambda: rigged.counts.open_links == 1)
        assert server.names == ["ada", "ada"]


@pytest.mark.asyncio
async def test_account_may_change_while_the_former_one_logs_in() -> None:
    server = Server()
    async with server.running(), rig(own_accounts(server)) as rigged:
        server.open.clear()
        rigged.links.keep(ADA)
        await eventually(lambda: len(server.bodies) == 1)
        rigged.links.keep(OWN)
        server.open.set()
        assert (await rigged.call(OWN, 1, ASK)).ok
        assert server.names[-1] == "ada"
        assert rigged.tokens.kept[ADA.room_id].login_name == "ada"


@pytest.mark.asyncio
async def test_a_token_of_another_call_centre_is_never_used() -> None:
    """The room may have moved from there, and its login name may be the same."""
    store = KeptTokens()
    server = answering({"result": 1, "token": "first"}, {"result": 1, "token": "second"})
    async with server.running():
        settings = settings_for(server.base_url)
        async with logging_in(settings, store) as (logins, _, _):
            assert (await logins.obtain(ADA)).value == "first"
            assert (await logins.obtain(ADA)).value == "first"
        async with logging_in(replace(settings, mark="best"), store) as (logins, _, _):
            assert (await logins.obtain(ADA)).value == "second"
            assert (await logins.obtain(ADA)).value == "second"
