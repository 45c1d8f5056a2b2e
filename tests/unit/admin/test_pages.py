"""The server of console and room page: sign-ins, origins, limits, and headers for browsers."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import BaseRequest

from bridge.admin import provisioning
from bridge.admin.operations import Dispatcher, Outcome, Request
from bridge.admin.pages import (
    CALLS,
    CHANGES,
    COOKIE,
    OPENID_SIGN_INS,
    OPENID_TOGETHER,
    SIGN_INS,
    Pages,
)
from bridge.admin.signin import SignIn
from bridge.admin.views import Caller
from bridge.ids import UserId
from bridge.rooms import erasure
from bridge.rooms.ports import Refused
from bridge.rooms.store import StoreError
from bridge.storage import erasing
from bridge.storage.sqlstore import open_store
from tests.fakes.clock import ManualClock
from tests.unit.admin.test_room_page import MODERATOR, ROOM, Rig
from tests.unit.admin.test_signin import KEY
from tests.unit.rooms.visits import ADA

OURS = {"X-WebChat": "1"}
PUBLIC = "https://chat.example.org/desk"
ADMIN = Path(__file__).parents[3] / "bridge" / "admin"
PAGES = sorted((ADMIN / "page").iterdir())


API_ONLY = {
    "Each query parameter may be given only once.",
    "The body must be JSON.",
    "The body must be a JSON object.",
    "Unknown path; docs/api.md lists all operations.",
}
"""Refusals that the bridge's own pages never get."""


class Operations:
    """Records the operations that are carried out."""

    def __init__(self) -> None:
        self.seen: list[tuple[Request, Caller]] = []

    async def carry_out(self, request: Request, caller: Caller) -> Outcome:
        self.seen.append((request, caller))
        return Outcome(202, b'{"done":true}', "order_room")


class Browser:
    """A client that sends a page's headers; cookies are sent by hand."""

    def __init__(self, client: TestClient[Any, Any], rig: Rig, operations: Operations) -> None:
        self.client, self.rig, self.operations = client, rig, operations
        self.sign_in = SignIn(rig.store, rig.clock, KEY)
        self.origin = str(client.make_url("")).rstrip("/")

    async def ask(self, method: str, path: str, **more: Any) -> ClientResponse:
        headers = OURS | more.pop("headers", {})
        response: ClientResponse = await self.client.request(method, path, headers=headers, **more)
        return response

    async def session(self) -> dict[str, str]:
        secret = await self.sign_in.link("mei")
        response = await self.ask("POST", "/admin/api/sign-in", json={"secret": secret})
        assert response.status == 200
        return {COOKIE: response.cookies[COOKIE].value}

    async def bearer(self, user: str = MODERATOR) -> ClientResponse:
        body = {"token": f"token-{user}", "room": ROOM}
        return await self.ask("POST", "/room/api/sign-in", json=body)


@pytest_asyncio.fixture
async def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    monkeypatch.setattr(provisioning, "monotonic", lambda: 0.0)  # no budget grows again meanwhile
    clock, operations = ManualClock(), Operations()
    async with open_store(f"sqlite:///{tmp_path / 'bridge.db'}", clock) as store:
        rig = Rig(store, clock)
        await rig.room(revision=0)
        dispatcher = cast(Dispatcher, operations)
        served = Pages(dispatcher, SignIn(store, clock, KEY), rig.admins, PUBLIC)
        async with TestClient(TestServer(served.application())) as client:
            client.session.cookie_jar.clear()
            yield Browser(client, rig, operations)


@pytest.mark.asyncio
async def test_console_needs_a_sign_in(browser: Browser) -> None:
    for cookies in ({}, {COOKIE: ""}, {COOKIE: "x"}):
        response = await browser.ask("GET", "/admin/api/health", cookies=cookies)
        assert response.status == 401
    assert browser.operations.seen == []
    cookies = await browser.session()
    response = await browser.ask(
        "POST", "/admin/api/rooms/!a%2Fb:c/orders?x=1", json={}, cookies=cookies
    )
    assert (response.status, await response.json()) == (202, {"done": True})
    ((request, caller),) = browser.operations.seen
    assert request == ("POST", "/rooms/!a%2Fb:c/orders", [("x", "1")], b"{}")
    assert caller == Caller("mei", "console", None)
    assert (await browser.ask("POST", "/admin/api/sign-out", cookies=cookies)).status == 200
    assert (await browser.ask("GET", "/admin/api/session", cookies=cookies)).status == 401


