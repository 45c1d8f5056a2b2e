"""The doctor's checks of the WebChat server: login, socket and files, with a login of its own.

They use the bridge's own link code, so a pass holds for the bridge too. No agent is requested: the
call centre sees no more than a customer named "doctor" logging in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from time import perf_counter

import aiohttp

from bridge.app.settings import link_settings_of
from bridge.cli.findings import Failed, Findings, check_clock, tls_fault
from bridge.config.model import Config, WebChat
from bridge.ids import CallId, RoomId, UserId
from bridge.link.http_client import VISITS, Visits
from bridge.link.link import Shared
from bridge.link.links import Links
from bridge.link.login import matching_rule
from bridge.link.settings import USER_AGENT, Timing, trusted_by
from bridge.rooms.ports import Account, Blob, CallFailure, Refused, TooBig, Unavailable, describe
from bridge.rooms.store import StorePort
from bridge.rooms.surroundings import SystemClock
from bridge.webchat.codes import FailureReason, UploadMode
from bridge.webchat.frames import Logout

PLACES = 2
"""Maximum doctor logins per window: the server allows 10 (reference 3.7), the bridge uses 8."""
KEY = "doctor"
"""Replaces {room_key} in the login name: `mx-doctor`."""
PATIENCE = Timing(connect=15.0, upload=60.0)
_BRACES = "if agents' desks show texts in braces, set webchat.dialect: 2016-11"
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)
"""PNG of one grey pixel: no server refuses the extension png."""


async def check_webchat(findings: Findings, config: Config, store: StorePort | None) -> None:
    """Log in, open a socket, upload a file and fetch it, ask the robot, log out.

    Call centres at one address share its login limit (PLACES), which `store` remembers.
    """
    if not await findings.of("WebChat server", _reachable(findings, config.webchat)):
        return
    domain = config.homeserver.domain
    account = Account(RoomId(f"!{KEY}:{domain}"), UserId(f"@{KEY}:{domain}"), KEY)
    stranger = throw_away(config.webchat, account)
    if stranger is None:
        findings.skipped(
            "WebChat login",
            "no account to test with: that needs a login name with {room_key}, because a second"
            " login to a customer's account could end their chat",
        )
        return
    rate = stranger.login_rate
    places = min(PLACES, rate.count)
    fewer = rate.model_copy(update={"count": places})
    server = stranger.model_copy(update={"login_rate": fewer})
    mine = replace(link_settings_of(config), server=server, timing=PATIENCE)
    memory, clock = _Memory(store), SystemClock()
    taken = await Visits(mine, memory, clock).load()
    if len(taken) >= places:
        findings.skipped(
            "WebChat login",
            f"tried {places} times within {rate.per_seconds:g} s already, and WebChat blocks an"
            f" address that logs in too often; try again in {max(1.0, min(taken)):.0f} s",
        )
        return
    links = Links(Shared(mine, tokens=memory, facts=memory, metrics=memory, clock=clock))
    async with links.running(memory):
        await _use(findings, links, account, memory, server)


def throw_away(server: WebChat, account: Account) -> WebChat | None:
    """Return server settings with a login name that no customer has; None if not possible."""
    rule = matching_rule(server.accounts, account.room_id, account.customer)
    if server.accounts and rule is None:
        return None
    login = rule or server.login
    if "{room_key}" not in login.name and "{room_id}" not in login.name:
        return None
    mine = {"name": login.name.replace("{room_key}", KEY), "password": login.password}
    return server.model_copy(update={"login": server.login.model_copy(update=mine), "accounts": {}})


async def _reachable(findings: Findings, server: WebChat) -> None:
    url = server.base_url
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.get(
                f"{url.rstrip('/')}/",
                allow_redirects=False,
                headers={"User-Agent": USER_AGENT},
                ssl=trusted_by(server),
            ) as response,
        ):
            date = response.headers.get("Date", "")
    except (aiohttp.ClientError, OSError) as error:
        fault = tls_fault(error, "webchat.base_url") or Failed(
            describe(error),
            "check webchat.base_url, the firewall, and that the server is running",
        )
        raise Failed(f"{url}: {fault}", fault.fix) from error
    findings.passed("WebChat server", f"an HTTP server answers at {url}")
    check_clock(findings, date, "WebChat")


@dataclass
class _Memory:
    """Stub of the link's ports: TokenStore, Facts, LinkEvents (ignored) and LinkMetrics.

    It records which steps of opening a link succeeded. Only login times are stored, under names
    apart from the bridge's.
    """

    _store: StorePort | None
    logged_in_once: bool = False
    opened_once: bool = False

    def logged_in(self, result: int | None) -> None:
        self.logged_in_once |= result == 1

    def opened(self, *, again: bool) -> None:
        self.opened_once = True

    def closed(self) -> None: ...
    def open_failed(self) -> None: ...

    async def fact(self, name: str) -> str | None:
        if self._store is None or not name.startswith(VISITS):
            return None
        return await self._store.fact(f"{KEY} {name}")

    async def save_fact(self, name: str, value: str) -> None:
        if self._store is not None and name.startswith(VISITS):
            await self._store.save_fact(f"{KEY} {name}", value)

    async def nothing(self, *_: object) -> None: ...

    def backlog(self, _room: RoomId) -> float:
        return 0.0

    def signal(self, *_: object) -> None: ...

    token = save_token = forget_token = pushed = nothing


async def _use(
    findings: Findings, links: Links, account: Account, memory: _Memory, server: WebChat
) -> None:
    """Try each part of the server over one link; the upload opens it."""
    failure, url, began = None, "", perf_counter()
    try:
        url = await links.upload(account, Blob.of(_PIXEL, "image/png", f"{KEY}.png"))
    except CallFailure as error:
        failure = error
    took = (perf_counter() - began) * 1000
    name = f"as {server.login.name.replace('{room_id}', account.room_id)}"
    if not memory.logged_in_once:
        findings.failed("WebChat login", f"{name}: {failure}", _login_fix(failure))
    else:
        findings.passed("WebChat login", name)
        if memory.opened_once:
            findings.passed("WebChat socket", "open, and the server answers")
        else:
            fix = "allow WebSockets to /cws in proxies and firewalls (Upgrade headers, timeouts)"
            findings.failed("WebChat socket", str(failure), fix)
    if memory.opened_once or failure is None:
        mode = server.upload_mode
        if mode is UploadMode.AUTO:
            mode = links.learnt.upload_mode
        uploaded = f"a file was uploaded ({mode}, {took:.0f} ms)"
        await findings.of("WebChat upload", _fetch(links, url, uploaded, failure))
    if server.robot.enabled:
        await findings.of("WebChat robot", _ask(links))
    if memory.opened_once:
        await findings.of("WebChat command", _log_out(links, account, memory))


async def _fetch(links: Links, url: str, uploaded: str, failure: CallFailure | None) -> str:
    """Check that the URL that the server gave returns the file, so that agents can open it."""
    if failure is not None:
        refused = failure.reason is FailureReason.REFUSED and failure.code is not None
        code = f" (result {failure.code})" if refused else ""
        raise Failed(
            f"{failure}{code}",
            "ask the call centre whether customers may send png files, or try another"
            " webchat.upload_mode",
        )
    where = re.sub(r"\?.*", "?…", url)  # its query may hold a token
    try:
        async with links.fetch(url, 10 * len(_PIXEL)) as blob:
            back = b"".join([chunk async for chunk in blob.chunks])
    except (Refused, TooBig, Unavailable) as error:
        raise Failed(
            f"the uploaded file cannot be downloaded from {where}: {error}",
            "check that webchat.base_url is the address that agents' browsers use too",
        ) from error
    if back != _PIXEL:
        raise Failed(
            f"the file downloaded from {where} differs from the uploaded one",
            "set webchat.upload_mode to the other value (raw or multipart)",
        )
    return f"{uploaded} and downloaded again"


async def _ask(links: Links) -> str:
    """Ask the knowledge base a question; that needs a signature but no login."""
    try:
        answers = await links.ask_robot("test")
    except CallFailure as failure:
        fix = (
            "ask the call centre whether /robotSearch is in use; if not, set"
            " webchat.robot.enabled: false and mode: off"
        )
        if failure.reason is FailureReason.SIGN_REFUSED:
            fix = "set webchat.robot.public_key to the server's PUBLIC_KEY"
        raise Failed(str(failure), fix) from failure
    return f'it answers; results for the question "test": {len(answers)}'


async def _log_out(links: Links, account: Account, memory: _Memory) -> str:
    """Log out; the reply shows that the server understands commands."""
    try:
        reply = await links.call(account, CallId(1), Logout(), memory.nothing)
    except CallFailure as failure:
        fix = "look for the reason in the WebChat server's log"
        raise Failed(str(failure), fix) from failure
    braces = "" if links.learnt.known else f"; {_BRACES}"
    return f"logout answered with result {reply.result}{braces}"


def _login_fix(failure: CallFailure | None) -> str:
    reason = failure and failure.reason
    if reason is FailureReason.SIGN_REFUSED:
        return "set webchat.sign_key to the server's PUBLIC_KEY"
    if reason is FailureReason.LOGIN_REFUSED or (failure and failure.code is not None):
        return "check webchat.login (type, name, password), accounts and enterprise_id"
    if "redirects to" in str(failure):
        return "set webchat.base_url to the address to which it redirects"
    path = "check the path in webchat.base_url (…/webchat): POST …/tpi must answer with JSON"
    if any(word in str(failure) for word in ("blacklist", "HTTP 403")):
        return (
            "this machine's address seems to be blacklisted: ask the call centre to whitelist it"
            f" (parameter IPBPAR); otherwise {path}"
        )
    return f"{path}; if there is no answer at all, this machine's address may be blacklisted"
