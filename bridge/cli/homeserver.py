"""The checks of the homeserver: reachable both ways, our tokens, users and files accepted.

Plain HTTP with no retries and nothing translated: the homeserver's own error codes say which line
of which file is wrong.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp import web

from bridge.app.settings import users_of
from bridge.cli.findings import Findings, tls_fault
from bridge.cli.installation import check_clock
from bridge.config import Config
from bridge.ids import AgentId, EventId, QueueId, RoomId, UserId
from bridge.matrix.appservice import Endpoint
from bridge.matrix.client import device_ids
from bridge.matrix.ghosts import FOREIGN_FIX, foreign_devices, made_fact
from bridge.matrix.registration import LOAD_IT, not_loaded
from bridge.ops.health import LIVE
from bridge.rooms.store import StoreError
from bridge.rooms.surroundings import SystemClock
from bridge.storage.sqlstore import open_store, pending_migrations

TIMEOUT = 20.0
"""Seconds for one request."""
_CLIENT = "/_matrix/client/v3"
_PING_SINCE = "v1.7"
"""Version of the specification that brought the ping of application services."""
_RELOAD = "name registration.yaml in app_service_config_files and restart the homeserver"
_FILE = b"matrix-webchat doctor\n"


@dataclass(frozen=True)
class Answer:
    """The response to a request."""

    status: int
    body: dict[str, object]
    date: str

    @property
    def code(self) -> str:
        return str(self.body.get("errcode", ""))

    @property
    def text(self) -> str:
        """Status, code and the homeserver's own words, for a table."""
        error = str(self.body.get("error", ""))[:200]
        return " ".join(filter(None, (f"HTTP {self.status}", self.code, error)))


