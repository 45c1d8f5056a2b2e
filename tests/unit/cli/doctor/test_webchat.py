from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from bridge.cli import call_centre
from bridge.cli.call_centre import check_webchat, throw_away
from bridge.cli.doctor import migrated_store
from bridge.cli.findings import Findings, Verdict
from bridge.ids import RoomId, UserId
from bridge.rooms.ports import Account
from bridge.rooms.surroundings import SystemClock
from bridge.simulator.simulator import Simulator
from bridge.storage.sqlstore import open_store
from tests.unit.cli.doctor.installation import configured, serving, slips, the, told
from tests.unit.link.rig import FAST
from tests.unit.link.simulated import simulated

ACCOUNT = Account(RoomId("!doctor:example.org"), UserId("@doctor:example.org"), "doctor")
FIXED = '  login: {type: password}\n  accounts: {"!*": {name: fixed, password: x}}'
SKETCH = ["PASS WebChat server", "PASS clock, against WebChat"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_centre, "PATIENCE", replace(FAST, connect=0.5))


async def examined(folder: Path, simulator: Simulator, login: str = "") -> Findings:
    findings = Findings()
    config = configured(folder, webchat=simulator.base_url, login=login)
    async with migrated_store(config) as store:
        await check_webchat(findings, config, store)
    return findings


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["raw", "multipart"])
async def test_all_well(tmp_path: Path, mode: str) -> None:
    async with simulated(upload_mode=mode) as simulator:
        findings = await examined(tmp_path, simulator)
        customers = simulator.state()["customers"]
        frames = [frame["frame"] for frame in simulator.frames() if frame["direction"] == "in"]
    assert told(findings) == [
        *SKETCH,
        "PASS WebChat login",
        "PASS WebChat socket",
        "PASS WebChat upload",
        "PASS WebChat command",
    ]
    assert the(findings, "WebChat login").detail == "as mx-doctor"
    assert mode in the(findings, "WebChat upload").detail
    assert isinstance(customers, dict)
    assert list(customers) == ["mx-doctor"]
    # Nobody at the call centre was asked for anything.
    assert [body["type"] for body in frames if isinstance(body, dict)] == [2]


@pytest.mark.asyncio
async def test_upload_mode_is_reported_although_the_dialect_is_learnt_first(tmp_path: Path) -> None:
    """A later server tells its revision first."""
    async with simulated(dialect="2019") as simulator:
        findings = await examined(tmp_path, simulator)
    assert "(raw, " in the(findings, "WebChat upload").detail


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "login", "fix"),
    [
        ({"accounts": {"ada": "right"}}, "  login: {type: password}", "webchat.login"),
        ({"sign_key": "secret-key"}, "", "sign_key"),
        ({"login_limit": 1}, "", "blacklisted"),
    ],
)
async def test_login_refused(
    tmp_path: Path, options: dict[str, object], login: str, fix: str
) -> None:
    async with simulated(**options) as simulator:
        if "login_limit" in options:
            # Two more than allowed, and this address is shut out.
            for _ in range(2):
                await examined(tmp_path, simulator)
        findings = await examined(tmp_path, simulator, login)
    finding = the(findings, "WebChat login")
    assert finding.verdict is Verdict.FAIL
    assert fix in finding.fix
    assert told(findings) == [*SKETCH, "FAIL WebChat login"]


@pytest.mark.asyncio
async def test_a_third_try_within_the_window_is_left_out(tmp_path: Path) -> None:
    """The bridge's 8 logins in 60 s and our two are the 10 that WebChat allows."""
    config = configured(tmp_path)
    async with open_store(config.database.url.get_secret_value(), SystemClock()):
        pass  # the bridge has created the database
    async with simulated(login_limit=2) as simulator:
        for _ in range(2):
            findings = await examined(tmp_path, simulator)
            assert the(findings, "WebChat login").verdict is Verdict.PASS
        for _ in range(10):
            assert told(await examined(tmp_path, simulator)) == [*SKETCH, "SKIP WebChat login"]
        findings = await examined(tmp_path, simulator)
        detail = the(findings, "WebChat login").detail
        assert re.fullmatch(r"tried 2 times within 60 s already, .* again in \d+ s", detail)
        # The limit ends with the window, which is almost empty here.
        findings = await examined(tmp_path, simulator, "  login_rate: {per_seconds: 0.1}")
        assert the(findings, "WebChat login").verdict is Verdict.FAIL  # it was the third


