from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bridge.cli.doctor import migrated_store
from bridge.cli.findings import Findings, Verdict
from bridge.cli.homeserver import check_homeserver
from bridge.config.model import Console
from bridge.ids import UserId
from bridge.matrix.ghosts import made_fact
from bridge.rooms.surroundings import SystemClock
from bridge.storage.sqlstore import open_store
from tests.unit.cli.doctor.installation import FakeHomeserver, configured, serving, the, told

BOT, QUEUE = "@webchatbot:example.org", "@webchat_queue_1:example.org"
CLOSED: dict[str, object] = {"errcode": "M_RESOURCE_LIMIT_EXCEEDED", "error": "closed for today"}
REFUSED: dict[str, object] = {"errcode": "M_EXCLUSIVE", "error": "not yours"}


async def examined(folder: Path, fake: FakeHomeserver) -> Findings:
    findings = Findings()
    async with serving(fake.routes()) as fake.port:
        config = configured(folder, homeserver=fake.address, port=fake.bridge_port)
        async with migrated_store(config) as store:
            await check_homeserver(findings, config, store)
    return findings


@pytest.mark.asyncio
async def test_all_well_without_a_running_bridge(tmp_path: Path) -> None:
    fake = FakeHomeserver()
    findings = await examined(tmp_path, fake)
    assert told(findings) == [
        "PASS homeserver",
        "PASS clock, against the homeserver",
        "PASS as_token",
        "PASS bot",
        "PASS sync",
        "PASS homeserver to bridge",
        "PASS queue users",
        "PASS agents' users",
        "PASS media on the homeserver",
    ]
    detail = the(findings, "homeserver to bridge").detail
    assert (
        detail
        == f"the homeserver pinged http://127.0.0.1:{fake.bridge_port} and got an answer in 7 ms"
    )
    # Events that come meanwhile stay with the homeserver.
    assert fake.seen == [
        "webchatbot",
        "whoami @webchatbot:example.org",
        "transaction 503",
        "webchat_queue_1",
        "webchat_queue_2",
        "whoami @webchat_doctor:example.org",
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("code", ["M_UNKNOWN_TOKEN", "M_UNRECOGNIZED"])
async def test_room_page_needs_the_openid_endpoint(tmp_path: Path, code: str) -> None:
    async def userinfo(_request: web.Request) -> web.Response:
        return web.json_response({"errcode": code}, status=401)

    fake, findings = FakeHomeserver(), Findings()
    routes = [web.get("/_matrix/federation/v1/openid/userinfo", userinfo)]
    async with serving([*routes, *fake.routes()]) as fake.port:
        config = configured(tmp_path, homeserver=fake.address, port=fake.bridge_port)
        console = Console(enabled=True, public_url="https://chat.example.org")
        config = config.model_copy(update={"console": console})
        await check_homeserver(findings, config, None)
    well = code == "M_UNKNOWN_TOKEN"
    assert the(findings, "room page").verdict is (Verdict.PASS if well else Verdict.FAIL)
    assert well or "resource `openid`" in the(findings, "room page").fix


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("hostname", "host"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "::1")],  # noqa: S104
)
async def test_with_a_running_bridge(tmp_path: Path, hostname: str, host: str) -> None:
    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    fake, findings = FakeHomeserver(ping=(200, {"duration_ms": 3})), Findings()
    routes = [web.get("/_matrix/mau/live", live)]
    async with (
        serving(fake.routes()) as fake.port,
        serving(routes, fake.bridge_port, host=host),
    ):
        config = configured(tmp_path, homeserver=fake.address, port=fake.bridge_port)
        appservice = config.appservice.model_copy(update={"hostname": hostname})
        config = config.model_copy(update={"appservice": appservice})
        await check_homeserver(findings, config, None)
    detail = the(findings, "homeserver to bridge").detail
    assert detail == "the homeserver pinged the running bridge and got an answer in 3 ms"