class NoAnswer(Exception):
    """Nothing came back, or nothing that a Matrix homeserver says.

    Attributes:
        fix: how to mend it, where that is known.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class HomeserverChecks:
    """All of them, in the order in which they depend on one another."""

    def __init__(self, findings: Findings, config: Config, session: aiohttp.ClientSession) -> None:
        self._findings = findings
        self._config = config
        self._session = session
        self._address = config.homeserver.address.rstrip("/")
        self._users = users_of(config)
        self._all_ours = True

    async def all(self) -> bool:
        """Make them all; False if the homeserver does not know all of us: nothing that lies there
        of our users could be judged.
        """
        if not await self._there():
            return False
        if not await self._knows_us():
            return False
        for check in (self._ping, self._queue_users, self._ghosts, self._upload):
            try:
                await check()
            except NoAnswer as error:
                fix = error.fix or "see the homeserver's log"
                self._findings.failed("homeserver", str(error), fix)
        return self._all_ours

    async def _there(self) -> bool:
        what = "homeserver"
        try:
            answer = await self._ask("GET", "/_matrix/client/versions", token=False)
        except NoAnswer as error:
            self._findings.failed(
                what,
                f"{self._address}: {error}",
                error.fix or "check homeserver.address, and that the homeserver runs",
            )
            return False
        versions = answer.body.get("versions")
        if answer.status != 200 or not isinstance(versions, list):
            self._findings.failed(
                what,
                f"{self._address}: {answer.text}, no Matrix homeserver",
                "check homeserver.address: host and port of the client API",
            )
            return False
        detail = f"{self._address} speaks Matrix up to {versions[-1] if versions else '?'}"
        if _PING_SINCE not in versions:
            self._findings.failed(
                what, f"{detail}, {_PING_SINCE} is needed", "upgrade the homeserver"
            )
        else:
            self._findings.passed(what, detail)
        check_clock(self._findings, answer.date, "the homeserver")
        return True

    async def _knows_us(self) -> bool:
        """Our token is the one of a loaded registration, and that registration has our bot."""
        what, bot = "as_token", self._users.bot
        try:
            answer = await self._make(bot)
            # It looks at the name only: whose server the user is on, another call tells.
            whoami = await self._ask("GET", f"{_CLIENT}/account/whoami?user_id={quote(bot)}")
        except NoAnswer as error:
            self._findings.failed(what, str(error), "see the homeserver's log")
            return False
        if answer.code in {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"}:
            self._findings.failed(what, f"the homeserver does not know it ({answer.code})", _RELOAD)
            return False
        self._findings.passed(what, "the homeserver knows it")
        made = answer.status == 200 or answer.code == "M_USER_IN_USE"
        if made and whoami.status == 200:
            return await self._bot_is_ours()
        detail = (whoami if made else answer).text
        if made and whoami.code == "M_FORBIDDEN":
            detail = f"homeserver.domain is not this server's name ({detail})"
        self._findings.failed(
            "bot",
            f"{bot}: {detail}",
            "check homeserver.domain (the homeserver's server_name) and appservice.bot.username,"
            f" `register` again, and {_RELOAD}",
        )
        return False

    async def _bot_is_ours(self) -> bool:
        what, bot = "bot", self._users.bot
        try:
            sessions = await self._sessions_of_others(bot)
        except NoAnswer as error:
            self._findings.failed(what, str(error), "see the homeserver's log")
            return False
        if sessions:
            self._findings.failed(
                what,
                f"{bot} is registered by somebody else ({sessions})",
                f"{FOREIGN_FIX}: choose another appservice.bot.username, and `register` again",
            )
        else:
            self._findings.passed(what, f"{bot} is ours")
        return not sessions

    async def _sessions_of_others(self, user: UserId) -> str:
        """The devices of whoever else uses one of our users, as the bridge looks at them.

        Empty: it is ours, or nobody uses it at the moment.

        Raises:
            NoAnswer: the homeserver gave none.
        """
        if await _made_by_us(self._config, user):
            return ""
        answer = await self._ask("GET", f"{_CLIENT}/devices?user_id={quote(user)}")
        found = foreign_devices(device_ids(answer.body))
        return f"{len(found)} of its sessions are not ours: {', '.join(found)}" if found else ""

    async def _make(self, user: UserId) -> Answer:
        """Make one of our users exist, as the bridge does when it starts."""
        content = {
            "type": "m.login.application_service",
            "username": user[1:].partition(":")[0],
            "inhibit_login": True,
        }
        return await self._ask("POST", f"{_CLIENT}/register?kind=user", content)

    async def _ping(self) -> None:
        """The homeserver calls us: the running bridge, or an endpoint of our own meanwhile."""
        what, appservice = "homeserver to bridge", self._config.appservice
        try:
            async with self._listening() as who:
                path = f"/_matrix/client/v1/appservice/{quote(appservice.id, safe='')}/ping"
                answer = await self._ask("POST", path, {})
        except OSError as error:
            self._findings.failed(
                what,
                f"{appservice.hostname}:{appservice.port} cannot be listened on: {error.strerror}",
                "check appservice.hostname and port",
            )
            return
        except _Squatter:
            self._findings.failed(
                what,
                f"another program listens on port {appservice.port}",
                "stop it, or change appservice.port and address and `register` again",
            )
            return
        if answer.status == 200:
            took = answer.body.get("duration_ms", "?")
            self._findings.passed(what, f"it called {who} and was answered in {took} ms")
        else:
            self._findings.failed(what, answer.text, self._ping_fix(answer))

    def _ping_fix(self, answer: Answer) -> str:
        address = self._config.appservice.address
        if answer.code == "M_BAD_STATUS":
            return (
                "the hs_token that the homeserver has loaded is not config.yaml's, or something"
                f" else answers at {address}: `register`, and restart the homeserver"
            )
        if answer.code in {"M_CONNECTION_FAILED", "M_CONNECTION_TIMEOUT"}:
            return f"let the homeserver's machine reach {address} (appservice.address; firewall)"
        if answer.code == "M_URL_NOT_SET":
            return "give the registration a url: set appservice.address and `register` again"
        return f"check appservice.id, `register` again, and {_RELOAD}"

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[str]:
        """Somebody answers at our port: yields who.

        Raises:
            OSError: we cannot listen there. _Squatter: somebody listens who is not the bridge.
        """
        appservice = self._config.appservice
        application = web.Application()
        application.add_routes(self._endpoint().routes())
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, appservice.hostname, appservice.port)
            try:
                await site.start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                if not await self._bridge_lives():
                    raise _Squatter from error
                yield "the running bridge"
            else:
                yield "the doctor in the bridge's place"
        finally:
            await runner.cleanup()

    def _endpoint(self) -> Endpoint:
        """Answers pings and takes nothing in: the homeserver keeps its events for the bridge."""

        async def accept(_: Sequence[tuple[RoomId, EventId, dict[str, object]]]) -> NoReturn:
            raise StoreError("only the doctor is here")

        async def vouch(_: str) -> bool:
            return False

        return Endpoint(
            hs_token=self._config.appservice.hs_token.get_secret_value(),
            is_ours=self._users.is_ours,
            accept=accept,
            vouch=vouch,
            max_body=self._config.appservice.max_body_size,
        )

    async def _bridge_lives(self) -> bool:
        appservice = self._config.appservice
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(  # noqa: S104 - read, not bound
            appservice.hostname, appservice.hostname
        )
        try:
            async with self._session.get(f"http://{host}:{appservice.port}{LIVE}") as response:
                return bool(await response.json() == {"live": True})
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False

    async def _queue_users(self) -> None:
        """The loaded registration's namespaces cover the queues that customers can invite.

        And nobody else has registered their users.
        """
        refused, foreign = [], []
        for queue in self._config.queues:
            user = self._users.queue_user(QueueId(queue.id))
            answer = await self._make(user)
            if answer.status != 200 and answer.code != "M_USER_IN_USE":
                refused.append(f"{user} {answer.code}")
            elif sessions := await self._sessions_of_others(user):
                foreign.append(f"{user} is registered by somebody else ({sessions})")
        if foreign:
            self._findings.failed(
                "queue users", "; ".join(foreign), f"it is not served: {FOREIGN_FIX}"
            )
        if refused:
            self._findings.failed(
                "queue users", ", ".join(refused), f"run `matrix-webchat register`, and {_RELOAD}"
            )
        elif not foreign:
            count = len(self._config.queues)
            self._findings.passed("queue users", f"{count} of {count} ours")

    async def _ghosts(self) -> None:
        """The loaded registration's namespaces cover the agents' users; none is made.

        The homeserver refuses to let us act as a user who does not exist, and by what it says one
        sees whether it would be ours.
        """
        what, ghost = "agents' users", self._users.ghost(AgentId("doctor"))
        answer = await self._ask("GET", f"{_CLIENT}/account/whoami?user_id={quote(ghost)}")
        if answer.status == 200 or "has not registered" in answer.text:
            self._findings.passed(what, f"such as {ghost} would be ours")
        elif not_loaded(f"{answer.code} {answer.text}"):
            self._findings.failed(
                what,
                f"{ghost}: the homeserver has not loaded the namespace {self._users.ghost_regex()},"
                " so that no agent can speak",
                f"`matrix-webchat register`, and {LOAD_IT}",
            )
            self._findings.skipped("encryption", "the keys of agents' users would seem to be lost")
            self._all_ours = False
        else:
            self._findings.skipped(what, f"this homeserver does not tell ({answer.text})")

    async def _upload(self) -> None:
        what, bot = "media on the homeserver", quote(self._users.bot, safe="")
        query = f"user_id={bot}&filename=doctor.txt"
        answer = await self._ask("POST", f"/_matrix/media/v3/upload?{query}", data=_FILE)
        if answer.status != 200:
            fix = "see the homeserver's log (media_store_path, disk)"
            self._findings.failed(what, answer.text, fix)
            return
        limits = await self._ask("GET", f"/_matrix/client/v1/media/config?user_id={bot}")
        allowed = limits.body.get("m.upload.size")
        ours = self._config.bridge.limits.file
        if isinstance(allowed, int) and allowed < ours:
            self._findings.failed(
                what,
                f"it takes {allowed} bytes, bridge.limits.file allows {ours}",
                "raise max_upload_size on the homeserver or lower bridge.limits.file",
            )
        else:
            self._findings.passed(what, f"a file was uploaded; up to {ours} bytes are allowed")

    async def _ask(
        self,
        method: str,
        path: str,
        content: dict[str, object] | None = None,
        *,
        data: bytes | None = None,
        token: bool = True,
    ) -> Answer:
        """One request as the application service.

        Raises:
            NoAnswer: none came, or one that is no JSON object.
        """
        headers = {"Content-Type": "text/plain" if data is not None else "application/json"}
        if token:
            as_token = self._config.appservice.as_token.get_secret_value()
            headers["Authorization"] = f"Bearer {as_token}"
        body = msgspec.json.encode(content) if content is not None else data
        try:
            async with self._session.request(
                method, f"{self._address}{path}", data=body, headers=headers, allow_redirects=False
            ) as response:
                reply = msgspec.json.decode(await response.read())
        except msgspec.DecodeError:
            raise NoAnswer("the answer is not JSON: no homeserver, or a proxy's error") from None
        except (aiohttp.ClientError, OSError) as error:
            if fault := tls_fault(error, "homeserver.address"):
                raise NoAnswer(fault.what, fault.fix) from None
            # Without its text where it could quote more than the address: it never has the token.
            raise NoAnswer(getattr(error, "strerror", None) or type(error).__name__) from None
        if not isinstance(reply, dict):
            raise NoAnswer("the answer is no JSON object")
        return Answer(response.status, reply, response.headers.get("Date", ""))


async def _made_by_us(config: Config, user: UserId) -> bool:
    """True if the bridge's database says that the bridge registered the user."""
    url, clock = config.database.url.get_secret_value(), SystemClock()
    try:
        if await pending_migrations(url, clock):
            return False
        async with open_store(url, clock) as store:
            return await store.fact(made_fact(user)) is not None
    except (StoreError, ValueError):
        return False  # its own check says what is wrong with it


class _Squatter(Exception):
    """Our port is taken by a stranger."""


@asynccontextmanager
async def homeserver_session(config: Config) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP session as the bridge itself would have it."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=config.homeserver.verify_ssl),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
    ) as session:
        yield session