@pytest.mark.asyncio
async def test_session_cookie_is_restricted_to_the_console(browser: Browser) -> None:
    secret = await browser.sign_in.link("mei")
    response = await browser.ask("POST", "/admin/api/sign-in", json={"secret": secret})
    cookie = response.cookies[COOKIE]
    assert (cookie["path"], cookie["samesite"]) == ("/desk/admin", "Strict")
    assert cookie["httponly"]
    assert cookie["secure"]
    assert int(cookie["max-age"]) <= 12 * 3600
    assert cookie.value not in await response.text()
    again = await browser.ask("POST", "/admin/api/sign-in", json={"secret": secret})
    assert (again.status, (await again.json())["key"]) == (401, "linkUsed")


@pytest.mark.asyncio
async def test_pages_of_other_origins_cannot_call(browser: Browser) -> None:
    cookies = await browser.session()

    async def status(headers: dict[str, str], **more: Any) -> int:
        path = "/admin/api/dead-letters/i1/retry"
        response = await browser.client.post(path, headers=headers, cookies=cookies, **more)
        return response.status

    assert await status({}) == 403
    for origin in ("https://evil.example", "null", "http://chat.example.org", f"{browser.origin}0"):
        assert await status(OURS | {"Origin": origin}) == 403
    assert browser.operations.seen == []
    for origin in (browser.origin, "https://chat.example.org"):
        assert await status(OURS | {"Origin": origin}) == 202
    foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    response = await browser.client.options("/admin/api/health", headers=foreign)
    assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("public_url", "origin", "path"),
    [
        ("https://Chat.Example.org:443/desk", "https://chat.example.org", "/desk/admin"),
        ("http://bücher.example:8080/ä", "http://xn--bcher-kva.example:8080", "/%C3%A4/admin"),
        ("", "http://elsewhere", "/admin"),
    ],
)
async def test_public_url_may_be_written_in_several_ways(
    browser: Browser, public_url: str, origin: str, path: str
) -> None:
    """Browsers send an origin in one form only."""
    dispatcher = cast(Dispatcher, browser.operations)
    served = Pages(dispatcher, browser.sign_in, browser.rig.admins, public_url)
    async with TestClient(TestServer(served.application())) as client:
        secret = await browser.sign_in.link("mei")
        headers = OURS | {"Origin": origin}
        response = await client.post("/admin/api/sign-in", json={"secret": secret}, headers=headers)
        assert response.status == (200 if public_url else 403)
        if public_url:
            assert response.cookies[COOKIE]["path"] == path


@pytest.mark.asyncio
async def test_sign_ins_and_calls_are_limited(browser: Browser) -> None:
    cookies = await browser.session()
    statuses = [
        (await browser.ask("POST", "/admin/api/sign-in", json={"secret": "guess"})).status
        for _ in range(SIGN_INS[0] + 3)
    ]
    assert statuses[:3] == [401] * 3
    assert statuses[-3:] == [429] * 3
    await browser.session()  # a valid link works in spite of guesses from its address
    calls = [
        (await browser.ask("GET", "/admin/api/session", cookies=cookies)).status
        for _ in range(CALLS[0] + 20)
    ]
    assert calls[0] == 200
    assert calls[-1] == 429
    tokens = [
        (await browser.bearer("@x:evil.example")).status for _ in range(OPENID_SIGN_INS[0] + 1)
    ]
    assert (tokens[0], tokens[-1]) == (401, 429)


@pytest.mark.asyncio
async def test_strangers_cannot_use_up_the_room_admins_sign_ins(browser: Browser) -> None:
    """Behind a proxy all have the same address; a stranger does not know the rooms' ids."""
    body = {"token": "token-@x:evil.example", "room": ""}
    statuses = []
    for number in range(OPENID_SIGN_INS[0] + 1):
        body["room"] = f"!made-up-{number}:example.org"
        statuses.append((await browser.ask("POST", "/room/api/sign-in", json=body)).status)
    assert (statuses[0], statuses[-1]) == (401, 429)
    assert (await browser.bearer()).status == 200