@pytest.mark.asyncio
@pytest.mark.parametrize("hostname", ["matrix..example.org", "192.0.2.1"])
async def test_address_at_which_nothing_can_listen(tmp_path: Path, hostname: str) -> None:
    fake, findings = FakeHomeserver(), Findings()
    async with serving(fake.routes()) as fake.port:
        config = configured(tmp_path, homeserver=fake.address, port=fake.bridge_port)
        appservice = config.appservice.model_copy(update={"hostname": hostname})
        config = config.model_copy(update={"appservice": appservice})
        await check_homeserver(findings, config, None)
    finding = the(findings, "homeserver to bridge")
    assert finding.verdict is Verdict.FAIL
    assert f"cannot listen on {hostname}:{fake.bridge_port}: " in finding.detail


@pytest.mark.asyncio
async def test_another_program_on_the_bridges_port(tmp_path: Path) -> None:
    fake = FakeHomeserver()
    async with serving([], fake.bridge_port):
        findings = await examined(tmp_path, fake)
    finding = the(findings, "homeserver to bridge")
    assert finding.verdict is Verdict.FAIL
    assert f"another program listens on port {fake.bridge_port}" in finding.detail


@pytest.mark.asyncio
async def test_hostname_that_is_not_of_this_machine(tmp_path: Path) -> None:
    fake, findings = FakeHomeserver(), Findings()
    async with serving(fake.routes()) as fake.port:
        config = configured(tmp_path, homeserver=fake.address, port=fake.bridge_port)
        # 192.0.2.0/24 is for documentation: no machine has it.
        appservice = config.appservice.model_copy(update={"hostname": "192.0.2.1"})
        config = config.model_copy(update={"appservice": appservice})
        await check_homeserver(findings, config, None)
    assert "cannot listen on" in the(findings, "homeserver to bridge").detail


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("M_BAD_STATUS", "hs_token"),
        ("M_CONNECTION_FAILED", "firewall"),
        ("M_CONNECTION_TIMEOUT", "firewall"),
        ("M_URL_NOT_SET", "url"),
        ("M_FORBIDDEN", "appservice.id"),
    ],
)
async def test_ping_that_fails(tmp_path: Path, code: str, fix: str) -> None:
    fake = FakeHomeserver(ping=(502, {"errcode": code, "error": "why"}))
    finding = the(await examined(tmp_path, fake), "homeserver to bridge")
    assert finding.verdict is Verdict.FAIL
    assert finding.detail == f"HTTP 502 {code} why"
    assert fix in finding.fix


@pytest.mark.asyncio
async def test_another_program_at_the_bridges_address(tmp_path: Path) -> None:
    why = "JSONDecodeError: Expecting value"
    said: dict[str, object] = {"errcode": "M_CONNECTION_FAILED", "error": why}
    finding = the(
        await examined(tmp_path, FakeHomeserver(ping=(502, said))), "homeserver to bridge"
    )
    assert finding.fix.startswith("another program answers there")


@pytest.mark.asyncio
async def test_unknown_token_ends_the_round(tmp_path: Path) -> None:
    fake = FakeHomeserver(register=(401, {"errcode": "M_UNKNOWN_TOKEN"}))
    findings = await examined(tmp_path, fake)
    assert told(findings)[-1] == "FAIL as_token"
    assert "app_service_config_files" in the(findings, "as_token").fix


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [429, 500])
async def test_busy_homeserver_is_not_a_wrong_bot(tmp_path: Path, status: int) -> None:
    said: dict[str, object] = {"errcode": "M_UNKNOWN", "error": "Internal server error"}
    findings = await examined(tmp_path, FakeHomeserver(register=(status, said)))
    bot = the(findings, "bot")
    assert f"HTTP {status} M_UNKNOWN Internal server error" in bot.detail
    assert bot.fix == "try again later, and see the homeserver's log"
    assert told(findings)[-1] == "FAIL bot"
    assert "PASS as_token" not in told(findings)