@pytest.mark.asyncio
async def test_doctor_stores_no_facts_for_the_bridge(tmp_path: Path) -> None:
    url = configured(tmp_path).database.url.get_secret_value()
    async with open_store(url, SystemClock()) as store, simulated(dialect="2019") as simulator:
        findings = await examined(tmp_path, simulator)
        assert the(findings, "WebChat login").verdict is Verdict.PASS
        assert await store.fact(f"dialect {simulator.base_url}/tpi") is None
        assert await store.fact(f"visits {simulator.base_url}/tpi") is None


@pytest.mark.asyncio
async def test_http_403_is_reported_as_blacklisting(tmp_path: Path) -> None:
    async def shut_out(_request: web.Request) -> web.Response:
        return web.Response(status=403)

    findings = Findings()
    async with serving([web.post("/webchat/tpi", shut_out)]) as port:
        config = configured(tmp_path, webchat=f"http://127.0.0.1:{port}/webchat")
        await check_webchat(findings, config, None)
    fix = the(findings, "WebChat login").fix
    assert fix.startswith("this machine's address seems to be blacklisted")
    assert "webchat.base_url" in fix


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-14, -20, -100])
async def test_a_result_of_the_login_shows_that_the_path_is_right(
    tmp_path: Path, code: int
) -> None:
    """As for an enterprise that the server does not know."""

    async def refuse(_request: web.Request) -> web.Response:
        return web.json_response({"result": code, "message": "epid"})

    findings = Findings()
    async with serving([web.post("/webchat/tpi", refuse)]) as port:
        config = configured(tmp_path, webchat=f"http://127.0.0.1:{port}/webchat")
        await check_webchat(findings, config, None)
    assert str(code) in the(findings, "WebChat login").detail
    assert the(findings, "WebChat login").fix.endswith("accounts and enterprise_id")