@pytest.mark.asyncio
async def test_openid_sign_ins_of_all_addresses_wait_for_each_other(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, most, now, full = browser.rig.house, 0, 0, asyncio.Event()

    async def openid_user(token: str) -> UserId:
        nonlocal most, now
        now += 1
        most = max(most, now)
        if now >= OPENID_TOGETHER:
            full.set()
        await full.wait()
        await asyncio.sleep(0.001)  # for one too many to come
        now -= 1
        raise Refused("M_UNKNOWN_TOKEN", token)

    monkeypatch.setattr(house, "openid_user", openid_user)
    remotes = (f"2001:db8::{number:x}" for number in range(1_000))
    monkeypatch.setattr(BaseRequest, "remote", property(lambda _: next(remotes)))
    asked = (browser.bearer("@x:evil.example") for _ in range(3 * OPENID_TOGETHER))
    assert {response.status for response in await asyncio.gather(*asked)} == {401}
    assert most == OPENID_TOGETHER


@pytest.mark.asyncio
async def test_the_room_page_opens_its_room_and_not_the_console(browser: Browser) -> None:
    response = await browser.bearer()
    told = await response.json()
    assert (told["user"], told["room_id"]) == (MODERATOR, ROOM)
    assert not response.cookies
    bearer = {"Authorization": f"Bearer {told['session']}"}
    path = f"/room/api/rooms/{ROOM}/settings"
    assert (await browser.ask("PATCH", path, headers=bearer, json={})).status == 202
    ((_, caller),) = browser.operations.seen
    assert caller == Caller(MODERATOR, "widget", ROOM)
    cookies = {COOKIE: told["session"]}
    assert (await browser.ask("GET", "/admin/api/session", cookies=cookies)).status == 401
    assert (await browser.ask("GET", "/admin/api/session", headers=bearer)).status == 401
    operator = await browser.session()
    assert (await browser.ask("PATCH", path, cookies=operator, json={})).status == 401


@pytest.mark.asyncio
async def test_new_sessions_do_not_raise_the_limit_of_a_room_admin(browser: Browser) -> None:
    path, statuses, bearer = f"/room/api/rooms/{ROOM}/orders", list[int](), dict[str, str]()
    for _ in range(CHANGES[0] // 2 + 1):
        bearer = {"Authorization": f"Bearer {(await (await browser.bearer()).json())['session']}"}
        statuses += [
            (await browser.ask("POST", path, headers=bearer, json={})).status for _ in range(2)
        ]
    assert statuses == [202] * CHANGES[0] + [429] * 2
    statuses = [(await browser.ask("GET", path, headers=bearer)).status for _ in range(CALLS[0])]
    assert statuses[0] == 202
    assert statuses[-1] == 429


@pytest.mark.asyncio
async def test_customer_or_former_admin_cannot_change_settings(browser: Browser) -> None:
    response = await browser.bearer(ADA)
    assert (response.status, (await response.json())["key"]) == (403, "notAdmin")
    told = await (await browser.bearer()).json()
    bearer = {"Authorization": f"Bearer {told['session']}"}
    browser.rig.house.levels[MODERATOR] = 0.0  # just now
    path = f"/room/api/rooms/{ROOM}/settings"
    assert (await browser.ask("PATCH", path, headers=bearer, json={})).status == 403
    assert browser.operations.seen == []


@pytest.mark.asyncio
async def test_malformed_requests_are_refused(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = b'{"x":' + b"[" * 60_000
    for body in (b"", b"{}", b"[]", b"\xff", b'{"secret": 5}', deep):
        assert (await browser.ask("POST", "/admin/api/sign-in", data=body)).status == 400
    for room in ("", "room", "!a\0b", "!" + "x" * 300):
        claim = {"token": f"token-{MODERATOR}", "room": room}
        assert (await browser.ask("POST", "/room/api/sign-in", json=claim)).status == 400
    large = await browser.ask("POST", "/admin/api/sign-in", data=b"x" * 70_000)
    assert large.status == 413
    cookies = await browser.session()
    monkeypatch.setattr(browser.rig.store, "secret", _away)
    assert (await browser.ask("GET", "/admin/api/session", cookies=cookies)).status == 200
    monkeypatch.undo()
    elsewhere = SignIn(browser.rig.store, browser.rig.clock, KEY)
    other = {COOKIE: await elsewhere.sign_in(await elsewhere.link("jun"))}
    monkeypatch.setattr(browser.rig.store, "secret", _away)
    assert (await browser.ask("GET", "/admin/api/session", cookies=other)).status == 503


async def _away(_name: str) -> bytes | None:
    raise StoreError("away")


@pytest.mark.asyncio
async def test_security_headers_of_the_pages(browser: Browser) -> None:
    for path in (
        "/admin/",
        "/admin/console.js",
        "/admin/api/session",
        "/admin/nothing.js",
        "/admin",
    ):
        response = await browser.ask("GET", path, allow_redirects=False)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if path == "/admin":
            assert response.headers["Location"] == "admin/"
    for path in ("/room/", "/room/room.js"):
        response = await browser.ask("GET", path)
        assert response.status == 200
        policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "frame-ancestors" not in policy
        assert "X-Frame-Options" not in response.headers
    for path in ("/room/console.html", "/admin/..%2Fpages.py", "/admin/signin.py", "/page/room.js"):
        assert (await browser.ask("GET", path)).status == 404


def test_each_refusal_has_a_sentence_in_all_languages() -> None:
    words = next(page for page in PAGES if page.name == "words.js").read_text(encoding="utf-8")
    code = "".join(file.read_text(encoding="utf-8") for file in ADMIN.glob("*.py"))
    keys = set(re.findall(r'NotLetIn\(\d+, "(\w+)"', code))
    assert {"notOurPage", "linkUsed"} < keys
    assert [key for key in sorted(keys) if len(re.findall(rf"\b{key}: ", words)) != 3] == []


def test_texts_of_an_erasure_have_a_chinese_translation() -> None:
    words = next(page for page in PAGES if page.name == "words.js").read_text(encoding="utf-8")
    told: list[str] = []
    for one in (*erasure.KEPT, erasure._IN_FILE):
        told += one.what, one.where, one.why
    sources = (erasing.__file__, erasure.__file__)
    code = "".join(Path(file).read_text(encoding="utf-8") for file in sources)
    kinds = [*re.findall(r'found\["([^"]+)"\]', code), *(kind for kind, _ in erasing.COUNTS)]
    kinds += re.findall(r'^            "([a-z ]+)": len\(', code, re.MULTILINE)
    assert {"ledger lines", "encryption keys", "other notes"} < {*kinds}
    assert not {"anchors", "facts"} & {*kinds}, "operators know no tables"
    told += *kinds, erasure._IN_COMPANY, erasure._NOTED
    assert [one for one in told if not re.search(rf'[ "]{re.escape(one)}"?: "', words)] == []


def test_pages_have_no_animations() -> None:
    css = next(page for page in PAGES if page.name == "console.css").read_text(encoding="utf-8")
    assert not re.search("transition|animation|@keyframes|scroll-behavior", css)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_load_nothing_from_other_servers(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//[\w-]+\.\w", text.replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"<script>|\son\w+=|style=\"|innerHTML|outerHTML|eval\(", text)


def test_refusals_have_a_chinese_translation() -> None:
    words = (ADMIN / "page" / "words.js").read_text("utf-8")
    told = set[str]()
    for name in ("operations", "pages", "views"):
        nodes = [*ast.walk(ast.parse((ADMIN / f"{name}.py").read_text("utf-8")))]
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and id(node) not in docstrings:
                told |= set(re.findall(r"^[A-Z].* .*\.$", str(node.value)))
    assert len(told - API_ONLY) > 8
    assert {one for one in told - API_ONLY if f'"{one}": "' not in words} == set()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("told", "language"),
    [("zh-CN", "zh-CN"), ("en", "en"), ("", "en"), ("xx,zh", "en"), ("zh;q=0.9, en", "zh-CN")],
)
async def test_page_sends_its_language(browser: Browser, told: str, language: str) -> None:
    cookies, headers = await browser.session(), {"Accept-Language": told}
    await browser.ask("GET", "/admin/api/rooms", cookies=cookies, headers=headers)
    ((_, caller),) = browser.operations.seen
    assert caller.language == language