@pytest.mark.asyncio
async def test_busy_homeserver_is_no_missing_namespace(tmp_path: Path) -> None:
    limited: dict[str, object] = {"errcode": "M_LIMIT_EXCEEDED"}
    findings = await examined(tmp_path, FakeHomeserver(queues=(429, limited)))
    assert the(findings, "queue users").fix == "try again later, and see the homeserver's log"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sync", "detail", "fix"),
    [
        ((403, CLOSED), "M_RESOURCE_LIMIT_EXCEEDED closed for today", "wrong with the bridge"),
        ((403, {"errcode": "M_FORBIDDEN"}), "v3/sync, as @webchatbot:example.org", "a worker"),
        ((500, {"errcode": "M_UNKNOWN"}), "HTTP 500 M_UNKNOWN", "try again later"),
    ],
)
async def test_homeserver_that_tells_the_bot_nothing(
    tmp_path: Path, sync: tuple[int, dict[str, object]], detail: str, fix: str
) -> None:
    findings = await examined(tmp_path, FakeHomeserver(sync=sync))
    finding = the(findings, "sync")
    assert finding.verdict is Verdict.FAIL
    assert detail in finding.detail
    assert fix in finding.fix
    assert told(findings)[-1] == "PASS media on the homeserver"


@pytest.mark.asyncio
async def test_sync_that_no_worker_serves(tmp_path: Path) -> None:
    async def gone(_request: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>Bad gateway</html>")

    fake, findings = FakeHomeserver(), Findings()
    routes = [web.get("/_matrix/client/v3/sync", gone), *fake.routes()]
    async with serving(routes) as fake.port:
        config = configured(tmp_path, homeserver=fake.address, port=fake.bridge_port)
        await check_homeserver(findings, config, None)
    finding = the(findings, "sync")
    assert finding.detail.startswith("/_matrix/client/v3/sync: HTTP 502 without a JSON object")
    assert "a worker, a proxy" in finding.fix


@pytest.mark.asyncio
async def test_closed_homeserver_does_not_call_for_another_registration(tmp_path: Path) -> None:
    """It registers nobody, and says so before it looks who asks."""
    findings = await examined(tmp_path, FakeHomeserver(register=(403, CLOSED)))
    assert told(findings) == ["PASS homeserver", "PASS clock, against the homeserver", "FAIL bot"]
    assert "wrong with the bridge" in the(findings, "bot").fix


@pytest.mark.asyncio
async def test_bot_of_somebody_else_ends_the_round(tmp_path: Path) -> None:
    findings = await examined(tmp_path, FakeHomeserver(register=(400, REFUSED)))
    assert told(findings)[-2:] == ["PASS as_token", "FAIL bot"]


@pytest.mark.asyncio
async def test_another_servers_name_ends_the_round(tmp_path: Path) -> None:
    """The localpart can be in the namespace although the server has another name."""
    forbidden = {
        "errcode": "M_FORBIDDEN",
        "error": "Application service cannot masquerade as this user",
    }
    findings = await examined(tmp_path, FakeHomeserver(whoami=(403, dict(forbidden))))
    assert told(findings)[-2:] == ["PASS as_token", "FAIL bot"]
    finding = the(findings, "bot")
    assert "homeserver.domain is not this server's name" in finding.detail
    assert "server_name" in finding.fix


@pytest.mark.asyncio
async def test_bot_that_cannot_be_used_ends_the_round(tmp_path: Path) -> None:
    broken: dict[str, object] = {"errcode": "M_UNKNOWN", "error": "broken"}
    findings = await examined(tmp_path, FakeHomeserver(whoami=(500, broken)))
    assert the(findings, "bot").detail == "@webchatbot:example.org: HTTP 500 M_UNKNOWN broken"


@pytest.mark.asyncio
async def test_queue_users_outside_the_namespace(tmp_path: Path) -> None:
    findings = await examined(tmp_path, FakeHomeserver(queues=(400, REFUSED)))
    finding = the(findings, "queue users")
    assert finding.verdict is Verdict.FAIL
    assert "@webchat_queue_2:example.org M_EXCLUSIVE" in finding.detail


@pytest.mark.asyncio
async def test_agents_users_outside_the_namespace(tmp_path: Path) -> None:
    outside = "Application service cannot masquerade as this user (@webchat_doctor:example.org)."
    fake = FakeHomeserver(ghost=(403, {"errcode": "M_FORBIDDEN", "error": outside}))
    findings = await examined(tmp_path, fake)
    finding = the(findings, "agents' users")
    assert finding.verdict is Verdict.FAIL
    assert "the homeserver has not loaded the namespace ^@webchat_(?:" in finding.detail
    assert "copy registration.yaml to the homeserver" in finding.fix
    assert "restart the homeserver" in finding.fix
    assert "webchat_doctor" not in fake.seen, "no user was made"
    assert the(findings, "encryption").verdict is Verdict.SKIP


@pytest.mark.asyncio
async def test_existing_ghost_passes(tmp_path: Path) -> None:
    findings = await examined(tmp_path, FakeHomeserver(ghost=(200, {"user_id": "@x:y"})))
    assert the(findings, "agents' users").verdict is Verdict.PASS


@pytest.mark.asyncio
async def test_vague_refusal_of_a_ghost_is_skipped(tmp_path: Path) -> None:
    vague: dict[str, object] = {"errcode": "M_FORBIDDEN", "error": "No."}
    finding = the(await examined(tmp_path, FakeHomeserver(ghost=(403, vague))), "agents' users")
    assert finding.verdict is Verdict.SKIP
    assert "M_FORBIDDEN No." in finding.detail


@pytest.mark.asyncio
async def test_a_queue_user_of_somebody_else(tmp_path: Path) -> None:
    """The other queue users and the later checks are still tried."""
    fake = FakeHomeserver(queues=(400, {"errcode": "M_USER_IN_USE"}))
    fake.devices = {QUEUE: ["WEBCHAT", "ABCDEFGHIJ"], BOT: ["WEBCHAT", "WEBCHAT_X"]}
    findings = await examined(tmp_path, fake)
    finding = the(findings, "queue users")
    assert finding.verdict is Verdict.FAIL
    assert finding.detail == (
        f"{QUEUE} is registered by somebody else (devices not created by the bridge: ABCDEFGHIJ)"
    )
    assert "docs/homeservers.md" in finding.fix
    assert the(findings, "bot").verdict is Verdict.PASS
    assert the(findings, "media on the homeserver").verdict is Verdict.PASS


@pytest.mark.asyncio
async def test_a_bot_with_a_session_of_somebody_else_ends_the_round(tmp_path: Path) -> None:
    """The doctor must not act as this user."""
    findings = await examined(tmp_path, FakeHomeserver(devices={BOT: ["ABCDEFGHIJ"]}))
    assert told(findings)[-2:] == ["PASS as_token", "FAIL bot"]
    assert "appservice.bot.username" in the(findings, "bot").fix


@pytest.mark.asyncio
async def test_users_registered_by_the_bridge_pass_whoever_logs_in(tmp_path: Path) -> None:
    """An operator may have logged in as the bot, to give it a picture."""
    async with open_store(f"sqlite:///{tmp_path}/bridge.db", SystemClock()) as store:
        for user in (BOT, QUEUE):
            await store.save_fact(made_fact(UserId(user)), "1")
    fake = FakeHomeserver(devices={BOT: ["ABCDEFGHIJ"], QUEUE: ["ABCDEFGHIJ"]})
    findings = await examined(tmp_path, fake)
    assert the(findings, "bot").verdict is Verdict.PASS
    assert the(findings, "queue users").detail == "all 2 are registered for the bridge"


@pytest.mark.asyncio
async def test_upload_refused(tmp_path: Path) -> None:
    fake = FakeHomeserver(upload=(500, {"errcode": "M_UNKNOWN", "error": "disk full"}))
    finding = the(await examined(tmp_path, fake), "media on the homeserver")
    assert finding.detail == "HTTP 500 M_UNKNOWN disk full"


@pytest.mark.asyncio
async def test_files_larger_than_the_homeserver_takes(tmp_path: Path) -> None:
    finding = the(
        await examined(tmp_path, FakeHomeserver(upload_size=10)), "media on the homeserver"
    )
    assert finding.verdict is Verdict.FAIL
    assert "max_upload_size" in finding.fix


@pytest.mark.asyncio
async def test_old_homeserver(tmp_path: Path) -> None:
    findings = await examined(tmp_path, FakeHomeserver(versions={"versions": ["v1.1"]}))
    assert the(findings, "homeserver").fix == "upgrade the homeserver"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (["r0.6.1", "v1.6"], None),
        (["v1.6", "v1.7"], "v1.7"),
        (["v1.15", "v1.9"], "v1.15"),  # only later ones, in any order
        (["v2.0"], "v2.0"),
        (["v1.7-rc1", 7, "v1.", "r0.6.1"], None),
        ([], None),
    ],
)
async def test_versions_that_a_homeserver_announces(
    tmp_path: Path, versions: list[object], newest: str | None
) -> None:
    fake = FakeHomeserver(versions={"versions": versions})
    finding = the(await examined(tmp_path, fake), "homeserver")
    assert finding.verdict is (Verdict.FAIL if newest is None else Verdict.PASS)
    told = "v1.7 is needed" if newest is None else f"supports Matrix up to {newest}"
    assert finding.detail.endswith(told)