@pytest.mark.asyncio
async def test_a_server_that_has_moved(tmp_path: Path) -> None:
    """A redirect of the login names the address to set; one of the front page does not."""

    async def moved(_request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": "https://crm.example.org/tpi?x=1"})

    for path in ("/webchat/", "/webchat/{all:.*}", "/webchat/tpi"):
        findings = Findings()
        async with serving([web.route("*", path, moved)]) as port:
            config = configured(tmp_path, webchat=f"http://127.0.0.1:{port}/webchat")
            await check_webchat(findings, config, None)
        finding = the(findings, "WebChat login")
        assert finding.verdict is Verdict.FAIL
        named = path != "/webchat/"
        assert ("redirects to https://crm.example.org" in finding.detail) is named
        assert finding.fix.startswith("set webchat.base_url") is named


@pytest.mark.asyncio
async def test_a_server_that_shows_no_revision_may_be_of_the_first_guides(tmp_path: Path) -> None:
    """No frame shows it, but the symptom at the agent's desk does."""
    for dialect, named in (("2016", True), ("2019", False)):
        async with simulated(dialect=dialect) as simulator:
            findings = await examined(tmp_path, simulator)
        detail = the(findings, "WebChat command").detail
        assert ("texts in braces, set webchat.dialect: 2016-11" in detail) is named


@pytest.mark.asyncio
async def test_upload_refused(tmp_path: Path) -> None:
    async with simulated(allowed_extensions=["pdf"]) as simulator:
        findings = await examined(tmp_path, simulator)
    finding = the(findings, "WebChat upload")
    assert finding.verdict is Verdict.FAIL
    assert "(result -16)" in finding.detail
    assert told(findings)[-1] == "PASS WebChat command", "the rest is tried all the same"


async def log_in(_request: web.Request) -> web.Response:
    return web.json_response({"result": 1, "token": "T"})


@pytest.mark.asyncio
async def test_socket_that_a_proxy_does_not_pass(tmp_path: Path) -> None:
    async def no_upgrade(_request: web.Request) -> web.Response:
        return web.Response(status=502)

    findings = Findings()
    routes = [web.post("/webchat/tpi", log_in), web.get("/webchat/cws", no_upgrade)]
    async with serving(routes) as port:
        config = configured(tmp_path, webchat=f"http://127.0.0.1:{port}/webchat")
        await check_webchat(findings, config, None)
    assert told(findings) == [*SKETCH, "PASS WebChat login", "FAIL WebChat socket"]
    assert "502" in the(findings, "WebChat socket").detail


@pytest.mark.asyncio
async def test_something_else_than_webchat(tmp_path: Path) -> None:
    findings = Findings()
    async with serving([]) as port:
        config = configured(tmp_path, webchat=f"http://127.0.0.1:{port}/webchat")
        await check_webchat(findings, config, None)
    assert told(findings) == [*SKETCH, "FAIL WebChat login"]
    assert "…/tpi must answer with JSON" in the(findings, "WebChat login").fix


@pytest.mark.asyncio
async def test_unreachable_server(tmp_path: Path) -> None:
    findings = Findings()
    await check_webchat(findings, configured(tmp_path), None)
    assert told(findings) == ["FAIL WebChat server"]
    assert "webchat.base_url" in the(findings, "WebChat server").fix


@pytest.mark.asyncio
async def test_login_is_skipped_without_a_throw_away_account(tmp_path: Path) -> None:
    """A second login under a customer's name would end that customer's chat."""
    async with simulated() as simulator:
        findings = await examined(tmp_path, simulator, FIXED)
    assert told(findings) == [*SKETCH, "SKIP WebChat login"]
    config = configured(tmp_path, login=FIXED)
    (slip,) = slips(config, tmp_path)
    assert (slip.verdict, slip.what) == (Verdict.FAIL, "WebChat accounts")
    assert "{room_key}" in slip.fix


@pytest.mark.asyncio
async def test_an_account_for_every_room(tmp_path: Path) -> None:
    login = '  login: {type: password}\n  accounts: {"@*": {name: "a-{room_key}", password: x}}'
    async with simulated() as simulator:
        findings = await examined(tmp_path, simulator, login)
    assert told(findings)[:2] == SKETCH
    assert slips(configured(tmp_path, login=login), tmp_path) == []


@pytest.mark.parametrize(
    ("login", "name", "password"),
    [
        ("", "mx-doctor", ""),
        ('  login: {type: visitor, name: "v-{room_key}"}', "v-doctor", ""),
        ('  login: {type: password, name: "p-{room_key}", password: common}', "p-doctor", "common"),
        (
            '  login: {type: password}\n  accounts: {"!*": {name: "g-{room_key}", password: x}}',
            "g-doctor",
            "x",
        ),
        (FIXED, None, None),
        ('  login: {type: password}\n  accounts: {"@a:b.c": {name: a, password: x}}', None, None),
    ],
)
def test_throw_away_account(
    tmp_path: Path, login: str, name: str | None, password: str | None
) -> None:
    mine = throw_away(configured(tmp_path, login=login).webchat, ACCOUNT)
    assert (mine and mine.login.name) == name
    assert (mine and mine.login.password.get_secret_value()) == password


@pytest.mark.asyncio
@pytest.mark.parametrize(("key", "verdict"), [("right", "PASS"), ("wrong", "FAIL")])
async def test_robot_is_asked_if_it_is_enabled(tmp_path: Path, key: str, verdict: str) -> None:
    robot = "  robot: {enabled: true, mode: command, public_key: right}"
    async with simulated(robot_key=key, robot_answers={"test": "yes"}) as simulator:
        findings = await examined(tmp_path, simulator, robot)
    found = the(findings, "WebChat robot")
    assert found.verdict == verdict
    assert ('question "test": 1' in found.detail) is (verdict == "PASS")
    assert ("public_key" in found.fix) is (verdict == "FAIL")