@pytest.mark.asyncio
@pytest.mark.parametrize("versions", [{}, [], {"versions": 3}])
async def test_something_else_than_a_homeserver(tmp_path: Path, versions: object) -> None:
    findings = await examined(tmp_path, FakeHomeserver(versions=versions))
    assert told(findings) == ["FAIL homeserver"]


@pytest.mark.asyncio
async def test_clock_that_is_wrong(tmp_path: Path) -> None:
    fake = FakeHomeserver(date="Mon, 01 Jan 2001 00:00:00 GMT")
    finding = the(await examined(tmp_path, fake), "clock, against the homeserver")
    assert finding.verdict is Verdict.FAIL


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "detail", "fix"),
    [
        (
            {"status": 502, "text": "<html>"},
            "HTTP 502 without a JSON object",
            "that the homeserver is running",
        ),
        (
            {"body": b'{"a": "\xe9"}'},
            "HTTP 200 without a JSON object",
            "that the homeserver is running",
        ),
        (
            {"status": 301, "headers": {"Location": "https://b.example/_matrix?token=secret"}},
            "HTTP 301 redirects to https://b.example",
            "to which it redirects",
        ),
        (
            {"status": 302, "headers": {"Location": "//b.example/_matrix?token=secret"}},
            "HTTP 302 redirects to http://b.example",
            "to which it redirects",
        ),
        (
            {"status": 302, "headers": {"Location": "/login?token=secret"}},
            "HTTP 302 without a JSON object",
            "that the homeserver is running",
        ),
        (
            {"body": b"[" * 100_000},
            "HTTP 200 without a JSON object",
            "that the homeserver is running",
        ),
    ],
)
async def test_a_proxy_with_a_page_of_its_own(
    tmp_path: Path, answer: dict[str, Any], detail: str, fix: str
) -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(**answer)

    findings = Findings()
    async with serving([web.get("/_matrix/client/versions", page)]) as port:
        config = configured(tmp_path, homeserver=f"http://127.0.0.1:{port}")
        await check_homeserver(findings, config, None)
    finding = the(findings, "homeserver")
    assert detail in finding.detail
    assert "secret" not in finding.detail
    assert fix in finding.fix


@pytest.mark.asyncio
async def test_unreachable_homeserver(tmp_path: Path) -> None:
    findings = Findings()
    config = configured(tmp_path)
    await check_homeserver(findings, config, None)
    assert told(findings) == ["FAIL homeserver"]
    assert "homeserver.address" in the(findings, "homeserver").fix
